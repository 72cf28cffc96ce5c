"""BERT's forward pass in NumPy, written from Devlin et al. 2018: what our encoder is held against.

It shares nothing with the package but the names of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_erf = np.vectorize(math.erf, otypes=[np.float64])

ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "gelu_exact": lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2))),
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
}


def forward(
    weights: Mapping[str, NDArray[Any]], ids: Ints, segments: Ints, mask: Ints, *, heads: int, activation: str
) -> tuple[list[Floats], Floats]:
    """Run the encoder in double precision, without dropout.

    Args:
        weights: by Google's names.
        ids: (batch, length) word pieces.
        segments: (batch, length) 0 or 1.
        mask: (batch, length) 1 for word pieces, 0 for padding.
        heads: attention heads.
        activation: from `ACTIVATIONS`.

    Returns:
        The embeddings and each layer's output, (batch, length, hidden); and the pooled output, (batch, hidden).
    """
    w = {name: array.astype(np.float64) for name, array in weights.items()}

    def dense(x: Floats, name: str) -> Floats:
        return np.asarray(x @ w[f"{name}/kernel"] + w[f"{name}/bias"])

    def normalize(x: Floats, name: str) -> Floats:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
        return np.asarray(scaled * w[f"{name}/gamma"] + w[f"{name}/beta"])

    def split(x: Floats) -> Floats:
        batch, length, hidden = x.shape
        return np.asarray(x.reshape(batch, length, heads, hidden // heads).transpose(0, 2, 1, 3))

    embeddings = "bert/embeddings"
    x = (
        w[f"{embeddings}/word_embeddings"][ids]
        + w[f"{embeddings}/position_embeddings"][np.arange(ids.shape[1])]
        + w[f"{embeddings}/token_type_embeddings"][segments]
    )
    x = normalize(x, f"{embeddings}/LayerNorm")
    states = [x]
    layer = 0
    while f"bert/encoder/layer_{layer}/output/dense/kernel" in w:
        base = f"bert/encoder/layer_{layer}"
        query, key, value = (split(dense(x, f"{base}/attention/self/{part}")) for part in ("query", "key", "value"))
        scores = query @ key.transpose(0, 1, 3, 2) / math.sqrt(query.shape[-1])
        scores = np.where(mask[:, None, None, :] == 1, scores, -np.inf)
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        attended = (shares @ value).transpose(0, 2, 1, 3).reshape(x.shape)
        x = normalize(x + dense(attended, f"{base}/attention/output/dense"), f"{base}/attention/output/LayerNorm")
        inner = ACTIVATIONS[activation](dense(x, f"{base}/intermediate/dense"))
        x = normalize(x + dense(inner, f"{base}/output/dense"), f"{base}/output/LayerNorm")
        states.append(x)
        layer += 1
    return states, np.tanh(dense(x[:, 0], "bert/pooler/dense"))
