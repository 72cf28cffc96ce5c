"""The sum that a fetched file is promised to have.

Rules: a sum is parsed once, at the edge, and then passed as a value; what counts is always the sum of the bytes as they
lie on disk, never of what went over the wire.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from stagedml.errors import UsageError

Algorithm = Literal["sha256", "sha1"]

_HEX_DIGITS: Final[dict[Algorithm, int]] = {"sha256": 64, "sha1": 40}
_CHUNK_BYTES: Final = 1 << 20


class ChecksumNotUsable(UsageError):
    """A sum was not given, given twice, or is not a sum."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.reason}; give exactly one of sha256= (64 hex digits) and sha1= (40 hex digits)"


@dataclass(frozen=True)
class Checksum:
    """A promised sum: the algorithm and its lower-case hex digits."""

    algorithm: Algorithm
    digits: str

    @classmethod
    def given(cls, *, sha256: str | None = None, sha1: str | None = None) -> Checksum:
        """Parse the one sum that a caller gave.

        Raises:
            ChecksumNotUsable: none or both are given, or the one given has the wrong length or other digits than hex.
        """
        if (sha256 is None) == (sha1 is None):
            raise ChecksumNotUsable("no sum is given" if sha256 is None else "both sha256 and sha1 are given")
        algorithm: Algorithm = "sha256" if sha256 is not None else "sha1"
        text = sha256 if sha256 is not None else sha1
        digits = str(text).strip().lower()
        if not re.fullmatch(f"[0-9a-f]{{{_HEX_DIGITS[algorithm]}}}", digits):
            raise ChecksumNotUsable(f"{text!r} is not a {algorithm} sum")
        return cls(algorithm, digits)

    def of(self, path: Path) -> Checksum:
        """The sum of a file by the same algorithm, read in pieces."""
        digest = hashlib.new(self.algorithm, usedforsecurity=False)
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
        return Checksum(self.algorithm, digest.hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm} {self.digits}"
