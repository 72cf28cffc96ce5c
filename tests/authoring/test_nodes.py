"""`mknode`: derivations of a config and contents."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from authoring.toys import Count, Text, bundle_texts, count_text, make_text
from compat.plain import plx
from stagedml import (
    Artifact,
    Policy,
    RefPath,
    RRef,
    Store,
    UsageError,
    every,
    gc,
    instantiate,
    latest,
    mklens,
    mknode,
    output,
    pinned,
    plan,
    realize,
    realize_many,
    redefine,
    rref2path,
)
from stagedml.authoring.redefine import CannotRedefine
from stagedml.authoring.registry import MatcherConflict
from stagedml.authoring.session import Storage
from stagedml.authoring.stage import InvalidArguments
from stagedml.store.verify import verify

node: Any = mknode  # for what a type checker refuses


def greeting(text: str | bytes = "Hello", word: str = "Hi", **more: Any) -> Text:
    config = {"word": word, "shout": False, "text": output("text.txt")}
    return mknode(config, {"text.txt": text}, "greeting", artifact=Text, **more)


def test_a_node_holds_what_it_was_given_and_nothing_else(store: Store) -> None:
    rref = realize(instantiate(lambda: mknode({"scale": 2}, {"a.txt": "Grüße", "sub/b.bin": b"\0\1"})))
    folder = Path(rref2path(rref))
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {name for name in files if not name.startswith("__")} == {"a.txt", "sub/b.bin", "context.json"}
    assert (folder / "a.txt").read_bytes() == "Grüße".encode()
    assert (folder / "sub/b.bin").read_bytes() == b"\0\1"
    assert rref.endswith("-mknode")
    assert mklens(rref).scale.val == 2
    assert verify(store).findings == ()


def test_a_node_of_a_config_alone_holds_no_files(store: Store) -> None:
    rref = realize(instantiate(mknode, {"learning_rate": 1e-3}, name="settings"))
    assert mklens(rref).learning_rate.val == 1e-3
    assert mklens(rref).get("__artifacts__").val == {}


def test_a_node_is_an_input_with_the_fields_of_its_artifact(store: Store) -> None:
    result = instantiate(greeting).result
    assert type(result) is Text
    assert result.word == "Hi"
    rref = realize(instantiate(lambda: count_text(source=greeting())))
    assert mklens(rref).counts.letters.val == 5
    assert mklens(rref).counts.word.val == "Hi"
    assert mklens(rref).source.text.contents == "Hello"


def test_its_config_and_the_sums_of_its_contents_are_its_identity(store: Store) -> None:
    one = instantiate(greeting).result
    assert one == instantiate(greeting, b"Hello").result
    assert one != instantiate(greeting, "Hello ").result
    assert one != instantiate(greeting, word="Hey").result
    assert mklens(one).get("__artifacts__").val == {"text.txt": hashlib.sha256(b"Hello").hexdigest()}
    assert store.config_of(one) == {
        **{"word": "Hi", "shout": False, "text": ["__self__", "text.txt"], "name": "greeting", "stagedml": {}},
        "__artifacts__": {"text.txt": hashlib.sha256(b"Hello").hexdigest()},
    }


def test_the_sums_are_those_of_pylightnixs_own_nodes(store: Store) -> None:
    theirs = plx.instantiate(lambda r: plx.mknode(r, {"scale": 2}, {"a": b"abc"}), S=Storage.of(store))[0]
    ours = instantiate(mknode, {"scale": 2}, {"a": b"abc"}).result
    assert mklens(theirs).get("__artifacts__").val == mklens(ours).get("__artifacts__").val


def test_a_node_is_built_once_and_made_again_where_its_bytes_are_gone(store: Store) -> None:
    rref = realize(instantiate(greeting))
    assert plan(instantiate(greeting)).builds == ()
    text = mklens(rref).text.syspath
    text.parent.chmod(0o755)
    text.unlink()
    assert realize(instantiate(greeting)) == rref
    assert text.read_text() == "Hello"


def test_other_contents_are_named_as_the_cause_of_a_build(store: Store) -> None:
    realize(instantiate(greeting))
    (step,) = plan(instantiate(greeting, "Bye")).steps
    assert step.detail.startswith("__artifacts__")


def test_a_config_may_speak_of_other_stages(store: Store) -> None:
    def experiment() -> Artifact:
        text = make_text(word="input")
        return mknode({"source": text, "files": [text.text], "deep": {"many": [text]}}, name="experiment")

    rref = realize(instantiate(experiment))
    assert mklens(rref).source.text.contents == "input"
    assert mklens(rref).source.word.val == "input"


def test_an_artifact_field_of_a_node_may_be_a_stage(store: Store) -> None:
    def counted(**other: Any) -> Count:
        config = {"source": make_text(), "scale": 1, "counts": output("counts.json"), **other}
        return mknode(config, {"counts.json": '{"letters": 5}'}, artifact=Count)

    result = instantiate(counted).result
    assert type(result.source) is Text
    assert result == instantiate(counted, scale=1.0).result
    assert mklens(realize(instantiate(counted))).counts.letters.val == 5
    with pytest.raises(InvalidArguments, match=r"source: wanted Text, got .*a Count"):
        instantiate(lambda: counted(source=counted()))


def test_nodes_mix_with_stages_in_lists(store: Store) -> None:
    rref = realize(instantiate(lambda: bundle_texts(many=[make_text(word="made"), greeting(word="given")])))
    words = Path(rref2path(rref), "words.json").read_text()
    assert words == '[["made", "given"], []]'


def test_the_same_node_twice_is_one_derivation(store: Store) -> None:
    assert len(instantiate(lambda: [greeting(), greeting()]).closure.derivations) == 1
    with pytest.raises(MatcherConflict):
        instantiate(lambda: [greeting(), greeting(matcher=every())])


def test_a_matcher_stands_for_a_node_as_for_any_stage(store: Store) -> None:
    (derivation,) = instantiate(greeting, matcher=latest(2)).closure.derivations
    assert derivation.matcher == latest(2)
    rref: RRef = realize_many(instantiate(greeting, matcher=every()))[0]
    assert mklens(rref).text.contents == "Hello"


def test_outputs_may_be_folders_and_prefixes(store: Store) -> None:
    class Checkpoint(Artifact):
        folder: RefPath
        weights: RefPath

    def checkpoint() -> Checkpoint:
        config = {"folder": output("logs"), "weights": output("model.ckpt", prefix=True)}
        files = {"logs/day/a": "1", "model.ckpt.index": "2", "model.ckpt.data": "3"}
        return mknode(config, files, artifact=Checkpoint)

    rref = realize(instantiate(checkpoint))
    assert Path(mklens(rref).folder.syspath, "day", "a").read_text() == "1"
    assert mklens(rref).weights.syspath.with_suffix(".ckpt.index").read_text() == "2"
    assert store.config_of(str(mklens(rref).dref))["stagedml"] == {"prefixes": ["weights"]}


def test_a_node_can_be_pinned_linked_and_collected(store: Store) -> None:
    rref = realize(instantiate(greeting))
    assert mklens(realize(instantiate(lambda: count_text(source=pinned(rref, Text))))).counts.letters.val == 5
    realize(instantiate(greeting, "kept"), link="kept")
    store.claims.forget()
    assert gc(force=True, policy=Policy(grace_s=0)).plan.kept == 1
    assert mklens(realize(instantiate(greeting))).text.contents == "Hello"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (({"a": (1, 2)},), r"a: a tuple is no JSON value; pass a list"),
        (({"a": float("nan")},), r"a: nan is not a finite number"),
        (({"a": {"b": Path("x")}},), r"a.b: a PosixPath is no JSON value"),
        (({"a": f"rref:{'0' * 32}-{'0' * 32}-x"},), r"is a realization; make it an input with `pinned"),
        (({1: 2},), r"config: the key 1 is an int, keys must be strings"),
        (({"name": "x"},), r"name: give it beside the config"),
        (({"stagedml": {}},), r"stagedml: a reserved name"),
        (({"__artifacts__": {}},), r"__artifacts__: a reserved name"),
        (("config",), r"config: wanted a dict, got 'config'"),
        (({}, "x"), r"artifacts: wanted a dict of paths and contents, got 'x'"),
        (({}, {"a": 5}), r"'a': wanted bytes or text, got 5 \(an int\)"),
        (({}, {5: b""}), r"5 is no path relative to the realization"),
        (({}, {"": b""}), r"'' is no path"),
        (({}, {"/a": b""}), r"'/a' is no path relative"),
        (({}, {"a/../../b": b""}), r"is no path relative"),
        (({}, {"context.json": b""}), r"context.json is a reserved name"),
        (({}, {"__log__/x": b""}), r"__log__ is a reserved name"),
        (({}, {"a": b"", "a/b": b""}), r"'a/b' is there twice, or both a file and a folder"),
        (({}, {"a": b"", "./a": b""}), r"'./a' is there twice"),
        (({"x": output("b")}, {"a": b""}), r"x: output\('b'\) is not among the artifacts; there are: a"),
        (({"x": output("b")},), r"there are: none"),
        (({"x": [output("b")]}, {"b": b""}), r"x\[0\]: begins with '__self__'"),
        (({}, {}, "a name"), r"name: 'a name' is no name; names are made of letters"),
        (({}, {}, 7), r"name: 7 is no name"),
    ],
)
def test_what_cannot_be_a_node_is_refused(store: Store, arguments: tuple[Any, ...], problem: str) -> None:
    with pytest.raises(InvalidArguments, match=problem):
        instantiate(node, *arguments)


def test_every_problem_is_listed(store: Store) -> None:
    with pytest.raises(InvalidArguments) as caught:
        instantiate(node, {"a": (), "name": "x"}, {"/b": b"", "c": 1}, "?")
    assert len(caught.value.problems) == 5


def test_what_an_artifact_promises_must_be_in_the_config(store: Store) -> None:
    with pytest.raises(InvalidArguments) as caught:
        instantiate(mknode, {"word": 5, "shout": output("a")}, {"a": b""}, artifact=Text)
    assert caught.value.problems == (
        "text: missing; Text promises it",
        "word: wanted str, got 5 (an int)",
        "shout: wanted bool, got the path of an output",
    )
    with pytest.raises(InvalidArguments, match="artifact: wanted a class derived from Artifact, got 'Text'"):
        instantiate(node, {}, artifact="Text")
    with pytest.raises(InvalidArguments, match="matcher: wanted a matcher"):
        instantiate(node, {}, matcher=3)


def test_a_node_is_declared_in_a_stage_function_alone(store: Store) -> None:
    with pytest.raises(UsageError, match=r"declare it with `instantiate\(mknode, ...\)`"):
        mknode({})


def test_a_node_has_no_stage_to_redefine(store: Store) -> None:
    with pytest.raises(CannotRedefine, match="name the stage to change with `at=`"):
        instantiate(redefine(greeting, lambda c: None))


def test_a_node_takes_no_exec_values(store: Store) -> None:
    target = instantiate(greeting)
    with pytest.raises(UsageError, match=r"no stage here has an Exec parameter 'workers'; there are: none$"):
        realize(target, args={"workers": 2})
    with pytest.raises(InvalidArguments, match="it takes no Exec parameters"):
        realize(target, args={target.result: {"workers": 2}})
