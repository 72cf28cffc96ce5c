"""The folder of links that TensorBoard reads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inspection.event_files import write_events
from inspection.trainings import all_trained
from stagedml import (
    RRef,
    instantiate,
    mknode,
    realize,
    realize_many,
    rref2path,
    using_store,
)
from stagedml.core.refs import parse_rref
from stagedml.inspection.logs import RunningBuild, RunningBuilds
from stagedml.inspection.logtree import LogTree
from stagedml.store.atomic import remove_tree
from stagedml.store.objects import NotInStore, Store
from stagedml.testing import toys


@pytest.fixture
def shown(store: Store, tmp_path: Path) -> Callable[..., LogTree]:
    """Links to what some texts stand for."""

    def shown(*texts: str) -> LogTree:
        return LogTree(store, texts, (), tmp_path / f"links-{time.monotonic_ns()}")

    return shown


Shown = Callable[..., LogTree]


def trained(rate: float = 0.5, note: str = "plain", content: str = "hello") -> RRef:
    return realize(instantiate(all_trained, rate, note, content))


def names(tree: LogTree) -> list[str]:
    return [run.name for run in tree.runs]


def hash_of(rref: RRef) -> str:
    return parse_rref(rref).rhash[:6]


class Training:
    """A build in a thread of its own, which waits in the middle until `go_on`."""

    def __init__(self, store: Store, gate: Path, rate: float = 0.5) -> None:
        self._gate = gate
        self.rref = ""
        self._thread = threading.Thread(target=self._run, args=(store, rate))
        self._thread.start()
        deadline = time.monotonic() + 60
        while not self.build_folders(store):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def _run(self, store: Store, rate: float) -> None:
        with using_store(store):
            self.rref = realize(instantiate(all_trained, rate), args={"gate": str(self._gate)})

    @staticmethod
    def build_folders(store: Store) -> list[Path]:
        """Where builds go on that have written something into their logs."""
        folders = [Path(build.folder) for build in RunningBuilds(store).now()]
        return [folder for folder in folders if list(folder.glob("__log__/valid/*"))]

    def go_on(self) -> str:
        self._gate.touch()
        self._thread.join()
        return self.rref


@pytest.fixture
def training(store: Store, tmp_path: Path) -> Iterator[Training]:
    running = Training(store, tmp_path / "gate")
    yield running
    running.go_on()


# -- names ------------------------------------------------------------------------------------------------------------


def test_one_of_a_stage_is_called_as_its_stage(shown: Shown) -> None:
    rref = trained()
    (run,) = shown("train").runs
    assert (run.name, run.ref, run.path) == ("train", rref, str(Path(rref2path(rref), "__log__")))


def test_several_are_told_apart_by_the_parameters_and_inputs_that_differ(shown: Shown) -> None:
    for rate in (0.5, 0.25):
        trained(rate)
    assert names(shown("train")) == ["train, rate=0.25", "train, rate=0.5"]
    other = trained(0.5, content="other")
    data = parse_rref(realize(instantiate(toys.text, content="other"))).dhash[:6]
    assert f"train, rate=0.5, data={data}" in names(shown("train"))
    assert names(shown(other)) == ["train"]


def test_instances_are_told_apart_by_their_numbers(shown: Shown) -> None:
    realize_many(instantiate(all_trained), instances=2)
    assert names(shown("train")) == ["train, instance 0", "train, instance 1"]


def test_what_nothing_else_tells_apart_has_the_start_of_its_hash(shown: Shown) -> None:
    first, second = (realize(instantiate(all_trained), force=True, args={"chance": True}) for _ in range(2))
    if first == second:  # one time in 256
        pytest.skip("both drew the same")
    assert names(shown("train")) == sorted(f"train, {hash_of(rref)}" for rref in (first, second))


@pytest.mark.parametrize(
    ("note", "name"),
    [
        ("a/b\\c:d", "train, note=a_b_c_d"),
        ("two\nlines\t\x1b[31m", "train, note=two_nlines_t_x1b[31m"),
        ("größe ✓ %2F&<b>", "train, note=größe ✓ %2F&_b_"),
        ("..", "train, note=.."),
        ("", "train, note="),
    ],
)
def test_odd_letters_make_a_name_that_is_one_folder(shown: Shown, note: str, name: str) -> None:
    trained(note=note)
    trained()
    tree = shown("train")
    assert set(names(tree)) == {name, "train, note=plain"}
    assert sorted(os.listdir(tree.folder)) == sorted(names(tree))


def test_long_names_are_cut_and_stay_apart(shown: Shown) -> None:
    long = "long-" * 39
    for end in ("1", "2"):
        logged({"parameter": "é" * 300 + end, "é" * 50: end}, long)
    tree = shown(long)
    assert len(set(names(tree))) == 2
    assert all(len(name.encode()) < 255 for name in os.listdir(tree.folder))


def logged(config: dict[str, Any], name: str = "logged") -> RRef:
    """A realization of any config, to which a log is added, which is in no hash."""
    rref = realize(instantiate(lambda: mknode(config, name=name)))
    folder = Path(rref2path(rref))
    folder.chmod(0o755)
    write_events(folder / "__log__", {"loss": {1: 1.0}})
    return rref


def test_parameters_of_every_kind_and_size_are_told(shown: Shown) -> None:
    config = {"count": 10**400, "text": "é\n", "none": None, "nested": {"a": [1, {}]}, "no": False, "small": -1e-300}
    logged(config)
    logged({**config, "nested": {"a": []}, "none": [1]})
    assert names(shown("logged")) == ["logged, nested={_a__ [1, {}]}, none=null", "logged, nested={_a__ []}, none=[1]"]


def test_three_hundred_are_linked_in_seconds(shown: Shown) -> None:
    for number in range(300):
        logged({"rate": number / 8, "other": number % 2})
    began = time.process_time()
    tree = shown("logged")
    assert len(set(names(tree))) == len(os.listdir(tree.folder)) == 300
    assert names(tree)[0] == "logged, other=0, rate=0.0"
    tree.refresh()
    assert time.process_time() - began < 10
    began = time.process_time()
    tree.refresh()
    assert time.process_time() - began < 1


# -- what is shown ----------------------------------------------------------------------------------------------------


def test_what_has_no_events_is_not_shown(shown: Shown) -> None:
    rref = trained()
    realize(instantiate(toys.all_counted))  # has a log, and no events in it
    assert [run.ref for run in shown().runs] == [rref]
    assert [run.ref for run in shown("train", "count", "text").runs] == [rref]
    assert not shown("count").runs


def test_a_text_that_stands_for_nothing_is_an_error_beside_others_that_do(shown: Shown) -> None:
    trained()
    with pytest.raises(NotInStore, match="did you mean train"):
        shown("train", "trian")
    with pytest.raises(NotInStore, match="x is not in the store"):
        shown("train", "x")


def test_names_patterns_hashes_paths_and_folders_are_taken(shown: Shown, tmp_path: Path) -> None:
    rref = trained()
    path = rref2path(rref)
    for text in (rref, "tra*", hash_of(rref), "train@best", path, f"{path}/__log__", f"{path}/__log__/valid"):
        assert [run.ref for run in shown(text).runs] == [rref], text
    assert len(shown("train", rref, path).runs) == 1
    write_events(tmp_path / "elsewhere" / "__log__", {"loss": {1: 1.0}})
    for folder in ("elsewhere", "elsewhere/__log__"):
        (run,) = shown(str(tmp_path / folder)).runs
        assert (run.name, run.ref, run.path) == ("elsewhere", "", str(tmp_path / "elsewhere" / "__log__"))


def test_links_lead_to_the_files_and_to_nothing_that_keeps_a_reader_for_ever(shown: Shown, tmp_path: Path) -> None:
    log = tmp_path / "odd"
    file = write_events(log / "deep" / "er", {"loss": {1: 1.0}})
    os.mkfifo(log / "events.out.tfevents.2")
    os.symlink("..", log / "deep" / "loop")
    os.symlink("nowhere", log / "events.out.tfevents.3")
    tree = shown(f"{log}/")
    links = [path for path in tree.folder.rglob("*") if not path.is_dir()]
    assert [link.relative_to(tree.folder) for link in links] == [Path("odd/deep/er") / file.name]
    assert links[0].samefile(file)


def test_what_is_built_later_comes_in_and_what_is_collected_goes(shown: Shown, store: Store) -> None:
    first = trained(0.5)
    named, one, everything = shown("train"), shown(first), shown()
    second = trained(0.25)
    other = logged({"a": 1})
    for tree in (named, one, everything):
        tree.refresh()
    assert [run.ref for run in one.runs] == [first]
    assert names(named) == ["train", "train, rate=0.25"]
    assert {run.ref for run in everything.runs} == {first, second, other}
    remove_tree(rref2path(second))  # as another process collects it
    for tree in (named, everything):
        tree.refresh()
    assert [run.ref for run in named.runs] == [first]
    assert {run.ref for run in everything.runs} == {first, other}
    assert os.listdir(named.folder) == ["train"]


# -- builds that run --------------------------------------------------------------------------------------------------


def test_a_build_that_runs_keeps_name_and_files_when_it_is_published(
    store: Store, shown: Shown, training: Training
) -> None:
    (folder,) = training.build_folders(store)
    trees = [shown("train"), shown(f"{folder}/__log__"), shown(), shown("tr?in")]
    files = set(trees[0].folder.rglob("*.v2"))
    before = {file: file.stat().st_ino for file in files}
    for tree in trees:
        (run,) = tree.runs
        assert run.name == "train"
        assert run.ref.startswith("dref:")
    rref = training.go_on()
    for tree in trees:
        tree.refresh()
        (run,) = tree.runs
        assert (run.name, run.ref) == ("train", rref)
    assert {file: file.stat().st_ino for file in files} == before
    published = Path(rref2path(RRef(rref)), "__log__", "train")
    assert next(published.iterdir()).samefile(next((trees[0].folder / "train" / "train").iterdir()))


def test_a_build_that_runs_stands_beside_what_is_published(store: Store, shown: Shown, tmp_path: Path) -> None:
    trained(0.25)
    tree = shown("train")
    training = Training(store, tmp_path / "gate")
    tree.refresh()
    assert names(tree) == ["train", "train, rate=0.5"]
    training.go_on()
    tree.refresh()
    assert names(tree) == ["train", "train, rate=0.5"]
    assert all(run.ref.startswith("rref:") for run in tree.runs)


def test_what_is_built_again_and_comes_out_the_same_is_shown_once(store: Store, shown: Shown, tmp_path: Path) -> None:
    rref = trained()
    tree = shown("train")
    gate = tmp_path / "gate"

    def again() -> None:
        with using_store(store):
            realize(instantiate(all_trained), force=True, args={"gate": str(gate)})

    thread = threading.Thread(target=again)
    thread.start()
    while not Training.build_folders(store):
        time.sleep(0.01)
    tree.refresh()
    assert len(tree.runs) == 2
    gate.touch()
    thread.join()
    tree.refresh()
    assert [(run.name, run.ref) for run in tree.runs] == [("train", rref)]
    assert os.listdir(tree.folder) == ["train"]


def test_what_an_attempt_left_goes_when_the_next_one_begins(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write_events(folder / "__log__", {"loss": {1: 1.0}}, "1")
    dref = instantiate(all_trained).result
    tree = LogTree(store, (), [RunningBuild(str(dref), 0, str(folder), 0.0)], tmp_path / "links")
    shutil.rmtree(folder)
    tree.refresh()  # as while it moves into the store
    assert [path.name for path in (tree.folder / "train").glob("*.v2")] == ["events.out.tfevents.1.host.1.0.v2"]
    write_events(folder / "__log__", {"loss": {1: 2.0}}, "2")
    tree.refresh()
    assert [path.name for path in (tree.folder / "train").glob("*.v2")] == ["events.out.tfevents.2.host.1.0.v2"]


def test_where_no_hard_link_can_be_there_is_a_symbolic_one(store: Store, tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        file = write_events(Path(folder) / "__log__", {"loss": {1: 1.0}})
        build = RunningBuild(str(instantiate(all_trained).result), 0, folder, 0.0)
        tree = LogTree(store, (), [build], tmp_path / "links")
        link = tree.folder / "train" / file.name
        assert link.is_symlink()
        assert link.read_bytes() == file.read_bytes()


def test_a_build_whose_run_was_killed_does_not_run(store: Store, tmp_path: Path) -> None:
    program = (
        "import os; from stagedml import *; from inspection.trainings import all_trained\n"
        f"store_initialize({str(store.layout.root)!r})\n"
        f"realize(instantiate(all_trained), args={{'gate': {str(tmp_path / 'never')!r}}})\n"
    )
    running = RunningBuilds(store)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment)
    while not running.now():
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not running.now()
