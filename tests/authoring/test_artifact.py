"""An artifact is a string in every respect but its fields."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from IPython.lib.pretty import pretty

from authoring.toys import Bundle, Count, Text, all_count, bundle_texts, make_text
from stagedml import Artifact, DRef, RefPath, Store, instantiate, rref2path, using_store
from stagedml.authoring.artifact import InvalidArtifactType, bound


def text_of(store: Store, word: str = "Hello") -> Text:
    return instantiate(make_text, word=word).result


def all_bundle() -> Bundle:
    one, two = make_text(word="one"), make_text(word="two")
    return bundle_texts(
        first=one, many=[one, two], named={"b": two}, nested={"all": [two]}, files=[one.text, two.text], note=None
    )


def test_fields_are_the_values_of_the_config(store: Store) -> None:
    text = text_of(store)
    assert text.word == "Hello"
    assert text.shout is False
    assert text.text == [str(text), "text.txt"]


def test_an_artifact_is_a_derivation_reference_and_a_str(store: Store) -> None:
    text = text_of(store)
    plain = str(text)
    assert isinstance(text, DRef)
    assert isinstance(text, str)
    assert type(plain) is str
    assert text == plain
    assert hash(text) == hash(plain)
    assert {plain: 1}[text] == 1
    assert repr(text) == repr(plain)
    assert f"{text}" == plain
    assert sorted([text, "a"]) == ["a", plain]


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda text: pickle.loads(pickle.dumps(text))])
def test_copies_and_pickles_are_the_same_artifact(duplicate: Any, store: Store) -> None:
    text = text_of(store)
    again = duplicate(text)
    assert type(again) is Text
    assert again == text
    assert again.word == "Hello"
    assert duplicate({"a": [text]})["a"][0].shout is False


def test_every_protocol_of_pickle_works(store: Store) -> None:
    text = text_of(store)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(text, protocol)).word == "Hello"


def test_json_writes_it_as_a_string(store: Store) -> None:
    text = text_of(store)
    assert json.loads(json.dumps({"a": text, text: 1})) == {"a": str(text), str(text): 1}


def test_pylightnix_takes_it_into_a_config(store: Store) -> None:
    from pylightnix import mkconfig
    from pylightnix.core import cfgdeps, cfgdict, cfghash

    text = text_of(store)
    config = mkconfig({"name": "x", "source": text, "path": text.text})
    same = mkconfig({"name": "x", "source": DRef(text), "path": [DRef(text), "text.txt"]})
    assert cfghash(config) == cfghash(same)
    assert cfgdict(config)["source"] == text
    assert cfgdeps(config) == {text}


def test_has_attribute_tells_fields_from_others(store: Store) -> None:
    text = text_of(store)
    assert hasattr(text, "word")
    assert hasattr(text, "upper")
    assert not hasattr(text, "counts")
    assert not hasattr(text, "_repr_html_")
    assert not hasattr(text, "__array__")


def test_an_undeclared_name_is_an_attribute_error_with_a_suggestion(store: Store) -> None:
    text: Any = text_of(store)
    with pytest.raises(AttributeError, match=r"^Text has no field 'wrod'; did you mean 'word'\?$"):
        text.wrod  # noqa: B018
    with pytest.raises(AttributeError, match=r"^Text has no field 'workers'$"):
        text.workers  # noqa: B018


def test_a_promised_field_that_is_not_in_the_config_says_so(store: Store) -> None:
    other: Any = Count(str(text_of(store)))
    with pytest.raises(AttributeError, match=r"the config of dref:\w+-text-hello has no field 'counts', which Count"):
        other.counts  # noqa: B018


def test_completion_knows_the_fields(store: Store) -> None:
    names = dir(text_of(store))
    assert {"text", "word", "shout", "upper"} <= {*names}


def test_ipython_shows_the_type(store: Store) -> None:
    text = text_of(store)
    shown: list[str] = [pretty(value) for value in (text, [text])]  # type: ignore[no-untyped-call]
    assert shown == [f"Text({str(text)!r})", f"[Text({str(text)!r})]"]


@pytest.mark.parametrize("name", ["count", "index", "format", "title", "encode", "artifact_fields"])
def test_fields_that_are_attributes_of_str_are_refused(name: str) -> None:
    with pytest.raises(InvalidArtifactType, match=f"Bad.{name}: an attribute of str; choose another name"):
        type("Bad", (Artifact,), {"__annotations__": {name: int}, "__module__": __name__})


@pytest.mark.parametrize(
    ("name", "reason"), [("name", "reserved"), ("r", "reserved"), ("stagedml", "reserved"), ("_hidden", "public")]
)
def test_other_names_that_cannot_be_fields_are_refused(name: str, reason: str) -> None:
    with pytest.raises(InvalidArtifactType, match=f"Bad.{name}: .*{reason}"):
        type("Bad", (Artifact,), {"__annotations__": {name: int}, "__module__": __name__})


def test_a_field_with_a_default_is_refused() -> None:
    with pytest.raises(InvalidArtifactType, match="word: fields have no default"):

        class Bad(Artifact):
            word: str = "a"


class LoudText(Text):
    """A text that knows how loud it is."""

    loudness: float


def test_fields_are_inherited(store: Store) -> None:
    assert list(LoudText.artifact_fields) == ["text", "word", "shout", "loudness"]
    assert list(Text.artifact_fields) == ["text", "word", "shout"]
    assert LoudText.field_types()["text"] == RefPath
    loud = LoudText(str(text_of(store)))
    assert loud.word == "Hello"
    assert not hasattr(loud, "loudness")


def test_artifacts_inside_of_artifacts_have_their_types(store: Store) -> None:
    count = instantiate(all_count).result
    assert type(count.source) is Text
    assert count.source.word == "Hello"
    assert count.source.text == [str(count.source), "text.txt"]
    assert count.counts == [str(count), "sub", "counts.json"]


def test_lists_dicts_and_options_of_artifacts_have_their_types(store: Store) -> None:
    bundle = instantiate(all_bundle).result
    assert type(bundle.first) is Text
    assert [type(text) for text in bundle.many] == [Text, Text]
    assert [text.word for text in bundle.many] == ["one", "two"]
    assert bundle.named["b"].word == "two"
    assert bundle.nested["all"][0].shout is False
    assert bundle.files == [bundle.many[0].text, bundle.many[1].text]
    assert bundle.note is None
    assert instantiate(bundle_texts).result.first is None


def test_an_artifact_of_another_store_reads_there(store: Store, second_store: Store) -> None:
    with using_store(second_store):
        count = instantiate(all_count, "Elsewhere").result
    for same in (count, copy.copy(count), copy.deepcopy([count])[0], bound(Count, str(count), second_store)):
        assert same.source.word == "Elsewhere"
    assert list(store.layout.storage.iterdir()) == []
    with using_store(second_store):
        assert pickle.loads(pickle.dumps(count)).source.word == "Elsewhere"


def test_an_artifact_from_text_reads_in_the_current_store(store: Store) -> None:
    assert Text(str(text_of(store))).word == "Hello"


def test_the_builder_gets_the_fields_of_its_inputs(store: Store) -> None:
    from stagedml import realize

    rref = realize(instantiate(all_bundle))
    with open(f"{rref2path(rref)}/words.json") as file:
        assert json.load(file) == [["one", "one", "two", "two", "two"], ["one", "two"]]
