"""`stagedml tree` and `plot`. A file that is there is replaced where `--force` says so, and never else."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from stagedml.cli.output import show, width, with_verdict
from stagedml.cli.subject import subject
from stagedml.core import words
from stagedml.core.refs import is_rref, parse_rref
from stagedml.errors import UsageError
from stagedml.inspection.curves import curves
from stagedml.inspection.graph import Graph, graph_of_plan, graph_of_realizations
from stagedml.inspection.metrics import Measured, metrics_in
from stagedml.inspection.plain import as_json
from stagedml.inspection.selectors import find_all
from stagedml.inspection.tree import tree_lines
from stagedml.settings import read_settings
from stagedml.store.objects import NotInStore, Store

if TYPE_CHECKING:
    from stagedml.inspection.plots import Plot


def run_tree(arguments: argparse.Namespace) -> int:
    if arguments.depth is not None and arguments.depth < 0:
        raise UsageError(f"--depth {arguments.depth}: give how many levels of inputs to show, 0 or more")
    if arguments.svg is not None:
        _check_free(arguments.svg, force=arguments.force)
    with subject(arguments.what, arguments.arguments, arguments.root) as (store, meant):
        graph = graph_of_realizations(store, [meant]) if isinstance(meant, str) else graph_of_plan(meant)
    if arguments.svg is not None:
        with _written(arguments.svg):
            graph.save(arguments.svg)
    if arguments.svg is None or arguments.json:
        show(arguments, graph, partial(_tree, depth=arguments.depth))
    else:
        print(arguments.svg)
    return 0


def _tree(graph: Graph, depth: int | None) -> Iterator[str]:
    return map(with_verdict, tree_lines(graph, width=width(), depth=depth, boxes=_writes("├─└│…")))


def run_plot(arguments: argparse.Namespace) -> int:
    store = Store.open(read_settings(root=arguments.root), create=False)
    of = [one for text in arguments.refs for one in _meant(store, text)]
    is_compared = arguments.results or arguments.by is not None
    output = arguments.output
    if output is None and sys.stdout.isatty() and not arguments.json:
        output = f"{_name(of[0])}-{'results' if is_compared else 'curves'}.svg"
    if output is not None:
        _check_free(output, force=arguments.force)
    if arguments.json:
        found = [_results(store, one) if is_compared else curves(one, store) for one in of]
        print(as_json(found))
        if output is None:
            return 0
    plot = _plot(store, of, arguments, is_compared=is_compared)
    if plot.left_out:
        lists = "`stagedml plot` without --results and --by draws histories, " if is_compared else ""
        told = f"not drawn: {', '.join(plot.left_out)}; {lists}--metric NAME draws one, --json has all numbers"
        print(words.printable(told), file=sys.stderr)
    if output is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(plot.svg().encode())  # which says that it is UTF-8
        return 0
    with _written(output):
        path = plot.save(output)
    if not arguments.json:
        print(path)
    return 0


def _check_free(file: str, *, force: bool) -> None:
    """Raises UsageError where a picture would replace a file."""
    if os.path.isfile(file) and not force:  # a pipe or a device replaces nothing
        raise UsageError(f"{file} is there already; --force replaces it, another FILE leaves it alone")


@contextlib.contextmanager
def _written(file: str) -> Iterator[None]:
    """Raises UsageError where a picture cannot be written to a file."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from error


def _plot(store: Store, of: Sequence[str], arguments: argparse.Namespace, *, is_compared: bool) -> Plot:
    from stagedml.inspection.plots import plot_compare, plot_curves

    if is_compared:
        return plot_compare(*of, metric=arguments.metric, by=arguments.by, store=store)
    return plot_curves(*of, metric=arguments.metric, store=store)


def _meant(store: Store, text: str) -> list[str]:
    """Realizations; or a folder, such as the logs of a training that still runs."""
    try:
        return list(map(str, find_all(store, [text])))
    except NotInStore:
        if os.sep in text and os.path.isdir(text):
            return [text]
        raise


def _results(store: Store, rref: str) -> Measured:
    return Measured(rref, metrics_in(store.path(parse_rref(rref))))


def _name(of: str) -> str:
    return parse_rref(of).name if is_rref(of) else Path(of).name


def _writes(text: str) -> bool:
    """Whether standard output has all letters of a text."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
