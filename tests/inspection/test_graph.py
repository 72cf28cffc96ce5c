"""Dependency graphs: the view, the tree, the pictures."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedml import UsageError, depgraph, instantiate, realize, rref2path
from stagedml.core.refs import parse_rref
from stagedml.inspection import drawing
from stagedml.inspection.graph import Graph, Node, graph_of_plan, graph_of_realizations
from stagedml.inspection.plain import as_json
from stagedml.inspection.tree import SEEN, tree_lines
from stagedml.store.objects import NotInStore, Store
from stagedml.testing import toys

SVG = "{http://www.w3.org/2000/svg}"


def made(content: str = "one") -> str:
    return str(realize(instantiate(toys.all_counted, content)))


def diamond() -> Graph:
    """`top` rests on `left` and `right`, and these on `base`."""
    nodes = tuple(Node(name, name, name[:2], "realization") for name in ("base", "left", "right", "top"))
    return Graph(nodes, (("base", "left"), ("base", "right"), ("left", "top"), ("right", "top")), ("top",))


def chain(length: int) -> Graph:
    nodes = tuple(Node(f"n{place}", f"stage-{place}", f"{place:06x}", "realization") for place in range(length))
    return Graph(nodes, tuple((f"n{place}", f"n{place + 1}") for place in range(length - 1)), (f"n{length - 1}",))


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Any graph of a plan: an input of a node is a node before it."""
    count = draw(st.integers(1, 12))
    verdicts = st.sampled_from(["reuse", "adopt", "build", "depends"])
    nodes = tuple(
        Node(f"n{place}", draw(st.sampled_from(["a", "stage", "a-rather-long-name"])), "abcdef", "step", draw(verdicts))
        for place in range(count)
    )
    edges = [
        (f"n{input}", f"n{place}") for place in range(count) for input in range(place) if draw(st.integers(0, 3)) == 0
    ]
    inputs = {input for input, _ in edges}
    return Graph(nodes, tuple(edges), tuple(node.ref for node in nodes if node.ref not in inputs))


# -- the view ---------------------------------------------------------------------------------------------------------


def test_the_graph_of_a_realization_holds_what_it_rests_on_inputs_first(store: Store) -> None:
    rref = made()
    graph = depgraph(rref)
    text, upper, count = graph.nodes
    assert [node.name for node in graph.nodes] == ["text", "upper", "count"]
    assert graph.edges == ((text.ref, upper.ref), (upper.ref, count.ref))
    assert graph.targets == (count.ref,) == (rref,)
    assert count.hash == parse_rref(rref).rhash[:6]
    assert {(node.kind, node.verdict, node.reason) for node in graph.nodes} == {("realization", "", "")}
    assert text.size_bytes == 3
    assert count.seconds is not None
    assert json.loads(as_json(graph))["nodes"][2]["ref"] == rref


def test_several_realizations_share_what_they_share(store: Store) -> None:
    count = made()
    upper = depgraph(count).nodes[1].ref
    other = str(realize(instantiate(lambda: toys.upper(source=toys.text(content="one")))))
    assert other == upper
    graph = depgraph([upper, count, upper])
    assert [node.name for node in graph.nodes] == ["text", "upper", "count"]
    assert graph.targets == (upper, count)


def test_the_graph_of_a_stage_tells_the_plan_and_why(store: Store) -> None:
    made("one")
    graph = depgraph(instantiate(toys.all_counted, "two"))
    assert [(node.name, node.kind, node.verdict) for node in graph.nodes] == [
        ("text", "step", "build"),
        ("upper", "step", "depends"),
        ("count", "step", "depends"),
    ]
    assert graph.nodes[0].reason == 'content "one" -> "two"'
    assert graph.edges == ((graph.nodes[0].ref, graph.nodes[1].ref), (graph.nodes[1].ref, graph.nodes[2].ref))
    assert all(ref.startswith("dref:") for ref in graph.targets)


def test_what_is_reused_has_its_size_and_no_reason(store: Store) -> None:
    made("one")
    graph = graph_of_plan(instantiate(toys.all_counted, "one"))
    assert {(node.verdict, node.reason) for node in graph.nodes} == {("reuse", "")}
    assert graph.nodes[0].size_bytes == 3


def test_a_realization_without_metadata_has_its_inputs_from_its_context(store: Store) -> None:
    rref = made()
    ref = parse_rref(rref)
    (store.layout.metadata / ref.folder / f"{ref.rhash}.json").unlink()
    graph = graph_of_realizations(store, [rref])
    assert [node.name for node in graph.nodes] == ["text", "upper", "count"]
    assert (graph.nodes[2].size_bytes, graph.nodes[2].seconds) == (None, None)


def test_an_input_that_is_gone_is_in_the_graph_and_says_so(store: Store, tmp_path: Path) -> None:
    rref = made()
    text = depgraph(rref).nodes[0].ref
    Path(rref2path(text)).parent.rename(tmp_path / "gone")
    assert [(node.name, node.reason) for node in depgraph(rref).nodes] == [
        ("text", "not in the store"),
        ("upper", ""),
        ("count", ""),
    ]


def test_what_has_no_graph_is_refused(store: Store) -> None:
    wrong: Any
    for wrong in ("text", ["x"], [made(), "dref:x"]):
        with pytest.raises(UsageError, match="is no realization; pass one, several, or what `instantiate"):
            depgraph(wrong)
    for wrong in (5, None, [], [made(), 5], toys.text):
        with pytest.raises(UsageError, match="cannot be realized; pass what `instantiate"):
            depgraph(wrong)
    with pytest.raises(NotInStore):
        depgraph("rref:" + "0" * 32 + "-" + "1" * 32 + "-x")


def test_the_view_loads_nothing_heavy() -> None:
    program = (
        "import sys\nfrom stagedml.inspection import graph, tree, drawing\n"
        "assert not {'pylightnix', 'numpy', 'matplotlib', 'graphlay'} & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# -- the tree ---------------------------------------------------------------------------------------------------------


def test_a_tree_has_its_target_on_top_and_tells_each_stage_once() -> None:
    assert tree_lines(diamond()) == [
        "STAGE       HASH",
        "top         to",
        "├─ left     le",
        "│  └─ base  ba",
        "└─ right    ri",
        f"   └─ base  ba    {SEEN}",
    ]


def test_a_tree_can_be_drawn_with_ascii_alone() -> None:
    lines = tree_lines(diamond(), boxes=False)
    assert lines[1:4] == ["top         to", "|- left     le", "|  `- base  ba"]
    assert all(line.isascii() for line in lines)


def test_depth_says_how_many_inputs_are_not_shown_and_shows_them_where_they_are_less_deep() -> None:
    assert tree_lines(diamond(), depth=1)[1:] == [
        "top       to",
        "├─ left   le    (1 input below)",
        "└─ right  ri    (1 input below)",
    ]
    graph = Graph(diamond().nodes, (*diamond().edges, ("base", "top")), ("top",))
    assert [line.split()[-2:] for line in tree_lines(graph, depth=1)][-1] == ["base", "ba"]
    assert tree_lines(diamond(), depth=0)[1:] == ["top    to    (2 inputs below)"]


@pytest.mark.parametrize("width", [80, 200])
def test_the_tree_of_a_plan_keeps_to_its_width_and_its_columns(store: Store, width: int) -> None:
    made("one")
    lines = tree_lines(depgraph(instantiate(toys.all_counted, "x" * 300)), width=width)
    assert lines[0].split() == ["STAGE", "HASH", "WHY"]
    assert max(map(len, lines)) <= width
    assert lines[3].endswith("…") == (width == 80)
    assert [line.split()[0] for line in lines[1:]] == ["depends", "depends", "build"]
    assert len({re.search(r"\b[0-9a-f]{6}\b", line).start() for line in lines[1:]}) == 1  # type: ignore[union-attr]


@given(graphs(), st.one_of(st.none(), st.integers(0, 5)))
def test_a_tree_shows_no_stage_twice_in_full_and_every_one_if_it_may(graph: Graph, depth: int | None) -> None:
    lines = tree_lines(graph, depth=depth)[1:]
    if depth is None:
        assert len([line for line in lines if SEEN not in line]) == len(graph.nodes)
        assert len(lines) == len(graph.edges) + len(graph.targets)


def test_a_deep_tree_takes_no_more_room_than_it_has_stages() -> None:
    lines = tree_lines(chain(2000), width=80)
    assert len(lines) == 2001
    assert max(map(len, lines)) <= 80
    assert "…1999 └─ stage-0" in lines[-1]


def test_what_no_terminal_shows_is_spelt_out_in_a_tree() -> None:
    graph = Graph((Node("a", "a", "a", "step", "build", reason="x \x1b[2J\n"),), (), ("a",))
    assert tree_lines(graph)[1].endswith("x \\x1b[2J\\n")


# -- pictures ---------------------------------------------------------------------------------------------------------


def boxes_of(picture: str) -> list[tuple[float, float, float, float]]:
    return [
        tuple(float(box.attrib[name]) for name in ("x", "y", "width", "height"))  # type: ignore[misc]
        for group in ElementTree.fromstring(picture).iter(f"{SVG}g")
        for box in group.findall(f"{SVG}rect")
    ]


def test_a_picture_says_of_each_stage_its_name_and_its_verdict_in_words(store: Store) -> None:
    made("one")
    picture = drawing.svg(depgraph(instantiate(toys.all_counted, "two")))
    tree = ElementTree.fromstring(picture)
    texts = [text.text or "" for text in tree.iter(f"{SVG}text")]
    assert texts[:2] == ["build: 1", "depends: 2"]
    assert {"text", "upper", "count", 'content "one" -> "two"'} <= set(texts)
    assert [text.split(" · ")[0] for text in texts if " · " in text] == ["build", "depends", "depends"]
    assert len(list(tree.iter(f"{SVG}path"))) == 2 + 1  # and the head of the arrows


def test_the_same_graph_gives_the_same_bytes_in_every_process(store: Store) -> None:
    graph = depgraph(made())
    program = f"from stagedml.inspection.graph import Graph, Node\nprint({graph!r}._repr_svg_(), end='')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout == drawing.svg(graph)


@given(graphs())
def test_no_two_boxes_overlap_and_none_leaves_the_picture(graph: Graph) -> None:
    picture = drawing.svg(graph)
    boxes = boxes_of(picture)
    width, height = (float(ElementTree.fromstring(picture).attrib[name]) for name in ("width", "height"))
    assert len(boxes) == len(graph.nodes)
    for place, (x, y, wide, high) in enumerate(boxes):
        assert x >= 0
        assert x + wide <= width
        assert y + high <= height
        for x2, y2, wide2, high2 in boxes[:place]:
            assert x + wide <= x2 or x2 + wide2 <= x or y + high <= y2 or y2 + high2 <= y


def test_no_text_is_markup_and_none_is_unbounded() -> None:
    nasty = "<b>&\"'\x00\x1b\ud800" + "long " * 100
    graph = Graph((Node("a", "stage", "abc", "step", "build", reason=nasty),), (), ("a",))
    for text in ElementTree.fromstring(drawing.svg(graph)).iter(f"{SVG}text"):
        assert len(text.text or "") < 60
    assert drawing.dot(graph).count("\n") == 4


def test_a_graph_of_a_thousand_stages_can_be_drawn() -> None:
    nodes = tuple(Node(f"n{place}", "stage", "abcdef", "step", "build") for place in range(1000))
    edges = tuple((f"n{place // 3}", f"n{place}") for place in range(1, 1000))
    picture = drawing.svg(Graph(nodes, edges, ("n999",)))
    assert len(boxes_of(picture)) == 1000
    assert len(picture) < 2_000_000


def test_pictures_are_written_in_the_format_that_the_path_ends_in(store: Store, tmp_path: Path) -> None:
    graph = depgraph(made(), tmp_path / "graph.svg")
    assert (tmp_path / "graph.svg").read_text() == graph._repr_svg_()
    assert graph.save(tmp_path / "graph.PNG").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert graph.save(str(tmp_path / "graph.dot")).read_text().startswith("digraph {")
    for wrong in ("graph.gif", "graph", 5):
        with pytest.raises(UsageError, match=r"names no picture: let it end in \.svg or \.png or \.dot"):
            graph.save(wrong)  # type: ignore[arg-type]


def test_a_png_is_drawn_with_its_texts_and_on_white(store: Store, tmp_path: Path) -> None:
    from PIL import Image

    picture = Image.open(io.BytesIO(drawing.png(depgraph(made()))))
    colours = {colour: count for count, colour in picture.convert("RGB").getcolors(1 << 24) or ()}
    assert picture.getpixel((1, 1)) == (255, 255, 255, 255)
    assert colours[31, 35, 40] > 100  # the names


def test_without_the_libraries_a_notebook_shows_text_and_saving_says_what_to_install(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['graphlay'] = None\n"
        "from stagedml.inspection.graph import Graph, Node\n"
        "graph = Graph((Node('a', 'stage', 'abc', 'realization'),), (), ('a',))\n"
        "assert graph._repr_svg_() is None and 'stage' in str(graph)\n"
        f"graph.save({str(tmp_path / 'a.dot')!r})\n"
        f"graph.save({str(tmp_path / 'a.svg')!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (tmp_path / "a.dot").exists()
    assert not (tmp_path / "a.svg").exists()
    assert "pip install 'stagedml[plot]'" in done.stderr.splitlines()[-1]
