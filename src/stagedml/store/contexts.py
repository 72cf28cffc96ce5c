"""The text of a context, and contexts that know theirs.

A realization at the end of a chain of a thousand stages has a context of a thousand entries, and those before it have
nearly as many. So that each is not put together anew, a context that grew out of another one keeps its entries as text.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence

from stagedml.store.objects import Context


class WrittenContext(dict[str, Sequence[str]]):
    """A context with its entries as text, in their order. Add to it with `put` alone."""

    entries: list[str]
    __slots__ = ("entries",)

    def __init__(self, context: Context | Iterable[tuple[str, Sequence[str]]] = ()) -> None:
        super().__init__(context)
        if isinstance(context, WrittenContext):
            known: list[str] = list(context.entries)
        else:
            known = sorted(_entry(dref, rrefs) for dref, rrefs in self.items())
        self.entries = known

    def put(self, dref: str, rrefs: Iterable[str]) -> None:
        """Let these realizations, and no others, stand for a derivation."""
        ordered = sorted(rrefs)
        if dref in self:
            if self[dref] == ordered:
                return
            self.entries.remove(_entry(dref, self[dref]))
        self[dref] = ordered
        insort(self.entries, _entry(dref, ordered))


def context_json(context: Context) -> str:
    """The exact text of a `context.json`, as Pylightnix writes it: as `json.dumps(..., indent=4, sort_keys=True)`."""
    entries = context.entries if isinstance(context, WrittenContext) else WrittenContext(context).entries
    return "{\n" + ",\n".join(entries) + "\n}" if entries else "{}"


def _entry(dref: str, rrefs: Sequence[str]) -> str:
    """One entry; sorted as texts they are sorted by derivation. References need no quoting."""
    if not rrefs:
        return f'    "{dref}": []'
    if len(rrefs) == 1:
        return f'    "{dref}": [\n        "{rrefs[0]}"\n    ]'
    inner = ",\n        ".join(f'"{rref}"' for rref in sorted(rrefs))
    return f'    "{dref}": [\n        {inner}\n    ]'
