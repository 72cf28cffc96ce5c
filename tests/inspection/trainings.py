"""Stages that log as a training does, in no time."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from inspection.event_files import scalar, write_events
from stagedml import Artifact, Build, Exec, RefPath, output, stage
from stagedml.testing import toys


class Trained(Artifact):
    """What a training came to."""

    metrics: RefPath


@stage(Trained, name="train")
def train(
    build: Build,
    *,
    data: toys.Text,
    rate: float = 0.5,
    note: str = "plain",
    shuffled: bool = True,
    metrics: RefPath = output("metrics.json"),
    gate: Exec[str] = "",
    chance: Exec[bool] = False,
) -> None:
    """Write two steps of a loss; the second one once a file exists."""
    file = write_events(build.log_dir / "train", {"loss": {1: rate}})
    write_events(build.log_dir / "valid", {"loss": {1: rate * 2}})
    deadline = time.monotonic() + 60
    while gate and not Path(gate).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody made {gate}")
        time.sleep(0.01)
    with open(file, "ab") as log:
        log.write(scalar(2, "loss", rate / 2))
    accuracy = os.urandom(1)[0] / 256 if chance else 0.75 + build.instance / 8
    build.path(metrics).write_text(json.dumps({"accuracy": accuracy, "history": {"loss": [1, 2]}}))


def all_trained(rate: float = 0.5, note: str = "plain", content: str = "hello") -> Trained:
    """A training on a text."""
    return train(data=toys.text(content=content), rate=rate, note=note)
