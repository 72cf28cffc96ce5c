"""Several processes, and several threads, that want the same thing of one store at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from format import independent_reader as reader
from stagedml import RRef, instantiate, mklens, realize, realize_many, using_store
from stagedml.core.refs import parse_rref
from stagedml.settings import read_settings
from stagedml.store.objects import Store
from stagedml.testing import toys

PATIENCE_S = 60


class ToyProcess:
    """A process that realizes the blocking stage, and what it has told so far."""

    def __init__(self, root: Path, journal: Path, gate: Path) -> None:
        tests = Path(__file__).resolve().parent.parent
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent / "src")])}
        environment["STAGEDML_DURABLE"] = "0"
        command = [sys.executable, "-m", "store.toy_process", str(root), str(journal), str(gate)]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    def expect(self, event: str) -> str:
        """The next thing it tells, which must be of this kind."""
        assert self.process.stdout is not None
        told, what = json.loads(self.process.stdout.readline())
        assert told == event, what
        return str(what)

    def end(self) -> int:
        """Kill it if it still runs; returns its exit status."""
        if self.process.poll() is None:
            self.process.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], ToyProcess]]:
    started: list[ToyProcess] = []

    def start_one() -> ToyProcess:
        started.append(ToyProcess(tmp_path / "root", tmp_path / "journal", tmp_path / "gate"))
        return started[-1]

    yield start_one
    for process in started:
        process.end()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def builders(journal: Path) -> list[int]:
    return [int(line) for line in journal.read_text().splitlines()] if journal.exists() else []


def test_of_two_processes_one_builds_and_both_have_the_result(tmp_path: Path, start: Callable[[], ToyProcess]) -> None:
    owner = start()
    owner.expect("started")
    until(lambda: builders(tmp_path / "journal") == [owner.process.pid])
    waiter = start()
    assert f"process {owner.process.pid} on " in waiter.expect("waiting")
    (tmp_path / "gate").touch()
    rref = owner.expect("realized")
    assert waiter.expect("realized") == rref
    assert builders(tmp_path / "journal") == [owner.process.pid]
    store = Store.open(read_settings({}, root=tmp_path / "root"))
    assert mklens(rref, store=store).text.contents == "made once"
    assert list(store.layout.locks.iterdir()) == list(store.layout.scratch.iterdir()) == []


def test_when_the_builder_is_killed_the_waiter_builds(tmp_path: Path, start: Callable[[], ToyProcess]) -> None:
    owner = start()
    scratch = Path(owner.expect("started"))
    until(lambda: len(builders(tmp_path / "journal")) == 1)
    (scratch / "half").write_text("written by the one that is killed")
    waiter = start()
    waiter.expect("waiting")
    owner.process.send_signal(signal.SIGKILL)
    assert waiter.expect("started") == str(scratch)
    until(lambda: builders(tmp_path / "journal") == [owner.process.pid, waiter.process.pid])
    (tmp_path / "gate").touch()
    rref = waiter.expect("realized")
    store = Store.open(read_settings({}, root=tmp_path / "root"))
    assert reader.read_store(store.layout.storage).findings == []
    assert sorted(path.name for path in store.path(parse_rref(rref)).iterdir() if path.name[0] != "_") == [
        "context.json",
        "text.txt",
    ]
    assert list(store.layout.scratch.iterdir()) == []


def test_killed_attempts_leave_one_scratch_folder_at_most(tmp_path: Path, start: Callable[[], ToyProcess]) -> None:
    store = Store.open(read_settings({}, root=tmp_path / "root"))
    for attempt in range(1, 4):
        process = start()
        process.expect("started")
        until(lambda attempt=attempt: len(builders(tmp_path / "journal")) == attempt)  # type: ignore[misc]
        process.process.kill()
        process.process.wait(PATIENCE_S)
        assert len(list(store.layout.scratch.iterdir())) == 1
        assert len(list(store.layout.locks.iterdir())) == 1
    (tmp_path / "gate").touch()
    process = start()
    process.expect("started")
    process.expect("realized")
    assert list(store.layout.scratch.iterdir()) == list(store.layout.locks.iterdir()) == []


def test_threads_that_want_one_closure_build_it_once(store: Store, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    together = threading.Barrier(8)

    def realize_one(_: int) -> RRef:
        with using_store(store):
            together.wait(PATIENCE_S)
            target = instantiate(lambda: toys.upper(source=toys.blocking(content="shared")))
            return realize(target, args={"journal": str(journal)})

    with ThreadPoolExecutor(8) as pool:
        rrefs = set(pool.map(realize_one, range(8)))
    assert len(rrefs) == 1
    assert len(builders(journal)) == 1
    assert reader.read_store(store.layout.storage).findings == []
    assert list(store.layout.locks.iterdir()) == list(store.layout.scratch.iterdir()) == []


def test_threads_that_want_instances_share_the_work(store: Store) -> None:
    together = threading.Barrier(4)

    def realize_some(count: int) -> list[RRef]:
        with using_store(store):
            target = instantiate(toys.sample, constant=True)  # all publish one realization
            together.wait(PATIENCE_S)
            rrefs: list[RRef] = realize_many(target, instances=count)
            return rrefs

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(realize_some, [1, 2, 3, 4]))
    assert {rref for rrefs in results for rref in rrefs} == {results[0][0]}
    known = store.metadata(parse_rref(results[0][0]))
    assert known is not None
    assert sorted(build.instance for build in known.builds) == [0, 1, 2, 3]  # each was built once, and none got lost


def test_two_stores_in_one_process_do_not_mix(tmp_path: Path) -> None:
    stores = [Store.open(read_settings({}, root=tmp_path / name)) for name in ("one", "two")]
    rrefs = []
    for store, content in zip(stores, ("a", "b"), strict=True):
        with using_store(store):
            rrefs.append(realize(instantiate(toys.all_counted, content)))
    with using_store(stores[0]), using_store(stores[1]):
        assert mklens(rrefs[1]).source.source.content.val == "b"
        with using_store(stores[0]):
            assert mklens(rrefs[0]).counts.A.val == 1.0
        assert mklens(rrefs[0], store=stores[0]).source.text.contents == "A"
    for store, rref in zip(stores, rrefs, strict=True):
        report = reader.read_store(store.layout.storage)
        assert report.findings == []
        assert rref in report.realizations
        assert len(report.realizations) == 3


def test_a_closure_is_realized_in_the_store_it_was_instantiated_in(tmp_path: Path) -> None:
    stores = [Store.open(read_settings({}, root=tmp_path / name)) for name in ("one", "two")]
    with using_store(stores[0]):
        target = instantiate(toys.all_counted)
    with using_store(stores[1]):
        rref = realize(target)
    assert rref in reader.read_store(stores[0].layout.storage).realizations
    assert reader.read_store(stores[1].layout.storage).derivations == {}
