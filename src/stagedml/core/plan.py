"""The plan: for each derivation, whether what exists is reused or adopted, or something is built, and why.

`decide` is pure and is asked twice for every derivation: when the plan is drawn, and again just before the derivation's
turn, so that what another process published meanwhile counts.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from stagedml.core.candidate import Candidate
from stagedml.core.matchers import Matcher
from stagedml.core.reasons import Cause, Reason


class Verdict(str, enum.Enum):
    """What will happen to a derivation."""

    REUSE = "reuse"
    ADOPT = "adopt"  #: what another derivation's builder made of the same bytes is linked
    BUILD = "build"
    DEPENDS = "depends"  #: an input is built first: reused or adopted if the input comes out as before, else built


@dataclass(frozen=True, slots=True)
class Decision:
    """`selected` stands for the derivation, or the instances in `build` have to be made first.

    Neither is there when the matcher is not satisfied and building cannot help.

    Attributes:
        adopt: those of the instances to be made that can be adopted, with the realization that they are taken from.
    """

    selected: tuple[str, ...]
    build: tuple[int, ...]
    cause: Cause | None = None
    adopt: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One derivation of a plan.

    Attributes:
        reasons: why what is there does not do, the one that counts most first; none for what is reused.
        since: the realization that it is compared with, the nearest earlier one of a stage of its name; "" if none.
        instances: what would be built or adopted.
        rrefs: what is reused; of an adoption, what is adopted.
        seconds: how long that will take, by what it took before; None where nothing tells.
    """

    dref: str
    name: str
    verdict: Verdict
    reasons: tuple[Reason, ...]
    since: str
    instances: tuple[int, ...]
    rrefs: tuple[str, ...]
    seconds: float | None = None

    @property
    def cause(self) -> Cause | None:
        """The kind of the reason that counts most."""
        return self.reasons[0].cause if self.reasons else None

    @property
    def detail(self) -> str:
        """The reasons in a few words, for people."""
        return ", ".join(map(str, self.reasons))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a realize would do, in the order in which it would do it."""

    steps: tuple[PlanStep, ...]
    targets: tuple[str, ...]

    @property
    def builds(self) -> tuple[PlanStep, ...]:
        """The steps that are not plain reuse."""
        return tuple(step for step in self.steps if step.verdict is not Verdict.REUSE)

    @property
    def seconds(self) -> float:
        """How long it will take at most, as far as that is known."""
        return sum(step.seconds or 0.0 for step in self.steps)


def decide(
    matcher: Matcher,
    candidates: Sequence[Candidate],
    damaged: Collection[str],
    *,
    instances: int,
    forced: bool,
    offered: Callable[[int], str | None] = lambda instance: None,
) -> Decision:
    """Reuse, or make which instances, and which of these by adoption.

    Args:
        matcher: the derivation's.
        candidates: the realizations for the current inputs whose bytes are there.
        damaged: those whose bytes are not all there.
        instances: how many instances the caller wants besides what the matcher needs.
        forced: build even where reuse is possible.
        offered: the realization of another derivation, or for other inputs, that an instance can be adopted from.
    """
    if forced:
        return Decision((), tuple(range(max(matcher.instances, instances, 1))), Cause.FORCED)
    selected = matcher.select(candidates)
    if selected is not None and not instances:
        return Decision(selected, ())
    have = {index for candidate in candidates for index in candidate.instances}
    foreign = sum(1 for candidate in candidates if not candidate.instances)
    missing = [index for index in range(instances) if index not in have]
    missing = missing[foreign:]  # a realization without metadata stands for one instance, whichever
    if selected is not None and not missing:
        return Decision(selected, ())
    if selected is None:
        lacking = matcher.lacking(candidates) - len(missing)
        unused = (index for index in itertools.count() if index not in have and index not in missing)
        missing += list(itertools.islice(unused, max(lacking, 0)))
    if not missing:
        return Decision((), (), Cause.MATCHER)
    cause = Cause.BYTES_MISSING if damaged else Cause.INSTANCE_MISSING if candidates else Cause.FIRST_BUILD
    adopt = tuple((index, source) for index in missing if (source := offered(index)) is not None)
    return Decision((), tuple(missing), cause, adopt)
