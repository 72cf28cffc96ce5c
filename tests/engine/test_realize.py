"""What `realize` and `realize_many` build, choose, return, tell and refuse."""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stagedml import (
    Artifact,
    Build,
    BuildError,
    Exec,
    Policy,
    RefPath,
    RRef,
    UsageError,
    best,
    every,
    exactly,
    gc,
    instantiate,
    latest,
    lrealize,
    mklens,
    output,
    plan,
    realize,
    realize_many,
    redefine,
    stage,
    tryrealize,
    using_store,
)
from stagedml.authoring.build import MissingOutputs
from stagedml.authoring.stage import InvalidArguments
from stagedml.core.matchers import MetricMissing
from stagedml.core.plan import Plan
from stagedml.core.refs import parse_rref
from stagedml.engine.events import Observer
from stagedml.engine.failures import BuildFailed, MatcherUnsatisfied
from stagedml.settings import read_settings
from stagedml.stages.fetch import fetchlocal
from stagedml.store.objects import Store
from stagedml.testing import toys
from stagedml.types import File


class Recorder(Observer):
    """Writes down what it is told: (event, stage, more)."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def _note(self, event: str, dref: str, *more: object) -> None:
        self.events.append((event, dref[38:], *more))

    def planned(self, plan: Plan) -> None:
        self.events.append(("planned", len(plan.steps)))

    def waiting(self, dref: str, owner: str) -> None:
        self._note("waiting", dref)

    def started(self, dref: str, instance: int, outpath: Path) -> None:
        assert list(outpath.iterdir()) == []
        self._note("started", dref, instance)

    def progress(self, dref: str, label: str, done: int, total: int | None, unit: str, note: str) -> None:
        self._note("progress", dref, label, done, total, unit, note)

    def message(self, dref: str, text: str) -> None:
        self._note("message", dref, text)

    def finished(self, dref: str, rref: str, seconds: float) -> None:
        assert seconds >= 0
        self._note("finished", dref, rref[5:37])

    def failed(self, dref: str, error: BaseException) -> None:
        self._note("failed", dref, type(error).__name__)

    def ended(self) -> None:
        self.events.append(("ended",))


class Nothing(Artifact):
    """What comes of a stage that tells, or fails."""

    out: RefPath


@stage(Nothing, name="telling")
def telling(build: Build, *, fail: str = "", out: RefPath = output("out")) -> None:
    """Report, then write the output or fail in some way."""
    build.progress("steps", 1, 2, "step", "half way")
    build.message("look here")
    if fail == "raise":
        build.path(out).write_text("half")
        raise ZeroDivisionError("no good")
    if fail == "interrupt":
        raise KeyboardInterrupt
    if fail != "forget":
        build.path(out).write_text("done")


def instances(store: Store, rrefs: Sequence[str]) -> list[tuple[int, ...]]:
    found = [store.metadata(parse_rref(rref)) for rref in rrefs]
    return [known.instances if known else () for known in found]


def built(store: Store, rref: str) -> int:
    """How many builds ended in a realization."""
    known = store.metadata(parse_rref(rref))
    return len(known.builds) if known else 0


# -- results ----------------------------------------------------------------------------------------------------------


def test_two_empty_stores_come_to_the_same_references(tmp_path: Path) -> None:
    results = []
    for name in ("one", "two"):
        with using_store(Store.open(read_settings({}, root=tmp_path / name))):
            results.append(
                (realize(instantiate(toys.all_counted)), realize_many(instantiate(toys.sample), instances=3))
            )
    assert results[0] == results[1]


def test_the_same_contents_of_other_inputs_are_another_realization(store: Store) -> None:
    one, other = (realize(instantiate(toys.all_counted, content)) for content in ("hello", "HELLO"))
    contents = [store.metadata(parse_rref(rref)) for rref in (one, other)]
    assert one != other
    assert len({known.content for known in contents if known}) == 1


def test_several_results_have_the_shape_that_was_asked_for(store: Store) -> None:
    class Pair(NamedTuple):
        left: Any
        right: Any

    def shape(of: str) -> Any:
        one, two = toys.text(content="one"), toys.text(content="two")
        return {
            "list": [one, two],
            "tuple": (one, two),
            "dict": {"a": one, "b": [two, (one,)], "note": "any text", "count": 3},
            "named": Pair(one, {"deep": two}),
            "single": one,
            "twice": [one, one],
        }[of]

    one = [realize(instantiate(toys.text, content="one"))]
    two = [realize(instantiate(toys.text, content="two"))]
    assert realize_many(instantiate(shape, "list")) == [one, two]
    assert realize_many(instantiate(shape, "tuple")) == (one, two)
    assert realize_many(instantiate(shape, "dict")) == {"a": one, "b": [two, (one,)], "note": "any text", "count": 3}
    assert realize_many(instantiate(shape, "named")) == Pair(one, {"deep": two})
    assert realize_many(instantiate(shape, "single")) == one
    assert realize_many(instantiate(shape, "twice")) == [one, one]
    assert realize(instantiate(shape, "twice")) == one[0]


def test_realize_refuses_several_results(store: Store) -> None:
    def two() -> list[toys.Text]:
        return [toys.text(content="one"), toys.text(content="two")]

    with pytest.raises(UsageError, match=r"2 results.*realize_many"):
        realize(instantiate(two))
    with pytest.raises(UsageError, match=r"2 realizations by its matcher; use `realize_many`"):
        realize(instantiate(redefine(toys.sample, new_matcher=latest(2))))


def test_what_is_no_closure_is_refused(store: Store) -> None:
    with pytest.raises(UsageError, match=r"cannot be realized; pass what `instantiate"):
        realize(toys.all_counted)  # type: ignore[call-overload]


# -- instances and matchers -------------------------------------------------------------------------------------------


def test_only_missing_instances_are_built(store: Store) -> None:
    first = realize(instantiate(toys.sample))
    rrefs = realize_many(instantiate(toys.sample), instances=3)
    assert rrefs[0] == first
    assert instances(store, rrefs) == [(0,), (1,), (2,)]
    assert realize_many(instantiate(toys.sample), instances=2) == rrefs[:2]
    assert [built(store, rref) for rref in rrefs] == [1, 1, 1]
    drawn = [mklens(rref).number.contents for rref in rrefs]
    assert len(set(drawn)) == 3


def test_a_lost_instance_alone_is_built_again(store: Store) -> None:
    rrefs = realize_many(instantiate(toys.sample), instances=3)
    number = mklens(rrefs[1]).number.syspath
    number.parent.chmod(0o755)
    number.unlink()
    recorder = Recorder()
    assert realize_many(instantiate(toys.sample), instances=3, observer=recorder) == rrefs
    assert [event for event in recorder.events if event[0] == "started"] == [("started", "sample", 1)]


def test_equal_instances_share_a_realization_and_keep_their_indices(store: Store) -> None:
    rrefs = realize_many(instantiate(toys.sample, constant=True), instances=3)
    assert rrefs == [rrefs[0]] * 3
    assert instances(store, rrefs[:1]) == [(0, 1, 2)]
    assert realize_many(instantiate(toys.sample, constant=True), instances=3) == rrefs
    assert built(store, rrefs[0]) == 3


def test_instances_below_one_are_refused(store: Store) -> None:
    with pytest.raises(UsageError, match="at least one"):
        realize_many(instantiate(toys.sample), instances=0)


def test_best_builds_the_instances_it_chooses_from(store: Store) -> None:
    rref = realize(instantiate(redefine(toys.sample, new_matcher=best("accuracy", of=3))))
    rrefs = realize_many(instantiate(toys.sample), instances=3)
    assert [built(store, each) for each in rrefs] == [1, 1, 1]
    accuracy = {each: mklens(each).metrics.accuracy.val for each in rrefs}
    assert accuracy[rref] == max(accuracy.values())
    lowest = realize(instantiate(redefine(toys.sample, new_matcher=best("loss", of=3, lowest=True))))
    assert lowest == rref
    worst = realize(instantiate(redefine(toys.sample, new_matcher=best("accuracy", of=3, lowest=True))))
    assert accuracy[worst] == min(accuracy.values())
    realize(instantiate(redefine(toys.sample, new_matcher=best("accuracy", of=4))))
    assert len(store.realizations(parse_rref(rref).derivation)) == 4


def test_best_chooses_among_the_inputs_of_a_stage(store: Store) -> None:
    def on_best() -> toys.Text:
        return toys.text(content=str(redefine(toys.sample, new_matcher=best("accuracy", of=3))()))

    rref = realize(instantiate(on_best))
    accuracies = [mklens(each).metrics.accuracy.val for each in realize_many(instantiate(toys.sample), instances=3)]
    assert mklens(rref).content.metrics.accuracy.val == max(accuracies)


def test_a_metric_that_is_not_there_is_named(store: Store) -> None:
    with pytest.raises(MetricMissing, match=r"rref:.*no number 'f1' in its metrics.json"):
        realize(instantiate(redefine(toys.sample, new_matcher=best("f1"))))


class Diverged(Artifact):
    """A loss that is no number for the first instance."""

    metrics: RefPath


@stage(Diverged, name="diverged")
def diverged(build: Build, *, metrics: RefPath = output("metrics.json")) -> None:
    """Write NaN where training diverged."""
    loss = float("nan") if build.instance == 0 else float(build.instance)
    build.path(metrics).write_text(json.dumps({"loss": loss}))


@pytest.mark.parametrize(("lowest", "instance"), [(True, 1), (False, 2)])
def test_what_diverged_is_never_the_best(store: Store, lowest: bool, instance: int) -> None:
    matcher = best("loss", of=3, lowest=lowest)
    rref = realize(instantiate(redefine(diverged, new_matcher=matcher)))
    assert instances(store, [rref]) == [(instance,)]
    for rrefs in itertools.permutations(realize_many(instantiate(diverged), instances=3)):
        assert matcher(None, list(rrefs)) == [rref]


def test_exactly_takes_what_it_names_and_builds_nothing(store: Store) -> None:
    rrefs = realize_many(instantiate(toys.sample), instances=3)
    for rref in rrefs:
        assert realize(instantiate(redefine(toys.sample, new_matcher=exactly(rref)))) == rref
    assert realize_many(instantiate(redefine(toys.sample, new_matcher=exactly(*rrefs)))) == sorted(rrefs)
    gone = rrefs[0].replace(rrefs[0][5:37], "0" * 32)
    with pytest.raises(MatcherUnsatisfied, match=r"Exactly.*is not satisfied") as unsatisfied:
        realize(instantiate(redefine(toys.sample, new_matcher=exactly(gone))))
    assert unsatisfied.value.dref == f"dref:{gone[38:]}"
    assert [built(store, rref) for rref in rrefs] == [1, 1, 1]


def test_every_takes_all_there_are_and_builds_one_if_there_is_none(store: Store) -> None:
    stage = redefine(toys.sample, new_matcher=every())
    first = realize_many(instantiate(stage))
    assert len(first) == 1
    three = realize_many(instantiate(toys.sample), instances=3)
    assert realize_many(instantiate(stage)) == sorted(three)


def test_latest_takes_what_was_built_last(store: Store) -> None:
    rrefs = realize_many(instantiate(toys.sample), instances=3)
    assert realize(instantiate(toys.sample)) == rrefs[2]
    assert realize_many(instantiate(redefine(toys.sample, new_matcher=latest(2)))) == sorted(rrefs[1:])
    assert len(realize_many(instantiate(redefine(toys.sample, new_matcher=latest(4))))) == 4
    assert realize(instantiate(toys.sample), force=True) == rrefs[0]  # rebuilt, and so the latest
    assert realize(instantiate(toys.sample)) == rrefs[0]


# -- force ------------------------------------------------------------------------------------------------------------


def started(recorder: Recorder) -> list[str]:
    return [event[1] for event in recorder.events if event[0] == "started"]


@pytest.mark.parametrize("what", ["stage", "name", "reference", "several"])
def test_force_rebuilds_what_it_names_and_what_rests_on_it_only_if_it_changed(store: Store, what: str) -> None:
    rref = realize(instantiate(toys.all_counted))
    upper = str(mklens(rref).source.dref)
    force: Any = {"stage": toys.upper, "name": "upper", "reference": upper, "several": [toys.upper, "text"]}[what]
    recorder = Recorder()
    assert realize(instantiate(toys.all_counted), force=force, observer=recorder) == rref
    assert started(recorder) == (["text", "upper"] if what == "several" else ["upper"])


def test_force_true_rebuilds_the_targets(store: Store) -> None:
    recorder = Recorder()
    rref = realize(instantiate(toys.all_counted))
    assert realize(instantiate(toys.all_counted), force=True, observer=recorder) == rref
    assert started(recorder) == ["count"]


def test_force_of_what_is_not_there_is_refused(store: Store) -> None:
    with pytest.raises(UsageError, match=r"force: .*sample.* is not in this closure, which holds count, text, upper"):
        realize(instantiate(toys.all_counted), force=toys.sample)
    with pytest.raises(UsageError, match="uper is not in this closure"):
        realize(instantiate(toys.all_counted), force=["uper"])


def test_a_damaged_input_is_restored_and_what_rests_on_it_stays(store: Store) -> None:
    rref = realize(instantiate(toys.all_counted))
    text = mklens(rref).source.source.text.syspath
    text.chmod(0o644)
    text.write_text("of another size")
    recorder = Recorder()
    assert realize(instantiate(toys.all_counted), observer=recorder) == rref
    assert started(recorder) == ["text"]
    assert text.read_text() == "hello"


@stage(toys.Text, name="drifting")
def drifting(build: Build, *, weather: Exec[str] = "sun", text: RefPath = output("text.txt")) -> None:
    """Write what no config tells, as a stage that is not deterministic does."""
    build.path(text).write_text(weather)


def test_an_input_that_comes_out_otherwise_has_what_rests_on_it_built_anew(store: Store) -> None:
    def shouted() -> toys.Text:
        return toys.upper(source=drifting())

    sunny = realize(instantiate(shouted))
    rainy = realize(instantiate(shouted), force="drifting", args={"weather": "rain"})
    assert mklens(sunny).text.contents == "SUN"
    assert mklens(rainy).text.contents == "RAIN"
    assert realize(instantiate(shouted)) == rainy
    recorder = Recorder()
    assert realize(instantiate(shouted), force="drifting", observer=recorder) == sunny  # it was there already
    assert started(recorder) == ["drifting"]


# -- Exec values ------------------------------------------------------------------------------------------------------


def workers(rref: str) -> str:
    return Path(mklens(rref).syspath, "__log__", "workers").read_text()


def test_exec_values_given_at_realize_win_over_declared_ones_and_those_over_defaults(store: Store) -> None:
    def counted(content: str, **declared: int) -> toys.Count:
        return toys.count(source=toys.text(content=content), **declared)  # type: ignore[arg-type]

    assert workers(realize(instantiate(counted, "a"))) == "1"
    assert workers(realize(instantiate(counted, "b", workers=2))) == "2"
    assert workers(realize(instantiate(counted, "c", workers=2), args={"workers": 3})) == "3"
    target = instantiate(counted, "d", workers=2)
    assert workers(realize(target, args={"workers": 3, target.result: {"workers": 4}})) == "4"
    target = instantiate(counted, "e", workers=2)
    rref = realize(target, args={target.result: {"workers": 4}, "workers": 3})
    assert workers(rref) == "4"
    known = store.metadata(parse_rref(rref))
    assert known is not None
    assert known.builds[0].arguments == {"workers": 4}


def test_exec_values_are_in_no_hash(store: Store) -> None:
    rref = realize(instantiate(toys.all_counted), args={"workers": 7})
    assert realize(instantiate(toys.all_counted), args={"workers": 8}) == rref
    assert workers(rref) == "7"


def test_wrong_exec_values_are_refused_before_anything_is_built(store: Store) -> None:
    target = instantiate(toys.all_counted)
    with pytest.raises(UsageError, match=r"no stage here has an Exec parameter 'worker'; there are: workers"):
        realize(target, args={"worker": 2})
    with pytest.raises(InvalidArguments, match="workers: wanted int, got 'two'"):
        realize(target, args={"workers": "two"})
    with pytest.raises(InvalidArguments, match="device: no Exec parameter of it; there are: workers"):
        realize(target, args={target.result: {"device": "gpu"}})
    with pytest.raises(UsageError, match="wanted a dict of Exec values"):
        realize(target, args={target.result: 3})
    assert len(plan(target).builds) == 3


# -- failures and events ----------------------------------------------------------------------------------------------


def test_what_a_builder_raises_is_named_kept_as_the_cause_and_its_folder_is_kept(store: Store) -> None:
    target = instantiate(telling, fail="raise")
    with pytest.raises(BuildFailed, match=r"building telling failed: ZeroDivisionError: no good") as failed:
        realize(target)
    error = failed.value
    assert isinstance(error, BuildError)
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert error.dref == target.result
    assert error.scratch in str(error)
    assert Path(error.scratch, "out").read_text() == "half"
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.dref, copy.scratch) == (str(error), error.dref, error.scratch)
    assert store.realizations(parse_rref(f"rref:{'0' * 32}-{target.result[5:]}").derivation) == []
    assert list(store.layout.locks.iterdir()) == []
    with pytest.raises(BuildFailed):
        realize(target)
    assert len(list(store.layout.scratch.iterdir())) == 1


@stage(File, name="copied")
def copied(build: Build, *, source: File, others: list[File] = [], file: RefPath = output("file")) -> None:  # noqa: B006
    build.path(file).write_bytes(build.path(source.file).read_bytes())


@stage(File, name="refusing")
def refusing(build: Build, *, source: File, file: RefPath = output("file")) -> None:
    raise UsageError(f"{build.path(source.file)} is of no use")


def test_a_failure_names_the_local_files_behind_the_input_that_it_speaks_of(store: Store, tmp_path: Path) -> None:
    for name in ("one", "two", "other"):
        (tmp_path / name).write_text(name)

    def composed() -> File:
        one, two = fetchlocal(tmp_path / "one"), fetchlocal(tmp_path / "two")
        return refusing(source=copied(source=copied(source=one, others=[two]), others=[two]))

    with pytest.raises(BuildFailed, match="is of no use") as failed:
        realize(instantiate(composed))
    assert set(failed.value.sources) == {
        f"local-{name} was made with path={str(tmp_path / name)!r}" for name in ("one", "two")
    }
    assert all(source in str(failed.value) for source in failed.value.sources)
    assert "File " in failed.value.frames  # it came from a builder that is not ours


def test_an_output_that_was_not_written_is_named(store: Store) -> None:
    with pytest.raises(BuildFailed, match="without writing out, which its stage promises") as failed:
        realize(instantiate(telling, fail="forget"))
    assert isinstance(failed.value.__cause__, MissingOutputs)


def test_what_was_built_before_a_failure_is_kept(store: Store) -> None:
    def composed() -> list[Artifact]:
        return [toys.text(content="good"), telling(fail="raise")]

    with pytest.raises(BuildFailed):
        realize_many(instantiate(composed))
    assert plan(instantiate(toys.text, content="good")).builds == ()


def test_observers_get_the_events_in_order(store: Store) -> None:
    recorder = Recorder()
    rref = realize(instantiate(telling), observer=recorder)
    assert recorder.events == [
        ("planned", 1),
        ("started", "telling", 0),
        ("progress", "telling", "steps", 1, 2, "step", "half way"),
        ("message", "telling", "look here"),
        ("finished", "telling", rref[5:37]),
        ("ended",),
    ]
    recorder = Recorder()
    realize(instantiate(telling), observer=recorder)
    assert recorder.events == [("planned", 1), ("ended",)]


def test_observers_hear_of_failures_and_interrupts_and_of_the_end(store: Store) -> None:
    recorder = Recorder()
    with pytest.raises(BuildFailed):
        realize(instantiate(telling, fail="raise"), observer=recorder)
    assert recorder.events[-2:] == [("failed", "telling", "ZeroDivisionError"), ("ended",)]
    recorder = Recorder()
    with pytest.raises(KeyboardInterrupt):
        realize(instantiate(telling, fail="interrupt"), observer=recorder)
    assert recorder.events[-2:] == [("failed", "telling", "KeyboardInterrupt"), ("ended",)]
    assert list(store.layout.locks.iterdir()) == []


def test_a_dry_run_tells_observers_nothing(store: Store) -> None:
    recorder = Recorder()
    assert isinstance(realize(instantiate(telling), dry_run=True, observer=recorder), Plan)
    assert recorder.events == []


def test_the_builder_of_an_instance_knows_its_number_and_seed(store: Store) -> None:
    rrefs: list[RRef] = realize_many(instantiate(toys.sample, seed=5), instances=2)
    known = [store.metadata(parse_rref(rref)) for rref in rrefs]
    records = [each.builds[0] for each in known if each]
    assert [record.instance for record in records] == [0, 1]
    assert records[0].seed != records[1].seed
    other = store.metadata(parse_rref(realize(instantiate(toys.sample, seed=6))))
    assert other is not None
    assert other.builds[0].seed not in {record.seed for record in records}


@stage(toys.Text, name="quits")
def quits(build: Build, *, code: int, text: RefPath = output("text.txt")) -> None:
    """A builder that ends its process, or tries to."""
    build.path(text).write_text("done")
    raise SystemExit(code)


@pytest.mark.parametrize("code", [0, 3])
def test_a_builder_that_exits_is_a_failed_build_and_ends_nothing(store: Store, code: int) -> None:
    with pytest.raises(BuildFailed, match=f"SystemExit: {code}"):
        realize(instantiate(lambda: quits(code=code)))


def test_tryrealize_gives_what_is_there_and_builds_nothing(store: Store) -> None:
    target = instantiate(toys.all_counted)
    assert tryrealize(target) is None
    assert [store.realizations(ref) for ref in store.derivations()] == [[], [], []]
    rref = realize(target)
    assert tryrealize(target) == rref
    assert tryrealize(instantiate(toys.all_counted, "another")) is None
    with pytest.raises(UsageError, match="use `realize_many`"):
        tryrealize(instantiate(lambda: [toys.text(content="a"), toys.text(content="b")]))


def test_what_tryrealize_gave_is_claimed(store: Store) -> None:
    target = instantiate(toys.all_counted)
    realize(target)
    lrealize(instantiate(toys.text, content="kept"))
    store.claims.forget()
    tryrealize(target)
    assert gc(policy=Policy(grace_s=0)).plan.realizations == ()
