"""The libraries that pictures need, imported when one is drawn."""

from __future__ import annotations

import importlib
from typing import Any

from stagedml.errors import UsageError


class LibraryMissing(UsageError):
    """A library that a picture needs is not installed."""

    def __init__(self, package: str, purpose: str) -> None:
        super().__init__(package, purpose)
        self.package, self.purpose = package, purpose

    def __str__(self) -> str:
        return f"{self.package} is not installed, and {self.purpose} needs it: pip install 'stagedml[plot]'"


def imported(module: str, purpose: str) -> Any:
    """A module of a library of the extra `plot`. Raises LibraryMissing."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise  # the library is there, and what it needs itself is not
        raise LibraryMissing(package, purpose) from None
