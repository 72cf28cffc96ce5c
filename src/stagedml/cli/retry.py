"""`stagedml retry`: once more what failed."""

from __future__ import annotations

import argparse
import os
import shlex
import sys

from stagedml.core.words import brief
from stagedml.errors import UsageError
from stagedml.inspection import logs
from stagedml.settings import read_settings
from stagedml.store.objects import Store


def run(arguments: argparse.Namespace) -> int:
    """Run the last command again that did not end well; what was finished then is reused, and trainings go on."""
    from stagedml.cli.main import main

    store = Store.open(read_settings(root=arguments.root), create=False)
    runs = [run for run in logs.runs(store) if run.state != "done"]
    last = next((run for run in runs if run.state != logs.RUNNING), None)
    if last is None:
        problem = "there is no run here that failed, was interrupted or was killed"
        if runs:
            problem += f"; one still goes on, and `stagedml log -f` follows it: {_command(runs[0])}"
        raise UsageError(problem)
    words = last.command
    if last.mended:
        print(f"nothing to do: it {_told(last)}, and has succeeded since: {_command(last)}", file=sys.stderr)
        return 0
    if words[:1] != ("stagedml",):
        spelt = _command(last)
        raise UsageError(f"the last run that did not end well was no command of stagedml's; run it again: {spelt}")
    print(f"in {last.folder}, it {_told(last)}: {_command(last)}", file=sys.stderr)
    os.chdir(last.folder)
    root = [] if "--root" in words or arguments.root is None else ["--root", arguments.root]
    return main([*words[1:], *root])


def _command(run: logs.RunLog) -> str:
    return brief(shlex.join(run.command))


def _told(run: logs.RunLog) -> str:
    return run.state if run.state == "failed" else f"was {run.state}"
