"""Fine-tuning BERT, whatever for: what all of its heads have in common.

A fine-tuned model is tf-models-official's encoder with one dense layer on top. On the disk it is a checkpoint in
Google's names (see `checkpoint`), that layer under `<prefix>output_weights` (outputs, hidden) and `<prefix>output_bias`
(outputs,). Whoever fine-tunes measures on held-out rows after each epoch, chooses by them, and measures on the other
splits once, with what was kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from stagedml.errors import UsageError
from stagedml.ml.framework import tf, tf_keras
from stagedml.ml.models.bert.checkpoint import (
    Arrays,
    CheckpointMismatch,
    encoder_arrays,
    load_encoder,
    read_checkpoint,
    write_checkpoint,
)
from stagedml.ml.models.bert.config import BertConfig
from stagedml.ml.progress import Progress, silent
from stagedml.ml.ragged import Ragged
from stagedml.ml.train.batching import LENGTH_STEP, LengthBatches, SortedBatches
from stagedml.ml.train.callbacks import Callback, EpochReport
from stagedml.ml.train.loop import TrainSettings, assign, train
from stagedml.ml.train.results import Evaluation, log_scalars, write_results
from stagedml.ml.train.resume import Checkpoints

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


class NoRecords(UsageError):
    """There are no tokenized examples."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return f"{self.path} has no rows: rows.json beside it says what was read of the files, and what was left out"


@dataclass(frozen=True)
class FinetuneSettings:
    """What there is to say of fine-tuning beside how it is trained.

    Attributes:
        batch_size: rows a batch, at most.
        batch_tokens: word pieces a batch, padding counted, at most; None for any number.
        dropout: in the encoder and before the head, in [0, 1); None for what the model's configuration says, and what
            is usual before the head.
        length_step: batches are padded to a multiple of so many word pieces.
        callbacks: what may happen on the way; they see what is measured on valid.
    """

    batch_size: int = 32
    batch_tokens: int | None = None
    dropout: float | None = None
    length_step: int = LENGTH_STEP
    callbacks: tuple[Callback, ...] = ()

    def __post_init__(self) -> None:
        counts = {"batch_size": self.batch_size, "batch_tokens": self.batch_tokens, "length_step": self.length_step}
        below = {name: value for name, value in counts.items() if value is not None and value < 1}
        if problems := [f"{name} is {value}, below 1" for name, value in below.items()]:
            raise UsageError("; ".join(problems))


# -- rows ------------------------------------------------------------------------------------------------------------


class Rows(Protocol):
    """Texts that BERT reads, in memory."""

    @property
    def input_ids(self) -> Ragged:
        """int32, a row as long as its text."""

    @property
    def segment_ids(self) -> Ragged:
        """int8, likewise."""

    def __len__(self) -> int:
        """How many there are."""


_Rows = TypeVar("_Rows", bound=Rows)


def fitting(path: Path, rows: _Rows, config: BertConfig, limits: Sequence[tuple[str, int, int]] = ()) -> _Rows:
    """Make sure that there are rows, and that the model has a place for each of their numbers.

    Args:
        path: where they come from.
        rows: any.
        config: of the model.
        limits: what else must not be above what: its name, its highest value, and the limit.

    Raises:
        NoRecords: there are none.
        RecordsDoNotFit: it has not.
    """
    if not len(rows):
        raise NoRecords(str(path))
    all_limits = [
        ("the longest row", rows.input_ids.lengths.max(), config.max_position_embeddings),
        ("the highest token", rows.input_ids.values.max(initial=0), config.vocab_size - 1),
        ("the highest segment", rows.segment_ids.values.max(initial=0), config.type_vocab_size - 1),
        *limits,
    ]
    if problems := tuple(f"{what} is {value}, above {limit}" for what, value, limit in all_limits if value > limit):
        raise RecordsDoNotFit(str(path), problems)
    return rows


def token_columns(rows: Rows) -> dict[str, Sequence[NDArray[Any]]]:
    """What BERT reads of rows, as `batching` takes it."""
    return {
        "input_ids": rows.input_ids,
        "input_mask": Ragged(np.ones_like(rows.input_ids.values), rows.input_ids.offsets),
        "segment_ids": rows.segment_ids,
    }


# -- models ----------------------------------------------------------------------------------------------------------


class HeadedBert:
    """BERT with a dense layer on top; what for, subclasses say.

    Attributes:
        prefix: of the names of the layer's weights in checkpoints.
    """

    prefix: ClassVar[str] = ""

    def __init__(self, config: BertConfig, encoder: Any, model: Any, head: Any) -> None:
        """Hold what a subclass built.

        Args:
            config: the shape of the encoder.
            encoder: from `build_encoder`.
            model: of Keras, the encoder and the head.
            head: a dense layer.
        """
        self.config = config
        self.encoder = encoder
        self.model = model
        self._head = head
        self._infer = tf.function(
            lambda batch: self.logits(batch, training=False),
            input_signature=[
                {name: tf.TensorSpec([None, None], tf.int32) for name in ("input_ids", "input_mask", "segment_ids")}
            ],
        )

    def logits(self, batch: Mapping[str, Any], *, training: bool) -> Any:
        """What the head gives: float32, the first dimension the rows.

        Args:
            batch: input_ids, input_mask and segment_ids, each (rows, length) int32.
            training: whether dropout acts.
        """
        raise NotImplementedError

    def loss(self, batch: Mapping[str, Any]) -> Any:
        """The mean loss of a batch's rows, a float32 scalar; with dropout, for `loop.train`."""
        raise NotImplementedError

    def outputs(self, rows: Rows, *, length_step: int = LENGTH_STEP) -> Iterator[tuple[NDArray[np.int64], Any]]:
        """The logits of rows, some of similar length at a time: their numbers, and what `logits` gives of them."""
        batches = SortedBatches(token_columns(rows), {}, batch_size=_EVALUATION_ROWS, length_step=length_step)
        done = 0
        for batch in batches.epoch():
            logits = self._infer(batch).numpy()
            yield batches.order[done : done + len(logits)], logits
            done += len(logits)

    def arrays(self) -> Arrays:
        """All weights by Google's names."""
        weights, bias = self._names()
        kernel = self._head.kernel.numpy().T
        return encoder_arrays(self.encoder, self.config) | {weights: kernel, bias: self._head.bias.numpy()}

    def load(self, arrays: Arrays) -> None:
        """Set all weights, the inverse of `arrays`.

        Raises:
            CheckpointMismatch: they are not those of such a model; nothing was set.
        """
        weights, bias = self._names()
        shapes = {weights: tuple(self._head.kernel.shape[::-1]), bias: tuple(self._head.bias.shape)}
        missing = tuple(name for name in shapes if name not in arrays)
        misfits = tuple(
            f"{name} has shape {arrays[name].shape}, not {shape}"
            for name, shape in shapes.items()
            if name in arrays and arrays[name].shape != shape
        )
        if missing or misfits:
            raise CheckpointMismatch(missing, (), misfits)
        load_encoder(self.encoder, self.config, arrays)
        self._head.kernel.assign(arrays[weights].T)
        self._head.bias.assign(arrays[bias])

    def _names(self) -> tuple[str, str]:
        return f"{self.prefix}output_weights", f"{self.prefix}output_bias"


def encoder_inputs(batch: Mapping[str, Any]) -> dict[str, Any]:
    """A batch by the names that tf-models-official's encoder has for its parts."""
    return {
        "input_word_ids": batch["input_ids"],
        "input_mask": batch["input_mask"],
        "input_type_ids": batch["segment_ids"],
    }


def head_initializer(config: BertConfig) -> Any:
    """How the weights of a head begin."""
    return tf_keras.initializers.TruncatedNormal(stddev=config.initializer_range)


# -- fine-tuning -----------------------------------------------------------------------------------------------------


Measure: TypeAlias = Callable[[Mapping[str, float], Path | None], Evaluation]
"""Measures the model as it is on a split. It is told what was measured on valid after the epoch whose weights are kept,
nothing before there is one; and, at the end, where to write predictions: a path without a suffix."""


def finetune_head(
    headed: HeadedBert,
    bert_ckpt: Path,
    batches: LengthBatches,
    valid: Measure,
    others: Mapping[str, Measure],
    *,
    training: TrainSettings,
    settings: FinetuneSettings,
    seed: int,
    output: Path,
    log_dir: Path | None = None,
    progress: Progress = silent,
    checkpoints: Checkpoints | None = None,
    identity: Mapping[str, object],
) -> dict[str, float]:
    """Fine-tune a pretrained BERT with a fresh head, and measure it.

    Writes into `output`: the checkpoint `model.ckpt.*`, with averaged weights if the training asks for those, the raw
    ones as `raw.ckpt.*` beside it; `metrics.json`, what is returned; `protocol.json`, a list of what was done, in
    order, with what came out; and what each split writes into `predictions/`. All of them are the same, byte for byte,
    for the same arguments.

    Args:
        headed: the model, built within `training.building`; its encoder gets the pretrained weights here.
        bert_ckpt: prefix of a pretrained model's checkpoint, with or without heads; those are left out.
        batches: the data.
        valid: measured after each epoch; what choices are made by.
        others: by name, those that are measured once, at the end.
        training: how the model is trained.
        settings: what else there is to say.
        seed: of the dropout.
        output: a folder that exists.
        log_dir: for TensorBoard; holds clocks and rates.
        progress: told of the training.
        checkpoints: where to keep what is needed to go on after a crash; what comes out is the same.
        identity: what tells this training from others; see `loop.train`.

    Returns:
        `train_loss`, mean of the epoch whose weights are kept; what is measured on valid after that epoch, `eval_...`;
        the same for each of the others, `<split>_...`.

    Raises:
        LossNotFinite: the training diverged.
        MetricNotMeasured: a callback watches a metric that is not measured.
    """
    load_encoder(headed.encoder, headed.config, read_checkpoint(bert_ckpt))

    def told(split: str, epoch: int, measured: Mapping[str, float]) -> None:
        log_scalars(log_dir, split, epoch, measured)
        logger.info("epoch %d, %s: %s", epoch, split, measured)

    def after_epoch(report: EpochReport) -> Mapping[str, float]:
        measured = valid({}, None).measured
        told("valid", report.epoch, measured)
        return measured

    trained = train(
        headed.model,
        headed.loss,
        batches,
        training,
        seed=seed,
        callbacks=settings.callbacks,
        after_epoch=after_epoch,
        log_dir=log_dir,
        progress=progress,
        checkpoints=checkpoints,
        identity={"settings": replace(settings, callbacks=()), "config": headed.config, **identity},
    )

    kept = trained.reports[trained.epoch - 1].measured
    predictions = output / PREDICTIONS_FOLDER
    predictions.mkdir()
    valid_rows = valid(kept, predictions / "valid").rows
    evaluations = {split: measure(kept, predictions / split) for split, measure in others.items()}
    for split, evaluation in evaluations.items():
        told(split, trained.epoch, evaluation.measured)

    write_checkpoint(output / CHECKPOINT_PREFIX, headed.arrays())
    if trained.raw:
        assign(headed.model.variables, trained.raw)
        write_checkpoint(output / RAW_PREFIX, headed.arrays())
    return write_results(output, trained.reports, trained.epoch, valid_rows=valid_rows, others=evaluations)
