"""What a builder's names stand for may not change between declaration and realize: the builder would be another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from authoring.workshop import Workshop

HELPERS = """\
K = 3
CACHE = None
class Config:
    size = 1
def twice(x):
    return 2 * x
def cached():
    global CACHE
    if CACHE is None:
        CACHE = object()
    return 1
"""
STAGES = """\
import helpers
from helpers import twice
from stagedml import Artifact, Build, RefPath, instantiate, mklens, output, realize, stage, store_initialize
class Text(Artifact):
    text: RefPath
@stage(Text, name="first")
def first(build: Build, *, text: RefPath = output("text")) -> None:
    build.path(text).write_text(f"{twice(helpers.K)} {helpers.Config.size} {helpers.cached()}")
@stage(Text, name="second")
def second(build: Build, *, of: Text, text: RefPath = output("text")) -> None:
    build.path(text).write_text(build.path(of.text).read_text() + str(helpers.cached()))
def both():
    return second(of=first())
def text(target):
    return mklens(realize(target)).text.contents
"""


def outcome(workshop: Workshop, folder: Path, *steps: tuple[str, ...]) -> list[str]:
    (folder / "helpers.py").write_text(HELPERS)
    (folder / "project.py").write_text(STAGES)
    begin = "import project, helpers; project.store_initialize('store'); target = project.instantiate(project.both)"
    return workshop.experiment(folder, ("run", begin), *steps, ("answer", "project.text(target)"))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ("helpers.K = 4", "K"),
        ("project.twice = lambda x: 5 * x", "twice"),
        ("helpers.Config.size = 2", "Config"),
        ("helpers.cached = lambda: 7", "cached"),
    ],
)
def test_what_changed_since_it_was_declared_is_refused(
    workshop: Workshop, tmp_path: Path, change: str, name: str
) -> None:
    (answer,) = outcome(workshop, tmp_path, ("run", change))
    assert answer.startswith("ChangedSinceDeclared")
    assert f"({name})" in answer


def test_a_module_that_was_edited_and_reloaded_is_refused_and_one_that_was_only_reloaded_is_not(
    workshop: Workshop, tmp_path: Path
) -> None:
    assert outcome(workshop, tmp_path, ("reload", "helpers")) == ["6 1 11"]
    other = tmp_path / "other"
    other.mkdir()
    steps = (("write", "helpers.py", HELPERS.replace("K = 3", "K = 5")), ("reload", "helpers"))
    (answer,) = outcome(workshop, other, *steps)
    assert answer.startswith("ChangedSinceDeclared")


def test_what_code_changes_itself_is_no_reason_to_refuse(workshop: Workshop, tmp_path: Path) -> None:
    assert outcome(workshop, tmp_path, ("run", "helpers.cached()")) == ["6 1 11"]


def test_an_edit_of_the_file_alone_is_none(workshop: Workshop, tmp_path: Path) -> None:
    assert outcome(workshop, tmp_path, ("write", "helpers.py", HELPERS.replace("K = 3", "K = 5"))) == ["6 1 11"]


def test_a_cell_that_was_run_again_is_refused_and_what_is_declared_anew_is_right(
    workshop: Workshop, tmp_path: Path
) -> None:
    cell = """
from stagedml import *
class Text(Artifact):
    text: RefPath
def mark(s):
    return s + "!"
@stage(Text, name="cell")
def cell(build: Build, *, text: RefPath = output("text")) -> None:
    build.path(text).write_text(mark("a"))
"""
    answers = workshop.experiment(
        tmp_path,
        ("cell", "from stagedml import store_initialize; store_initialize('store')"),
        ("cell", cell),
        ("cell", "target = instantiate(cell)"),
        ("cell", "def mark(s):\n    return s + '?'\n"),
        ("cell", "realize(target)"),
        ("cell", "open('answer', 'w').write(mklens(realize(instantiate(cell))).text.contents)"),
        ("cell", "def mark(s):\n    return s + '!'\n"),
        ("cell", "open('answer', 'a').write(mklens(realize(instantiate(cell))).text.contents)"),
    )
    assert len(answers) == 1
    assert answers[0].startswith("ChangedSinceDeclared")
    assert (tmp_path / "answer").read_text() == "a?a!"
