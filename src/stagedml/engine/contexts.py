"""The contexts of what a run builds: everything that a realization rests on, kept as long as something needs it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from stagedml.core.refs import parse_rref
from stagedml.engine.nodes import Node
from stagedml.store.objects import Store


class Contexts:
    """Contexts by realization, each until the last of its consumers has had its turn."""

    def __init__(self, store: Store, nodes: Iterable[Node]) -> None:
        self._store = store
        self._consumers = Counter(dref for node in nodes for dref in node.inputs)
        self._known: dict[str, Mapping[str, Sequence[str]]] = {}

    def of(self, inputs: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
        """Everything that a realization with these direct inputs rests on. Raises NotInStore, DamagedFile."""
        context: dict[str, list[str]] = {}
        for dref, rrefs in inputs.items():
            for rref in rrefs:
                theirs = self._known.get(rref)
                if theirs is None:
                    theirs = self._known[rref] = self._store.context(parse_rref(rref))
                if not context:
                    context = dict(theirs)  # type: ignore[arg-type]  # the lists in it are shared, and never changed
                    continue
                for other, others in theirs.items():
                    mine = context.get(other)
                    if mine is None or mine != others:
                        context[other] = sorted({*(mine or ()), *others})
            context[dref] = sorted(rrefs)
        return context

    def add(self, rref: str, context: Mapping[str, Sequence[str]]) -> None:
        """Keep the context of a realization that was just published, if something rests on it."""
        if self._consumers[f"dref:{rref[38:]}"]:
            self._known[rref] = context

    def used(self, node: Node, chosen: Mapping[str, tuple[str, ...]]) -> None:
        """A derivation had its turn; `chosen` stands for its inputs."""
        for dref in node.inputs:
            self._consumers[dref] -= 1
            if not self._consumers[dref]:
                for rref in chosen[dref]:
                    self._known.pop(rref, None)
