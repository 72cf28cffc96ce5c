"""Why something is built: what differs from the nearest earlier realization of a stage of the same name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stagedml.core.plan import Cause
from stagedml.core.refs import DerivationRef, is_dref, parse_dref
from stagedml.store.objects import Store


class Explainer:
    """Compares a derivation with its namesakes in the store, which is listed once, when first asked."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._namesakes: dict[str, list[DerivationRef]] | None = None

    def first_build(self, ref: DerivationRef) -> tuple[Cause, str]:
        """The cause of building a derivation that has no realization, and the difference in a few words."""
        if self.store.is_quarantined(ref):
            return Cause.BYTES_MISSING, "what there was is in quarantine"
        config = self.store.config(ref)
        nearest: list[str] | None = None
        for other in self._namesakes_of(ref):
            found = differences(self.store.config(other), config)
            if (nearest is None or len(found) < len(nearest)) and self.store.realizations(other):
                nearest = found
        if not nearest:
            return Cause.FIRST_BUILD, "first build"
        if nearest == ["code"]:
            return Cause.CODE, "its code changed"
        inputs = [field for field in nearest if field.startswith("input ")]
        return (Cause.INPUT if len(inputs) == len(nearest) else Cause.CONFIG), ", ".join(nearest)

    def _namesakes_of(self, ref: DerivationRef) -> list[DerivationRef]:
        if self._namesakes is None:
            self._namesakes = {}
            for other in self.store.derivations():
                self._namesakes.setdefault(other.name, []).append(other)
        return [other for other in self._namesakes.get(ref.name, []) if other != ref]


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs between two configs, in a few words each; `code` for the fingerprint."""
    found = []
    for field in sorted({*before, *after}):
        old, new = before.get(field), after.get(field)
        if old == new:
            continue
        if field == "stagedml":
            found.append("code")
        elif isinstance(new, str) and is_dref(old) and is_dref(new):
            found.append(f"input {field}: another {parse_dref(new).name}")
        else:
            found.append(f"{field} {_short(old)} -> {_short(new)}")
    return found


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
