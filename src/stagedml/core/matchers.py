"""Matchers: which realizations of a derivation stand for it.

A matcher is a value. It looks at the realizations that exist for one choice of inputs and either selects some of them
or says that it is not satisfied, and then `instances` tells which instances have to be there. It must depend on what it
is shown alone. Matchers are in no hash.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from stagedml.core.candidate import Candidate
from stagedml.errors import BuildError, UsageError


class MetricMissing(BuildError):
    """A matcher was to compare realizations by a metric that one of them does not have."""

    def __init__(self, rref: str, metric: str, file: str) -> None:
        super().__init__(rref, metric, file)
        self.rref, self.metric, self.file = rref, metric, file

    def __str__(self) -> str:
        return (
            f"{self.rref} has no number {self.metric!r} in its {self.file}: "
            f"let the builder write it there, or match by another metric"
        )


class Matcher(Protocol):
    """What the planner needs of a matcher."""

    @property
    def instances(self) -> int:
        """How many instances must exist for the matcher to be satisfied."""

    def lacking(self, candidates: Sequence[Candidate]) -> int:
        """How many more instances to build where it is not satisfied; 0 where building cannot help."""

    def select(self, candidates: Sequence[Candidate]) -> tuple[str, ...] | None:
        """The realizations that stand for the derivation, or None where more are needed."""


def coverage(candidates: Sequence[Candidate]) -> int:
    """How many instances exist. Deterministic instances may share a realization; a foreign one counts once."""
    known = {index for candidate in candidates for index in candidate.instances}
    return len(known) + sum(1 for candidate in candidates if not candidate.instances)


@dataclass(frozen=True, slots=True)
class Latest:
    """The `n` realizations that were built last."""

    n: int = 1

    def __post_init__(self) -> None:
        _require_positive("latest", "n", self.n)

    @property
    def instances(self) -> int:
        return self.n

    def lacking(self, candidates: Sequence[Candidate]) -> int:
        return self.n - coverage(candidates)

    def select(self, candidates: Sequence[Candidate]) -> tuple[str, ...] | None:
        if self.n == 1 == len(candidates):
            return (candidates[0].rref,)
        if coverage(candidates) < self.n:
            return None
        newest = sorted(candidates, key=lambda c: (c.started, c.rref), reverse=True)[: self.n]
        return tuple(sorted(candidate.rref for candidate in newest))


@dataclass(frozen=True, slots=True)
class Best:
    """The realization with the best metric, once `of` instances exist. Equal ones are told apart by reference.

    NaN, of a training that diverged, is worse than any number.
    """

    metric: str
    of: int = 1
    lowest: bool = False
    file: str = "metrics.json"

    def __post_init__(self) -> None:
        _require_positive("best", "of", self.of)
        _require_name("best", "metric", self.metric, "eval_accuracy")
        _require_name("best", "file", self.file, "metrics.json")
        if self.file.startswith("/") or ".." in self.file.split("/"):
            raise UsageError(f"best(file={self.file!r}): give a path relative to the realization, without `..`")

    @property
    def instances(self) -> int:
        return self.of

    def lacking(self, candidates: Sequence[Candidate]) -> int:
        return self.of - coverage(candidates)

    def select(self, candidates: Sequence[Candidate]) -> tuple[str, ...] | None:
        if coverage(candidates) < self.of:
            return None

        def rank(candidate: Candidate) -> tuple[float, str]:
            value = candidate.metric(self.file, self.metric)
            if value is None:
                raise MetricMissing(candidate.rref, self.metric, self.file)
            cost = math.inf if math.isnan(value) else value if self.lowest else -value
            return (cost, candidate.rref)

        return (min(candidates, key=rank).rref,)


@dataclass(frozen=True, slots=True)
class Exactly:
    """These realizations and no others; they are never built for the asking."""

    rrefs: tuple[str, ...]

    @property
    def instances(self) -> int:
        return 0

    def lacking(self, candidates: Sequence[Candidate]) -> int:
        return 0

    def select(self, candidates: Sequence[Candidate]) -> tuple[str, ...] | None:
        present = {candidate.rref for candidate in candidates}
        return tuple(sorted(self.rrefs)) if present.issuperset(self.rrefs) else None


@dataclass(frozen=True, slots=True)
class Every:
    """All realizations there are, at least one."""

    @property
    def instances(self) -> int:
        return 1

    def lacking(self, candidates: Sequence[Candidate]) -> int:
        return 1 - len(candidates)

    def select(self, candidates: Sequence[Candidate]) -> tuple[str, ...] | None:
        return tuple(sorted(candidate.rref for candidate in candidates)) or None


def _require_positive(matcher: str, argument: str, value: object) -> None:
    if type(value) is not int or value < 1:
        raise UsageError(f"{matcher}({argument}={value!r}): {argument} must be a whole number, at least 1")


def _require_name(matcher: str, argument: str, value: object, example: str) -> None:
    if not isinstance(value, str) or not value:
        raise UsageError(f"{matcher}({argument}={value!r}): {argument} must be a name, such as {example!r}")
