"""A Transformer that translates: its shape, its loss, its search for the best translation, and its files.

tf-models-official's `Seq2SeqTransformer`: layer normalisation before each part rather than after it, one table of
subwords for both languages and for what comes out. Vaswani et al. 2017, Attention Is All You Need.

A trained translator is three files in one folder: `model.json`, its shape; `subwords.model`; and a TensorFlow
checkpoint `model.ckpt.*`, whose names follow from where a weight stands in the model.
"""

from __future__ import annotations

import functools
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from stagedml.errors import UsageError
from stagedml.ml.framework import tf
from stagedml.ml.models.bert.checkpoint import Arrays, read_checkpoint, write_checkpoint
from stagedml.ml.progress import Progress, silent
from stagedml.ml.ragged import Ragged
from stagedml.ml.subwords import END, PAD, Subwords
from stagedml.ml.train.batching import LENGTH_STEP, Batch, SortedBatches
from stagedml.ml.train.results import write_json
from stagedml.ml.translation_records import Pairs

CHECKPOINT_PREFIX = "model.ckpt"
SHAPE_FILE = "model.json"
SUBWORDS_FILE = "subwords.model"

_EVALUATION_ROWS = 64
# Layers that the library leaves nameless, so that Keras numbers them through the life of a process.
_NUMBERED = re.compile(r"\b(layer_normalization|on_device_embedding)_\d+\b")


class WrongWeights(UsageError):
    """A checkpoint is not one of a translator of this shape."""

    def __init__(self, path: str, names: tuple[str, ...]) -> None:
        super().__init__(path, names)
        self.path, self.names = path, names

    def __str__(self) -> str:
        shown = ", ".join(self.names[:5]) + (", ..." if len(self.names) > 5 else "")
        return f"{self.path}.* is of another model than {SHAPE_FILE} beside it: {shown} missing, too many or misshapen"


class NoTranslator(UsageError):
    """A folder is not what `Translator.save` wrote."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.folder = folder

    def __str__(self) -> str:
        return f"{self.folder} holds no {SHAPE_FILE}; give the folder of a trained translator, rref2path(rref)"


@dataclass(frozen=True)
class Shape:
    """How large a Transformer is; by default, the paper's base model.

    Attributes:
        layers: of the encoder, and of the decoder.
        hidden_size: of what stands for a subword; even, and a multiple of `heads`.
        heads: of attention.
        intermediate_size: of the two dense layers' middle.
        dropout: everywhere, in [0, 1).
    """

    layers: int = 6
    hidden_size: int = 512
    heads: int = 8
    intermediate_size: int = 2048
    dropout: float = 0.1

    def __post_init__(self) -> None:
        counts = {name: value for name, value in asdict(self).items() if name != "dropout"}
        problems = [f"{name} is {value}, below 1" for name, value in counts.items() if value < 1]
        if not problems and (self.hidden_size % self.heads or self.hidden_size % 2):
            problems.append(f"hidden_size is {self.hidden_size}, odd or no multiple of the {self.heads} heads")
        if not 0 <= self.dropout < 1:
            problems.append(f"dropout is {self.dropout}, outside [0, 1)")
        if problems:
            raise UsageError("the shape of the Transformer: " + "; ".join(problems))


@dataclass(frozen=True)
class Search:
    """How the best translation is searched for.

    Attributes:
        beam_size: how many beginnings are followed at once. With 1, the likeliest subword is taken each time, and of
            the places where the end was among the two likeliest ones the best is kept.
        length_penalty: the score of a translation is its log-probability over ((5 + length) / 6) to this power; 0 for
            the log-probability itself. (Wu et al. 2016, Google's Neural Machine Translation System, 7.)
        extra_length: a translation has so many subwords more than its source at most, whose length is rounded up.
    """

    beam_size: int = 4
    length_penalty: float = 0.6
    extra_length: int = 50

    def __post_init__(self) -> None:
        if self.beam_size < 1 or self.length_penalty < 0 or self.extra_length < 1:
            raise UsageError(
                f"the search: beam_size {self.beam_size} and extra_length {self.extra_length} must be 1 at least, "
                f"length_penalty {self.length_penalty} not below 0"
            )


class Translator:
    """A Transformer with its subwords."""

    def __init__(self, shape: Shape, subwords: Subwords) -> None:
        """Build it with fresh weights, drawn from Keras's global generator."""
        from official.nlp.modeling.models.seq2seq_transformer import TransformerDecoder, TransformerEncoder

        self.shape = shape
        self.subwords = subwords
        parts: dict[str, Any] = {
            "num_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "intermediate_size": shape.intermediate_size,
            "dropout_rate": shape.dropout,
            "attention_dropout_rate": shape.dropout,
            "intermediate_dropout": shape.dropout,
        }
        self._encoder = TransformerEncoder(**parts, name="encoder")
        self._decoder = TransformerDecoder(**parts, name="decoder")
        self.model = self._transformer(Search())
        ids = tf.constant([[END]])
        self.model({"inputs": ids, "targets": ids})
        pair = {"inputs": tf.TensorSpec([None, None], tf.int32), "targets": tf.TensorSpec([None, None], tf.int32)}
        self._finders: dict[Search, Any] = {}
        self._measure = tf.function(
            functools.partial(self._sums, training=False), input_signature=[pair], autograph=False
        )

    def _transformer(self, search: Search) -> Any:
        from official.nlp.modeling.models.seq2seq_transformer import Seq2SeqTransformer

        return Seq2SeqTransformer(
            vocab_size=self.subwords.size,
            embedding_width=self.shape.hidden_size,
            dropout_rate=self.shape.dropout,
            encoder_layer=self._encoder,
            decoder_layer=self._decoder,
            beam_size=search.beam_size,
            alpha=search.length_penalty,
            extra_decode_length=search.extra_length,
            eos_id=END,
            name="transformer",
        )

    # -- learning ----------------------------------------------------------------------------------------------------

    def loss(self, batch: Mapping[str, Any], *, label_smoothing: float = 0.0) -> Any:
        """The mean cross-entropy of the target's subwords in a batch; with dropout, for `loop.train`.

        Args:
            batch: inputs and targets, each (rows, length) int32, padded.
            label_smoothing: the share of each target that is spread evenly over all subwords (Szegedy et al. 2016,
                Rethinking the Inception Architecture, 7), in [0, 1).
        """
        sums = self._sums(batch, training=True, label_smoothing=label_smoothing)
        return sums["loss"] / sums["count"]

    @staticmethod
    def weigh(batch: Batch) -> float:
        """How much a batch counts beside others: its target's subwords, which the loss is a mean over."""
        return float(np.count_nonzero(batch["targets"]))

    def evaluate(self, pairs: Pairs) -> dict[str, float]:
        """The mean `loss` of the target's subwords, each with the true ones before it, and the share that is right."""
        batches = SortedBatches(pairs.columns, {}, batch_size=_EVALUATION_ROWS).epoch()
        parts = [{name: float(value) for name, value in self._measure(batch).items()} for batch in batches]
        total = {name: math.fsum(part[name] for part in parts) for name in parts[0]}
        return {"loss": total["loss"] / total["count"], "accuracy": total["right"] / total["count"]}

    def _sums(self, batch: Mapping[str, Any], *, training: bool, label_smoothing: float = 0.0) -> dict[str, Any]:
        """Over a batch: the sum of losses, how many subwords are right and how many there are."""
        targets = batch["targets"]
        logits = tf.cast(self.model(dict(batch), training=training), tf.float32)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        if label_smoothing:
            spread = tf.reduce_logsumexp(logits, axis=-1) - tf.reduce_mean(logits, axis=-1)
            losses = (1 - label_smoothing) * losses + label_smoothing * spread
        counts = tf.cast(targets != PAD, tf.float32)
        right = tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32) == targets, tf.float32)
        return {
            "loss": tf.reduce_sum(losses * counts),
            "right": tf.reduce_sum(right * counts),
            "count": tf.reduce_sum(counts),
        }

    # -- translating -------------------------------------------------------------------------------------------------

    def translate(self, texts: Sequence[str], search: Search | None = None) -> list[str]:
        """Translate texts, each by itself.

        Raises:
            UsageError: a single text is given.
        """
        if isinstance(texts, str):
            raise UsageError("translate takes a list of texts; put the one that there is in brackets")
        sources = Ragged.of_rows([[*ids, END] for ids in self.subwords.encode([text.strip() for text in texts])])
        return self.translate_ids(sources, search) if texts else []

    def translate_ids(
        self, sources: Ragged, search: Search | None = None, *, label: str = "translate", progress: Progress = silent
    ) -> list[str]:
        """Translate texts that are ids of subwords, the end included.

        Args:
            sources: one a row.
            search: how to find the best translation.
            label: what `progress` calls this.
            progress: told now and then.
        """
        search = search or Search()
        find = self._finders[search] = self._finders.get(search) or self._finder(search)
        found: list[str] = [""] * len(sources)
        done = 0
        # A translation may be longer the longer a batch is; so each batch is of one length.
        lengths = -(-sources.lengths // LENGTH_STEP)
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            batches = SortedBatches(
                {"inputs": [sources[row] for row in rows.tolist()]}, {}, batch_size=_EVALUATION_ROWS
            )
            ids = chain.from_iterable(find(batch["inputs"]).numpy() for batch in batches.epoch())
            for place, own in zip(rows[batches.order].tolist(), ids, strict=True):
                found[place] = self.subwords.decode(own)
                done += 1
            progress(label, done, len(sources), "sentences")
        return found

    def _finder(self, search: Search) -> Any:
        """What finds the ids of translations, (rows, length) int32, from those of sources, padded."""
        model = self._transformer(search)
        model.embedding_lookup = self.model.embedding_lookup
        return tf.function(
            lambda inputs: model({"inputs": inputs}, training=False)["outputs"],
            input_signature=[tf.TensorSpec([None, None], tf.int32)],
            autograph=False,
        )

    # -- files -------------------------------------------------------------------------------------------------------

    def save(self, folder: Path, *, prefix: str = CHECKPOINT_PREFIX) -> None:
        """Write shape, subwords and checkpoint into a folder: the same bytes for the same translator."""
        write_json(folder / SHAPE_FILE, asdict(self.shape))
        self.subwords.write(folder / SUBWORDS_FILE)
        write_checkpoint(folder / prefix, self.arrays())

    def arrays(self) -> Arrays:
        """All weights by their names."""
        return {_name_of(variable): variable.numpy() for variable in self.model.variables}

    def load(self, prefix: Path) -> None:
        """Set all weights to those of a checkpoint.

        Raises:
            UnreadableCheckpoint: there is none.
            WrongWeights: it is of another shape; nothing was set.
        """
        weights = read_checkpoint(prefix)
        variables = {_name_of(variable): variable for variable in self.model.variables}
        wrong = {*weights} ^ {*variables}
        wrong |= {name for name in {*weights} & {*variables} if weights[name].shape != tuple(variables[name].shape)}
        if wrong:
            raise WrongWeights(str(prefix), tuple(sorted(wrong)))
        for name, variable in variables.items():
            variable.assign(weights[name])


def load_translator(folder: str | os.PathLike[str]) -> Translator:
    """Load what `Translator.save` wrote, such as what a stage trained.

    Raises:
        NoTranslator: the folder holds none.
        UnreadableSubwords, UnreadableCheckpoint, WrongWeights: it is damaged.
    """
    folder = Path(folder)
    if not (folder / SHAPE_FILE).is_file():
        raise NoTranslator(str(folder))
    shape = Shape(**json.loads((folder / SHAPE_FILE).read_text(encoding="utf-8")))
    translator = Translator(shape, Subwords.read(folder / SUBWORDS_FILE))
    translator.load(folder / CHECKPOINT_PREFIX)
    return translator


def _name_of(variable: Any) -> str:
    name: str = _NUMBERED.sub(r"\1", variable.name.removesuffix(":0"))
    return name
