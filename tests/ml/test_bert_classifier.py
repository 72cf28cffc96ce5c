"""Fine-tuning a small BERT: it learns, it repeats, and what it writes can be read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml.toy_bert import CONFIG
from stagedml.errors import UsageError
from stagedml.ml.tfrecord import write_records

pytestmark = pytest.mark.tensorflow

SHAPE = replace(CONFIG, num_hidden_layers=2, initializer_range=0.2)
TRAIN_ROWS = 96


def write_split(path: Path, count: int, seed: int) -> Path:
    """Pairs of random texts; the words of the first tell the class."""
    generator = np.random.default_rng(seed)
    rows: list[dict[str, list[int]]] = []
    for index in range(count):
        label = int(generator.integers(0, 2))
        first = [5 if label else 6] * int(generator.integers(1, 5))
        ids = [2, *first, 3, *generator.integers(10, 40, generator.integers(1, 5)).tolist(), 3]
        segments = [0] * (len(first) + 2) + [1] * (len(ids) - len(first) - 2)
        rows.append({"index": [index], "input_ids": ids, "segment_ids": segments, "label": [label]})
    write_records(path, rows)
    return path


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretrained toy and three splits for it."""
    from stagedml.ml.models.bert.checkpoint import encoder_arrays, write_pretrained
    from stagedml.ml.models.bert.encoder import build_encoder
    from stagedml.ml.train.determinism import seeded

    folder = tmp_path_factory.mktemp("inputs")
    with seeded(0):
        encoder = build_encoder(SHAPE)
    write_pretrained(folder, SHAPE, b"", encoder_arrays(encoder, SHAPE))
    for seed, (split, count) in enumerate((("train", TRAIN_ROWS), ("valid", 20), ("test", 20))):
        write_split(folder / f"{split}.tfrecord", count, seed)
    return folder


def finetune_toy(inputs: Path, output: Path, *, seed: int = 1, epochs: int = 2, **options: Any) -> dict[str, float]:
    from stagedml.ml.models.bert.classifier import Splits, finetune
    from stagedml.ml.models.bert.finetuning import FinetuneSettings
    from stagedml.ml.train.loop import TrainSettings
    from stagedml.ml.train.optimizer import OptimizerSettings

    output.mkdir(parents=True, exist_ok=True)
    training = TrainSettings(OptimizerSettings(3e-3), epochs=epochs)
    return finetune(
        bert_config=inputs / "bert_config.json",
        bert_ckpt=inputs / "bert_model.ckpt",
        splits=Splits(inputs / "train.tfrecord", inputs / "valid.tfrecord", {"test": inputs / "test.tfrecord"}),
        labels=("no", "yes"),
        metrics=("accuracy", "f1"),
        training=replace(training, **options.pop("training", {})),
        settings=replace(FinetuneSettings(batch_size=8), **options.pop("settings", {})),
        seed=seed,
        output=output,
        **options,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.fixture(scope="module")
def trained(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a fine-tuning of two epochs wrote, its TensorBoard folder in `log`."""
    output = tmp_path_factory.mktemp("trained")
    finetune_toy(inputs, output, log_dir=output / "log")
    return output


def test_finetuning_learns_and_writes_what_it_says(trained: Path) -> None:
    assert set(contents(trained)) == {
        "confusion.json",
        "metrics.json",
        "model.ckpt.data-00000-of-00001",
        "model.ckpt.index",
        "protocol.json",
    }
    metrics = json.loads((trained / "metrics.json").read_text())
    measured = {f"{split}_{name}" for split in ("eval", "test") for name in ("loss", "accuracy", "f1")}
    assert set(metrics) == measured | {"train_loss"}
    assert metrics["eval_accuracy"] > 0.9
    assert metrics["test_accuracy"] > 0.9


def test_the_protocol_tells_what_was_done_in_order_without_a_clock(trained: Path) -> None:
    protocol = json.loads((trained / "protocol.json").read_text())
    done = [(entry["operation"], entry["epoch"], entry.get("split")) for entry in protocol]
    assert done == [
        ("train", 1, None),
        ("evaluate", 1, "valid"),
        ("train", 2, None),
        ("evaluate", 2, "valid"),
        ("keep", 2, None),
        ("evaluate", 2, "test"),
    ]
    assert protocol[0]["steps"] == TRAIN_ROWS // 8
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["eval_accuracy"] == protocol[3]["accuracy"]
    assert metrics["test_f1"] == protocol[5]["f1"]


def test_which_class_was_taken_for_which_is_counted_by_split(trained: Path) -> None:
    confusions = json.loads((trained / "confusion.json").read_text())
    assert confusions["test"] == json.loads((trained / "protocol.json").read_text())[5]["confusion"]
    for split in ("valid", "test"):
        rows = [(int(row["label"]), int(row["prediction"])) for row in predictions(trained, split)]
        counts = [[rows.count((true, said)) for said in (0, 1)] for true in (0, 1)]
        assert confusions[split] == {"labels": ["no", "yes"], "counts": counts}


def predictions(folder: Path, split: str) -> list[dict[str, str]]:
    """The rows of a file of predictions."""
    header, *lines = (folder / "predictions" / f"{split}.tsv").read_text().splitlines()
    return [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]


def test_metrics_follow_from_the_predictions_that_are_kept(trained: Path) -> None:
    metrics = json.loads((trained / "metrics.json").read_text())
    for split, prefix in (("valid", "eval"), ("test", "test")):
        rows = predictions(trained, split)
        assert [int(row["index"]) for row in rows] == list(range(20))
        right = [row["label"] == row["prediction"] for row in rows]
        assert metrics[f"{prefix}_accuracy"] == pytest.approx(np.mean(right))
        logits = np.array([[float(row["logit_0"]), float(row["logit_1"])] for row in rows])
        assert logits.argmax(axis=1).tolist() == [int(row["prediction"]) for row in rows]
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        labels = [int(row["label"]) for row in rows]
        assert metrics[f"{prefix}_loss"] == pytest.approx(-np.log(chances[range(20), labels]).mean())


def test_averaged_weights_are_kept_beside_the_raw_ones(inputs: Path, trained: Path, tmp_path: Path) -> None:
    from stagedml.ml.models.bert.checkpoint import read_checkpoint

    finetune_toy(inputs, tmp_path, training={"average_decay": 0.9})
    raw, averaged = read_checkpoint(tmp_path / "raw.ckpt"), read_checkpoint(tmp_path / "model.ckpt")
    plain = read_checkpoint(trained / "model.ckpt")
    assert all(np.array_equal(raw[name], plain[name]) for name in plain)
    assert not np.array_equal(averaged["output_weights"], plain["output_weights"])
    assert predictions(tmp_path, "test") != predictions(trained, "test")


def test_the_best_epoch_is_kept_measured_and_told_of(inputs: Path, tmp_path: Path) -> None:
    from stagedml.ml.train.callbacks import watching
    from stagedml.ml.train.optimizer import OptimizerSettings

    # A rate so high that the first epochs are no better than the last.
    options: dict[str, Any] = {
        "training": {"optimizer": OptimizerSettings(1.0)},
        "settings": {"callbacks": watching(("accuracy", "f1"), "loss", 1, 0.5)},
    }
    metrics = finetune_toy(inputs, tmp_path, epochs=4, **options)
    protocol = json.loads((tmp_path / "protocol.json").read_text())
    valid = [entry for entry in protocol if entry.get("split") == "valid"]
    (kept,) = [entry["epoch"] for entry in protocol if entry["operation"] == "keep"]
    assert metrics["eval_loss"] == min(entry["loss"] for entry in valid) == valid[kept - 1]["loss"]
    assert len(valid) == min(kept + 1, 4)


def test_callbacks_of_a_task_watch_what_it_measures() -> None:
    from stagedml.ml.train.callbacks import KeepBest, MetricNotMeasured, ReduceOnPlateau, watching

    assert watching(("f1",), None, None, None) == ()
    assert watching(("f1",), "f1", 2, 0.5) == (KeepBest("f1", patience=2), ReduceOnPlateau("f1", factor=0.5))
    assert watching(("f1",), "loss", None, None) == (KeepBest("loss", higher=False),)
    with pytest.raises(MetricNotMeasured, match="no 'accuracy' is measured after an epoch; there are loss, f1"):
        watching(("f1",), "accuracy", None, None)
    with pytest.raises(UsageError, match="name one there"):
        watching(("f1",), None, 2, None)


def test_tensorboard_finds_training_and_evaluation(trained: Path) -> None:
    assert sorted(path.name for path in (trained / "log").iterdir()) == ["test", "train", "valid"]


def test_the_same_seed_gives_the_same_bytes_in_this_process_and_in_a_fresh_one(
    inputs: Path, trained: Path, tmp_path: Path
) -> None:
    finetune_toy(inputs, tmp_path / "other", seed=2, epochs=1)
    finetune_toy(inputs, tmp_path / "here")
    assert contents(tmp_path / "here") == contents(trained)

    code = (
        "import sys; from pathlib import Path; from ml.test_bert_classifier import finetune_toy;"
        "finetune_toy(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    tests = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *sys.path])}
    command = [sys.executable, "-c", code, str(inputs), str(tmp_path / "fresh")]
    subprocess.run(command, check=True, env=environment)
    assert contents(tmp_path / "fresh") == contents(trained)


KILLED = """
import json, os, signal, sys
from pathlib import Path

from ml.test_bert_classifier import finetune_toy
from stagedml.ml.train.resume import Checkpoints


def kill_at_11(label, done, total, unit, note=""):
    if done == 11:
        os.kill(os.getpid(), signal.SIGKILL)


inputs, output, checkpoints = map(Path, sys.argv[1:4])
checkpoints = Checkpoints(checkpoints, every_steps=4)
finetune_toy(inputs, output, checkpoints=checkpoints, progress=kill_at_11, **json.loads(sys.argv[4]))
"""

ALL_AT_ONCE = {
    "training": {"precision": "bfloat16", "accumulate": 2, "average_decay": 0.9},
    "settings": {"dropout": 0.2, "batch_size": 5},
}


@pytest.mark.parametrize(
    "options", [pytest.param({}, marks=pytest.mark.slow), ALL_AT_ONCE], ids=["plain", "all at once"]
)
def test_what_a_killed_process_began_ends_in_the_same_bytes(
    inputs: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    from stagedml.ml.train.resume import Checkpoints

    tests = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *sys.path])}
    command = [sys.executable, "-c", KILLED, str(inputs), str(tmp_path / "killed"), str(tmp_path / "checkpoints")]
    process = subprocess.run([*command, json.dumps(options)], check=False, env=environment)
    assert process.returncode == -signal.SIGKILL
    assert not contents(tmp_path / "killed")

    told: list[int] = []
    finetune_toy(inputs, tmp_path / "whole", **options)
    finetune_toy(
        inputs,
        tmp_path / "resumed",
        checkpoints=Checkpoints(tmp_path / "checkpoints", every_steps=4),
        progress=lambda label, done, total, unit, note="": told.append(done),
        **options,
    )
    # The last checkpoint, and what is left of 12 or 10 steps an epoch.
    assert told == (list(range(10, 21)) if options else list(range(8, 25)))
    assert contents(tmp_path / "resumed") == contents(tmp_path / "whole")


def test_another_seed_gives_another_model(inputs: Path, trained: Path, tmp_path: Path) -> None:
    finetune_toy(inputs, tmp_path, seed=2)
    assert contents(tmp_path)["model.ckpt.data-00000-of-00001"] != contents(trained)["model.ckpt.data-00000-of-00001"]


def test_the_checkpoint_has_google_s_names_and_predicts_what_was_measured(inputs: Path, trained: Path) -> None:
    from stagedml.ml.models.bert.checkpoint import encoder_shapes, read_checkpoint
    from stagedml.ml.models.bert.classifier import load_classifier
    from stagedml.ml.records import read_examples

    weights = read_checkpoint(trained / "model.ckpt")
    assert set(weights) == {*encoder_shapes(SHAPE), "output_weights", "output_bias"}
    assert weights["output_weights"].shape == (2, SHAPE.hidden_size)
    classifier = load_classifier(inputs / "bert_config.json", trained / "model.ckpt")
    measured = classifier.evaluate(read_examples(inputs / "test.tfrecord"), ("accuracy", "f1"))
    metrics = json.loads((trained / "metrics.json").read_text())
    assert measured == {name: metrics[f"test_{name}"] for name in ("loss", "accuracy", "f1")}


def test_padding_changes_no_prediction(inputs: Path, trained: Path) -> None:
    from stagedml.ml.models.bert.classifier import load_classifier
    from stagedml.ml.records import read_examples

    classifier = load_classifier(inputs / "bert_config.json", trained / "model.ckpt")
    rows = read_examples(inputs / "test.tfrecord")
    tight, loose = classifier.predict(rows, length_step=1), classifier.predict(rows, length_step=16)
    np.testing.assert_allclose(tight, loose, atol=1e-5)


def test_a_checkpoint_without_a_head_is_no_classifier(inputs: Path) -> None:
    from stagedml.ml.models.bert.checkpoint import CheckpointMismatch
    from stagedml.ml.models.bert.classifier import load_classifier

    with pytest.raises(CheckpointMismatch, match="output_bias"):
        load_classifier(inputs / "bert_config.json", inputs / "bert_model.ckpt")


def test_records_that_the_model_has_no_place_for_are_refused_before_training(inputs: Path, tmp_path: Path) -> None:
    from stagedml.ml.models.bert.classifier import read_fitting
    from stagedml.ml.models.bert.finetuning import NoRecords, RecordsDoNotFit

    path = tmp_path / "rows.tfrecord"
    row = {"index": [0], "input_ids": [1, 999, *[1] * 20], "segment_ids": [0] * 22, "label": [2]}
    write_records(path, [row])
    with pytest.raises(RecordsDoNotFit) as caught:
        read_fitting(path, SHAPE, classes=2)
    for part in ("longest row is 22, above 16", "highest token is 999, above 39", "highest label is 2, above 1"):
        assert part in str(caught.value)
    write_records(path, [])
    with pytest.raises(NoRecords, match=r"has no rows: rows\.json beside it says"):
        read_fitting(path, SHAPE, classes=2)


def test_every_dropout_of_the_model_is_found() -> None:
    from stagedml.ml.framework import tf
    from stagedml.ml.models.bert.classifier import Classifier
    from stagedml.ml.train.determinism import fix_dropout

    classifier = Classifier(SHAPE, 2)
    fix_dropout(classifier.model, 1, tf.Variable(0, dtype=tf.int64))
    batch = {name: np.ones((2, 5), dtype=np.int32) for name in ("input_ids", "input_mask", "segment_ids")}
    once = classifier.logits(batch, training=True).numpy()
    # Nothing is left that draws from a generator with a state: the same step gives the same noise.
    assert np.array_equal(once, classifier.logits(batch, training=True).numpy())
    assert not np.array_equal(once, classifier.logits(batch, training=False).numpy())
