"""`diff`: what differs between two realizations, and that nothing is said of what is equal."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from compat.plain import plain_storage, plx
from stagedml import Artifact, Build, RefPath, instantiate, output, realize, stage
from stagedml.core.code import Code, Unit
from stagedml.core.refs import parse_rref
from stagedml.inspection.compare import Changed, ChangedInput, Comparison, compare
from stagedml.inspection.plain import plain
from stagedml.settings import read_settings
from stagedml.store.metadata import to_text
from stagedml.store.objects import NotInStore, Store
from stagedml.testing import toys


class Measured(Artifact):
    """Something with metrics."""

    metrics: RefPath


@stage(Measured, name="measured")
def measured(
    build: Build,
    *,
    text: str = "{}",
    options: dict[str, Any] = {},  # noqa: B006 - it is never changed
    as_folder: bool = False,
    metrics: RefPath = output("metrics.json"),
) -> None:
    if as_folder:
        build.path(metrics).mkdir()
    else:
        build.path(metrics).write_text(text)


def compared(store: Store, old: str, new: str) -> Comparison:
    return compare(store, parse_rref(old), parse_rref(new))


def metrics_of(store: Store, old: str, new: str) -> dict[str, tuple[Any, Any]]:
    first, second = (realize(instantiate(measured, text=text)) for text in (old, new))
    return {one.name: (one.before, one.after) for one in compared(store, first, second).metrics}


def what_differs(found: Comparison) -> set[str]:
    """The sections in which something stands."""
    return {name for name in ("config", "code", "packages", "inputs", "metrics", "files") if getattr(found, name)}


def test_a_realization_does_not_differ_from_itself(store: Store) -> None:
    rref = realize(instantiate(toys.all_counted))
    found = compared(store, rref, rref)
    assert what_differs(found) == set()
    assert found.same_contents
    assert not found.code_differs


def test_a_changed_parameter_stands_alone_where_the_contents_are_the_same(store: Store) -> None:
    first, second = (realize(instantiate(toys.sample, constant=True, seed=seed)) for seed in (1, 2))
    found = compared(store, first, second)
    assert what_differs(found) == {"config"}
    assert found.config == (Changed("seed", 1, 2),)
    assert found.same_contents


def test_other_contents_show_in_files_of_equal_size(store: Store) -> None:
    first, second = (realize(instantiate(toys.text, content=content)) for content in ("one", "two"))
    found = compared(store, first, second)
    assert found.config == (Changed("content", "one", "two"),)
    assert found.files == (Changed("text.txt", 3, 3),)
    assert not found.same_contents


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (1, True), (0, False), ([1], [1.0]), (None, 0), ("1", 1)])
def test_values_that_python_takes_for_equal_differ_in_a_config(store: Store, one: object, other: object) -> None:
    first, second = (realize(instantiate(measured, options={"x": value})) for value in (one, other))
    assert first[38:] != second[38:]
    ((name, before, after),) = (dataclasses.astuple(change) for change in compared(store, first, second).config)
    assert name == "options"
    assert [repr(before), repr(after)] == [repr({"x": one}), repr({"x": other})]


# -- inputs -----------------------------------------------------------------------------------------------------------


def test_an_input_with_the_same_contents_says_so(store: Store) -> None:
    def counted(content: str, note: int = 0) -> toys.Count:
        return toys.count(source=toys.upper(source=toys.text(content=content)))

    first, second, third = (realize(instantiate(counted, content)) for content in ("a", "A", "b"))
    same, other = compared(store, first, second), compared(store, first, third)
    assert what_differs(same) == {"inputs"}
    assert [(one.name, one.same_contents) for one in same.inputs] == [("upper", True)]
    assert [(one.name, one.same_contents) for one in other.inputs] == [("upper", False)]
    ((before,),), ((after,),) = (
        store.inputs_of(parse_rref(rref), store.metadata(parse_rref(rref))).values() for rref in (first, third)
    )
    assert other.inputs == (ChangedInput("upper", before, after, False),)


def test_inputs_that_come_and_go_have_nothing_on_the_other_side(store: Store) -> None:
    def graph(labels: str) -> toys.Node:
        return toys.node(label="all", inputs=[toys.node(label=label, inputs=[]) for label in labels])

    first, second = (realize(instantiate(graph, labels)) for labels in ("ab", "bc"))
    found = compared(store, first, second)
    assert [(one.name, bool(one.before), bool(one.after)) for one in found.inputs] == [
        ("node-a", True, False),
        ("node-c", False, True),
    ]
    assert not any(one.same_contents for one in found.inputs)
    assert found.config == ()


# -- metrics ----------------------------------------------------------------------------------------------------------


def test_numbers_are_compared_wherever_they_stand(store: Store) -> None:
    old = {"accuracy": 0.5, "same": 1, "by": {"class": [1, 2, {"f1": 3}], "name": "text"}, "on": True}
    new = {"accuracy": 0.75, "same": 1.0, "by": {"class": [1, 4, {"f1": 5}], "name": "other"}, "on": False}
    assert metrics_of(store, json.dumps(old), json.dumps(new)) == {
        "accuracy": (0.5, 0.75),
        "by.class[1]": (2, 4),
        "by.class[2].f1": (3, 5),
    }


def test_a_metric_on_one_side_alone_has_nothing_on_the_other(store: Store) -> None:
    assert metrics_of(store, '{"a": 1}', '{"b": 0}') == {"a": (1, None), "b": (None, 0)}


def test_not_a_number_equals_itself_and_is_valid_json(store: Store) -> None:
    assert metrics_of(store, '{"a": NaN, "b": NaN}', '{"a": NaN, "b": 1}').keys() == {"b"}
    first, second = (
        realize(instantiate(measured, text=text)) for text in ('{"b": NaN, "c": 1}', '{"b": 1, "c": Infinity}')
    )
    document = plain(compared(store, first, second))
    assert json.loads(json.dumps(document, allow_nan=False))["metrics"] == [
        {"name": "b", "before": "NaN", "after": 1},
        {"name": "c", "before": 1, "after": "Infinity"},
    ]


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[1, 2", '"text"', "3", "null", "\udcff"])
def test_metrics_that_cannot_be_read_are_none(store: Store, text: str) -> None:
    first = realize(instantiate(measured, text='{"a": 1}'))
    rref = realize(instantiate(measured))
    path = store.path(parse_rref(rref)) / "metrics.json"
    os.chmod(path, 0o644)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert [(one.name, one.before, one.after) for one in compared(store, first, rref).metrics] == [("a", 1, None)]


def test_a_folder_in_place_of_metrics_is_none(store: Store) -> None:
    first, second = realize(instantiate(measured, text='{"a": 1}')), realize(instantiate(measured, as_folder=True))
    assert [one.name for one in compared(store, first, second).metrics] == ["a"]
    assert compared(store, first, second).files == (Changed("metrics.json", 8, None),)


# -- packages ---------------------------------------------------------------------------------------------------------


def test_packages_that_builds_ran_with_are_compared(store: Store) -> None:
    first, second = (realize(instantiate(toys.sample, constant=True, seed=seed)) for seed in (1, 2))
    for rref, packages in ((first, {"numpy": "1", "torch": "2"}), (second, {"numpy": "2", "official": "3"})):
        known = store.metadata(parse_rref(rref))
        assert known is not None
        build = dataclasses.replace(known.builds[0], environment={"packages": packages})
        store.layout.metadata_of(parse_rref(rref)).write_text(to_text(dataclasses.replace(known, builds=(build,))))
    found = compared(store, first, second)
    assert found.packages == (Changed("numpy", "1", "2"), Changed("torch", "2", None), Changed("official", None, "3"))


# -- code -------------------------------------------------------------------------------------------------------------


def edition(number: int) -> Any:
    """One of several editions of a stage."""
    if number == 1:

        @stage(toys.Text, name="edition")
        def one(build: Build, *, text: RefPath = output("text.txt")) -> None:
            build.path(text).write_text("some text")

        return one

    @stage(toys.Text, name="edition")
    def two(build: Build, *, text: RefPath = output("text.txt")) -> None:
        build.path(text).write_text("some " + "text")

    return two


def editions(store: Store, *codes: Code | None) -> Comparison:
    """Two realizations behind which there is this code."""
    rrefs = [realize(instantiate(edition(number))) for number in (1, 2)]
    for rref, code in zip(rrefs, codes, strict=True):
        ref = parse_rref(rref).derivation
        store.layout.code_of(ref).unlink(missing_ok=True)
        if code is not None:
            store.keep_code(ref, code)
    return compared(store, *rrefs)


def code_of(*units: Unit) -> Code:
    return Code("1:" + f"{abs(hash(units)):032x}", units, {}, ())


BODY = "def train(build):\n    one()\n    two()\n    three()\n    four()\n    five()\n"


def test_code_is_shown_as_a_diff_of_the_source_that_was_kept_with_the_lines_of_its_file(store: Store) -> None:
    old = code_of(
        Unit("train", "train.py", 11, BODY, "a" * 32), Unit("1:help", "help.py", 3, "def help(): ...", "b" * 32)
    )
    new = code_of(
        Unit("train", "train.py", 21, BODY.replace("four()", "vier()"), "c" * 32),
        Unit("1:help", "help.py", 3, "def help(): ...", "b" * 32),
    )
    found = editions(store, old, new)
    assert (found.code_known, found.code_differs) == (True, True)
    (unit,) = found.code
    assert (unit.name, unit.place) == ("train", "train.py:21")
    assert unit.lines == (
        "--- train.py",
        "+++ train.py",
        "@@ -13,4 +23,4 @@",
        "     two()",
        "     three()",
        "-    four()",
        "+    vier()",
        "     five()",
    )


def test_definitions_that_come_and_go_are_shown_whole(store: Store) -> None:
    train = Unit("train", "train.py", 11, BODY, "a" * 32)
    old = code_of(train, Unit("1:gone", "help.py", 3, "gone = 1", "b" * 32))
    new = code_of(train, Unit("1:come", "help.py", 7, "come = 1\ncome += 1", "c" * 32))
    come, gone = editions(store, old, new).code
    assert (come.name, come.place, come.lines) == (
        "come",
        "help.py:7",
        ("--- (none)", "+++ help.py", "@@ -0,0 +7,2 @@", "+come = 1", "+come += 1"),
    )
    assert (gone.name, gone.place, gone.lines) == (
        "gone",
        "help.py:3",
        ("--- help.py", "+++ (none)", "@@ -3 +0,0 @@", "-gone = 1"),
    )


@pytest.mark.parametrize("kept", [(False, False), (True, False), (False, True)])
def test_code_that_was_not_kept_differs_all_the_same(store: Store, kept: tuple[bool, bool]) -> None:
    known = code_of(Unit("train", "train.py", 11, BODY, "a" * 32))
    found = editions(store, *(known if one else None for one in kept))
    assert (found.code, found.code_known, found.code_differs) == ((), False, True)


def test_kept_code_is_that_of_the_stages(store: Store) -> None:
    first, second = (realize(instantiate(edition(number))) for number in (1, 2))
    (unit,) = compared(store, first, second).code
    assert unit.place.startswith(f"{__file__}:")
    assert '-        build.path(text).write_text("some text")'.replace("        ", "            ", 1) in unit.lines


# -- odd ones ---------------------------------------------------------------------------------------------------------


def test_realizations_of_two_stages_are_compared(store: Store) -> None:
    count = realize(instantiate(toys.all_counted))
    text = realize(instantiate(toys.text))
    found = compared(store, text, count)
    assert Changed("name", "text", "count") in found.config
    assert Changed("counts", None, "result/counts.json") in found.config
    assert Changed("content", "hello", None) in found.config
    assert [(one.name, one.before) for one in found.inputs] == [("upper", "")]
    assert {one.name for one in found.files} == {"text.txt", "result/counts.json"}
    assert json.loads(json.dumps(plain(found)))["config"]


def plain_text(content: str, note: str) -> Any:
    """A stage that was written for Pylightnix."""

    def config() -> plx.Config:
        return plx.mkconfig({"name": "plain", "content": content, "note": note})

    def build(b: plx.Build) -> None:
        Path(plx.build_outpath(b), "text.txt").write_text(content)
        Path(plx.build_outpath(b), "folder").mkdir()
        Path(plx.build_outpath(b), "folder", "empty").touch()

    return lambda r: plx.mkdrv(config(), plx.match_only(), plx.build_wrapper(build), r)


def test_what_pylightnix_built_is_compared_by_its_files(tmp_path: Path) -> None:
    storage = plain_storage(tmp_path)
    rrefs = [
        str(plx.realize1(plx.instantiate(plain_text(*of), S=storage))) for of in (("a", ""), ("a", "n"), ("b", ""))
    ]
    store = Store.open(read_settings({}, root=tmp_path), create=False)
    same, other = compared(store, rrefs[0], rrefs[1]), compared(store, rrefs[0], rrefs[2])
    assert same.same_contents
    assert (same.config, same.files) == ((Changed("note", "", "n"),), ())
    assert not other.same_contents
    assert (other.config, other.files) == ((Changed("content", "a", "b"),), (Changed("text.txt", 1, 1),))
    assert not other.code_differs
    assert other.packages == ()


def test_what_lost_its_record_is_compared_by_its_files(store: Store) -> None:
    first, second = (realize(instantiate(toys.all_counted, content)) for content in ("a", "b"))
    whole = compared(store, first, second)
    store.layout.metadata_of(parse_rref(first)).unlink()
    store.layout.metadata_of(parse_rref(second)).write_text("{")
    found = compared(store, first, second)
    assert (found.files, found.inputs, found.config) == (whole.files, whole.inputs, whole.config)


def test_what_is_not_there_is_an_error_on_either_side(store: Store) -> None:
    rref = realize(instantiate(toys.text))
    gone = f"rref:{'0' * 32}-{rref[38:]}"
    for pair in ((rref, gone), (gone, rref)):
        with pytest.raises(NotInStore, match="0000"):
            compared(store, *pair)
