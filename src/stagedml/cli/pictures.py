"""`stagedml tree` and `plot`."""

from __future__ import annotations

import argparse
import json
import shutil
import sys

from stagedml.cli.subject import subject
from stagedml.errors import UsageError
from stagedml.inspection.graph import graph_of_plan, graph_of_realizations
from stagedml.inspection.tree import tree_lines


def run_tree(arguments: argparse.Namespace) -> int:
    if arguments.depth is not None and arguments.depth < 0:
        raise UsageError(f"--depth {arguments.depth}: give how many levels of inputs to show, 0 or more")
    store, meant = subject(arguments.what, arguments.arguments, arguments.root)
    graph = graph_of_realizations(store, [meant]) if isinstance(meant, str) else graph_of_plan(meant)
    if arguments.svg is not None:
        graph.save(arguments.svg)
    if arguments.json:
        print(json.dumps(graph.to_json(), indent=2))
    elif arguments.svg is not None:
        print(arguments.svg)
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        for line in tree_lines(graph, width=width, depth=arguments.depth, boxes=_writes("├─└│…")):
            print(line)
    return 0


def _writes(text: str) -> bool:
    """Whether standard output has all letters of a text."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
