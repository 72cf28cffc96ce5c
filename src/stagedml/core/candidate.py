"""A realization, as those see it who choose among several."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Candidate(NamedTuple):
    """One realization, as a matcher sees it."""

    rref: str
    started: float  #: when it was last built, seconds since the epoch; 0 where unknown
    instances: tuple[int, ...]  #: the instances it stands for; () where it was not built by us
    metric: Callable[[str, str], float | None]  #: (file, key) -> the number, None where there is none
