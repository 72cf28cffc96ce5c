"""What a notebook shows: complete for what is small, bounded for what is not, escaped, and never an error."""

from __future__ import annotations

import html.parser
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from notebooks.conftest import Session
from stagedml import (
    Artifact,
    Build,
    DRef,
    Exec,
    RefPath,
    RRef,
    Store,
    check,
    diff,
    find,
    instantiate,
    mklens,
    output,
    plan,
    realize,
    realize_many,
    rref2path,
    stage,
    why,
)
from stagedml.core.plan import Plan, PlanStep, Verdict
from stagedml.core.reasons import Cause, Reason
from stagedml.notebook import views
from stagedml.notebook.html import Markup, element, page, table, text
from stagedml.testing import toys

HOSTILE = "<script>alert('1')</script> & \"quoted\" \x00 \ud800 ]]>"
MOST = 40_000  # characters of an output, its style included
MISSING = "rref:" + "0" * 32 + "-" + "1" * 32 + "-gone"


class Model(Artifact):
    """Something trained."""

    metrics: RefPath


@stage(Model, name="train-{task:lower}")
def train(
    build: Build,
    *,
    data: toys.Text,
    task: str = "MRPC",
    rate: float = 0.5,
    options: Any = None,
    files: Exec[int] = 1,
    metrics: RefPath = output("metrics.json"),
) -> None:
    """Train <nothing>, but tell much of it.

    And more.
    """
    losses = [1 / (1 + rate * step + build.seed % 7) for step in range(20)]
    measured = {"accuracy": 1 - losses[-1], "history": {"loss": losses, "val_loss": losses}}
    build.path(metrics).write_text(json.dumps(measured))
    (build.outpath / "more").mkdir()
    for number in range(files):
        (build.outpath / "more" / f"{number:05}").write_text("x" * number)


def all_trained(rate: float = 0.5, options: Any = None, files: int = 1) -> Model:
    """A model."""
    return train(data=toys.text(content="data"), rate=rate, options=options, files=files)


class Reader(html.parser.HTMLParser):
    """Collects what a browser would see, and complains of what has no end or must not be there."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(markup)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def read(markup: str | None) -> Reader:
    """A whole output: well formed, bounded, without anything that runs or comes from elsewhere."""
    assert markup is not None
    assert len(markup) < MOST
    markup.encode("utf-8")
    reader = Reader(markup)
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & set(reader.tags)
    for name, value in reader.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "href")
        assert "javascript:" not in (value or "")
    assert "url(" not in markup
    assert "@import" not in markup
    return reader


def test_a_realization_shows_config_metrics_curves_files_and_inputs(session: Session) -> None:
    rref = realize(instantiate(all_trained))
    shown = read(session.shown(rref, "text/html"))
    for told in (
        str(rref),
        "built just now",
        "rate",
        "0.5",
        "accuracy",
        "train loss",
        "valid loss",
        "2 files",
        "-text",
    ):
        assert told in shown.text, told
    assert shown.tags.count("polyline") == 2
    assert "more/00000" in shown.text
    assert "history" not in shown.text


def test_a_reference_at_the_prompt_stays_the_quoted_text(session: Session) -> None:
    target = instantiate(all_trained)
    rref = realize(target)
    assert session.shown(rref) == repr(str(rref))
    assert session.shown(DRef(str(target.result))) == repr(str(target.result))
    assert session.shown([rref]) == f"[{str(rref)!r}]"
    assert session.shown(target.result) == f"Model({str(target.result)!r})"


def test_several_realizations_are_a_table_with_seeds_and_metrics(session: Session) -> None:
    rrefs = realize_many(instantiate(toys.sample), instances=3)
    shown = read(session.shown(rrefs, "text/html"))
    assert shown.tags.count("tr") == 4
    for rref in rrefs:
        assert rref[5:17] in shown.text
    assert {"seed", "accuracy", "loss", "instance"} <= set(shown.words)
    assert session.shown([1, rrefs[0]], "text/html") is None
    assert session.shown([], "text/html") is None


def test_a_derivation_says_whether_it_is_realized(session: Session) -> None:
    target = instantiate(all_trained)
    before = read(session.shown(target.result, "text/html"))
    assert "not realized" in before.text
    assert "train-mrpc (Model)" in before.text
    assert str(target.result.metrics[0]) == str(target.result)
    assert before.text.count(str(target.result)) == 1, "its own outputs are no inputs"
    realize(target)
    assert "1 realization" in read(session.shown(target.result, "text/html")).text


def test_a_stage_shows_types_defaults_documentation_and_outputs(session: Session) -> None:
    shown = read(session.shown(train, "text/html"))
    for told in (
        "Train <nothing>, but tell much of it.",
        "train-{task:lower}",
        "Model",
        "'MRPC'",
        "metrics.json",
        "Exec",
    ):
        assert told in shown.text
    assert session.shown(train) == (
        "stage train -> Model, 'train-{task:lower}'\n"
        "  Train <nothing>, but tell much of it.\n"
        "  PARAMETER  TYPE   DEFAULT\n"
        "  data       Text\n"
        "  task       str    'MRPC'\n"
        "  rate       float  0.5\n"
        "  options    Any    None\n"
        "  files      Exec   1\n"
        "  OUTPUT   PATH\n"
        "  metrics  metrics.json"
    )


def test_a_plan_shows_verdicts_and_reasons(session: Session) -> None:
    realize(instantiate(all_trained))
    drawn = plan(instantiate(all_trained, rate=0.25))
    reused, made = drawn.steps
    assert session.shown(drawn) == (
        f"reuse    text        {reused.dref[5:11]}  {reused.rrefs[0][5:11]}\n"
        f"build    train-mrpc  {made.dref[5:11]}  rate 0.5 -> 0.25\n"
        "1 to make, 1 reused"
    )
    assert "rate 0.5 -> 0.25" in read(session.shown(drawn, "text/html")).text


def test_a_long_plan_shows_what_is_made_first_and_says_how_much_more_there_is(session: Session) -> None:
    def step(number: int) -> PlanStep:
        verdict = Verdict.BUILD if number % 10 == 9 else Verdict.REUSE
        dref = f"dref:{number:032x}-stage-{number}"
        return PlanStep(
            dref, f"stage-{number}", verdict, (Reason(Cause.CONFIG, "a", "1", "2" * 10_000),) * 50, "", (), ()
        )

    drawn = Plan(tuple(map(step, range(1_000))), (f"dref:{999:032x}-stage-999",))
    lines = (session.shown(drawn) or "").splitlines()
    assert lines[0].startswith("build    stage-9 ")
    assert lines[-2:] == ["... and 960 more", "100 to make, 900 reused"]
    assert len(lines) == 42
    assert max(map(len, lines)) < 400
    assert "... and 960 more" in read(session.shown(drawn, "text/html")).text


def test_answers_are_shown_as_tables_and_as_lines(session: Session) -> None:
    one, two = realize(instantiate(all_trained)), realize(instantiate(all_trained, rate=0.25))
    assert "rate 0.5 -> 0.25" in (session.shown(why(two)) or "")
    assert "rate 0.5 -> 0.25" in read(session.shown(why(two), "text/html")).text
    compared = session.shown(diff(one, two)) or ""
    assert compared.splitlines()[:2] == [f"- {one}", f"+ {two}"]
    assert "rate  0.5  ->  0.25" in compared
    assert "accuracy" in compared
    assert "history" not in compared
    assert "rate" in read(session.shown(diff(one, two), "text/html")).text


def test_a_check_says_whether_rebuilds_were_the_same(session: Session) -> None:
    checked = check(instantiate(toys.text))
    assert session.shown(checked) == str(checked)
    assert str(checked) in read(session.shown(checked, "text/html")).text


def test_a_lens_shows_where_it_stands(session: Session) -> None:
    rref = realize(instantiate(all_trained, options={"deep": ["<b>"]}))
    lens = mklens(rref)
    assert str(rref) in read(session.shown(lens, "text/html")).text
    assert '{"deep": ["<b>"]}' in read(session.shown(lens.options, "text/html")).text
    assert str(Path(rref2path(rref), "metrics.json")) in read(session.shown(lens.metrics, "text/html")).text
    begin = read(session.shown(lens.metrics, "text/html")).text
    content = Path(rref2path(rref), "metrics.json").read_text()
    assert len(content) > 600
    assert content[:2_000] in begin
    assert session.shown(lens.rate) == "<lens train-mrpc.rate: 0.5>"


def test_an_instantiated_stage_shows_what_is_realized_of_it(session: Session) -> None:
    target = instantiate(all_trained)
    assert session.shown(target) == f"Instantiated('{target.result}', 2 derivations)"
    assert read(session.shown(target, "text/html")).text.count("not realized") == 2
    many = instantiate(lambda: {f"model {number}": all_trained(rate=number / 7) for number in range(300)})
    assert len(session.shown(many) or "") < 1_000
    assert "... and 261 more" in read(session.shown(many, "text/html")).text


@pytest.mark.parametrize(
    "options",
    [HOSTILE.replace("\ud800", ""), "x" * 1_000_000, {HOSTILE[:20] * 9: [["<i>" * 100] * 500]}, [[[[[[["deep"]]]]]]]],
    ids=["hostile", "long", "many", "deep"],
)
def test_what_stands_in_a_config_is_escaped_and_cut(session: Session, options: Any) -> None:
    target = instantiate(all_trained, options=options)
    read(session.shown(target.result, "text/html"))
    rref = realize(target)
    shown = read(session.shown(rref, "text/html"))
    assert ("<script>" in shown.text) is ("<script>" in str(options))
    read(session.shown(mklens(rref), "text/html"))
    read(session.shown(mklens(rref).options, "text/html"))
    read(session.shown(diff(realize(instantiate(all_trained)), rref), "text/html"))
    assert len(session.shown(diff(realize(instantiate(all_trained)), rref)) or "") < 2_000


def test_thousands_of_files_and_huge_metrics_are_not_spelt_out(session: Session) -> None:
    rref = realize(instantiate(all_trained, files=3_000))
    assert "... and 2,9" in read(session.shown(rref, "text/html")).text
    many = realize_many(instantiate(toys.sample), instances=60)
    assert "... and 20 more" in read(session.shown(many, "text/html")).text
    metrics = Path(rref2path(rref), "metrics.json")
    metrics.chmod(0o644)
    for content in (json.dumps({f"m{number}": number for number in range(9_000)}), "[" * 100_000, "x" * 2_000_000, "{"):
        metrics.write_text(content)
        read(session.shown(rref, "text/html"))
        read(session.shown([rref, rref], "text/html"))
        read(session.shown(mklens(rref).metrics, "text/html"))


def test_what_is_gone_or_damaged_is_told_and_nothing_is_raised(session: Session, store: Store) -> None:
    target = instantiate(all_trained)
    rref = realize(target)
    lens = mklens(rref)
    metadata = next(store.layout.metadata.rglob("*-train-mrpc/*.json"))
    metadata.chmod(0o644)
    metadata.write_text("{")
    assert str(rref) in read(session.shown(rref, "text/html")).text
    assert "its metadata is damaged" in read(session.shown([rref, rref], "text/html")).text
    for folder in (Path(rref2path(rref)), store.layout.metadata):
        os.chmod(folder, 0o755)
        shutil.rmtree(folder)
    assert "is not in the store" in read(session.shown(rref, "text/html")).text
    assert "is not in the store" in read(session.shown(RRef(MISSING), "text/html")).text
    assert "gone" in read(session.shown([rref, rref], "text/html")).text
    read(session.shown(lens, "text/html"))
    read(session.shown(lens.metrics, "text/html"))
    shutil.rmtree(store.layout.storage)
    for value in (rref, target, target.result, lens, [rref], train):
        read(session.shown(value, "text/html"))
        assert session.shown(value)


def test_looking_changes_nothing_in_the_store(session: Session, store: Store) -> None:
    target = instantiate(all_trained)
    rref = realize(target)
    before = {path: path.lstat().st_mtime_ns for path in store.layout.root.rglob("*")}
    for value in (rref, target, target.result, mklens(rref), mklens(rref).metrics, find(), why(rref), RRef(MISSING)):
        session.shown(value, "text/html")
        session.shown(value)
    assert {path: path.lstat().st_mtime_ns for path in store.layout.root.rglob("*")} == before


def test_text_is_escaped_by_construction() -> None:
    assert text("<b>") == "&lt;b&gt;"
    assert text(Markup("<b>")) == "<b>"
    assert element("td", "<i>", Markup("<u></u>"), title='"<') == '<td title="&quot;&lt;">&lt;i&gt;<u></u></td>'
    assert text(Markup("<b>") + "<i>") == "&lt;b&gt;&lt;i&gt;", "joined by hand it is text again"
    assert text(HOSTILE) == text(HOSTILE).encode().decode()
    read(page(table(("", HOSTILE), [(HOSTILE, 0.5)], lambda row: row)))


def test_a_view_tells_what_it_cannot_show() -> None:
    broken: Any = object()
    assert "object cannot be shown: " in read(views.of_plan(broken)).text
