"""References to derivations and realizations, read from and written to text.

A derivation is spelt `dref:<dhash>-<name>`, a realization `rref:<rhash>-<dhash>-<name>`, as in Pylightnix: both hashes
are 32 hexadecimal digits, names are made of letters, digits, `_` and `-`. Below `authoring` a reference is a plain
string that was checked here once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from stagedml.errors import UsageError

LONGEST_NAME = 200
_HASH = r"[0-9a-f]{32}"
_NAME = r"[a-zA-Z0-9_-]+"
_DREF = re.compile(rf"dref:({_HASH})-({_NAME})\Z")
_RREF = re.compile(rf"rref:({_HASH})-({_HASH})-({_NAME})\Z")
_FOLDER = re.compile(rf"({_HASH})-({_NAME})\Z")
_RHASH = re.compile(rf"{_HASH}\Z")
_VALID_NAME = re.compile(rf"{_NAME}\Z")


class InvalidReference(UsageError):
    """A text that was given as a reference is not one."""

    def __init__(self, text: str, wanted: str) -> None:
        super().__init__(text, wanted)
        self.text, self.wanted = text, wanted

    def __str__(self) -> str:
        return f"{self.text!r} is not a reference: expected {self.wanted}"


@dataclass(frozen=True, slots=True)
class DerivationRef:
    """The parts of a `dref:`."""

    dhash: str
    name: str

    @property
    def folder(self) -> str:
        """The derivation's folder inside the storage."""
        return f"{self.dhash}-{self.name}"

    def __str__(self) -> str:
        return f"dref:{self.dhash}-{self.name}"


@dataclass(frozen=True, slots=True)
class RealizationRef:
    """The parts of an `rref:`."""

    rhash: str
    dhash: str
    name: str

    @property
    def folder(self) -> str:
        """The folder of the realization's derivation inside the storage."""
        return f"{self.dhash}-{self.name}"

    @property
    def derivation(self) -> DerivationRef:
        return DerivationRef(self.dhash, self.name)

    def __str__(self) -> str:
        return f"rref:{self.rhash}-{self.dhash}-{self.name}"


def parse_dref(text: str) -> DerivationRef:
    """Read a derivation reference. Raises InvalidReference."""
    given: object = text  # whoever checks no types passes other things, too
    match = _DREF.match(given) if isinstance(given, str) else None
    if match is None:
        raise InvalidReference(str(text), "dref:<32 hex digits>-<name>")
    return DerivationRef(match[1], match[2])


def parse_rref(text: str) -> RealizationRef:
    """Read a realization reference. Raises InvalidReference."""
    given: object = text
    match = _RREF.match(given) if isinstance(given, str) else None
    if match is None:
        raise InvalidReference(str(text), "rref:<32 hex digits>-<32 hex digits>-<name>")
    return RealizationRef(match[1], match[2], match[3])


def parse_folder(folder: str) -> DerivationRef | None:
    """The derivation that a folder name of the storage stands for; None for anything else (a `.tmp`, a stray file)."""
    match = _FOLDER.match(folder)
    return DerivationRef(match[1], match[2]) if match else None


def is_folder(name: str) -> bool:
    """Whether a name in the storage can be a derivation's."""
    return _FOLDER.match(name) is not None


def is_dref(text: object) -> bool:
    return isinstance(text, str) and _DREF.match(text) is not None


def is_rref(text: object) -> bool:
    return isinstance(text, str) and _RREF.match(text) is not None


def is_rhash(text: str) -> bool:
    """Whether a folder name inside a derivation's folder can be a realization's."""
    return _RHASH.match(text) is not None


def is_valid_name(text: str) -> bool:
    """Whether a derivation can have this name; a longer one would not fit into the names of files."""
    return len(text) <= LONGEST_NAME and _VALID_NAME.match(text) is not None


def dref_of(rref: str) -> str:
    """The derivation that a realization belongs to."""
    return str(parse_rref(rref).derivation)
