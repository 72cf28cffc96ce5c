"""Eight processes want the same fifty stages of one store at once: each is built once, whoever dies meanwhile."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from format import independent_reader as reader
from stagedml.store.objects import Store
from stagedml.store.verify import Kind, repair, verify
from store.crowd_process import DOOMED, GATE, JOURNAL, PATIENCE_S, STAGES, open_store, realize_all, take_part
from unprivileged import as_nobody

MEMBERS = 8
#: So many members are killed in a round at most; with fewer than the least, a round shows nothing.
MOST_KILLS, LEAST_KILLS = 25, 5
PACE_S = 0.002

#: Rounds by their seed: two in the ordinary suite, twenty in full.
ROUNDS = [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 22))]
#: What may stay in the folder of locks.
PERMANENT_LOCKS = {"store.lock", "store.gate", "live"}

#: Starts a process, given the arguments of `take_part`; returns its id.
Start = Callable[[Path, Path, str, int, float], int]


def forked(root: Path, folder: Path, name: str, seed: int, pace_s: float) -> int:
    """A copy of this process, in which everything is loaded already."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = take_part(root, folder, name, seed, pace_s)
        finally:
            os._exit(status)
    return child


def spawned(root: Path, folder: Path, name: str, seed: int, pace_s: float) -> int:
    """An interpreter of its own, with a hash seed of its own."""
    tests = Path(__file__).resolve().parent.parent
    path = os.pathsep.join([str(tests), str(tests.parent / "src")])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": str(seed)}
    command = [sys.executable, "-m", "store.crowd_process", str(root), str(folder), name, str(seed), str(pace_s)]
    return os.posix_spawn(sys.executable, command, environment)


class Crowd:
    """Processes that take part, each in a seat; who was killed is followed by another one.

    Where they are doomed, the first in each seat kills itself amid its first build, so that some are killed however
    slow the machine is.
    """

    def __init__(
        self, root: Path, folder: Path, start: Start, seed: int, *, pace_s: float = 0, doomed: bool = False
    ) -> None:
        self.root, self.folder, self.start, self.pace_s = root, folder, start, pace_s
        self.doomed = doomed
        self.random = random.Random(seed)
        self.running: dict[str, int] = {}
        self.killed: list[str] = []
        self._started = 0
        folder.mkdir()

    def __enter__(self) -> Crowd:
        try:
            for number in range(MEMBERS):
                if self.doomed:
                    (self.folder / f"member-{number}{DOOMED}").touch()
                self.enter()
            until(lambda: self.still_running() and len(list(self.folder.glob("*.ready"))) == MEMBERS)
        except BaseException:
            self.__exit__()
            raise
        (self.folder / GATE).touch()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.running.values():
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)

    def enter(self) -> None:
        name = f"member-{self._started}"
        self._started += 1
        self.running[name] = self.start(self.root, self.folder, name, self.random.randrange(2**32), self.pace_s)

    def still_running(self) -> list[str]:
        """The names of those that have not ended. Who has ended must have done so well."""
        for name, process in list(self.running.items()):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                self._ended(name, status)
        return list(self.running)

    def kill(self, name: str) -> None:
        """Kill a member, unless it has ended meanwhile, and let another one follow."""
        os.kill(self.running[name], signal.SIGKILL)
        _, status = os.waitpid(self.running[name], 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            del self.running[name]
            self.killed.append(name)
            self.enter()
        else:
            self._ended(name, status)

    def _ended(self, name: str, status: int) -> None:
        del self.running[name]
        if os.WIFSIGNALED(status) and (self.folder / f"{name}{DOOMED}").exists():
            self.killed.append(name)
            self.enter()
            return
        said = self.folder / f"{name}.failed"
        assert status == 0, f"{name}: {said.read_text() if said.exists() else os.waitstatus_to_exitcode(status)}"

    def wait(self) -> None:
        until(lambda: not self.still_running())

    def builds(self) -> list[tuple[str, str]]:
        """What was built, and by whom, in the order in which builds began."""
        journal = self.folder / JOURNAL
        lines = journal.read_text().splitlines() if journal.exists() else []
        return [(label, name) for label, name in map(str.split, lines)]

    def answers(self) -> Iterator[dict[str, str]]:
        """What each that was not killed got."""
        for path in self.folder.glob("*.json"):
            yield json.loads(path.read_text())


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.0005)


def published(store: Store) -> set[str]:
    return {str(rref) for derivation in store.derivations() for rref in store.realizations(derivation)}


def leftovers(store: Store) -> list[str]:
    """Everything that a quiet store does not have."""
    layout = store.layout
    temporary = [path for top in (layout.storage, layout.side) for path in top.rglob("*.tmp")]
    held = [path for path in layout.locks.iterdir() if path.name not in PERMANENT_LOCKS]
    found = [*temporary, *held, *layout.scratch.iterdir(), *layout.tmp.iterdir()]
    return sorted(str(path.relative_to(layout.root)) for path in found)


def once(root: Path, start: Start, seed: int) -> None:
    """A round in which nobody is killed."""
    expected = realize_all(root / "alone", list(range(STAGES)))
    with Crowd(root / "store", root / "crowd", start, seed) as crowd:
        crowd.wait()
    assert list(crowd.answers()) == [expected] * MEMBERS
    assert sorted(label for label, _ in crowd.builds()) == sorted(expected)
    store = open_store(root / "store")
    assert leftovers(store) == []
    assert published(store) == set(expected.values())
    assert verify(store).findings == ()
    assert reader.read_store(store.layout.storage).findings == []


def with_kills(root: Path, seed: int) -> None:
    """A round in which members die amid builds, or are killed at random moments, and are replaced."""
    expected = realize_all(root / "alone", list(range(STAGES)))
    store = open_store(root / "store")
    seen: set[str] = set()
    with Crowd(root / "store", root / "crowd", forked, seed, pace_s=PACE_S, doomed=True) as crowd:
        for _ in range(MOST_KILLS):
            enough = len(crowd.builds()) + crowd.random.randrange(3)
            until(lambda enough=enough: len(crowd.builds()) >= enough or not crowd.still_running())  # type: ignore[misc]
            time.sleep(crowd.random.uniform(0, 2 * PACE_S))
            running = crowd.still_running()
            if not running:
                break
            builders = [name for _, name in crowd.builds()[-MEMBERS:] if name in running]
            victims = (builders or running) if crowd.random.random() < 0.5 else running
            crowd.kill(crowd.random.choice(victims))
            now = published(store)
            assert seen <= now
            seen = now
        crowd.wait()
    assert len(crowd.killed) >= LEAST_KILLS
    assert list(crowd.answers()) == [expected] * MEMBERS
    assert published(store) == set(expected.values())
    assert needless(crowd) == []
    assert {label for label, _ in crowd.builds()} == set(expected)
    assert len(crowd.builds()) <= STAGES + len(crowd.killed)
    report = verify(store)
    assert {finding.kind for finding in report.findings} <= {Kind.ORPHAN}, report.findings
    check_that_nothing_is_left_to_do(root, crowd, expected)


def needless(crowd: Crowd) -> list[tuple[str, str]]:
    """Builds that were repeated although whoever built first was not killed meanwhile."""
    latest = {name: label for label, name in crowd.builds()}
    finished: set[str] = set()
    repeated = []
    for label, name in crowd.builds():
        if label in finished:
            repeated.append((label, name))
        if name not in crowd.killed or latest[name] != label:
            finished.add(label)
    return repeated


def check_that_nothing_is_left_to_do(root: Path, crowd: Crowd, expected: dict[str, str]) -> None:
    """One more process reuses everything, and nothing half-built is among the realizations."""
    before = crowd.builds()
    crowd.enter()
    crowd.wait()
    assert list(crowd.answers()) == [expected] * (MEMBERS + 1)
    assert crowd.builds() == before
    store = open_store(root / "store")
    assert list(store.layout.storage.rglob("*.tmp")) == []
    assert reader.read_store(store.layout.storage).findings == []
    repair(store, verify(store))
    assert verify(store).findings == ()
    assert published(store) == set(expected.values())


@pytest.mark.parametrize("seed", ROUNDS)
def test_eight_processes_build_each_of_fifty_stages_once(tmp_path: Path, seed: int) -> None:
    once(tmp_path, spawned, seed)


@pytest.mark.parametrize("seed", ROUNDS)
def test_processes_that_are_killed_repeat_only_what_they_were_building(tmp_path: Path, seed: int) -> None:
    with_kills(tmp_path, seed)


@pytest.mark.unprivileged
def test_eight_unprivileged_processes_build_each_of_fifty_stages_once(nobody_path: Path) -> None:
    as_nobody(once, nobody_path, forked, 0)


@pytest.mark.unprivileged
def test_unprivileged_processes_that_are_killed_repeat_only_what_they_were_building(nobody_path: Path) -> None:
    as_nobody(with_kills, nobody_path, 0)
