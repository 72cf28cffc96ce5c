"""Checkpoints of trainings: whatever happens while one is written, the one before it is there, and no other is used."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stagedml.ml.train.resume import WRITING_SHARE, Checkpoint, CheckpointFolder, Checkpoints, Kept
from stagedml.testing.faults import Fault, count_calls, with_fault

TRAINING = {"seed": 1, "label": "toy"}


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def kept(*arrays: NDArray[Any]) -> list[Kept]:
    return [Kept(array.shape, array.dtype, array.copy) for array in arrays]


def folder_of(path: Path, training: dict[str, Any] = TRAINING, **options: Any) -> CheckpointFolder:
    return CheckpointFolder(Checkpoints(path, every_steps=1), "toy", training, **options)


def write_steps(path: Path, steps: Sequence[int], training: dict[str, Any] = TRAINING) -> CheckpointFolder:
    """Go on from what is there; at step n all weights are n."""
    folder = folder_of(path, training)
    folder.newest()
    for step in steps:
        folder.write(step, {"step": step}, kept(np.full((3, 2), step, np.float32), np.array(step)))
    return folder


def step_of(found: Checkpoint | None) -> int:
    """The step of a checkpoint, which holds what it should; 0 if there is none."""
    if found is None:
        return 0
    step: int = found.state["step"]
    np.testing.assert_array_equal(found.arrays[0], np.full((3, 2), step, np.float32))
    assert found.arrays[1] == step
    return step


def files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file())


def test_arrays_of_every_shape_and_type_and_the_state_are_read_as_they_were(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    arrays: list[NDArray[Any]] = [
        np.arange(6, dtype=np.float32).reshape(2, 3).T,
        np.array(2**60 + 1, dtype=np.int64),
        np.zeros((0, 4), dtype=np.float64),
        np.array([0.1, np.nan, -0.0, np.inf]),
        np.array([True, False]),
        np.array([0.1], dtype=np.float16),
    ]
    state = {"step": 7, "reports": [{"loss": 0.1 + 0.2, "measured": {"f1": 1e-320}}]}
    folder_of(tmp_path).write(7, state, kept(*arrays))
    found = folder_of(tmp_path).newest()
    assert found is not None
    assert found.state == state
    for array, read in zip(arrays, found.arrays, strict=True):
        assert (array.dtype, array.shape, array.tobytes()) == (read.dtype, read.shape, read.tobytes())
    (file,) = files(tmp_path)
    for place, (_, read) in enumerate(sorted(load_file(file).items())):
        np.testing.assert_array_equal(read, arrays[place])


@pytest.mark.parametrize("fault", [Fault.KILL_BEFORE, Fault.KILL_AFTER, Fault.EIO, Fault.ENOSPC])
def test_whatever_a_write_meets_the_checkpoint_before_it_can_be_used(tmp_path: Path, fault: Fault) -> None:
    def work() -> None:
        write_steps(tmp_path / "now", [3])

    def prepare() -> None:
        shutil.rmtree(tmp_path / "now", ignore_errors=True)
        write_steps(tmp_path / "now", [1, 2])

    prepare()
    calls = count_calls(work)
    assert [call.split()[0] for call in calls] == ["mkdir", "unlink", *["write"] * 3, "fsync", "replace", "fsync"]
    for number in range(len(calls)):
        prepare()
        outcome = with_fault(work, number, fault)
        assert outcome.killed == (fault in (Fault.KILL_BEFORE, Fault.KILL_AFTER)), outcome
        assert outcome.error is None
        left = files(tmp_path / "now")
        assert len(left) <= 2
        assert outcome.killed or not [path for path in left if path.suffix == ".tmp"]
        assert step_of(folder_of(tmp_path / "now").newest()) in (2, 3), calls[number]
        # And the next one is written as ever.
        write_steps(tmp_path / "now", [4])
        assert step_of(folder_of(tmp_path / "now").newest()) == 4
        assert len(files(tmp_path / "now")) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data[:-5] + bytes([data[-5] ^ 1]) + data[-4:],
        lambda data: data + b"\0",
        lambda data: bytes(len(data)),
    ],
)
def test_a_damaged_checkpoint_is_told_of_and_the_one_before_it_is_used(
    tmp_path: Path, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    write_steps(tmp_path, [1, 2, 3])
    older, newer = files(tmp_path)
    newer.write_bytes(damage(newer.read_bytes()))
    assert step_of(folder_of(tmp_path).newest()) == 2
    assert f"toy: the checkpoint {newer} is not used: its bytes are not those" in caplog.text
    # Going on from there, the damaged one never pushes out the whole one.
    write_steps(tmp_path, [3])
    assert files(tmp_path)[0] == older
    assert step_of(folder_of(tmp_path).newest()) == 3
    for path in files(tmp_path):
        path.write_bytes(damage(path.read_bytes()))
    assert folder_of(tmp_path).newest() is None
    write_steps(tmp_path, [1])
    assert step_of(folder_of(tmp_path).newest()) == 1


def test_a_checkpoint_of_another_training_is_left_alone_and_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_steps(tmp_path, [5], {"seed": 2, "label": "toy", "machine": ["GPU"]})
    (foreign,) = files(tmp_path)
    caplog.set_level(logging.INFO)
    assert folder_of(tmp_path).newest() is None
    assert f"toy: does not go on from {foreign}: of another training (other machine, seed)" in caplog.text
    write_steps(tmp_path, [1, 2, 3])
    assert foreign in files(tmp_path)
    assert step_of(folder_of(tmp_path).newest()) == 3
    # Not even under a name that says otherwise.
    own = files(folder_of(tmp_path).folder)[-1]
    (own.parent / f"99999999.{foreign.name.split('.', 1)[1]}").write_bytes(foreign.read_bytes())
    assert step_of(folder_of(tmp_path).newest()) == 3
    assert "is of another training" in caplog.text


def test_rubbish_in_the_folder_does_no_harm(tmp_path: Path) -> None:
    folder = folder_of(tmp_path).folder
    folder.mkdir()
    (folder / "unfinished.tmp").write_bytes(b"half")
    (folder / "notes.safetensors").write_bytes(b"")
    (tmp_path / "toy-other").mkdir()
    (tmp_path / "toy-other" / f"00000001.{'0' * 64}.safetensors").write_bytes(b"\xff" * 99)
    (tmp_path / "toy-file").write_bytes(b"")
    assert folder_of(tmp_path).newest() is None
    write_steps(tmp_path, [1])
    assert step_of(folder_of(tmp_path).newest()) == 1
    assert [path.name[:8] for path in files(folder)] == ["00000001"]


def test_a_folder_that_cannot_be_made_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "taken").write_text("a file")
    write_steps(tmp_path / "taken", [1])
    assert "toy: there is no checkpoint at step 1, the training goes on: [Errno 20] Not a directory" in caplog.text


def test_what_cannot_tell_trainings_apart_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="does not tell a training from others"):
        folder_of(tmp_path, {"settings": object()})


# -- when --------------------------------------------------------------------------------------------------------------


def slow(clock: Clock, seconds: float) -> list[Kept]:
    """An array that takes its time."""

    def read() -> NDArray[Any]:
        clock.now_s += seconds
        return np.zeros(1)

    return [Kept((1,), np.dtype(np.float64), read)]


def test_a_checkpoint_is_due_after_a_while_and_at_the_end_of_an_epoch(tmp_path: Path) -> None:
    clock = Clock()
    folder = CheckpointFolder(Checkpoints(tmp_path, every_s=60), "toy", TRAINING, clock=clock)
    assert not folder.is_due(1, epoch_ended=False)
    assert folder.is_due(1, epoch_ended=True)
    clock.now_s = 59.9
    assert not folder.is_due(2, epoch_ended=False)
    clock.now_s = 60.0
    assert folder.is_due(3, epoch_ended=False)
    folder.write(3, {}, [])
    assert not folder.is_due(4, epoch_ended=False)
    clock.now_s = 120.0
    assert folder.is_due(5, epoch_ended=False)


@pytest.mark.parametrize("write_s", [0.0, 0.5, 10.0])
@pytest.mark.parametrize("epoch_steps", [20, 1000])
def test_writing_takes_a_small_share_of_the_time_and_little_is_lost(
    tmp_path: Path, write_s: float, epoch_steps: int
) -> None:
    clock = Clock()
    folder = CheckpointFolder(Checkpoints(tmp_path, every_s=60), "toy", TRAINING, clock=clock)
    written_s, last_s, lost_s = 0.0, 0.0, 0.0
    for step in range(1, 1501):  # a second each
        clock.now_s += 1
        lost_s = max(lost_s, clock.now_s - last_s)
        if folder.is_due(step, epoch_ended=step % epoch_steps == 0):
            folder.write(step, {}, slow(clock, write_s))
            written_s += write_s
            last_s = clock.now_s
    assert written_s <= WRITING_SHARE * clock.now_s + write_s  # the first one may come early
    assert lost_s <= max(60, write_s / WRITING_SHARE) + 1


def test_steps_are_counted_if_that_was_asked_for(tmp_path: Path) -> None:
    folder = CheckpointFolder(Checkpoints(tmp_path, every_steps=4), "toy", TRAINING)
    due = []
    for step in range(1, 13):
        if folder.is_due(step, epoch_ended=step == 6):
            folder.write(step, {}, [])
            due.append(step)
    assert due == [4, 6, 10]


def test_a_file_says_of_which_training_it_is(tmp_path: Path) -> None:
    write_steps(tmp_path, [1])
    (file,) = files(tmp_path)
    data = file.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert json.loads(header["__metadata__"]["training"]) == TRAINING
