"""A process that dies while it publishes leaves nothing or the whole, and is in nobody's way.

Every call that changes the file system is a point at which it dies, or is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pylightnix
import pytest

from faulting import faults
from format import independent_reader as reader
from stagedml import instantiate, mklens, realize, using_store
from stagedml.authoring.session import Storage
from stagedml.core.refs import parse_dref, parse_rref
from stagedml.settings import read_settings
from stagedml.store.objects import Store
from stagedml.store.verify import Kind, verify
from stagedml.testing import toys
from stagedml.testing.faults import Fault, count_calls, with_fault
from unprivileged import as_nobody


def opened(root: Path, *, durable: bool) -> Store:
    return Store.open(read_settings({"STAGEDML_DURABLE": str(int(durable))}, root=root))


def counted() -> toys.Count:
    return toys.count(source=toys.text(content="hello"))


def leftovers(store: Store) -> list[str]:
    """Everything that a quiet store does not have."""
    temporary = [*store.layout.storage.glob("*.tmp"), *store.layout.storage.glob("*/*.tmp")]
    beside = [*store.layout.scratch.iterdir(), *store.layout.metadata.rglob("*.tmp"), *store.layout.locks.iterdir()]
    return sorted(str(path.relative_to(store.layout.root)) for path in (*temporary, *beside))


def interrupted(root: Path, fault: Fault, *, durable: bool) -> Iterator[tuple[Store, str]]:
    """Stores in which a realize of `counted` met a fault at each of its calls, one store for each; and its result."""

    with using_store(opened(root / "reference", durable=durable)):
        realize(instantiate(toys.text, content="hello"))
        target = instantiate(counted)
        calls = count_calls(lambda: realize(target))
        expected = str(realize(instantiate(counted)))
    assert any(call.startswith("rename") for call in calls)
    assert any(call.startswith("syncfs") for call in calls) == durable
    for number, call in enumerate(calls):
        with using_store(opened(root / str(number), durable=durable)) as store:
            text = realize(instantiate(toys.text, content="hello"))
            target = instantiate(counted)
            outcome = with_fault(lambda target=target: realize(target), number, fault)  # type: ignore[misc]
            assert outcome.killed == (fault in (Fault.KILL_BEFORE, Fault.KILL_AFTER)), call
            if outcome.error is not None:
                assert {"StoreError", "BuildError"} & set(outcome.family), (call, outcome.error)
            assert reader.read_store(store.layout.storage).findings == [], call
            assert set(pylightnix.allrrefs(S=Storage.of(store))) <= {str(text), expected}, call
            yield store, expected


def check(root: Path, fault: Fault, durable: bool) -> None:
    seen = set()
    for store, expected in interrupted(root, fault, durable=durable):
        count = parse_rref(expected).derivation
        there = [str(rref) for rref in store.realizations(count)]
        seen.add(bool(there))
        assert there in ([], [expected])
        assert {finding.kind for finding in verify(store).findings} <= {Kind.ORPHAN}
        assert realize(instantiate(counted)) == expected
        assert mklens(expected).counts.l.val == 2.0
        assert verify(store).findings == ()
        if not there:
            assert leftovers(store) == []
    if fault is Fault.KILL_AFTER:
        assert seen == {True, False}


@pytest.mark.parametrize("fault", Fault)
def test_an_interrupted_publish_leaves_nothing_or_the_whole(tmp_path: Path, fault: Fault) -> None:
    check(tmp_path, fault, False)


@pytest.mark.parametrize("fault", faults(Fault.KILL_AFTER))
def test_an_interrupted_publish_of_a_durable_store_leaves_nothing_or_the_whole(tmp_path: Path, fault: Fault) -> None:
    check(tmp_path, fault, True)


@pytest.mark.unprivileged
@pytest.mark.parametrize("fault", faults(Fault.KILL_AFTER))
def test_an_interrupted_publish_is_in_no_unprivileged_users_way(nobody_path: Path, fault: Fault) -> None:
    as_nobody(check, nobody_path, fault, False)


def test_a_durable_publish_syncs_once_before_the_rename_and_the_folder_after_it(tmp_path: Path) -> None:
    with using_store(opened(tmp_path, durable=True)):
        target = instantiate(toys.text, content="hello")
        calls = count_calls(lambda: realize(target))
    (sync,) = [index for index, call in enumerate(calls) if call.startswith("syncfs")]
    (into_place,) = [index for index, call in enumerate(calls) if call.startswith("rename") and call.endswith(".tmp")]
    (folder,) = [index for index, call in enumerate(calls) if call.startswith("fsync")]
    assert sync < into_place < folder
    assert not any(call.startswith(("write", "chmod", "replace")) for call in calls[sync:into_place])


def test_a_killed_declaration_leaves_nothing_or_the_whole(store: Store) -> None:
    def declare() -> None:
        instantiate(toys.text, content="new")

    number = 0
    while with_fault(declare, number, Fault.KILL_BEFORE).killed:
        assert len(store.derivations()) <= 1
        assert reader.read_store(store.layout.storage).findings == []
        number += 1
    assert number >= 3
    assert parse_dref(instantiate(toys.text, content="new").result) in store.derivations()
    left = list(store.layout.scratch.iterdir())
    assert left
    for folder in left[1:]:
        os.utime(folder, (0, 0))
    Store.open(read_settings({}, root=store.layout.root))
    assert list(store.layout.scratch.iterdir()) == left[:1]  # what may still be in use is kept
    assert reader.read_store(store.layout.storage).findings == []
