"""Mapping in processes of their own: in order, a few items ahead, from anywhere, and never in silence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedml.ml.processes import WorkerDied, map_in_order

# Workers import this module by its name.
ITEMS = 40


def square(number: int) -> int:
    time.sleep(0.002 * (number % 3))
    return number * number


def process_of(_: int) -> int:
    time.sleep(0.01)
    return os.getpid()


def loaded(_: int) -> bool:
    return "tensorflow" in sys.modules or "rich" in sys.modules


def failing(number: int) -> int:
    if number == 7:
        raise KeyError("seven")
    return number


def dying(number: int) -> int:
    if number == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def printing(number: int) -> int:
    print("not for the one who asks")  # noqa: T201
    os.write(1, b"nor this\n")
    return number


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    found = list(map_in_order(square, iter(range(ITEMS)), workers, worth=1))
    assert found == [number * number for number in range(ITEMS)]


def test_the_work_is_done_by_as_many_processes_as_wanted() -> None:
    found = set(map_in_order(process_of, iter(range(ITEMS)), 2, worth=1))
    assert len(found) == 2
    assert os.getpid() not in found


@pytest.mark.parametrize(("workers", "items"), [(1, 100), (4, 15)])
def test_little_work_is_done_right_here(workers: int, items: int) -> None:
    assert set(map_in_order(process_of, iter(range(items)), workers, worth=4)) == {os.getpid()}


def test_workers_load_no_framework() -> None:
    assert not any(map_in_order(loaded, iter(range(4)), 2, worth=1))


def test_a_few_items_are_taken_ahead() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield number

    for done, _ in enumerate(map_in_order(square, items(), 2, worth=1), 1):
        assert taken - done <= 4


def test_what_the_function_raises_is_raised_here(capfd: pytest.CaptureFixture[str]) -> None:
    found = map_in_order(failing, iter(range(ITEMS)), 2, worth=1)
    with pytest.raises(KeyError, match="seven"):
        list(found)
    assert "in failing" in capfd.readouterr().err


def test_a_killed_worker_is_a_clear_error() -> None:
    with pytest.raises(WorkerDied, match=r"ended by signal 9 \(Killed\)") as caught:
        list(map_in_order(dying, iter(range(ITEMS)), 2, worth=1))
    assert "try fewer workers" in str(caught.value)


def test_what_workers_print_goes_into_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(map_in_order(printing, iter(range(8)), 2, worth=1)) == list(range(8))
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("nor this\n") == 8


def test_no_process_is_left_when_one_stops_early() -> None:
    found = map_in_order(process_of, iter(range(ITEMS)), 2, worth=1)
    processes = {next(found) for _ in range(4)}
    found.close()
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_it_works_in_a_thread() -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.extend(map_in_order(square, iter(range(ITEMS)), 2, worth=1)))
    thread.start()
    thread.join()
    assert found == [number * number for number in range(ITEMS)]


def test_it_works_in_a_forked_process() -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            found = list(map_in_order(square, iter(range(ITEMS)), 2, worth=1))
            code = int(found != [number * number for number in range(ITEMS)])
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


SCRIPT = """
import operator, os, sys, time
from functools import partial
from stagedml.ml.processes import map_in_order
print("main", flush=True)
for number in map_in_order(partial(operator.mul, 2), iter(range(10**9)), 2, worth=1):
    if number == 20:
        with open("/proc/self/task/%d/children" % os.getpid()) as file:
            print("workers", file.read(), flush=True)
"""


def test_workers_do_not_run_the_main_script_and_end_with_it(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    with subprocess.Popen([sys.executable, str(tmp_path / "script.py")], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "main\n"
        word, *workers = process.stdout.readline().split()
        assert (word, len(workers)) == ("workers", 2)
        process.kill()
        assert process.stdout.read() == ""
    deadline = time.monotonic() + 10
    while any(Path("/proc", worker).exists() for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [worker for worker in workers if Path("/proc", worker).exists()]
