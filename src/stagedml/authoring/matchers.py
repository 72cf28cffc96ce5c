"""Matchers as the author of a stage writes them: values that Pylightnix can call, too."""

from __future__ import annotations

from dataclasses import dataclass

from stagedml.authoring.pylightnix import RRef, StorageSettings
from stagedml.authoring.session import store_of
from stagedml.core import matchers as rules
from stagedml.core.refs import parse_rref
from stagedml.errors import UsageError


@dataclass(frozen=True, slots=True)
class StageMatcher:
    """A matcher rule, callable with Pylightnix's signature."""

    rule: rules.Matcher

    def __call__(self, S: StorageSettings | None, rrefs: list[RRef]) -> list[RRef] | None:
        store = store_of(S)
        references = [parse_rref(rref) for rref in rrefs]
        selected = self.rule.select([store.candidate(ref, store.metadata(ref)) for ref in references])
        return None if selected is None else [RRef(rref) for rref in selected]


def latest(n: int = 1) -> StageMatcher:
    """The `n` realizations that were built last; `n` instances must exist."""
    return StageMatcher(rules.Latest(n))


def best(metric: str, of: int = 1, *, lowest: bool = False, file: str = "metrics.json") -> StageMatcher:
    """The realization with the highest (or lowest) value of a metric, once `of` instances exist.

    Args:
        metric: a key of the JSON object in `file`; take one that was measured on held-out data, not on the test split.
        of: how many instances must exist before one is chosen.
        lowest: take the lowest value, as for a loss.
        file: the artifact that holds the metrics, relative to the realization.
    """
    return StageMatcher(rules.Best(metric, of, lowest, file))


def exactly(*rrefs: str) -> StageMatcher:
    """These realizations, which must be in the store. Raises UsageError if none is given."""
    if not rrefs:
        raise UsageError("exactly(): give at least one rref")
    for rref in rrefs:
        parse_rref(rref)
    return StageMatcher(rules.Exactly(tuple(str(rref) for rref in rrefs)))


def every() -> StageMatcher:
    """All realizations there are, at least one."""
    return StageMatcher(rules.Every())
