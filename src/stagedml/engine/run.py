"""One realize of one closure: planned, then executed derivation by derivation, inputs first.

Planning reads the store and builds nothing. Building happens in the calling process, so a debugger works. Over all
processes on a store there is one builder for a derivation, its direct inputs and an instance; whoever comes second
waits and takes the first one's result. What is relied on is claimed, so that no collector takes it.
"""

from __future__ import annotations

import functools
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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stagedml.authoring.build import Build, BuildListener, derive_seed, stage_seed
from stagedml.authoring.pylightnix import Derivation, DRef, RRef, StorageSettings
from stagedml.authoring.pylightnix import Path as PylightnixPath
from stagedml.authoring.realized import MustBeThere
from stagedml.authoring.session import Storage, using_store
from stagedml.authoring.stage import OwnRealizer
from stagedml.core.adoption import key_of
from stagedml.core.code import Code
from stagedml.core.matchers import Candidate, Matcher
from stagedml.core.plan import Cause, Decision, Plan, PlanStep, Reason, Verdict, decide
from stagedml.core.refs import DerivationRef, RealizationRef, dref_of, is_dref, parse_dref, parse_rref
from stagedml.engine.events import Observer
from stagedml.engine.explain import Explainer, Explanation, latest_realization, seconds_of
from stagedml.errors import BuildError, StagedmlError, UsageError
from stagedml.store import adoptions, atomic, blessings
from stagedml.store.blessings import Blessing
from stagedml.store.layout import CONTEXT_FILE
from stagedml.store.metadata import BuildRecord, UnreadableMetadata
from stagedml.store.objects import FULL_DISK, DamagedFile, NotInStore, Store
from stagedml.store.publish import begin_build, building, publish
from stagedml.store.survey import Survey, survey

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


class CannotBorrow(UsageError):
    """The contents of a realization cannot stand for another derivation."""

    def __init__(self, source: str, dref: str, path: str) -> None:
        super().__init__(source, dref, path)
        self.source, self.dref, self.path = source, dref, path

    def __str__(self) -> str:
        return f"{self.source} cannot be borrowed for {self.dref}: its {self.path} spells what it was made from"


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


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of an input while a plan is drawn.

    Attributes:
        rrefs: the realizations that stand for it; none of what will be adopted, which has no reference yet.
        contents: their content digests, where they were looked up.
    """

    rrefs: tuple[str, ...]
    contents: tuple[str, ...] | None = None


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
    explainer: Explainer = field(init=False)
    lent: dict[str, Blessing] = field(default_factory=dict)  #: derivation -> the realization that is to stand for it
    chosen: dict[str, tuple[str, ...]] = field(default_factory=dict)
    contexts: dict[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)

    @functools.cached_property
    def _by_dref(self) -> dict[str, Node]:
        return {node.dref: node for node in self.nodes}

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
        self.explainer = Explainer(self.store)
        known: dict[str, Outlook] = {}
        steps = []
        for node in self.nodes:
            step = self._plan_step(node, known)
            if step.verdict is Verdict.REUSE:
                known[node.dref] = Outlook(step.rrefs)
            elif step.verdict is Verdict.ADOPT:
                known[node.dref] = Outlook((), self._contents(step.rrefs))
            steps.append(step)
        return Plan(tuple(steps), self.targets)

    def _plan_step(self, node: Node, known: Mapping[str, Outlook]) -> PlanStep:
        def step(verdict: Verdict, explained: Explanation, decision: Decision | None = None) -> PlanStep:
            build, selected = (decision.build, decision.selected) if decision else ((), ())
            if verdict is Verdict.ADOPT and decision:
                selected = tuple(source for _, source in decision.adopt)
            since = str(explained.since) if explained.since else ""
            seconds = explained.seconds * max(len(build), 1) if explained.seconds is not None else None
            seconds = None if verdict in (Verdict.REUSE, Verdict.ADOPT) else seconds
            return PlanStep(node.dref, node.ref.name, verdict, explained.reasons, since, build, selected, seconds)

        unsettled = [dref for dref in node.inputs if dref not in known or not known[dref].rrefs]
        if unsettled and node.forced:
            return step(Verdict.BUILD, Explanation((Reason(Cause.FORCED),), *self._own_history(node)))
        unknown = [dref for dref in unsettled if dref not in known]
        if unknown:
            on = Reason(Cause.INPUT, "on " + ", ".join(parse_dref(dref).name for dref in unknown))
            if self.store.realizations(node.ref):
                return step(Verdict.DEPENDS, Explanation((on,), *self._own_history(node)))
            explained = self.explainer.first_build(node.ref, self._code(node))
            if explained.only_inputs:
                return step(Verdict.DEPENDS, replace(explained, reasons=(on,)))
            return step(Verdict.BUILD, explained)
        # of what will be adopted there is no reference yet that something could rest on
        there = Survey([], []) if unsettled else self._survey(node, {dref: known[dref].rrefs for dref in node.inputs})
        decision = self._decide(node, *there, lambda dref: self._outlook(dref, known), forced=node.forced)
        if decision.selected:
            return PlanStep(node.dref, node.ref.name, Verdict.REUSE, (), "", (), decision.selected)
        explained = self._explained(node, decision, there.damaged)
        blessed = dict.fromkeys(reason for _, source in decision.adopt for reason in self._blessing(node, source))
        explained = replace(explained, reasons=(*blessed, *explained.reasons))
        adopted = bool(decision.build) and len(decision.adopt) == len(decision.build)
        return step(Verdict.ADOPT if adopted else Verdict.BUILD, explained, decision)

    def _decide(
        self,
        node: Node,
        candidates: Sequence[Candidate],
        damaged: Sequence[str],
        contents_of: Callable[[str], Sequence[str] | None],
        *,
        forced: bool,
    ) -> Decision:
        keys: list[str | None] = []

        def offered(instance: int) -> str | None:
            if node.dref in self.lent:
                return self.lent[node.dref].old
            if not keys:
                keys.append(self._key(node, contents_of))
            found = adoptions.offered(self.store, keys[0], instance) if keys[0] is not None else None
            found = found or self._blessed(node, instance, contents_of)
            return str(found) if found is not None else None

        return decide(node.matcher, candidates, damaged, instances=node.instances, forced=forced, offered=offered)

    def _key(self, node: Node, contents_of: Callable[[str], Sequence[str] | None]) -> str | None:
        """The key of adoption of a derivation; None where nothing of it can be adopted."""
        realizer = node.derivation.realizer
        view = realizer.view(self.store) if isinstance(realizer, OwnRealizer) else None
        return key_of(view, contents_of) if view is not None else None

    def _blessed(
        self, node: Node, instance: int, contents_of: Callable[[str], Sequence[str] | None]
    ) -> RealizationRef | None:
        """A realization of the derivation that a person declared this one to be equal to, for inputs that are equal."""
        blessing = blessings.blessing_of(self.store, node.ref)
        if blessing is None:
            return None
        wanted = sorted(sorted(contents_of(dref) or ()) for dref in node.inputs)
        for ref in self.store.realizations(parse_dref(blessing.old)):
            try:
                known = self.store.metadata(ref)
            except UnreadableMetadata:
                continue
            if known is None or instance not in known.instances or self.store.missing_outputs(ref, known):
                continue
            if sorted(sorted(self._contents(rrefs) or ()) for rrefs in known.inputs.values()) == wanted:
                return ref
        return None

    def _blessing(self, node: Node, source: str) -> tuple[Reason, ...]:
        """That a person, and not equal keys, made a derivation adopt something."""
        blessing = self.lent.get(node.dref) or blessings.blessing_of(self.store, node.ref)
        if blessing is None or blessing.old not in (source, dref_of(source)):
            return ()
        words = f"blessed by {blessing.user} as equal to {_brief(blessing.old)}: {blessing.reason}"
        return (Reason(Cause.BLESSED, words),)

    def _outlook(self, dref: str, known: Mapping[str, Outlook]) -> Sequence[str] | None:
        outlook = known.get(dref)
        if outlook is None:
            return None
        return outlook.contents if outlook.contents is not None else self._contents(outlook.rrefs)

    def _contents(self, rrefs: Iterable[str]) -> tuple[str, ...] | None:
        """The content digests of realizations; None where one has no metadata."""
        found = []
        for rref in rrefs:
            try:
                metadata = self.store.metadata(parse_rref(rref))
            except UnreadableMetadata:
                metadata = None
            if metadata is None:
                return None
            found.append(metadata.content)
        return tuple(found)

    def _explained(self, node: Node, decision: Decision, damaged: Sequence[str]) -> Explanation:
        """Why a derivation whose inputs are settled is not simply reused."""
        if decision.cause is Cause.FIRST_BUILD:
            if not self.store.realizations(node.ref):
                explained = self.explainer.first_build(node.ref, self._code(node))
                blessing = None if decision.adopt else blessings.blessing_of(self.store, node.ref)
                if blessing is not None:
                    other = f"{_brief(blessing.old)}, whose inputs hold other contents"
                    unfit = Reason(Cause.BLESSED, f"blessed as equal to {other}")
                    return replace(explained, reasons=(*explained.reasons, unfit))
                return explained
            reason = Reason(Cause.INPUT, "other realizations of its inputs")
        else:
            subject = {
                Cause.BYTES_MISSING: f"bytes missing of {', '.join(damaged)}",
                Cause.INSTANCE_MISSING: ", ".join(map(str, decision.build)),
                Cause.MATCHER: "no realization that its matcher takes",
            }
            cause = decision.cause or Cause.MATCHER
            reason = Reason(cause, subject.get(cause, ""))
        return Explanation((reason,), *self._own_history(node))

    def _own_history(self, node: Node) -> tuple[RealizationRef | None, bool, float | None]:
        """The realization of a derivation that was built last, and how long that took."""
        since = latest_realization(self.store, node.ref)
        return since, False, seconds_of(self.store, since) if since is not None else None

    def _code(self, node: Node) -> Code | None:
        realizer = node.derivation.realizer
        return realizer.code if isinstance(realizer, OwnRealizer) else None

    def _survey(self, node: Node, inputs: Mapping[str, tuple[str, ...]]) -> Survey:
        """The realizations of a derivation for these inputs: those that are whole, and those that are not."""
        return survey(self.store, node.ref, inputs, node.outputs)

    # -- executing -----------------------------------------------------------------------------------------------

    def execute(self, plan: Plan) -> None:
        with using_store(self.store):
            for node, step in zip(self.nodes, plan.steps, strict=True):
                self.chosen[node.dref] = step.rrefs if step.verdict is Verdict.REUSE else self._realize(node, step)

    def _realize(self, node: Node, step: PlanStep) -> tuple[str, ...]:
        inputs = {dref: tuple(sorted(self.chosen[dref])) for dref in node.inputs}
        damaged: list[str] = []

        def look(forced: bool) -> Decision:
            candidates, damaged[:] = self._survey(node, inputs)
            contents_of = functools.cache(lambda dref: self._contents(self.chosen[dref]))
            return self._decide(node, candidates, damaged, contents_of, forced=forced)

        decision = self.store.claiming(lambda: look(node.forced), _relied_on)
        if len(decision.adopt) < len(decision.build):
            _refuse_to_build(node, "" if decision.cause is None else decision.cause.value)
        made = False
        while decision.build and not made:  # once, unless what others built was collected before it was claimed
            if step.verdict is Verdict.DEPENDS:
                explained = self._explained(node, decision, damaged)
            else:
                explained = Explanation(step.reasons, parse_rref(step.since) if step.since else None)
            made = self._make(node, inputs, decision, explained, look)
            decision = self.store.claiming(lambda: look(False), _relied_on)
        if not decision.selected:
            raise MatcherUnsatisfied(node.dref, repr(node.matcher))
        return decision.selected

    def _make(
        self,
        node: Node,
        inputs: Mapping[str, tuple[str, ...]],
        decision: Decision,
        explained: Explanation,
        look: Callable[[bool], Decision],
    ) -> bool:
        """Build or adopt instances, but for those that another process makes meanwhile; returns whether any was."""
        made = False
        for instance in decision.build:
            with building(
                self.store, node.ref, inputs, instance, on_wait=lambda owner: self.observer.waiting(node.dref, owner)
            ) as scratch:
                now = Decision((), (instance,)) if node.forced else look(False)
                if instance in now.build:
                    source = dict(now.adopt).get(instance)
                    if source is None or not self._adopt(
                        node, inputs, instance, scratch, parse_rref(source), explained
                    ):
                        self._build(node, inputs, instance, scratch, explained)
                    made = True
        return made

    def _adopt(
        self,
        node: Node,
        inputs: Mapping[str, tuple[str, ...]],
        instance: int,
        scratch: Path,
        source: RealizationRef,
        explained: Explanation,
    ) -> bool:
        """Publish the files of another realization as those of a derivation; False where that cannot be."""
        context = self._context_of(inputs)
        key = self._key(node, lambda dref: self._contents(self.chosen[dref])) or ""
        try:
            known = self.store.metadata(source)
            if known is None:
                return False
            if (path := adoptions.spelt_reference(self.store, source, known, context)) is not None:
                if node.dref in self.lent:
                    raise CannotBorrow(str(source), node.dref, path)
                logger.info("%s is built: %s in %s spells what it was made from", node.dref, path, source)
                adoptions.withdraw(self.store, key, instance)
                return False
            outpath = begin_build(self.store, scratch)
            atomic.copy_tree(self.store.path(source), outpath, skip={CONTEXT_FILE})
            made = next((build for build in known.builds if build.instance == instance), known.builds[0])
            by_key = made.key == key != ""
            blessed = () if by_key else self._blessing(node, str(source))
            record = replace(
                made,
                instance=instance,
                key=key if by_key else "",
                adopted=str(source),
                published=time.time(),
                reasons=tuple(dict.fromkeys((*blessed, *explained.reasons))),
                since=str(explained.since or ""),
            )
            rref = publish(
                self.store,
                node.ref,
                outpath,
                context=context,
                inputs=inputs,
                build=record,
                links_to=(source,),
                code=self._code(node),
                content=known.content,
            )
        except (FileNotFoundError, NotInStore, DamagedFile, UnreadableMetadata) as error:
            logger.warning("%s is built: %s cannot be adopted: %s", node.dref, source, error)
            return False
        self.contexts[str(rref)] = context
        self.observer.adopted(node.dref, str(rref), str(source))
        self._clean(scratch)
        return True

    def _build(
        self,
        node: Node,
        inputs: Mapping[str, tuple[str, ...]],
        instance: int,
        scratch: Path,
        explained: Explanation,
    ) -> None:
        outpath = begin_build(self.store, scratch)
        context = self._context_of(inputs)
        self.observer.started(node.dref, instance, outpath)
        realizer = node.derivation.realizer
        try:
            if isinstance(realizer, OwnRealizer):
                built = [self._build_own(node, realizer, context, instance, outpath)]
            else:
                built = self._build_foreign(node, context, instance, outpath)
            for tree, plain in built:
                record = replace(plain, reasons=explained.reasons, since=str(explained.since or ""))
                rref = publish(
                    self.store,
                    node.ref,
                    tree,
                    context=context,
                    inputs=inputs,
                    build=record,
                    links_to=realizer.links_to if isinstance(realizer, OwnRealizer) else (),
                    code=self._code(node),
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
        self._clean(scratch)

    def _clean(self, scratch: Path) -> None:
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
        key = self._key(node, lambda dref: self._contents(self.chosen[dref])) or ""
        started, stopped = realizer.run(build)
        record = _record(instance, build.seed, started, stopped, arguments, realizer.deterministic)
        return outpath, replace(record, key=key, reads=realizer.beyond(build))

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
        node = self._by_dref[dref]
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
        user=user_name(),
        arguments=dict(arguments),
        environment=_environment(),
        deterministic=deterministic,
    )


def user_name() -> str:
    """Who runs this process."""
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


def _brief(ref: str) -> str:
    """A reference as a person knows it: the name, and the start of the hash."""
    name = parse_dref(ref).name if is_dref(ref) else parse_rref(ref).name
    return f"{name} {ref[5:11]}"


def _relied_on(decision: Decision) -> tuple[str, ...]:
    """What is used of what a decision found: what stands for the derivation, or what it adopts."""
    return decision.selected or tuple(source for _, source in decision.adopt)


def _refuse_to_build(node: Node, why: str) -> None:
    """Raises NotRealized where a derivation must be there already."""
    if isinstance(node.derivation.realizer, MustBeThere):
        node.derivation.realizer.refuse(why)


def _reused(drawn: Plan) -> set[str]:
    """What a plan relies on: all that builds are to use, or else its results, which stand for all behind them."""
    builds = drawn.builds
    kept = [step for step in drawn.steps if builds or step.dref in drawn.targets]
    return {rref for step in kept for rref in step.rrefs}
