"""`why`: for each kind of change, the right cause and the way from it to the target, before it is built and after.

Where source code changes, a project of a few modules is edited and realized in processes of their own. What `why` says
of a plan and what it says of its outcome must be the same but for the verdicts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from authoring.workshop import Workshop
from stagedml import (
    Artifact,
    Build,
    Exec,
    RefPath,
    UsageError,
    best,
    bless,
    borrow,
    instantiate,
    mklens,
    output,
    realize,
    realize_many,
    redefine,
    rref2dref,
    stage,
    why,
)
from stagedml.core.reasons import Cause, Reason
from stagedml.core.refs import parse_rref
from stagedml.inspection.why import Why
from stagedml.stages.fetch import fetchlocal, fetchurl
from stagedml.store.objects import NotInStore, Store
from stagedml.store.verify import repair, verify
from stagedml.testing import toys

#: words -> upper -> count -> report, and side -> report.
PIPELINE = '''\
"""A pipeline."""

import helpers
from stagedml import Artifact, Build, Exec, RefPath, output, stage


class Text(Artifact):
    text: RefPath


@stage(Text, name="words")
def words(build: Build, *, content: str = "hello", text: RefPath = output("text.txt")) -> None:
    """Write words."""
    build.path(text).write_text(helpers.greeting(content))


@stage(Text, name="side")
def side(build: Build, *, text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text(helpers.beside())


@stage(Text, name="upper")
def upper(build: Build, *, source: Text, text: RefPath = output("text.txt"), workers: Exec[int] = 1) -> None:
    build.path(text).write_text(build.path(source.text).read_text().upper())


@stage(Text, name="count")
def count(build: Build, *, source: Text, scale: int = 1, text: RefPath = output("text.txt")) -> None:
    # So many letters.
    letters = len(build.path(source.text).read_text())
    build.path(text).write_text(str(letters * scale))


@stage(Text, name="report")
def report(
    build: Build, *, sources: list[Text], other: Text, title: str = "Report", text: RefPath = output("text.txt")
) -> None:
    parts = [title, *(build.path(one.text).read_text() for one in sources), build.path(other.text).read_text()]
    build.path(text).write_text(" ".join(parts))


def everything():
    shouted = upper(source=words())
    return report(sources=[count(source=shouted), shouted], other=side())
'''
HELPERS = """\
NAMES = ["you"]


def greeting(content):
    return " ".join([content, *NAMES, end()])


def end():
    return "."


def beside():
    return "side"
"""
#: An event, but for its verdict: the stage, and why.
Told = tuple[str, list[tuple[Cause, str]]]
UPPER: Told = ("upper", [(Cause.INPUT, "input source: another words")])
COUNT: Told = ("count", [(Cause.INPUT, "input source: another upper")])
BOTH: Told = ("report", [(Cause.INPUT, "input sources: another count, upper")])


def told(found: dict[str, Any]) -> list[Told]:
    return [
        (
            event["name"],
            [(Cause(one["cause"]), str(Reason(**{**one, "cause": Cause(one["cause"])}))) for one in event["reasons"]],
        )
        for event in found["events"]
    ]


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    opened = Workshop(STAGEDML_DURABLE="0")
    yield opened
    opened.close()


class Project:
    """The pipeline in a folder, with a store beside it."""

    def __init__(self, workshop: Workshop, folder: Path) -> None:
        self.workshop, self.folder = workshop, folder
        self.edit("pipeline.py", "", PIPELINE)
        self.edit("helpers.py", "", HELPERS)

    def edit(self, file: str, before: str, after: str) -> None:
        path = self.folder / file
        if before:
            text = path.read_text()
            assert text.count(before) == 1, before
            after = text.replace(before, after)
        path.write_text(after)

    def realize(self, *arguments: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """What `why` says of the pipeline before it is realized, and after, in a new process."""
        program = (
            "import json, pipeline\n"
            "from stagedml import instantiate, realize, store_initialize, why\n"
            "from stagedml.inspection.plain import plain\n"
            "store_initialize('store')\n"
            "target = instantiate(pipeline.everything)\n"
            "before = plain(why(target))\n"
            f"rref = realize(target, {', '.join(arguments)})\n"
        )
        answer = self.workshop.experiment(
            self.folder, ("run", program), ("answer", "json.dumps([before, plain(why(rref))])")
        )
        before, after = json.loads(answer[0])
        return before, after


@pytest.fixture
def project(workshop: Workshop, tmp_path: Path) -> Project:
    return Project(workshop, tmp_path)


def test_what_is_built_first_says_so(project: Project) -> None:
    before, after = project.realize()
    first = [(Cause.FIRST_BUILD, "first build")]
    assert told(before) == [(name, first) for name in ("words", "upper", "count", "side", "report")]
    assert told(after) == [("report", first)]


def code(file: str, line: int, name: str) -> list[tuple[Cause, str]]:
    return [(Cause.CODE, f"code {file}:{line} ({name})")]


def config(text: str) -> list[tuple[Cause, str]]:
    return [(Cause.CONFIG, text)]


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


WRITTEN = line_of(PIPELINE, "build.path(text).write_text(helpers.greeting")
COUNTED = line_of(PIPELINE, "letters = len(")


@pytest.mark.parametrize(
    ("file", "edit", "chain", "verdicts"),
    [
        pytest.param(
            "pipeline.py",
            ("other=side())", 'other=side(), title="News")'),
            [("report", config('title "Report" -> "News"'))],
            "built",
            id="parameter",
        ),
        pytest.param(
            "pipeline.py",
            ("words())", 'words(content="good day"))'),
            [("words", config('content "hello" -> "good day"')), UPPER, COUNT, BOTH],
            "built built built built",
            id="parameter far upstream",
        ),
        pytest.param(
            "pipeline.py",
            ("count(source=shouted)", "count(source=shouted, scale=2)"),
            [("count", config("scale 1 -> 2")), ("report", [(Cause.INPUT, "input sources: another count")])],
            "built built",
            id="parameter of one of two",
        ),
        pytest.param(
            "pipeline.py",
            ('" ".join(parts)', '"-".join(parts)'),
            [("report", code("pipeline.py", line_of(PIPELINE, '" ".join(parts)'), "report"))],
            "built",
            id="body of the builder",
        ),
        pytest.param(
            "pipeline.py",
            ("letters = len(", "letters = 1 + len("),
            [
                ("count", code("pipeline.py", COUNTED, "count")),
                ("report", [(Cause.INPUT, "input sources: another count")]),
            ],
            "built built",
            id="body of an upstream builder",
        ),
        pytest.param(
            "helpers.py",
            ("[content, *NAMES", "[content, content, *NAMES"),
            [("words", code("helpers.py", line_of(HELPERS, "return"), "greeting")), UPPER, COUNT, BOTH],
            "built built built built",
            id="helper",
        ),
        pytest.param(
            "helpers.py",
            ('["you"]', '["everybody"]'),
            [("words", code("helpers.py", 1, "NAMES")), UPPER, COUNT, BOTH],
            "built built built built",
            id="module constant",
        ),
        pytest.param(
            "helpers.py",
            ('"."', '("" + ".")'),
            [("words", code("helpers.py", line_of(HELPERS, 'return "."'), "end")), UPPER, COUNT, BOTH],
            "built adopted adopted adopted",
            id="helper with equal output",
        ),
        pytest.param(
            "pipeline.py",
            ("helpers.greeting(content)", "helpers.greeting(content).title()"),
            [("words", code("pipeline.py", WRITTEN, "words")), UPPER, COUNT, BOTH],
            "built built adopted adopted",
            id="output that is equal two levels below",
        ),
        pytest.param(
            "pipeline.py",
            ("other=side())", "other=words())"),
            [("report", [(Cause.INPUT, "input other side -> words")])],
            "built",
            id="input exchanged",
        ),
        pytest.param(
            "pipeline.py",
            ("[count(source=shouted), shouted]", "[shouted, count(source=shouted)]"),
            [("report", [(Cause.INPUT, "input sources: in another order")])],
            "built",
            id="inputs in another order",
        ),
        pytest.param(
            "pipeline.py",
            ("[count(source=shouted), shouted]", "[count(source=shouted)]"),
            [("report", [(Cause.INPUT, "input sources: upper removed")])],
            "built",
            id="input removed",
        ),
    ],
)
def test_an_edit_is_named_with_the_way_from_it_to_the_target(
    project: Project, file: str, edit: tuple[str, str], chain: list[Told], verdicts: str
) -> None:
    project.realize()
    project.edit(file, *edit)
    before, after = project.realize()
    chain = [(name, [(cause, _at(text, project.folder)) for cause, text in reasons]) for name, reasons in chain]
    assert told(after) == chain
    assert told(before) == chain
    assert " ".join(event["verdict"] for event in after["events"]) == verdicts
    assert after["events"][-1]["name"] == "report"
    assert [bool(event["source"]) for event in after["events"]] == [one == "adopted" for one in verdicts.split()]


def _at(text: str, folder: Path) -> str:
    return f"code {folder}/{text.removeprefix('code ')}" if text.startswith("code ") else text


def test_a_parameter_that_is_new_is_named_beside_the_code_that_takes_it(project: Project) -> None:
    project.realize()
    project.edit("pipeline.py", "source: Text, scale: int = 1", "source: Text, scale: int = 1, offset: int = 3")
    project.edit("pipeline.py", "letters * scale)", "letters * scale + offset)")
    before, after = project.realize()
    assert told(before) == told(after)
    assert [name for name, _ in told(after)] == ["count", "report"]
    assert [cause for cause, _ in told(after)[0][1]] == [Cause.CODE, Cause.CONFIG]
    assert told(after)[0][1][1][1] == "offset (none) -> 3"


@pytest.mark.parametrize(
    ("file", "edit"),
    [
        ("pipeline.py", ("# So many letters.", "# How many letters there are.")),
        ("pipeline.py", ('"""Write words."""', '"""Write some words."""')),
        ("pipeline.py", ("workers: Exec[int] = 1", "workers: Exec[int] = 2")),
        ("helpers.py", ("def beside", "def nobody_calls_this():\n    return 1\n\n\ndef beside")),
        ("helpers.py", ('["you"]', "[\n    'you',\n]")),
    ],
)
def test_of_what_rebuilds_nothing_why_goes_on_telling_what_was_built(
    project: Project, file: str, edit: tuple[str, str]
) -> None:
    _, first = project.realize()
    project.edit(file, *edit)
    before, after = project.realize()
    assert after == before | {"target": after["target"]} == first


def test_an_exec_value_is_no_reason(project: Project) -> None:
    _, first = project.realize()
    before, after = project.realize("args={'workers': 4}")
    assert after == before | {"target": after["target"]} == first


def test_two_edits_upstream_are_both_named_and_the_other_branch_is_not_where_it_did_not_change(
    project: Project,
) -> None:
    project.realize()
    project.edit("helpers.py", 'return "side"', 'return "aside"')
    project.edit("pipeline.py", "letters = len(", "letters = 1 + len(")
    before, after = project.realize()
    assert told(before) == told(after)
    assert {name for name, _ in told(after)[:-1]} == {"count", "side"}
    assert [text for _, text in told(after)[-1][1]] == ["input other: another side", "input sources: another count"]


def test_an_input_that_came_out_as_before_is_not_a_cause_beside_one_that_did_not(project: Project) -> None:
    project.realize()
    project.edit("helpers.py", 'return "."', 'return "!"')  # as many letters
    before, after = project.realize()
    assert [name for name, _ in told(before)] == ["words", "upper", "count", "report"]  # which nobody can know
    assert [name for name, _ in told(after)] == ["words", "upper", "report"]
    assert told(after)[0][1] == code(f"{project.folder}/helpers.py", line_of(HELPERS, 'return "."'), "end")


def test_the_way_is_told_from_the_reasons_when_what_was_before_is_collected(project: Project) -> None:
    project.realize()
    project.edit("helpers.py", '["you"]', '["everybody"]')
    before, _ = project.realize()
    program = (
        "import json, pipeline\n"
        "from stagedml import Policy, current_store, gc, instantiate, realize, store_initialize, tryrealize, why\n"
        "from stagedml.inspection.plain import plain\n"
        "store_initialize('store')\n"
        "rref = realize(instantiate(pipeline.everything), link='kept')\n"
        "gc(force=True, policy=Policy(grace_s=0))\n"
        "assert tryrealize(instantiate(pipeline.side)) is not None\n"
        "assert len(current_store().derivations()) == 5\n"
    )
    (answer,) = project.workshop.experiment(
        project.folder, ("run", program), ("answer", "json.dumps(plain(why(rref)))")
    )
    assert told(json.loads(answer)) == told(before)
    assert [name for name, _ in told(before)] == ["words", "upper", "count", "report"]


# -- inputs from elsewhere --------------------------------------------------------------------------------------------


def events(found: Why) -> list[tuple[str, str, Cause | None, str]]:
    return [
        (
            event.name,
            event.verdict,
            event.reasons[0].cause if event.reasons else None,
            ", ".join(map(str, event.reasons)),
        )
        for event in found.events
    ]


def whole(found: Why) -> list[tuple[str, Cause | None]]:
    return [(name, cause) for name, _, cause, _ in events(found)]


class Local(Artifact):
    """A file."""

    file: RefPath


@stage(toys.Text, name="parsed")
def parsed(build: Build, *, source: Local, text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text(build.path(source.file).read_text())


def from_file(path: Path) -> toys.Text:
    return toys.upper(source=parsed(source=Local(fetchlocal(path))))


def test_a_local_file_that_changed_is_named(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("rows")
    realize(instantiate(from_file, path))
    path.write_text("others")
    target = instantiate(from_file, path)
    before = why(target)
    after = why(realize(target))
    assert whole(before) == whole(after)
    assert whole(after) == [("local-data-csv", Cause.CONFIG), ("parsed", Cause.INPUT), ("upper", Cause.INPUT)]
    assert after.events[0].reasons[0].subject == "content"


def test_another_url_of_the_same_bytes_is_adopted_and_says_so(store: Store, tmp_path: Path) -> None:
    def fetched(folder: str) -> toys.Text:
        (tmp_path / folder).mkdir(exist_ok=True)
        path = tmp_path / folder / "data.csv"
        path.write_text("rows")
        return parsed(source=Local(fetchurl(f"file://{path}", sha256=hashlib.sha256(b"rows").hexdigest())))

    first = realize(instantiate(fetched, "one"))
    target = instantiate(fetched, "two")
    before = why(target)
    after = why(realize(target))
    assert [(name, verdict) for name, verdict, _, _ in events(before)] == [
        ("fetch-data-csv", "adopt"),
        ("parsed", "adopt"),
    ]
    assert [(name, verdict) for name, verdict, _, _ in events(after)] == [
        ("fetch-data-csv", "adopted"),
        ("parsed", "adopted"),
    ]
    assert whole(before) == whole(after) == [("fetch-data-csv", Cause.CONFIG), ("parsed", Cause.INPUT)]
    assert after.events[0].reasons[0].subject == "url"
    assert after.events[1].source == before.events[1].source == first


# -- instances, force, damage -----------------------------------------------------------------------------------------


@stage(toys.Text, name="evaluated")
def evaluated(build: Build, *, sample: toys.Sample, text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text(build.path(sample.number).read_text())


def evaluation(of: int) -> toys.Text:
    return evaluated(sample=redefine(toys.sample, new_matcher=best("accuracy", of=of))())


def test_a_better_instance_is_named_and_a_worse_one_rebuilds_nothing(store: Store) -> None:
    seen = set()
    rref = realize(instantiate(evaluation, 1))
    for count in range(2, 12):
        earlier = why(rref)
        target = instantiate(evaluation, count)
        before = why(target)
        assert whole(before) == [("sample", Cause.INSTANCE_MISSING), ("evaluated", Cause.INPUT)]
        assert before.events[0].reasons[0].subject == str(count - 1)
        last, rref = rref, realize(target)
        if rref == last:
            assert why(rref) == earlier
        else:
            assert whole(why(rref)) == [("sample", Cause.INSTANCE_MISSING), ("evaluated", Cause.INPUT)]
            assert why(rref).events[0].reasons[0].subject == str(count - 1)
        seen.add(rref == last)
    assert seen == {False, True}


def test_a_missing_instance_is_named(store: Store) -> None:
    realize_many(instantiate(toys.sample), instances=2)
    target = instantiate(redefine(toys.sample, new_matcher=best("accuracy", of=3)))
    ((name, verdict, cause, says),) = events(why(target))
    assert (name, verdict, cause, says) == ("sample", "build", Cause.INSTANCE_MISSING, "instance 2 missing")
    third = realize_many(instantiate(toys.sample), instances=3)[2]
    assert events(why(third)) == [("sample", "built", Cause.INSTANCE_MISSING, "instance 2 missing")]


def test_what_was_forced_says_so(store: Store) -> None:
    rref = realize(instantiate(toys.all_counted))
    assert realize(instantiate(toys.all_counted), force=True) == rref
    assert events(why(rref)) == [
        ("count", "built", Cause.FIRST_BUILD, "first build"),
        ("count", "built", Cause.FORCED, "forced"),
    ]
    assert [event.again for event in why(rref).events] == [False, True]
    assert events(why(instantiate(toys.all_counted))) == events(why(rref))


def test_a_forced_stage_upstream_whose_outcome_is_the_same_is_no_reason_below(store: Store) -> None:
    rref = realize(instantiate(toys.all_counted))
    said = why(rref)
    realize(instantiate(toys.all_counted), force=["text"])
    assert why(rref) == said
    assert whole(why(mklens(rref).source.source.rref)) == [("text", Cause.FIRST_BUILD), ("text", Cause.FORCED)]


def test_what_came_out_otherwise_when_forced_is_named_with_what_rests_on_it(store: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside"

    @stage(toys.Text, name="unsteady")
    def unsteady(build: Build, *, place: Exec[str] = "", text: RefPath = output("text.txt")) -> None:
        build.path(text).write_text(Path(place).read_text())

    def read() -> toys.Text:
        return toys.upper(source=unsteady(place=str(outside)))

    outside.write_text("one")
    realize(instantiate(read))
    outside.write_text("two")
    rref = realize(instantiate(read), force=["unsteady"])
    assert mklens(rref).text.contents == "TWO"
    assert events(why(rref)) == [
        ("unsteady", "built", Cause.FORCED, "forced"),
        ("upper", "built", Cause.INPUT, "other realizations of unsteady"),
    ]


def test_a_deleted_file_is_named(store: Store) -> None:
    rref = realize(instantiate(toys.all_counted))
    said = why(rref)
    upper = mklens(rref).source.rref
    path = mklens(upper).text.syspath
    path.parent.chmod(0o755)
    path.unlink()
    before = why(instantiate(toys.all_counted))
    assert whole(before) == [("upper", Cause.BYTES_MISSING), ("count", Cause.INPUT)]
    assert realize(instantiate(toys.all_counted)) == rref
    assert whole(why(upper)) == [("upper", Cause.FIRST_BUILD), ("upper", Cause.BYTES_MISSING)]
    assert why(rref) == said


def test_what_was_put_in_quarantine_is_named(store: Store) -> None:
    rref = realize(instantiate(toys.all_counted))
    said = why(rref)
    upper = mklens(rref).source.rref
    path = mklens(upper).text.syspath
    path.chmod(0o644)
    path.write_text("hallo")
    repair(store, verify(store))
    before = why(instantiate(toys.all_counted))
    assert whole(before) == [("upper", Cause.BYTES_MISSING), ("count", Cause.INPUT)]
    assert "quarantine" in str(before.events[0].reasons[0])
    assert realize(instantiate(toys.all_counted)) == rref
    assert whole(why(upper)) == [("upper", Cause.BYTES_MISSING)]
    assert why(rref) == said


# -- what a person answers for ----------------------------------------------------------------------------------------


def shouted(content: str) -> toys.Text:
    return toys.upper(source=toys.text(content=content))


def test_what_was_blessed_is_named_before_everything_else(store: Store) -> None:
    old = realize(instantiate(toys.text, content="one"))
    target = instantiate(toys.text, content="two")
    bless(old, target, reason="they mean the same")
    before = why(target)
    after = why(realize(target))
    assert events(before)[0][1] == "adopt"
    assert events(after)[0][1] == "adopted"
    assert whole(before) == whole(after) == [("text", Cause.BLESSED)]
    assert before.events[0].reasons == after.events[0].reasons
    assert "they mean the same" in str(after.events[0].reasons[0])
    assert str(after.events[0].reasons[1]) == 'content "one" -> "two"'


def test_what_rests_on_something_blessed_always_says_so(store: Store) -> None:
    realize(instantiate(shouted, "one"))
    target = instantiate(shouted, "two")
    bless(realize(instantiate(toys.text, content="one")), instantiate(toys.text, content="two"), reason="as good")
    rref = realize(target)
    assert whole(why(rref)) == [("text", Cause.BLESSED), ("upper", Cause.INPUT)]
    assert why(rref).blessed == ()  # it is told already

    @stage(toys.Text, name="far-below")
    def far_below(build: Build, *, source: toys.Text, text: RefPath = output("text.txt")) -> None:
        build.path(text).write_text(build.path(source.text).read_text())

    below = instantiate(lambda: far_below(source=shouted("two")))
    (pending,) = why(below).blessed
    (blessed,) = why(realize(below)).blessed
    assert pending == blessed
    assert (blessed.name, blessed.verdict) == ("text", "adopted")
    assert "as good" in str(blessed.reasons[0])


def test_a_blessing_that_waits_for_an_input_is_told_beforehand(store: Store) -> None:
    old = realize(instantiate(shouted, "one"))
    target = instantiate(shouted, "two")
    bless(old, target, reason="the same")
    found = why(target)
    assert whole(found) == [("text", Cause.CONFIG), ("upper", Cause.INPUT)]
    assert [reason.cause for reason in found.events[-1].reasons] == [Cause.INPUT, Cause.BLESSED]
    assert "if its inputs hold the same contents" in str(found.events[-1].reasons[1])


def test_what_was_borrowed_says_so(store: Store) -> None:
    old = realize(instantiate(shouted, "one"))
    rref = borrow(old, instantiate(shouted, "two"), reason="a trial")
    name, verdict, cause, says = events(why(rref))[-1]
    assert (name, verdict, cause) == ("upper", "adopted", Cause.BLESSED)
    assert "a trial" in says
    assert why(rref).events[-1].source == old


# -- what why is asked ------------------------------------------------------------------------------------------------


def test_of_several_targets_each_has_its_events_and_what_they_share_is_told_once(store: Store) -> None:
    def both(content: str) -> list[toys.Text]:
        text = toys.text(content=content)
        return [toys.upper(source=text), again(source=text)]

    @stage(toys.Text, name="again")
    def again(build: Build, *, source: toys.Text, text: RefPath = output("text.txt")) -> None:
        build.path(text).write_text(build.path(source.text).read_text() * 2)

    realize_many(instantiate(both, "one"))
    found = why(instantiate(both, "two"))
    assert whole(found) == [("text", Cause.CONFIG), ("upper", Cause.INPUT), ("again", Cause.INPUT)]


def two_texts(first: str, second: str) -> list[toys.Text]:
    return [toys.upper(source=toys.text(content=first)), toys.text(content=second)]


def test_of_several_targets_those_that_are_there_are_told_only_where_all_are(store: Store) -> None:
    realize_many(instantiate(two_texts, "one", "two"))
    assert whole(why(instantiate(two_texts, "one", "three"))) == [("text", Cause.CONFIG)]
    assert [name for name, _ in whole(why(instantiate(two_texts, "one", "two")))] == ["upper", "text"]


def test_a_parameter_is_compared_with_what_its_stage_was_and_not_with_a_namesake_that_stays(store: Store) -> None:
    realize_many(instantiate(two_texts, "one", "two"))
    (text, _) = why(instantiate(two_texts, "three", "two")).events
    assert str(text.reasons[0]) == 'content "one" -> "three"'


def test_a_realization_whose_record_is_lost_says_that_nothing_is_known(store: Store) -> None:
    rref = realize(instantiate(toys.all_counted))
    store.layout.metadata_of(parse_rref(rref)).write_text("{")
    (event,) = why(rref).events
    assert (event.name, event.reasons, event.when) == ("count", (), None)


def test_a_chain_of_hundreds_is_told_whole_and_without_recursion(store: Store) -> None:
    def chain(first: str) -> toys.Text:
        text = toys.text(content=first)
        for _ in range(400):
            text = toys.upper(source=text)
        return text

    realize(instantiate(chain, "one"))
    target = instantiate(chain, "two")
    assert len(why(target).events) == 401
    after = why(realize(target))
    assert len(after.events) == 401
    assert (after.events[0].name, after.events[0].reasons[0].cause) == ("text", Cause.CONFIG)


def test_why_takes_realizations_and_closures_and_nothing_else(store: Store) -> None:
    rref = realize(instantiate(toys.text))
    with pytest.raises(UsageError, match="no realization"):
        why(rref2dref(rref))
    with pytest.raises(UsageError, match="cannot be realized"):
        why(toys.text)  # type: ignore[arg-type]
    with pytest.raises(NotInStore):
        why(f"rref:{'0' * 32}-{rref[38:]}")


def test_why_writes_nothing(store: Store) -> None:
    realize(instantiate(toys.all_counted, "one"))
    target = instantiate(toys.all_counted, "two")

    def everything() -> dict[str, int]:
        return {str(path): path.lstat().st_mtime_ns for path in store.layout.root.rglob("*")}

    before = everything()
    why(target)
    assert everything() == before
