"""Fine-tuning BERT to classify texts and pairs of texts.

tf-models-official's encoder and classifier: dropout and one dense layer on the pooled first position. A fine-tuned
classifier is a checkpoint in Google's names (see `checkpoint`), its head under Google's names for it, `output_weights`
(classes, hidden) and `output_bias` (classes,).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagedml.errors import UsageError
from stagedml.ml.framework import tf, tf_keras
from stagedml.ml.metrics import measure
from stagedml.ml.models.bert.checkpoint import (
    Arrays,
    CheckpointMismatch,
    encoder_arrays,
    load_encoder,
    read_checkpoint,
    write_checkpoint,
)
from stagedml.ml.models.bert.config import BertConfig, read_bert_config
from stagedml.ml.models.bert.encoder import build_encoder
from stagedml.ml.progress import Progress, silent
from stagedml.ml.records import EncodedExamples, read_examples
from stagedml.ml.train.batching import LENGTH_STEP, LengthBatches, SortedBatches
from stagedml.ml.train.determinism import seeded
from stagedml.ml.train.loop import train
from stagedml.ml.train.optimizer import OptimizerSettings, create_optimizer
from stagedml.ml.train.precision import Precision, precision
from stagedml.ml.train.resume import Checkpoints, digest_of

logger = logging.getLogger(__name__)

CHECKPOINT_PREFIX = "model.ckpt"
METRICS_FILE = "metrics.json"
PROTOCOL_FILE = "protocol.json"

_EVALUATION_ROWS = 64


class RecordsDoNotFit(UsageError):
    """Tokenized examples hold numbers that the model has no place for."""

    def __init__(self, path: str, problems: tuple[str, ...]) -> None:
        super().__init__(path, problems)
        self.path, self.problems = path, problems

    def __str__(self) -> str:
        return f"{self.path}: {'; '.join(self.problems)}; tokenize with this model's vocabulary and length"


@dataclass(frozen=True)
class FinetuneSettings:
    """How a classifier is fine-tuned.

    Attributes:
        learning_rate: the highest, at the end of the warm-up.
        batch_size: rows a step.
        epochs: how often train is gone through.
        warmup_share: the share of all steps over which the learning rate rises.
        weight_decay: of AdamW.
        dropout: in the encoder and before the head, in [0, 1); None for what the model's configuration says, and 0.1
            before the head.
        precision: what the model computes in.
        length_step: batches are padded to a multiple of so many word pieces.
        deterministic: whether to repeat bit for bit.
    """

    learning_rate: float = 2e-5
    batch_size: int = 32
    epochs: int = 3
    warmup_share: float = 0.1
    weight_decay: float = 0.01
    dropout: float | None = None
    precision: Precision = "float32"
    length_step: int = LENGTH_STEP
    deterministic: bool = True


@dataclass(frozen=True)
class Splits:
    """TFRecord files of tokenized examples, from `records.write_examples`.

    Attributes:
        train: trained on.
        valid: measured after each epoch; what choices are made by.
        test: measured once, at the end.
    """

    train: Path
    valid: Path
    test: Path


def finetune(
    *,
    bert_config: Path,
    bert_ckpt: Path,
    splits: Splits,
    classes: int,
    metrics: Sequence[str],
    settings: FinetuneSettings,
    seed: int,
    output: Path,
    log_dir: Path | None = None,
    progress: Progress = silent,
    checkpoints: Checkpoints | None = None,
) -> dict[str, float]:
    """Fine-tune a pretrained BERT to classify, and measure it.

    Writes into `output`: the checkpoint `model.ckpt.*`; `metrics.json`, what is returned; and `protocol.json`, a list
    of what was done, in order, with what came out. All of them are the same, byte for byte, for the same arguments.

    Args:
        bert_config: the model's `bert_config.json`.
        bert_ckpt: prefix of its checkpoint, with or without heads; those are left out.
        splits: the data.
        classes: how many classes there are; labels are 0 to `classes - 1`.
        metrics: names from `metrics.METRICS`.
        settings: of the training.
        seed: of the head's weights, the order of the data and the dropout.
        output: a folder that exists.
        log_dir: for TensorBoard; holds clocks and rates.
        progress: told of training and evaluation.
        checkpoints: where to keep what is needed to go on after a crash; what comes out is the same.

    Returns:
        `train_loss`, mean of the last epoch; for valid `eval_loss` and `eval_<metric>`, after the last epoch; the same
        for test, `test_...`.

    Raises:
        RecordsDoNotFit: the data has other labels, tokens or lengths than the model.
        LossNotFinite: the training diverged.
    """
    config = read_bert_config(bert_config)
    train_rows, valid_rows, test_rows = (
        read_fitting(path, config, classes) for path in (splits.train, splits.valid, splits.test)
    )
    weights = read_checkpoint(bert_ckpt)
    with seeded(seed, deterministic=settings.deterministic), precision(settings.precision):
        classifier = Classifier(config, classes, dropout=settings.dropout)
    load_encoder(classifier.encoder, config, weights)

    def evaluate(split: str, rows: EncodedExamples, epoch: int) -> dict[str, float]:
        measured = classifier.evaluate(rows, metrics, length_step=settings.length_step)
        _log_scalars(log_dir, split, epoch, measured)
        logger.info("epoch %d, %s: %s", epoch, split, measured)
        return measured

    batches = LengthBatches(
        *example_columns(train_rows), batch_size=settings.batch_size, seed=seed, length_step=settings.length_step
    )
    reports = train(
        classifier.model,
        classifier.loss,
        create_optimizer(
            OptimizerSettings(
                learning_rate=settings.learning_rate,
                warmup_share=settings.warmup_share,
                weight_decay=settings.weight_decay,
            ),
            settings.epochs * batches.steps_per_epoch,
        ),
        batches,
        epochs=settings.epochs,
        seed=seed,
        log_dir=log_dir,
        progress=progress,
        after_epoch=lambda report: evaluate("valid", valid_rows, report.epoch),
        checkpoints=checkpoints,
        settings={
            "settings": settings,
            "config": config,
            "metrics": list(metrics),
            "data": [digest_of(path) for path in (splits.train, splits.valid)],
        },
    )

    protocol: list[dict[str, object]] = []
    results: dict[str, float] = {}

    def note(split: str, prefix: str, rows: EncodedExamples, epoch: int, measured: Mapping[str, float]) -> None:
        protocol.append({"operation": "evaluate", "split": split, "epoch": epoch, "rows": len(rows), **measured})
        results.update({f"{prefix}_{name}": value for name, value in measured.items()})

    for report in reports:
        protocol.append({"operation": "train", "epoch": report.epoch, "steps": report.steps, "loss": report.loss})
        results["train_loss"] = report.loss
        note("valid", "eval", valid_rows, report.epoch, report.measured)
    note("test", "test", test_rows, settings.epochs, evaluate("test", test_rows, settings.epochs))

    write_checkpoint(output / CHECKPOINT_PREFIX, classifier.arrays())
    _write_json(output / METRICS_FILE, results)
    _write_json(output / PROTOCOL_FILE, protocol)
    return results


class Classifier:
    """BERT with a head that tells classes apart."""

    def __init__(self, config: BertConfig, classes: int, *, dropout: float | None = None) -> None:
        """Build it with fresh weights, drawn from Keras's global generator.

        Args:
            config: the shape of the encoder.
            classes: how many there are.
            dropout: everywhere; None for what the configuration says, and 0.1 before the head.
        """
        from official.nlp.modeling.models import BertClassifier

        self.config = config
        self.encoder = build_encoder(config, hidden_dropout=dropout, attention_dropout=dropout)
        self.model = BertClassifier(
            self.encoder,
            num_classes=classes,
            initializer=tf_keras.initializers.TruncatedNormal(stddev=config.initializer_range),
            dropout_rate=0.1 if dropout is None else dropout,
        )
        self._head = self.model.classifier.out_proj
        self._infer = tf.function(
            lambda batch: self.logits(batch, training=False),
            input_signature=[
                {name: tf.TensorSpec([None, None], tf.int32) for name in ("input_ids", "input_mask", "segment_ids")}
            ],
        )

    def logits(self, batch: Mapping[str, Any], *, training: bool) -> Any:
        """What speaks for each class: (rows, classes) float32.

        Args:
            batch: input_ids, input_mask and segment_ids, each (rows, length) int32.
            training: whether dropout acts.
        """
        inputs = {
            "input_word_ids": batch["input_ids"],
            "input_mask": batch["input_mask"],
            "input_type_ids": batch["segment_ids"],
        }
        return tf.cast(self.model(inputs, training=training), tf.float32)

    def loss(self, batch: Mapping[str, Any]) -> Any:
        """The mean cross-entropy of a batch, with dropout: for `loop.train`."""
        logits = self.logits(batch, training=True)
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(batch["label"], logits))

    def predict(self, rows: EncodedExamples, *, length_step: int = LENGTH_STEP) -> NDArray[np.float32]:
        """The logits of examples, in their order: (rows, classes) float32."""
        ragged, _ = example_columns(rows)
        batches = SortedBatches(ragged, {}, batch_size=_EVALUATION_ROWS, length_step=length_step)
        parts = [self._infer(batch).numpy() for batch in batches.epoch()]
        logits: NDArray[np.float32] = np.empty_like(np.concatenate(parts))
        logits[batches.order] = np.concatenate(parts)
        return logits

    def evaluate(
        self, rows: EncodedExamples, metrics: Sequence[str], *, length_step: int = LENGTH_STEP
    ) -> dict[str, float]:
        """The mean loss and some metrics over labelled examples."""
        logits = self.predict(rows, length_step=length_step).astype(np.float64)
        shifted = logits - logits.max(axis=1, keepdims=True)
        likelihoods = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        loss = -float(np.mean(likelihoods[np.arange(len(rows)), rows.labels]))
        return {"loss": loss, **measure(metrics, logits.argmax(axis=1), rows.labels)}

    def arrays(self) -> Arrays:
        """All weights by Google's names."""
        kernel, bias = self._head.kernel.numpy(), self._head.bias.numpy()
        return encoder_arrays(self.encoder, self.config) | {"output_weights": kernel.T, "output_bias": bias}

    def load(self, weights: Arrays) -> None:
        """Set all weights, the inverse of `arrays`.

        Raises:
            CheckpointMismatch: they are not those of such a classifier; nothing was set.
        """
        shapes = {"output_weights": self._head.kernel.shape[::-1], "output_bias": self._head.bias.shape}
        missing = tuple(name for name in shapes if name not in weights)
        misfits = tuple(
            f"{name} has shape {weights[name].shape}, not {tuple(shape)}"
            for name, shape in shapes.items()
            if name in weights and weights[name].shape != tuple(shape)
        )
        if missing or misfits:
            raise CheckpointMismatch(missing, (), misfits)
        load_encoder(self.encoder, self.config, weights)
        self._head.kernel.assign(weights["output_weights"].T)
        self._head.bias.assign(weights["output_bias"])


def load_classifier(bert_config: Path, checkpoint: Path) -> Classifier:
    """Load what `finetune` wrote.

    Args:
        bert_config: the `bert_config.json` of the model that was fine-tuned.
        checkpoint: prefix of the checkpoint.

    Raises:
        CheckpointMismatch: the checkpoint has no head, or another encoder.
    """
    config = read_bert_config(bert_config)
    weights = read_checkpoint(checkpoint)
    if "output_bias" not in weights:
        raise CheckpointMismatch(("output_bias",), (), ())
    classifier = Classifier(config, len(weights["output_bias"]))
    classifier.load(weights)
    return classifier


def read_fitting(path: Path, config: BertConfig, classes: int) -> EncodedExamples:
    """Read tokenized examples and make sure that the model has a place for each of their numbers.

    Raises:
        RecordsDoNotFit: it has not.
    """
    rows = read_examples(path)
    if not len(rows):
        raise RecordsDoNotFit(str(path), ("there are no rows in it",))
    if rows.label is None:
        raise RecordsDoNotFit(str(path), ("the rows have no labels",))
    limits = (
        ("the longest row", max(len(row) for row in rows.input_ids), config.max_position_embeddings),
        ("the highest token", max(int(row.max(initial=0)) for row in rows.input_ids), config.vocab_size - 1),
        ("the highest segment", max(int(row.max(initial=0)) for row in rows.segment_ids), config.type_vocab_size - 1),
        ("the highest label", int(rows.label.max()), classes - 1),
    )
    if problems := tuple(f"{what} is {value}, above {limit}" for what, value, limit in limits if value > limit):
        raise RecordsDoNotFit(str(path), problems)
    return rows


def example_columns(rows: EncodedExamples) -> tuple[dict[str, Sequence[NDArray[Any]]], dict[str, NDArray[Any]]]:
    """The ragged and the scalar columns of examples, for `batching`."""
    ragged: dict[str, Sequence[NDArray[Any]]] = {
        "input_ids": rows.input_ids,
        "input_mask": [np.ones_like(row) for row in rows.input_ids],
        "segment_ids": rows.segment_ids,
    }
    return ragged, {} if rows.label is None else {"label": rows.label.astype(np.int32)}


def _log_scalars(log_dir: Path | None, split: str, epoch: int, values: Mapping[str, float]) -> None:
    if log_dir is None:
        return
    writer = tf.summary.create_file_writer(str(log_dir / split))
    with writer.as_default(step=epoch):
        for name, value in values.items():
            tf.summary.scalar(name, value)
    writer.close()


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
