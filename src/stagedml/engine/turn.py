"""One derivation's turn in a run: it is looked at again, and what is missing is adopted or built.

Over all processes on a store there is one builder for a derivation, its direct inputs and an instance; whoever comes
second waits and takes the first one's result. What is relied on is claimed, so that no collector takes it.

A turn is a generator: it yields each build that a person may take over, with its lock held, and goes on when it is
asked for more.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import logging
import os
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from stagedml.authoring.build import derive_seed, stage_seed
from stagedml.authoring.realized import MustBeThere
from stagedml.authoring.shipping import CannotBeSent
from stagedml.authoring.stage import OwnRealizer
from stagedml.core.candidate import Candidate
from stagedml.core.plan import Decision, PlanStep, Verdict
from stagedml.core.refs import RealizationRef, parse_rref
from stagedml.engine.apart import tail_of
from stagedml.engine.building import FailedApart, Relay, keep_log, perform
from stagedml.engine.explain import Explanation
from stagedml.engine.failures import (
    BuildFailed,
    Cancelled,
    ChangedInput,
    MatcherUnsatisfied,
    NotBegun,
    reason_of,
    users_traceback,
)
from stagedml.engine.handover import HandOver, PausedHere, is_waiting_here, waiting_here
from stagedml.engine.nodes import Node
from stagedml.engine.setting import Setting
from stagedml.engine.task import Task
from stagedml.errors import UsageError
from stagedml.store import adoptions, atomic, checkpoints
from stagedml.store.contexts import WrittenContext
from stagedml.store.hashing import UnpublishableContent
from stagedml.store.layout import BUILD_LOG, CONTEXT_FILE
from stagedml.store.metadata import BuildRecord, UnreadableMetadata
from stagedml.store.objects import FULL_DISK, DamagedFile, NotInStore
from stagedml.store.publish import Held, begin_build, build_key, building, publish
from stagedml.store.survey import Survey, changed_since

T = TypeVar("T")

_WAIT_S = 0.05

logger = logging.getLogger(__name__)


class CannotBorrow(UsageError):
    """The contents of a realization cannot stand for another derivation."""

    def __init__(self, source: str, dref: str, path: str) -> None:
        super().__init__(source, dref, path)
        self.source, self.dref, self.path = source, dref, path

    def __str__(self) -> str:
        return f"{self.source} cannot be borrowed for {self.dref}: its {self.path} spells what it was made from"


class Turn:
    """The turn of one derivation, whose inputs are settled."""

    def __init__(self, setting: Setting, node: Node, step: PlanStep) -> None:
        self.setting = setting
        self.store, self.node, self.step = setting.store, node, step
        self.inputs = {dref: tuple(sorted(setting.chosen[dref])) for dref in node.inputs}
        self._found = Survey([], [])
        self._owner = ""

    def realize(self) -> tuple[str, ...]:
        """As `pausing`, of a derivation whose builds nobody takes over."""
        return _unhanded(self.pausing())

    def pausing(self) -> Generator[HandOver, None, tuple[str, ...]]:
        """The realizations that stand for the derivation, made if they are not there.

        Yields:
            each build that a person may take over; it goes on when that is published, or left to the builder. Who
            gives it up throws Cancelled.

        Raises:
            PausedHere: it waits for a person in this process already.
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
            made = yield from self._make(decision, self._explained(decision))
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

    def _make(self, decision: Decision, explained: Explanation) -> Generator[HandOver, None, list[Candidate]]:
        """Build or adopt instances, but for those that another process makes meanwhile; returns what was made here."""
        if self.setting.crew is not None and not self.node.is_bound_here and len(decision.build) > 1:
            return self._make_at_once(decision.build, explained)
        made: list[Candidate] = []
        for instance in decision.build:
            made += yield from self._make_one(instance, explained)
        return made

    def _make_at_once(self, instances: Sequence[int], explained: Explanation) -> list[Candidate]:
        def make(instance: int) -> list[Candidate]:
            with self.setting.mutex:
                try:
                    return _unhanded(self._make_one(instance, explained))
                except BaseException:
                    self.setting.failed()
                    raise

        context = contextvars.copy_context
        with self.setting.outside(), ThreadPoolExecutor(len(instances)) as threads:
            futures = [threads.submit(context().run, make, instance) for instance in instances]
        errors = [error for one in futures if (error := one.exception()) is not None]
        if errors:  # that one was not begun is no reason
            raise next((error for error in errors if not isinstance(error, NotBegun)), errors[0])
        return [candidate for one in futures for candidate in one.result()]

    def _make_one(self, instance: int, explained: Explanation) -> Generator[HandOver, None, list[Candidate]]:
        node = self.node
        on_wait = functools.partial(self._wait, instance)
        with building(self.store, node.ref, self.inputs, instance, on_wait=on_wait) as held:
            now = Decision((), (instance,)) if node.forced else self._look()
            if instance not in now.build:
                return []
            source = dict(now.adopt).get(instance)
            adopted = source and self._adopt(instance, held.scratch, parse_rref(source), explained)
            return adopted or (yield from self._build(instance, held, explained))

    def _wait(self, instance: int, owner: str) -> bool:
        """Tell of waiting, once for each owner; in a thread, wait so that it can be cancelled."""
        crew = self.setting.crew
        if is_waiting_here(self._lock(instance)):
            raise PausedHere(self.node.dref)
        if owner != self._owner:
            self._owner = owner
            self.setting.observer.waiting(self.node.dref, owner)
        if crew is None:
            return False
        if crew.is_cancelled:
            raise Cancelled(self.node.dref)
        with self.setting.outside():
            time.sleep(_WAIT_S)
        return True

    def _lock(self, instance: int) -> str:
        """What the lock of a build is called in this process."""
        return f"{self.store.side_text} {build_key(self.node.ref, self.inputs, instance)}"

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

    def _build(self, instance: int, held: Held, explained: Explanation) -> Generator[HandOver, None, list[Candidate]]:
        node, setting, observer = self.node, self.setting, self.setting.observer
        outpath = begin_build(self.store, held.scratch)
        log = held.scratch / BUILD_LOG
        context = self.setting.contexts.of(self.inputs)
        kept = checkpoints.checkpoints_of(self.store.layout, held.scratch)
        task = self._task(instance, outpath, context, explained, kept)
        made: list[Candidate] = []
        try:
            if node.by_hand:
                observer.started(node.dref, instance, outpath)
                made += yield from self._handing_over(task, held.scratch)
            if made:
                self._clean(held.scratch)
                return made
            begun = os.stat(outpath).st_mtime
            built = perform(setting, node, task, log, held.lock)
            if (changed := changed_since(self.store, self.inputs, begun)) is not None:
                raise ChangedInput(changed)
            for tree, record in built:
                keep_log(log, tree)
                record = replace(record, attempts=checkpoints.attempts(kept))
                made.append(self._publish(tree, context, record, links_to=getattr(task.builder, "links_to", ())))
                observer.finished(node.dref, made[-1].rref, record.stopped - record.started)
        except NotBegun:
            raise
        except (Cancelled, CannotBeSent) as error:
            observer.failed(node.dref, error)
            raise
        except (Exception, SystemExit) as error:  # who exits in a builder must not end the process as if all went well
            raised = error.raised if isinstance(error, FailedApart) else error
            observer.failed(node.dref, raised)
            raise self._failed(error, outpath, log, explained) from raised
        except BaseException as error:
            observer.failed(node.dref, error)
            raise
        self._clean(held.scratch)
        self._forget(kept)
        return made

    def _handing_over(self, task: Task, scratch: Path) -> Generator[HandOver, None, list[Candidate]]:
        """Let a person build; returns what was published so, nothing if it is left to the builder."""
        made: list[Candidate] = []

        def publish_made(tree: Path, record: BuildRecord) -> None:
            with self.setting.mutex:
                made.append(self._publish(tree, self.setting.contexts.of(self.inputs), record, links_to=()))
                self.setting.observer.finished(task.dref, made[-1].rref, record.stopped - record.started)

        try:
            with waiting_here(self._lock(task.instance)), self.setting.outside():
                yield HandOver(task, self.store, Relay(task.dref, self.setting), publish_made)
        except Cancelled:
            self._clean(scratch)
            raise
        return made

    def _forget(self, kept: Path) -> None:
        try:
            checkpoints.forget(kept)
        except OSError as error:
            logger.warning("%s stays: %s", kept, error)

    def _task(self, instance: int, outpath: Path, context: WrittenContext, explained: Explanation, kept: Path) -> Task:
        setting, realizer = self.setting, self.node.derivation.realizer
        given = setting.arguments.get(self.node.dref, {})
        is_own = isinstance(realizer, OwnRealizer)
        notes = {"reasons": explained.reasons, "since": str(explained.since or "")}
        return Task(
            dref=self.node.dref,
            builder=realizer,
            is_foreign=not is_own,
            context=context,
            outpath=outpath,
            instance=instance,
            arguments=realizer.exec_arguments(given) if isinstance(realizer, OwnRealizer) else dict(given),
            offline=setting.offline,
            mirrors=setting.mirrors,
            checkpoints=kept,
            imports=self.node.imports,
            notes={**notes, "key": self._key or ""} if is_own else notes,
        )

    def _failed(self, error: BaseException, outpath: Path, log: Path, explained: Explanation) -> BuildFailed:
        """What is told of a failure. On a full disk, what the builder wrote makes room for others."""
        raised = error.raised if isinstance(error, FailedApart) else error
        reason = reason_of(raised)
        kept = str(outpath)
        frames = error.frames if isinstance(error, FailedApart) else users_traceback(error)
        if isinstance(raised, OSError) and raised.errno in FULL_DISK:
            free, kept = self.store.free_bytes(), ""
            with contextlib.suppress(OSError):
                atomic.make_empty(os.fspath(outpath))
            reason += f"; {free:,} bytes were free on the file system of {self.store.layout.root}, and what the builder"
            reason += " had written was deleted; `stagedml gc` shows what else could go, with `--scratch-age 0s` also"
            reason += " what other failed builds left"
        tail = tail_of(log)
        with contextlib.suppress(OSError), open(log, "a", encoding="utf-8") as file:
            file.write(f"{frames}{reason}\n")
        return BuildFailed(
            self.node.dref,
            reason,
            kept,
            frames=frames,
            log=tail,
            log_path=str(log),
            sources=self._sources(reason),
            differences=[str(reason) for reason in explained.reasons] if explained.since else (),
            since=str(explained.since or ""),
        )

    def _sources(self, reason: str) -> list[str]:
        """What was told to those inputs, or to what they were made of, whose folders a text names: local files, say."""
        nodes = self.setting.nodes
        pending = [dref for dref in self.inputs if dref in nodes and nodes[dref].ref.folder in reason]
        told: dict[str, str] = {}  # by derivation: many may rest on one
        while pending:
            node = nodes[pending.pop()]
            if node.dref in told:
                continue
            given = ", ".join(f"{name}={value!r}" for name, value in node.exec_values.items())
            told[node.dref] = given and f"{node.ref.name} was made with {given}"
            if not given:
                pending += [dref for dref in node.inputs if dref in nodes]
        return [source for source in told.values() if source]

    def _publish(
        self,
        tree: Path,
        context: WrittenContext,
        record: BuildRecord,
        *,
        links_to: tuple[RealizationRef, ...],
        content: str | None = None,
    ) -> Candidate:
        with self.setting.outside():
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


def _unhanded(turn: Generator[HandOver, None, T]) -> T:
    """What comes of a turn in which no build is taken over."""
    try:
        handed = next(turn)
    except StopIteration as end:
        found: T = end.value
        return found
    raise AssertionError(f"nobody takes over {handed.task.dref}")


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
