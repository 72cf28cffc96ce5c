"""A store of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from authoring.workshop import Workshop
from stagedml import Store, using_store
from stagedml.settings import read_settings


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store, current while the test runs."""
    with using_store(Store.open(read_settings({}, root=tmp_path / "store"))) as opened:
        yield opened


@pytest.fixture
def second_store(tmp_path: Path) -> Store:
    """Another empty store, which is not the current one."""
    return Store.open(read_settings({}, root=tmp_path / "second"))


@pytest.fixture(scope="session")
def workshop() -> Iterator[Workshop]:
    """A Python in which experiments with source code run, each in a process of its own."""
    opened = Workshop(PYTHONHASHSEED="1")
    yield opened
    opened.close()
