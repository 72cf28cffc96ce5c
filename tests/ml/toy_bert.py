"""A small BERT with random weights, and a batch for it: what tests of the model run on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stagedml.ml.models.bert.config import BertConfig

CONFIG = BertConfig(
    vocab_size=40,
    hidden_size=24,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=36,
    max_position_embeddings=16,
)


def random_arrays(config: BertConfig, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Weights of every kind, all of them away from zero and one, so that none can be forgotten unnoticed."""
    from stagedml.ml.models.bert.checkpoint import encoder_shapes

    random = np.random.default_rng(seed)
    return {
        name: (random.normal(size=shape) * 0.3 + name.endswith("gamma")).astype(np.float32)
        for name, shape in encoder_shapes(config).items()
    }


def random_batch(config: BertConfig, seed: int = 0) -> dict[str, NDArray[np.int64]]:
    """Three sequences of different lengths with two segments, padded to the longest, as the encoder takes them."""
    random = np.random.default_rng(seed)
    lengths = np.array([11, 4, 7])
    mask = (np.arange(11) < lengths[:, None]).astype(np.int64)
    return {
        "input_word_ids": random.integers(0, config.vocab_size, mask.shape) * mask,
        "input_mask": mask,
        "input_type_ids": (np.arange(11) >= lengths[:, None] // 2) * mask,
    }
