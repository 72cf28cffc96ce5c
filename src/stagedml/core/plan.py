"""The plan: for each derivation, whether what exists is reused or something is built, and why.

`decide` is pure and is asked twice for every derivation: when the plan is drawn, and again just before the derivation's
turn, so that what another process published meanwhile counts.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from stagedml.core.matchers import Candidate, Matcher


class Verdict(str, enum.Enum):
    """What will happen to a derivation."""

    REUSE = "reuse"
    BUILD = "build"
    DEPENDS = "depends"  #: an input is built first: reused if the input comes out as before, else built


class Cause(str, enum.Enum):
    """Why something is built."""

    FIRST_BUILD = "first build"
    INSTANCE_MISSING = "instance missing"
    FORCED = "forced"
    BYTES_MISSING = "bytes missing"
    CONFIG = "config"
    CODE = "code"
    INPUT = "input"
    MATCHER = "matcher"


@dataclass(frozen=True, slots=True)
class Decision:
    """`selected` stands for the derivation, or the instances in `build` have to be built first.

    Neither is there when the matcher is not satisfied and building cannot help.
    """

    selected: tuple[str, ...]
    build: tuple[int, ...]
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One derivation of a plan."""

    dref: str
    name: str
    verdict: Verdict
    cause: Cause | None
    detail: str  #: the cause in a few words, for people
    instances: tuple[int, ...]  #: what would be built
    rrefs: tuple[str, ...]  #: what is reused


@dataclass(frozen=True, slots=True)
class Plan:
    """What a realize would do, in the order in which it would do it."""

    steps: tuple[PlanStep, ...]
    targets: tuple[str, ...]

    @property
    def builds(self) -> tuple[PlanStep, ...]:
        """The steps that are not plain reuse."""
        return tuple(step for step in self.steps if step.verdict is not Verdict.REUSE)


def decide(
    matcher: Matcher,
    candidates: Sequence[Candidate],
    damaged: Collection[str],
    *,
    instances: int,
    forced: bool,
) -> Decision:
    """Reuse, or build which instances.

    Args:
        matcher: the derivation's.
        candidates: the realizations for the current inputs whose bytes are there.
        damaged: those whose bytes are not all there.
        instances: how many instances the caller wants besides what the matcher needs.
        forced: build even where reuse is possible.
    """
    have = {index for candidate in candidates for index in candidate.instances}
    if forced:
        return Decision((), tuple(range(max(matcher.instances, instances, 1))), Cause.FORCED)
    foreign = sum(1 for candidate in candidates if not candidate.instances)
    missing = [index for index in range(instances) if index not in have]
    missing = missing[foreign:]  # a realization without metadata stands for one instance, whichever
    selected = matcher.select(candidates)
    if selected is not None and not missing:
        return Decision(selected, ())
    if selected is None:
        lacking = matcher.lacking(candidates) - len(missing)
        unused = (index for index in itertools.count() if index not in have and index not in missing)
        missing += list(itertools.islice(unused, max(lacking, 0)))
    if not missing:
        return Decision((), (), Cause.MATCHER)
    cause = Cause.BYTES_MISSING if damaged else Cause.INSTANCE_MISSING if candidates else Cause.FIRST_BUILD
    return Decision((), tuple(missing), cause)
