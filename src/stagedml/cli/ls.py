"""`stagedml ls`, which is asked most often: nothing is imported here that it does not need."""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial

from stagedml.cli.output import show, table, width
from stagedml.core import words
from stagedml.inspection import listing
from stagedml.inspection.parameters import words_of
from stagedml.settings import read_settings
from stagedml.store.objects import Store


def run(arguments: argparse.Namespace) -> int:
    store = Store.open(read_settings(root=arguments.root), create=False)
    lines = tuple(listing.ls(store, arguments.name, arguments.sort))
    show(arguments, lines, partial(_lines, metric=arguments.sort))
    if not lines and not arguments.json:
        of_name = f" of a stage whose name has or matches {arguments.name!r}" if arguments.name else ""
        print(words.brief(f"no realization{of_name} in {store.layout.storage}"), file=sys.stderr)
    return 0


def _lines(lines: tuple[listing.RealizationLine, ...], metric: str) -> list[str]:
    hashes = listing.short_hashes([line.rref for line in lines])
    rows = [
        (
            line.name,
            hashes[line.rref],
            words.ago(None if line.built is None else time.time() - line.built),
            words.size(line.size_bytes),
            ",".join(map(str, line.instances)) if line.instances not in ((), (0,)) else "",
            "" if line.metric is None else f"{line.metric:.6g}",
            words_of(line.parameters),
        )
        for line in lines
    ]
    header = ("NAME", "HASH", "BUILT", "SIZE", "INSTANCES", metric.upper(), "")
    room = width()
    if room is None or max(map(len, words.table(header, rows)), default=0) <= room:
        return table(header, rows)
    head, *left = table(header[:-1], [row[:-1] for row in rows])
    told = [words.shortened(f"  {words.printable(row[-1])}", room, at_end=True) for row in rows]
    return [head, *(line for pair in zip(left, told, strict=True) for line in pair if line.strip())]
