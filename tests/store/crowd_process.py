"""A member of a crowd: it realizes fifty stages that all the others want, too, in an order of its own.

python -m store.crowd_process STORE FOLDER NAME SEED PACE_S

It says in FOLDER that it is ready, waits for the gate there, and leaves the references that it got. Whoever builds a
stage first writes a line to a journal, so that builds can be counted afterwards.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

from stagedml import Artifact, Build, Exec, RefPath, instantiate, output, realize, stage, using_store
from stagedml.engine.events import Observer
from stagedml.settings import read_settings
from stagedml.store.objects import Store

PATIENCE_S = 120
STAGES = 50
#: The first ones have no inputs; each of the others has two of these.
LEAVES = 40

JOURNAL = "journal"
GATE = "gate"
#: Ends the name of a file that tells a member to die amid its first build.
DOOMED = ".doomed"


class Entry(Artifact):
    """A line of text."""

    line: RefPath


@stage(Entry, name="entry-{label}")
def entry(
    build: Build,
    *,
    label: str,
    inputs: list[Entry],
    line: RefPath = output("line.txt"),
    journal: Exec[str] = "",
    builder: Exec[str] = "",
    pace_s: Exec[float] = 0,
) -> None:
    """Write the own label and the lines of the inputs.

    Args:
        journal: a file to which each build appends a line when it begins.
        builder: who builds, for the journal.
        pace_s: how long the line is half written.
    """
    if journal:
        descriptor = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(descriptor, f"{label} {builder}\n".encode())  # in one call, so that lines do not mix
        os.close(descriptor)
    with build.path(line).open("w") as file:
        file.write(label)
        file.flush()
        if journal and Path(journal).with_name(f"{builder}{DOOMED}").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(pace_s)
        file.writelines(f" {build.path(source.line).read_text()}" for source in inputs)


def numbered(number: int) -> Entry:
    """One of the fifty, and what it needs."""
    needed = () if number < LEAVES else (number - LEAVES, 2 * (number - LEAVES) + 1)
    return entry(label=str(number), inputs=[numbered(leaf) for leaf in needed])


def open_store(root: Path) -> Store:
    return Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=root))


def realize_all(root: Path, order: list[int], **arguments: object) -> dict[str, str]:
    """Realize the stages one by one; returns the reference of each by its label."""
    with using_store(open_store(root)):
        return {
            str(number): str(realize(instantiate(numbered, number), args=arguments, observer=Observer()))
            for number in order
        }


def take_part(root: Path, folder: Path, name: str, seed: int, pace_s: float) -> int:
    """What a member does; returns its exit status. What it has to say is in the folder afterwards, under its name."""
    order = list(range(STAGES))
    random.Random(seed).shuffle(order)
    try:
        (folder / f"{name}.ready").touch()
        deadline = time.monotonic() + PATIENCE_S
        while not (folder / GATE).exists():
            if time.monotonic() > deadline:
                raise TimeoutError("nobody opened the gate")
            time.sleep(0.001)
        rrefs = realize_all(root, order, journal=str(folder / JOURNAL), builder=name, pace_s=pace_s)
        (folder / f"{name}.json").write_text(json.dumps(rrefs))
    except BaseException:
        (folder / f"{name}.failed").write_text(traceback.format_exc())
        return 1
    return 0


def main(root: str, folder: str, name: str, seed: str, pace_s: str) -> int:
    return take_part(Path(root), Path(folder), name, int(seed), float(pace_s))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
