"""Builds that a person takes over at the prompt: where they pause, what is published of them, and who has to wait."""

from __future__ import annotations

import gc as garbage
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from compat import plain
from stagedml import (
    DRef,
    Policy,
    Store,
    UsageError,
    best,
    current_store,
    every,
    gc,
    instantiate,
    mklens,
    plan,
    realize,
    realize_many,
    redefine,
    repl_build,
    repl_cancel,
    repl_cancelBuild,
    repl_continue,
    repl_continueAll,
    repl_continueBuild,
    repl_continueMany,
    repl_realize,
    repl_result,
    repl_rref,
    repl_rrefs,
    rref2path,
    using_store,
    why,
)
from stagedml.authoring.build import MissingOutputs, derive_seed
from stagedml.cli.why import why_lines
from stagedml.core.matchers import MetricMissing
from stagedml.core.reasons import Cause
from stagedml.core.refs import parse_rref
from stagedml.engine import repl
from stagedml.engine.events import Observer
from stagedml.engine.failures import BuildFailed
from stagedml.engine.handover import PausedHere
from stagedml.engine.journal import events_of, past_runs
from stagedml.settings import read_settings
from stagedml.store.hashing import UnpublishableContent
from stagedml.store.metadata import BuildRecord
from stagedml.store.verify import verify
from stagedml.testing.toys import all_counted, blocking, count, sample, text, upper


@pytest.fixture(autouse=True)
def _nothing_is_paused(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(repl, "_last", None)
    yield
    if repl._last is not None and repl._last.is_paused:
        repl_cancel()


def record(store: Store, rref: str) -> BuildRecord:
    known = store.metadata(parse_rref(rref))
    assert known is not None
    return known.builds[-1]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def nothing_is_left(store: Store) -> bool:
    return names_in(store.layout.scratch) == names_in(store.layout.locks) == []


class Recorder(Observer):
    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def started(self, dref: str, instance: int, outpath: Path) -> None:
        self.events.append(("started", dref[38:]))

    def finished(self, dref: str, rref: str, seconds: float) -> None:
        self.events.append(("finished", dref[38:]))

    def adopted(self, dref: str, rref: str, source: str) -> None:
        self.events.append(("adopted", dref[38:]))

    def failed(self, dref: str, error: BaseException) -> None:
        self.events.append(("failed", dref[38:]))

    def ended(self) -> None:
        self.events.append(("ended", ""))


# -- what is handed over, and what becomes of it ----------------------------------------------------------------------


def test_a_person_builds_the_target(store: Store) -> None:
    seen = Recorder()
    rh = repl_realize(instantiate(all_counted, "word"), observer=seen)
    assert rh.is_paused
    assert rh.dref is not None
    assert rh.dref.endswith("-count")
    assert (rh.instance, rh.rref, rh.result, repl_rref()) == (0, None, None, None)
    assert seen.events == [*((e, n) for n in ("text", "upper") for e in ("started", "finished")), ("started", "count")]
    build = repl_build()
    assert repl_build(rh) is build
    assert names_in(build.outpath) == []
    artifact = count.arguments(build)
    assert build.path(artifact["source"].text).read_text() == "WORD"
    assert artifact["workers"] == 1
    assert build.config["scale"] == 1.0
    assert build.seed == derive_seed(0, 0)
    (build.log_dir / "notes").write_text("mine")
    path = build.path(artifact["counts"])
    path.parent.mkdir()
    path.write_text('{"made": "by hand"}')
    rref = repl_continue()
    assert rref is not None
    assert (rh.rref, repl_rref(), repl_rrefs(rh), repl_result()) == (
        rref,
        rref,
        [rref],
        {DRef(f"dref:{rref[38:]}"): [rref]},
    )
    assert seen.events[-2:] == [("finished", "count"), ("ended", "")]
    assert mklens(rref).counts.contents == '{"made": "by hand"}'
    assert Path(rref2path(rref), "__log__", "notes").read_text() == "mine"
    assert realize(instantiate(all_counted, "word")) == rref
    assert nothing_is_left(store)


def test_what_a_person_made_is_recorded_as_such(store: Store) -> None:
    repl_realize(instantiate(all_counted), args={"workers": 3})
    before = time.time()
    count.run(repl_build())
    rref = repl_continue()
    assert rref is not None
    build = record(store, rref)
    assert build.by_hand
    assert (build.key, build.reads, build.deterministic) == ("", ("a person",), False)
    assert build.started <= before <= build.stopped
    assert dict(build.arguments) == {"workers": 3}
    (event,) = (event for event in why(rref).events if event.ref == rref)
    assert event.reasons[0].cause is Cause.BY_HAND
    assert str(event.reasons[0]).startswith("by hand by ")


def test_what_rests_on_it_tells_of_it(store: Store) -> None:
    repl_realize(instantiate(all_counted), [upper])
    (repl_build().outpath / "text.txt").write_text("MINE")
    rref = repl_continue()
    assert rref is not None
    (event,) = why(rref).blessed
    assert event.name == "upper"
    (line,) = (line for line in why_lines(why(rref)) if line.startswith("rests on upper"))
    assert ", by hand by " in line


def test_the_stages_own_builder_fills_the_folder(store: Store, tmp_path: Path) -> None:
    repl_realize(instantiate(all_counted))
    build = repl_build()
    count.run(build)
    assert json.loads(build.path(count.arguments(build)["counts"]).read_text())["L"] == 2
    rref = repl_continueBuild(build)
    with using_store(Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=tmp_path / "other"))):
        assert realize(instantiate(all_counted)) == rref


def test_what_nobody_asked_for_is_left_to_its_builder(store: Store) -> None:
    assert repl_realize(instantiate(all_counted)).is_paused
    rref = repl_continue()
    assert rref is not None
    build = record(store, rref)
    assert not build.by_hand
    assert build.key
    assert build.deterministic
    assert nothing_is_left(store)


def test_it_pauses_where_it_is_told_to(store: Store) -> None:
    target = instantiate(all_counted)
    rh = repl_realize(target, [text, "count"])
    assert rh.dref is not None
    assert rh.dref.endswith("-text")
    (repl_build().outpath / "text.txt").write_text("paused")
    assert repl_continue() is None
    assert rh.dref == target.result
    rref = repl_continue()
    assert rref is not None
    assert json.loads(mklens(rref).counts.contents) == dict.fromkeys("ADEPSU", 1)
    assert not repl_realize(instantiate(all_counted, "other"), force_interrupt=False).is_paused
    assert repl_realize(instantiate(all_counted, "third"), "upper").is_paused
    repl_cancel()
    third = instantiate(all_counted, "third")
    assert repl_realize(third, [third.result]).dref == third.result


def test_what_is_there_is_not_built_unless_forced(store: Store) -> None:
    rref = realize(instantiate(all_counted))
    rh = repl_realize(instantiate(all_counted))
    assert (rh.is_paused, rh.rref) == (False, rref)
    with pytest.raises(UsageError, match="force=True"):
        repl_build()
    repl_realize(instantiate(all_counted), force=True)
    (repl_build().outpath / "result").mkdir()
    (repl_build().outpath / "result/counts.json").write_text("{}")
    assert repl_continue() == realize(instantiate(all_counted)) != rref


def test_each_instance_has_its_pause(store: Store) -> None:
    target = instantiate(redefine(sample, new_matcher=best("accuracy", of=3)), seed=7)
    rh = repl_realize(target)
    made = []
    for number in range(3):
        assert rh.instance == number
        build = repl_build()
        assert build.seed == derive_seed(7, number)
        if number == 1:
            build.path(sample.arguments(build)["number"]).write_text("2.0")
            build.path(sample.arguments(build)["metrics"]).write_text('{"accuracy": 2.0}')
        else:
            sample.run(build)
        made.append(repl_continue())
    assert made[:2] == [None, None]
    assert mklens(made[2]).number.contents == "2.0"
    assert len(store.realizations(parse_rref(str(made[2])).derivation)) == 3


def test_nothing_is_published_without_what_is_promised(store: Store) -> None:
    rh = repl_realize(instantiate(all_counted))
    build = repl_build()
    (build.outpath / "draft").write_text("kept")
    with pytest.raises(MissingOutputs, match=r"result/counts\.json"):
        repl_continue()
    assert rh.is_paused
    assert (build.outpath / "draft").read_text() == "kept"
    count.run(build)
    os.mkfifo(build.outpath / "result" / "pipe")
    with pytest.raises(UnpublishableContent, match="pipe"):
        repl_continue()
    assert rh.is_paused
    os.unlink(build.outpath / "result" / "pipe")
    rref = repl_continue()
    assert rref is not None
    assert mklens(rref).source.text.contents == "HELLO"


def test_a_folder_of_ones_own_is_copied(store: Store, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    rh = repl_realize(instantiate(text, content="x"))
    with pytest.raises(MissingOutputs):
        repl_continue([mine])
    (mine / "text.txt").write_text("mine")
    for wrong in ([], [mine, mine], str(mine), [tmp_path / "missing"], rh):
        with pytest.raises(UsageError):
            repl_continue(wrong)  # type: ignore[arg-type]
    rref = repl_continue([mine])
    assert rref is not None
    assert mklens(rref).text.contents == "mine"
    assert record(store, rref).by_hand
    (mine / "text.txt").write_text("changed")
    assert mklens(rref).text.contents == "mine"
    assert nothing_is_left(store)


def test_nobody_goes_on_with_a_checkpoint_of_a_person(store: Store) -> None:
    repl_realize(instantiate(text))
    (repl_build().checkpoint_dir / "state").write_text("mine")
    assert names_in(store.layout.all_checkpoints) == []
    repl_cancel()
    assert nothing_is_left(store)


@pytest.mark.parametrize("by_hand", [False, True])
def test_what_a_person_made_is_never_adopted(store: Store, by_hand: bool) -> None:
    repl_realize(instantiate(lambda: upper(source=text(content="same bytes"))))
    if by_hand:
        (repl_build().outpath / "text.txt").write_text("SAME BYTES")
    repl_continue()
    seen = Recorder()
    realize(instantiate(lambda: upper(source=blocking(content="same bytes"))), observer=seen)
    assert (("finished", "upper") if by_hand else ("adopted", "upper")) in seen.events


def test_how_long_a_person_took_is_no_estimate(store: Store) -> None:
    repl_realize(instantiate(text))
    text.run(repl_build())
    repl_continue()
    (step,) = plan(instantiate(text), force=True).steps
    assert step.seconds is None


def test_a_plain_stage_of_pylightnix_is_built_by_hand(store: Store) -> None:
    repl_realize(plain.instantiate(plain.doubled), "doubled")
    build = repl_build()
    assert plain.plx.build_outpath(build) == str(build.outpath)
    Path(mklens(build).out.syspath).write_text(mklens(build).source.out.contents + "!")
    rref = repl_continueBuild(build)
    assert rref is not None
    assert mklens(rref).out.contents == "one two!"
    assert record(store, rref).by_hand
    repl_realize(plain.instantiate(plain.words, text="three"))
    rref = repl_continue()
    assert rref is not None
    assert mklens(rref).out.contents == "three"


def test_the_store_of_the_moment_stays_what_it_was(store: Store, tmp_path: Path) -> None:
    target = instantiate(all_counted)
    with using_store(Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=tmp_path / "other"))) as other:
        repl_realize(target)
        assert current_store() is other
        repl_continue()
        assert current_store() is other
    assert current_store() is store


# -- how it ends ------------------------------------------------------------------------------------------------------


def test_a_cancelled_build_leaves_nothing(store: Store) -> None:
    seen = Recorder()
    rh = repl_realize(instantiate(all_counted), observer=seen)
    (repl_build().outpath / "draft").write_text("gone")
    assert not nothing_is_left(store)
    repl_cancel()
    assert nothing_is_left(store)
    assert seen.events[-2:] == [("failed", "count"), ("ended", "")]
    (run,) = past_runs(store.layout)
    assert (run.how, events_of(Path(run.path))[-1]["error"]) == ("failed", "Cancelled: building count was cancelled")
    assert (rh.is_paused, rh.rref, repl_rref()) == (False, None, None)
    for act in (repl_build, repl_continue, repl_cancel):
        with pytest.raises(UsageError, match="is over"):
            act()
    assert json.loads(mklens(realize(instantiate(all_counted))).counts.contents)["L"] == 2


def test_the_journal_tells_of_it_as_of_any_run(store: Store) -> None:
    repl_realize(instantiate(all_counted))
    (run,) = past_runs(store.layout)
    assert run.how == ""
    repl_continue()
    (run,) = past_runs(store.layout)
    assert run.how == "done"


def test_a_failure_before_or_after_the_pause_is_told(store: Store) -> None:
    with pytest.raises(BuildFailed):
        repl_realize(instantiate(lambda: upper(source=blocking(gate="missing", timeout_s=0.0))))
    with pytest.raises(UsageError, match="begin with"):
        repl_build()
    repl_realize(instantiate(blocking, gate="missing", timeout_s=0.0))
    with pytest.raises(BuildFailed, match="nobody made missing"):
        repl_continue()
    with pytest.raises(UsageError, match="is over"):
        repl_continue()
    repl_realize(instantiate(redefine(sample, new_matcher=best("accuracy"))))
    for name in ("number.txt", "metrics.json"):
        (repl_build().outpath / name).write_text("{}")
    with pytest.raises(MetricMissing):
        repl_continue()
    assert names_in(store.layout.locks) == []


def test_a_helper_that_is_lost_lets_its_lock_go(store: Store) -> None:
    repl_realize(instantiate(text))
    assert names_in(store.layout.locks) != []
    repl_realize(instantiate(text, content="other"))
    garbage.collect()
    assert len(names_in(store.layout.locks)) == 1
    realize(instantiate(text))


def test_mistakes_are_named(store: Store, tmp_path: Path) -> None:
    for act in (repl_build, repl_continue, repl_continueAll, repl_cancel, repl_rref):
        with pytest.raises(UsageError, match="begin with `repl_realize"):
            act()
    with pytest.raises(UsageError, match="force_interrupt: sample is not in this closure, which holds count"):
        repl_realize(instantiate(all_counted), ["sample"])
    with pytest.raises(UsageError, match="force_interrupt=3"):
        repl_realize(instantiate(all_counted), 3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="instantiate"):
        repl_realize(all_counted)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="pass what `repl_realize` returned"):
        repl_build("rh")  # type: ignore[arg-type]
    other = repl_realize(instantiate(text))
    build = repl_build(other)
    repl_realize(instantiate(all_counted, "else"))
    for of_build in (repl_continueBuild, repl_cancelBuild):
        with pytest.raises(UsageError, match="not the build that is paused"):
            of_build(build)
    repl_cancelBuild(build, other)
    assert not other.is_paused
    with pytest.raises(UsageError, match="is over"):
        repl_continue(rh=other)


def test_several_results_have_functions_of_their_own(store: Store) -> None:
    rh = repl_realize(instantiate(lambda: [text(content="one"), text(content="two")]))
    with pytest.raises(UsageError, match="has 2 results"):
        repl_continue()
    assert rh.is_paused
    assert repl_continueAll() is None
    result = repl_continueAll()
    assert result is not None
    assert [mklens(rref).text.contents for rrefs in result.values() for rref in rrefs] == ["one", "two"]
    with pytest.raises(UsageError, match="has 2 results"):
        repl_rref()
    assert repl_result() == result
    realize_many(instantiate(sample), instances=2)
    repl_realize(instantiate(redefine(sample, new_matcher=every())), force=True)
    many = repl_continueMany()
    assert many is not None
    assert len(many) == 2
    with pytest.raises(UsageError, match="has 2 realizations"):
        repl_rref()


def test_a_helper_says_where_it_is(store: Store) -> None:
    rh = repl_realize(instantiate(all_counted))
    assert repr(rh).startswith(f"<paused at count, {rh.dref}: repl_build()")
    rref = repl_continue()
    assert repr(rh) == f"<over: {rref}>"
    with pytest.raises(AttributeError):
        rh.dref = None  # type: ignore[misc]


# -- who else wants it ------------------------------------------------------------------------------------------------


def test_this_process_does_not_wait_for_itself(store: Store) -> None:
    rh = repl_realize(instantiate(all_counted))
    (repl_build().outpath / "draft").write_text("kept")
    for jobs in (1, 2):
        with pytest.raises(PausedHere, match="count is paused in this process"):
            realize(instantiate(all_counted), jobs=jobs)
    with pytest.raises(PausedHere, match=r"repl_continue\(\)"):
        repl_realize(instantiate(all_counted))
    assert repl_build().outpath == repl_build(rh).outpath  # the first one is still meant
    assert names_in(repl_build().outpath) == ["draft"]
    realize(instantiate(all_counted, "another"))
    repl_cancel()
    realize(instantiate(all_counted))


class Session:
    """Another process on a store."""

    def __init__(self, store: Store, code: str) -> None:
        beginning = """
            import sys, time
            from stagedml import *
            from stagedml.engine.events import Observer
            from stagedml.testing.toys import *
            class Telling(Observer):
                def waiting(self, dref, owner):
                    print("waiting for", owner, flush=True)
            store_initialize(sys.argv[1])
        """
        paths = os.pathsep.join(path for path in sys.path if path)
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(beginning) + textwrap.dedent(code), str(store.layout.root)],
            env={**os.environ, "PYTHONPATH": paths, "STAGEDML_DURABLE": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ended(self) -> tuple[str, str]:
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, err
        return out.strip(), err


REALIZE = "print(realize(instantiate(all_counted), observer=Telling()))"


def test_another_process_waits_and_takes_what_was_made(store: Store) -> None:
    repl_realize(instantiate(all_counted))
    other = Session(store, REALIZE)
    assert other.line().startswith(f"waiting for process {os.getpid()} on ")
    (repl_build().outpath / "result").mkdir()
    (repl_build().outpath / "result/counts.json").write_text("{}")
    assert other.process.poll() is None
    rref = repl_continue()
    assert other.ended()[0] == rref


def test_another_process_builds_when_it_was_cancelled(store: Store) -> None:
    repl_realize(instantiate(all_counted))
    other = Session(store, REALIZE)
    assert other.line().startswith("waiting for process")
    repl_cancel()
    rref = other.ended()[0]
    assert json.loads(mklens(rref).counts.contents)["L"] == 2
    assert nothing_is_left(store)


PAUSE = """
    repl_realize(instantiate(all_counted))
    (repl_build().outpath / "draft").write_text("mine")
    print("paused", flush=True)
"""


def test_the_lock_of_a_process_that_dies_is_free(store: Store) -> None:
    other = Session(store, PAUSE + "    time.sleep(600)")
    assert other.line() == "paused"
    assert names_in(store.layout.locks) != []
    other.process.kill()
    other.process.communicate()
    rref = realize(instantiate(all_counted))
    assert json.loads(mklens(rref).counts.contents)["L"] == 2
    assert nothing_is_left(store)


def test_a_process_may_end_in_a_pause(store: Store) -> None:
    out, err = Session(store, PAUSE).ended()
    assert (out, err) == ("paused", "")
    assert names_in(store.layout.locks) == []
    repl_realize(instantiate(all_counted))
    assert names_in(repl_build().outpath) == []


COLLECT = """
    kept = realize(instantiate(text, content="kept"))
    found = gc(force=True, policy=Policy(grace_s=0, scratch_s=0, resumable_s=0), keep=[kept])
    print(len(found.collected.realizations))
"""


def test_a_collector_in_another_process_takes_nothing_of_it(store: Store) -> None:
    passing = Session(store, "print(realize(instantiate(text, content='passing')))").ended()[0]
    repl_realize(instantiate(all_counted))
    build = repl_build()
    (build.outpath / "draft").write_text("mine")
    (build.scratch / "more").write_text("mine")
    assert Session(store, COLLECT).ended()[0] == "1"
    assert not store.layout.realization(parse_rref(passing)).exists()
    assert (build.outpath / "draft").read_text() == (build.scratch / "more").read_text() == "mine"
    gc(force=True, policy=Policy(grace_s=0, scratch_s=0, resumable_s=0), keep=[str(store.derivations()[0])])
    assert build.config["scale"] == 1.0
    count.run(build)
    rref = repl_continue()
    assert rref is not None
    assert mklens(rref).source.source.text.contents == "hello"
    assert verify(store).findings == ()


def test_a_prompt_takes_a_build_over(tmp_path: Path) -> None:
    code = """
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance()
        for cell in (
            "from stagedml import *\\nstore_initialize('root')",
            "class Cell(Artifact):\\n    text: RefPath",
            "@stage(Cell, name='cell')\\n"
            "def cell(build: Build, *, n: int = 1, text: RefPath = output('text')) -> None:\\n"
            "    build.path(text).write_text('x' * n)",
            "repl_realize(instantiate(cell, n=3))",
            "b = repl_build()\\ncell.run(b)",
            "(b.outpath / 'text').write_text((b.outpath / 'text').read_text() + '!')",
            "rref = repl_continue()",
            "print('>', mklens(rref).text.contents, why(rref).events[-1].reasons[0].cause.value)",
        ):
            shell.run_cell(cell, store_history=True).raise_error()
    """
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths, "IPYTHONDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert "> xxx! by hand\n" in done.stdout, done.stderr
    assert "<paused at cell, dref:" in done.stdout
