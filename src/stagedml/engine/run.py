"""One realize of one closure: planned, then executed derivation by derivation, inputs first.

Planning reads the store and builds nothing. Building happens in the calling process, so a debugger works. Over all
processes on a store there is one builder for a derivation, its direct inputs and an instance; whoever comes second
waits and takes the first one's result. What is relied on is claimed, so that no collector takes it.
"""

from __future__ import annotations

import getpass
import importlib.metadata
import json
import logging
import os
import platform
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stagedml.authoring.build import Build, BuildListener, derive_seed, stage_seed
from stagedml.authoring.pylightnix import Derivation, DRef, RRef, StorageSettings
from stagedml.authoring.pylightnix import Path as PylightnixPath
from stagedml.authoring.realized import MustBeThere
from stagedml.authoring.session import Storage, using_store
from stagedml.authoring.stage import OwnRealizer
from stagedml.core.matchers import Candidate, Matcher
from stagedml.core.plan import Cause, Decision, Plan, PlanStep, Verdict, decide
from stagedml.core.refs import DerivationRef, parse_dref, parse_rref
from stagedml.engine.events import Observer
from stagedml.engine.explain import Explainer
from stagedml.errors import BuildError, StagedmlError
from stagedml.store import atomic
from stagedml.store.metadata import BuildRecord, UnreadableMetadata
from stagedml.store.objects import FULL_DISK, DamagedFile, NotInStore, Store
from stagedml.store.publish import begin_build, building, publish

logger = logging.getLogger(__name__)

_RECORDED_PACKAGES = ("pylightnix", "numpy", "tensorflow", "tf_keras", "official", "tokenizers", "torch")
_DISTRIBUTIONS = {"official": "tf-models-official", "tf_keras": "tf-keras"}


class BuildFailed(BuildError):
    """A builder raised; the original exception is the cause (`__cause__`)."""

    def __init__(self, dref: str, reason: str, scratch: str) -> None:
        super().__init__(dref, reason, scratch)
        self.dref, self.reason, self.scratch = dref, reason, scratch

    def __str__(self) -> str:
        return (
            f"building {parse_dref(self.dref).name} failed: {self.reason}\n"
            f"  derivation {self.dref}\n  what it had written is kept, until the next attempt, in {self.scratch}"
        )


class MatcherUnsatisfied(BuildError):
    """Nothing that can be built would satisfy a matcher."""

    def __init__(self, dref: str, matcher: str) -> None:
        super().__init__(dref, matcher)
        self.dref, self.matcher = dref, matcher

    def __str__(self) -> str:
        return f"{self.dref}: its matcher {self.matcher} is not satisfied by what is in the store or was built"


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


@dataclass
class Node:
    """One derivation of a closure, ready to be planned."""

    ref: DerivationRef
    derivation: Derivation
    inputs: tuple[str, ...]
    matcher: Matcher
    forced: bool
    instances: int

    @property
    def dref(self) -> str:
        return str(self.ref)


@dataclass
class Run:
    """One realize of one closure."""

    store: Store
    nodes: list[Node]
    targets: tuple[str, ...]
    arguments: Mapping[str, Mapping[str, Any]]
    offline: bool
    mirrors: str
    observer: Observer
    chosen: dict[str, tuple[str, ...]] = field(default_factory=dict)
    contexts: dict[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)

    def realize(self) -> None:
        """Plan, claim what is reused, tell, and execute."""
        drawn = self.store.claiming(self.plan, _reused)
        for node, step in zip(self.nodes, drawn.steps, strict=True):
            if step.verdict is Verdict.BUILD:
                _refuse_to_build(node, step.detail)
        try:
            self.observer.planned(drawn)
            self.execute(drawn)
        finally:
            self.observer.ended()

    def reuse(self) -> bool:
        """Choose what is there, and claim it; False, and nothing is built, where something is missing."""
        drawn = self.store.claiming(self.plan, lambda drawn: () if drawn.builds else _reused(drawn))
        if drawn.builds:
            return False
        self.chosen = {step.dref: step.rrefs for step in drawn.steps}
        return True

    # -- planning ------------------------------------------------------------------------------------------------

    def plan(self) -> Plan:
        explainer = Explainer(self.store)
        known: dict[str, tuple[str, ...]] = {}
        steps = []
        for node in self.nodes:
            step = self._plan_step(node, known, explainer)
            if step.verdict is Verdict.REUSE:
                known[node.dref] = step.rrefs
            steps.append(step)
        return Plan(tuple(steps), self.targets)

    def _plan_step(self, node: Node, known: Mapping[str, tuple[str, ...]], explainer: Explainer) -> PlanStep:
        def step(verdict: Verdict, cause: Cause | None, detail: str, decision: Decision | None = None) -> PlanStep:
            build, selected = (decision.build, decision.selected) if decision else ((), ())
            return PlanStep(node.dref, node.ref.name, verdict, cause, detail, build, selected)

        unknown = [dref for dref in node.inputs if dref not in known]
        if unknown:
            if not self.store.realizations(node.ref):
                return step(Verdict.BUILD, *explainer.first_build(node.ref))
            if node.forced:
                return step(Verdict.BUILD, Cause.FORCED, "forced")
            return step(Verdict.DEPENDS, Cause.INPUT, "on " + ", ".join(parse_dref(dref).name for dref in unknown))
        candidates, damaged = self._survey(node, {dref: known[dref] for dref in node.inputs})
        decision = decide(node.matcher, candidates, damaged, instances=node.instances, forced=node.forced)
        if decision.selected:
            return step(Verdict.REUSE, None, "", decision)
        if decision.cause is Cause.FIRST_BUILD:
            if self.store.realizations(node.ref):
                return step(Verdict.BUILD, Cause.INPUT, "other realizations of its inputs", decision)
            return step(Verdict.BUILD, *explainer.first_build(node.ref), decision)
        detail = {
            Cause.FORCED: "forced",
            Cause.BYTES_MISSING: f"bytes missing of {', '.join(damaged)}",
            Cause.INSTANCE_MISSING: f"instance {', '.join(map(str, decision.build))} missing",
            Cause.MATCHER: "no realization that its matcher takes",
        }[decision.cause or Cause.MATCHER]
        return step(Verdict.BUILD, decision.cause, detail, decision)

    def _survey(self, node: Node, inputs: Mapping[str, tuple[str, ...]]) -> tuple[list[Candidate], list[str]]:
        """The realizations of a derivation for these inputs: those that are whole, and those that are not."""
        whole, damaged = [], []
        for ref in self.store.realizations(node.ref):
            try:
                known = self.store.metadata(ref)
            except UnreadableMetadata as error:
                logger.warning("%s", error)
                known = None
            try:
                theirs = self.store.inputs_of(ref, known)
            except (NotInStore, DamagedFile):  # neither metadata nor context is left to tell
                damaged.append(str(ref))
                continue
            if {dref: tuple(sorted(rrefs)) for dref, rrefs in theirs.items()} != inputs:
                continue
            if self.store.missing_outputs(ref, known):
                damaged.append(str(ref))
            else:
                whole.append(self.store.candidate(ref, known))
        return whole, damaged

    # -- executing -----------------------------------------------------------------------------------------------

    def execute(self, plan: Plan) -> None:
        with using_store(self.store):
            for node, step in zip(self.nodes, plan.steps, strict=True):
                self.chosen[node.dref] = step.rrefs if step.verdict is Verdict.REUSE else self._realize(node)

    def _realize(self, node: Node) -> tuple[str, ...]:
        inputs = {dref: tuple(sorted(self.chosen[dref])) for dref in node.inputs}

        def look(forced: bool) -> Decision:
            return decide(node.matcher, *self._survey(node, inputs), instances=node.instances, forced=forced)

        decision = self.store.claiming(lambda: look(node.forced), lambda found: found.selected)
        if decision.build:
            _refuse_to_build(node, "" if decision.cause is None else decision.cause.value)
        built = False
        while decision.build and not built:  # once, unless what others built was collected before it was claimed
            built = self._build_missing(node, inputs, decision.build, look)
            decision = self.store.claiming(lambda: look(False), lambda found: found.selected)
        if not decision.selected:
            raise MatcherUnsatisfied(node.dref, repr(node.matcher))
        return decision.selected

    def _build_missing(
        self,
        node: Node,
        inputs: Mapping[str, tuple[str, ...]],
        instances: Iterable[int],
        look: Callable[[bool], Decision],
    ) -> bool:
        """Build instances, but for those that another process builds meanwhile; returns whether any was built here."""
        built = False
        for instance in instances:
            with building(
                self.store, node.ref, inputs, instance, on_wait=lambda owner: self.observer.waiting(node.dref, owner)
            ) as scratch:
                if node.forced or instance in look(False).build:
                    self._build(node, inputs, instance, scratch)
                    built = True
        return built

    def _build(self, node: Node, inputs: Mapping[str, tuple[str, ...]], instance: int, scratch: Path) -> None:
        outpath = begin_build(self.store, scratch)
        context = self._context_of(inputs)
        self.observer.started(node.dref, instance, outpath)
        realizer = node.derivation.realizer
        try:
            if isinstance(realizer, OwnRealizer):
                built = [self._build_own(node, realizer, context, instance, outpath)]
            else:
                built = self._build_foreign(node, context, instance, outpath)
            for tree, record in built:
                rref = publish(
                    self.store,
                    node.ref,
                    tree,
                    context=context,
                    inputs=inputs,
                    build=record,
                    links_to=realizer.links_to if isinstance(realizer, OwnRealizer) else (),
                )
                self.contexts[str(rref)] = context
                self.observer.finished(node.dref, str(rref), record.stopped - record.started)
        except (Exception, SystemExit) as error:  # who exits in a builder must not end the process as if all went well
            self.observer.failed(node.dref, error)
            reason = str(error) if isinstance(error, StagedmlError) else f"{type(error).__name__}: {error}"
            if isinstance(error, OSError) and error.errno in FULL_DISK:
                reason += f"; {self.store.free_bytes():,} bytes are free on the file system of {self.store.layout.root}"
                reason += ", `stagedml gc` shows what could go"
            raise BuildFailed(node.dref, reason, str(outpath)) from error
        except BaseException as error:
            self.observer.failed(node.dref, error)
            raise
        try:
            atomic.remove_tree(scratch)
        except OSError as error:
            logger.warning("%s stays: %s", scratch, error)

    def _build_own(
        self, node: Node, realizer: OwnRealizer, context: Mapping[str, Sequence[str]], instance: int, outpath: Path
    ) -> tuple[Path, BuildRecord]:
        arguments = realizer.exec_arguments(self.arguments.get(node.dref, {}))
        build = Build(
            storage=Storage.of(self.store),
            dref=node.dref,
            context=context,
            outpath=outpath,
            scratch=outpath.with_name("scratch"),
            instance=instance,
            arguments=arguments,
            offline=self.offline,
            mirrors=self.mirrors,
            listener=_Relay(node.dref, self.observer),
        )
        started, stopped = realizer.run(build)
        return outpath, _record(instance, build.seed, started, stopped, arguments, realizer.deterministic)

    def _build_foreign(
        self, node: Node, context: Mapping[str, Sequence[str]], instance: int, outpath: Path
    ) -> list[tuple[Path, BuildRecord]]:
        """Run a realizer that was written for Pylightnix; it makes its folders where we tell it to.

        Several folders are several instances, beginning with the one that is asked for.
        """
        layout = self.store.layout
        storage = StorageSettings(
            PylightnixPath(str(layout.root)), PylightnixPath(str(layout.storage)), PylightnixPath(str(outpath))
        )
        plain = {DRef(dref): [RRef(rref) for rref in rrefs] for dref, rrefs in context.items()}
        arguments = dict(self.arguments.get(node.dref, {}))
        started = time.time()
        paths = node.derivation.realizer(storage, DRef(node.dref), plain, arguments)
        stopped = time.time()
        seed = stage_seed(self.store.config(node.ref))
        noted = json.loads(json.dumps(arguments, default=repr, skipkeys=True))  # what it takes need not be JSON
        return [
            (Path(path), _record(index, derive_seed(seed, index), started, stopped, noted))
            for index, path in enumerate(paths, start=instance)
        ]

    def instances_of(self, dref: str, count: int) -> list[RRef]:
        """The realizations of the first instances of a target, in order; of several of one instance, the latest."""
        node = next(node for node in self.nodes if node.dref == dref)
        candidates, _ = self._survey(node, {ref: tuple(sorted(self.chosen[ref])) for ref in node.inputs})
        candidates.sort(key=lambda candidate: (candidate.started, candidate.rref))
        by_instance = {index: candidate.rref for candidate in candidates for index in candidate.instances}
        foreign = iter(candidate.rref for candidate in candidates if not candidate.instances)
        return [RRef(by_instance[index] if index in by_instance else next(foreign)) for index in range(count)]

    def _context_of(self, inputs: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
        """Everything that a realization with these direct inputs rests on."""
        context: dict[str, list[str]] = {}
        for dref, rrefs in inputs.items():
            for rref in rrefs:
                if rref not in self.contexts:
                    self.contexts[rref] = self.store.context(parse_rref(rref))
                for other, others in self.contexts[rref].items():
                    context[other] = sorted({*context.get(other, ()), *others})
            context[dref] = sorted(rrefs)
        return context


class _Relay(BuildListener):
    """Passes on what a build reports, with the name of its derivation."""

    def __init__(self, dref: str, observer: Observer) -> None:
        self.dref, self.observer = dref, observer

    def progress(self, label: str, done: int, total: int | None, unit: str, note: str) -> None:
        self.observer.progress(self.dref, label, done, total, unit, note)

    def message(self, text: str) -> None:
        self.observer.message(self.dref, text)


def _record(
    instance: int,
    seed: int,
    started: float,
    stopped: float,
    arguments: Mapping[str, Any],
    deterministic: bool = True,
) -> BuildRecord:
    return BuildRecord(
        instance=instance,
        seed=seed,
        started=started,
        stopped=stopped,
        host=socket.gethostname(),
        user=_user(),
        arguments=dict(arguments),
        environment=_environment(),
        deterministic=deterministic,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user that has no name
        return str(os.getuid())


def _environment() -> dict[str, Any]:
    packages = {}
    for module in _RECORDED_PACKAGES:
        if module in sys.modules:
            try:
                packages[module] = importlib.metadata.version(_DISTRIBUTIONS.get(module, module))
            except importlib.metadata.PackageNotFoundError:
                continue
    return {"python": platform.python_version(), "platform": platform.platform(), "packages": packages}


def _refuse_to_build(node: Node, why: str) -> None:
    """Raises NotRealized where a derivation must be there already."""
    if isinstance(node.derivation.realizer, MustBeThere):
        node.derivation.realizer.refuse(why)


def _reused(drawn: Plan) -> set[str]:
    """What a plan relies on: all that builds are to use, or else its results, which stand for all behind them."""
    kept = [step for step in drawn.steps if drawn.builds or step.dref in drawn.targets]
    return {rref for step in kept for rref in step.rrefs}
