"""The code behind one builder, as it was when its stage was declared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stagedml.authoring.walk import Found, walk
from stagedml.core import fingerprint
from stagedml.core.code import Code


def fingerprint_of(builder: Callable[..., Any]) -> str:
    """The code fingerprint of a builder, as it stands in the config of its stage. Raises what `walk` raises."""
    return Fingerprinted(builder).code.digest


class Fingerprinted:
    """What is known of the code of a builder.

    Attributes:
        code: the fingerprint, what it covers, and what could not be followed.
    """

    def __init__(self, builder: Callable[..., Any]) -> None:
        found: Found = walk(builder)
        self.code = Code(
            digest=fingerprint.digest(found.builder, found.reached),
            units=found.units,
            packages={},
            unfollowed=found.unfollowed,
        )
