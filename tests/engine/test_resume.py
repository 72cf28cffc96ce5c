"""Builds that go on after a crash: at most one interval is repeated, and the result is that of an unbroken build."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from engine import resumable
from engine.resumable import INTERVAL, STEPS, summed
from stagedml import RRef, gc, instantiate, realize, realize_many, redefine, using_store
from stagedml.core.refs import parse_rref
from stagedml.engine.failures import BuildFailed
from stagedml.settings import read_settings
from stagedml.store import locks
from stagedml.store.gc import Policy
from stagedml.store.objects import Store


def steps_in(trace: Path) -> list[int]:
    return [int(line.split()[0]) for line in trace.read_text().splitlines()] if trace.exists() else []


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> RRef:
    folder = tmp_path_factory.mktemp("unbroken")
    with using_store(Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=folder))):
        return realize(instantiate(summed, pause_s=0.0))


def started(root: Path, trace: Path, jobs: int) -> subprocess.Popen[str]:
    command = [sys.executable, resumable.__file__, str(root), str(trace), str(jobs)]
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_session_that_is_killed_again_and_again_ends_in_the_unbroken_result(
    number: int, jobs: int, store: Store, tmp_path: Path, unbroken: RRef
) -> None:
    chance, trace = random.Random(number * jobs), tmp_path / "trace"
    kills = 0
    while kills < 5:
        before = len(steps_in(trace))
        session = started(store.layout.root, trace, jobs)
        while len(steps_in(trace)) == before:  # it has begun
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.1))
        session.send_signal(number)
        if session.wait() == 0:
            break
        while any(map(locks.is_held, store.layout.locks.iterdir())):  # of a build apart whose end is near
            time.sleep(0.01)
        kills += 1
    session = started(store.layout.root, trace, jobs)
    assert session.communicate()[0].strip() == unbroken
    taken = steps_in(trace)
    assert taken[-1] == STEPS
    assert len(taken) <= STEPS + kills * INTERVAL
    known = store.metadata(parse_rref(unbroken))
    assert known is not None
    assert len(known.builds[0].attempts) == kills + 1
    assert not list(store.layout.all_checkpoints.iterdir())


def test_a_build_apart_that_is_killed_alone_goes_on_in_the_next_attempt(
    store: Store, tmp_path: Path, unbroken: RRef
) -> None:
    trace = tmp_path / "trace"
    (tmp_path / "trace.stop-33").touch()
    with pytest.raises(BuildFailed, match="stopped on purpose"):
        realize(instantiate(summed, trace=str(trace)), jobs=2)
    assert realize(instantiate(summed, trace=str(trace)), jobs=2) == unbroken
    assert steps_in(trace) == [*range(1, 34), *range(31, STEPS + 1)]


def stopped(trace: Path, step: int, **changes: Any) -> None:
    Path(f"{trace}.stop-{step}").touch()
    with pytest.raises(BuildFailed, match="stopped on purpose"):
        realize(instantiate(summed, trace=str(trace), pause_s=0.0, **changes))


@pytest.mark.parametrize("change", [{"factor": 37}, {"workers": 2}, {"pause_s": 0.001}], ids=str)
def test_nobody_goes_on_with_what_another_way_to_run_began_and_that_is_told(
    change: dict[str, Any], store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    trace = tmp_path / "trace"
    stopped(trace, 22)
    realize(instantiate(summed, **{"trace": str(trace), "pause_s": 0.0, **change}))
    assert steps_in(trace) == [*range(1, 23), *range(1, STEPS + 1)]
    told = "an earlier attempt kept checkpoints, with other Exec values or packages: they are not used"
    assert caplog.text.count(told) == ("factor" not in change)


def test_other_code_does_not_go_on_with_what_was_begun(store: Store, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    stopped(trace, 22)
    other = redefine(summed, new_config=lambda config: config.update(steps=STEPS + 1))
    realize(instantiate(other, trace=str(trace), pause_s=0.0))
    assert steps_in(trace)[22:] == [*range(1, STEPS + 2)]


def test_each_instance_has_checkpoints_of_its_own(store: Store, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    stopped(trace, 22)
    instances = realize_many(instantiate(summed, instance_matters=True, trace=str(trace), pause_s=0.0), instances=2)
    assert len({*instances}) == 2
    assert steps_in(trace)[22:] == [*range(1, STEPS + 1)] * 2


def test_of_two_sessions_one_goes_on(store: Store, tmp_path: Path, unbroken: RRef) -> None:
    trace = tmp_path / "trace"
    first = started(store.layout.root, trace, 1)
    while len(steps_in(trace)) < 12:
        time.sleep(0.005)
    first.kill()
    first.wait()
    begun = len(steps_in(trace))
    both = [started(store.layout.root, trace, jobs) for jobs in (1, 2)]
    assert [session.communicate()[0].strip() for session in both] == [unbroken] * 2
    lines = trace.read_text().splitlines()[begun:]
    assert len({line.split()[1] for line in lines}) == 1  # one process
    assert len(lines) <= STEPS - begun + INTERVAL


def test_old_checkpoints_are_swept_and_young_ones_are_not(store: Store, tmp_path: Path) -> None:
    stopped(tmp_path / "trace", 22)
    kept = Policy(grace_s=0)
    gc(force=True, policy=kept, keep=list(map(str, store.derivations())))
    (slot,) = store.layout.all_checkpoints.iterdir()
    swept = gc(force=True, policy=Policy(grace_s=0, resumable_s=0), keep=list(map(str, store.derivations())))
    assert swept.collected is not None
    assert [one.kind for one in swept.collected.leftovers if one.path == str(slot)] == ["checkpoint"]
    assert not slot.exists()


def test_a_half_written_note_of_an_attempt_does_no_harm(store: Store, tmp_path: Path, unbroken: RRef) -> None:
    trace = tmp_path / "trace"
    stopped(trace, 22)
    (folder,) = store.layout.all_checkpoints.iterdir()
    with open(folder / "attempts.jsonl", "a") as file:
        file.write('{"started": 1')
    assert realize(instantiate(summed, trace=str(trace), pause_s=0.0)) == unbroken
    assert steps_in(trace)[22:] == [*range(21, STEPS + 1)]
