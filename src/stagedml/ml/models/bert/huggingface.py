"""BERT models in Hugging Face's layout: config.json, vocab.txt and model.safetensors.

The file of tensors holds the same numbers as Google's checkpoints under other names, kernels transposed (PyTorch
multiplies by the transpose). Reading and writing are exact, and writing is deterministic.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagedml.errors import UsageError
from stagedml.ml.models.bert.checkpoint import VOCAB_FILE, Arrays, check_encoder_arrays
from stagedml.ml.models.bert.config import BertConfig, write_huggingface_config

CONFIG_FILE = "config.json"
TENSORS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer_config.json"

_ENCODER = "bert."

# Names of tensors -> Google's, where they are not made by the same rule as all others.
_EMBEDDINGS = {
    f"embeddings.{name}.weight": f"bert/embeddings/{name}"
    for name in ("word_embeddings", "position_embeddings", "token_type_embeddings")
}
_HEADS = {
    "classifier.weight": "output_weights",
    "classifier.bias": "output_bias",
    "cls.predictions.bias": "cls/predictions/output_bias",
    "cls.seq_relationship.weight": "cls/seq_relationship/output_weights",
    "cls.seq_relationship.bias": "cls/seq_relationship/output_bias",
    "qa_outputs.weight": "cls/squad/output_weights",
    "qa_outputs.bias": "cls/squad/output_bias",
}
_NAMES = {google: name for name, google in {**_EMBEDDINGS, **_HEADS}.items()}

# No weights, or the same once more: the numbers 0, 1, 2, ..., which old versions stored; the word embeddings and the
# bias with which masked words are predicted.
_IDLE = ("embeddings.position_ids", "cls.predictions.decoder.weight", "cls.predictions.decoder.bias")

# What Hugging Face calls a model with such a head, the first of them that there is.
_ARCHITECTURES = {
    "output_weights": "BertForSequenceClassification",
    "cls/squad/output_weights": "BertForQuestionAnswering",
    "cls/seq_relationship/output_weights": "BertForPreTraining",
    "cls/predictions/output_bias": "BertForMaskedLM",
}


class UnreadableTensors(UsageError):
    """A file is not in the safetensors format, or holds what no BERT has."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}; a BertModel's model.safetensors is wanted"


def read_tensors(path: Path) -> Arrays:
    """Read a BERT's tensors, those of heads included, as weights by Google's names, float32.

    Raises:
        UnreadableTensors: it is no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UnreadableTensors(str(path), str(error)) from error
    arrays: Arrays = {}
    for name, tensor in tensors.items():
        plain = name.removeprefix(_ENCODER)
        if plain not in _IDLE:
            google = google_name(plain)
            arrays[google] = np.ascontiguousarray(tensor.T if google.endswith("/kernel") else tensor, dtype=np.float32)
    return arrays


def write_model(
    folder: Path,
    config: BertConfig,
    vocab: bytes,
    arrays: Mapping[str, NDArray[np.float32]],
    *,
    lower_case: bool,
    max_length: int | None = None,
    labels: Sequence[str] = (),
) -> None:
    """Write a model that `transformers` loads by itself: configuration, tokenizer and tensors.

    Args:
        folder: where; it exists.
        config: the model's shape.
        vocab: what vocab.txt shall hold.
        arrays: the encoder's weights, and those of one kind of head if there is any.
        lower_case: whether the model is uncased.
        max_length: word pieces a row at most; None for as many as there are positions.
        labels: of a classifier, what its classes are called; none for a score.

    Raises:
        CheckpointMismatch: the weights are not those of an encoder of this shape.
    """
    from safetensors.numpy import save_file

    check_encoder_arrays(config, arrays)
    heads = [architecture for head, architecture in _ARCHITECTURES.items() if head in arrays]
    described: dict[str, Any] = {"architectures": [*heads, "BertModel"][:1], "pad_token_id": _padding(vocab)}
    if "output_bias" in arrays:
        classes = list(labels) or [f"LABEL_{number}" for number in range(len(arrays["output_bias"]))]
        described["id2label"] = {str(number): label for number, label in enumerate(classes)}
        described["label2id"] = {label: number for number, label in enumerate(classes)}
        described["problem_type"] = "single_label_classification" if len(classes) > 1 else "regression"
    write_huggingface_config(folder / CONFIG_FILE, config, described)
    tokenizer = {
        "do_lower_case": lower_case,
        "model_max_length": max_length or config.max_position_embeddings,
        "tokenizer_class": "BertTokenizer",
    }
    (folder / TOKENIZER_FILE).write_text(json.dumps(tokenizer, indent=2) + "\n", encoding="utf-8")
    (folder / VOCAB_FILE).write_bytes(vocab)
    tensors = {
        tensor_name(name): np.ascontiguousarray(array.T if name.endswith("/kernel") else array)
        for name, array in arrays.items()
    }
    # Without this word, transformers does not take the file for PyTorch's.
    save_file(tensors, folder / TENSORS_FILE, metadata={"format": "pt"})


def _padding(vocab: bytes) -> int:
    return vocab.decode("utf-8").split("\n").index("[PAD]")


def google_name(name: str) -> str:
    """Google's name for a tensor; of one that is unknown, a name that is no weight's, either.

    Args:
        name: without the leading "bert.".
    """
    if known := {**_EMBEDDINGS, **_HEADS}.get(name):
        return known
    owner, _, kind = name.rpartition(".")
    owner = re.sub(r"^encoder\.layer\.(\d+)\.", r"encoder.layer_\1.", owner).replace(".", "/")
    if owner.endswith("LayerNorm"):
        kind = {"weight": "gamma", "bias": "beta"}.get(kind, kind)
    elif kind == "weight":
        kind = "kernel"
    return f"{owner}/{kind}" if owner.startswith("cls/") else f"bert/{owner}/{kind}"


def tensor_name(google: str) -> str:
    """The tensor with a weight of Google's: the inverse of `google_name`, with the leading "bert."."""
    prefix = _ENCODER if google.startswith("bert/") else ""
    if known := _NAMES.get(google):
        return prefix + known
    owner, _, kind = google.removeprefix("bert/").rpartition("/")
    owner = re.sub(r"^encoder/layer_(\d+)/", r"encoder/layer/\1/", owner).replace("/", ".")
    kind = {"kernel": "weight", "gamma": "weight", "beta": "bias"}.get(kind, kind)
    return f"{prefix}{owner}.{kind}"
