"""A process that is killed while publishing leaves nothing or the whole, and is in nobody's way."""

from __future__ import annotations

import os
from pathlib import Path

import pylightnix
import pytest

from format import independent_reader as reader
from stagedml import instantiate, mklens, realize, using_store
from stagedml.authoring.session import Storage
from stagedml.core.refs import parse_dref
from stagedml.settings import read_settings
from stagedml.store.objects import Store
from stagedml.testing import toys
from store.crashing import POINTS, crash_at, killed
from unprivileged import as_nobody


def leftovers(store: Store) -> list[str]:
    """Everything that a quiet store does not have."""
    temporary = list(store.layout.storage.glob("*/*.tmp"))
    beside = [*store.layout.scratch.iterdir(), *store.layout.metadata.rglob("*.tmp")]
    return sorted(str(path.relative_to(store.layout.root)) for path in (*temporary, *beside))


def crash(point: str) -> None:
    target = instantiate(counted)
    crash_at(point)
    realize(target)


def counted() -> toys.Count:
    return toys.count(source=toys.text(content="hello"))


def check(root: Path, point: str) -> None:
    with using_store(Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=root / "reference"))):
        expected = realize(instantiate(counted))
    with using_store(Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=root / "store"))) as store:
        text = realize(instantiate(toys.text, content="hello"))
        count = parse_dref(instantiate(counted).result)
        left = []
        for _ in range(2):
            if store.realizations(count):
                break
            assert killed(lambda: crash(point))
            assert reader.read_store(store.layout.storage).findings == []
            assert [str(rref) for rref in store.realizations(count)] in ([], [expected])
            assert set(pylightnix.allrrefs(S=Storage.of(store))) <= {text, expected}
            left.append(leftovers(store))
        assert all(len(names) <= 2 for names in left)
        assert len(left[-1]) == len(left[0])  # nothing grows
        assert bool(store.realizations(count)) == (point == "after the rename")
        assert realize(instantiate(counted)) == expected
        assert mklens(expected).counts.l.val == 2.0
        assert reader.read_store(store.layout.storage).findings == []
        if point != "after the rename":
            assert leftovers(store) == []
            assert list(store.layout.locks.iterdir()) == []


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_publish_leaves_nothing_or_the_whole(tmp_path: Path, point: str) -> None:
    check(tmp_path, point)


@pytest.mark.unprivileged
@pytest.mark.parametrize("point", POINTS)
def test_a_killed_publish_is_in_no_unprivileged_users_way(nobody_path: Path, point: str) -> None:
    as_nobody(check, nobody_path, point)


def test_a_killed_declaration_leaves_nothing_or_the_whole(store: Store) -> None:
    def declare() -> None:
        crash_at("amid the config")
        instantiate(toys.text, content="new")

    for _ in range(3):
        assert killed(declare)
        assert store.derivations() == []
        assert reader.read_store(store.layout.storage).findings == []
    realize(instantiate(toys.text, content="new"))
    left = list(store.layout.scratch.iterdir())
    assert len(left) == 3
    for folder in left[:2]:
        os.utime(folder, (0, 0))
    Store.open(read_settings({}, root=store.layout.root))
    assert list(store.layout.scratch.iterdir()) == left[2:]  # what may still be in use is kept
    assert reader.read_store(store.layout.storage).findings == []
