"""One realize of one closure: planned, then executed derivation by derivation, inputs first."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stagedml.authoring.pylightnix import RRef
from stagedml.authoring.session import using_store
from stagedml.core.plan import Plan, Verdict
from stagedml.engine.apart import Crew
from stagedml.engine.contexts import Contexts
from stagedml.engine.events import Observer, Observers
from stagedml.engine.handover import HandOver
from stagedml.engine.journal import Journal
from stagedml.engine.nodes import Node
from stagedml.engine.planning import Planner
from stagedml.engine.schedule import Work, pausing, work_off
from stagedml.engine.setting import Setting
from stagedml.engine.slots import Slots
from stagedml.engine.turn import refuse_to_build
from stagedml.store.objects import Store


@dataclass
class Run:
    """One realize of one closure.

    Attributes:
        nodes: its derivations, each after its inputs.
        arguments: Exec values by derivation.
        jobs: how many builds at once; if more than one, each in a process of its own.
        keep_going: after a failed build, go on with what does not rest on it.
        chosen: the realizations that stand for each derivation, once that is settled.
    """

    store: Store
    nodes: list[Node]
    targets: tuple[str, ...]
    arguments: Mapping[str, Mapping[str, Any]]
    offline: bool
    mirrors: str
    observer: Observer
    jobs: int = 1
    keep_going: bool = False
    planner: Planner = field(init=False)
    chosen: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.planner = Planner(self.store)

    def realize(self) -> None:
        """Plan, claim what is reused, tell, and execute."""
        with self._begun() as drawn, using_store(self.store):
            if drawn.builds:
                work_off(self.setting(), self._work(drawn))

    def pausing(self) -> Generator[HandOver, None, None]:
        """As `realize`, one after the other; yields each build that a person may take over, with its lock held.

        Who goes on with it lets `store` be the current one; who gives it up throws Cancelled.
        """
        with self._begun() as drawn:
            if drawn.builds:
                yield from pausing(self.setting(), self._work(drawn))

    @contextlib.contextmanager
    def _begun(self) -> Iterator[Plan]:
        """Plan, claim what is reused, and tell of the plan and, after the block, of the end."""
        drawn = self.store.claiming(self.plan, _needed)
        checked: set[int] = set()
        for node, step in zip(self.nodes, drawn.steps, strict=True):
            if step.verdict is Verdict.BUILD:
                refuse_to_build(node, step.detail)
            if step.verdict is not Verdict.REUSE and id(node.code) not in checked:
                checked.add(id(node.code))  # derivations of one stage share it
                node.check_declared()
        self.observer = Observers(Journal(self.store.layout), self.observer)
        try:
            self.observer.planned(drawn)
            if not drawn.builds:
                self.chosen = {step.dref: step.rrefs for step in drawn.steps}
            yield drawn
        finally:
            self.observer.ended()

    def reuse(self) -> bool:
        """Choose what is there, and claim it; False, and nothing is built, where something is missing."""
        drawn = self.store.claiming(self.plan, lambda drawn: () if drawn.builds else _needed(drawn))
        if drawn.builds:
            return False
        self.chosen = {step.dref: step.rrefs for step in drawn.steps}
        return True

    def plan(self) -> Plan:
        """What would be done; nothing is claimed."""
        return Plan(tuple(self.planner.steps(self.nodes)), self.targets)

    def _work(self, drawn: Plan) -> list[Work]:
        return list(zip(self.nodes, drawn.steps, strict=True))

    def setting(self) -> Setting:
        """What its builds share."""
        return Setting(
            store=self.store,
            nodes=self._by_dref,
            planner=self.planner,
            contexts=Contexts(self.store, self.nodes),
            chosen=self.chosen,
            arguments=self.arguments,
            offline=self.offline,
            mirrors=self.mirrors,
            observer=self.observer,
            crew=Crew() if self.jobs > 1 else None,
            slots=Slots(self.jobs) if self.jobs > 1 else None,
            keep_going=self.keep_going,
        )

    @functools.cached_property
    def _by_dref(self) -> dict[str, Node]:
        return {node.dref: node for node in self.nodes}

    def instances_of(self, dref: str, count: int) -> list[RRef]:
        """The realizations of the first instances of a target, in order; of several of one instance, the latest."""
        node = self._by_dref[dref]
        candidates = self.planner.survey(node, {ref: tuple(sorted(self.chosen[ref])) for ref in node.inputs}).whole
        candidates.sort(key=lambda candidate: (candidate.started, candidate.rref))
        by_instance = {index: candidate.rref for candidate in candidates for index in candidate.instances}
        foreign = iter(candidate.rref for candidate in candidates if not candidate.instances)
        return [RRef(by_instance[index] if index in by_instance else next(foreign)) for index in range(count)]


def _needed(drawn: Plan) -> set[str]:
    """What a plan relies on: what is to be built and all that it uses; or else its results, which stand for all."""
    builds = drawn.builds
    kept = [step for step in drawn.steps if builds or step.dref in drawn.targets]
    return {rref for step in kept for rref in step.rrefs} | {step.dref for step in builds}
