"""Progress below a cell: one output, drawn anew a few times a second at most, with a line for what is over."""

from __future__ import annotations

import itertools
import re
import threading
import time
from pathlib import Path

import pytest

from notebooks.conftest import Session
from notebooks.kernels import executed, notebook_of, outputs
from notebooks.test_views import read
from stagedml import Store, instantiate, realize, realize_many
from stagedml.engine import console
from stagedml.notebook.html import Markup
from stagedml.notebook.progress import NotebookObserver
from stagedml.testing import toys

DREFS = [f"dref:{number:032x}-stage-{number}" for number in range(1_000)]
RREF = "rref:" + "a" * 32 + "-" + "b" * 32 + "-old"


class Screen:
    """What was drawn, and when."""

    def __init__(self) -> None:
        self.drawn: list[tuple[float, Markup, str]] = []

    def __call__(self, drawing: Markup, text: str) -> None:
        self.drawn.append((time.monotonic(), drawing, text))

    @property
    def last(self) -> str:
        return read(self.drawn[-1][1]).text

    def wait_for(self, words: str) -> None:
        deadline = time.monotonic() + 10
        while words not in self.last:
            assert time.monotonic() < deadline, self.last
            time.sleep(0.01)


@pytest.fixture
def screen() -> Screen:
    return Screen()


def test_what_comes_too_soon_is_drawn_a_moment_later_and_not_more_often(screen: Screen) -> None:
    observer = NotebookObserver(screen)
    for dref in DREFS[:-1]:
        observer.started(dref, 0, Path())
        observer.finished(dref, RREF, 0.0)
    observer.started(DREFS[-1], 2, Path())
    screen.wait_for("stage-999, instance 2")  # although nothing more happens
    moments = [moment for moment, _, _ in screen.drawn]
    assert all(later - earlier > 0.15 for earlier, later in itertools.pairwise(moments))
    assert "987 before these" in screen.last
    observer.ended()
    assert "instance 2" not in screen.last


def test_a_build_shows_a_bar_its_last_words_and_messages(screen: Screen) -> None:
    observer = NotebookObserver(screen)
    observer.started(DREFS[0], 0, Path())
    observer.progress(DREFS[0], "train <b>", 3, 4, "steps", "loss 0.1")
    observer.message(DREFS[0], "look at <there>")
    observer.waiting(DREFS[1], "process 5")
    screen.wait_for("3/4 steps")
    screen.wait_for("waiting for process 5, which builds it")
    assert "look at <there>" in screen.last
    assert 'value="0.750"' in screen.drawn[-1][1]
    observer.adopted(DREFS[1], RREF, RREF)
    observer.failed(DREFS[0], ValueError("x"))
    observer.ended()
    assert "failed: ValueError" in screen.last
    assert "adopted aaaaaa instead of being built" in screen.last
    assert screen.drawn[-1][2] == "stage-1: adopted aaaaaa instead of being built\nstage-0: failed: ValueError"


def test_nothing_is_drawn_where_nothing_is_built(store: Store, screen: Screen) -> None:
    realize(instantiate(toys.all_counted), observer=NotebookObserver(screen))
    assert screen.last.count("built in") == 3
    before = len(screen.drawn)
    realize(instantiate(toys.all_counted), observer=NotebookObserver(screen))
    assert len(screen.drawn) == before


def test_builds_apart_are_told_from_several_threads(store: Store, screen: Screen) -> None:
    observer = NotebookObserver(screen)
    target = instantiate(lambda: [toys.text(content=str(number)) for number in range(8)])
    realize_many(target, jobs=4, observer=observer)
    assert screen.last.count("built in") == 8
    threads = [threading.Thread(target=observer.message, args=(DREFS[0], str(number))) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    observer.ended()


def test_a_session_that_is_no_kernel_keeps_its_display(session: Session) -> None:
    assert type(console.default_observer()).__name__ != "NotebookObserver"
    console.show_with(lambda: NotebookObserver(Screen()))
    assert type(console.default_observer()).__name__ == "NotebookObserver"
    session.run("%unload_ext stagedml")
    assert type(console.default_observer()).__name__ != "NotebookObserver"


SLOW = """
%load_ext stagedml
import time
from stagedml import *
store_initialize('store')
class Slow(Artifact):
    text: RefPath
@stage(Slow, name="slow")
def slow(build: Build, *, number: int, text: RefPath = output("text.txt")) -> None:
    for step in range(10):
        build.progress("count", step, 10, "steps")
        time.sleep(0.05)
    build.path(text).write_text("done")
def all_slow(): return [slow(number=1), slow(number=2)]
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_kernel_shows_one_output_that_ends_with_a_line_for_each_build(tmp_path: Path, jobs: int) -> None:
    notebook = executed(notebook_of(SLOW, f"found = %realize all_slow -j {jobs}", "%realize all_slow"), tmp_path)
    _, first, second = notebook.cells
    (shown,) = outputs(first, "text/html")
    assert read(shown).text.count("built in") == 2
    assert "building" not in read(shown).text
    assert len(re.findall(r"slow [0-9a-f]{6}: built in", outputs(first, "text/plain")[0])) == 2
    assert len(second.outputs) == 1, "nothing was built: the result alone"
    assert "stderr" not in str(notebook.cells)
