"""Fine-tuning BERT to find the answer to a question in a passage.

tf-models-official's encoder and span labeler: one dense layer gives each word piece a logit for being the first of the
answer, and one for being the last; see `finetuning`. Where a row holds no answer, [CLS] is both. Padding is neither, so
it changes nothing. Devlin et al. 2018, BERT, 4.2 and 4.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagedml.ml.framework import tf
from stagedml.ml.models.bert.checkpoint import read_checkpoint
from stagedml.ml.models.bert.config import BertConfig, read_bert_config
from stagedml.ml.models.bert.encoder import build_encoder
from stagedml.ml.models.bert.finetuning import (
    FinetuneSettings,
    HeadedBert,
    Measure,
    encoder_inputs,
    finetune_head,
    fitting,
    head_initializer,
    token_columns,
)
from stagedml.ml.progress import Progress, silent
from stagedml.ml.ragged import Ragged
from stagedml.ml.squad import Edition, questions_of, read_squad
from stagedml.ml.squad_answers import Answered, AnswerSettings, find_answers, write_answers
from stagedml.ml.squad_metrics import best_thresholds, evaluate
from stagedml.ml.squad_records import EncodedWindows, read_windows
from stagedml.ml.train.batching import LENGTH_STEP, LengthBatches
from stagedml.ml.train.loop import TrainSettings
from stagedml.ml.train.results import Evaluation
from stagedml.ml.train.resume import Checkpoints, digest_of

#: What is measured besides the loss.

# What padding has for logits.
_NEVER = -1e9


@dataclass(frozen=True)
class Splits:
    """TFRecord files of windows, and the texts that they are of, from `squad_records.tokenize_squad`.

    Attributes:
        train: trained on.
        valid: measured after each epoch; what choices are made by.
        test: measured once, at the end.
        texts: the folder with `valid.json` and `test.json`.
    """

    train: Path
    valid: Path
    test: Path
    texts: Path


def finetune_span(
    *,
    bert_config: Path,
    bert_ckpt: Path,
    splits: Splits,
    edition: Edition,
    training: TrainSettings,
    settings: FinetuneSettings,
    answering: AnswerSettings,
    null_threshold: float | None = None,
    seed: int,
    output: Path,
    log_dir: Path | None = None,
    progress: Progress = silent,
    checkpoints: Checkpoints | None = None,
) -> dict[str, float]:
    """Fine-tune a pretrained BERT on SQuAD, and measure it.

    Writes what `finetuning.finetune_head` writes, and `predictions/<split>/` for each split that is measured (see
    `squad_answers.write_answers`).

    Args:
        bert_config: the model's `bert_config.json`.
        bert_ckpt: prefix of its checkpoint, with or without heads; those are left out.
        splits: the data.
        edition: of SQuAD.
        training: how the model is trained.
        settings: what else there is to say.
        answering: how answers are found.
        null_threshold: where there may be no answer: how much more must speak for none; None for what gives the best F1
            on valid.
        seed: of the head's weights, the order of the data and the dropout.
        output, log_dir, progress, checkpoints: as of `finetuning.finetune_head`.

    Returns:
        `train_loss`, mean of the epoch whose weights are kept; for valid `eval_loss` and what
        `squad_metrics.evaluate` gives, `eval_...`, after that epoch; the same for the test, `test_...`. Where there may
        be no answer, also what `squad_metrics.best_thresholds` gives.

    Raises:
        RecordsDoNotFit: the data has other tokens or lengths than the model.
        LossNotFinite: the training diverged.
    """
    config = read_bert_config(bert_config)
    paths = {"train": splits.train, "valid": splits.valid, "test": splits.test}
    train_rows, valid_rows, test_rows = (fitting(path, read_windows(path), config) for path in paths.values())
    with training.building(seed):
        labeler = SpanLabeler(config, dropout=settings.dropout)

    def measuring(split: str, rows: EncodedWindows) -> Measure:
        articles, _ = read_squad(splits.texts / f"{split}.json", edition)
        questions = [question for _, question in questions_of(articles)]

        def measure(kept: Mapping[str, float], predictions: Path | None) -> Evaluation:
            starts, ends = labeler.predict(rows, length_step=settings.length_step)
            answers = list(find_answers(articles, rows, starts, ends, answering))
            found, threshold = {"loss": _loss(rows, starts, ends)}, null_threshold
            if edition.unanswerable:
                odds = {answer.id: answer.null_odds for answer in answers}
                found |= best_thresholds(questions, _texts(answers, None), odds, edition)
                if threshold is None:
                    threshold = {**found, **kept}["best_f1_thresh"]
            if predictions is not None:
                write_answers(predictions, answers, answering, unanswerable=edition.unanswerable, threshold=threshold)
            return Evaluation(len(rows), found | evaluate(questions, _texts(answers, threshold), edition))

        return measure

    return finetune_head(
        labeler,
        bert_ckpt,
        LengthBatches(
            token_columns(train_rows),
            {"start": train_rows.start, "end": train_rows.end},
            batch_size=settings.batch_size,
            batch_tokens=settings.batch_tokens,
            seed=seed,
            length_step=settings.length_step,
        ),
        measuring("valid", valid_rows),
        {"test": measuring("test", test_rows)},
        training=training,
        settings=settings,
        seed=seed,
        output=output,
        log_dir=log_dir,
        progress=progress,
        checkpoints=checkpoints,
        identity={
            "edition": edition.name,
            "answering": answering,
            "null_threshold": null_threshold,
            "data": [digest_of(path) for path in (splits.train, splits.valid, splits.texts / "valid.json")],
        },
    )


def _texts(answers: list[Answered], threshold: float | None) -> dict[str, str]:
    return {answer.id: answer.text(threshold) for answer in answers}


class SpanLabeler(HeadedBert):
    """BERT with a head that finds the two ends of an answer."""

    prefix = "cls/squad/"

    def __init__(self, config: BertConfig, *, dropout: float | None = None) -> None:
        """Build it with fresh weights, drawn from Keras's global generator.

        Args:
            config: the shape of the encoder.
            dropout: in the encoder; None for what the configuration says. There is none before the head.
        """
        from official.nlp.modeling.models import BertSpanLabeler

        encoder = build_encoder(config, hidden_dropout=dropout, attention_dropout=dropout)
        model = BertSpanLabeler(encoder, initializer=head_initializer(config))
        super().__init__(config, encoder, model, model.span_labeling.get_layer("predictions/transform/logits"))

    def logits(self, batch: Mapping[str, Any], *, training: bool) -> Any:
        """What speaks for each word piece as the first of the answer, and as the last: (rows, length, 2) float32."""
        logits = tf.cast(tf.stack(self.model(encoder_inputs(batch), training=training), axis=-1), tf.float32)
        return tf.where(tf.cast(batch["input_mask"], tf.bool)[:, :, tf.newaxis], logits, _NEVER)

    def loss(self, batch: Mapping[str, Any]) -> Any:
        """The mean cross-entropy of a batch, over both ends; with dropout, for `loop.train`."""
        logits = self.logits(batch, training=True)
        losses = [
            tf.nn.sparse_softmax_cross_entropy_with_logits(batch[name], logits[:, :, place])
            for place, name in enumerate(("start", "end"))
        ]
        return tf.reduce_mean(tf.stack(losses))

    def predict(self, rows: EncodedWindows, *, length_step: int = LENGTH_STEP) -> tuple[Ragged, Ragged]:
        """The logits of windows, in their order, of the first and of the last word piece: a row as long as its text."""
        starts, ends = np.empty((2, len(rows.input_ids.values)), dtype=np.float32)
        offsets = rows.input_ids.offsets
        for numbers, logits in self.outputs(rows, length_step=length_step):
            for number, row in zip(numbers, logits, strict=True):
                place = slice(offsets[number], offsets[number + 1])
                starts[place], ends[place] = row[: place.stop - place.start].T
        return Ragged(starts, offsets), Ragged(ends, offsets)


def load_span_labeler(bert_config: Path, checkpoint: Path) -> SpanLabeler:
    """Load what `finetune_span` wrote.

    Args:
        bert_config: the `bert_config.json` of the model that was fine-tuned.
        checkpoint: prefix of the checkpoint.

    Raises:
        CheckpointMismatch: the checkpoint has no such head, or another encoder.
    """
    labeler = SpanLabeler(read_bert_config(bert_config))
    labeler.load(read_checkpoint(checkpoint))
    return labeler


def _loss(rows: EncodedWindows, starts: Ragged, ends: Ragged) -> float:
    """What `SpanLabeler.loss` gives without dropout, over all rows."""
    losses = [_cross_entropies(logits, labels) for logits, labels in ((starts, rows.start), (ends, rows.end))]
    return float(np.mean(losses))


def _cross_entropies(logits: Ragged, labels: NDArray[np.int32]) -> NDArray[np.float64]:
    values, begins = logits.values.astype(np.float64), logits.offsets[:-1]
    highest = np.maximum.reduceat(values, begins)
    sums = np.add.reduceat(np.exp(values - np.repeat(highest, logits.lengths)), begins)
    entropies: NDArray[np.float64] = highest + np.log(sums) - values[begins + labels]
    return entropies
