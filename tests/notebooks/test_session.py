"""What is typed into a session: magics, and the Tab key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from IPython.core.error import UsageError as SessionError

from notebooks.conftest import Session
from stagedml import BuildError, RRef, Store, StoreError, rref2path
from stagedml.core.plan import Plan, Verdict
from stagedml.inspection.why import Why
from stagedml.store.metadata import Metadata

CELL = """
from stagedml import *
class Shout(Artifact):
    text: RefPath
@stage(Shout, name="shout")
def shout(build: Build, *, words: list[str], times: int = 1, loudly: Exec[bool] = False,
          text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text(" ".join(words * times))
@stage(Shout, name="echo")
def echo(build: Build, *, source: Shout, back: int = 2, text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text(build.path(source.text).read_text() * back)
def all_echoes(word: str = "ho", back: int = 2) -> Shout:
    return echo(source=shout(words=[word]), back=back)
"""


@pytest.fixture
def cells(session: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session in which stages were defined."""
    session.run(CELL)
    return session


def test_realize_takes_a_stage_of_a_cell_with_the_command_lines_arguments(cells: Session) -> None:
    rref = cells.run('%realize shout \'words=["a", "b c"]\' times=2')
    assert type(rref) is RRef
    assert Path(rref2path(rref), "text.txt").read_text() == "a b c a b c"
    assert cells.run("_") == rref
    assert cells.run('%realize all_echoes "a b"') == cells.run("realize(instantiate(all_echoes, 'a b'))")


def test_realize_takes_a_stage_of_a_module(cells: Session) -> None:
    rref = cells.run("%realize stagedml.testing.toys:all_counted word")
    assert rref.endswith("-count")


def test_a_name_of_the_session_comes_before_the_catalogues(cells: Session) -> None:
    cells.run("def all_fetch_minilm(): return shout(words=['mine'])")
    assert cells.run("%realize all_fetch_minilm").endswith("-shout")


def test_values_are_those_of_a_shell_and_not_pythons(cells: Session) -> None:
    cells.run("word = 'other'")
    rref = cells.run("%realize all_echoes {word}")
    assert Path(rref2path(rref), "text.txt").read_text() == "{word}{word}"


def metadata_of(store: Store, rref: str) -> Metadata:
    from stagedml.core.refs import parse_rref

    known = store.metadata(parse_rref(rref))
    assert known is not None
    return known


def test_options_of_realize_reach_the_engine(cells: Session, store: Store) -> None:
    rref = cells.run("%realize all_echoes --force back=3 -j 2 --offline ho")
    assert Path(rref2path(rref), "text.txt").read_text() == "hohoho"
    assert cells.run("%realize --force all_echoes ho back=3") == rref
    assert len(metadata_of(store, rref).builds) == 2


def test_realize_gives_several_realizations_as_realize_many_does(cells: Session) -> None:
    cells.run("def all_both(): return {'one': shout(words=['1']), 'two': shout(words=['2'])}")
    found = cells.run("%realize all_both")
    assert set(found) == {"one", "two"}
    assert all(type(rref) is RRef for rrefs in found.values() for rref in rrefs)


def test_plan_and_why_give_what_can_be_looked_at(cells: Session) -> None:
    drawn: Plan = cells.run("%plan all_echoes back=3")
    assert [step.verdict for step in drawn.steps] == [Verdict.BUILD, Verdict.BUILD]
    cells.run("rref = realize(instantiate(all_echoes, back=3))")
    assert cells.run("%plan all_echoes back=3").builds == ()
    assert len(cells.run("%plan --force all_echoes back=3").builds) == 1
    for what in ("rref", cells.run("rref"), cells.run("rref[5:13]")):
        found: Why = cells.run(f"%why {what}")
        assert found.target == cells.run("rref")
    (event,) = cells.run("%why all_echoes back=4").events
    assert str(event.reasons[0]) == "back 3 -> 4"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("%realize", "arguments are required"),
        ("%realize nothing_of_the_kind", "have no stage 'nothing_of_the_kind'"),
        ("%realize shout words=3", "words: wanted list"),
        ("%realize all_echoes wrod=3", "wrod"),
        ("%realize all_echoes 'ho", "No closing quotation; quote as in a shell"),
        ("%realize all_echoes --jobs many", "invalid int value: 'many'"),
        ("%realize all_echoes -j 0", "jobs=0"),
        ("%plan all_echoes --jobs 2", "unrecognized arguments"),
        ("%why abcdef more", "takes no arguments"),
        ("%why", "arguments are required"),
    ],
)
def test_wrong_usage_is_told_in_a_line(
    cells: Session, line: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SessionError, match=complaint):
        cells.run(line)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_builders_failure_is_told_with_its_own_frames_alone(
    cells: Session, jobs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    cells.run(
        '@stage(Shout, name="bad")\ndef bad(build: Build, *, text: RefPath = output("t")) -> None:\n'
        "    def deep(): 1 / 0\n    deep()"
    )
    with pytest.raises(BuildError, match="ZeroDivisionError"):
        cells.run(f"%realize bad -j {jobs}")
    shown = capsys.readouterr().out
    assert shown.startswith("BuildFailed: building bad failed: ZeroDivisionError: division by zero\n")
    assert "in bad\n" in shown
    assert "in deep\n" in shown
    assert "stagedml/engine" not in shown
    assert len(shown.splitlines()) < 15


def test_a_misspelt_stage_of_the_session_is_told_with_what_may_be_meant(cells: Session) -> None:
    with pytest.raises(
        SessionError, match=r"the session and stagedml.stages.all have no stage .* did you mean all_echoes"
    ):
        cells.run("%realize all_echos")
    with pytest.raises(SessionError, match=r"did you mean .*shout"):
        cells.run("%plan shuot")


@pytest.mark.parametrize(
    ("ref", "hint"), [("ehco", "did you mean echo?"), ("abc", "give at least 4 characters"), ("other", "lists what is")]
)
def test_a_misspelt_realization_is_told_in_a_line(
    cells: Session, capsys: pytest.CaptureFixture[str], ref: str, hint: str
) -> None:
    cells.run("%realize all_echoes")
    capsys.readouterr()
    with pytest.raises(StoreError):
        cells.run(f"%why {ref}")
    shown = capsys.readouterr().out
    assert shown.startswith(f"NoSuchRealization: {ref} is not in the store ")
    assert hint in shown
    assert shown.count("\n") == 1


def test_why_tells_what_the_command_line_does(cells: Session) -> None:
    old, new = cells.run("%realize all_echoes back=3"), cells.run("%realize all_echoes back=4")
    for kind in ("text/plain", "text/html"):
        text = cells.shown(cells.run(f"%why {new}"), kind) or ""
        assert f"compared with echo {old[5:17]}" in text
        assert new[5:11] in text
        planned = cells.shown(cells.run("%why all_echoes back=5"), kind) or ""
        assert "~0.0 s" in planned


def test_reasons_to_be_alive_are_told_as_text(cells: Session) -> None:
    rref = cells.run("%realize all_echoes")
    cells.run(f"linkrref('{rref}', 'mine')")
    told = cells.shown(cells.run(f"why_alive('{rref}')")) or ""
    assert f"/roots/mine\n  -> {rref}" in told
    assert "Reason(" not in told


def test_magics_and_views_are_gone_after_unload_ext(cells: Session) -> None:
    rref = cells.run("%realize all_echoes")
    assert cells.shown(rref, "text/html")
    cells.run("%unload_ext stagedml")
    assert cells.shown(rref, "text/html") is None
    assert cells.shown([rref], "text/html") is None
    assert "PlanStep(" in (cells.shown(cells.run("plan(instantiate(all_echoes))")) or "")
    with pytest.raises(SessionError, match="`%realize` not found"):
        cells.run("%realize all_echoes")
    assert "back=" not in cells.completed("%plan all_echoes ba", jedi=False)
    cells.run("%load_ext stagedml")
    cells.run("%reload_ext stagedml")
    assert cells.run("%realize all_echoes") == rref


# -- the Tab key ------------------------------------------------------------------------------------------------------


@pytest.fixture
def looked_at(cells: Session) -> Session:
    """A session with a realization, a lens on it, and an artifact."""
    cells.run("""target = instantiate(all_echoes)
rref = realize(target)
lens = mklens(rref)
artifact = target.result
shouted = instantiate(shout, words=['a']).result""")
    return cells


#: What is typed, and some of what is to be offered then.
OFFERED = {
    "lens.": {"back", "source", "text", "val", "syspath"},
    "lens.so": {"source"},
    "lens.source.": {"words", "times", "text", "rref"},
    "print(lens.source.wo": {"words"},
    "mklens(rref).ba": {"back"},
    "mklens(rref).source.ti": {"times"},
    "mklens(artifact).source.ti": {"times"},
    "x = artifact.": {"text"},
    "target.result.te": {"text"},
    "shout(": {"words=", "times=", "loudly="},
    "shout(ti": {"times="},
    "echo(source=shouted, ba": {"back="},
    "glue_tfrecords(max_": {"max_seq_length="},
    "all_echoes(ba": {"back="},
    "%realize all_ec": {"all_echoes"},
    "%realize all_bert_fi": {"all_bert_finetune_glue"},
    "%realize all_echoes ba": {"back="},
    "found = %plan shout times=1 lou": {"loudly="},
    "%why all_bert_finetune_glue task": {"task_name="},
}


@pytest.mark.parametrize("jedi", [True, False])
def test_tab_offers_fields_parameters_and_stages(looked_at: Session, jedi: bool) -> None:
    looked_at.run("from stagedml.stages.all import glue_tfrecords")
    missing = {
        line: wanted - set(looked_at.completed(line, jedi=jedi))
        for line, wanted in OFFERED.items()
        if not wanted <= set(looked_at.completed(line, jedi=jedi))
    }
    assert not missing


def test_tab_offers_nothing_where_nothing_is(looked_at: Session) -> None:
    for line in ("lens.source.no.", "lens.text.contents.", "nowhere.", "mklens(5).", "mklens(no).", "%realize no qq"):
        assert looked_at.completed(line, jedi=False) == [], line


def test_dir_of_a_lens_tells_what_can_be_asked_for(looked_at: Session, store: Store) -> None:
    lens: Any = looked_at.run("lens")
    assert {"back", "source", "text", "name"} <= set(dir(lens))
    assert "two words" not in dir(looked_at.run("mklens({'two words': 1, 'class': 2, 'fine': 3})"))
    assert {"fine", "val"} <= set(dir(looked_at.run("mklens({'two words': 1, 'class': 2, 'fine': 3})")))
    assert "val" in dir(lens.back)
    config = next(store.layout.storage.glob("*-echo/config.json"))
    config.unlink()
    fresh = Store(store.layout)
    looked_at.shell.user_ns["fresh"] = fresh
    assert "val" in dir(looked_at.run("using_store(fresh).__enter__() and mklens(rref)"))
