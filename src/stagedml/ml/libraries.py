"""The libraries that not everybody needs, imported when they are used."""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Iterator
from typing import Any

from stagedml.errors import UsageError


class LibraryMissing(UsageError):
    """A library that is not needed by all is not installed."""

    def __init__(self, package: str, purpose: str, extra: str = "plot") -> None:
        super().__init__(package, purpose, extra)
        self.package, self.purpose, self.extra = package, purpose, extra

    def __str__(self) -> str:
        return f"{self.package} is not installed, and {self.purpose} needs it: pip install 'stagedml[{self.extra}]'"


@contextlib.contextmanager
def importing(package: str, purpose: str, extra: str = "plot") -> Iterator[None]:
    """Import a library that an extra brings inside the block. Raises LibraryMissing.

    What it warns of while it is imported, such as which protobuf it was made with, nobody here can act upon.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package:
            raise  # the library is there, and what it needs itself is not
        raise LibraryMissing(package, purpose, extra) from None


def imported(module: str, purpose: str, extra: str = "plot") -> Any:
    """A module of such a library. Raises LibraryMissing."""
    with importing(module.partition(".")[0], purpose, extra):
        return importlib.import_module(module)
