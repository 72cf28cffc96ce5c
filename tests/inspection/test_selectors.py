"""Realizations as a person names them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from stagedml import Build, RefPath, Store, UsageError, instantiate, output, realize, realize_many, stage
from stagedml.core.refs import parse_rref
from stagedml.inspection.selectors import AmbiguousReference, find, find_all
from stagedml.store.objects import NotInStore
from stagedml.testing import toys


def found(store: Store, text: str) -> str:
    return str(find(store, text))


def test_a_name_stands_for_the_one_that_was_built_last_and_counts_back_from_there(store: Store) -> None:
    first, second, third = (realize(instantiate(toys.text, content=text)) for text in "abc")
    assert [found(store, text) for text in ("text", "text@latest", "text~0")] == [third] * 3
    assert [found(store, text) for text in ("text~1", "text~2")] == [second, first]
    with pytest.raises(NotInStore, match=r"text~3 is not in the store .*; there are 3, so text~2 is the first"):
        find(store, "text~3")


def test_the_start_of_a_name_will_do_where_it_is_the_start_of_one_alone(store: Store) -> None:
    rref = realize(instantiate(toys.all_counted))
    realize(instantiate(toys.sample))
    assert found(store, "cou") == rref
    assert found(store, "c~0") == rref
    realize(instantiate(toys.node, label="counter", inputs=[]))
    realize(instantiate(toys.node, label="couch", inputs=[]))
    with pytest.raises(AmbiguousReference, match=r"'node' stands for several stages; give more of it:\n  node-couch"):
        find(store, "node")


def test_a_name_in_full_is_not_the_start_of_another(store: Store) -> None:
    rref = realize(instantiate(toys.node, label="a", inputs=[]))
    realize(instantiate(toys.node, label="ab", inputs=[]))
    assert found(store, "node-a") == rref


def test_best_and_lowest_go_by_a_metric(store: Store) -> None:
    rrefs = realize_many(instantiate(toys.sample), instances=5)
    by_accuracy = sorted(rrefs, key=lambda rref: float((store.path(parse_rref(rref)) / "number.txt").read_text()))
    assert found(store, "sample@best") == found(store, "sample@best:accuracy") == by_accuracy[-1]
    assert found(store, "sample@lowest:loss") == by_accuracy[-1]
    assert found(store, "sample@lowest:accuracy") == by_accuracy[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sample@best:loss", "the best loss is the lowest: sample@lowest:loss"),
        ("sample@best:f1", "no sample has a number 'f1' in metrics.json; there are: accuracy, loss"),
        ("sample@lowest", "sample@lowest: say by which metric, as in sample@lowest:loss; there are: accuracy, loss"),
        ("text@best", "text@best: nothing is measured of text: its builder writes no numbers into metrics.json"),
        ("text@lowest:loss", "nothing is measured of text"),
        ("text@worst", "text@worst: after a name goes @latest, @best, @best:METRIC, @lowest:METRIC, or ~1"),
        ("text~x", "text~x: after a name goes @latest"),
        ("text@best:", "text@best:: after a name goes @latest"),
    ],
)
def test_what_says_too_little_is_told_what_to_say(store: Store, text: str, told: str) -> None:
    realize(instantiate(toys.sample))
    realize(instantiate(toys.text))
    with pytest.raises(UsageError, match=told):
        find(store, text)


@stage(toys.Sample, name="measured")
def measured(
    build: Build,
    *,
    metrics_found: dict[str, float | str],
    number: RefPath = output("number.txt"),
    metrics: RefPath = output("metrics.json"),
) -> None:
    """Metrics as they are given; "nan" is none."""
    build.path(number).write_text("")
    build.path(metrics).write_text(json.dumps({name: float(value) for name, value in metrics_found.items()}))


@pytest.mark.parametrize(
    ("metrics", "text", "told"),
    [
        ({"accuracy": "nan", "loss": 1.0}, "measured@best", "accuracy is NaN, not a number, in every metrics.json of"),
        (
            {"eval.loss": 1.0},
            "measured@best",
            "say by which metric, as in measured@lowest:eval.loss; there are: eval",
        ),
        ({"perplexity": 1.0}, "measured@best", "say by which metric, as in measured@best:perplexity; there are: perp"),
        ({"f1": 1.0}, "measured@lowest", "say by which metric, as in measured@lowest:f1; there are: f1"),
    ],
)
def test_what_cannot_be_ranked_is_told_why(store: Store, metrics: dict[str, float | str], text: str, told: str) -> None:
    realize(instantiate(measured, metrics_found=metrics))
    with pytest.raises(UsageError, match=told):
        find(store, text)


@pytest.mark.parametrize(
    "text", ["gone", "ab", "", "gone@best", "gone~1", "12ab45", "rref:12ab45", "rref:1", "dref:12ab45", "no/such@path"]
)
def test_what_is_not_there_is_said_not_to_be(store: Store, text: str) -> None:
    realize(instantiate(toys.text))
    with pytest.raises(NotInStore):
        find(store, text)


def test_too_little_of_a_hash_is_told(store: Store) -> None:
    for text in ("ab", "rref:ab", "dref:ab", ""):
        with pytest.raises(NotInStore, match="of a hash, give at least 4 characters"):
            find(store, text)


def test_a_misspelt_name_is_told_with_what_may_be_meant(store: Store) -> None:
    realize(instantiate(toys.all_counted))
    with pytest.raises(NotInStore, match="did you mean count"):
        find(store, "cuont")


def test_hashes_may_be_abbreviated(store: Store) -> None:
    rref = realize(instantiate(toys.text))
    ref = parse_rref(rref)
    for text in (
        ref.rhash[:6],
        f"rref:{ref.rhash[:6]}",
        f"{ref.rhash[:5]}-{ref.dhash[:3]}",
        f"rref:{ref.rhash[:5]}-{ref.dhash[:3]}-te",
        f"rref:{ref.rhash[:5]}-text",
        f"rref:{ref.rhash}-{ref.folder}",
    ):
        assert found(store, text) == rref


def test_hashes_of_derivations_may_be_abbreviated(store: Store) -> None:
    rref = realize(instantiate(toys.text))
    realize(instantiate(toys.text, content="other"))
    ref = parse_rref(rref).derivation
    for text in (str(ref), f"dref:{ref.dhash}", f"dref:{ref.dhash[:4]}", f"dref:{ref.dhash[:6]}-text", f"{ref}~0"):
        assert found(store, text) == rref
    with pytest.raises(NotInStore):
        find(store, f"dref:{ref.dhash[:6]}-other")
    with pytest.raises(NotInStore, match="there is but one"):
        find(store, f"dref:{ref.dhash[:4]}~1")


def test_a_hash_that_several_derivations_begin_with_is_refused_with_all_of_them(store: Store) -> None:
    drefs: list[str] = []
    while len({dref[5:9] for dref in drefs}) == len(drefs):  # a few hundred, as birthdays go
        drefs.append(str(instantiate(toys.text, content=str(len(drefs))).result))
    twins = sorted(dref for dref in drefs if dref[5:9] == drefs[-1][5:9])
    for dref in twins:
        realize(instantiate(toys.text, content=str(drefs.index(dref))))
    with pytest.raises(AmbiguousReference, match="stands for several derivations") as raised:
        find(store, drefs[-1][:9])
    assert list(raised.value.found) == twins


def test_a_path_or_a_link_stands_for_what_it_leads_into(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rref = realize(instantiate(toys.all_counted), link="mrpc/first")
    realize(instantiate(toys.all_counted, "newer"))
    (tmp_path / "here").symlink_to(store.path(parse_rref(rref)))
    monkeypatch.chdir(tmp_path)
    inside = store.path(parse_rref(rref)) / "result" / "counts.json"
    for text in ("mrpc/first", "./here", "here", str(tmp_path / "here"), str(inside), os.path.relpath(inside)):
        assert found(store, text) == rref


def test_several_are_meant_by_a_name_a_pattern_or_one_after_the_other(store: Store) -> None:
    one, two = (realize(instantiate(toys.text, content=text)) for text in "ab")
    number = realize(instantiate(toys.sample))
    assert list(map(str, find_all(store, ["text"]))) == [one, two]
    assert list(map(str, find_all(store, ["t*", "sample", "text"]))) == [one, two, number]
    assert list(map(str, find_all(store, ["text~1"]))) == [one]
    assert find_all(store, []) == []
    with pytest.raises(NotInStore):
        find_all(store, ["zzzz*"])
