"""The oracle: after any edits, a store that reuses and adopts what it can gives what an empty store builds.

A project of a few stages is edited at random: parameters, helpers, comments, names, which stage reads which in what
order and how, what is declared beside equal bytes, who chooses among instances, a local file. Realizations are removed
and collected in between. After each edit it is realized in a store that has seen all before, and in an empty one. Both
must give the same references and the same bytes, and what the first one built must be what had to be.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from stagedml import gc, instantiate, realize, realize_many, rmref, using_store
from stagedml.core.plan import Verdict
from stagedml.core.refs import parse_rref
from stagedml.engine.events import Observer
from stagedml.engine.realize import plan
from stagedml.settings import read_settings
from stagedml.store import atomic
from stagedml.store.gc import Policy
from stagedml.store.objects import Store
from stagedml.store.verify import verify

#: Of these, one has instances, of which the next ones may take the best.
MOST_STAGES = 5
RAWS = 3

#: How a stage reads its inputs: an expression for what it gets of them, as source.
READERS = {
    "texts": "[texts(build, one.text) for one in inputs]",
    "nested": "[build.path(one.source.text).read_text() for one in inputs]",
    "declared": "[(texts(build, one.text), one.cased) for one in inputs]",
    "which": "[inputs.index(one) for one in inputs], [texts(build, one.text) for one in inputs]",
    "sources": "[[one.source == other.source for one in inputs] for other in inputs]",
    "sorted": "[texts(build, one.text) for one in sorted(inputs)]",
    "sorted_paths": "[path.read_text() for path in sorted(path for one in inputs for path in build.paths(one.text))]",
    "sorted_fields": "[texts(build, text) for text in sorted(one.text for one in inputs)]",
    "sorted_config": "[texts(build, [one, 'text.txt']) for one in sorted(build.config['inputs'])]",
    "spelt": "[str(one) for one in inputs]",
    "spelt_source": "[str(one.source) for one in inputs]",
    "spelt_path": "['/'.join(path.parts[-3:]) for one in inputs for path in build.paths(one.text)]",
    "spelt_name": "[(build.outpath / f'of-{one}').write_text('') for one in inputs]",
    "spelt_link": "[(build.outpath / f'to-{at}').symlink_to(str(one)) for at, one in enumerate(inputs)]",
    "config": "json.dumps(build.config, sort_keys=True)",
    "own": "build.config['value'], len(build.config['inputs'])",
    "lens": "mklens(build).source.note.val",
    "lens_input": "[mklens(one).note.val for one in inputs]",
}
#: What to change behind a stage that reads so, lest the wrong thing be adopted; see `Edits.behind`.
DANGERS = {
    "texts": ["raw", "note"],
    "nested": ["raw", "source"],
    "declared": ["cased", "note"],
    "which": ["alike", "note"],
    "sources": ["source", "alike"],
    "own": ["value", "notes"],
    "lens": ["own_source"],
    "lens_input": ["note"],
}  #: of all others: the order of inputs, and notes of what they read
#: Of these, adoption is wrong where bytes are equal and something else is not.
SUBTLE = ["declared", "nested", "which", "sources", "spelt", "sorted_paths"]
#: Those whose output names what they read.
SPELLING = frozenset({"spelt", "spelt_source", "spelt_path", "spelt_name", "spelt_link", "config"})


@dataclass(frozen=True)
class StageText:
    """One stage of a project, as its source has it.

    Attributes:
        value: a parameter.
        note: a parameter that changes no byte.
        cased: a parameter that changes no byte, and that others may read.
        helper: a constant in a helper of its own.
        shared: whether it calls the helper that all share.
        coarse: whether its output tells only tens of what it computes, so that many edits do not show.
        inputs: which stages it reads, in order, perhaps one several times.
        reader: how it reads them.
        source: which of the project's raw texts it names.
        is_local: whether it reads the local file.
        comment: in its body, and nowhere else.
        version: of its name.
        extra: the default of a parameter that nobody gives; 0 if there is no such parameter.
        choice: who stands for it: it draws a number for each instance if that is `best`, `latest` or `every`.
        count: of how many.
    """

    value: int = 0
    note: int = 0
    cased: bool = False
    helper: int = 0
    shared: bool = False
    coarse: bool = False
    inputs: tuple[int, ...] = ()
    reader: str = "texts"
    source: int = 0
    is_local: bool = False
    comment: int = 0
    version: int = 0
    extra: int = 0
    choice: str = ""
    count: int = 1

    @property
    def matcher(self) -> str:
        """The argument of its decorator."""
        named = {"best": f'best("score", of={self.count})', "latest": f"latest({self.count})", "every": "every()"}
        return f", matcher={named[self.choice]}" if self.choice else ""


@dataclass(frozen=True)
class Raw:
    """A text that stages begin with: what it says, and a parameter that changes no byte."""

    content: int = 0
    note: int = 0


@dataclass(frozen=True)
class Project:
    """Its stages, each after its inputs; the raw texts; what the local file says; the constant of the helper that all
    share; and how many instances of the last stage are wanted, 0 for one realization."""

    stages: tuple[StageText, ...]
    raws: tuple[Raw, ...] = (Raw(),) * RAWS
    local: int = 0
    shared: int = 0
    instances: int = 0
    layout: int = 0  #: blank lines and comments between definitions

    def files(self) -> dict[str, str]:
        """The source of its two modules, and the local file."""
        gap = "\n" * (2 + self.layout % 3) + f"# {self.layout}\n"
        helpers = [f"def shared(x: int) -> int:\n    return x + {self.shared}\n"]
        stages = [HEAD]
        last = len(self.stages) - 1
        for number, one in enumerate(self.stages):
            helpers.append(f"def helper{number}(x: int) -> int:\n    # {self.layout}\n    return x + {one.helper}\n")
            stages.append(_source(number, one, draws=bool(one.choice) or number == last))
        calls = [f"    raw{at} = raw(content={raw.content}, note={raw.note})\n" for at, raw in enumerate(self.raws)]
        for number, one in enumerate(self.stages):
            calls.append(
                f"    s{number} = stage{number}(value={one.value}, note={one.note}, cased={one.cased},"
                f" inputs=[{', '.join(f's{i}' for i in one.inputs)}], source=raw{one.source},"
                f" local=[{'fetchlocal(LOCAL)' if one.is_local else ''}])\n"
            )
        stages.append(f"def everything():\n{''.join(calls)}    return s{last}\n")
        return {
            "project_helpers.py": gap.join(helpers),
            "project.py": gap.join(stages),
            "local.txt": f"local {self.local}",
        }


HEAD = """\
import json
import random
from pathlib import Path

import project_helpers
from stagedml import Artifact, Build, RefPath, best, every, latest, mklens, output, stage
from stagedml.stages.fetch import fetchlocal
from stagedml.types import File

LOCAL = Path(__file__).with_name("local.txt")


class Raw(Artifact):
    text: RefPath


class Out(Artifact):
    text: RefPath
    metrics: RefPath
    cased: bool
    source: Raw


@stage(Raw, name="raw")
def raw(build: Build, *, content: int, note: int, text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text(f"raw {content}")


def texts(build: Build, path: RefPath) -> str:
    return "+".join(one.read_text() for one in build.paths(path))
"""


def _source(number: int, one: StageText, *, draws: bool) -> str:
    computed = f"project_helpers.helper{number}(value)"
    if one.shared:
        computed = f"project_helpers.shared({computed})"
    drawn = "random.Random(build.seed).randrange(100)" if draws else "0"
    extra = f"\n    extra: int = {one.extra}," if one.extra else ""
    return f'''\
@stage(Out, name="stage-{number}-{one.version}"{one.matcher})
def stage{number}(
    build: Build,
    *,
    value: int,
    note: int,
    cased: bool,
    inputs: list[Out],
    source: Raw,
    local: list[File],{extra}
    text: RefPath = output("text.txt"),
    metrics: RefPath = output("metrics.json"),
) -> None:
    """Comment {one.comment}."""
    read = {READERS[one.reader]}  # {one.comment}
    found = [build.path(one.file).read_text() for one in local]
    drawn = {drawn}
    computed = {computed} + drawn
    computed = computed // 10 if {one.coarse} else computed
    build.path(text).write_text(f"{{computed}}{{found}}({{read}})"[:4000])
    build.path(metrics).write_text(json.dumps({{"score": drawn}}))
'''


@dataclass(frozen=True)
class Built:
    """One build that an observer saw."""

    dref: str
    instance: int
    key: str
    is_adoptable: bool


class Made(Observer):
    """What was built, and which derivations were adopted."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.built: list[Built] = []
        self.adopted_: list[str] = []

    def started(self, dref: str, instance: int, outpath: Path) -> None:
        self.instance = instance

    def finished(self, dref: str, rref: str, seconds: float) -> None:
        known = self.store.metadata(parse_rref(rref))
        assert known is not None
        build = known.builds[-1]
        assert build.instance == self.instance
        self.built.append(Built(dref, build.instance, build.key, bool(build.key) and not build.reads))

    def adopted(self, dref: str, rref: str, source: str) -> None:
        assert rref != source
        self.adopted_.append(dref)


def realized(folder: Path, root: Path, instances: int) -> dict[str, Any]:
    """What a fresh process gets of the project in a folder, with this store: references, texts and what it made."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        answer: dict[str, Any]
        try:
            sys.path.insert(0, str(folder))
            sys.dont_write_bytecode = True
            import project  # type: ignore[import-not-found]

            with using_store(opened(root)) as store:
                answer = _realized(store, project.everything, instances)
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


def _realized(store: Store, everything: Any, instances: int) -> dict[str, Any]:
    def all_of(observer: Observer) -> list[str]:
        target = instantiate(everything)
        if instances:
            return list(realize_many(target, instances=instances, observer=observer))
        return [realize(target, observer=observer)]

    drawn = {} if instances else {step.dref: step.verdict.value for step in plan(instantiate(everything)).steps}
    made, again = Made(store), Made(store)
    rrefs = all_of(made)
    assert all_of(again) == rrefs
    assert (again.built, again.adopted_) == ([], [])
    return {
        "rrefs": rrefs,
        "texts": [(store.path(parse_rref(rref)) / "text.txt").read_text() for rref in rrefs],
        "built": [(one.dref, one.instance, one.key, one.is_adoptable) for one in made.built],
        "adopted": made.adopted_,
        "plan": drawn,
    }


def opened(root: Path) -> Store:
    return Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=root))


class Edits(RuleBasedStateMachine):
    """Edits of a project, and after each both stores."""

    adoptions: ClassVar[Counter[str]] = Counter()  #: of which readers, over all examples

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(2, MOST_STAGES))
        stages = []
        for number in range(count):
            inputs = data.draw(st.lists(st.sampled_from(range(number)), max_size=3)) if number else []
            if number == count - 1 and not inputs:
                inputs = [number - 1]
            choice = data.draw(st.sampled_from(["", "", "", "best", "latest", "every"]))
            stages.append(
                StageText(
                    inputs=tuple(inputs),
                    shared=data.draw(st.booleans()),
                    coarse=data.draw(st.booleans()),
                    reader=data.draw(st.sampled_from(sorted(READERS))),
                    source=data.draw(st.integers(0, RAWS - 1)),
                    is_local=data.draw(st.sampled_from([False, False, True])),
                    choice=choice if number < count - 1 else "",
                    count=2 if choice in ("best", "latest") else 1,
                )
            )
        self.start(Project(tuple(stages), instances=data.draw(st.sampled_from([0, 0, 1]))))

    def start(self, project: Project) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="stagedml-oracle-"))
        self.steps = 0
        self.project = project
        self.seen: set[str] = set()
        self.keys: set[tuple[str, int]] = set()
        self.removed: set[str] = set()
        self.rrefs: Sequence[str] = ()
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
        reused = realized(source, self.folder / "seen", self.project.instances)
        fresh = realized(source, self.folder / f"empty-{self.steps}", self.project.instances)
        assert reused["texts"] == fresh["texts"]
        assert reused["rrefs"] == fresh["rrefs"]
        self.rrefs = reused["rrefs"]
        built = [dref for dref, *_ in reused["built"]]
        assert {*built, *reused["adopted"]} <= {dref for dref, *_ in fresh["built"]} | {*fresh["adopted"]}
        assert not (built or reused["adopted"]) or self.key() not in self.seen
        self.seen.add(self.key())
        self.check_built(reused)
        self.check_plan(reused)
        for root in ("seen", f"empty-{self.steps}"):
            findings = verify(opened(self.folder / root)).findings
            assert [one for one in findings if not any(rref in str(one) for rref in self.removed)] == []
        atomic.remove_tree(self.folder / f"empty-{self.steps}")
        Edits.adoptions.update(map(self.read_by, reused["adopted"]))

    def reader_of(self, dref: str) -> str:
        """How a stage reads its inputs; its name if it has none."""
        kind, *rest = dref[38:].split("-")
        return self.project.stages[int(rest[0])].reader if kind == "stage" else kind

    def read_by(self, dref: str) -> str:
        """As `reader_of`, where there is something to read that way: sorting takes two."""
        kind, *rest = dref[38:].split("-")
        if kind != "stage":
            return kind
        one = self.project.stages[int(rest[0])]
        return one.reader if len(one.inputs) > one.reader.startswith("sorted") else "nothing"

    def check_built(self, reused: dict[str, Any]) -> None:
        """Nothing is built twice for one key."""
        for dref, instance, key, is_adoptable in reused["built"]:
            if is_adoptable and self.reader_of(dref) not in SPELLING:
                assert (key, instance) not in self.keys, dref
                self.keys.add((key, instance))

    def check_plan(self, reused: dict[str, Any]) -> None:
        """What was to be reused and what was to be adopted was.

        What spells a reference is built instead of being adopted, which is seen only then; so may be what rests on it.
        """
        adopting = [dref for dref, verdict in reused["plan"].items() if verdict == Verdict.ADOPT.value]
        is_certain = not any(self.reader_of(dref) in SPELLING for dref in adopting)
        built = {dref for dref, *_ in reused["built"]}
        for dref, verdict in reused["plan"].items():
            if verdict == Verdict.REUSE.value:
                assert dref not in built | {*reused["adopted"]}
            if verdict == Verdict.ADOPT.value and is_certain:
                assert dref in {*reused["adopted"]} - built

    def key(self) -> str:
        """The project without what must not count."""
        stages = tuple(replace(one, comment=0) for one in self.project.stages)
        shared = self.project.shared if any(one.shared for one in stages) else 0
        local = self.project.local if any(one.is_local for one in stages) else 0
        return repr((stages, self.project.raws, self.project.instances, shared, local))

    def rrefs_there(self) -> list[str]:
        store = opened(self.folder / "seen")
        return sorted(str(rref) for dref in store.derivations() for rref in store.realizations(dref))

    @rule(number=st.integers(0, MOST_STAGES - 1), data=st.data())
    def another_parameter(self, number: int, data: st.DataObject) -> None:
        field = data.draw(st.sampled_from(["value", "note", "cased", "version", "extra"]))
        values = {"value": st.integers(0, 30), "note": st.integers(0, 5), "cased": st.booleans()}
        self.edit(number, **{field: data.draw(values.get(field, st.integers(0, 2)))})

    @rule(number=st.integers(0, MOST_STAGES - 1), data=st.data())
    def other_code(self, number: int, data: st.DataObject) -> None:
        field = data.draw(st.sampled_from(["helper", "shared", "coarse", "comment", "all"]))
        if field == "all":
            self.project = replace(self.project, shared=data.draw(st.integers(0, 30)))
            self.check()
        elif field == "comment":
            self.project = replace(self.project, layout=data.draw(st.integers(0, 5)))
            self.edit(number, comment=data.draw(st.integers(0, 3)))
        else:
            self.edit(number, **{field: data.draw(st.integers(0, 30) if field == "helper" else st.booleans())})

    @rule(number=st.integers(1, MOST_STAGES - 1), reader=st.sampled_from(SUBTLE), data=st.data())
    def read_so_and_changed_behind(self, number: int, reader: str, data: st.DataObject) -> None:
        place = number % len(self.project.stages) or 1
        inputs = tuple(data.draw(st.permutations(range(place)))[:2])
        self.edit(place, reader=reader, inputs=inputs)
        self.behind(place, data.draw(st.sampled_from(dangers_of(reader))))

    @rule(number=st.integers(1, MOST_STAGES - 1), reader=st.sampled_from(sorted(READERS)), data=st.data())
    def read_somehow_and_changed_behind(self, number: int, reader: str, data: st.DataObject) -> None:
        self.read_so_and_changed_behind(number, reader, data)

    def behind(self, number: int, what: str) -> None:
        """Change what a stage reads, or how it is told of it."""
        one = self.project.stages[number]
        first = one.inputs[0]
        its = self.project.stages[first]
        if what == "cased":
            self.edit(first, cased=not its.cased)
        elif what == "note":
            self.edit(first, note=its.note + 1)
        elif what == "value":
            self.edit(number, value=one.value + 1)
        elif what == "source":
            self.edit(first, source=(its.source + 1) % RAWS)
        elif what == "order":
            self.edit(number, inputs=one.inputs[::-1])
        elif what == "alike":
            self.edit(number, inputs=(first,) * 2 if len(one.inputs) > 1 else (first,) * 3)
        elif what == "notes":
            self.edit_raws([replace(raw, note=raw.note + 10) for raw in self.project.raws])
        else:
            raws = list(self.project.raws)
            at = its.source if what == "raw" else one.source
            changed = {"content": 1 - raws[at].content} if what == "raw" else {"note": raws[at].note + 1}
            raws[at] = replace(raws[at], **changed)
            self.edit_raws(raws)

    def edit_raws(self, raws: Sequence[Raw]) -> None:
        self.project = replace(self.project, raws=tuple(raws))
        self.check()

    @rule(at=st.integers(0, RAWS - 1), note=st.integers(0, 9), content=st.integers(0, 1))
    def another_raw_text(self, at: int, note: int, content: int) -> None:
        raws = list(self.project.raws)
        raws[at] = Raw(content, note)
        self.edit_raws(raws)

    @rule(data=st.data())
    def raw_texts_exchanged(self, data: st.DataObject) -> None:
        self.edit_raws(data.draw(st.permutations(self.project.raws)))

    @rule(local=st.integers(0, 2))
    def another_local_file(self, local: int) -> None:
        self.project = replace(self.project, local=local)
        self.check()

    @rule(number=st.integers(0, MOST_STAGES - 1))
    def more_instances(self, number: int) -> None:
        """Of fewer, a store that has more would choose among more than an empty one."""
        one = self.project.stages[number % len(self.project.stages)]
        if one.choice in ("best", "latest"):
            self.edit(number, count=min(one.count + 1, 4))
        elif self.project.instances:
            self.project = replace(self.project, instances=min(self.project.instances + 1, 4))
            self.check()

    @rule(number=st.integers(1, MOST_STAGES - 1), data=st.data())
    def other_inputs(self, number: int, data: st.DataObject) -> None:
        place = number % len(self.project.stages)
        if place:
            inputs = data.draw(st.lists(st.sampled_from(range(place)), min_size=1, max_size=4))
            self.edit(place, inputs=tuple(inputs))

    @rule(data=st.data())
    def something_removed(self, data: st.DataObject) -> None:
        there = self.rrefs_there()
        going = data.draw(st.lists(st.sampled_from(there), max_size=3, unique=True)) if there else []
        with using_store(opened(self.folder / "seen")):
            for rref in going:
                rmref(rref, force=True)
        self.removed |= {*going}
        self.seen.clear()
        self.keys.clear()
        self.check()

    @rule(keep=st.booleans())
    def something_collected(self, keep: bool) -> None:
        """All but what the last realize gave, or one of it, is deleted."""
        with using_store(opened(self.folder / "seen")):
            kept = self.rrefs if keep else self.rrefs[:1]
            assert gc(force=True, policy=Policy(grace_s=0), keep=list(kept)).collected is not None
        self.seen.clear()
        self.keys.clear()
        self.check()


def dangers_of(reader: str) -> Sequence[str]:
    return DANGERS.get(reader, ["order", "notes", "notes"])


def drive(examples: int) -> Counter[str]:
    """Run so many examples; returns how often something was adopted, by how it reads its inputs."""
    Edits.adoptions = Counter()
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        Edits,
        settings=settings(max_examples=examples, stateful_step_count=12, deadline=None, suppress_health_check=checks),
    )
    return Edits.adoptions


def test_reusing_gives_what_building_from_nothing_gives() -> None:
    drive(3)  # too few to be sure that anything is adopted, which the directed runs and the slow one are


def sweep(reader: str, value: int) -> None:
    """All dangers behind a stage of two inputs, with equal bytes if `value` is 0."""
    machine = Edits()
    inputs = StageText(source=0), StageText(source=1, value=value)
    try:
        machine.start(Project((*inputs, StageText(inputs=(0, 1), reader=reader))))
        for danger in dangers_of(reader):
            machine.behind(2, danger)
    finally:
        machine.teardown()


@pytest.mark.parametrize("reader", SUBTLE)
def test_nothing_wrong_is_adopted_when_what_is_behind_inputs_changes(reader: str) -> None:
    sweep(reader, value=int(reader == "sorted_paths"))


@pytest.mark.slow
@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("reader", READERS)
def test_nothing_wrong_is_adopted_however_inputs_are_read(reader: str, value: int) -> None:
    sweep(reader, value)


@pytest.mark.slow
def test_reusing_gives_what_building_from_nothing_gives_for_long() -> None:
    adopted = drive(150)
    assert not {"sorted", "lens", "lens_input"} & {*adopted}
    assert len({"texts", "nested", "declared", "which", "own"} & {*adopted}) >= 3  # which ones is left to chance
