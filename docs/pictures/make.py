"""Draws the pictures of README.md and docs/: `make pictures`, or with a folder as its argument.

The stages are those of the tutorial: what is realized, and the plan of a variant with another vocabulary.
"""

from __future__ import annotations

import importlib
import re
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from stagedml import Store, depgraph, instantiate, realize, redefine, using_store
from stagedml.inspection.graph import Graph
from stagedml.settings import read_settings
from stagedml.store.atomic import remove_tree

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "tutorial" / "first-pipeline.md"
_FILE = re.compile(r"<!-- file: (.+?) -->\n```python\n(.*?)```\n", re.DOTALL)


def draw(folder: Path) -> None:
    """Write the pictures into a folder."""
    work = Path(tempfile.mkdtemp(prefix="stagedml-pictures-"))
    sys.path.insert(0, str(work))
    sys.dont_write_bytecode = True
    try:
        for name, text in _FILE.findall(PAGE.read_text(encoding="utf-8")):
            (work / name).write_text(text)
        pipeline = importlib.import_module("reviews")
        varied = redefine(pipeline.all_report, lambda config: config.update(least=10), at=pipeline.vocabulary)
        with using_store(Store.open(read_settings({}, root=work / "root"))):
            untimed(depgraph(realize(instantiate(pipeline.all_report)))).save(folder / "graph.svg")
            untimed(depgraph(instantiate(varied))).save(folder / "plan.svg")
    finally:
        remove_tree(work)


def untimed(graph: Graph) -> Graph:
    """A graph without how long things took, which is never twice the same."""
    return replace(graph, nodes=tuple(replace(node, seconds=None) for node in graph.nodes))


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
