"""Ten stages, most of which do not repeat, each for a reason that people run into; and what must be said of each.

That two builds differ is no matter of luck: what is left to chance is drawn so often that the chance of two equal
builds is below 1e-30. How much they differ is certain as well. All of them work in one process or in two, whatever its
hash seed is.
"""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import time
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stagedml import Artifact, Build, RefPath, output, stage
from stagedml.ml.sameness import Sameness

#: More than one, so that not all of them can come close by chance.
_CLASSES = 8


class Stamped(Artifact):
    """A report that says when it was made."""

    report: RefPath


class Lines(Artifact):
    """A text of several lines."""

    lines: RefPath


class Sums(Artifact):
    """Sums of many numbers."""

    sums: RefPath


class Weights(Artifact):
    """Tensors."""

    weights: RefPath


class Trained(Artifact):
    """A model, as far as these trainings have one."""

    metrics: RefPath
    protocol: RefPath
    weights: RefPath


# -- what differs ----------------------------------------------------------------------------------------------------


@stage(Stamped, name="stamped")
def stamped(build: Build, *, report: RefPath = output("report.json")) -> None:
    """Note down the time of the build."""
    build.path(report).write_text(json.dumps({"accuracy": 0.5, "made": {"at_ns": time.time_ns()}}))


_TELL_A_SET = "print('\\n'.join({f'word {number}' for number in range(40)}))"


@stage(Lines, name="set-order")
def set_order(build: Build, *, lines: RefPath = output("vocab.txt")) -> None:
    """Write a set of texts, whose order hangs on the hash seed of the process."""
    environment = {**os.environ, "PYTHONHASHSEED": "random"}  # as it is where nobody sets it
    told = subprocess.run([sys.executable, "-c", _TELL_A_SET], env=environment, capture_output=True, check=True)
    build.path(lines).write_bytes(told.stdout)


@stage(Lines, name="shuffled")
def shuffled(build: Build, *, seed: int = 1, lines: RefPath = output("order/train.txt")) -> None:
    """Shuffle without the seed that is there."""
    numbers = list(range(100))
    random.Random().shuffle(numbers)
    path = build.path(lines)
    path.parent.mkdir()
    path.write_text("".join(f"{number}\n" for number in numbers))


@stage(Sums, name="summed")
def summed(build: Build, *, sums: RefPath = output("sums.npy")) -> None:
    """Add up the same numbers in the order in which they happen to come, as threads do.

    64 positive numbers: each of the two sums is off by at most 63 roundings of 2**-24, both by 7.51e-6 of the sum,
    which is below the tolerance of 64 * 2**-23 = 7.63e-6.
    """
    import numpy as np

    terms = np.random.default_rng(0).uniform(1, 2, size=(64, 1000)).astype(np.float32)
    order = list(range(64))
    random.SystemRandom().shuffle(order)
    np.save(build.path(sums), np.add.accumulate(terms[order], axis=0)[-1])


@stage(Lines, name="listed")
def listed(build: Build, *, lines: RefPath = output("joined.txt")) -> None:
    """Join parts that workers left under names of their own, in the order in which the folder lists them.

    The order is that of creation on some file systems and that of hashed names on others, so both differ.
    """
    parts = list(range(40))
    random.SystemRandom().shuffle(parts)
    for part in parts:
        (build.scratch / f"{uuid.uuid4().hex}.part").write_text(f"part {part}\n")
    with build.path(lines).open("w") as joined:
        for name in os.listdir(build.scratch):
            joined.write((build.scratch / name).read_text())


@stage(Trained, name="unseeded-dropout")
def unseeded_dropout(
    build: Build,
    *,
    seed: int = 0,
    epochs: int = 4,
    metrics: RefPath = output("metrics.json"),
    protocol: RefPath = output("protocol.json"),
    weights: RefPath = output("weights.npz"),
) -> None:
    """Train with noise that has no seed, from the second epoch on."""
    _train(build, epochs, start=random.Random(build.seed), noise=random.SystemRandom(), noisy_from=2)


@stage(Trained, name="unseeded-start")
def unseeded_start(
    build: Build,
    *,
    seed: int = 0,
    epochs: int = 3,
    metrics: RefPath = output("metrics.json"),
    protocol: RefPath = output("protocol.json"),
    weights: RefPath = output("weights.npz"),
) -> None:
    """Train from weights that nobody seeded."""
    _train(build, epochs, start=random.SystemRandom(), noise=random.Random(build.seed), noisy_from=1)


# -- what repeats ----------------------------------------------------------------------------------------------------


@stage(Lines, name="seeded")
def seeded(build: Build, *, seed: int = 1, lines: RefPath = output("order/train.txt")) -> None:
    """Shuffle with the seed."""
    numbers = list(range(100))
    random.Random(build.seed).shuffle(numbers)
    path = build.path(lines)
    path.parent.mkdir()
    path.write_text("".join(f"{number}\n" for number in numbers))


@stage(Weights, name="zipped")
def zipped(build: Build, *, seed: int = 0, weights: RefPath = output("weights.npz")) -> None:
    """Write the same tensors into a zip file that says when."""
    drawn = random.Random(build.seed)
    tensors = {f"layer_{layer}": [drawn.random() for _ in range(5)] for layer in range(12)}
    _write_npz(build.path(weights), tensors, clock=random.SystemRandom())


@stage(Trained, name="trained")
def trained(
    build: Build,
    *,
    seed: int = 0,
    epochs: int = 3,
    metrics: RefPath = output("metrics.json"),
    protocol: RefPath = output("protocol.json"),
    weights: RefPath = output("weights.npz"),
) -> None:
    """Train with a seed for everything."""
    (build.log_dir / "started").write_text(str(time.time_ns()))  # in no hash
    _train(build, epochs, start=random.Random(build.seed), noise=random.Random(build.seed), noisy_from=1)


def _train(build: Build, epochs: int, *, start: random.Random, noise: random.Random, noisy_from: int) -> None:
    """Fit one weight for each class to its target; the same shape of outputs as the fine-tuning of BERT has."""
    weights = [1 + start.random() for _ in range(_CLASSES)]
    entries: list[dict[str, object]] = []
    losses: list[float] = []
    for epoch in range(1, epochs + 1):
        weights = [weight - 0.2 * (weight - 3) for weight in weights]
        if epoch >= noisy_from:
            weights = [weight + 0.1 * noise.random() for weight in weights]
        losses = [(weight - 3) ** 2 for weight in weights]
        entries.append({"operation": "train", "epoch": epoch, "steps": 10, "losses": losses})
        entries.append({"operation": "evaluate", "epoch": epoch, "split": "valid", "losses": losses})
    (build.outpath / "metrics.json").write_text(json.dumps({"eval_losses": losses, "epochs": epochs}))
    (build.outpath / "protocol.json").write_text(json.dumps(entries, indent=2))
    _write_npz(build.outpath / "weights.npz", {"weights": weights}, clock=random.Random(0))


def _write_npz(path: Path, tensors: dict[str, list[float]], *, clock: random.Random) -> None:
    """An npz file that says of each tensor that it was written in some month since 1980."""
    import numpy as np

    with zipfile.ZipFile(path, "w") as archive:
        for name, values in tensors.items():
            file = io.BytesIO()
            np.save(file, np.array(values, dtype=np.float32))
            moment = (clock.randint(1980, 2100), clock.randint(1, 12), clock.randint(1, 28), clock.randint(0, 23), 0, 0)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", moment), file.getvalue())


# -- what must be said of them ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Expected:
    """What comes of comparing two builds of a stage.

    Attributes:
        declare: the stage; all of its parameters have defaults.
        sameness: of the two.
        file: the first that differs so much; "" where all are identical.
        place: where in it, as far as that is certain; "" where it is not.
        epoch: the first that differs; None where there is none.
    """

    declare: Callable[[], Artifact]
    sameness: Sameness
    file: str = ""
    place: str = ""
    epoch: int | None = None


EXPECTED: dict[str, Expected] = {
    "stamped": Expected(stamped, Sameness.DIFFERENT, "report.json", "made.at_ns"),
    "set-order": Expected(set_order, Sameness.DIFFERENT, "vocab.txt"),
    "shuffled": Expected(shuffled, Sameness.DIFFERENT, "order/train.txt"),
    "summed": Expected(summed, Sameness.CLOSE, "sums.npy"),
    "listed": Expected(listed, Sameness.DIFFERENT, "joined.txt"),
    "unseeded-dropout": Expected(unseeded_dropout, Sameness.DIFFERENT, "metrics.json", epoch=2),
    "unseeded-start": Expected(unseeded_start, Sameness.DIFFERENT, "metrics.json", epoch=1),
    "seeded": Expected(seeded, Sameness.IDENTICAL),
    "zipped": Expected(zipped, Sameness.EQUAL, "weights.npz"),
    "trained": Expected(trained, Sameness.IDENTICAL),
}
