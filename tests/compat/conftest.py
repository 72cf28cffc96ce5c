"""Every test here runs twice: as whoever runs the tests, and as a user whom the kernel does not trust."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unprivileged import as_nobody

#: Calls a function with a folder of its own.
Act = Callable[[Callable[[Path], Any]], Any]


@pytest.fixture(params=["oneself", pytest.param("nobody", marks=pytest.mark.unprivileged)])
def act(request: pytest.FixtureRequest, nobody_path: Path) -> Act:
    if request.param == "oneself":
        return lambda function: function(nobody_path)
    return lambda function: as_nobody(function, nobody_path)
