"""One derivation's turn in a run: it is looked at again, and what is missing is adopted or built.

Building happens in the calling process, so a debugger works. Over all processes on a store there is one builder for a
derivation, its direct inputs and an instance; whoever comes second waits and takes the first one's result. What is
relied on is claimed, so that no collector takes it.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stagedml.authoring.build import Build, BuildListener, derive_seed, stage_seed
from stagedml.authoring.pylightnix import DRef, RRef, StorageSettings
from stagedml.authoring.pylightnix import Path as PylightnixPath
from stagedml.authoring.realized import MustBeThere
from stagedml.authoring.session import Storage
from stagedml.authoring.stage import OwnRealizer
from stagedml.core.matchers import Candidate
from stagedml.core.plan import Decision, PlanStep, Verdict
from stagedml.core.refs import RealizationRef, parse_dref, parse_rref
from stagedml.engine.contexts import Contexts
from stagedml.engine.events import Observer
from stagedml.engine.explain import Explanation
from stagedml.engine.nodes import Node
from stagedml.engine.planning import Planner
from stagedml.engine.records import record_of
from stagedml.errors import BuildError, StagedmlError, UsageError
from stagedml.store import adoptions, atomic
from stagedml.store.contexts import WrittenContext
from stagedml.store.hashing import UnpublishableContent
from stagedml.store.layout import CONTEXT_FILE
from stagedml.store.metadata import BuildRecord, UnreadableMetadata
from stagedml.store.objects import FULL_DISK, DamagedFile, NotInStore, Store
from stagedml.store.publish import begin_build, building, publish
from stagedml.store.survey import Survey

logger = logging.getLogger(__name__)


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


@dataclass(frozen=True, slots=True)
class Setting:
    """What all turns of a run have in common.

    Attributes:
        chosen: the realizations that stand for the derivations that had their turn.
        arguments: Exec values by derivation.
        storage: the store, as Pylightnix's functions take it.
    """

    store: Store
    storage: Storage
    planner: Planner
    contexts: Contexts
    chosen: dict[str, tuple[str, ...]]
    arguments: Mapping[str, Mapping[str, Any]]
    offline: bool
    mirrors: str
    observer: Observer


class Turn:
    """The turn of one derivation, whose inputs are settled."""

    def __init__(self, setting: Setting, node: Node, step: PlanStep) -> None:
        self.setting = setting
        self.store, self.node, self.step = setting.store, node, step
        self.inputs = {dref: tuple(sorted(setting.chosen[dref])) for dref in node.inputs}
        self._found = Survey([], [])

    def realize(self) -> tuple[str, ...]:
        """The realizations that stand for the derivation, made if they are not there.

        Raises:
            BuildFailed: a builder raised.
            MatcherUnsatisfied: what was made is not what the matcher wants.
            NotRealized: something would have to be built that must be there.
        """
        node = self.node
        if self.step.verdict is Verdict.BUILD and self.step.instances:
            decision = Decision((), self.step.instances, self.step.cause)  # looked at again under the lock
        else:
            decision = self.store.claiming(self._look, _relied_on)
        if len(decision.adopt) < len(decision.build):
            refuse_to_build(node, "" if decision.cause is None else decision.cause.value)
        made: list[Candidate] = []
        while decision.build and not made:  # once, unless what others built was collected before it was claimed
            made = self._make(decision, self._explained(decision))
            decision = self._settled(made)
        if not decision.selected:
            raise MatcherUnsatisfied(node.dref, repr(node.matcher))
        return decision.selected

    def _look(self, *, forced: bool | None = None) -> Decision:
        """What is there now, and what is to be made."""
        self._found = self.setting.planner.survey(self.node, self.inputs)
        return self._decide(self.node.forced if forced is None else forced)

    def _decide(self, forced: bool) -> Decision:
        decide = self.setting.planner.decide
        return decide(self.node, self._found, lambda: self._key, self._contents_of, forced=forced)

    def _settled(self, made: Sequence[Candidate]) -> Decision:
        """What is there after something was made here; it is claimed, as what was published here is already."""
        if made and not self.node.forced:  # then it was looked at under the lock, before this was added
            self._found = Survey(_merged([*self._found.whole, *made]), self._found.damaged, self._found.total)
            found = self._decide(forced=False)
        else:
            found = self._look(forced=False)
        if found.selected and self.store.claims.holds(found.selected):
            return found
        return self.store.claiming(lambda: self._look(forced=False), _relied_on)

    def _contents_of(self, dref: str) -> Sequence[str] | None:
        return self.setting.planner.contents(self.setting.chosen[dref])

    @functools.cached_property
    def _key(self) -> str | None:
        """The key of adoption."""
        return self.setting.planner.key(self.node, self._contents_of)

    def _explained(self, decision: Decision) -> Explanation:
        if self.step.verdict is Verdict.DEPENDS:
            return self.setting.planner.explained(self.node, decision, self._found, self.inputs)
        since = parse_rref(self.step.since) if self.step.since else None
        return Explanation(self.step.reasons, since)

    def _make(self, decision: Decision, explained: Explanation) -> list[Candidate]:
        """Build or adopt instances, but for those that another process makes meanwhile; returns what was made here."""
        made: list[Candidate] = []
        node = self.node
        for instance in decision.build:
            with building(self.store, node.ref, self.inputs, instance, on_wait=self._wait) as scratch:
                now = Decision((), (instance,)) if node.forced else self._look()
                if instance in now.build:
                    source = dict(now.adopt).get(instance)
                    adopted = source and self._adopt(instance, scratch, parse_rref(source), explained)
                    made += adopted or self._build(instance, scratch, explained)
        return made

    def _wait(self, owner: str) -> None:
        self.setting.observer.waiting(self.node.dref, owner)

    # -- adopting ------------------------------------------------------------------------------------------------

    def _adopt(self, instance: int, scratch: Path, source: RealizationRef, explained: Explanation) -> list[Candidate]:
        """Publish the files of another realization as those of the derivation; nothing where that cannot be."""
        node = self.node
        lent = node.dref in self.setting.planner.lent
        context = self.setting.contexts.of(self.inputs)
        try:
            known = self.store.metadata(source)
            if known is None:
                return []
            if (path := adoptions.spelt_reference(self.store, source, known, node.ref, self.inputs)) is not None:
                if lent:
                    raise CannotBorrow(str(source), node.dref, path)
                logger.info("%s is built: %s in %s spells what it was made from", node.dref, path, source)
                adoptions.withdraw(self.store, self._key or "", instance)
                return []
            outpath = begin_build(self.store, scratch)
            self._link(source, outpath)
            made = min(known.builds, key=lambda build: (build.key != self._key, build.instance != instance))
            by_key = made.key == self._key
            record = replace(
                made,
                instance=instance,
                seed=derive_seed(stage_seed(self.store.config(node.ref)), instance),
                key=made.key if by_key else "",
                adopted=str(source),
                published=time.time(),
                reasons=explained.reasons,
                since=str(explained.since or ""),
            )
            candidate = self._publish(outpath, context, record, links_to=(source,), content=known.content)
        except (NotInStore, DamagedFile, UnpublishableContent, UnreadableMetadata) as error:
            logger.warning("%s is built: %s cannot be adopted: %s", node.dref, source, error)
            return []
        self.setting.observer.adopted(node.dref, candidate.rref, str(source))
        self._clean(scratch)
        return [candidate]

    def _link(self, source: RealizationRef, outpath: Path) -> None:
        """Link the files of a realization. Raises NotInStore, DamagedFile; StoreUnusable where it is not to blame."""
        with self.store.own_errors():
            try:
                atomic.copy_tree(self.store.path(source), outpath, skip={CONTEXT_FILE})
            except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
                place = self.store.path(source)  # which may be gone by now
                raise DamagedFile(error.filename or str(place), error.strerror or str(error)) from error

    # -- building ------------------------------------------------------------------------------------------------

    def _build(self, instance: int, scratch: Path, explained: Explanation) -> list[Candidate]:
        node, observer, realizer = self.node, self.setting.observer, self.node.derivation.realizer
        outpath = begin_build(self.store, scratch)
        context = self.setting.contexts.of(self.inputs)
        observer.started(node.dref, instance, outpath)
        why = {"reasons": explained.reasons, "since": str(explained.since or "")}
        made = []
        try:
            if isinstance(realizer, OwnRealizer):
                built = [self._build_own(realizer, context, instance, outpath, why)]
                links_to = realizer.links_to
            else:
                built = self._build_foreign(context, instance, outpath, why)
                links_to = ()
            for tree, record in built:
                made.append(self._publish(tree, context, record, links_to=links_to))
                observer.finished(node.dref, made[-1].rref, record.stopped - record.started)
        except (Exception, SystemExit) as error:  # who exits in a builder must not end the process as if all went well
            observer.failed(node.dref, error)
            reason = str(error) if isinstance(error, StagedmlError) else f"{type(error).__name__}: {error}"
            if isinstance(error, OSError) and error.errno in FULL_DISK:
                reason += f"; {self.store.free_bytes():,} bytes are free on the file system of {self.store.layout.root}"
                reason += ", `stagedml gc` shows what could go, with `--scratch-age 0s` also what failed builds left"
            raise BuildFailed(node.dref, reason, str(outpath)) from error
        except BaseException as error:
            observer.failed(node.dref, error)
            raise
        self._clean(scratch)
        return made

    def _publish(
        self,
        tree: Path,
        context: WrittenContext,
        record: BuildRecord,
        *,
        links_to: tuple[RealizationRef, ...],
        content: str | None = None,
    ) -> Candidate:
        ref = publish(
            self.store,
            self.node.ref,
            tree,
            context=context,
            inputs=self.inputs,
            build=record,
            links_to=links_to,
            code=self.node.code,
            content=content,
        )
        rref = str(ref)
        self.setting.contexts.add(rref, context)
        metric = self.store.metric_of(f"{self.store.storage_text}/{ref.folder}/{ref.rhash}")
        return Candidate(rref, max(record.started, record.published), (record.instance,), metric)

    def _clean(self, scratch: Path) -> None:
        try:
            os.rmdir(scratch)  # all that most builders write there is published
        except OSError:
            try:
                atomic.remove_tree(scratch)
            except OSError as error:
                logger.warning("%s stays: %s", scratch, error)

    def _build_own(
        self,
        realizer: OwnRealizer,
        context: WrittenContext,
        instance: int,
        outpath: Path,
        why: Mapping[str, Any],
    ) -> tuple[Path, BuildRecord]:
        setting = self.setting
        arguments = realizer.exec_arguments(setting.arguments.get(self.node.dref, {}))
        build = Build(
            storage=setting.storage,
            dref=self.node.dref,
            context=context,
            outpath=outpath,
            scratch=outpath.with_name("scratch"),
            instance=instance,
            arguments=arguments,
            offline=setting.offline,
            mirrors=setting.mirrors,
            listener=_Relay(self.node.dref, setting.observer),
        )
        key = self._key or ""
        started, stopped = realizer.run(build)
        reads = realizer.beyond(build)
        deterministic = realizer.deterministic
        record = record_of(
            instance, build.seed, started, stopped, arguments, deterministic, key=key, reads=reads, **why
        )
        return outpath, record

    def _build_foreign(
        self, context: WrittenContext, instance: int, outpath: Path, why: Mapping[str, Any]
    ) -> list[tuple[Path, BuildRecord]]:
        """Run a realizer that was written for Pylightnix; it makes its folders where we tell it to.

        Several folders are several instances, beginning with the one that is asked for.
        """
        layout, node = self.store.layout, self.node
        storage = StorageSettings(
            PylightnixPath(str(layout.root)), PylightnixPath(str(layout.storage)), PylightnixPath(str(outpath))
        )
        plain = {DRef(dref): [RRef(rref) for rref in rrefs] for dref, rrefs in context.items()}
        arguments = dict(self.setting.arguments.get(node.dref, {}))
        started = time.time()
        paths = node.derivation.realizer(storage, DRef(node.dref), plain, arguments)
        stopped = time.time()
        seed = stage_seed(self.store.config(node.ref))
        noted = json.loads(json.dumps(arguments, default=repr, skipkeys=True))  # what it takes need not be JSON
        return [
            (Path(path), record_of(index, derive_seed(seed, index), started, stopped, noted, **why))
            for index, path in enumerate(paths, start=instance)
        ]


class _Relay(BuildListener):
    """Passes on what a build reports, with the name of its derivation."""

    def __init__(self, dref: str, observer: Observer) -> None:
        self.dref, self.observer = dref, observer

    def progress(self, label: str, done: int, total: int | None, unit: str, note: str) -> None:
        self.observer.progress(self.dref, label, done, total, unit, note)

    def message(self, text: str) -> None:
        self.observer.message(self.dref, text)


def _merged(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Candidates without those that are one realization twice, as of instances with the same bytes."""
    by_rref: dict[str, Candidate] = {}
    for one in candidates:
        other = by_rref.get(one.rref)
        if other is not None:
            instances = tuple(sorted({*other.instances, *one.instances}))
            one = one._replace(instances=instances, started=max(one.started, other.started))
        by_rref[one.rref] = one
    return list(by_rref.values())


def _relied_on(decision: Decision) -> tuple[str, ...]:
    """What is used of what a decision found: what stands for the derivation, or what it adopts."""
    return decision.selected or tuple(source for _, source in decision.adopt)


def refuse_to_build(node: Node, why: str) -> None:
    """Raises NotRealized where a derivation must be there already."""
    if isinstance(node.derivation.realizer, MustBeThere):
        node.derivation.realizer.refuse(why)
