"""`stagedml retry`: once more what failed."""

from __future__ import annotations

import argparse
import os
import shlex
import sys

from stagedml.authoring.session import current_store, store_initialize
from stagedml.errors import UsageError
from stagedml.inspection import logs


def run(arguments: argparse.Namespace) -> int:
    """Run the last command again that did not end well; what was finished then is reused, and trainings go on."""
    from stagedml.cli.main import main

    store_initialize(arguments.root)
    runs = [run for run in logs.runs(current_store()) if run.state != "done"]
    last = next((run for run in runs if run.state != logs.RUNNING), None)
    if last is None:
        problem = "there is no run here that failed, was interrupted or was killed"
        if runs:
            problem += f"; one still goes on, and `stagedml log -f` follows it: {shlex.join(runs[0].command)}"
        raise UsageError(problem)
    words = last.command
    if last.mended:
        sys.stderr.write(f"nothing to do: it {_told(last)} in {last.folder}, and has succeeded since: {shlex.join(words)}\n")
        return 0
    if words[:1] != ("stagedml",):
        spelt = shlex.join(words)
        raise UsageError(f"the last run that did not end well was no command of stagedml's; run it again: {spelt}")
    sys.stderr.write(f"in {last.folder}, it {_told(last)}: {shlex.join(words)}\n")
    os.chdir(last.folder)
    root = [] if "--root" in words or arguments.root is None else ["--root", arguments.root]
    return main([*words[1:], *root])


def _told(run: logs.RunLog) -> str:
    return run.state if run.state == "failed" else f"was {run.state}"
