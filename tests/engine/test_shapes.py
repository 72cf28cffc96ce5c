"""Results of stage functions of any shape: lists, tuples, dicts, nested, with repetitions, of stages of both kinds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from compat.plain import instantiate, pair, plx, words
from stagedml import (
    Closure,
    Store,
    UsageError,
    every,
    latest,
    lrealize,
    mklens,
    mknode,
    pinned,
    plan,
    realize,
    realize_many,
    realized,
    redefine,
    tryrealize,
)
from stagedml.authoring.instantiate import NoDerivations
from stagedml.authoring.session import Storage
from stagedml.core.plan import Verdict
from stagedml.core.refs import is_rref
from stagedml.testing import toys


class Pair(NamedTuple):
    """Two results with names."""

    left: Any
    right: Any


def a() -> toys.Text:
    return toys.text(content="a")


def b() -> toys.Text:
    return toys.upper(source=a())


#: Name of a shape -> (its function, what it holds: the contents of each reference, in the same shape).
SHAPES: dict[str, tuple[Any, Any]] = {
    "one": (lambda: b(), "A"),
    "list": (lambda: [a(), b()], ["a", "A"]),
    "tuple": (lambda: (a(), b()), ("a", "A")),
    "named tuple": (lambda: Pair(a(), [b()]), Pair("a", ["A"])),
    "dict": (lambda: {"x": a(), "y": b()}, {"x": "a", "y": "A"}),
    "nested": (
        lambda: {"x": [a(), (b(), {"z": a()})], "y": ([b()],)},
        {"x": ["a", ("A", {"z": "a"})], "y": (["A"],)},
    ),
    "one in a list": (lambda: [b()], ["A"]),
    "repeated": (lambda: [b(), b(), a(), b()], ["A", "A", "a", "A"]),
    "with empty parts": (lambda: {"x": [], "y": {}, "z": (), "t": [b()]}, {"x": [], "y": {}, "z": (), "t": ["A"]}),
    "with other values": (lambda: {"n": 3, "t": b(), "none": None, "s": "text"}, {"n": 3, "t": "A", "none": None}),
    "keys that are no strings": (lambda: {1: a(), (2, 3): b()}, {1: "a", (2, 3): "A"}),
}
shapes = pytest.mark.parametrize("shape", SHAPES)


def contents(value: Any) -> Any:
    """The shape with the contents of each realization; each stands in a list of its own."""
    if isinstance(value, list) and value and all(is_rref(item) for item in value):
        (rref,) = value
        return mklens(rref).text.contents
    if isinstance(value, dict):
        return {key: contents(item) for key, item in value.items() if item != "text"}
    if isinstance(value, (list, tuple)):
        items = [contents(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


@shapes
def test_realize_many_gives_the_shape_back(store: Store, shape: str) -> None:
    function, wanted = SHAPES[shape]
    target = instantiate(function)
    found = realize_many(target)
    assert contents(found) == wanted
    assert type(found) is (list if shape == "one" else type(target.result))
    assert realize_many(target.closure) == found
    assert realize_many((target.result, target.closure)) == found


@shapes
def test_instances_of_any_shape(store: Store, shape: str) -> None:
    target = instantiate(SHAPES[shape][0])
    single = realize_many(target)
    twice = realize_many(target, instances=2)

    def doubled(value: Any) -> Any:
        if isinstance(value, list) and value and all(is_rref(item) for item in value):
            return value * 2  # a text comes out the same in each instance
        if isinstance(value, dict):
            return {key: doubled(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            items = [doubled(item) for item in value]
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        return value

    assert twice == doubled(single)


@shapes
def test_plan_tryrealize_realize_and_lrealize_take_what_has_one_result(store: Store, shape: str) -> None:
    target = instantiate(SHAPES[shape][0])
    assert len(plan(target).builds) == 2
    assert plan(target).targets == tuple(target.closure.targets)
    if len(target.closure.targets) == 1:
        assert tryrealize(target) is None
        rref = realize(target)
        assert tryrealize(target) == rref == lrealize(target)
        assert os.listdir(store.layout.experiments) == ["upper"]
        assert mklens(rref).text.contents == "A"
    else:
        for function in (realize, tryrealize, lrealize):
            with pytest.raises(UsageError, match=r"this closure has 2 results, .*; use `realize_many`"):
                function(target)
        assert len(plan(target).builds) == 2  # nothing was built meanwhile
        realize_many(target)
    assert plan(target).builds == ()


@shapes
def test_redefine_at_changes_a_stage_in_any_shape(store: Store, shape: str) -> None:
    function, wanted = SHAPES[shape]
    variant = redefine(function, lambda c: c.update(content="b"), at=toys.text)

    def replaced(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: replaced(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            items = [replaced(item) for item in value]
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        return {"a": "b", "A": "B"}.get(value, value)

    assert contents(realize_many(instantiate(variant))) == replaced(wanted)
    matched = instantiate(redefine(function, new_matcher=every(), at=toys.text))
    assert matched.result == instantiate(function).result
    assert every() in [derivation.matcher for derivation in matched.closure.derivations]


@shapes
def test_what_must_be_there_may_have_any_shape(store: Store, shape: str) -> None:
    function, wanted = SHAPES[shape]
    with pytest.raises(UsageError, match="is asked for with `realized`"):
        realize_many(instantiate(realized(function)))
    realize_many(instantiate(function))
    assert contents(realize_many(instantiate(realized(function)))) == wanted


def test_links_of_a_result_are_numbered_each_realization_once(store: Store) -> None:
    realize_many(instantiate(lambda: {"x": [b(), b()], "y": b()}), link="one")
    realize_many(instantiate(lambda: [b(), a(), b()]), link="two")
    assert sorted(os.listdir(store.layout.experiments)) == ["one", "two-0", "two-1"]
    realize_many(instantiate(toys.sample), instances=2, link="of/sample")
    assert sorted(os.listdir(store.layout.experiments / "of")) == ["sample-0", "sample-1"]


def test_a_shape_given_back_can_be_changed_without_changing_another_part(store: Store) -> None:
    one, two = realize_many(instantiate(lambda: [b(), b()]))
    one.clear()
    assert len(two) == 1


@pytest.mark.parametrize(
    "empty", [None, [], (), {}, [[]], {"x": []}, [{}, ()], "text", 3, {1, 2}, ["dref:x"], Pair(None, [])]
)
def test_an_empty_result_is_refused_and_says_what_to_return(store: Store, empty: Any) -> None:
    def nothing() -> Any:
        return empty

    with pytest.raises(NoDerivations, match=r"nothing returned .*; a stage function returns a reference to a stage"):
        instantiate(nothing)
    assert store.derivations() == []


def test_references_in_a_set_or_an_object_of_its_own_are_not_taken_for_results(store: Store) -> None:
    for returned in (lambda: {a(), b()}, lambda: iter([a()]), lambda: a):
        with pytest.raises(NoDerivations, match="or a list, tuple or dict of references"):
            instantiate(returned)


def test_what_another_instantiate_returned_is_no_result(store: Store) -> None:
    with pytest.raises(UsageError, match=r"was declared elsewhere.*call its stage inside the same `instantiate`"):
        instantiate(lambda: [a(), instantiate(b).result])
    with pytest.raises(UsageError, match="was declared elsewhere"):
        instantiate(lambda: instantiate(b))


# -- stages of both kinds ---------------------------------------------------------------------------------------------


def mixed(r: Any) -> dict[str, Any]:
    """Stages of ours and of Pylightnix's, a node, and one twice."""
    theirs = words(r, text="theirs")
    return {
        "ours": [a(), (theirs,)],
        "theirs": {"again": theirs, "other": words(r, text="other")},
        "node": mknode({"source": theirs, "n": 1}, {"f": "x"}),
    }


def test_stages_of_both_kinds_stand_in_one_result(store: Store) -> None:
    target = instantiate(mixed)
    assert len(target.closure.targets) == 4
    assert [step.verdict for step in plan(target).steps] == [Verdict.BUILD] * 4
    found = realize_many(target)
    assert found["ours"][1][0] == found["theirs"]["again"]
    assert mklens(found["theirs"]["other"][0]).out.contents == "other"
    assert mklens(found["ours"][0][0]).text.contents == "a"
    assert mklens(found["node"][0]).source.out.contents == "theirs"
    assert plan(instantiate(mixed)).builds == ()
    assert realize_many(instantiate(realized(mixed))) == found


def test_at_changes_our_stages_beside_others(store: Store) -> None:
    variant = realize_many(instantiate(redefine(mixed, lambda c: c.update(content="b"), at=toys.text)))
    assert mklens(variant["ours"][0][0]).text.contents == "b"
    assert mklens(variant["ours"][1][0][0]).out.contents == "theirs"


def test_a_plain_stage_of_several_outputs_beside_ours(store: Store) -> None:
    def both(r: Any) -> Any:
        return [pair(r), redefine(toys.sample, new_matcher=latest(2))()]

    theirs, ours = realize_many(instantiate(both))
    assert (len(theirs), len(ours)) == (2, 2)
    pinned_one = realize(instantiate(lambda: toys.text(content=str(pinned(ours[0], toys.Sample)))))
    assert mklens(pinned_one).content.dref.endswith("-sample")


def test_a_closure_of_pylightnixs_own_with_repetitions(store: Store) -> None:
    def twice(r: Any) -> Any:
        return [words(r), {"again": words(r)}, (words(r, text="other"), "note")]

    result, closure = plx.instantiate(twice, S=Storage.of(store))
    assert isinstance(closure, Closure)
    one, two, three = realize_many((result, closure))
    assert two == {"again": one}
    assert three[1] == "note"
    assert Path(mklens(three[0][0]).out.syspath).read_text() == "other"
    result, closure = plx.instantiate(lambda r: [words(r), words(r)], S=Storage.of(store))
    assert [realize((result, closure))] == one
