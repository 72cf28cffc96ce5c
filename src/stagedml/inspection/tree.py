"""A dependency graph as lines of text: a target on top, its inputs below it, each stage once in full.

The lines are linear in the graph: where a stage is met again, that is said and no more; and of what lies deep, the
depth is told instead of drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stagedml.core import words
from stagedml.core.plan import Verdict
from stagedml.inspection.graph import Graph, Node

SEEN = "(see above)"
_WORTH_TELLING_S = 1.0
_BRANCH_WIDTH = 3
_NAME_WIDTH = 24
_MOST_LEVELS = 20


@dataclass(frozen=True, slots=True)
class _Strokes:
    """What a tree is drawn with."""

    fork: str
    end: str
    down: str
    ellipsis: str


_BOXES = _Strokes("├─ ", "└─ ", "│  ", "…")
_ASCII = _Strokes("|- ", "`- ", "|  ", "...")


@dataclass(frozen=True, slots=True)
class _Line:
    """A stage in its place: before its name, what is drawn; after its columns, what is told of its inputs."""

    node: Node
    branches: str
    is_again: bool = False
    hidden_inputs: int = 0


def tree_lines(graph: Graph, *, width: int | None = None, depth: int | None = None, boxes: bool = True) -> list[str]:
    """A graph as aligned lines.

    Args:
        graph: what to draw.
        width: characters of a line, as far as reasons can be cut; None for no limit.
        depth: how many levels of inputs are shown; None for all.
        boxes: draw with `├─`; else with ASCII alone.
    """
    strokes = _BOXES if boxes else _ASCII
    drawn = list(_lines(graph, strokes, depth, _levels(width)))
    rows = [_row(line) for line in drawn]
    is_plan = any(line.node.verdict for line in drawn)
    header = ("", "STAGE", "HASH", "SIZE", "TAKES" if is_plan else "TOOK")
    lines = words.table(header, rows)
    notes = ["WHY" if is_plan and any(line.node.reason for line in drawn) else "", *map(_note, drawn)]
    left = max(map(len, lines), default=0) + 2
    if width is not None:
        room = max(width - left, len(SEEN))
        notes = [_cut(note, room, strokes.ellipsis) for note in notes]
    return [f"{line:<{left}}{note}".rstrip() for line, note in zip(lines, notes, strict=False)]


def _levels(width: int | None) -> int:
    """How many levels are drawn before their number is told instead."""
    return _MOST_LEVELS if width is None else max(min(_MOST_LEVELS, (width - 2 * _NAME_WIDTH) // _BRANCH_WIDTH), 4)


def _lines(graph: Graph, strokes: _Strokes, depth: int | None, levels: int) -> Iterator[_Line]:
    nodes = {node.ref: node for node in graph.nodes}
    inputs: dict[str, list[str]] = {ref: [] for ref in nodes}
    for input, ref in graph.edges:
        inputs[ref].append(input)
    shown: set[str] = set()
    stack = [(target, 0, "", "") for target in reversed(graph.targets)]
    while stack:
        ref, level, before, branch = stack.pop()
        below = inputs[ref]
        branches = before + branch if level <= levels else f"{strokes.ellipsis}{level} {branch}"
        if ref in shown:
            yield _Line(nodes[ref], branches, is_again=True)
            continue
        if depth is not None and level >= depth and below:
            yield _Line(nodes[ref], branches, hidden_inputs=len(below))
            continue
        shown.add(ref)
        yield _Line(nodes[ref], branches)
        passing = {"": "", strokes.fork: strokes.down, strokes.end: " " * _BRANCH_WIDTH}[branch]
        indent = before + passing if level < levels else before
        for place, input in enumerate(reversed(below)):
            stack.append((input, level + 1, indent, strokes.end if place == 0 else strokes.fork))


def _row(line: _Line) -> tuple[str, str, str, str, str]:
    node = line.node
    name = f"{line.branches}{node.name}"
    if line.is_again:
        return node.verdict, name, node.hash, "", ""
    size = words.size(node.size_bytes) if node.size_bytes is not None else ""
    return node.verdict, name, node.hash, size, takes(node)


def takes(node: Node) -> str:
    """How long a build took, or about how long it would take; nothing of what is not built."""
    if not node.verdict:
        return words.span(node.seconds) if node.seconds is not None else ""
    is_built = node.verdict in (Verdict.BUILD.value, Verdict.DEPENDS.value)
    return f"~{words.span(node.seconds)}" if is_built and node.seconds and node.seconds >= _WORTH_TELLING_S else ""


def _note(line: _Line) -> str:
    if line.is_again:
        return SEEN
    told = [words.printable(line.node.reason)] if line.node.reason else []
    told += [f"({words.count(line.hidden_inputs, 'input')} below)"] if line.hidden_inputs else []
    return " ".join(told)


def _cut(text: str, room: int, ellipsis: str) -> str:
    return text if len(text) <= room else text[: room - len(ellipsis)] + ellipsis
