"""`stagedml retry`: once more what failed."""

from __future__ import annotations

import argparse
import os
import shlex
import sys

from stagedml.authoring.session import current_store, store_initialize
from stagedml.engine.journal import past_runs
from stagedml.errors import UsageError


def run(arguments: argparse.Namespace) -> int:
    """Run the last command again that did not end well; what was finished then is reused, and trainings go on."""
    from stagedml.cli.main import main

    store_initialize(arguments.root)
    last = next((run for run in past_runs(current_store().layout) if run.how != "done"), None)
    if last is None:
        raise UsageError("there is no run here that failed, was interrupted or was killed")
    words = last.command
    if words[:1] != ("stagedml",):
        spelt = shlex.join(words)
        raise UsageError(f"the last run that did not end well was no command of stagedml's; run it again: {spelt}")
    told = "failed" if last.how == "failed" else "was interrupted" if last.how else "was killed, or still goes on"
    sys.stderr.write(f"in {last.folder}, it {told}: {shlex.join(words)}\n")
    os.chdir(last.folder)
    root = [] if "--root" in words or arguments.root is None else ["--root", arguments.root]
    return main([*words[1:], *root])
