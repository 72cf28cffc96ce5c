"""`stagedml tensorboard` as a person and a script use it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.conftest import Run
from cli.test_verbs import TRAINED
from inspection.test_tensorboard import answers, runs, wait_for


@pytest.fixture
def start(root: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Begins to serve; what a test did not end is killed."""
    processes = []

    def started(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "stagedml.cli.main", "tensorboard", "--root", root, *arguments]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return processes[-1]

    yield started
    for process in processes:
        process.kill()
        process.communicate()


Start = Callable[..., subprocess.Popen[str]]


@pytest.mark.parametrize(
    ("number", "code", "told"), [(signal.SIGINT, 0, ""), (signal.SIGTERM, 143, "stagedml: terminated")]
)
def test_it_serves_and_tells_what_comes_in_until_it_is_ended(
    run: Run, start: Start, root: str, number: signal.Signals, code: int, told: str
) -> None:
    assert run("realize", TRAINED, "0.5")[0] == 0
    process = start("train")
    assert process.stdout is not None
    assert process.stderr is not None
    url = process.stdout.readline().strip()
    assert answers(url)
    first, hint = process.stderr.readline().split(), process.stderr.readline()
    assert first[0] == "train"
    assert first[1].startswith("rref:")
    assert hint == "Ctrl-C ends it\n"
    assert run("realize", TRAINED, "0.25")[0] == 0
    assert process.stderr.readline().startswith("train, rate=0.25  rref:")
    wait_for(lambda: "train, rate=0.25/train" in runs(url), "the later one")
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (code, "")
    assert err.startswith(told)
    assert bool(err) == bool(told)
    assert not answers(url)
    assert not list(Path(root).glob("*/scratch/tensorboard*"))


def test_once_shows_what_is_there_and_nothing_that_comes_later(run: Run, start: Start, root: str) -> None:
    assert run("realize", TRAINED, "0.5")[0] == 0
    process = start("--once")
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    wait_for(lambda: runs(url) == {"train", "train/train", "train/valid"}, "the runs")
    assert run("realize", TRAINED, "0.25")[0] == 0
    (folder,) = Path(root).glob("*/scratch/tensorboard*/logs")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(4)
    assert os.listdir(folder) == ["train"]
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
