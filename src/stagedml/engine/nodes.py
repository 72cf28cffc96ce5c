"""The derivations of a closure as the engine plans and builds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stagedml.authoring.pylightnix import Derivation, RRef, StorageSettings
from stagedml.authoring.resources import Resources
from stagedml.authoring.stage import OwnRealizer, StageRealizer
from stagedml.core.candidate import Candidate
from stagedml.core.code import Code
from stagedml.core.matchers import Matcher
from stagedml.core.refs import DerivationRef


@dataclass(frozen=True)
class ForeignMatcher:
    """A matcher written for Pylightnix. It cannot say what it lacks, so as there, one more build is tried."""

    function: Callable[[StorageSettings | None, list[RRef]], list[RRef] | None]
    storage: StorageSettings
    instances: int = 1

    def __repr__(self) -> str:
        return f"{self.function.__module__}.{self.function.__qualname__}"

    def lacking(self, candidates: Sequence[Candidate]) -> int:
        return 1

    def select(self, candidates: Sequence[Candidate]) -> tuple[str, ...] | None:
        selected = self.function(self.storage, [RRef(candidate.rref) for candidate in candidates])
        return None if selected is None else tuple(str(rref) for rref in selected)


@dataclass(slots=True)
class Node:
    """One derivation of a closure, ready to be planned."""

    ref: DerivationRef
    dref: str  #: the same as text
    derivation: Derivation
    inputs: tuple[str, ...]
    outputs: tuple[tuple[str, bool], ...]
    matcher: Matcher
    forced: bool = False
    instances: int = 0  #: how many the caller wants
    by_hand: bool = False  #: whether a person may take over its builds

    @property
    def exec_values(self) -> Mapping[str, Any]:
        """The Exec values that its declaration gives."""
        realizer = self.derivation.realizer
        return realizer.declaration.exec_values if isinstance(realizer, StageRealizer) else {}

    def check_declared(self) -> None:
        """Refuse to build with other code than the declared one. Raises ChangedSinceDeclared."""
        if isinstance(self.derivation.realizer, StageRealizer):
            self.derivation.realizer.check_declared()

    @property
    def is_bound_here(self) -> bool:
        """Whether it must be built in this process."""
        realizer = self.derivation.realizer
        return isinstance(realizer, OwnRealizer) and bool(realizer.bound_here)

    @property
    def resources(self) -> Resources:
        """What its build may use of the machine."""
        realizer = self.derivation.realizer
        return realizer.stage.resources if isinstance(realizer, StageRealizer) else Resources()

    @property
    def builder(self) -> tuple[Any, bool]:
        """What builds it, and whether that is a realizer of Pylightnix's."""
        realizer = self.derivation.realizer
        return realizer, not isinstance(realizer, OwnRealizer)

    @property
    def imports(self) -> frozenset[str]:
        """The installed modules that its code imports."""
        realizer = self.derivation.realizer
        fingerprinted = realizer.declaration.fingerprinted if isinstance(realizer, StageRealizer) else None
        return fingerprinted.imports if fingerprinted is not None else frozenset()

    @property
    def code(self) -> Code | None:
        """The code behind it; None where there is none in its config, or it is not one of our stages."""
        realizer = self.derivation.realizer
        return realizer.code if isinstance(realizer, OwnRealizer) else None
