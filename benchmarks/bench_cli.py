"""How long a person waits for an answer of the command line: whole processes, on stores of several sizes.

    python benchmarks/bench_cli.py [--rounds 20] [--sizes 10 1000]

Each round runs every command once, so that all of them see the same weather. Told are the least and the median time
of each, and the least as a multiple of an interpreter that does nothing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stagedml import instantiate, realize_many, store_initialize
from stagedml.testing import toys

STAGEDML = str(Path(sys.executable).with_name("stagedml"))
COMMANDS = {
    "ls": [STAGEDML, "ls"],
    "ls --json": [STAGEDML, "ls", "--json"],
    "path NAME": [STAGEDML, "path", "node-1"],
    "show NAME": [STAGEDML, "show", "node-1"],
    "--help": [STAGEDML, "--help"],
}


def nodes(count: int) -> list[toys.Node]:
    return [toys.node(label=str(number), inputs=[]) for number in range(count)]


def seconds_of(command: list[str], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 1000])
    arguments = parser.parse_args()
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(prefix="bench-cli-") as root:
            store_initialize(root)
            realize_many(instantiate(nodes, size))
            environment = {**os.environ, "STAGEDML_ROOT": root, "STAGEDML_DURABLE": "0"}
            commands = {"(python -c pass)": [sys.executable, "-c", "pass"], **COMMANDS}
            taken: dict[str, list[float]] = {name: [] for name in commands}
            for _ in range(arguments.rounds):
                for name, command in commands.items():
                    taken[name].append(seconds_of(command, environment))
            floor = min(taken["(python -c pass)"])
            print(f"{size:,} realizations")
            for name, times in taken.items():
                least, median = min(times), statistics.median(times)
                print(f"  {name:<18} {least * 1e3:6.0f} ms  median {median * 1e3:6.0f} ms  {least / floor:5.1f} x")


if __name__ == "__main__":
    main()
