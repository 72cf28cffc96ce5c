"""`stagedml help`: as `--help` of the verb, for who thinks of that first."""

from __future__ import annotations

import argparse


def run(arguments: argparse.Namespace) -> int:
    from stagedml.cli.main import main

    return main([*arguments.of, "--help"])
