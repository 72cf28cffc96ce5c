"""What is known of the code behind a stage: its fingerprint, the definitions it covers, and what it could not follow.

It is kept beside the realizations of a derivation, so that `why` and `diff` can name the line that changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Unit:
    """One definition that a builder reaches, or the builder itself.

    Attributes:
        name: as it enters the fingerprint, `2:helper`: the number of its module, none for the builder's own.
        file: where it stands; of a notebook cell, the name that IPython gives it.
        line: its first line, counted from 1.
        text: its source as written; of a live value, what stands for it.
        digest: of its normalised text, 32 hexadecimal digits.
    """

    name: str
    file: str
    line: int
    text: str
    digest: str


@dataclass(frozen=True, slots=True)
class Unfollowed:
    """A place where code reaches something that its source does not name."""

    file: str
    line: int
    what: str  #: such as `getattr(model, name)`

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"


@dataclass(frozen=True, slots=True)
class Code:
    """The code behind one stage.

    Attributes:
        digest: the code fingerprint, as it stands in configs.
        units: what it covers, the builder first, the others by name.
        packages: installed packages that it reaches, by name, with the version that counts.
        unfollowed: what it could not follow.
    """

    digest: str
    units: tuple[Unit, ...]
    packages: Mapping[str, str]
    unfollowed: tuple[Unfollowed, ...]

    def to_text(self) -> str:
        """Its JSON text."""
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True) + "\n"


def from_text(text: str) -> Code:
    """Read what `to_text` wrote. Raises ValueError where it is something else."""
    try:
        document = json.loads(text)
        if document.pop("format") != FORMAT:
            raise ValueError(f"format is not {FORMAT}")
        return Code(
            digest=str(document["digest"]),
            units=tuple(Unit(**unit) for unit in document["units"]),
            packages={str(name): str(version) for name, version in document["packages"].items()},
            unfollowed=tuple(Unfollowed(**place) for place in document["unfollowed"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
