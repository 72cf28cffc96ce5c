"""BERT models that Hugging Face publishes, brought into the project's one format.

Their `model.safetensors` holds a BertModel's tensors: the same numbers as Google's under other names, kernels
transposed (PyTorch multiplies by the transpose).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from stagedml.errors import UsageError
from stagedml.ml.models.bert.checkpoint import Arrays, write_pretrained
from stagedml.ml.models.bert.config import read_huggingface_config

_EMBEDDINGS = {
    "embeddings.word_embeddings.weight": "bert/embeddings/word_embeddings",
    "embeddings.position_embeddings.weight": "bert/embeddings/position_embeddings",
    "embeddings.token_type_embeddings.weight": "bert/embeddings/token_type_embeddings",
}

# Not a weight: the numbers 0, 1, 2, ..., which old versions stored.
_POSITION_IDS = "embeddings.position_ids"


class UnreadableTensors(UsageError):
    """A file is not in the safetensors format, or holds what no BERT has."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}; a BertModel's model.safetensors is wanted"


def convert_pretrained(config: Path, vocab: Path, tensors: Path, folder: Path) -> None:
    """Make a pretrained model in Google's format (`checkpoint.write_pretrained`) of a Hugging Face BertModel.

    Args:
        config: its config.json.
        vocab: its vocab.txt; copied as it is.
        tensors: its model.safetensors.
        folder: where to write; it exists.

    Raises:
        UnusableBertConfig: the configuration is not that of a BERT which the encoder implements.
        UnreadableTensors: the file of tensors cannot be read.
        CheckpointMismatch: the tensors are not those of a BERT of this shape; names are Google's.
    """
    write_pretrained(folder, read_huggingface_config(config), vocab.read_bytes(), read_tensors(tensors))


def read_tensors(path: Path) -> Arrays:
    """Read a BertModel's tensors as weights by Google's names, float32.

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
        plain = name.removeprefix("bert.")
        if plain == _POSITION_IDS:
            continue
        google = google_name(plain)
        arrays[google] = np.ascontiguousarray(tensor.T if google.endswith("/kernel") else tensor, dtype=np.float32)
    return arrays


def google_name(name: str) -> str:
    """Google's name for a tensor of a BertModel; of one that is unknown, a name that is no weight's, either."""
    if name in _EMBEDDINGS:
        return _EMBEDDINGS[name]
    owner, _, kind = name.rpartition(".")
    owner = re.sub(r"^encoder\.layer\.(\d+)\.", r"encoder.layer_\1.", owner).replace(".", "/")
    if owner.endswith("LayerNorm"):
        kind = {"weight": "gamma", "bias": "beta"}.get(kind, kind)
    elif kind == "weight":
        kind = "kernel"
    return f"bert/{owner}/{kind}"
