"""The contexts of what a run builds: everything that a realization rests on, kept as long as something needs it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from stagedml.core.refs import parse_rref
from stagedml.engine.nodes import Node
from stagedml.store.contexts import WrittenContext
from stagedml.store.objects import Store


class Contexts:
    """Contexts by realization, each until the last of its consumers has had its turn."""

    def __init__(self, store: Store, nodes: Iterable[Node]) -> None:
        self._store = store
        self._consumers = Counter(dref for node in nodes for dref in node.inputs)
        self._known: dict[str, WrittenContext] = {}

    def of(self, inputs: Mapping[str, tuple[str, ...]]) -> WrittenContext:
        """Everything that a realization with these direct inputs rests on. Raises NotInStore, DamagedFile."""
        context: WrittenContext | None = None
        for dref, rrefs in inputs.items():
            for rref in rrefs:
                theirs = self._known.get(rref)
                if theirs is None:
                    theirs = self._known[rref] = WrittenContext(self._store.context(parse_rref(rref)))
                if context is None:
                    context = WrittenContext(theirs)
                    continue
                for other, others in theirs.items():
                    context.put(other, {*context.get(other, ()), *others})
            context = context or WrittenContext()
            context.put(dref, rrefs)
        return context or WrittenContext()

    def add(self, rref: str, context: WrittenContext) -> None:
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
