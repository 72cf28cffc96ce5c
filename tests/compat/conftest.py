"""Every test here runs twice: as whoever runs the tests, and as a user whom the kernel does not trust."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stagedml import instantiate, realize, using_store
from stagedml.settings import read_settings
from stagedml.store.objects import Store
from stagedml.testing import toys
from unprivileged import as_nobody

#: Calls a function with a folder of its own.
Act = Callable[[Callable[[Path], Any]], Any]


@pytest.fixture(scope="session", autouse=True)
def _modules_are_loaded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Load what a build loads when it runs: the interpreter's folder may be out of reach for an unprivileged user."""
    with using_store(Store.open(read_settings({}, root=tmp_path_factory.mktemp("warm")))):
        realize(instantiate(toys.all_counted))


@pytest.fixture(params=["oneself", pytest.param("nobody", marks=pytest.mark.unprivileged)])
def act(request: pytest.FixtureRequest, nobody_path: Path) -> Act:
    if request.param == "oneself":
        return lambda function: function(nobody_path)
    return lambda function: as_nobody(function, nobody_path)
