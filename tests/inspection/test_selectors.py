"""Realizations as a person names them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stagedml import Store, UsageError, instantiate, realize, realize_many
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
    with pytest.raises(UsageError, match="text~3: there are 3, so text~2 is the first"):
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
        ("text@best", "say by which metric, as in text@best:accuracy; there are none"),
        ("ab", "'ab' is no stage in the store; of a hash, give at least 4 characters"),
        ("", "'' is no stage in the store"),
    ],
)
def test_what_says_too_little_is_told_what_to_say(store: Store, text: str, told: str) -> None:
    realize(instantiate(toys.sample))
    realize(instantiate(toys.text))
    with pytest.raises(UsageError, match=told):
        find(store, text)


@pytest.mark.parametrize("text", ["gone", "gone@best", "gone~1", "12ab45", "rref:12ab45", "no/such/path", "text@worst"])
def test_what_is_not_there_is_said_not_to_be(store: Store, text: str) -> None:
    realize(instantiate(toys.text))
    with pytest.raises(NotInStore):
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
        f"rref:{ref.rhash}-{ref.folder}",
    ):
        assert found(store, text) == rref
    assert found(store, str(ref.derivation)) == rref


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
