"""How much faster fine-tuning is with batches of similar length than with padding to 128.

    python benchmarks/bench_finetune.py [--bert FOLDER] [--records FILE] [--batch-size 32] [--pairs 12]

One training in one process, whose batches come in pairs: the same rows, padded to what they need and padded to 128. So
both sides have the same weights, the same compiled step and the same disturbance by whatever else the machine does.
Without `--records`, rows have random words and MRPC's lengths; without `--bert`, the model has the shape of MiniLM (6
layers, hidden 384) and fresh weights. Neither changes how long a step takes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from stagedml.ml.models.bert.checkpoint import load_encoder, read_checkpoint
from stagedml.ml.models.bert.classifier import Classifier, example_columns
from stagedml.ml.models.bert.config import BertConfig, read_bert_config
from stagedml.ml.ragged import Ragged
from stagedml.ml.records import EncodedExamples, read_examples
from stagedml.ml.train.batching import Batch, LengthBatches
from stagedml.ml.train.loop import TrainSettings, train
from stagedml.ml.train.optimizer import OptimizerSettings

MINILM = BertConfig(
    vocab_size=30522,
    hidden_size=384,
    num_hidden_layers=6,
    num_attention_heads=12,
    intermediate_size=1536,
    hidden_act="gelu_exact",
)
# Word pieces of a pair in MRPC's train, special tokens included: minimum, deciles, maximum.
MRPC_LENGTHS = (19, 36, 41, 45, 50, 53, 57, 61, 64, 70, 103)
LONGEST = 128
WARMUP_PAIRS = 2


class Pairs:
    """Batches in pairs: each as long as it needs, then the same rows padded to 128."""

    def __init__(self, batches: LengthBatches, pairs: int) -> None:
        self._batches = batches
        self.steps_per_epoch = 2 * pairs

    def epoch(self, number: int) -> Iterator[Batch]:
        """The pairs of an epoch."""
        for batch in islice(self._batches.epoch(number), self.steps_per_epoch // 2):
            yield batch
            yield {
                name: np.pad(column, ((0, 0), (0, LONGEST - column.shape[1]))) if column.ndim == 2 else column
                for name, column in batch.items()
            }


def random_rows(count: int, vocab_size: int) -> EncodedExamples:
    """Rows of random words whose lengths are distributed as MRPC's are."""
    generator = np.random.default_rng(0)
    lengths = np.interp(generator.random(count), np.linspace(0, 1, len(MRPC_LENGTHS)), MRPC_LENGTHS).astype(int)
    return EncodedExamples(
        index=np.arange(count),
        input_ids=Ragged.of_rows(generator.integers(0, vocab_size, length) for length in lengths),
        segment_ids=Ragged.of_rows(np.arange(length) > length // 2 for length in lengths),
        label=generator.integers(0, 2, count),
    )


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bert", type=Path, help="folder with bert_config.json and bert_model.ckpt.*")
    parser.add_argument("--records", type=Path, help="train.tfrecord of the stage glue_tfrecords")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=12, help="pairs of steps that are measured")
    arguments = parser.parse_args()

    pairs = arguments.pairs + WARMUP_PAIRS
    config = read_bert_config(arguments.bert / "bert_config.json") if arguments.bert else MINILM
    rows = read_examples(arguments.records) if arguments.records else random_rows(3493, config.vocab_size)
    batches = LengthBatches(*example_columns(rows), batch_size=arguments.batch_size, seed=1)
    settings = TrainSettings(OptimizerSettings(learning_rate=1e-5), epochs=1)
    with settings.building(1):
        classifier = Classifier(config, 2)
    if arguments.bert:
        load_encoder(classifier.encoder, config, read_checkpoint(arguments.bert / "bert_model.ckpt"))

    ends = [time.perf_counter()]

    def note_time(label: str, done: int, total: int | None, unit: str, note: str = "") -> None:
        ends.append(time.perf_counter())

    train(
        classifier.model,
        classifier.loss,
        Pairs(batches, pairs),
        settings,
        seed=1,
        progress=note_time,
    )
    times = np.diff(ends)[2 * WARMUP_PAIRS :].reshape(-1, 2)
    measured = [len(batch["label"]) for batch in islice(batches.epoch(0), WARMUP_PAIRS, pairs)]
    similar, padded = (sum(measured) / column.sum() for column in times.T)
    print(f"{arguments.pairs} pairs of {arguments.batch_size} rows, load of the machine {os.getloadavg()[0]:.1f}")
    print(f"{'batches':<20}{'examples/s':>12}")
    print(f"{'similar length':<20}{similar:>12.1f}")
    print(f"{'padded to 128':<20}{padded:>12.1f}")
    print(
        f"{'ratio':<20}{similar / padded:>12.2f}   (median of pairs {statistics.median(times[:, 1] / times[:, 0]):.2f})"
    )


if __name__ == "__main__":
    main()
