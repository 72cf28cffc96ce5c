"""Fine-tuning BERT to classify texts and pairs of texts, or to give them a score.

tf-models-official's encoder and classifier: dropout and one dense layer on the pooled first position; see `finetuning`.
One class stands for a score, a number that is learned by its squared error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagedml.ml.framework import tf
from stagedml.ml.metrics import confusion, cross_entropy, measure
from stagedml.ml.models.bert.checkpoint import CheckpointMismatch, read_checkpoint
from stagedml.ml.models.bert.config import BertConfig, read_bert_config
from stagedml.ml.models.bert.encoder import build_encoder
from stagedml.ml.models.bert.finetuning import (
    FinetuneSettings,
    HeadedBert,
    Measure,
    RecordsDoNotFit,
    encoder_inputs,
    finetune_head,
    fitting,
    head_initializer,
    token_columns,
)
from stagedml.ml.progress import Progress, silent
from stagedml.ml.records import EncodedExamples, read_examples
from stagedml.ml.train.batching import LENGTH_STEP, LengthBatches
from stagedml.ml.train.loop import TrainSettings
from stagedml.ml.train.results import Evaluation, write_json
from stagedml.ml.train.resume import Checkpoints, digest_of

CONFUSION_FILE = "confusion.json"


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
    labels: Sequence[str],
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

    Writes what `finetuning.finetune_head` writes, `predictions/<split>.tsv` for each split that is measured (see
    `write_predictions`), and `confusion.json`, by split how many rows of each class are taken for each, nothing for
    scores.

    Args:
        bert_config: the model's `bert_config.json`.
        bert_ckpt: prefix of its checkpoint, with or without heads; those are left out.
        splits: the data.
        labels: what the classes are called, in the order of their numbers; none for a score.
        metrics: names from `metrics.METRICS`.
        training: how the model is trained.
        settings: what else there is to say.
        seed: of the head's weights, the order of the data and the dropout.
        output, log_dir, progress, checkpoints: as of `finetuning.finetune_head`.

    Returns:
        `train_loss`, mean of the epoch whose weights are kept; for valid `eval_loss` and `eval_<metric>`, after that
        epoch; the same for each of the others, `<split>_...`.

    Raises:
        RecordsDoNotFit: the data has other labels, tokens or lengths than the model.
        LossNotFinite: the training diverged.
        MetricNotMeasured: a callback watches a metric that is not among the task's.
    """
    config, classes = read_bert_config(bert_config), len(labels) or 1
    train_rows, valid_rows = (read_fitting(path, config, classes) for path in (splits.train, splits.valid))
    others = {split: read_fitting(path, config, classes) for split, path in splits.others.items()}
    with training.building(seed):
        classifier = Classifier(config, classes, dropout=settings.dropout)

    confusions: dict[str, dict[str, object]] = {}

    def measuring(split: str, rows: EncodedExamples) -> Measure:
        def measure(_: Mapping[str, float], predictions: Path | None) -> Evaluation:
            logits = classifier.predict(rows, length_step=settings.length_step)
            measured = _measured(logits, rows, metrics)
            if predictions is None:
                return Evaluation(len(rows), measured)
            write_predictions(predictions.with_name(f"{predictions.name}.tsv"), rows, logits)
            if labels:
                counts = confusion(predicted(logits), rows.labels, classes).tolist()
                confusions[split] = {"labels": list(labels), "counts": counts}
            return Evaluation(len(rows), measured, confusions.get(split))

        return measure

    results = finetune_head(
        classifier,
        bert_ckpt,
        LengthBatches(
            *example_columns(train_rows),
            batch_size=settings.batch_size,
            batch_tokens=settings.batch_tokens,
            seed=seed,
            length_step=settings.length_step,
        ),
        measuring("valid", valid_rows),
        {split: measuring(split, rows) for split, rows in others.items()},
        training=training,
        settings=settings,
        seed=seed,
        output=output,
        log_dir=log_dir,
        progress=progress,
        checkpoints=checkpoints,
        identity={
            "classes": classes,
            "metrics": list(metrics),
            "data": [digest_of(path) for path in (splits.train, splits.valid)],
        },
    )
    write_json(output / CONFUSION_FILE, confusions)
    return results


class Classifier(HeadedBert):
    """BERT with a head that tells classes apart."""

    def __init__(self, config: BertConfig, classes: int, *, dropout: float | None = None) -> None:
        """Build it with fresh weights, drawn from Keras's global generator.

        Args:
            config: the shape of the encoder.
            classes: how many there are; 1 for a score.
            dropout: everywhere; None for what the configuration says, and 0.1 before the head.
        """
        from official.nlp.modeling.models import BertClassifier

        encoder = build_encoder(config, hidden_dropout=dropout, attention_dropout=dropout)
        model = BertClassifier(
            encoder,
            num_classes=classes,
            initializer=head_initializer(config),
            dropout_rate=0.1 if dropout is None else dropout,
        )
        super().__init__(config, encoder, model, model.classifier.out_proj)
        self.classes = classes

    def logits(self, batch: Mapping[str, Any], *, training: bool) -> Any:
        """What speaks for each class: (rows, classes) float32."""
        return tf.cast(self.model(encoder_inputs(batch), training=training), tf.float32)

    def loss(self, batch: Mapping[str, Any]) -> Any:
        """The mean cross-entropy of a batch, or the mean squared error of scores; with dropout, for `loop.train`."""
        logits = self.logits(batch, training=True)
        if self.classes == 1:
            return tf.reduce_mean(tf.math.squared_difference(logits[:, 0], batch["label"]))
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(batch["label"], logits))

    def predict(self, rows: EncodedExamples, *, length_step: int = LENGTH_STEP) -> NDArray[np.float32]:
        """The logits of examples, in their order: (rows, classes) float32."""
        logits = np.empty((len(rows), self.classes), dtype=np.float32)
        for numbers, part in self.outputs(rows, length_step=length_step):
            logits[numbers] = part
        return logits

    def evaluate(
        self, rows: EncodedExamples, metrics: Sequence[str], *, length_step: int = LENGTH_STEP
    ) -> dict[str, float]:
        """The mean loss and some metrics over labelled examples."""
        return _measured(self.predict(rows, length_step=length_step), rows, metrics)


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
    if labelled and len(rows) and rows.label is None:
        raise RecordsDoNotFit(str(path), ("the rows have no labels",))
    limits = []
    if rows.label is not None and classes > 1:
        limits.append(("the highest label", rows.label.max(initial=0), classes - 1))
    return fitting(path, rows, config, limits)


def example_columns(rows: EncodedExamples) -> tuple[dict[str, Sequence[NDArray[Any]]], dict[str, NDArray[Any]]]:
    """The ragged and the scalar columns of examples, for `batching`."""
    if rows.label is None:
        return token_columns(rows), {}
    return token_columns(rows), {"label": rows.label.astype(np.float32 if rows.label.dtype.kind == "f" else np.int32)}


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


def _measured(logits: NDArray[np.float32], rows: EncodedExamples, metrics: Sequence[str]) -> dict[str, float]:
    """What `Classifier.loss` gives without dropout, and some metrics."""
    if logits.shape[1] == 1:
        loss = float(np.mean((logits[:, 0].astype(np.float64) - rows.labels) ** 2))
    else:
        loss = cross_entropy(logits, rows.labels)
    return {"loss": loss, **measure(metrics, predicted(logits), rows.labels)}
