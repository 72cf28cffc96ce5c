"""A dependency graph as a picture: a box for each stage, inputs above what is made of them.

The verdict of a plan is told by colour and by its word in the box; where it is not made yet, the frame is dashed, too.
Boxes bring their own background and lines are of a middling grey, for light and for dark. The same
graph gives the same bytes. Where the boxes go and how lines run is graphlay's work (docs/adr/0010-pictures.md); PNG is
resvg's, with the fonts that come with matplotlib, so that it needs none of the system's.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as Xml

from stagedml.core import words
from stagedml.core.plan import Verdict
from stagedml.inspection.graph import Graph, Node
from stagedml.inspection.tree import takes
from stagedml.ml.libraries import imported

_FONTS = "'Segoe UI', 'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif"
_PNG_FONT = "DejaVu Sans"
_PNG_ZOOM = 2
_PNG_MOST_PIXELS = 16_000  #: of a side; viewers refuse larger ones

_NAME_SIZE, _DETAIL_SIZE = 13, 11
_LINE_HEIGHT = 16
_PADDING = 12
_LEAST_WIDTH = 120
_MARGIN = 12
_LONGEST_NAME, _LONGEST_REASON = 44, 40

_LINE = "#7d8590"
_TEXT, _DETAIL = "#1f2328", "#424a53"


@dataclass(frozen=True, slots=True)
class _Look:
    fill: str
    frame: str
    is_dashed: bool = False


_MADE = _Look("#eceff3", "#6e7781")
_LOOKS = {
    Verdict.REUSE.value: _Look("#dcefe1", "#2f7d4f"),
    Verdict.ADOPT.value: _Look("#d9e8fb", "#2c64b0"),
    Verdict.BUILD.value: _Look("#fde3cf", "#bc5b10"),
    Verdict.DEPENDS.value: _Look("#fdf3c8", "#8f6c00", is_dashed=True),
}


@dataclass(frozen=True, slots=True)
class _Box:
    node: Node
    lines: tuple[str, ...]  #: below the name
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class _Placed:
    """Boxes by their upper left corners, and lines by their corners, from 0 to the size of all."""

    corners: tuple[tuple[float, float], ...]
    routes: tuple[tuple[tuple[float, float], ...], ...]
    width: float
    height: float


def svg(graph: Graph) -> str:
    """The picture as SVG. Raises LibraryMissing."""
    boxes = [_box(node) for node in graph.nodes]
    placed = _placed(graph, boxes)
    chips = _chips(graph)
    legend = _legend_size(chips)
    top = _MARGIN + (legend[1] + _MARGIN if chips else 0)
    width = max(placed.width, legend[0]) + 2 * _MARGIN
    root = _root(width, top + placed.height + _MARGIN, graph)
    _draw_legend(root, chips)
    shifted = Xml.SubElement(root, "g", transform=f"translate({_number((width - placed.width) / 2)},{_number(top)})")
    for route in placed.routes:
        points = "M" + "L".join(f"{_number(x)},{_number(y)}" for x, y in route)
        look = {"fill": "none", "stroke": _LINE, "stroke-width": "1.3", "marker-end": "url(#made)"}
        Xml.SubElement(shifted, "path", {"d": points, **look})
    targets = frozenset(graph.targets)
    for box, corner in zip(boxes, placed.corners, strict=True):
        _draw_box(shifted, box, corner, is_target=box.node.ref in targets)
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode")


def png(graph: Graph) -> bytes:
    """The picture as PNG, on white. Raises LibraryMissing."""
    resvg = imported("resvg_py", "a PNG picture")
    fonts = Path(imported("matplotlib", "a PNG picture").get_data_path()) / "fonts" / "ttf"
    text = svg(graph)
    root = Xml.fromstring(text)
    largest = max(float(root.attrib["width"]), float(root.attrib["height"]))
    return bytes(
        resvg.svg_to_bytes(
            svg_string=text,
            background="#ffffff",
            zoom=min(_PNG_ZOOM, _PNG_MOST_PIXELS / largest),
            skip_system_fonts=True,
            font_files=[str(fonts / name) for name in ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")],
            font_family=_PNG_FONT,
            sans_serif_family=_PNG_FONT,
        )
    )


def dot(graph: Graph) -> str:
    """The graph in Graphviz's language, for whoever has `dot`."""
    names = {node.ref: f"n{place}" for place, node in enumerate(graph.nodes)}
    lines = ["digraph {", '  node [shape=box, style="rounded,filled", fontname="sans-serif", fontsize=11];']
    for node in graph.nodes:
        look = _look(node)
        style = '"rounded,filled,dashed"' if look.is_dashed else '"rounded,filled"'
        label = _quoted("\n".join((node.name, *_box(node).lines)))
        lines.append(
            f'  {names[node.ref]} [label={label}, tooltip={_quoted(_told(node))}, fillcolor="{look.fill}", '
            f'color="{look.frame}", style={style}];'
        )
    lines += [f"  {names[input]} -> {names[ref]};" for input, ref in graph.edges]
    return "\n".join([*lines, "}", ""])


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


# -- boxes ------------------------------------------------------------------------------------------------------------


def _look(node: Node) -> _Look:
    return _LOOKS.get(node.verdict, _MADE)


def _box(node: Node) -> _Box:
    facts = [node.hash]
    facts += [words.size(node.size_bytes)] if node.size_bytes is not None else []
    facts += [took] if (took := takes(node)) else []
    detail = " · ".join([node.verdict, *facts] if node.verdict else facts)
    lines = [detail, *([_cut(words.printable(node.reason), _LONGEST_REASON)] if node.reason else [])]
    widths = [
        _text_width(_cut(node.name, _LONGEST_NAME), _NAME_SIZE, is_bold=True),
        *(_text_width(line, _DETAIL_SIZE) for line in lines),
    ]
    width = max(_LEAST_WIDTH, *widths) + 2 * _PADDING
    return _Box(node, tuple(lines), float(round(width)), float(_LINE_HEIGHT * (1 + len(lines)) + _PADDING))


def _text_width(text: str, size: float, *, is_bold: bool = False) -> float:
    """About how wide a text is, in the widest of the fonts that may be there."""
    units = 0.0
    for letter in text:
        if unicodedata.east_asian_width(letter) in "WF":
            units += 1.0
        elif letter in "ijl.,:;|'!() ftI[]":
            units += 0.4
        else:
            units += 0.95 if letter in "mwMW@%" else 0.66
    return units * size * (1.08 if is_bold else 1.0)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _told(node: Node) -> str:
    """All about a node, for who points at it."""
    return "\n".join(part for part in (node.name, node.ref, node.verdict, words.printable(node.reason)) if part)


def _placed(graph: Graph, boxes: Sequence[_Box]) -> _Placed:
    """Where everything goes."""
    graphlay = imported("graphlay", "a picture of a graph")
    request = graphlay.Graph()
    for box in boxes:
        request.node(box.node.ref, width=box.width, height=box.height)
    for input, ref in graph.edges:
        request.edge(input, ref)
    options = {
        "direction": "topbottom",
        "spacing": {"layer_gap": 36.0, "node_gap": 24.0, "dummy_gap": 16.0, "isolated_gap": 24.0},
    }
    layout = graphlay.layout(request, options=options)
    left, top = layout.bounds["min"]["x"], layout.bounds["min"]["y"]
    corners = tuple(
        (node["center"]["x"] - left - box.width / 2, node["center"]["y"] - top - box.height / 2)
        for node, box in zip(layout.nodes, boxes, strict=True)
    )
    routes = tuple(tuple((point["x"] - left, point["y"] - top) for point in edge["points"]) for edge in layout.edges)
    return _Placed(corners, routes, layout.bounds["max"]["x"] - left, layout.bounds["max"]["y"] - top)


# -- drawing ----------------------------------------------------------------------------------------------------------


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _root(width: float, height: float, graph: Graph) -> Xml.Element:
    names = {node.ref: node.name for node in graph.nodes}
    attributes = {
        "xmlns": "http://www.w3.org/2000/svg",
        "width": _number(width),
        "height": _number(height),
        "viewBox": f"0 0 {_number(width)} {_number(height)}",
        "font-family": _FONTS,
        "role": "img",
    }
    root = Xml.Element("svg", attributes)
    title = Xml.SubElement(root, "title")
    title.text = f"what {', '.join(names[ref] for ref in graph.targets)} rests on"
    marker = Xml.SubElement(
        Xml.SubElement(root, "defs"),
        "marker",
        id="made",
        viewBox="0 0 8 8",
        refX="7",
        refY="4",
        markerWidth="7",
        markerHeight="7",
        orient="auto",
    )
    Xml.SubElement(marker, "path", d="M0,0.8L8,4L0,7.2z", fill=_LINE)
    return root


def _frame(parent: Xml.Element, look: _Look, place: tuple[float, float, float, float], *, thick: bool = False) -> None:
    x, y, width, height = map(_number, place)
    attributes = {"x": x, "y": y, "width": width, "height": height, "rx": "6", "fill": look.fill, "stroke": look.frame}
    attributes["stroke-width"] = "2.5" if thick else "1.2"
    if look.is_dashed:
        attributes["stroke-dasharray"] = "5 3"
    Xml.SubElement(parent, "rect", attributes)


def _write(parent: Xml.Element, text: str, x: float, y: float, size: int, colour: str, **more: str) -> None:
    attributes = {"x": _number(x), "y": _number(y), "font-size": str(size), "fill": colour, "text-anchor": "middle"}
    element = Xml.SubElement(parent, "text", attributes | {name.replace("_", "-"): it for name, it in more.items()})
    element.text = text


def _draw_box(parent: Xml.Element, box: _Box, corner: tuple[float, float], *, is_target: bool) -> None:
    group = Xml.SubElement(parent, "g")
    Xml.SubElement(group, "title").text = _told(box.node)
    _frame(group, _look(box.node), (*corner, box.width, box.height), thick=is_target)
    middle, y = corner[0] + box.width / 2, corner[1] + _PADDING / 2 + _NAME_SIZE
    _write(group, _cut(box.node.name, _LONGEST_NAME), middle, y, _NAME_SIZE, _TEXT, font_weight="bold")
    for line in box.lines:
        y += _LINE_HEIGHT
        _write(group, line, middle, y, _DETAIL_SIZE, _DETAIL)


def _chips(graph: Graph) -> list[tuple[str, _Look]]:
    """The legend of a plan: verdicts, in the order of the plan's words, and how many nodes have them."""
    counts = Counter(node.verdict for node in graph.nodes)
    return [(f"{verdict}: {counts[verdict]}", look) for verdict, look in _LOOKS.items() if counts[verdict]]


def _chip_width(text: str) -> float:
    return round(_text_width(text, _DETAIL_SIZE)) + 2 * _PADDING


def _legend_size(chips: Sequence[tuple[str, _Look]]) -> tuple[float, float]:
    return sum(_chip_width(text) + _PADDING for text, _ in chips) - _PADDING, _LINE_HEIGHT + _PADDING / 2


def _draw_legend(parent: Xml.Element, chips: Sequence[tuple[str, _Look]]) -> None:
    x = float(_MARGIN)
    for text, look in chips:
        width = _chip_width(text)
        _frame(parent, look, (x, _MARGIN, width, _LINE_HEIGHT + _PADDING / 2))
        _write(parent, text, x + width / 2, _MARGIN + _LINE_HEIGHT - 1, _DETAIL_SIZE, _DETAIL)
        x += width + _PADDING
