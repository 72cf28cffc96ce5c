"""Properties of what is pure in adoption, against brute force: the key of a build, and decisions with offers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from stagedml.core.adoption import is_key, key_of, template_of
from stagedml.core.candidate import Candidate
from stagedml.core.matchers import Best, Every, Exactly, Latest, Matcher
from stagedml.core.plan import decide
from stagedml.core.reasons import Cause

DREFS = [f"dref:{digit * 32}-x" for digit in "0123"]
#: What inputs hold: the content digests of their realizations.
CONTENTS = st.fixed_dictionaries(
    {dref: st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(tuple) for dref in DREFS}
)
_LEAVES = st.one_of(
    st.sampled_from(DREFS),
    st.none(),
    st.booleans(),
    st.integers(0, 2),
    st.sampled_from([0.0, 1.0, "", "0", "1", "input", "a"]),
)
VIEWS = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "input"]), inner, max_size=3)
    ),
    max_leaves=8,
)


def key(view: Any, contents: Mapping[str, Sequence[str]]) -> str:
    found = key_of(template_of(view), contents.get)
    assert found is not None
    assert is_key(found)
    return found


def renamed(view: Any, names: Mapping[str, str]) -> Any:
    """A view with other references."""
    if isinstance(view, str):
        return names.get(view, view)
    if isinstance(view, list):
        return [renamed(item, names) for item in view]
    return {name: renamed(item, names) for name, item in view.items()} if isinstance(view, dict) else view


def reordered(view: Any) -> Any:
    """A view whose dicts were written the other way round."""
    if isinstance(view, list):
        return [reordered(item) for item in view]
    if isinstance(view, dict):
        return {name: reordered(view[name]) for name in reversed(view)}
    return view


def inputs_of(view: Any) -> set[str]:
    if isinstance(view, str):
        return {view} & {*DREFS}
    items = view.values() if isinstance(view, dict) else view if isinstance(view, list) else ()
    return {dref for item in items for dref in inputs_of(item)}


def exact(view: Any) -> str:
    """A view as text: True is not 1, and 1 is not 1.0."""
    return json.dumps(view, sort_keys=True)


def is_equal(view: Any, contents: Mapping[str, Any], other: Any, others: Mapping[str, Any]) -> bool:
    """Whether a builder sees the same: some way of naming references makes the views equal, and what they hold."""
    mine, theirs = sorted(inputs_of(view)), sorted(inputs_of(other))
    if len(mine) != len(theirs):
        return False
    return any(
        exact(renamed(view, dict(zip(mine, names, strict=True)))) == exact(other)
        and all(sorted(contents[one]) == sorted(others[two]) for one, two in zip(mine, names, strict=True))
        for names in itertools.permutations(theirs)
    )


@given(VIEWS, CONTENTS, VIEWS, CONTENTS)
def test_keys_are_equal_where_a_builder_sees_the_same(
    view: Any, contents: Mapping[str, Any], other: Any, others: Mapping[str, Any]
) -> None:
    assert (key(view, contents) == key(other, others)) is is_equal(view, contents, other, others)


@given(VIEWS, CONTENTS, st.permutations(DREFS), CONTENTS)
def test_keys_of_one_view_with_other_names_and_contents(
    view: Any, contents: Mapping[str, Any], order: list[str], others: Mapping[str, Any]
) -> None:
    names = dict(zip(DREFS, order, strict=True))
    same = {names[dref]: tuple(reversed(contents[dref])) for dref in DREFS}
    assert key(reordered(renamed(view, names)), same) == key(view, contents)
    other = renamed(view, names)
    assert (key(other, others) == key(view, contents)) is is_equal(view, contents, other, others)


PLACES = st.lists(st.sampled_from(DREFS[:3]), min_size=1, max_size=4)
ALIKE = st.fixed_dictionaries({dref: st.sampled_from([("a",), ("a",), ("b",)]) for dref in DREFS})


@given(PLACES, ALIKE, PLACES, ALIKE)
def test_which_inputs_are_one_and_the_same_is_in_the_key(
    view: list[str], contents: Mapping[str, Any], other: list[str], others: Mapping[str, Any]
) -> None:
    assert (key(view, contents) == key(other, others)) is is_equal(view, contents, other, others)


@given(VIEWS, CONTENTS)
def test_two_inputs_that_become_one_have_another_key(view: Any, contents: Mapping[str, Any]) -> None:
    first, second, *_ = DREFS
    view = [view, second, first]
    alike = {**contents, second: contents[first]}
    assert key(renamed(view, {second: first}), alike) != key(view, alike)


@given(VIEWS, CONTENTS, st.sampled_from(DREFS))
def test_an_input_of_which_nothing_is_known_leaves_no_key(view: Any, contents: Mapping[str, Any], lost: str) -> None:
    known = {**contents, lost: None}
    assert (key_of(template_of(view), known.get) is None) is (lost in inputs_of(view))


# -- deciding ---------------------------------------------------------------------------------------------------------


def rref(number: int) -> str:
    return f"rref:{number:032x}-{'0' * 32}-x"


MATCHERS = st.one_of(
    st.integers(1, 4).map(Latest),
    st.integers(1, 4).map(lambda of: Best("score", of=of)),
    st.just(Every()),
    st.lists(st.integers(0, 5), min_size=1, max_size=2, unique=True).map(lambda ns: Exactly(tuple(map(rref, ns)))),
)


@dataclass(frozen=True)
class Score:
    """What is measured of a realization."""

    score: float

    def __call__(self, file: str, metric: str) -> float:
        return self.score


@st.composite
def candidate_lists(draw: st.DrawFn) -> list[Candidate]:
    found = []
    for number in draw(st.lists(st.integers(0, 5), unique=True, max_size=4)):
        instances = draw(st.lists(st.integers(0, 4), unique=True, max_size=2))
        score = Score(draw(st.floats(0, 1)))
        found.append(Candidate(rref(number), draw(st.floats(0, 9)), tuple(sorted(instances)), score))
    return found


@given(
    matcher=MATCHERS,
    candidates=candidate_lists(),
    damaged=st.lists(st.just(rref(9)), max_size=1),
    instances=st.integers(0, 5),
    forced=st.booleans(),
    offers=st.sets(st.integers(0, 9)),
)
def test_offers_change_only_how_what_is_missing_is_made(
    matcher: Matcher, candidates: list[Candidate], damaged: list[str], instances: int, forced: bool, offers: set[int]
) -> None:
    asked: list[int] = []

    def offered(instance: int) -> str | None:
        asked.append(instance)
        return rref(100 + instance) if instance in offers else None

    without = decide(matcher, candidates, damaged, instances=instances, forced=forced)
    found = decide(matcher, candidates, damaged, instances=instances, forced=forced, offered=offered)
    assert (found.selected, found.build, found.cause) == (without.selected, without.build, without.cause)
    assert not (found.selected and found.build)
    assert without.adopt == ()
    if forced:
        assert asked == []
        assert (found.adopt, found.cause) == ((), Cause.FORCED)
        assert found.build == tuple(range(max(matcher.instances, instances, 1)))
        return
    assert asked == [*found.build]  # of what is there nothing is asked
    assert found.adopt == tuple((instance, rref(100 + instance)) for instance in found.build if instance in offers)
    have = {index for candidate in candidates for index in candidate.instances}
    assert not have & {*found.build}
    if found.selected:
        assert found.selected == matcher.select(candidates)
    elif not found.build:
        assert matcher.select(candidates) is None
        assert found.cause is Cause.MATCHER


@given(matcher=MATCHERS, candidates=candidate_lists(), instances=st.integers(0, 5))
def test_what_is_missing_is_all_that_is_missing(matcher: Matcher, candidates: list[Candidate], instances: int) -> None:
    assume(not isinstance(matcher, Exactly))
    found = decide(matcher, candidates, [], instances=instances, forced=False)
    added = [Candidate(rref(50 + index), 10.0, (index,), Score(0.5)) for index in found.build]
    after = decide(matcher, [*candidates, *added], [], instances=instances, forced=False)
    assert after.selected
    assert after.build == ()
