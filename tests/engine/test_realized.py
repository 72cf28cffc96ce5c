"""`realized`: a stage that must be in the store already."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from compat.plain import instantiate as untyped
from compat.plain import words
from stagedml import (
    Build,
    Exec,
    RefPath,
    Store,
    UsageError,
    exactly,
    instantiate,
    latest,
    mklens,
    mknode,
    output,
    plan,
    realize,
    realize_many,
    realized,
    redefine,
    stage,
    tryrealize,
)
from stagedml.authoring.realized import NotRealized
from stagedml.core.plan import Verdict
from stagedml.engine.events import Observer
from stagedml.testing import toys


class Started(Observer):
    """Which stages were built."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, dref: str, instance: int, outpath: Path) -> None:
        self.names.append(dref[38:])


def test_what_is_there_is_given_and_nothing_is_built(store: Store) -> None:
    rref = realize(instantiate(toys.all_counted))
    started = Started()
    assert realize(instantiate(realized(toys.all_counted)), observer=started) == rref
    assert (
        realize(instantiate(realized(toys.text), content="hello"), observer=started) == mklens(rref).source.source.rref
    )
    assert started.names == []
    assert tryrealize(instantiate(realized(toys.all_counted))) == rref


def test_what_is_not_there_is_an_error_that_names_it_before_anything_is_built(store: Store) -> None:
    target = instantiate(realized(toys.all_counted))
    started = Started()
    with pytest.raises(NotRealized, match=r"count is asked for with `realized`.* \(first build\)") as caught:
        realize(target, observer=started)
    assert started.names == []
    assert caught.value.dref == target.result
    assert "realize the stage without `realized`" in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert isinstance(caught.value, UsageError)
    assert tryrealize(target) is None


def test_the_error_says_what_differs_from_what_is_there(store: Store) -> None:
    realize(instantiate(toys.text, content="hello"))
    with pytest.raises(NotRealized, match='content "hello" -> "hallo"'):
        realize(instantiate(realized(toys.text), content="hallo"))


def test_a_realized_stage_is_the_same_derivation_and_an_input_of_others(store: Store) -> None:
    def counted(content: str) -> toys.Count:
        return toys.count(source=realized(toys.upper)(source=toys.text(content=content)))

    assert instantiate(counted, "hello").result == instantiate(toys.all_counted).result
    with pytest.raises(NotRealized, match="upper is asked for"):
        realize(instantiate(counted, "hello"))
    realize(instantiate(lambda: toys.upper(source=toys.text(content="hello"))))
    started = Started()
    rref = realize(instantiate(counted, "hello"), observer=started)
    assert started.names == ["count"]
    assert realize(instantiate(toys.all_counted)) == rref


def test_what_lies_behind_may_be_built(store: Store) -> None:
    rref = realize(instantiate(toys.all_counted))
    text = mklens(rref).source.source.text.syspath
    text.parent.chmod(0o755)
    text.unlink()
    started = Started()
    assert realize(instantiate(realized(toys.all_counted)), observer=started) == rref
    assert started.names == ["text"]


@stage(toys.Text, name="drifting")
def drifting(build: Build, *, weather: Exec[str] = "sun", text: RefPath = output("text.txt")) -> None:
    """Write what no config tells, as a stage that is not deterministic does."""
    build.path(text).write_text(weather)


def test_where_what_lies_behind_comes_out_otherwise_the_stage_is_not_there(store: Store) -> None:
    realize(instantiate(lambda: toys.upper(source=drifting())))
    target = instantiate(lambda: realized(toys.upper)(source=drifting()))
    assert mklens(realize(target, force="drifting")).text.contents == "SUN"
    with pytest.raises(NotRealized, match="upper is asked for"):
        realize(target, force="drifting", args={"weather": "rain"})


def test_the_plan_shows_what_would_be_refused(store: Store) -> None:
    target = instantiate(realized(toys.all_counted))
    for drawn in (plan(target), realize(target, dry_run=True)):
        assert [step.verdict for step in drawn.steps] == [Verdict.BUILD] * 3
        assert [step.detail for step in drawn.steps] == [
            "first build",
            "first build",
            "refused, as `realized` says, first build",
        ]


@pytest.mark.parametrize("force", [True, "count", toys.count])
def test_forcing_a_realized_stage_is_refused(store: Store, force: Any) -> None:
    realize(instantiate(toys.all_counted))
    with pytest.raises(NotRealized, match=r"\(forced\)"):
        realize(instantiate(realized(toys.all_counted)), force=force)


def test_instances_and_matchers_that_want_more_are_refused(store: Store) -> None:
    rrefs = realize_many(instantiate(toys.sample), instances=2)
    assert realize_many(instantiate(realized(toys.sample)), instances=2) == rrefs
    with pytest.raises(NotRealized, match="instance 2 missing"):
        realize_many(instantiate(realized(toys.sample)), instances=3)
    with pytest.raises(NotRealized, match="instance 2 missing"):
        realize_many(instantiate(redefine(realized(toys.sample), new_matcher=latest(3))))
    assert realize(instantiate(realized(redefine(toys.sample, new_matcher=exactly(rrefs[0]))))) == rrefs[0]


def test_a_variant_of_a_realized_stage_must_be_there_too(store: Store) -> None:
    realize(instantiate(toys.all_counted))
    for variant in (
        redefine(realized(toys.all_counted), lambda c: c.update(scale=2)),
        realized(redefine(toys.all_counted, lambda c: c.update(scale=2))),
        redefine(realized(toys.all_counted), lambda c: c.update(content="x"), at=toys.text),
    ):
        with pytest.raises(NotRealized, match="count is asked for"):
            realize(instantiate(variant))


def test_asked_for_both_ways_in_one_closure_it_must_be_there(store: Store) -> None:
    def with_first() -> list[toys.Text]:
        return [realized(toys.text)(content="a"), toys.text(content="a")]

    def with_last() -> list[toys.Text]:
        return [toys.text(content="a"), realized(toys.text)(content="a")]

    for both in (with_first, with_last):
        with pytest.raises(NotRealized):
            realize_many(instantiate(both))


def test_every_result_of_a_function_must_be_there(store: Store) -> None:
    def both() -> dict[str, list[toys.Text]]:
        return {"texts": [toys.text(content="a"), toys.text(content="b")]}

    rref = realize(instantiate(toys.text, content="a"))
    with pytest.raises(NotRealized, match='content "a" -> "b"'):
        realize_many(instantiate(realized(both)))
    other = realize(instantiate(toys.text, content="b"))
    assert realize_many(instantiate(realized(both))) == {"texts": [[rref], [other]]}


def test_exec_values_are_checked_as_ever_though_nobody_uses_them(store: Store) -> None:
    target = instantiate(realized(toys.all_counted))
    rref = realize(instantiate(toys.all_counted))
    assert realize(target, args={"workers": 3}) == rref
    with pytest.raises(UsageError, match="workers: wanted int"):
        realize(target, args={"workers": "three"})


def test_nodes_and_stages_of_pylightnix_can_be_asked_for_so(store: Store) -> None:
    for target, name in ((untyped(realized(words)), "words"), (untyped(realized(mknode), {}, {"a": "b"}), "mknode")):
        with pytest.raises(NotRealized, match=f"{name} is asked for"):
            realize(target)
    plain, node = realize(untyped(words)), realize(instantiate(mknode, {}, {"a": "b"}))
    assert realize(untyped(realized(words)), args={}) == plain
    assert realize(untyped(realized(mknode), {}, {"a": "b"})) == node


def test_what_is_no_function_is_refused(store: Store) -> None:
    with pytest.raises(UsageError, match="pass a stage function"):
        realized(instantiate(toys.text).result)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"declare it with `instantiate\(text"):
        realized(toys.text)(content="a")


def test_it_keeps_name_and_text_of_its_stage() -> None:
    assert realized(toys.all_counted).__name__ == "all_counted"
    assert realized(toys.text).__doc__ == "Write a text."
