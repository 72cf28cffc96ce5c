"""`stagedml tensorboard`: serves until Ctrl-C, which is how it ends well; so the exit code is then 0.

SIGTERM ends it as it ends every verb, with 143: who sends that may want to know that it came to that.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection

from stagedml.cli.output import show
from stagedml.inspection.logtree import Run
from stagedml.inspection.tensorboard import TensorBoard, serve
from stagedml.settings import read_settings
from stagedml.store.objects import Store

_LOOK_EVERY_S = 1.0


def run(arguments: argparse.Namespace) -> int:
    store = Store.open(read_settings(root=arguments.root), create=False)
    with serve(store, arguments.refs, port=arguments.port, host=arguments.host, once=arguments.once) as board:
        try:
            show(arguments, board.served, lambda served: [served.url])
            sys.stdout.flush()
            _stay(board, is_told=not arguments.json)
        except KeyboardInterrupt as interrupt:
            if type(interrupt) is not KeyboardInterrupt:  # SIGTERM
                raise
    return 0


def _stay(board: TensorBoard, *, is_told: bool) -> None:
    """Serve until it ends; tell what is shown, and what comes in."""
    told: frozenset[Run] = frozenset()
    while True:
        runs = frozenset(board.served.runs)
        if is_told and runs - told:
            _tell(sorted(runs - told, key=lambda run: run.name))
            if not told:
                print("Ctrl-C ends it", file=sys.stderr)
        told = runs
        board.wait(_LOOK_EVERY_S)


def _tell(runs: Collection[Run]) -> None:
    width = max(len(run.name) for run in runs)
    for run in runs:
        print(f"{run.name:<{width}}  {run.ref or run.path}", file=sys.stderr)
