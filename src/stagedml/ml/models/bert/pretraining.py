"""Pre-training BERT on plain text: hidden words and, if asked for, next sentences. Devlin et al. 2018, BERT, 3.1.

tf-models-official's encoder and pretrainer. A row is a few neighbouring sentences of a document: the first half is
BERT's first segment, the other half its second. For next sentence prediction, some rows have their second segment from
another document, and the pooled first position is to tell which. What comes out is a pretrained model like those that
are fetched (see `checkpoint`), its heads under Google's names for them (`cls/predictions/...`,
`cls/seq_relationship/...`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagedml.errors import UsageError
from stagedml.ml.framework import tf, tf_keras
from stagedml.ml.models.bert.checkpoint import Arrays, encoder_arrays, write_pretrained
from stagedml.ml.models.bert.config import BertConfig
from stagedml.ml.models.bert.encoder import activation, build_encoder
from stagedml.ml.progress import Progress, silent
from stagedml.ml.tokenizers import SPECIAL_TOKENS, BertTokenizer, Encoded
from stagedml.ml.train.batching import Batch, Batches, LengthBatches, SortedBatches
from stagedml.ml.train.callbacks import EpochReport
from stagedml.ml.train.loop import TrainSettings, train
from stagedml.ml.train.results import METRICS_FILE, PROTOCOL_FILE, write_json
from stagedml.ml.train.resume import Checkpoints, digest_of

logger = logging.getLogger(__name__)

HELD_OUT_EVERY = 20
"""Every so many documents, the first is not trained on, but measured with."""

_EVALUATION_ROWS = 64


class TooFewDocuments(UsageError):
    """A text has no document to train on, or none to measure with."""

    def __init__(self, corpus: str, documents: int) -> None:
        super().__init__(corpus, documents)
        self.corpus, self.documents = corpus, documents

    def __str__(self) -> str:
        return (
            f"{self.corpus}: {self.documents} documents, where 2 are needed at least; write a sentence a line and an "
            "empty line between documents"
        )


@dataclass(frozen=True)
class PretrainSettings:
    """The shape of a model, and what it is pre-trained on.

    Attributes:
        hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, max_position_embeddings, hidden_act,
        dropout, initializer_range: the model's shape; see `config.BertConfig`. `dropout` is that of attention weights,
        too.
        segment_sentences: a row has so many sentences in each segment at most; how many is drawn for each row.
        batch_size: rows a batch.
        mask_share: the share of word pieces to predict, in (0, 1).
        mask_token_share, random_token_share: of those, the shares that become [MASK] and a random word piece; the rest
            stays. BERT's are 0.8 and 0.1. With more random ones and more that stay, a model learns sooner to compare
            what it sees in one place with what it sees in another.
        random_next_share: the share of rows whose second segment is from another document, in [0, 1); 0 leaves next
            sentence prediction out. BERT's is 0.5.
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
    segment_sentences: int = 1
    batch_size: int = 32
    mask_share: float = 0.15
    mask_token_share: float = 0.8
    random_token_share: float = 0.1
    random_next_share: float = 0.0
    length_step: int = 8

    def __post_init__(self) -> None:
        problems = []
        if not 0 < self.mask_share < 1:
            problems.append(f"mask_share is {self.mask_share}, outside (0, 1)")
        fates = (self.mask_token_share, self.random_token_share)
        if min(fates) < 0 or sum(fates) > 1:
            problems.append(f"mask_token_share and random_token_share are {fates}: below 0, or above 1 together")
        if not 0 <= self.random_next_share < 1:
            problems.append(f"random_next_share is {self.random_next_share}, outside [0, 1)")
        if self.segment_sentences < 1:
            problems.append(f"segment_sentences is {self.segment_sentences}, below 1")
        if problems:
            raise UsageError("settings of the pre-training: " + "; ".join(problems))

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


def pretrain(
    *,
    corpus: Path,
    vocab: Path,
    lower_case: bool,
    training: TrainSettings,
    settings: PretrainSettings,
    seed: int,
    output: Path,
    log_dir: Path | None = None,
    progress: Progress = silent,
    checkpoints: Checkpoints | None = None,
) -> dict[str, float]:
    """Pre-train a BERT from nothing, and measure it.

    Writes into `output`: a pretrained model (`bert_config.json`, `vocab.txt`, `bert_model.ckpt.*`); `metrics.json`,
    what is returned; and `protocol.json`, a list of what was done, in order, with what came out. All of them are the
    same, byte for byte, for the same arguments.

    Args:
        corpus: text, UTF-8: a sentence a line, an empty line between documents. Every 20th document, from the first,
            is held out.
        vocab: one word piece a line.
        lower_case: whether the vocabulary is an uncased one.
        training: how the model is trained; what is hidden differs from epoch to epoch.
        settings: the model's shape, and what its rows are.
        seed: of the weights, the order of the data, what is hidden, and the dropout.
        output: a folder that exists.
        log_dir: for TensorBoard; holds clocks and rates.
        progress: told of the training.
        checkpoints: where to keep what is needed to go on after a crash; what comes out is the same.

    Returns:
        `train_loss`, mean of the last epoch; for the documents that are held out, after the last epoch, `eval_loss` and
        `eval_accuracy`, mean over their hidden word pieces, and where next sentences are predicted
        `eval_next_sentence_loss` and `eval_next_sentence_accuracy`, mean over their rows.

    Raises:
        TooFewDocuments: there is nothing to train on, or nothing to measure with.
        UnusableVocabulary: the vocabulary lacks a special token.
        UnusableBertConfig: there is no model of such a shape.
        LossNotFinite: the training diverged.
    """
    tokenizer = BertTokenizer(vocab, lower_case=lower_case)
    config = settings.bert_config(tokenizer.vocab_size)
    train_rows, held_out = read_rows(corpus, tokenizer, settings, seed)
    masking = Masking(tokenizer, settings)
    with training.building(seed):
        model = MaskedLanguageModel(config, next_sentence=settings.random_next_share > 0)

    def after_epoch(report: EpochReport) -> dict[str, float]:
        measured = model.evaluate(
            MaskedBatches(
                SortedBatches(*_columns(held_out), batch_size=_EVALUATION_ROWS, length_step=settings.length_step),
                masking,
                seed=seed,
            )
        )
        logger.info("epoch %d: %s", report.epoch, measured)
        return measured

    batches = MaskedBatches(
        LengthBatches(
            *_columns(train_rows), batch_size=settings.batch_size, seed=seed, length_step=settings.length_step
        ),
        masking,
        seed=seed,
    )
    trained = train(
        model.model,
        model.loss,
        batches,
        training,
        seed=seed,
        weigh=lambda batch: float(batch["weights"].sum()),
        after_epoch=after_epoch,
        label="pretrain",
        log_dir=log_dir,
        progress=progress,
        checkpoints=checkpoints,
        identity={
            "settings": settings,
            "lower_case": lower_case,
            "data": [digest_of(path) for path in (corpus, vocab)],
        },
    )

    protocol: list[dict[str, object]] = []
    results: dict[str, float] = {}
    for report in trained.reports:
        protocol.append({"operation": "train", "epoch": report.epoch, "steps": report.steps, "loss": report.loss})
        protocol.append({"operation": "evaluate", "epoch": report.epoch, "rows": len(held_out), **report.measured})
        results["train_loss"] = report.loss
        results.update({f"eval_{name}": value for name, value in report.measured.items()})

    write_pretrained(output, config, vocab.read_bytes(), model.arrays())
    write_json(output / METRICS_FILE, results)
    write_json(output / PROTOCOL_FILE, protocol)
    return results


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
            input_signature=[{name: tf.TensorSpec([None] * rank, kind) for name, (rank, kind) in _SIGNATURE.items()}],
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
        head = self.model.masked_lm
        dense, norm = head.dense, head.layer_norm
        arrays = encoder_arrays(self.encoder, self.config) | {
            "cls/predictions/transform/dense/kernel": dense.kernel.numpy(),
            "cls/predictions/transform/dense/bias": dense.bias.numpy(),
            "cls/predictions/transform/LayerNorm/gamma": norm.gamma.numpy(),
            "cls/predictions/transform/LayerNorm/beta": norm.beta.numpy(),
            "cls/predictions/output_bias": head.bias.numpy(),
        }
        if self._next_sentence is not None:
            arrays["cls/seq_relationship/output_weights"] = self._next_sentence.kernel.numpy().T
            arrays["cls/seq_relationship/output_bias"] = self._next_sentence.bias.numpy()
        return arrays

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
        weights = batch["weights"]
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

#: Rank and type of what a batch holds.
_SIGNATURE = {
    "input_ids": (2, "int32"),
    "input_mask": (2, "int32"),
    "segment_ids": (2, "int32"),
    "positions": (2, "int32"),
    "labels": (2, "int32"),
    "weights": (2, "float32"),
    "random_next": (1, "int32"),
}


@dataclass(frozen=True)
class Row:
    """What the model sees at once.

    Attributes:
        encoded: both segments.
        random_next: whether the second segment is from another document.
    """

    encoded: Encoded
    random_next: bool


class Masking:
    """Which word pieces are hidden, and behind what."""

    def __init__(self, tokenizer: BertTokenizer, settings: PretrainSettings) -> None:
        """Of each row's word pieces, at least one is to be predicted."""
        self._share = settings.mask_share
        self._mask_below = settings.mask_token_share
        self._random_below = settings.mask_token_share + settings.random_token_share
        self._mask = tokenizer.id_of("[MASK]")
        special = {tokenizer.id_of(token) for token in SPECIAL_TOKENS}
        self._special = np.array(sorted(special))
        self._plain = np.array([number for number in range(tokenizer.vocab_size) if number not in special])

    def apply(self, batch: Batch, generator: np.random.Generator) -> Batch:
        """Hide word pieces of a batch.

        A chosen piece becomes [MASK], a random one or stays, by the settings' shares (Devlin et al. 2018, 3.1).

        Args:
            batch: input_ids, input_mask and segment_ids, each (rows, length) int32.
            generator: the only source of randomness.

        Returns:
            The batch with other input_ids, and with positions, labels (both int32) and weights (float32), each (rows,
            the most that are hidden in one row): where pieces were hidden, what they were, and 1; all 0 where a row
            has fewer.
        """
        ids = batch["input_ids"]
        plain = (batch["input_mask"] == 1) & ~np.isin(ids, self._special)
        counts = np.minimum(np.maximum(np.rint(plain.sum(axis=1) * self._share), 1), plain.sum(axis=1)).astype(int)
        order = np.argsort(np.where(plain, generator.random(ids.shape), 2.0), axis=1, kind="stable")
        positions = order[:, : max(counts.max(), 1)]
        chosen = np.arange(positions.shape[1]) < counts[:, None]
        positions = np.where(chosen, positions, 0)
        true = np.take_along_axis(ids, positions, axis=1)
        fate = generator.random(positions.shape)
        others = self._plain[(generator.random(positions.shape) * len(self._plain)).astype(int)]
        hidden = ids.copy()
        rows, columns = np.nonzero(chosen)
        seen = np.where(fate < self._mask_below, self._mask, np.where(fate < self._random_below, others, true))
        hidden[rows, positions[rows, columns]] = seen[rows, columns]
        return {
            **batch,
            "input_ids": hidden,
            "positions": positions.astype(np.int32),
            "labels": np.where(chosen, true, 0).astype(np.int32),
            "weights": chosen.astype(np.float32),
        }


class MaskedBatches:
    """Batches in which word pieces are hidden: others in each epoch, the same whenever an epoch is asked for."""

    def __init__(self, batches: Batches, masking: Masking, *, seed: int) -> None:
        self._batches = batches
        self._masking = masking
        self._seed = seed

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return self._batches.steps_per_epoch

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch (from 0)."""
        # The third number sets this sequence apart from that of the order of rows.
        generator = np.random.default_rng((self._seed, number, 1))
        for batch in self._batches.epoch(number):
            yield self._masking.apply(batch, generator)


def read_rows(
    corpus: Path, tokenizer: BertTokenizer, settings: PretrainSettings, seed: int
) -> tuple[list[Row], list[Row]]:
    """The rows of the documents to train on, and of those that are held out.

    Where next sentences are predicted, a second segment from elsewhere has as many sentences as the one it stands for,
    and a lone sentence at the end of a document always gets one.

    Raises:
        TooFewDocuments: either list would be empty.
    """
    documents = [tokenizer.batch_ids(sentences) for sentences in _documents(corpus)]
    if len(documents) < 2:
        raise TooFewDocuments(str(corpus), len(documents))
    generator = np.random.default_rng(seed)
    held_out = documents[::HELD_OUT_EVERY]
    training = [document for number, document in enumerate(documents) if number % HELD_OUT_EVERY]

    def rows(part: Sequence[Sequence[list[int]]]) -> list[Row]:
        return [row for number in range(len(part)) for row in _rows(part, number, tokenizer, settings, generator)]

    return rows(training), rows(held_out)


def _rows(
    documents: Sequence[Sequence[list[int]]],
    number: int,
    tokenizer: BertTokenizer,
    settings: PretrainSettings,
    generator: np.random.Generator,
) -> Iterator[Row]:
    """The rows of one of the documents, each a list of sentences, each a list of tokens."""
    rest = documents[number]
    while rest:
        count = 2 * (1 + int(generator.random() * settings.segment_sentences))
        sentences, rest = rest[:count], rest[count:]
        half = (len(sentences) + 1) // 2
        first, second = sentences[:half], sentences[half:]
        predicts = settings.random_next_share > 0 and len(documents) > 1
        random_next = predicts and (not second or generator.random() < settings.random_next_share)
        if random_next:
            other = documents[(number + 1 + int(generator.random() * (len(documents) - 1))) % len(documents)]
            start = int(generator.random() * len(other))
            second = other[start : start + max(len(second), 1)]
        texts = [list(chain.from_iterable(part)) for part in (first, second)]
        yield Row(tokenizer.encode(texts[0], texts[1] or None, settings.max_position_embeddings), random_next)


def _documents(corpus: Path) -> Iterator[list[str]]:
    """The documents of a text, each a list of at least one sentence."""
    document: list[str] = []
    with corpus.open(encoding="utf-8") as lines:
        for line in lines:
            if sentence := line.strip():
                document.append(sentence)
            elif document:
                yield document
                document = []
    if document:
        yield document


def _columns(rows: Sequence[Row]) -> tuple[dict[str, Sequence[NDArray[Any]]], dict[str, NDArray[Any]]]:
    """The ragged and the scalar columns of rows, for `batching`."""
    ragged: dict[str, Sequence[NDArray[Any]]] = {
        "input_ids": [np.array(row.encoded.input_ids, dtype=np.int32) for row in rows],
        "input_mask": [np.ones(len(row.encoded.input_ids), dtype=np.int32) for row in rows],
        "segment_ids": [np.array(row.encoded.segment_ids, dtype=np.int32) for row in rows],
    }
    return ragged, {"random_next": np.array([row.random_next for row in rows], dtype=np.int32)}
