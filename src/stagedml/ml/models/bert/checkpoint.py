"""BERT's weights on disk: one format, Google's first; its second is read and written, too.

A pretrained model is three things in one folder: `bert_config.json`, `vocab.txt` and a TensorFlow checkpoint
`bert_model.ckpt.*`. Rules this module keeps:

- Variables have the names and shapes of Google's first release (`bert/encoder/layer_0/attention/self/query/kernel`);
  `encoder_shapes` lists them. Weights in memory are a plain dict from those names to float32 arrays.
- Loading is exact: each variable of the encoder is set from one array of the same shape, or nothing is set at all and
  every missing, unknown and mis-shaped name is told. Heads (`cls/...`, `output_weights`, `output_bias`) and what an
  optimizer left behind are nobody's surprise and are left out.
- Writing is deterministic: the same arrays give the same bytes.
- A checkpoint of TensorFlow 2 holds a graph of objects, whose names hang on how the model that was saved is coded. But
  it also holds the name of each variable, and of these there are two generations, both of them in the converter of
  tf-models-official (`tf1_bert_checkpoint_converter_lib`): those of 2019, below `bert_model/`, and those of its
  encoders of today. Both are read, by name; attention's heads are an axis of their own in either.
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

_OPTIMIZER_OBJECT = re.compile(r"/\.OPTIMIZER_SLOT/|^(optimizer|save_counter|global_step)/")

_HEAD = re.compile(r"cls/|output_weights$|output_bias$")

# Names of TensorFlow 2's variables -> Google's first. Those of a layer follow "layer_<n>/".
_EMBEDDINGS = {
    "word_embeddings/embeddings": "word_embeddings",
    "position_embedding/embeddings": "position_embeddings",
    "type_embeddings/embeddings": "token_type_embeddings",
    "embedding_postprocessor/position_embeddings": "position_embeddings",
    "embedding_postprocessor/type_embeddings": "token_type_embeddings",
}
_OUTER = {
    "embeddings/layer_norm": "embeddings/LayerNorm",
    "embedding_postprocessor/layer_norm": "embeddings/LayerNorm",
    "pooler_transform": "pooler/dense",
}
_LAYER = {
    "self_attention/query": "attention/self/query",
    "self_attention/key": "attention/self/key",
    "self_attention/value": "attention/self/value",
    "self_attention/attention_output": "attention/output/dense",
    "self_attention_output": "attention/output/dense",
    "self_attention_layer_norm": "attention/output/LayerNorm",
    "intermediate": "intermediate/dense",
    "output": "output/dense",
    "output_layer_norm": "output/LayerNorm",
}

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
# What tf-models-official's BertClassifier calls its head.
_CLASSIFIER = "sentence_prediction/logits/"


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
        of_objects = reader.has_tensor(_OBJECT_GRAPH)
        names = _object_names(reader) if of_objects else _variable_names(reader)
        types = reader.get_variable_to_dtype_map()
        if others := sorted(key for key, name in names.items() if name is None or not types[key].is_floating):
            raise UnreadableCheckpoint(str(prefix), f"not in Google's layouts: {', '.join(others)}")
        weights = {name: np.asarray(reader.get_tensor(key), dtype=np.float32) for key, name in names.items() if name}
        return {name: _reshaped(name, weights[name]) if of_objects else weights[name] for name in sorted(weights)}
    # What is wrong with the bytes comes as one of these, depending on where the reader stumbles.
    except (tf.errors.OpError, IndexError, ValueError) as error:
        raise UnreadableCheckpoint(str(prefix), str(error)) from error


def _variable_names(reader: Any) -> dict[str, str | None]:
    return {name: name for name in reader.get_variable_to_shape_map() if not _OPTIMIZER.search(name)}


def _object_names(reader: Any) -> dict[str, str | None]:
    """The keys of the weights in a checkpoint of objects, and their names; None for what no BERT has."""
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    graph = TrackableObjectGraph.FromString(reader.get_tensor(_OBJECT_GRAPH))
    full_names = {value.checkpoint_key: value.full_name for node in graph.nodes for value in node.attributes}
    return {
        key: google_name(name)
        for key, name in full_names.items()
        if key.endswith("/.ATTRIBUTES/VARIABLE_VALUE") and not _OPTIMIZER_OBJECT.search(key)
    }


def _reshaped(name: str, array: NDArray[np.float32]) -> NDArray[np.float32]:
    """A weight of TensorFlow 2 as Google's first release has it."""
    if name == "output_weights":
        return np.ascontiguousarray(array.T)
    if name.endswith("/attention/output/dense/kernel"):
        return array.reshape(-1, array.shape[-1])
    if re.search(r"/attention/self/\w+/(kernel|bias)$", name):
        return array.reshape(*array.shape[:-2], -1)
    return array


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
        encoder: a BERT encoder of tf-models-official, as `build_encoder(config)` makes it.
        config: the model's shape.
        arrays: from `read_checkpoint`.

    Raises:
        CheckpointMismatch: the weights are not those of an encoder of this shape; nothing was set.
    """
    check_encoder_arrays(config, arrays)
    for variable in encoder.variables:
        # Only the split of heads differs: Google's (hidden, heads * head size) is Keras's (hidden, heads, head size).
        variable.assign(arrays[_name_of(variable)].reshape(variable.shape))


def encoder_arrays(encoder: Any, config: BertConfig) -> Arrays:
    """The weights of an encoder: the inverse of `load_encoder`."""
    shapes = encoder_shapes(config)
    arrays = {_name_of(variable): variable.numpy() for variable in encoder.variables}
    return {name: arrays[name].reshape(shape) for name, shape in shapes.items()}


def _name_of(variable: Any) -> str:
    name = google_name(variable.name)
    assert name is not None, f"{variable.name} is no variable of an encoder"
    return name


def google_name(name: str) -> str | None:
    """The name in Google's first release of a variable of TensorFlow 2.

    Args:
        name: of either generation, with or without ":0" and the model's own name ("bert_encoder_v2/...") before it.

    Returns:
        The name; None where no BERT has such a variable.
    """
    name = name.removesuffix(":0")
    if head := re.search(r"(?:^|/)(cls/.+?)(?:(?<=/output_bias)/bias)?$", name):
        return head[1]
    if layer := re.search(r"(?:^|/)(?:transformer|encoder)/layer_(\d+)/(.+)/(\w+)$", name):
        return f"bert/encoder/layer_{layer[1]}/{_LAYER[layer[2]]}/{layer[3]}" if layer[2] in _LAYER else None
    if head := re.search(rf"(?:^|/){_CLASSIFIER}(kernel|bias)$", name):
        return {"kernel": "output_weights", "bias": "output_bias"}[head[1]]
    owner, _, kind = name.rpartition("/")
    for inside, google in _OUTER.items():
        if f"/{owner}".endswith(f"/{inside}"):
            return f"bert/{google}/{kind}"
    for inside, google in _EMBEDDINGS.items():
        if f"/{name}".endswith(f"/{inside}"):
            return f"bert/embeddings/{google}"
    return None
