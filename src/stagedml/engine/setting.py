"""What all turns of a run have in common."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stagedml.engine.apart import Crew
from stagedml.engine.contexts import Contexts
from stagedml.engine.events import Observer
from stagedml.engine.nodes import Node
from stagedml.engine.planning import Planner
from stagedml.engine.slots import Slots
from stagedml.engine.surroundings import Surroundings
from stagedml.store.objects import Store


@dataclass(frozen=True, slots=True)
class Setting:
    """What all turns of a run have in common.

    Attributes:
        nodes: all derivations of the run.
        chosen: the realizations that stand for the derivations that had their turn.
        arguments: Exec values by derivation.
        crew: the builds in processes of their own; None if all are made in this one.
        slots: what of the machine those may take.
        keep_going: whether builds are begun after one has failed.
        is_stopping: set when none is to be begun any more.
        surroundings: what is recorded of the machine and the code.
        mutex: held by whoever has a turn, but while it waits for something; see `outside`.
    """

    store: Store
    nodes: Mapping[str, Node]
    planner: Planner
    contexts: Contexts
    chosen: dict[str, tuple[str, ...]]
    arguments: Mapping[str, Mapping[str, Any]]
    offline: bool
    mirrors: str
    observer: Observer
    crew: Crew | None = None
    slots: Slots | None = None
    keep_going: bool = False
    is_stopping: threading.Event = field(default_factory=threading.Event)
    surroundings: Surroundings = field(default_factory=Surroundings)
    mutex: threading.RLock = field(default_factory=threading.RLock)

    def failed(self) -> None:
        """Note that something failed."""
        if not self.keep_going:
            self.is_stopping.set()

    @contextlib.contextmanager
    def outside(self) -> Iterator[None]:
        """Let others have their turns inside the block: it is slow, and touches nothing that they have in common."""
        self.mutex.release()
        try:
            yield
        finally:
            self.mutex.acquire()
