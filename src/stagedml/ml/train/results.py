"""What a training came to, told by every recipe in the same way, whatever framework it trains with.

Rules this module keeps:
- `metrics.json` is one object of numbers: `train_loss`, the mean of the epoch whose weights are kept; `eval_<metric>`,
  measured after it on what is held out; `<split>_<metric>` of each split that was measured at the end.
- `protocol.json` is the list of what was done, in order, with what came out.
- Neither holds a clock, a host or a rate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagedml.errors import BuildError
from stagedml.ml.train.callbacks import EpochReport

METRICS_FILE = "metrics.json"
PROTOCOL_FILE = "protocol.json"


class LossNotFinite(BuildError):
    """The loss of a training became infinite or not a number."""

    def __init__(self, label: str, epoch: int, step: int, loss: float, learning_rate: float) -> None:
        super().__init__(label, epoch, step, loss, learning_rate)
        self.label, self.epoch, self.step = label, epoch, step
        self.loss, self.learning_rate = loss, learning_rate

    def __str__(self) -> str:
        return (
            f"{self.label}: the loss is {self.loss} at step {self.step} (epoch {self.epoch}, learning rate "
            f"{self.learning_rate:.3g}); try a lower learning rate, a longer warm-up or float32, and look at the data"
        )


@dataclass(frozen=True)
class Evaluation:
    """What was measured of a split at the end.

    Attributes:
        rows: how many it has.
        measured: by the names of metrics.
        confusion: where classes are told apart, `labels`, and `counts` as of `metrics.confusion`.
    """

    rows: int
    measured: Mapping[str, float]
    confusion: Mapping[str, object] | None = None


def write_results(
    folder: Path, reports: Sequence[EpochReport], epoch: int, *, valid_rows: int, others: Mapping[str, Evaluation]
) -> dict[str, float]:
    """Write `metrics.json` and `protocol.json`.

    Args:
        folder: where; it exists.
        reports: of all epochs; they measured `valid`.
        epoch: from 1: the one whose weights are kept.
        valid_rows: how many rows `valid` has.
        others: the splits that were measured at the end, by name.

    Returns:
        What is in `metrics.json`.
    """
    protocol: list[dict[str, object]] = []
    for report in reports:
        protocol.append({"operation": "train", "epoch": report.epoch, "steps": report.steps, "loss": report.loss})
        protocol.append(_evaluation("valid", report.epoch, Evaluation(valid_rows, report.measured)))
    kept = reports[epoch - 1]
    protocol.append({"operation": "keep", "epoch": epoch})
    results = {"train_loss": kept.loss}
    results |= {f"eval_{name}": value for name, value in kept.measured.items()}
    for split, evaluation in others.items():
        protocol.append(_evaluation(split, epoch, evaluation))
        results |= {f"{split}_{name}": value for name, value in evaluation.measured.items()}
    write_json(folder / METRICS_FILE, results)
    write_json(folder / PROTOCOL_FILE, protocol)
    return results


def _evaluation(split: str, epoch: int, evaluation: Evaluation) -> dict[str, object]:
    entry = {"operation": "evaluate", "split": split, "epoch": epoch, "rows": evaluation.rows, **evaluation.measured}
    return entry if evaluation.confusion is None else {**entry, "confusion": evaluation.confusion}


def write_json(path: Path, value: object) -> None:
    """Write JSON for people and programs: indented, keys in order."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def log_scalars(log_dir: Path | None, split: str, epoch: int, values: Mapping[str, float]) -> None:
    """Write what was measured of a split after an epoch for TensorBoard, if there is a folder for it."""
    if log_dir is None:
        return
    from stagedml.ml.framework import tf

    writer = tf.summary.create_file_writer(str(log_dir / split))
    with writer.as_default(step=epoch):
        for name, value in values.items():
            tf.summary.scalar(name, value)
    writer.close()
