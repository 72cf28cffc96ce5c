"""The code behind derivations is kept beside them, once for all that share it, and goes with the last of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagedml import instantiate, realize, using_store
from stagedml.core import code
from stagedml.core.code import Code, Unfollowed, Unit
from stagedml.core.refs import DerivationRef, parse_rref
from stagedml.settings import read_settings
from stagedml.store.archive import copy
from stagedml.store.collect import collect
from stagedml.store.gc import Policy, plan_gc
from stagedml.store.objects import Store
from stagedml.store.verify import verify
from stagedml.testing import toys

KNOWN = Code(
    digest="1:" + "0" * 32,
    units=(Unit("train", "train.py", 3, "def train(build): ...", "a" * 32),),
    packages={"numpy": "2.1"},
    unfollowed=(Unfollowed("train.py", 4, "getattr(model, name)"),),
)
FIRST, SECOND = (DerivationRef(digit * 32, "train") for digit in "12")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=tmp_path))


def test_code_survives_being_written_and_read() -> None:
    assert code.from_text(KNOWN.to_text()) == KNOWN


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "digest": "1:0"}'])
def test_something_else_is_no_code(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        code.from_text(text)


def test_derivations_share_equal_code(store: Store) -> None:
    for ref in (FIRST, SECOND, FIRST):
        store.keep_code(ref, KNOWN)
    assert store.code(FIRST) == store.code(SECOND) == KNOWN
    assert store.layout.code_of(FIRST).samefile(store.layout.code_of(SECOND))


def test_damaged_code_is_as_good_as_none(store: Store) -> None:
    store.keep_code(FIRST, KNOWN)
    store.layout.code_of(FIRST).chmod(0o644)
    store.layout.code_of(FIRST).write_text("{")
    assert store.code(FIRST) is None


def test_code_goes_with_the_last_derivation_that_has_it(store: Store) -> None:
    for ref in (FIRST, SECOND):
        store.keep_code(ref, KNOWN)
    shared = next(store.layout.all_code.iterdir())
    store.layout.code_of(FIRST).unlink()
    collect(store, plan_gc(store, Policy(grace_s=0)))
    assert not store.layout.code_of(SECOND).exists()  # of no derivation that is there
    collect(store, plan_gc(store, Policy(grace_s=0)))
    assert not shared.exists()
    assert verify(store).findings == ()


def test_code_is_copied_to_another_store(store: Store, tmp_path: Path) -> None:
    with using_store(store):
        rref = parse_rref(realize(instantiate(toys.all_counted)))
    other = Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=tmp_path / "other"))
    copy(store, other, [rref])
    assert other.code(rref.derivation) == store.code(rref.derivation) is not None
