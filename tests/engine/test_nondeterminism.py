"""The toy stages that do not repeat differ as they should: each built in two stores, which are then compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.nondeterminism import EXPECTED
from stagedml import instantiate, realize, using_store
from stagedml.core.refs import parse_rref
from stagedml.ml.compare import compare_trees
from stagedml.ml.sameness import Sameness, ValueDiffers
from stagedml.settings import read_settings
from stagedml.store.layout import CONTEXT_FILE, UNHASHED
from stagedml.store.objects import Store


@pytest.mark.parametrize("name", EXPECTED)
def test_two_builds_of_a_toy_stage_differ_as_they_should(name: str, tmp_path: Path) -> None:
    expected = EXPECTED[name]
    trees, references = [], []
    for side in ("one", "two"):
        with using_store(Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=tmp_path / side))) as store:
            rref = realize(instantiate(expected.declare))
            trees.append(store.path(parse_rref(rref)))
            references.append(str(rref))
    assert parse_rref(references[0]).name == name
    found = compare_trees(*trees, left_out=UNHASHED | {CONTEXT_FILE})
    assert (found.sameness, found.first.path if found.first else "") == (expected.sameness, expected.file)
    assert (found.epoch.epoch if found.epoch else None) == expected.epoch
    if expected.place:
        assert found.first is not None
        assert isinstance(found.first.place, ValueDiffers)
        assert found.first.place.place == expected.place
    assert (references[0] == references[1]) == (found.sameness is Sameness.IDENTICAL)
    assert compare_trees(*reversed(trees), left_out=UNHASHED | {CONTEXT_FILE}).sameness == found.sameness
