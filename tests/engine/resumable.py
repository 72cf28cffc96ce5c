"""A builder that goes on where it was killed."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from stagedml import Artifact, Build, Exec, RefPath, instantiate, output, realize, stage, store_initialize

STEPS, INTERVAL = 60, 5


class Sum(Artifact):
    """A number that depends on all steps in their order."""

    text: RefPath


@stage(Sum, name="summed")
def summed(
    build: Build,
    *,
    steps: int = STEPS,
    factor: int = 31,
    instance_matters: bool = False,
    workers: Exec[int] = 1,
    pause_s: Exec[float] = 0.01,
    trace: Exec[str] = "",
    text: RefPath = output("text"),
) -> None:
    """Take some steps, with a checkpoint after every few of them; each step is told in the file `trace`."""
    checkpoint = build.checkpoint_dir / "state.json"
    state = json.loads(checkpoint.read_text()) if checkpoint.exists() else {"step": 0, "value": 1}
    while state["step"] < steps:
        time.sleep(pause_s)
        state["value"] = (state["value"] * factor + state["step"] + build.seed * instance_matters) % 1_000_003
        state["step"] += 1
        if trace:
            with open(trace, "a") as file:
                file.write(f"{state['step']} {os.getpid()}\n")
        if state["step"] % INTERVAL == 0:
            beside = checkpoint.with_suffix(".tmp")
            beside.write_text(json.dumps(state))
            os.replace(beside, checkpoint)
        if Path(f"{trace}.stop-{state['step']}").exists():
            Path(f"{trace}.stop-{state['step']}").unlink()
            raise ValueError("stopped on purpose")
    build.path(text).write_text(str(state["value"]))


if __name__ == "__main__":
    from engine import resumable

    root, trace, jobs = sys.argv[1:]
    store_initialize(root)
    sys.stdout.write(realize(instantiate(resumable.summed, trace=trace), jobs=int(jobs)) + "\n")
