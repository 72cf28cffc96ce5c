"""The oracle: after any edits, a store that reuses what it can gives what an empty store builds from nothing.

A project of a few stages is edited at random: parameters, helpers, comments, which stage reads which in what order, who
chooses among instances. After each edit it is realized in a store that has seen all before, and in an empty one. Both
must give the same references and the same bytes, and what the first one built must be what had to be.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from stagedml import instantiate, realize, using_store
from stagedml.core.refs import parse_rref
from stagedml.engine.events import Observer
from stagedml.settings import read_settings
from stagedml.store import atomic
from stagedml.store.objects import Store
from stagedml.store.verify import verify

#: Of these, one has instances, of which the next ones may take the best.
MOST_STAGES = 6


@dataclass(frozen=True)
class StageText:
    """One stage of a project, as its source has it.

    Attributes:
        value: a parameter.
        helper: a constant in a helper of its own.
        shared: whether it calls the helper that all share.
        coarse: whether its output tells only tens of what it computes, so that many edits do not show.
        inputs: which stages it reads, in order.
        comment: in its body, and nowhere else.
        best: it draws a number for each of so many instances, and stands for the best; 0 for a stage without.
    """

    value: int = 0
    helper: int = 0
    shared: bool = False
    coarse: bool = False
    inputs: tuple[int, ...] = ()
    comment: int = 0
    best: int = 0


@dataclass(frozen=True)
class Project:
    """Its stages, each after its inputs, and the constant of the helper that they share."""

    stages: tuple[StageText, ...]
    shared: int = 0
    layout: int = field(default=0)  #: blank lines and comments between definitions

    def files(self) -> dict[str, str]:
        """The source of its two modules."""
        gap = "\n" * (2 + self.layout % 3) + f"# {self.layout}\n"
        helpers = [f"def shared(x: int) -> int:\n    return x + {self.shared}\n"]
        stages = [HEAD]
        for number, one in enumerate(self.stages):
            helpers.append(f"def helper{number}(x: int) -> int:\n    # {self.layout}\n    return x + {one.helper}\n")
            stages.append(_source(number, one))
        calls = [
            f"    s{number} = stage{number}(value={one.value}, inputs=[{', '.join(f's{i}' for i in one.inputs)}])\n"
            for number, one in enumerate(self.stages)
        ]
        stages.append(f"def everything():\n{''.join(calls)}    return s{len(self.stages) - 1}\n")
        return {"project_helpers.py": gap.join(helpers), "project.py": gap.join(stages)}


HEAD = """\
import json
import random

import project_helpers
from stagedml import Artifact, Build, RefPath, best, output, stage


class Out(Artifact):
    text: RefPath
    metrics: RefPath
"""


def _source(number: int, one: StageText) -> str:
    matcher = f', matcher=best("score", of={one.best})' if one.best else ""
    computed = f"project_helpers.helper{number}(value)"
    if one.shared:
        computed = f"project_helpers.shared({computed})"
    drawn = "random.Random(build.seed).randrange(100)" if one.best else "0"
    return f'''\
@stage(Out, name="stage-{number}"{matcher})
def stage{number}(
    build: Build,
    *,
    value: int,
    inputs: list[Out],
    text: RefPath = output("text.txt"),
    metrics: RefPath = output("metrics.json"),
) -> None:
    """Comment {one.comment}."""
    read = [build.path(one.text).read_text() for one in inputs]  # {one.comment}
    drawn = {drawn}
    computed = {computed} + drawn
    computed = computed // 10 if {one.coarse} else computed
    build.path(text).write_text(f"{number}:{{computed}}({{','.join(read)}})")
    build.path(metrics).write_text(json.dumps({{"score": drawn}}))
'''


class Builds(Observer):
    """Which derivations were built, by name, with each instance."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, dref: str, instance: int, outpath: Path) -> None:
        self.names.append(dref[5 + 33 :])


def realized(folder: Path, root: Path) -> dict[str, Any]:
    """What a fresh process gets of the project in a folder, with this store: reference, text and what it built."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        answer: dict[str, Any]
        try:
            sys.path.insert(0, str(folder))
            sys.dont_write_bytecode = True
            import project  # type: ignore[import-not-found]

            builds = Builds()
            store = Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=root))
            with using_store(store):
                rref = realize(instantiate(project.everything), observer=builds)
                again = Builds()
                assert realize(instantiate(project.everything), observer=again) == rref
                assert again.names == []
            text = (store.path(parse_rref(rref)) / "text.txt").read_text()
            answer = {"rref": rref, "text": text, "built": builds.names}
        except BaseException:
            answer = {"failed": traceback.format_exc()}
        with os.fdopen(writing, "w") as stream:
            stream.write(json.dumps(answer))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        got: dict[str, Any] = json.loads(stream.read())
    os.waitpid(child, 0)
    assert "failed" not in got, got["failed"]
    return got


class Edits(RuleBasedStateMachine):
    """Edits of a project, and after each both stores."""

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="stagedml-oracle-"))
        self.steps = 0
        count = data.draw(st.integers(2, MOST_STAGES))
        stages = []
        for number in range(count):
            inputs = data.draw(st.lists(st.sampled_from(range(number)), unique=True, max_size=3)) if number else []
            if number == count - 1 and not inputs:
                inputs = [number - 1]
            stages.append(
                StageText(
                    inputs=tuple(inputs),
                    shared=data.draw(st.booleans()),
                    coarse=data.draw(st.booleans()),
                    best=data.draw(st.sampled_from([0, 0, 0, 2])),
                )
            )
        self.project = Project(tuple(stages))
        self.seen: set[str] = set()
        self.check()

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            atomic.remove_tree(self.folder)

    def edit(self, number: int, **changes: Any) -> None:
        stages = list(self.project.stages)
        stages[number % len(stages)] = replace(stages[number % len(stages)], **changes)
        self.project = replace(self.project, stages=tuple(stages))
        self.check()

    def check(self) -> None:
        self.steps += 1
        source = self.folder / f"source-{self.steps}"
        source.mkdir()
        for name, text in self.project.files().items():
            (source / name).write_text(text)
        reused = realized(source, self.folder / "seen")
        fresh = realized(source, self.folder / f"empty-{self.steps}")
        assert reused["text"] == fresh["text"]
        assert reused["rref"] == fresh["rref"]
        assert set(reused["built"]) <= set(fresh["built"])
        assert not reused["built"] or self.key() not in self.seen
        self.seen.add(self.key())
        for root in ("seen", f"empty-{self.steps}"):
            assert verify(Store.open(read_settings({}, root=self.folder / root))).findings == ()
        atomic.remove_tree(self.folder / f"empty-{self.steps}")

    def key(self) -> str:
        """The project without what must not count."""
        stages = tuple(replace(one, comment=0) for one in self.project.stages)
        return repr((stages, self.project.shared if any(one.shared for one in stages) else 0))

    @rule(number=st.integers(0, MOST_STAGES - 1), value=st.integers(0, 30))
    def another_value(self, number: int, value: int) -> None:
        self.edit(number, value=value)

    @rule(number=st.integers(0, MOST_STAGES - 1), helper=st.integers(0, 30))
    def another_helper(self, number: int, helper: int) -> None:
        self.edit(number, helper=helper)

    @rule(shared=st.integers(0, 30))
    def another_shared_helper(self, shared: int) -> None:
        self.project = replace(self.project, shared=shared)
        self.check()

    @rule(number=st.integers(0, MOST_STAGES - 1), comment=st.integers(0, 3), layout=st.integers(0, 5))
    def nothing_but_looks(self, number: int, comment: int, layout: int) -> None:
        self.project = replace(self.project, layout=layout)
        self.edit(number, comment=comment)

    @rule(number=st.integers(0, MOST_STAGES - 1), shared=st.booleans(), coarse=st.booleans())
    def another_body(self, number: int, shared: bool, coarse: bool) -> None:
        self.edit(number, shared=shared, coarse=coarse)

    @rule(number=st.integers(0, MOST_STAGES - 1))
    def more_instances(self, number: int) -> None:
        """Of fewer, a store that has more would choose among more than an empty one."""
        best = self.project.stages[number % len(self.project.stages)].best
        self.edit(number, best=min(best + 1, 4) if best else 0)

    @rule(number=st.integers(1, MOST_STAGES - 1), data=st.data())
    def other_inputs(self, number: int, data: st.DataObject) -> None:
        place = number % len(self.project.stages)
        if place:
            order = data.draw(st.permutations(range(place)))
            self.edit(place, inputs=tuple(order[: data.draw(st.integers(1, 3))]))


def drive(examples: int) -> None:
    run_state_machine_as_test(Edits, settings=settings(max_examples=examples, stateful_step_count=12, deadline=None))


def test_reusing_gives_what_building_from_nothing_gives() -> None:
    drive(6)


@pytest.mark.slow
def test_reusing_gives_what_building_from_nothing_gives_for_long() -> None:
    drive(150)
