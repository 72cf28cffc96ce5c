"""Builds that wait for a person to make them.

Such a build holds its lock, so nobody else builds it, and its scratch, so no collector takes it. What comes out is
recorded as a person's, and is never adopted: nothing tells that its builder would make the same. Locks tell processes
apart, not who in one process waits for whom; so what waits in this process is noted here, and whoever needs it is
refused instead of waiting for ever.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from stagedml.authoring.build import Build, BuildListener, check_outputs, mark_start, mark_stop
from stagedml.core.reasons import Cause, Reason
from stagedml.core.refs import parse_dref
from stagedml.engine.records import record_of, user_name
from stagedml.engine.task import Task
from stagedml.errors import UsageError
from stagedml.store import atomic
from stagedml.store.metadata import A_PERSON, BuildRecord
from stagedml.store.objects import Store

#: What waits: (process, lock). A forked child waits for nobody.
_waiting: set[tuple[int, str]] = set()


class PausedHere(UsageError):
    """A derivation is needed whose build waits, in the same process, for a person."""

    def __init__(self, dref: str) -> None:
        super().__init__(dref)
        self.dref = dref

    def __str__(self) -> str:
        return (
            f"{parse_dref(self.dref).name} is paused in this process, to be built by hand: `repl_continue()` publishes "
            f"what was made, `repl_cancel()` gives it up\n  derivation {self.dref}"
        )


@contextlib.contextmanager
def waiting_here(lock: str) -> Iterator[None]:
    """Note that the owner of a lock waits for a person inside the block."""
    key = (os.getpid(), lock)
    _waiting.add(key)
    try:
        yield
    finally:
        _waiting.discard(key)


def is_waiting_here(lock: str) -> bool:
    """Whether the owner of a lock waits for a person who would have to act in this process."""
    return (os.getpid(), lock) in _waiting


class HandOver:
    """A build that a person may make.

    Attributes:
        task: what its builder would do.
        is_taken: whether somebody asked for the build; if not, it is left to the builder.
    """

    def __init__(
        self, task: Task, store: Store, listener: BuildListener, publish: Callable[[Path, BuildRecord], None]
    ) -> None:
        self.task = task
        self.is_taken = False
        self._store, self._listener, self._publish = store, listener, publish
        self._started = time.time()

    @functools.cached_property
    def build(self) -> Build:
        """What the person works with. Its checkpoints are its own: no builder goes on with what a person began."""
        self.is_taken = True
        return self.task.for_person().build(self._store, self._listener)

    def publish(self, filled: Path | None = None) -> None:
        """Publish what was made, in the build's own folder or in another one, which is copied.

        Raises:
            MissingOutputs: something is not there that the stage promises. As with all errors, nothing is lost.
            UnpublishableContent: something cannot be kept.
            StoreUnusable: the store cannot be written.
        """
        tree = self.build.outpath if filled is None else self._copied(filled)
        check_outputs(self.build, tree)
        with self._store.own_errors():
            started, stopped = mark_start(tree, self._started), mark_stop(tree)
        task = self.task
        reasons = (Reason(Cause.BY_HAND, f"by hand by {user_name()}"), *task.notes.get("reasons", ()))
        notes = {**task.notes, "reasons": reasons, "reads": (A_PERSON,), "key": ""}
        self._publish(
            tree,
            record_of(
                task.instance, self.build.seed, started, stopped, task.noted_arguments, deterministic=False, **notes
            ),
        )

    def _copied(self, filled: Path) -> Path:
        if not filled.is_dir():
            raise UsageError(f"{filled} is no folder; give the one that was filled")
        if filled.resolve() == self.build.outpath.resolve():
            return self.build.outpath
        tree = self.build.outpath.with_name("given")
        with self._store.own_errors():
            atomic.make_empty(os.fspath(tree))
            atomic.copy_tree(filled, tree, skip=())
        return tree
