"""Dependency graphs: what realizations rest on, or what a plan would go through, as one frozen view of nodes and edges.

Inputs stand before what is made of them. Nothing here is recursive, and each node is looked at once: a graph costs what
its nodes and edges cost, however deep it is. Its text is drawn by `tree`, its picture by `drawing`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stagedml.core import config as configs
from stagedml.core.plan import PlanStep, Verdict
from stagedml.core.refs import is_rref, parse_dref, parse_rref
from stagedml.errors import UsageError
from stagedml.inspection.listing import hash_of
from stagedml.inspection.pictures import write_picture
from stagedml.ml.libraries import LibraryMissing
from stagedml.store.metadata import BuildRecord, Metadata, UnreadableMetadata
from stagedml.store.objects import NotInStore, Store

if TYPE_CHECKING:
    from stagedml.engine.realize import Target

REALIZATION, STEP = "realization", "step"
_SHORT = 6  #: characters of a hash
_TEXT_WIDTH = 110


@dataclass(frozen=True, slots=True)
class Node:
    """One stage of a graph.

    Attributes:
        ref: the realization; of a plan's step, the derivation.
        name: of the stage.
        hash: the start of the reference's.
        kind: `realization`, or `step` of a plan.
        verdict: of a step, the plan's: `reuse`, `adopt`, `build` or `depends`; "" of a realization.
        seconds: how long its build took, or would take; None where nothing tells.
        size_bytes: of the realization, or of what a step reuses or adopts; None where there is none, or nothing tells.
        reason: of a step, why what is there does not do; of a realization, what is wrong with it, if anything is.
    """

    ref: str
    name: str
    hash: str
    kind: str
    verdict: str = ""
    seconds: float | None = None
    size_bytes: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Graph:
    """What some targets rest on.

    `print` shows it as a tree, a notebook as a picture, and `save` writes the picture.

    Attributes:
        nodes: inputs first.
        edges: an input and what is made of it, by their references.
        targets: the references of what was asked for.
    """

    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]
    targets: tuple[str, ...]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture; the ending of the path says the format: `.svg`, `.png`, or `.dot` for Graphviz.

        Raises:
            UsageError: it is none of these.
            LibraryMissing: the extra `plot` is not installed; `.dot` needs nothing.
        """
        from stagedml.inspection import drawing

        return write_picture(
            path,
            {
                ".svg": lambda: drawing.svg(self).encode(),
                ".png": lambda: drawing.png(self),
                ".dot": lambda: drawing.dot(self).encode(),
            },
        )

    def __str__(self) -> str:
        from stagedml.inspection.tree import tree_lines

        return "\n".join(tree_lines(self, width=_TEXT_WIDTH))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    def _repr_svg_(self) -> str | None:
        from stagedml.inspection import drawing

        try:
            return drawing.svg(self)
        except LibraryMissing:
            return None  # the notebook shows the text


def depgraph(of: str | Sequence[str] | Target[Any], path: str | os.PathLike[str] | None = None) -> Graph:
    """The graph of what something rests on.

    Args:
        of: a realization, several, or what `instantiate` returned: then the nodes tell what `realize` would do.
        path: where to write the picture, too, as of `Graph.save`.

    Raises:
        UsageError: it is none of these.
        NotInStore: there is no such realization.
        LibraryMissing: the extra `plot` is not installed, and there is a `path`.
    """
    passed: Any = of  # whoever checks no types passes other things, too
    several = [passed] if isinstance(passed, str) else list(passed) if isinstance(passed, (list, tuple)) else []
    if several and all(isinstance(one, str) for one in several):
        if wrong := [one for one in several if not is_rref(one)]:
            raise UsageError(
                f"depgraph: {wrong[0]!r} is no realization; pass one, several, or what `instantiate(stage)` returned"
            )
        from stagedml.authoring.session import current_store

        graph = graph_of_realizations(current_store(), several)
    else:
        graph = graph_of_plan(passed)
    if path is not None:
        graph.save(path)
    return graph


def graph_of_realizations(store: Store, rrefs: Iterable[str]) -> Graph:
    """The graph of what some realizations rest on. Raises NotInStore where one of these is not there."""
    targets = tuple(dict.fromkeys(rrefs))
    for rref in targets:
        store.path(parse_rref(rref))
    found = {rref: _realization(store, rref) for rref in targets}

    def inputs_of(rref: str) -> tuple[str, ...]:
        if rref not in found:
            found[rref] = _realization(store, rref)
        return found[rref][1]

    order = _inputs_first(targets, inputs_of)
    edges = tuple((input, rref) for rref in order for input in found[rref][1])
    return Graph(tuple(found[rref][0] for rref in order), edges, targets)


def _realization(store: Store, rref: str) -> tuple[Node, tuple[str, ...]]:
    """A realization and its direct inputs."""
    ref = parse_rref(rref)
    known = _metadata(store, rref)
    reason = ""
    try:
        store.path(ref)
        inputs = tuple(dict.fromkeys(input for inputs in store.inputs_of(ref, known).values() for input in inputs))
    except NotInStore:
        inputs, reason = (), "not in the store"
    build = _last_build(known)
    return (
        Node(
            ref=rref,
            name=ref.name,
            hash=ref.rhash[:_SHORT],
            kind=REALIZATION,
            seconds=build.stopped - build.started if build is not None else None,
            size_bytes=known.size_bytes if known is not None else None,
            reason=reason,
        ),
        inputs,
    )


def _metadata(store: Store, rref: str) -> Metadata | None:
    try:
        return store.metadata(parse_rref(rref))
    except UnreadableMetadata:
        return None


def _last_build(known: Metadata | None) -> BuildRecord | None:
    return max(known.builds, key=lambda build: max(build.started, build.published)) if known is not None else None


def _inputs_first(targets: Iterable[str], inputs_of: Callable[[str], Iterable[str]]) -> list[str]:
    """All that some targets rest on, and these, each after its inputs."""
    done: dict[str, None] = {}
    opened: set[str] = set()
    for target in targets:
        if target in opened:
            continue
        opened.add(target)
        stack = [(target, iter(inputs_of(target)))]
        while stack:
            ref, inputs = stack[-1]
            following = next((input for input in inputs if input not in opened), None)
            if following is None:
                done[ref] = None
                stack.pop()
            else:
                opened.add(following)
                stack.append((following, iter(inputs_of(following))))
    return list(done)


def graph_of_plan(target: Target[Any]) -> Graph:
    """The graph of what `realize` would do with a target, and why. Raises UsageError where it is none."""
    from stagedml.engine.events import Observer
    from stagedml.engine.realize import prepare

    _, run = prepare(target, observer=Observer())
    drawn = run.plan()
    edges = tuple(
        (input, step.dref)
        for step in drawn.steps
        for input in dict.fromkeys(configs.inputs_of(run.store.config_of(step.dref)))
    )
    return Graph(tuple(_step(run.store, step) for step in drawn.steps), edges, drawn.targets)


def _step(store: Store, step: PlanStep) -> Node:
    from stagedml.engine.console import told

    sizes = [known.size_bytes for rref in step.rrefs if (known := _metadata(store, rref)) is not None]
    return Node(
        ref=step.dref,
        name=parse_dref(step.dref).name,
        hash=hash_of(step.dref)[:_SHORT],
        kind=STEP,
        verdict=step.verdict.value,
        seconds=step.seconds,
        size_bytes=sum(sizes) if sizes else None,
        reason="" if step.verdict is Verdict.REUSE else ", ".join(map(told, step.reasons)),
    )
