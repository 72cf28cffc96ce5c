"""Lenses walk from a reference through configs, inputs and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from authoring.toys import Count, Text, all_count, make_text
from stagedml import (
    Build,
    DRef,
    RefPath,
    RRef,
    Store,
    UsageError,
    instantiate,
    mklens,
    output,
    realize,
    rref2dref,
    rref2path,
    stage,
    using_store,
)
from stagedml.authoring.lens import InvalidLens, NoSuchField
from stagedml.authoring.session import Storage


@pytest.fixture
def rref(store: Store) -> RRef:
    return realize(instantiate(all_count, "Abc"))


def test_every_way_to_arrive(rref: RRef, store: Store) -> None:
    lens = mklens(rref)
    source = lens.source
    assert lens.scale.val == 1.0
    assert lens.scale.optval == 1.0
    assert lens.rref == rref
    assert lens.dref == rref2dref(rref)
    assert lens.syspath == Path(rref2path(rref))
    assert source.dref == source.val
    assert isinstance(source.dref, DRef)
    assert isinstance(source.rref, RRef)
    assert source.syspath == Path(rref2path(source.rref))
    assert source.text.val == source.text.refpath == [source.dref, "text.txt"]
    assert source.text.syspath == source.syspath / "text.txt"
    assert source.text.contents == "Abc"
    assert json.loads(lens.counts.contents)["letters"] == 3
    assert lens.get("counts").get("letters").val == 3
    assert repr(lens) == f"<lens count: {str(rref)!r}>"


def test_a_json_file_is_walked_like_a_config(rref: RRef) -> None:
    assert mklens(rref).counts.word.val == "Abc"
    assert mklens(rref).counts.deep.pace.val == "x"
    assert "letters" in dir(mklens(rref).counts)


def test_a_lens_on_a_derivation_knows_configs_alone(rref: RRef, store: Store) -> None:
    lens = mklens(rref2dref(rref))
    assert lens.source.word.val == "Abc"
    assert lens.syspath == store.layout.storage / str(rref2dref(rref)).removeprefix("dref:")
    for place, accessor in [(lens, "rref"), (lens.source.text, "contents"), (lens.source, "rref")]:
        with pytest.raises(InvalidLens, match="alone has no realization; begin with an rref"):
            getattr(place, accessor)


def test_a_lens_on_what_instantiate_returns(store: Store) -> None:
    instantiated = instantiate(all_count, "Abc")
    for start in (instantiated, instantiated.closure, instantiated.result):
        assert mklens(start).source.word.val == "Abc"
    both = instantiate(lambda: [make_text(word="a"), make_text(word="b")])
    with pytest.raises(InvalidLens, match="has 2 targets, wanted one"):
        mklens(both)


def test_a_lens_on_a_build_sees_inputs_and_outputs(store: Store) -> None:
    seen: dict[str, Any] = {}

    def builder(build: Build, *, source: Text, scale: float, counts: RefPath = output("x.txt")) -> None:
        lens = mklens(build)
        seen.update(word=lens.source.word.val, text=lens.source.text.contents, rref=lens.source.rref)
        lens.counts.syspath.write_text("written")
        seen.update(inside=lens.counts.syspath.parent == lens.syspath == build.outpath, dref=lens.dref)

    peek = stage(Count, name="peek")(builder)
    rref = realize(instantiate(lambda: peek(source=make_text(word="Abc"), scale=1)))
    assert seen == {
        **{"word": "Abc", "text": "Abc", "inside": True},
        **{"rref": mklens(rref).source.rref, "dref": rref2dref(rref)},
    }
    assert mklens(rref).counts.contents == "written"


def test_a_lens_on_a_path(rref: RRef) -> None:
    path = mklens(rref).counts.val
    assert mklens(path).refpath == path
    with pytest.raises(InvalidLens, match="alone has no realization"):
        mklens(path).syspath  # noqa: B018


def test_a_lens_in_another_store(rref: RRef, store: Store, second_store: Store) -> None:
    with using_store(second_store):
        assert mklens(rref, store=store).source.text.contents == "Abc"
        assert mklens(rref, S=Storage.of(store)).source.text.contents == "Abc"
        assert rref2path(rref, Storage.of(store)).startswith(str(store.layout.storage))
        with pytest.raises(Exception, match=str(rref)):
            mklens(rref).source.text.contents  # noqa: B018


def test_only_dicts_can_be_set(rref: RRef) -> None:
    parameters: dict[str, Any] = {"rate": 1, "deep": {"a": 1}, "none": None}
    lens = mklens(parameters)
    lens.rate.val = 2
    lens.deep.a.val = 3
    lens.none.val = 4
    assert parameters == {"rate": 2, "deep": {"a": 3}, "none": 4}
    with pytest.raises(InvalidLens, match=r"count.scale: cannot be set: only dicts change"):
        mklens(rref).scale.val = 3
    with pytest.raises(InvalidLens, match=r"count.counts.letters: cannot be set"):
        mklens(rref).counts.letters.val = 3
    with pytest.raises(AttributeError):
        mklens(parameters).rate = 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("walk", "problem"),
    [
        (lambda lens: lens.scael, "count: has no field 'scael'; did you mean 'scale'?"),
        (
            lambda lens: lens.source.zzz,
            "count.source: has no field 'zzz'; there are: name, shout, stagedml, text",
        ),
        (lambda lens: lens.scale.zzz, "count.scale: is 1.0, which has no fields"),
        (lambda lens: lens.source.text.zzz, "which has no fields"),
        (lambda lens: lens.scale.refpath, "count.scale: wanted a RefPath, got 1.0"),
        (lambda lens: lens.scale.dref, "count.scale: wanted a reference, got 1.0"),
        (lambda lens: lens.source.word.rref, "count.source.word: wanted a reference, got 'Abc'"),
        (lambda lens: lens.source.contents, "which is no file"),
        (lambda lens: lens.counts.letters.syspath, "count.counts.letters: wanted a reference"),
    ],
)
def test_an_error_names_the_path(walk: Any, problem: str, rref: RRef) -> None:
    with pytest.raises(InvalidLens) as caught:
        walk(mklens(rref))
    assert problem in str(caught.value)


def test_a_value_that_is_none_needs_optval() -> None:
    lens = mklens({"a": None})
    assert lens.a.optval is None
    with pytest.raises(InvalidLens, match=r"lens.a: is None; `optval` allows for that"):
        lens.a.val  # noqa: B018


@pytest.mark.parametrize("start", [None, 3, "text", ["a"], "rref:x"])
def test_a_lens_needs_a_place_to_begin(start: Any) -> None:
    with pytest.raises(UsageError, match="wanted a reference, a closure, a build or a dict"):
        mklens(start)


def test_python_can_ask_for_a_field_that_is_not_there(rref: RRef) -> None:
    lens = mklens(rref)
    assert hasattr(lens, "scale")
    assert not hasattr(lens, "nothing")
    assert getattr(lens, "nothing", 3) == 3
    with pytest.raises(NoSuchField):
        lens.get("nothing")


def test_fields_that_are_names_of_the_lens_are_reached_with_get() -> None:
    assert mklens({"val": 3, "a b": 4}).get("val").val == 3
    assert mklens({"val": 3, "a b": 4}).get("a b").val == 4


def test_completion_offers_fields_and_accessors(rref: RRef) -> None:
    assert {"val", "syspath", "contents", "source", "scale", "counts", "name"} <= {*dir(mklens(rref))}
    assert {"word", "shout", "text"} <= {*dir(mklens(rref).source)}
    assert "source" not in dir(mklens(rref).scale)


def test_ipython_completes_lenses_and_artifacts(rref: RRef) -> None:
    from IPython.core.completer import IPCompleter, provisionalcompleter

    completer = IPCompleter(  # type: ignore[no-untyped-call]
        shell=None, namespace={"lens": mklens(rref), "artifact": instantiate(all_count).result, "mklens": mklens}
    )
    completer.use_jedi = False

    def offered(text: str) -> list[str]:
        with provisionalcompleter():
            return [completion.text.rpartition(".")[2] for completion in completer.completions(text, len(text))]

    assert offered("lens.sou") == ["source"]
    assert offered("artifact.cou") == ["count", "counts"]
    completer.evaluation = "unsafe"  # by default IPython asks no object that answers for itself on the way to another
    assert offered("lens.source.wo") == ["word"]
    assert offered("artifact.source.wo") == ["word"]
