"""BERT's weights on disk: one format, Google's.

A pretrained model is three things in one folder: `bert_config.json`, `vocab.txt` and a TensorFlow checkpoint
`bert_model.ckpt.*`. Rules this module keeps:

- Variables have the names and shapes of Google's first release (`bert/encoder/layer_0/attention/self/query/kernel`);
  `encoder_shapes` lists them. Weights in memory are a plain dict from those names to float32 arrays.
- Loading is exact: each variable of the encoder is set from one array of the same shape, or nothing is set at all and
  every missing, unknown and mis-shaped name is told. Heads (`cls/...`, `output_weights`, `output_bias`) and what an
  optimizer left behind are nobody's surprise and are left out.
- Writing is deterministic: the same arrays give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagedml.errors import UsageError
from stagedml.ml.framework import tf
from stagedml.ml.models.bert.config import BertConfig, write_bert_config

CONFIG_FILE = "bert_config.json"
VOCAB_FILE = "vocab.txt"
CHECKPOINT_PREFIX = "bert_model.ckpt"

Arrays = dict[str, NDArray[np.float32]]
"""Weights by Google's names."""

# What training leaves in Google's archives beside the weights: Adam's moments and the count of steps.
_OPTIMIZER = re.compile(r"(^|/)(adam_[mv]|global_step)$")

_HEAD = re.compile(r"cls/|output_weights$|output_bias$")

# Names inside BertEncoderV2 -> Google's; the part for a layer follows "transformer/layer_<n>/".
_OUTER = {
    "word_embeddings/embeddings": "embeddings/word_embeddings",
    "position_embedding/embeddings": "embeddings/position_embeddings",
    "type_embeddings/embeddings": "embeddings/token_type_embeddings",
    "embeddings/layer_norm": "embeddings/LayerNorm",
    "pooler_transform": "pooler/dense",
}
_LAYER = {
    "self_attention/query": "attention/self/query",
    "self_attention/key": "attention/self/key",
    "self_attention/value": "attention/self/value",
    "self_attention/attention_output": "attention/output/dense",
    "self_attention_layer_norm": "attention/output/LayerNorm",
    "intermediate": "intermediate/dense",
    "output": "output/dense",
    "output_layer_norm": "output/LayerNorm",
}


class UnreadableCheckpoint(UsageError):
    """There is no TensorFlow checkpoint under a prefix, or it is damaged."""

    def __init__(self, prefix: str, reason: str) -> None:
        super().__init__(prefix, reason)
        self.prefix, self.reason = prefix, reason

    def __str__(self) -> str:
        return f"{self.prefix}.*: no readable TensorFlow checkpoint ({self.reason}); fetch or build it again"


class CheckpointMismatch(UsageError):
    """Weights do not fit the model that they were to be loaded into."""

    def __init__(self, missing: tuple[str, ...], unknown: tuple[str, ...], misfits: tuple[str, ...]) -> None:
        super().__init__(missing, unknown, misfits)
        self.missing, self.unknown, self.misfits = missing, unknown, misfits

    def __str__(self) -> str:
        lines = ["the weights do not fit the model; is the bert_config.json the one that belongs to the checkpoint?"]
        lines += [f"missing: {name}" for name in self.missing]
        lines += [f"unknown: {name}" for name in self.unknown]
        lines += [f"misfit: {text}" for text in self.misfits]
        return "\n  ".join(lines)


def encoder_shapes(config: BertConfig) -> dict[str, tuple[int, ...]]:
    """The names of an encoder's variables, in Google's order, and their shapes."""
    hidden, inner = config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        "bert/embeddings/word_embeddings": (config.vocab_size, hidden),
        "bert/embeddings/token_type_embeddings": (config.type_vocab_size, hidden),
        "bert/embeddings/position_embeddings": (config.max_position_embeddings, hidden),
        **_layer_norm("bert/embeddings/LayerNorm", hidden),
    }
    for layer in range(config.num_hidden_layers):
        base = f"bert/encoder/layer_{layer}"
        for part in ("query", "key", "value"):
            shapes |= _dense(f"{base}/attention/self/{part}", hidden, hidden)
        shapes |= _dense(f"{base}/attention/output/dense", hidden, hidden)
        shapes |= _layer_norm(f"{base}/attention/output/LayerNorm", hidden)
        shapes |= _dense(f"{base}/intermediate/dense", hidden, inner)
        shapes |= _dense(f"{base}/output/dense", inner, hidden)
        shapes |= _layer_norm(f"{base}/output/LayerNorm", hidden)
    return shapes | _dense("bert/pooler/dense", hidden, hidden)


def _dense(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}/kernel": (inputs, outputs), f"{name}/bias": (outputs,)}


def _layer_norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}/gamma": (width,), f"{name}/beta": (width,)}


# -- files -----------------------------------------------------------------------------------------------------------


def read_checkpoint(prefix: Path) -> Arrays:
    """Read all weights of a TensorFlow checkpoint, heads included, by their names; not an optimizer's variables.

    Args:
        prefix: what precedes ".index" and ".data-00000-of-00001".

    Raises:
        UnreadableCheckpoint: there is none, it is damaged, or it holds other things than weights.
    """
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        names = sorted(name for name in reader.get_variable_to_shape_map() if not _OPTIMIZER.search(name))
        types = reader.get_variable_to_dtype_map()
        if others := [name for name in names if not types[name].is_floating]:
            raise UnreadableCheckpoint(str(prefix), f"not in Google's layout: {', '.join(others)}")
        return {name: np.asarray(reader.get_tensor(name), dtype=np.float32) for name in names}
    # What is wrong with the bytes comes as one of these, depending on where the reader stumbles.
    except (tf.errors.OpError, IndexError, ValueError) as error:
        raise UnreadableCheckpoint(str(prefix), str(error)) from error


def write_checkpoint(prefix: Path, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Write a TensorFlow checkpoint of one shard: `<prefix>.index` and `<prefix>.data-00000-of-00001`."""
    names = sorted(arrays)
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(arrays[name], dtype=tf.float32) for name in names],
    )


def write_pretrained(folder: Path, config: BertConfig, vocab: bytes, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Write a pretrained model: `CONFIG_FILE`, `VOCAB_FILE` and the checkpoint `CHECKPOINT_PREFIX`.

    Args:
        folder: where; it exists.
        config: the model's shape.
        vocab: what `vocab.txt` shall hold.
        arrays: the encoder's weights, and those of heads if there are any.

    Raises:
        CheckpointMismatch: the weights are not those of an encoder of this shape.
    """
    check_encoder_arrays(config, arrays)
    write_bert_config(folder / CONFIG_FILE, config)
    (folder / VOCAB_FILE).write_bytes(vocab)
    write_checkpoint(folder / CHECKPOINT_PREFIX, arrays)


# -- encoders --------------------------------------------------------------------------------------------------------


def check_encoder_arrays(config: BertConfig, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Make sure that weights are exactly those of an encoder, and perhaps of its heads.

    Raises:
        CheckpointMismatch: they are not; names everything that is wrong.
    """
    shapes = encoder_shapes(config)
    missing = tuple(name for name in shapes if name not in arrays)
    unknown = tuple(name for name in arrays if name not in shapes and not _HEAD.match(name))
    misfits = tuple(
        f"{name} has shape {arrays[name].shape}, not {shape}"
        for name, shape in shapes.items()
        if name in arrays and arrays[name].shape != shape
    )
    if missing or unknown or misfits:
        raise CheckpointMismatch(missing, unknown, misfits)


def load_encoder(encoder: Any, config: BertConfig, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Set every variable of an encoder.

    Args:
        encoder: from `build_encoder(config)`.
        config: the model's shape.
        arrays: from `read_checkpoint`.

    Raises:
        CheckpointMismatch: the weights are not those of an encoder of this shape; nothing was set.
    """
    check_encoder_arrays(config, arrays)
    for variable in encoder.variables:
        # Only the split of heads differs: Google's (hidden, heads * head size) is Keras's (hidden, heads, head size).
        variable.assign(arrays[google_name(variable.name)].reshape(variable.shape))


def encoder_arrays(encoder: Any, config: BertConfig) -> Arrays:
    """The weights of an encoder: the inverse of `load_encoder`."""
    shapes = encoder_shapes(config)
    arrays = {google_name(variable.name): variable.numpy() for variable in encoder.variables}
    return {name: arrays[name].reshape(shape) for name, shape in shapes.items()}


def google_name(name: str) -> str:
    """Google's name for a variable of a BertEncoderV2 ("bert_encoder_v2/transformer/layer_0/output/kernel:0")."""
    _, _, inside = name.removesuffix(":0").partition("/")
    match = re.fullmatch(r"transformer/layer_(\d+)/(.*)", inside)
    owner, _, kind = (match[2] if match else inside).rpartition("/")
    if match:
        return f"bert/encoder/layer_{match[1]}/{_LAYER[owner]}/{kind}"
    return f"bert/{_OUTER[inside]}" if inside in _OUTER else f"bert/{_OUTER[owner]}/{kind}"
