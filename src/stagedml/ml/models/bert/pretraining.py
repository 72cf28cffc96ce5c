"""Pre-training BERT: hidden words and, where the rows say so, next sentences. Devlin et al. 2018, BERT, 3.1.

tf-models-official's encoder and pretrainer, on rows of `stagedml.ml.pretrain_records`. What comes out is a pretrained
model like those that are fetched (see `checkpoint`), its heads under Google's names for them (`cls/predictions/...`,
`cls/seq_relationship/...`). A training can begin where any of these ended.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

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
    write_pretrained,
)
from stagedml.ml.models.bert.config import BertConfig, read_bert_config
from stagedml.ml.models.bert.encoder import activation, build_encoder
from stagedml.ml.pretrain_records import read_pretrain_columns
from stagedml.ml.progress import Progress, silent
from stagedml.ml.ragged import Ragged
from stagedml.ml.tokenizers import read_vocabulary
from stagedml.ml.train.batching import Batch, Batches, LengthBatches, ShardBatches, SortedBatches
from stagedml.ml.train.callbacks import Callback, EpochReport
from stagedml.ml.train.loop import TrainSettings, train
from stagedml.ml.train.results import log_scalars, write_results
from stagedml.ml.train.resume import Checkpoints, digest_of

logger = logging.getLogger(__name__)


_EVALUATION_ROWS = 64
_NEXT_WEIGHTS = "cls/seq_relationship/output_weights"

# What two models with the same weights may differ in.
_NOT_SHAPE = {"hidden_act", "hidden_dropout_prob", "attention_probs_dropout_prob", "initializer_range"}


class CannotGoOn(UsageError):
    """A pretrained model is not one that a training with these rows and settings can begin with."""

    def __init__(self, config: str, problems: tuple[str, ...]) -> None:
        super().__init__(config, problems)
        self.config, self.problems = config, problems

    def __str__(self) -> str:
        return (
            f"{self.config} cannot be trained further like this: {'; '.join(self.problems)}; "
            "give the shape that it has, and rows made with its own vocabulary"
        )


@dataclass(frozen=True)
class PretrainSettings:
    """The shape of a model, and how many rows it is shown at once.

    Attributes:
        hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, max_position_embeddings, hidden_act,
        dropout, initializer_range: the model's shape; see `config.BertConfig`. `dropout` is that of attention weights,
        too.
        batch_size: rows a batch.
        length_step: batches are padded to a multiple of so many word pieces.
    """

    hidden_size: int = 128
    num_hidden_layers: int = 2
    num_attention_heads: int = 2
    intermediate_size: int = 512
    max_position_embeddings: int = 128
    hidden_act: str = "gelu"
    dropout: float = 0.1
    initializer_range: float = 0.02
    batch_size: int = 32
    length_step: int = 8

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UsageError(f"batch_size is {self.batch_size}, below 1")

    def bert_config(self, vocab_size: int) -> BertConfig:
        """The model's shape, for a vocabulary of that size."""
        return BertConfig(
            vocab_size=vocab_size,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=self.intermediate_size,
            hidden_act=self.hidden_act,
            hidden_dropout_prob=self.dropout,
            attention_probs_dropout_prob=self.dropout,
            max_position_embeddings=self.max_position_embeddings,
            initializer_range=self.initializer_range,
        )


@dataclass(frozen=True)
class PretrainRows:
    """What `write_pretrain_records` wrote.

    Attributes:
        shards: of rows to train on: how many rows each has, and where.
        valid: rows of the documents that are held out.
        vocab: the vocabulary that they were made with, one word piece a line.
    """

    shards: Sequence[tuple[int, Path]]
    valid: Path
    vocab: Path


@dataclass(frozen=True)
class Start:
    """A pretrained model to go on from.

    Attributes:
        bert_config, vocab: its files.
        ckpt: the prefix of its checkpoint.
    """

    bert_config: Path
    vocab: Path
    ckpt: Path


def pretrain(
    rows: PretrainRows,
    *,
    training: TrainSettings,
    settings: PretrainSettings,
    seed: int,
    output: Path,
    start: Start | None = None,
    callbacks: Sequence[Callback] = (),
    log_dir: Path | None = None,
    progress: Progress = silent,
    checkpoints: Checkpoints | None = None,
) -> dict[str, float]:
    """Pre-train a BERT, and measure it.

    Writes into `output`: a pretrained model (`bert_config.json`, `vocab.txt`, `bert_model.ckpt.*`); `metrics.json`,
    what is returned; and `protocol.json`, a list of what was done, in order, with what came out. All of them are the
    same, byte for byte, for the same arguments.

    Args:
        rows: what it learns from, and is measured with.
        training: how the model is trained.
        settings: the model's shape, and how many rows make a batch.
        seed: of the weights, the order of the data and the dropout.
        output: a folder that exists.
        start: begin with the weights of this model, those of its heads included where it has them, instead of fresh
            ones. Its optimizer's state is not kept: the rate warms up again. The order of the data and the dropout then
            follow from these weights, too, so that no two trainings of a chain repeat each other's.
        callbacks: what may happen on the way.
        log_dir: for TensorBoard; holds clocks and rates.
        progress: told of the training.
        checkpoints: where to keep what is needed to go on after a crash; what comes out is the same.

    Returns:
        `train_loss`, mean of the last epoch; for the rows that are held out, after the last epoch, `eval_loss` and
        `eval_accuracy`, mean over their hidden word pieces, and where next sentences are to be told
        `eval_next_sentence_loss` and `eval_next_sentence_accuracy`, mean over their rows.

    Raises:
        CannotGoOn: `start` has another shape or vocabulary.
        DamagedRecords: the rows are damaged.
        UnusableBertConfig: there is no model of such a shape.
        LossNotFinite: the training diverged.
    """
    config = settings.bert_config(len(read_vocabulary(rows.vocab)))
    if start:
        config = _config_of(start, config, rows.vocab)
    valid = read_pretrain_columns(rows.valid)
    if (longest := int(valid["input_ids"].lengths.max())) > config.max_position_embeddings:
        raise UsageError(
            f"{rows.valid} has rows of {longest} word pieces, the model {config.max_position_embeddings} positions; "
            "give max_position_embeddings at least the max_seq_length of the rows"
        )
    with training.building(seed):
        model = MaskedLanguageModel(config, next_sentence="next_sentence_labels" in valid)
    if start:
        model.load(read_checkpoint(start.ckpt))
        seed = _seed_after(seed, start.ckpt)
    measured_with = SortedBatches(**_columns(valid), batch_size=_EVALUATION_ROWS, length_step=settings.length_step)

    def after_epoch(report: EpochReport) -> dict[str, float]:
        measured = model.evaluate(measured_with)
        log_scalars(log_dir, "valid", report.epoch, measured)
        logger.info("epoch %d: %s", report.epoch, measured)
        return measured

    trained = train(
        model.model,
        model.loss,
        ShardBatches(
            [
                (-(-count // settings.batch_size), functools.partial(_load, path, settings, seed))
                for count, path in rows.shards
                if count
            ],
            seed=seed,
        ),
        training,
        seed=seed,
        weigh=lambda batch: float(batch["weights"].sum()),
        after_epoch=after_epoch,
        label="pretrain",
        callbacks=callbacks,
        log_dir=log_dir,
        progress=progress,
        checkpoints=checkpoints,
        identity={
            "settings": settings,
            "data": [digest_of(path) for path in (*(path for _, path in rows.shards), rows.valid, rows.vocab)],
        },
    )

    write_pretrained(output, config, rows.vocab.read_bytes(), model.arrays())
    return write_results(output, trained.reports, trained.epoch, valid_rows=len(valid["input_ids"]), others={})


def _config_of(start: Start, wanted: BertConfig, vocab: Path) -> BertConfig:
    """The configuration of a model that goes on from another one: its shape, with the dropout that is wanted."""
    found = read_bert_config(start.bert_config)
    problems = [
        f"its {name} is {was}, not {asdict(wanted)[name]}"
        for name, was in asdict(found).items()
        if name not in _NOT_SHAPE and was != asdict(wanted)[name]
    ]
    if read_vocabulary(start.vocab) != read_vocabulary(vocab):
        problems.append("its vocabulary is not that of the rows")
    if problems:
        raise CannotGoOn(str(start.bert_config), tuple(problems))
    return replace(wanted, hidden_act=found.hidden_act)


def _seed_after(seed: int, ckpt: Path) -> int:
    """A seed for what goes on from a checkpoint: another one for each."""
    (data,) = ckpt.parent.glob(f"{ckpt.name}.data-*")
    return int(hashlib.sha256(f"{seed} {digest_of(data)}".encode()).hexdigest()[:7], 16)


class MaskedLanguageModel:
    """BERT with a head that names the word piece at a place, and maybe one that tells whether sentences follow."""

    def __init__(self, config: BertConfig, *, next_sentence: bool = False) -> None:
        """Build it with fresh weights, drawn from Keras's global generator."""
        from official.nlp.modeling.models import BertPretrainerV2

        self.config = config
        self.encoder = build_encoder(config)
        self.model = BertPretrainerV2(
            self.encoder, mlm_activation=activation(config.hidden_act), mlm_initializer=_initializer(config)
        )
        self.model(self.model.inputs)
        self._next_sentence = None
        if next_sentence:
            self._next_sentence = tf_keras.layers.Dense(
                2, kernel_initializer=_initializer(config), name="next_sentence"
            )
            self._next_sentence.build((None, config.hidden_size))
            self.model.next_sentence = self._next_sentence  # so its weights are trained with the rest
        self._infer = tf.function(
            lambda batch: self._sums(batch, training=False),
            input_signature=[{name: tf.TensorSpec([None] * rank, tf.int32) for name, rank in _RANKS.items()}],
        )

    def loss(self, batch: Batch) -> Any:
        """The mean cross-entropy over the hidden word pieces of a batch and, with the second head, that over its rows,
        added up; with dropout: for `loop.train`."""
        sums = self._sums(batch, training=True)
        loss = sums["loss"] / tf.maximum(sums["count"], 1.0)
        return loss if self._next_sentence is None else loss + sums["next_loss"] / sums["rows"]

    def evaluate(self, batches: Batches) -> dict[str, float]:
        """The mean loss and the share of hidden word pieces that are named right; the same of next sentences."""
        parts = [{name: float(value) for name, value in self._infer(batch).items()} for batch in batches.epoch(0)]
        total = {name: math.fsum(part[name] for part in parts) for name in parts[0]}
        measured = {"loss": total["loss"] / total["count"], "accuracy": total["right"] / total["count"]}
        if self._next_sentence is not None:
            measured["next_sentence_loss"] = total["next_loss"] / total["rows"]
            measured["next_sentence_accuracy"] = total["next_right"] / total["rows"]
        return measured

    def arrays(self) -> Arrays:
        """All weights by Google's names."""
        heads = {name: variable.numpy() for name, variable in self._heads().items()}
        if _NEXT_WEIGHTS in heads:
            heads[_NEXT_WEIGHTS] = heads[_NEXT_WEIGHTS].T
        return encoder_arrays(self.encoder, self.config) | heads

    def load(self, arrays: Arrays) -> None:
        """Set all weights that are given, as `arrays` gives them: the encoder's, and those of heads if they are there.

        Raises:
            CheckpointMismatch: they are not those of such a model.
        """
        load_encoder(self.encoder, self.config, arrays)
        given = {name: array.T if name == _NEXT_WEIGHTS else array for name, array in arrays.items()}
        heads = {name: variable for name, variable in self._heads().items() if name in given}
        if misfits := tuple(
            f"{name} has shape {given[name].shape}, not {tuple(variable.shape)}"
            for name, variable in heads.items()
            if given[name].shape != variable.shape
        ):
            raise CheckpointMismatch((), (), misfits)
        for name, variable in heads.items():
            variable.assign(given[name])

    def _heads(self) -> dict[str, Any]:
        """The variables of the heads by Google's names; those of next sentences' weights lie the other way round."""
        head = self.model.masked_lm
        variables = {
            "cls/predictions/transform/dense/kernel": head.dense.kernel,
            "cls/predictions/transform/dense/bias": head.dense.bias,
            "cls/predictions/transform/LayerNorm/gamma": head.layer_norm.gamma,
            "cls/predictions/transform/LayerNorm/beta": head.layer_norm.beta,
            "cls/predictions/output_bias": head.bias,
        }
        if self._next_sentence is not None:
            variables[_NEXT_WEIGHTS] = self._next_sentence.kernel
            variables["cls/seq_relationship/output_bias"] = self._next_sentence.bias
        return variables

    def _sums(self, batch: Batch, *, training: bool) -> dict[str, Any]:
        """Over a batch: the sum of losses, how many are right and how many there are, of word pieces and of rows."""
        outputs = self.model(
            {
                "input_word_ids": batch["input_ids"],
                "input_mask": batch["input_mask"],
                "input_type_ids": batch["segment_ids"],
                "masked_lm_positions": batch["positions"],
            },
            training=training,
        )
        weights = tf.cast(batch["weights"], tf.float32)
        losses, right = _cross_entropy(outputs["mlm_logits"], batch["labels"])
        sums = {
            "loss": tf.reduce_sum(losses * weights),
            "right": tf.reduce_sum(right * weights),
            "count": tf.reduce_sum(weights),
        }
        if self._next_sentence is not None:
            losses, right = _cross_entropy(self._next_sentence(outputs["pooled_output"]), batch["random_next"])
            sums["next_loss"], sums["next_right"] = tf.reduce_sum(losses), tf.reduce_sum(right)
            sums["rows"] = tf.cast(tf.size(losses), tf.float32)
        return sums


def _initializer(config: BertConfig) -> Any:
    return tf_keras.initializers.TruncatedNormal(stddev=config.initializer_range)


def _cross_entropy(logits: Any, labels: Any) -> tuple[Any, Any]:
    """The loss of each prediction, and 1 where the likeliest class is the right one: both float32, shaped as labels."""
    logits = tf.cast(logits, tf.float32)
    right = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), labels)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits), tf.cast(right, tf.float32)


# -- data ------------------------------------------------------------------------------------------------------------

#: What a batch holds, all of it int32, and of which rank.
_RANKS = {
    "input_ids": 2,
    "input_mask": 2,
    "segment_ids": 2,
    "positions": 2,
    "labels": 2,
    "weights": 2,
    "random_next": 1,
}


def _load(path: Path, settings: PretrainSettings, seed: int) -> Batches:
    """A shard's rows, in batches to train on."""
    columns = _columns(read_pretrain_columns(path))
    return LengthBatches(**columns, batch_size=settings.batch_size, seed=seed, length_step=settings.length_step)


def _columns(rows: dict[str, Ragged]) -> dict[str, Any]:
    """The columns of rows, for `batching`."""
    ids, positions = rows["input_ids"], rows["masked_lm_positions"]
    nexts = rows.get("next_sentence_labels")
    return {
        "ragged": {
            "input_ids": ids,
            "input_mask": _ones_like(ids),
            "segment_ids": rows["segment_ids"],
            "positions": positions,
            "labels": rows["masked_lm_ids"],
            "weights": _ones_like(positions),
        },
        "scalars": {"random_next": np.zeros(len(ids), dtype=np.int32) if nexts is None else nexts.values},
    }


def _ones_like(column: Ragged) -> Ragged:
    ones: NDArray[np.int8] = np.ones(len(column.values), dtype=np.int8)
    return Ragged(ones, column.offsets)
