"""Taking over builds at the prompt: a realize pauses where a person builds, and goes on when asked to.

    rh = repl_realize(instantiate(all_counts))        # everything before `count-letters` is built; that one is paused
    build = repl_build()                              # what its builder would get; build.outpath is empty
    count_letters.run(build)                          # its own builder; or write the files yourself
    repl_continue()                                   # publish what is there, and go on; the RRef, if that was the last

Names and meanings are Pylightnix's. In a pause this process holds the lock of that build: whoever else needs it waits.
If the process dies the lock is free. The realize that was begun last is remembered here, once for the process, and is
meant where no helper is given.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import DRef, RRef
from stagedml.authoring.session import using_store
from stagedml.core.refs import parse_dref
from stagedml.engine.console import LineObserver
from stagedml.engine.events import Observer
from stagedml.engine.failures import Cancelled
from stagedml.engine.handover import HandOver
from stagedml.engine.realize import Force, Target, one_result, one_target, prepare
from stagedml.engine.run import Run
from stagedml.errors import UsageError


class ReplHelper:
    """A realize that a person takes part in: where it is paused, or what came of it.

    Without a reference to it that is left, it ends as if it was cancelled, but for its scratch, which stays until the
    next attempt. The process remembers the last one.
    """

    def __init__(self, run: Run, declared: Any) -> None:
        self._run, self._declared = run, declared
        self._going = run.pausing()
        self._handed: HandOver | None = None
        self._result: dict[DRef, list[RRef]] | None = None
        self._process = os.getpid()

    @property
    def is_paused(self) -> bool:
        """Whether a build waits for a person."""
        return self._handed is not None

    @property
    def dref(self) -> DRef | None:
        """The derivation whose build is paused; None where none is."""
        return DRef(self._handed.task.dref) if self._handed is not None else None

    @property
    def instance(self) -> int | None:
        """Which instance of it."""
        return self._handed.task.instance if self._handed is not None else None

    @property
    def result(self) -> dict[DRef, list[RRef]] | None:
        """The realizations of the targets; None as long as something is to be done, or if it ended badly."""
        return None if self._result is None else {dref: list(rrefs) for dref, rrefs in self._result.items()}

    @property
    def rref(self) -> RRef | None:
        """The realization of the one target, once it is there. Raises UsageError where there are several."""
        if self._result is None:
            return None
        one_target(self._run, self._declared)
        return one_result(self._run)

    def __repr__(self) -> str:
        if self._handed is not None:
            instance = f" instance {self.instance}" if self.instance else ""
            return (
                f"<paused at {self._name}{instance}, {self.dref}: "
                "repl_build() to build it by hand, repl_continue() to go on, repl_cancel() to end this>"
            )
        if self._result is None:
            return "<over, without a result>"
        return f"<over: {', '.join(rref for rrefs in self._result.values() for rref in rrefs)}>"

    @property
    def _name(self) -> str:
        assert self._handed is not None
        return parse_dref(self._handed.task.dref).name

    def _go_on(self) -> None:
        """Run to the next pause, or to the end."""
        self._handed = None
        try:
            with using_store(self._run.store):
                self._handed = next(self._going)
        except StopIteration:
            self._result = {DRef(dref): [RRef(rref) for rref in self._run.chosen[dref]] for dref in self._run.targets}

    def _cancel(self) -> None:
        handed, self._handed = self._handed, None
        assert handed is not None
        cancelled = Cancelled(handed.task.dref)
        try:
            self._going.throw(cancelled)
        except Cancelled as error:
            if error is not cancelled:
                raise

    def _paused(self) -> HandOver:
        """What waits. Raises UsageError."""
        if self._process != os.getpid():
            raise UsageError(f"this is paused in process {self._process}, and can go on there alone")
        if self._handed is not None:
            return self._handed
        if self._result is None:
            raise UsageError("nothing is paused any more, this realize is over; begin anew with `repl_realize`")
        names = ", ".join(parse_dref(dref).name for dref in self._run.targets)
        raise UsageError(
            f"nothing is paused: {names} is realized, `repl_rref()` tells as what; "
            "`repl_realize(..., force=True)` builds it anew"
        )


#: The realize that was begun last in this process.
_last: ReplHelper | None = None


def repl_realize(
    target: Target[Any],
    force_interrupt: Force = True,
    *,
    force: Force = False,
    args: Mapping[str, Any] | None = None,
    offline: bool | None = None,
    observer: Observer | None = None,
) -> ReplHelper:
    """Realize up to the first build that is to be interrupted: it is paused, and a person may make it.

    Builds run in this process, one after the other. What is in the store already, or can be adopted, is not built and
    so not interrupted. Several instances of one derivation are builds of their own.

    Args:
        target: what `instantiate` returned.
        force_interrupt: the builds to pause at: those of the targets (True), of the given stages, names or references,
            or none (False).
        force: as of `realize`: what to build anew though it is there.
        args, offline: as of `realize`.
        observer: as of `realize`; default plain lines on standard error where that is a terminal, which leave the
            prompt alone.

    Returns:
        where it is paused, or what came of it if nothing had to be interrupted.

    Raises:
        UsageError: what is to be interrupted is not in this closure.
        PausedHere: it needs what is paused in this process already.
        BuildError: as of `realize`, of what is built before the pause.
    """
    global _last
    declared, run = prepare(
        target,
        force=force,
        args=args,
        offline=offline,
        jobs=1,
        observer=observer or (LineObserver() if sys.stderr is not None and sys.stderr.isatty() else Observer()),
        by_hand=force_interrupt,
    )
    helper = ReplHelper(run, declared)
    helper._go_on()
    _last = helper
    return helper


def repl_build(rh: ReplHelper | None = None) -> Build:
    """The build that is paused, for a person to make: to write what its stage promises into `build.outpath`.

    The folder is empty at first; inputs, config, seed, `log_dir` and `scratch` are what the builder would have. Asked
    again, it gives the same build. `stage.run(build)` lets the stage's builder fill it, whose arguments are
    `stage.arguments(build)`. What is in `checkpoint_dir` is gone when the build is over: no builder goes on with what a
    person began.

    Raises:
        UsageError: nothing is paused.
    """
    return _helper(rh)._paused().build


def repl_continueAll(  # noqa: N802 - Pylightnix's name
    out_paths: Sequence[str | os.PathLike[str]] | None = None, *, rh: ReplHelper | None = None
) -> dict[DRef, list[RRef]] | None:
    """Publish what was made and go on, to the next pause or the end. If nobody asked for the build, its builder runs.

    What a person made is recorded as such, `why` tells, and no other derivation adopts it.

    Args:
        out_paths: a list of one folder, to be copied and published instead of `build.outpath`.
        rh: default the realize that was begun last.

    Returns:
        the realizations of the targets; None if there is another pause.

    Raises:
        UsageError: nothing is paused, or `out_paths` is no list of one folder.
        MissingOutputs, UnpublishableContent, StoreUnusable: what was made cannot be published. Nothing is lost, and the
            pause goes on.
        BuildError: as of `realize`, of what is built then; the realize is over.
    """
    helper = _helper(rh)
    handed = helper._paused()
    filled = _one_folder(out_paths)
    if handed.is_taken or filled is not None:
        handed.publish(filled)
    helper._go_on()
    return helper.result


def repl_continueMany(  # noqa: N802 - Pylightnix's name
    out_paths: Sequence[str | os.PathLike[str]] | None = None, *, rh: ReplHelper | None = None
) -> list[RRef] | None:
    """As `repl_continueAll`, of a closure with one target: its realizations, or None if there is another pause."""
    helper = _helper(rh)
    one_target(helper._run, helper._declared)
    repl_continueAll(out_paths, rh=helper)
    return repl_rrefs(helper)


def repl_continue(
    out_paths: Sequence[str | os.PathLike[str]] | None = None, *, rh: ReplHelper | None = None
) -> RRef | None:
    """As `repl_continueAll`, of a closure with one target: its realization, or None if there is another pause.

    Raises UsageError where it has several realizations at the end, all of which `repl_rrefs` tells.
    """
    helper = _helper(rh)
    one_target(helper._run, helper._declared)
    repl_continueAll(out_paths, rh=helper)
    return helper.rref


def repl_continueBuild(build: Build, rh: ReplHelper | None = None) -> RRef | None:  # noqa: N802 - Pylightnix's name
    """As `repl_continue`, if `build` is what is paused. Raises UsageError if it is not."""
    return repl_continue(rh=_of_build(build, rh))


def repl_cancel(rh: ReplHelper | None = None) -> None:
    """End a paused realize: what was made is deleted, and the lock is free. What was published before stays.

    Raises:
        UsageError: nothing is paused.
    """
    helper = _helper(rh)
    helper._paused()
    helper._cancel()


def repl_cancelBuild(build: Build, rh: ReplHelper | None = None) -> None:  # noqa: N802 - Pylightnix's name
    """As `repl_cancel`, if `build` is what is paused. Raises UsageError if it is not."""
    repl_cancel(_of_build(build, rh))


def repl_result(rh: ReplHelper | None = None) -> dict[DRef, list[RRef]] | None:
    """The realizations of the targets; None as long as something is paused, or if it was cancelled or failed."""
    return _helper(rh).result


def repl_rrefs(rh: ReplHelper | None = None) -> list[RRef] | None:
    """As `repl_result`, of a closure with one target: its realizations."""
    helper = _helper(rh)
    one_target(helper._run, helper._declared)
    result = helper.result
    return None if result is None else result[DRef(helper._run.targets[0])]


def repl_rref(rh: ReplHelper | None = None) -> RRef | None:
    """As `repl_result`, of a closure with one target that has one realization. Raises UsageError where it has more."""
    return _helper(rh).rref


def _helper(rh: object) -> ReplHelper:
    """The one that is meant. Raises UsageError."""
    if rh is None:
        if _last is None:
            raise UsageError("nothing is paused: begin with `repl_realize(instantiate(stage))`")
        return _last
    if not isinstance(rh, ReplHelper):
        raise UsageError(f"rh={rh!r}: pass what `repl_realize` returned")
    return rh


def _of_build(build: object, rh: ReplHelper | None) -> ReplHelper:
    helper = _helper(rh)
    handed = helper._paused()
    if not handed.is_taken or handed.build is not build:
        raise UsageError(f"{build!r} is not the build that is paused; `repl_build()` gives that")
    return helper


def _one_folder(out_paths: object) -> Path | None:
    if out_paths is None:
        return None
    if isinstance(out_paths, ReplHelper):
        raise UsageError("pass what `repl_realize` returned by its name, `rh=...`")
    paths = list(out_paths) if isinstance(out_paths, Sequence) and not isinstance(out_paths, str) else []
    if len(paths) != 1 or not isinstance(paths[0], (str, os.PathLike)):
        raise UsageError(
            f"out_paths={out_paths!r}: give a list of one folder; several results are builds of their own, as of "
            "`redefine(stage, new_matcher=latest(3))`, each with its pause"
        )
    return Path(paths[0])
