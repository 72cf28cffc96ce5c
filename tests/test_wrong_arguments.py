"""What is no proper argument at all gets an error that says what to pass, not Python's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stagedml
from stagedml import Artifact, Store, UsageError, instantiate, realize, using_store
from stagedml.settings import read_settings
from stagedml.testing import toys

s: Any = stagedml  # what a type checker refuses


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with using_store(Store.open(read_settings({}, root=tmp_path / "store"))) as opened:
        yield opened


def target() -> Any:
    return instantiate(toys.text, content="a")


def declared(function: Callable[[], Any]) -> Any:
    return instantiate(function)


CASES: dict[str, tuple[Callable[[], Any], str]] = {
    "realize(link=5)": (lambda: s.realize(target(), link=5), "link=5: give a path, such as 'mrpc/first'"),
    "realize(link='')": (lambda: s.realize(target(), link=""), "give NAME, FOLDER/NAME, or ./PATH"),
    "realize(link='a\\0')": (lambda: s.realize(target(), link="a\0"), "link='a\\x00': give a path"),
    "realize(keep_going='no')": (lambda: s.realize(target(), keep_going="no"), "keep_going='no': give True or False"),
    "check(tolerance=1e-3)": (
        lambda: s.check(target(), tolerance=1e-3),
        "check(tolerance=0.001): give a value such as",
    ),
    "gc('x')": (lambda: s.gc("x"), "gc(force='x'): give True or False"),
    "realize(link=b'')": (lambda: s.realize(target(), link=b"x"), "link=b'x': give a path"),
    "realize_many(link=[])": (lambda: s.realize_many(target(), link=[]), "link=[]: give a path"),
    "lrealize(5)": (lambda: s.lrealize(target(), 5), "link=5: give a path"),
    "linkrref(link=5)": (lambda: s.linkrref(realize(target()), 5), "link=5: give a path"),
    "linkrrefs(folder=5)": (lambda: s.linkrrefs([realize(target())], 5), "link=5: give a path"),
    "store_initialize(5)": (lambda: s.store_initialize(5), "root=5: give a folder, as a str or a path object"),
    "store_initialize(False)": (lambda: s.store_initialize(False), "root=False: give a folder"),
    "store_initialize(b'x')": (lambda: s.store_initialize(b"x"), "root=b'x': give a folder"),
    "store_initialize(storage=5)": (lambda: s.store_initialize("x", storage=5), "storage=5: give a folder"),
    "store_initialize(tmp=[])": (lambda: s.store_initialize("x", tmp=[]), "tmp=[]: give a folder"),
    "best(of='x')": (lambda: s.best("f1", of="x"), "best(of='x'): of must be a whole number, at least 1"),
    "best(of=0)": (lambda: s.best("f1", of=0), "best(of=0): of must be a whole number"),
    "best(5)": (lambda: s.best(5), "best(metric=5): metric must be a name, such as 'eval_accuracy'"),
    "best(file=5)": (lambda: s.best("f1", file=5), "best(file=5): file must be a name, such as 'metrics.json'"),
    "latest('x')": (lambda: s.latest("x"), "latest(n='x'): n must be a whole number, at least 1"),
    "latest(1.5)": (lambda: s.latest(1.5), "latest(n=1.5): n must be a whole number"),
    "latest(True)": (lambda: s.latest(True), "latest(n=True): n must be a whole number"),
    "exactly(5)": (lambda: s.exactly(5), "'5' is not a reference: expected rref:"),
    "realize(force=3)": (lambda: s.realize(target(), force=3), "force=3: pass True, or stages, their names"),
    "realize(force=None)": (lambda: s.realize(target(), force=None), "force=None: pass True"),
    "realize(force=[3])": (lambda: s.realize(target(), force=[3]), "force=[3]: pass True"),
    "realize(force=[None])": (lambda: s.realize(target(), force=[None]), "force=[None]: pass True"),
    "plan(force=3)": (lambda: s.plan(target(), force=3), "force=3: pass True"),
    "realize(args=3)": (lambda: s.realize(target(), args=3), "args=3: wanted a dict of Exec values"),
    "realize_many(instances='2')": (
        lambda: s.realize_many(target(), instances="2"),
        "instances='2': ask for a whole number, at least one",
    ),
    "realize(stage)": (lambda: s.realize(toys.text), "cannot be realized; pass what `instantiate(stage, ...)`"),
    "plan(5)": (lambda: s.plan(5), "5 cannot be realized; pass what `instantiate(stage, ...)`"),
    "plan(instances='2')": (lambda: s.plan(target(), instances="2"), "instances='2': ask for a whole number"),
    "pinned(5, T)": (lambda: declared(lambda: s.pinned(5, toys.Text)), "'5' is not a reference: expected rref:"),
    "pinned(rref, 5)": (
        lambda: (rref := realize(target())) and declared(lambda: s.pinned(rref, 5)),
        "cannot be pinned as 5: give the artifact type that it holds",
    ),
    "pinned(rref, str)": (
        lambda: (rref := realize(target())) and declared(lambda: s.pinned(rref, str)),
        "give the artifact type that it holds, a class derived from Artifact",
    ),
    "redefine(5)": (lambda: s.redefine(5), "redefine(5): pass a stage function"),
    "redefine(new_config=5)": (lambda: s.redefine(toys.text, 5), "redefine(text): new_config=5 is no function"),
    "redefine(new_config={})": (lambda: s.redefine(toys.text, {"content": "b"}), "new_config={'content': 'b'} is no"),
    "redefine(new_matcher=5)": (lambda: s.redefine(toys.text, new_matcher=5), "new_matcher=5 is no function"),
    "redefine(at=5)": (lambda: s.redefine(toys.text, at=5), "at=5 is no stage; name a function that is decorated"),
    "redefine(at=function)": (lambda: s.redefine(toys.all_counted, at=toys.all_counted), "is no stage; name a func"),
    "instantiate(5)": (lambda: s.instantiate(5), "5 is no stage function"),
    "realized(5)": (lambda: s.realized(5), "realized(5): pass a stage function"),
    "rref2path(5)": (lambda: s.rref2path(5), "'5' is not a reference"),
    "lsref(5)": (lambda: s.lsref(5), "'5' is not a reference"),
    "lsref('rref:x')": (lambda: s.lsref("rref:x"), "'rref:x' is not a reference: expected rref:"),
    "lsref('dref:x')": (lambda: s.lsref("dref:x"), "'dref:x' is not a reference: expected dref:"),
    "lsref(folder=5)": (lambda: s.lsref(realize(target()), 5), "5 is no path; give one relative to the realization"),
    "catref(dref)": (lambda: s.catref(str(target().result), "x"), "is not a reference: expected rref:"),
    "catref(path=None)": (lambda: s.catref(realize(target()), None), "None is no path; give one relative"),
    "find(5)": (lambda: s.find(5), "find(5): give the name of a stage, such as 'bert-*'"),
    "du(5)": (lambda: s.du(5), "5 is no realization; give a reference"),
    "diff(None, 'b')": (lambda: s.diff(None, "b"), "None is no realization; give a reference"),
    "shell(5)": (lambda: s.shell(5), "5 is no realization; give a reference"),
    "runtb(5)": (lambda: s.runtb(5), "runtb(5): give realizations, names of stages, folders of logs, or a build"),
    "runtb(port='x')": (lambda: s.runtb(port="x"), "port='x': give a number up to 65535"),
    "runtb(host=5)": (lambda: s.runtb(host=5), "host=5: give an address of this machine"),
    "runtb([rref])": (lambda: s.runtb([realize(target())]), "]): give realizations, names of stages"),
    "mklens(5)": (lambda: s.mklens(5), "wanted a reference, a closure, a build or a dict, got 5"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_argument_is_named_with_what_to_pass(store: Store, case: str) -> None:
    call, complaint = CASES[case]
    with pytest.raises(UsageError, match=re.escape(complaint)):
        call()


def test_paths_of_any_kind_that_are_right_are_taken(store: Store, tmp_path: Path) -> None:
    rref = realize(target(), link=Path("by/path"))
    assert s.linkrref(rref, tmp_path / "anywhere") == str(tmp_path / "anywhere")
    assert issubclass(toys.Text, Artifact)
