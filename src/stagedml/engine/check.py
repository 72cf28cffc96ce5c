"""Does a stage give the same bytes when it is built again? It is built apart, and compared with what is in the store.

Each rebuild runs in a process of its own with a hash seed of its own, in another folder and without checkpoints, so
that what depends on these shows. Nothing of it is published. The verdict is kept with the realization: the collector
warns of what cannot be built again.
"""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stagedml.core.refs import RealizationRef, parse_rref
from stagedml.engine.apart import Crew, tail_of
from stagedml.engine.building import FailedApart, perform
from stagedml.engine.events import Observer
from stagedml.engine.failures import BuildFailed, reason_of
from stagedml.engine.nodes import Node
from stagedml.engine.realize import Target, one_result, one_target, prepare
from stagedml.engine.records import host_name, user_name
from stagedml.engine.run import Run
from stagedml.engine.task import Task
from stagedml.errors import UsageError
from stagedml.store import atomic, locks
from stagedml.store.layout import BUILD_LOG, CONTEXT_FILE, UNHASHED
from stagedml.store.metadata import CheckRecord
from stagedml.store.publish import begin_build

if TYPE_CHECKING:
    from stagedml.ml.sameness import Comparison, Sameness, Tolerance


@dataclass(frozen=True)
class Check:
    """What came out of building a realization again.

    Attributes:
        rref: the realization.
        comparisons: of it with each rebuild.
        kept: the folders of the rebuilds that are different, for inspection; `gc` sweeps them after some days.
    """

    rref: str
    comparisons: tuple[Comparison, ...]
    kept: tuple[str, ...]

    @property
    def sameness(self) -> Sameness:
        """The worst of the verdicts."""
        return max(one.sameness for one in self.comparisons)

    @property
    def worst(self) -> Comparison:
        """The first comparison with the worst verdict."""
        return next(one for one in self.comparisons if one.sameness == self.sameness)

    def __str__(self) -> str:
        return f"{self.rref}: {self.worst.told()}"


def check(
    target: Target[Any],
    *,
    times: int = 1,
    tolerance: Tolerance | None = None,
    offline: bool | None = None,
    observer: Observer | None = None,
) -> Check:
    """Build a stage again, `times` times, and say how much the results are the same.

    Args:
        target: what `instantiate` returned, with one result; it is realized if it is not yet.
        times: how many rebuilds.
        tolerance: how far apart floating point numbers may be; see `ml.sameness.Tolerance`.
        offline: as of `realize`.
        observer: as of `realize`.

    Raises:
        UsageError: the target has several results, or runs no code that could be run again.
        BuildFailed: a rebuild failed.
    """
    if type(times) is not int or times < 1:
        raise UsageError(f"check(times={times!r}): give a whole number, at least 1")
    from stagedml.ml.sameness import Tolerance

    if tolerance is not None and not isinstance(tolerance, Tolerance):
        raise UsageError(f"check(tolerance={tolerance!r}): give a value such as Tolerance(rtol=1e-3)")
    result, run = prepare(target, offline=offline, observer=observer)
    one_target(run, result)
    run.realize()
    ref = parse_rref(one_result(run))
    node = next(node for node in run.nodes if node.dref == run.targets[0])
    if node.is_bound_here and node.code is None:
        raise UsageError(f"{node.dref} runs no code of yours; there is nothing to check")
    comparisons, kept = [], []
    for number in range(times):
        comparison, folder = _compared(run, node, ref, number, tolerance)
        comparisons.append(comparison)
        kept += [folder] if folder else []
    found = Check(str(ref), tuple(comparisons), tuple(kept))
    run.store.note_check(
        ref, CheckRecord(time.time(), host_name(), user_name(), times, str(found.sameness), found.worst.told())
    )
    return found


def _compared(
    run: Run, node: Node, ref: RealizationRef, number: int, tolerance: Tolerance | None
) -> tuple[Comparison, str]:
    """Build once more; returns how much it is the same, and where it is kept if it is different."""
    from stagedml.ml.compare import compare_trees
    from stagedml.ml.sameness import Sameness

    store = run.store
    name = f"check-{ref.dhash[:16]}-{uuid.uuid4().hex[:8]}"
    scratch = store.layout.scratch / name
    with locks.exclusive(store.layout.locks / f"{name}.lock"):
        outpath = begin_build(store, scratch)
        _build(run, node, ref, outpath, number)
        found = compare_trees(store.path(ref), outpath, left_out=UNHASHED | {CONTEXT_FILE}, tolerance=tolerance)
        if found.sameness == Sameness.DIFFERENT:
            return found, str(outpath)
        atomic.remove_tree(scratch)
        return found, ""


def _build(run: Run, node: Node, ref: RealizationRef, outpath: Path, number: int) -> None:
    """Build into a folder what the store holds."""
    store = run.store
    inputs = {dref: tuple(sorted(run.chosen[dref])) for dref in node.inputs}
    known = store.metadata(ref)
    build = known.builds[-1] if known is not None else None
    crew = Crew(hash_seed=number + 1)
    setting = dataclasses.replace(run.setting(), crew=crew)
    given: Mapping[str, Any] = build.arguments if build is not None else {}
    realizer, is_foreign = node.builder
    task = Task(
        dref=node.dref,
        builder=realizer,
        is_foreign=is_foreign,
        context=setting.contexts.of(inputs),
        outpath=outpath,
        instance=build.instance if build is not None else 0,
        arguments=given,
        offline=run.offline,
        mirrors=run.mirrors,
        imports=node.imports,
    )
    log = outpath.parent / BUILD_LOG
    try:
        with setting.mutex:
            perform(setting, node, task, log, None)
    except FailedApart as error:
        reason = f"built once more, it failed: {reason_of(error.raised)}"
        raise BuildFailed(node.dref, reason, str(outpath), error.frames, tail_of(log), str(log)) from error.raised
    except BaseException:
        crew.cancel()
        raise
    finally:
        crew.close()
