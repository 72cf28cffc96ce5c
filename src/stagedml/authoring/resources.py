"""What a build may use of the machine. It is in no hash."""

from __future__ import annotations

import re
from dataclasses import dataclass

from stagedml.errors import UsageError

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:I?B)?\s*\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Resources:
    """What a stage needs to be built, and what ends its build.

    Builds in processes of their own (`realize(..., jobs=2)`) are begun while the machine has what they declare, and
    ended when they take more; a build in the calling process (`jobs=1`) is not looked after.

    Attributes:
        cpus: cores it keeps busy, to which it is not held; None: nobody counts them.
        memory: bytes its processes together may hold, or a text such as `"4G"`; None: what the machine has.
        gpus: how many it is given, by `CUDA_VISIBLE_DEVICES`; 0: it sees none. None: it sees all there are, and
            nobody counts them.
        timeout_s: seconds it may take; None for ever.
    """

    cpus: float | None = None
    memory: int | str | None = None
    gpus: int | None = None
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.cpus is not None and (not _is_number(self.cpus) or self.cpus < 0):
            problems.append(f"cpus={self.cpus!r}: a number of cores, such as 2")
        if self.gpus is not None and (type(self.gpus) is not int or self.gpus < 0):
            problems.append(f"gpus={self.gpus!r}: a whole number, 0 for none")
        if self.timeout_s is not None and (not _is_number(self.timeout_s) or self.timeout_s <= 0):
            problems.append(f"timeout_s={self.timeout_s!r}: a number of seconds, such as 3600")
        if self.memory is not None and _bytes(self.memory) is None:
            problems.append(f"memory={self.memory!r}: bytes, or a text such as '4G'")
        if problems:
            raise UsageError("Resources: " + "; ".join(problems))

    @property
    def memory_bytes(self) -> int | None:
        """The limit of memory in bytes."""
        return None if self.memory is None else _bytes(self.memory)


def _bytes(size: object) -> int | None:
    if type(size) is int:
        return size if size > 0 else None
    match = _SIZE.match(size) if isinstance(size, str) else None
    return int(float(match[1]) * _UNITS[match[2].upper()]) or None if match else None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value  # and no NaN
