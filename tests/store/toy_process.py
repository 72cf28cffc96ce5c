"""Realizes the blocking toy stage in a process of its own; tells on standard output, line by line, what happens.

python -m store.toy_process ROOT JOURNAL GATE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from stagedml import instantiate, realize, store_initialize
from stagedml.engine.events import Observer
from stagedml.testing import toys


def tell(event: str, what: str) -> None:
    sys.stdout.write(json.dumps([event, what]) + "\n")
    sys.stdout.flush()


class Teller(Observer):
    """Passes on what a test waits for."""

    def waiting(self, dref: str, owner: str) -> None:
        tell("waiting", owner)

    def started(self, dref: str, instance: int, outpath: Path) -> None:
        tell("started", str(outpath))


def main(root: str, journal: str, gate: str) -> None:
    store_initialize(root)
    target = instantiate(toys.blocking, content="made once")
    tell("realized", realize(target, args={"journal": journal, "gate": gate}, observer=Teller()))


if __name__ == "__main__":
    main(*sys.argv[1:])
