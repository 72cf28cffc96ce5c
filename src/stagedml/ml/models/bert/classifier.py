"""Fine-tuning BERT to classify texts and pairs of texts, or to give them a score.

tf-models-official's encoder and classifier: dropout and one dense layer on the pooled first position. A fine-tuned
classifier is a checkpoint in Google's names (see `checkpoint`), its head under Google's names for it, `output_weights`
(classes, hidden) and `output_bias` (classes,). One class stands for a score, a number that is learned by its squared
error.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagedml.errors import UsageError
from stagedml.ml.framework import tf, tf_keras
from stagedml.ml.metrics import cross_entropy, measure
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
from stagedml.ml.ragged import Ragged
from stagedml.ml.records import EncodedExamples, read_examples
from stagedml.ml.train.batching import LENGTH_STEP, LengthBatches, SortedBatches
from stagedml.ml.train.callbacks import Callback, KeepBest, MetricNotMeasured, ReduceOnPlateau
from stagedml.ml.train.loop import TrainSettings, assign, train
from stagedml.ml.train.results import Evaluation, log_scalars, write_results
from stagedml.ml.train.resume import Checkpoints, digest_of

logger = logging.getLogger(__name__)

CHECKPOINT_PREFIX = "model.ckpt"
RAW_PREFIX = "raw.ckpt"
PREDICTIONS_FOLDER = "predictions"

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
    """What there is to say of fine-tuning a classifier beside how it is trained.

    Attributes:
        batch_size: rows a batch, at most.
        batch_tokens: word pieces a batch, padding counted, at most; None for any number.
        dropout: in the encoder and before the head, in [0, 1); None for what the model's configuration says, and 0.1
            before the head.
        length_step: batches are padded to a multiple of so many word pieces.
        callbacks: what may happen on the way; they see what is measured on valid.
    """

    batch_size: int = 32
    batch_tokens: int | None = None
    dropout: float | None = None
    length_step: int = LENGTH_STEP
    callbacks: tuple[Callback, ...] = ()


def watching(
    metrics: Sequence[str], keep_best: str | None, patience: int | None, plateau_factor: float | None
) -> tuple[Callback, ...]:
    """Callbacks that watch a metric of a task.

    Args:
        metrics: of the task; the loss is measured, too.
        keep_best: which one to keep the best epoch by; None to keep the last epoch, whatever it gave.
        patience: stop after so many epochs without a better one.
        plateau_factor: lower the learning rate after each epoch without a better one.

    Raises:
        MetricNotMeasured: the task has no such metric.
        UsageError: patience, or a factor, and no metric to watch.
    """
    if keep_best is None:
        if patience is not None or plateau_factor is not None:
            raise UsageError("patience and plateau_factor watch the metric of keep_best; name one there")
        return ()
    if keep_best not in ("loss", *metrics):
        raise MetricNotMeasured(keep_best, ("loss", *metrics))
    higher = keep_best != "loss"
    callbacks: list[Callback] = [KeepBest(keep_best, higher=higher, patience=patience)]
    if plateau_factor is not None:
        callbacks.append(ReduceOnPlateau(keep_best, higher=higher, factor=plateau_factor))
    return tuple(callbacks)


@dataclass(frozen=True)
class Splits:
    """TFRecord files of tokenized examples, from `records.write_examples`.

    Attributes:
        train: trained on.
        valid: measured after each epoch; what choices are made by.
        others: by name, those that are measured once, at the end.
    """

    train: Path
    valid: Path
    others: Mapping[str, Path]


def finetune(
    *,
    bert_config: Path,
    bert_ckpt: Path,
    splits: Splits,
    classes: int,
    metrics: Sequence[str],
    training: TrainSettings,
    settings: FinetuneSettings,
    seed: int,
    output: Path,
    log_dir: Path | None = None,
    progress: Progress = silent,
    checkpoints: Checkpoints | None = None,
) -> dict[str, float]:
    """Fine-tune a pretrained BERT to classify, and measure it.

    Writes into `output`: the checkpoint `model.ckpt.*`, with averaged weights if the training asks for those, the raw
    ones as `raw.ckpt.*` beside it; `metrics.json`, what is returned; `protocol.json`, a list of what was done, in
    order, with what came out; and `predictions/<split>.tsv` for each split that is measured (see `write_predictions`).
    All of them are the same, byte for byte, for the same arguments.

    Args:
        bert_config: the model's `bert_config.json`.
        bert_ckpt: prefix of its checkpoint, with or without heads; those are left out.
        splits: the data.
        classes: how many classes there are; labels are 0 to `classes - 1`. 1 for a score.
        metrics: names from `metrics.METRICS`.
        training: how the model is trained.
        settings: what else there is to say.
        seed: of the head's weights, the order of the data and the dropout.
        output: a folder that exists.
        log_dir: for TensorBoard; holds clocks and rates.
        progress: told of training and evaluation.
        checkpoints: where to keep what is needed to go on after a crash; what comes out is the same.

    Returns:
        `train_loss`, mean of the epoch whose weights are kept; for valid `eval_loss` and `eval_<metric>`, after that
        epoch; the same for each of the others, `<split>_...`.

    Raises:
        RecordsDoNotFit: the data has other labels, tokens or lengths than the model.
        LossNotFinite: the training diverged.
        MetricNotMeasured: a callback watches a metric that is not among the task's.
    """
    config = read_bert_config(bert_config)
    train_rows, valid_rows = (read_fitting(path, config, classes) for path in (splits.train, splits.valid))
    others = {split: read_fitting(path, config, classes) for split, path in splits.others.items()}
    weights = read_checkpoint(bert_ckpt)
    with training.building(seed):
        classifier = Classifier(config, classes, dropout=settings.dropout)
    load_encoder(classifier.encoder, config, weights)

    def evaluate(split: str, rows: EncodedExamples, epoch: int) -> dict[str, float]:
        measured = classifier.evaluate(rows, metrics, length_step=settings.length_step)
        log_scalars(log_dir, split, epoch, measured)
        logger.info("epoch %d, %s: %s", epoch, split, measured)
        return measured

    trained = train(
        classifier.model,
        classifier.loss,
        LengthBatches(
            *example_columns(train_rows),
            batch_size=settings.batch_size,
            batch_tokens=settings.batch_tokens,
            seed=seed,
            length_step=settings.length_step,
        ),
        training,
        seed=seed,
        callbacks=settings.callbacks,
        after_epoch=lambda report: evaluate("valid", valid_rows, report.epoch),
        log_dir=log_dir,
        progress=progress,
        checkpoints=checkpoints,
        identity={
            "settings": settings,
            "config": config,
            "classes": classes,
            "metrics": list(metrics),
            "data": [digest_of(path) for path in (splits.train, splits.valid)],
        },
    )

    measured: dict[str, Evaluation] = {}
    (output / PREDICTIONS_FOLDER).mkdir()
    for split, rows in {"valid": valid_rows, **others}.items():
        logits = classifier.predict(rows, length_step=settings.length_step)
        write_predictions(output / PREDICTIONS_FOLDER / f"{split}.tsv", rows, logits)
        if split in others:
            measured[split] = Evaluation(len(rows), _measure(logits, rows, metrics))
            log_scalars(log_dir, split, trained.epoch, measured[split].measured)
            logger.info("%s: %s", split, measured[split].measured)

    write_checkpoint(output / CHECKPOINT_PREFIX, classifier.arrays())
    if trained.raw:
        assign(classifier.model.variables, trained.raw)
        write_checkpoint(output / RAW_PREFIX, classifier.arrays())
    return write_results(output, trained.reports, trained.epoch, valid_rows=len(valid_rows), others=measured)


class Classifier:
    """BERT with a head that tells classes apart."""

    def __init__(self, config: BertConfig, classes: int, *, dropout: float | None = None) -> None:
        """Build it with fresh weights, drawn from Keras's global generator.

        Args:
            config: the shape of the encoder.
            classes: how many there are; 1 for a score.
            dropout: everywhere; None for what the configuration says, and 0.1 before the head.
        """
        from official.nlp.modeling.models import BertClassifier

        self.config = config
        self.classes = classes
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
        """The mean cross-entropy of a batch, or the mean squared error of scores; with dropout, for `loop.train`."""
        logits = self.logits(batch, training=True)
        if self.classes == 1:
            return tf.reduce_mean(tf.math.squared_difference(logits[:, 0], batch["label"]))
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
        return _measure(self.predict(rows, length_step=length_step), rows, metrics)

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


def read_fitting(path: Path, config: BertConfig, classes: int, *, labelled: bool = True) -> EncodedExamples:
    """Read tokenized examples, with labels unless they need none, and make sure that the model has a place for each of
    their numbers.

    Raises:
        RecordsDoNotFit: it has not.
    """
    rows = read_examples(path)
    if not len(rows):
        raise RecordsDoNotFit(str(path), ("there are no rows in it",))
    if labelled and rows.label is None:
        raise RecordsDoNotFit(str(path), ("the rows have no labels",))
    limits = [
        ("the longest row", rows.input_ids.lengths.max(), config.max_position_embeddings),
        ("the highest token", rows.input_ids.values.max(initial=0), config.vocab_size - 1),
        ("the highest segment", rows.segment_ids.values.max(initial=0), config.type_vocab_size - 1),
    ]
    if rows.label is not None and classes > 1:
        limits.append(("the highest label", rows.label.max(), classes - 1))
    if problems := tuple(f"{what} is {value}, above {limit}" for what, value, limit in limits if value > limit):
        raise RecordsDoNotFit(str(path), problems)
    return rows


def example_columns(rows: EncodedExamples) -> tuple[dict[str, Sequence[NDArray[Any]]], dict[str, NDArray[Any]]]:
    """The ragged and the scalar columns of examples, for `batching`."""
    ragged: dict[str, Sequence[NDArray[Any]]] = {
        "input_ids": rows.input_ids,
        "input_mask": Ragged(np.ones_like(rows.input_ids.values), rows.input_ids.offsets),
        "segment_ids": rows.segment_ids,
    }
    if rows.label is None:
        return ragged, {}
    return ragged, {"label": rows.label.astype(np.float32 if rows.label.dtype.kind == "f" else np.int32)}


def predicted(logits: NDArray[np.float32]) -> NDArray[Any]:
    """What is predicted for each row, (rows,): the number of a class, or the score."""
    return logits[:, 0] if logits.shape[1] == 1 else logits.argmax(axis=1)


def write_predictions(path: Path, rows: EncodedExamples, logits: NDArray[np.float32]) -> None:
    """Write what was predicted: tab-separated, `index`, `label`, `prediction` and, for classes, `logit_<class>`.

    Args:
        path: the file.
        rows: the examples; without labels, that column is empty.
        logits: from `Classifier.predict`, (rows, classes). Written so that float32 gets them back exactly.
    """
    of_classes = [f"logit_{number}" for number in range(logits.shape[1])] if logits.shape[1] > 1 else []
    labels = [""] * len(rows) if rows.label is None else rows.label.tolist()
    lines = ["\t".join(("index", "label", "prediction", *of_classes))]
    for index, label, prediction, scores in zip(rows.index, labels, predicted(logits), logits, strict=True):
        lines.append("\t".join(map(str, (index, label, prediction, *(scores if of_classes else ())))))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _measure(logits: NDArray[np.float32], rows: EncodedExamples, metrics: Sequence[str]) -> dict[str, float]:
    """What `Classifier.loss` gives without dropout, and some metrics."""
    if logits.shape[1] == 1:
        loss = float(np.mean((logits[:, 0].astype(np.float64) - rows.labels) ** 2))
    else:
        loss = cross_entropy(logits, rows.labels)
    return {"loss": loss, **measure(metrics, predicted(logits), rows.labels)}
