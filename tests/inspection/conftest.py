"""A store of one's own for each test, current while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedml import using_store
from stagedml.settings import read_settings
from stagedml.store.objects import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with using_store(Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=tmp_path / "root"))) as store:
        yield store
