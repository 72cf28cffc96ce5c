"""What a stage refuses when it is declared, and how it says so."""

from __future__ import annotations

import enum
import functools
import inspect
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import numpy as np
import pytest

from authoring.toys import Bundle, Count, Text, all_count, bundle_texts, count_text, make_text
from stagedml import (
    Artifact,
    Build,
    Exec,
    Interval,
    RefPath,
    Stage,
    Store,
    UsageError,
    best,
    exactly,
    instantiate,
    latest,
    output,
    realize,
    redefine,
    stage,
)
from stagedml.authoring.artifact import InvalidArtifactType
from stagedml.authoring.registry import MatcherConflict
from stagedml.authoring.schema import UnresolvedType, UnsupportedType
from stagedml.authoring.stage import InvalidArguments, InvalidStage, NotDeclaring
from stagedml.core.refs import parse_dref
from stagedml.stages.fetch import fetchfolder, fetchlocal

Some = dict[str, Any]


class Anything(Artifact):
    """A stage whose parameters are of every kind."""


class Colour(str, enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


@stage(Anything, name="anything")
def take(
    build: Build,
    *,
    value: Any = None,
    text: str = "a",
    whole: int = 1,
    real: float = 1.0,
    flag: bool = False,
    choice: Literal["a", "b", 3] = "a",
    maybe: int | None = None,
    numbers: list[int] = [],  # noqa: B006
    table: dict[str, float] = {},  # noqa: B006
    path: RefPath | None = None,
    source: Text | None = None,
    either: Text | Count | None = None,
    share: Annotated[float, Interval(ge=0, lt=1)] = 0.5,
    counts: list[Annotated[int, Interval(ge=1)]] = [],  # noqa: B006
    most: Annotated[int, Interval(gt=0, le=9)] | None = None,
    workers: Exec[Annotated[int, Interval(ge=1)]] = 1,
) -> None:
    """Do nothing."""


def problems(function: Callable[..., Any], **arguments: Any) -> tuple[str, ...]:
    """What is wrong with the arguments of a stage."""
    with pytest.raises(InvalidArguments) as caught:
        instantiate(function, **arguments)
    assert function.__name__ in str(caught.value)
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    return caught.value.problems


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("text", 3, "str, got 3 (an int)"),
        ("text", None, "str, got None (a NoneType)"),
        ("text", b"a", "str, got b'a' (a bytes)"),
        ("text", Path("a"), "str, got PosixPath('a') (a PosixPath)"),
        ("whole", 1.0, "int, got 1.0 (a float)"),
        ("whole", True, "int, got True (a bool)"),
        ("whole", "1", "int, got '1' (a str)"),
        ("whole", Level.LOW, "int, got <Level.LOW: 1> (a Level)"),
        ("whole", np.int64(1), "int, got np.int64(1) (an int64)"),
        ("real", "1", "float, got '1' (a str)"),
        ("real", True, "float, got True (a bool)"),
        ("real", np.float64(1), "float, got np.float64(1.0) (a float64)"),
        ("flag", 1, "bool, got 1 (an int)"),
        ("flag", np.bool_(True), "bool, got np.True_ (a bool)"),
        ("choice", "c", "one of 'a', 'b', 3, got 'c' (a str)"),
        ("choice", True, "one of 'a', 'b', 3, got True (a bool)"),
        ("maybe", "1", "int | None, got '1' (a str)"),
        ("numbers", (1, 2), "list, got (1, 2) (a tuple)"),
        ("numbers", {1}, "list, got {1} (a set)"),
        ("table", [1], "dict, got [1] (a list)"),
        ("path", ["a", "b"], "got ['a', 'b'] (a list)"),
        ("path", "a", "got 'a' (a str)"),
        ("share", 1, "float >= 0 and < 1, got 1 (an int)"),
        ("share", -0.1, "float >= 0 and < 1, got -0.1 (a float)"),
        ("share", math.nan, "float >= 0 and < 1, got nan (a float)"),
        ("share", "0.1", "float >= 0 and < 1, got '0.1' (a str)"),
        ("most", 0, "int > 0 and <= 9 | None, got 0 (an int)"),
        ("most", 10, "int > 0 and <= 9 | None, got 10 (an int)"),
        ("workers", "2", "int >= 1, got '2' (a str)"),
        ("workers", 0, "int >= 1, got 0 (an int)"),
    ],
)
def test_a_wrong_type_names_stage_field_wanted_and_got(field: str, value: object, wanted: str, store: Store) -> None:
    (problem,) = problems(take, **{field: value})
    assert problem.startswith(f"{field}: wanted ")
    assert problem.endswith(wanted)


def test_bounds_are_not_part_of_what_a_stage_is(store: Store) -> None:
    def declared(bounds: Any) -> str:
        def bounded(build: Build, *, share=0.5) -> None:  # type: ignore[no-untyped-def]
            """Do nothing."""

        bounded.__annotations__["share"] = bounds
        return str(instantiate(stage(Anything, name="bounded")(bounded)).result)

    bounds = (float, Annotated[float, Interval(ge=0)], Annotated[float, Interval(lt=1)])
    assert len(set(map(declared, bounds))) == 1


def test_parameters_that_do_not_go_together_are_refused_as_they_are_in_the_end(store: Store) -> None:
    def odd(parameters: Mapping[str, Any]) -> None:
        if (parameters["low"] + parameters["high"]) % 2 == 0:
            raise UsageError("low and high are both odd, or both even")

    @stage(Anything, name="checked", check=odd)
    def checked(build: Build, *, low: int = 0, high: int = 1) -> None:
        """Do nothing."""

    assert problems(checked, low=1) == ("low and high are both odd, or both even",)
    variant = redefine(redefine(checked, lambda own: own.update(low=1)), lambda own: own.update(high=2))
    assert store.config(parse_dref(instantiate(variant).result))["low"] == 1
    with pytest.raises(InvalidArguments, match="both odd"):
        instantiate(redefine(checked, lambda own: own.update(low=1)))


def test_a_number_out_of_bounds_in_a_list_is_told_with_its_place(store: Store) -> None:
    assert problems(take, counts=[1, 0]) == ("counts[1]: wanted int >= 1, got 0 (an int)",)


def test_a_wrong_artifact_names_both_types(store: Store) -> None:
    def wrong() -> Count:
        return count_text(source=all_count())  # type: ignore[arg-type]

    with pytest.raises(InvalidArguments, match=r"source: wanted Text, got 'dref:\w+-count' \(a Count\)"):
        instantiate(wrong)


def test_a_plain_reference_is_no_artifact(store: Store) -> None:
    (problem,) = problems(count_text, source=str(instantiate(make_text).result))
    assert problem.startswith("source: wanted Text, got 'dref:")


def test_an_artifact_is_not_a_text(store: Store) -> None:
    def wrong() -> Text:
        return make_text(word=make_text())

    with pytest.raises(InvalidArguments, match="word: wanted str, got 'dref:"):
        instantiate(wrong)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (np.float32(1), "value: a float32 is no JSON value; pass a plain number: call its .item()"),
        (np.float64(1), "value: a float64 is no JSON value; pass a plain number: call its .item()"),
        (np.int64(1), "value: an int64 is no JSON value; pass a plain number: call its .item()"),
        (Level.LOW, "value: a Level is no JSON value"),
        ((1, 2), "value: a tuple is no JSON value; pass a list"),
        ([1, (2,)], "value[1]: a tuple is no JSON value; pass a list"),
        ({"a": {1}}, "value.a: a set is no JSON value; pass a sorted list"),
        (frozenset(), "value: a frozenset is no JSON value; pass a sorted list"),
        (math.nan, "value: nan is not a finite number"),
        ([-math.inf], "value[0]: -inf is not a finite number"),
        (Path("x"), "value: a PosixPath is no JSON value; pass a str, or make the file an input with `fetchlocal`"),
        (lambda: 1, "value: a function is no JSON value; code belongs into the builder, not into the config"),
        (int, "value: a type is no JSON value; code belongs into the builder, not into the config"),
        (b"x", "value: a bytes is no JSON value"),
        (1j, "value: a complex is no JSON value"),
        (object(), "value: an object is no JSON value"),
        ({1: 2}, "value: the key 1 is an int, keys must be strings"),
        ({"a": {None: 2}}, "value.a: the key None is a NoneType, keys must be strings"),
        (json.loads("[" * 900 + "]" * 900), "value[0]"),
        ({"a": "\ud800"}, "value.a: '\\ud800' holds half of a surrogate pair"),
    ],
)
def test_values_that_are_no_json_are_refused_where_they_stand(value: object, problem: str, store: Store) -> None:
    (found,) = problems(take, value=value)
    assert found.startswith(problem)


def test_all_problems_are_told_at_once(store: Store) -> None:
    found = problems(
        take, text=1, real=math.nan, numbers=[1, "2", 3, 4.0], table={"a": "x", "b": 1, "c": None}, wrods=1, workers="a"
    )
    assert [problem.partition(":")[0] for problem in found] == [
        *("text", "real", "numbers[1]", "numbers[3]", "table.a", "table.c", "wrods", "workers")
    ]


def test_an_unknown_parameter_comes_with_a_suggestion(store: Store) -> None:
    assert problems(make_text, wrod="a") == ("wrod: no such parameter; did you mean 'word'?",)
    assert problems(make_text, xyz=1) == ("xyz: no such parameter; there are: word, shout, workers",)


def test_a_missing_parameter_is_named(store: Store) -> None:
    assert problems(count_text) == ("source: missing",)


def test_an_output_cannot_be_given(store: Store) -> None:
    assert problems(make_text, text=["a", "b"]) == ("text: an output, which the stage itself names",)


def test_too_many_positional_arguments_are_an_error_of_the_stage(store: Store) -> None:
    with pytest.raises(InvalidArguments, match="too many positional arguments"):
        instantiate(make_text, "a")  # type: ignore[call-arg]


@pytest.mark.parametrize("text", ["dref:x", "rref:x", "dref:", f"dref:{'0' * 31}-a", f"dref:{'0' * 32}-a b"])
def test_a_text_that_begins_like_a_reference_must_be_one(text: str, store: Store) -> None:
    assert problems(take, text=text) == (f"text: {text!r} begins like a reference and is none",)


def test_a_realization_is_no_parameter(store: Store) -> None:
    rref = realize(instantiate(make_text))
    (problem,) = problems(take, text=str(rref), value=None)
    assert problem == f"text: {rref} is a realization; make it an input with `pinned(rref)`"


def test_a_list_that_begins_like_an_output_is_refused(store: Store) -> None:
    (problem,) = problems(take, value=["__self__", "x"])
    assert problem.startswith("value: begins with '__self__' like the path of an output")


def test_what_is_right_is_stored_plain(store: Store) -> None:
    def all_kinds() -> Anything:
        text = make_text()
        return take(
            value={"b": [None, True, 1.5], "a": Colour.RED},
            text=Colour.RED,
            real=3,
            choice=3,
            table={"x": 1},
            path=text.text,
            source=text,
            either=text,
        )

    result = instantiate(all_kinds).result
    config = store.config_of(result)
    text = instantiate(make_text).result
    assert config["value"] == {"a": "red", "b": [None, True, 1.5]}
    assert config["text"] == "red"
    assert (config["real"], type(config["real"])) == (3.0, float)
    assert (config["table"]["x"], type(config["table"]["x"])) == (1.0, float)
    assert config["source"] == config["either"] == str(text)
    assert config["path"] == [str(text), "text.txt"]


def test_the_order_of_arguments_and_keys_does_not_matter(store: Store) -> None:
    one = instantiate(take, value={"a": 1, "b": 2}, text="x").result
    other = instantiate(take, text="x", value={"b": 2, "a": 1}).result
    assert one == other


def test_exec_values_are_no_identity(store: Store) -> None:
    assert instantiate(make_text, workers=1).result == instantiate(make_text, workers=7).result


def test_values_given_and_values_by_default_are_one_config(store: Store) -> None:
    assert instantiate(make_text).result == instantiate(make_text, word="Hello", shout=False).result


def test_changing_an_argument_afterwards_does_not_change_the_stage(store: Store) -> None:
    numbers = [1, 2]

    def changing() -> Anything:
        result = take(numbers=numbers)
        numbers.append(3)
        return result

    assert store.config_of(instantiate(changing).result)["numbers"] == [1, 2]


def test_a_stage_called_outside_of_instantiate_says_what_to_do(store: Store) -> None:
    with pytest.raises(NotDeclaring, match=r"make_text is a stage; declare it with `instantiate\(make_text, \.\.\.\)`"):
        make_text()
    with pytest.raises(NotDeclaring, match="make_text"):
        redefine(make_text)()


def test_two_matchers_for_one_derivation_name_both_callers(store: Store) -> None:
    def twice() -> list[Text]:
        first = make_text()
        second = redefine(make_text, new_matcher=latest(2))()
        return [first, second]

    with pytest.raises(MatcherConflict) as caught:
        instantiate(twice)
    start = inspect.getsourcelines(twice)[1]
    message = str(caught.value)
    assert f"Latest(n=1) at {__file__}:{start + 1}" in message
    assert f"Latest(n=2) at {__file__}:{start + 2}" in message


def test_equal_matchers_for_one_derivation_are_fine(store: Store) -> None:
    def twice() -> list[Text]:
        return [make_text(), redefine(make_text, new_matcher=latest())()]

    assert len(instantiate(twice).closure.derivations) == 1


def test_a_failed_declaration_leaves_nothing_behind(store: Store) -> None:
    def half() -> Text:
        make_text(word="a")
        return make_text(word=3)  # type: ignore[arg-type]

    with pytest.raises(InvalidArguments):
        instantiate(half)
    assert list(store.layout.storage.iterdir()) == []
    with pytest.raises(NotDeclaring):
        make_text()


# -- builders that cannot be stages ----------------------------------------------------------------------------------


def no_build() -> None: ...


def keyword_build(*, build: Build) -> None: ...


def other_first(word: str, *, shout: bool) -> None: ...


def unannotated(build: Build, *, word) -> None: ...  # type: ignore[no-untyped-def]


def starred(build: Build, *words: str) -> None: ...


def double_starred(build: Build, **words: str) -> None: ...


def positional_only(build: Build, word: str, /) -> None: ...


def reserved_name(build: Build, *, name: str) -> None: ...


def reserved_r(build: Build, *, r: int) -> None: ...


def reserved_own(build: Build, *, stagedml: int) -> None: ...


def exec_without_default(build: Build, *, workers: Exec[int]) -> None: ...


def output_of_another_type(build: Build, *, text: str = output("a")) -> None: ...  # type: ignore[assignment]


async def awaiting(build: Build) -> None: ...


def yielding(build: Build) -> Iterator[int]:
    yield 1


class NoFunction:
    def __call__(self, build: Build) -> None: ...


@pytest.mark.parametrize(
    ("builder", "problem"),
    [
        (no_build, "its first parameter must be the build"),
        (keyword_build, "its first parameter must be the build"),
        (other_first, "its first parameter must be the build"),
        (unannotated, "word: annotate it with its type"),
        (starred, "words: parameters must be named one by one, there is no * or **"),
        (double_starred, "words: parameters must be named one by one, there is no * or **"),
        (positional_only, "word: parameters must be named one by one"),
        (reserved_name, "name: a reserved name of configs; choose another one"),
        (reserved_r, "r: a reserved name of configs"),
        (reserved_own, "stagedml: a reserved name of configs"),
        (exec_without_default, "workers: an Exec parameter needs a default"),
        (output_of_another_type, "text: an output is annotated `RefPath`"),
        (awaiting, "a builder neither awaits nor yields"),
        (yielding, "a builder neither awaits nor yields"),
        (NoFunction(), "a builder is a function"),
        (functools.partial(no_build), "a builder is a function"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_signature_that_cannot_be_a_stages_is_refused_where_it_stands(builder: Any, problem: str) -> None:
    with pytest.raises(InvalidStage) as caught:
        stage(Anything, name="x")(builder)
    assert problem in str(caught.value)
    if inspect.isfunction(builder):
        assert f"{builder.__name__} ({__file__}:{builder.__code__.co_firstlineno})" in str(caught.value)


def with_set(build: Build, *, words: set[str]) -> None: ...


def with_tuple(build: Build, *, words: tuple[str, ...]) -> None: ...


def with_path(build: Build, *, words: list[Path]) -> None: ...


def with_integer_keys(build: Build, *, words: dict[int, str]) -> None: ...


def with_callable(build: Build, *, words: Exec[Callable[[], int]] = no_build) -> None: ...  # type: ignore[assignment]


@pytest.mark.parametrize("builder", [with_set, with_tuple, with_path, with_integer_keys, with_callable])
def test_types_that_cannot_stand_in_a_config_are_refused(builder: Any) -> None:
    with pytest.raises(UnsupportedType, match=f"the stage {builder.__name__}, parameter words: values of type"):
        stage(Anything, name="x")(builder)


def test_a_type_that_exists_for_type_checkers_only_is_refused() -> None:
    def builder(build: Build, *, word: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(UnresolvedType, match="the stage builder: its annotations speak of 'Missing'"):
        stage(Anything, name="x")(builder)


def lacks_shout(build: Build, *, word: str, text: RefPath = output("a")) -> None: ...


def shout_is_int(build: Build, *, word: str, shout: int, text: RefPath = output("a")) -> None: ...


def shout_is_exec(build: Build, *, word: str, shout: Exec[bool] = True, text: RefPath = output("a")) -> None: ...


def text_is_a_word(build: Build, *, word: str, shout: bool, text: str) -> None: ...


@pytest.mark.parametrize(
    ("builder", "problem"),
    [
        (lacks_shout, "Text.shout: the stage lacks_shout has neither a parameter nor an output of that name"),
        (shout_is_int, "Text.shout: is bool, but the stage shout_is_int has int"),
        (shout_is_exec, "Text.shout: the stage shout_is_exec has neither a parameter nor an output of that name"),
        (text_is_a_word, "Text.text: is RefPath, but the stage text_is_a_word has str"),
    ],
)
def test_a_stage_must_offer_every_field_of_its_artifact(builder: Any, problem: str) -> None:
    with pytest.raises(InvalidArtifactType, match=f"^{re.escape(problem)}$"):
        stage(Text, name="x")(builder)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("", "relative to the realization"),
        (".", "relative to the realization"),
        ("/etc/passwd", "relative to the realization"),
        ("../x", "without `..`"),
        ("a/../../x", "without `..`"),
        ("__log__/x", "reserved name"),
        ("__buildstart__.txt", "reserved name"),
        ("context.json", "reserved name"),
    ],
)
def test_an_output_lies_inside_of_the_realization(path: str, problem: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"output({path!r}): ") + f".*{problem}"):
        output(path)


def named(build: Build, *, word: str = "a", size: float = 0.5, source: Text | None = None) -> None: ...


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("", "give it a name"),
        ("a b", "names are made of letters, digits, `-` and `_`"),
        ("a/{word}", "names are made of letters, digits, `-` and `_`"),
        ("x-{", "is no template"),
        ("x-}", "is no template"),
        ("x-{wrod}", "speaks of 'wrod', which is no parameter of it"),
        ("x-{}", "speaks of '', which is no parameter of it"),
        ("x-{0}", "speaks of '0', which is no parameter of it"),
        ("x-{word.real}", "speaks of 'word.real', which is no parameter of it"),
    ],
)
def test_a_bad_name_is_refused_at_the_decorator(template: str, problem: str) -> None:
    with pytest.raises(InvalidStage, match=re.escape(problem)):
        stage(Anything, name=template)(named)


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("x-{size}", "its name comes out as 'x-0.5'"),
        ("x" * 200 + "{word}", "up to 200 of them"),
        ("x-{word:d}", "cannot be filled in"),
    ],
)
def test_a_name_that_comes_out_badly_is_refused_at_declaration(template: str, problem: str, store: Store) -> None:
    function = stage(Anything, name=template)(named)
    with pytest.raises(InvalidStage, match=problem):
        instantiate(function)


@pytest.mark.parametrize("word", ["a b", "", "a/b", "ä", "a:b"])
def test_a_parameter_that_does_not_fit_into_the_name_is_refused(word: str, store: Store) -> None:
    function = stage(Anything, name="{word:lower}")(named)
    with pytest.raises(InvalidStage, match="its name comes out as"):
        instantiate(function, word=word)


@pytest.mark.parametrize("word", ["..", "../x", "/x", "__log__"])
def test_a_parameter_cannot_lead_an_output_out_of_the_realization(word: str, store: Store) -> None:
    def builder(build: Build, *, word: str, path: RefPath = output("{word}")) -> None: ...

    with pytest.raises(UsageError, match="output"):
        instantiate(stage(Anything, name="x")(builder), word=word)


def test_a_wrong_default_is_told_when_it_is_used(store: Store) -> None:
    def builder(build: Build, *, word: str = 3) -> None: ...  # type: ignore[assignment]

    function: Stage[..., Anything] = stage(Anything, name="x")(builder)
    assert problems(function) == ("word: wanted str, got 3 (an int)",)


def test_a_stage_keeps_the_name_the_documentation_and_the_signature_of_its_builder() -> None:
    assert make_text.__name__ == "make_text"
    assert make_text.__doc__ == "Write a word."
    assert make_text.__module__ == "authoring.toys"
    parameters = inspect.signature(make_text).parameters
    assert list(parameters) == ["word", "shout", "text", "workers"]
    assert repr(bundle_texts).startswith("<stage bundle_texts(")
    assert bundle_texts.artifact is Bundle


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: stage(Text, name=cast(str, 3)),
        lambda: stage(cast(Any, 3), name="x"),
        lambda: stage(cast(Any, dict), name="x"),
        lambda: output(cast(str, 3)),
        lambda: fetchlocal(cast(str, 3)),
        lambda: fetchlocal("a\0"),
        lambda: fetchfolder(cast(str, None)),
        lambda: exactly(),
        lambda: best("accuracy", file="../metrics.json"),
        lambda: best("accuracy", file="/metrics.json"),
    ],
)
def test_wrong_arguments_are_refused_with_what_to_give(wrong: Callable[[], object]) -> None:
    with pytest.raises(UsageError, match="give "):
        wrong()
