"""Variants of stages, and realizations as inputs."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from authoring.toys import Bundle, Count, Text, all_count, bundle_texts, count_text, make_text
from stagedml import (
    Artifact,
    Build,
    RefPath,
    RRef,
    Store,
    instantiate,
    latest,
    mklens,
    output,
    pinned,
    realize,
    realize_many,
    redefine,
    rref2path,
    stage,
)
from stagedml.authoring.lens import NoSuchField
from stagedml.authoring.redefine import CannotPin, CannotRedefine
from stagedml.authoring.registry import MatcherConflict
from stagedml.authoring.stage import InvalidArguments
from stagedml.errors import StoreError, UsageError

Parameters = dict[str, Any]


def in_store(store: Store) -> set[str]:
    """The derivations whose configs are on disk."""
    return {f"dref:{folder.name}" for folder in store.layout.storage.iterdir()}


def test_a_stage_with_other_parameters_is_declared_anew(store: Store) -> None:
    variant = redefine(make_text, lambda c: c.update(word="Bye"))
    result = instantiate(variant).result
    assert type(result) is Text
    assert result.word == "Bye"
    assert result.endswith("-text-bye")
    assert result == instantiate(make_text, word="Bye").result


def test_the_original_leaves_nothing_behind(store: Store) -> None:
    variant = instantiate(redefine(all_count, lambda c: c.update(scale=2)))
    assert in_store(store) == {variant.result, variant.result.source}
    assert len(variant.closure.derivations) == 2
    assert variant.result == instantiate(lambda: count_text(source=make_text(), scale=2)).result


def test_a_stage_deep_inside_is_changed_with_at(store: Store) -> None:
    variant = instantiate(redefine(all_count, lambda c: c.update(word="deep"), at=make_text), "shallow")
    assert variant.result.source.word == "deep"
    assert variant.result == instantiate(all_count, "deep").result
    assert len(in_store(store)) == 2


def test_the_lens_style_works(store: Store) -> None:
    def change(parameters: Parameters) -> None:
        mklens(parameters).scale.val = 3

    assert mklens(instantiate(redefine(all_count, change)).result).scale.val == 3.0


def test_a_lens_path_that_does_not_exist_is_an_error(store: Store) -> None:
    def change(parameters: Parameters) -> None:
        mklens(parameters).scael.val = 3

    with pytest.raises(NoSuchField, match=r"has no field 'scael'; did you mean 'scale'\?"):
        instantiate(redefine(all_count, change))


def test_new_config_sees_the_parameters_alone(store: Store) -> None:
    seen: list[Parameters] = []
    instantiate(redefine(all_count, lambda c: seen.append(dict(c))))
    (parameters,) = seen
    assert set(parameters) == {"source", "scale"}
    assert type(parameters["source"]) is Text
    assert parameters["source"].word == "Hello"


def test_unknown_fields_and_wrong_types_are_refused_together(store: Store) -> None:
    with pytest.raises(InvalidArguments) as caught:
        instantiate(redefine(make_text, lambda c: c.update(wrod="x", shout="no")))
    assert caught.value.problems == (
        "shout: wanted bool, got 'no' (a str)",
        "wrod: no such parameter; did you mean 'word'?",
    )


def test_an_input_can_be_replaced_by_one_of_its_type_alone(store: Store) -> None:
    def other() -> Count:
        text = make_text(word="other")
        return redefine(all_count, lambda c: c.update(source=text))()

    assert instantiate(other).result == instantiate(all_count, "other").result

    def wrong() -> Count:
        count = all_count()
        return redefine(all_count, lambda c: c.update(source=count))("x")

    with pytest.raises(InvalidArguments, match=r"source: wanted Text, got .*a Count"):
        instantiate(wrong)


def test_a_parameter_that_is_taken_away_falls_back_to_its_default(store: Store) -> None:
    assert instantiate(redefine(make_text, lambda c: c.clear()), word="x").result.word == "Hello"


def test_lists_may_be_changed_in_place(store: Store) -> None:
    def both() -> list[Bundle]:
        texts = [make_text()]
        extended = redefine(bundle_texts, lambda c: c["many"].append(make_text(word="more")))
        return [extended(many=texts), bundle_texts(many=texts)]

    extended, plain = instantiate(both).result
    assert [len(extended.many), len(plain.many)] == [2, 1]


def test_exec_values_survive(store: Store) -> None:
    def slow() -> Count:
        return count_text(source=make_text(), pace="slow")

    rref = realize(instantiate(redefine(slow, lambda c: c.update(scale=2))))
    assert mklens(rref).counts.deep.pace.val == "slow"


def test_exec_values_may_be_set(store: Store) -> None:
    instantiated = instantiate(redefine(all_count, lambda c: c.update(pace="fast")))
    assert instantiated.result == instantiate(all_count).result
    assert mklens(realize(instantiated)).counts.deep.pace.val == "fast"


def test_another_matcher_alone_keeps_the_reference(store: Store) -> None:
    for variant in (redefine(all_count, new_matcher=latest(2)), redefine(all_count, None, latest(2), at=count_text)):
        instantiated = instantiate(variant)
        assert instantiated.result == instantiate(all_count).result
        matchers = [derivation.matcher for derivation in instantiated.closure.derivations]
        assert matchers == [latest(1), latest(2)]


def test_another_matcher_for_what_others_declared_is_a_conflict(store: Store) -> None:
    def both() -> list[Count]:
        return [all_count(), redefine(all_count, new_matcher=latest(2))()]

    with pytest.raises(MatcherConflict, match=r"Latest\(n=1\) at .* Latest\(n=2\) at "):
        instantiate(both)


def test_a_composed_function_with_another_matcher_may_be_called_twice(store: Store) -> None:
    twice = redefine(redefine(all_count, lambda c: c.update(scale=2)), new_matcher=latest(2))

    def all_twice() -> list[Count]:
        return [twice(), twice(), all_count()]

    first, second, plain = instantiate(all_twice).result
    assert first == second != plain

    def all_within() -> list[Count]:
        return [twice(), redefine(twice, new_matcher=latest(3))()]

    with pytest.raises(MatcherConflict):
        instantiate(all_within)


def test_what_has_another_matcher_may_be_an_input_of_what_gets_it_too(store: Store) -> None:
    def all_text() -> Text:
        return make_text()

    def all_counted(source: Text) -> Count:
        return count_text(source=source)

    text, count = redefine(all_text, new_matcher=latest(2)), redefine(all_counted, new_matcher=latest(2))

    def all_linked() -> list[Count]:
        return [count(text()), count(text())]

    first, second = instantiate(all_linked).result
    assert first == second

    def inner_stays(source: Text) -> Count:
        make_text()
        return count_text(source=source)

    with pytest.raises(MatcherConflict):
        instantiate(lambda: redefine(inner_stays, new_matcher=latest(2))(text()))


def test_the_original_beside_a_variant_with_another_matcher_is_a_conflict_in_either_order(store: Store) -> None:
    variant = redefine(all_count, new_matcher=latest(2))

    def all_of(*functions: Callable[[], Count]) -> list[Count]:
        return [each() for each in functions]

    for order in ([variant, all_count], [all_count, variant]):
        with pytest.raises(MatcherConflict):
            instantiate(all_of, *order)


def test_original_and_variant_stand_side_by_side(store: Store) -> None:
    def both() -> dict[str, Count]:
        return {"one": all_count(), "two": redefine(all_count, lambda c: c.update(scale=2))()}

    result = instantiate(both).result
    assert result["one"].scale == 1
    assert result["two"].scale == 2
    assert result["one"].source == result["two"].source


def test_variants_of_variants_add_up_from_the_inside(store: Store) -> None:
    once = redefine(all_count, lambda c: c.update(scale=c["scale"] + 1))
    twice = redefine(once, lambda c: c.update(scale=c["scale"] * 10))
    assert instantiate(twice).result.scale == 20
    deep = redefine(all_count, lambda c: c.update(word=c["word"] + "-a"), at=make_text)
    deeper = redefine(deep, lambda c: c.update(word=c["word"] + "-b"), at=make_text)
    assert instantiate(deeper, "x").result.source.word == "x-a-b"
    assert instantiate(all_count, "x").result.source.word == "x"


def test_a_variant_keeps_the_name_of_its_function() -> None:
    assert redefine(all_count).__name__ == "all_count"
    assert redefine(make_text).__doc__ == "Write a word."


def test_at_a_stage_that_is_never_called_is_an_error(store: Store) -> None:
    with pytest.raises(CannotRedefine, match=r"redefine\(all_count\): it never calls the stage bundle_texts"):
        instantiate(redefine(all_count, lambda c: None, at=bundle_texts))


def test_a_function_of_several_results_needs_at(store: Store) -> None:
    def both() -> list[Text]:
        return [make_text(word="a"), make_text(word="b")]

    with pytest.raises(CannotRedefine, match=r"does not return the reference of one stage; name the stage .* `at=`"):
        instantiate(redefine(both, lambda c: None))
    variant = instantiate(redefine(both, lambda c: c.update(shout=True), at=make_text)).result
    assert [text.shout for text in variant] == [True, True]


# -- pinned ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def rref(store: Store) -> RRef:
    return realize(instantiate(make_text, word="Pinned"))


def count_pinned(rref: str) -> Count:
    return count_text(source=pinned(rref, Text))


def test_a_pinned_realization_is_an_input(rref: RRef, store: Store) -> None:
    result = realize(instantiate(count_pinned, rref))
    assert mklens(result).counts.letters.val == 6
    assert mklens(result).counts.word.val == "Pinned"
    assert mklens(result).source.text.contents == "Pinned"


def test_a_pinned_realization_holds_the_same_files_and_names_its_source(rref: RRef, store: Store) -> None:
    again = realize(instantiate(pinned, rref, Text))
    original, copied = Path(rref2path(rref)), Path(rref2path(again))
    assert (original / "text.txt").stat().st_ino == (copied / "text.txt").stat().st_ino
    config = json.loads((copied.parent / "config.json").read_text())
    assert config["stagedml"] == {"pinned": rref}
    assert config["name"] == "text-pinned"
    assert {name: config[name] for name in ("word", "shout", "text")} == {
        **{"word": "Pinned", "shout": False, "text": ["__self__", "text.txt"]}
    }


def test_pinning_needs_nothing_of_the_original_stage(store: Store) -> None:
    def builder(build: Build, *, word: str, shout: bool = False, text: RefPath = output("other.txt")) -> None:
        build.path(text).write_text("from a stage that is gone")

    rref = str(realize(instantiate(stage(Text, name="gone")(builder), word="x")))
    del builder
    assert mklens(realize(instantiate(count_pinned, rref))).counts.letters.val == 25


def test_pinning_twice_is_one_derivation(rref: RRef, store: Store) -> None:
    instantiated = instantiate(lambda: [pinned(rref, Text), pinned(rref, Text)])
    assert len(instantiated.closure.derivations) == 1


class WithLength(Text):
    length: int


class WithOtherType(Artifact):
    word: int


@pytest.mark.parametrize(
    ("artifact", "problem"),
    [
        (WithLength, "as WithLength: its config has no field length"),
        (Count, "its config has no field counts, source, scale"),
        (WithOtherType, "as WithOtherType: word: wanted int, got 'Pinned'"),
    ],
)
def test_a_realization_that_is_something_else_cannot_be_pinned(
    artifact: type[Artifact], problem: str, rref: RRef, store: Store
) -> None:
    with pytest.raises(CannotPin, match=f"{rref} cannot be pinned {problem}|{problem}"):
        instantiate(pinned, rref, artifact)


def test_fields_that_lead_into_other_derivations_cannot_be_pinned(store: Store) -> None:
    rref = realize(instantiate(all_count))
    with pytest.raises(CannotPin, match="source leads into other derivations; pin those"):
        instantiate(pinned, rref, Count)


def test_pinning_what_is_not_there_is_an_error(rref: RRef, store: Store, second_store: Store) -> None:
    from stagedml import using_store

    with using_store(second_store), pytest.raises(StoreError, match=str(rref)):
        instantiate(count_pinned, rref)
    with pytest.raises(UsageError, match="is not a reference"):
        instantiate(count_pinned, "rref:x")
    with pytest.raises(UsageError, match="pinned"):
        pinned(rref, Text)


# -- instantiate -----------------------------------------------------------------------------------------------------


def test_instantiate_gives_a_named_pair(store: Store) -> None:
    instantiated = instantiate(all_count, "Abc")
    result, closure = instantiated
    assert result is instantiated.result
    assert closure is instantiated.closure
    assert closure.targets == [result]
    assert repr(instantiated) == f"Instantiated({str(result)!r}, 2 derivations)"
    assert copy.copy(instantiated).result == result


def test_instantiate_builds_nothing_and_writes_the_configs(store: Store) -> None:
    instantiated = instantiate(all_count)
    assert in_store(store) == {instantiated.result, instantiated.result.source}
    folder = store.layout.storage / instantiated.result.removeprefix("dref:")
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_the_registry_is_passed_only_where_it_is_accepted(store: Store) -> None:
    seen: list[Any] = []

    def with_registry(word: str, r: Any = None) -> Text:
        seen.append(r)
        return make_text(word=word)

    def without(word: str, **more: Any) -> Text:
        seen.append(more)
        return make_text(word=word)

    instantiate(with_registry, "a")
    instantiate(without, "a", b=1)
    assert type(seen[0]).__name__ == "StageRegistry"
    assert seen[1] == {"b": 1}


def test_stages_that_are_not_needed_are_not_written(store: Store) -> None:
    def wasteful() -> Text:
        make_text(word="thrown-away")
        return make_text(word="kept")

    assert in_store(store) == set()
    result = instantiate(wasteful).result
    assert in_store(store) == {result}


@pytest.mark.parametrize(
    "shape",
    [
        lambda: [make_text(word="a"), make_text(word="b")],
        lambda: (make_text(word="a"), make_text(word="b")),
        lambda: {"x": make_text(word="a"), "y": [make_text(word="b"), {"z": make_text(word="a")}]},
    ],
)
def test_results_keep_their_shape(shape: Any, store: Store) -> None:
    def shape_of(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shape_of(item) for key, item in value.items()}
        return [shape_of(item) for item in value] if isinstance(value, (list, tuple)) else str(value)[-6:]

    instantiated = instantiate(shape)
    assert len(instantiated.closure.targets) == 2
    realized = realize_many(instantiated)
    flat = json.dumps(shape_of(realized))
    assert "text-a" in flat
    assert "text-b" in flat
    assert type(realized) is type(instantiated.result)


@pytest.mark.parametrize("returned", [None, "text", [], {"a": 1}, 3])
def test_a_function_that_returns_no_reference_is_refused(returned: Any, store: Store) -> None:
    def nothing() -> Any:
        return returned

    with pytest.raises(UsageError, match=r"nothing returned .*; a stage function returns a reference"):
        instantiate(nothing)


def test_something_that_is_no_function_is_refused(store: Store) -> None:
    with pytest.raises(UsageError, match="is no stage function: pass the function itself"):
        instantiate(instantiate(make_text).result)  # type: ignore[arg-type]


def test_a_reference_from_another_instantiate_says_what_to_do(store: Store) -> None:
    text = instantiate(make_text).result
    with pytest.raises(UsageError, match=r"was declared elsewhere.*inside the same\s+`instantiate`.*`pinned`"):
        instantiate(count_text, source=text)


def test_instantiate_inside_of_instantiate_is_another_closure(store: Store) -> None:
    inner = []

    def outer() -> Text:
        inner.append(instantiate(make_text, word="inner"))
        return make_text(word="outer")

    closure = instantiate(outer).closure
    assert [str(derivation.dref)[-5:] for derivation in closure.derivations] == ["outer"]
    assert [str(derivation.dref)[-5:] for derivation in inner[0].closure.derivations] == ["inner"]


def test_a_new_config_that_is_returned_instead_of_changed_is_refused(store: Store) -> None:
    variant = redefine(make_text, lambda config: {**config, "content": "other"})
    with pytest.raises(InvalidArguments, match="new_config returned a dict, which nobody looks at"):
        instantiate(variant)
