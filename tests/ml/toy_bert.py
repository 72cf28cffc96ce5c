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

VOCAB = "\n".join(
    [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"abcdefghijklmnopqrst",
        *(f"##{letter}" for letter in "abcdefghijklmno"),
    ]
).encode()


def random_arrays(config: BertConfig, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Weights of every kind, all of them away from zero and one, so that none can be forgotten unnoticed."""
    from stagedml.ml.models.bert.checkpoint import encoder_shapes

    random = np.random.default_rng(seed)
    return {
        name: (random.normal(size=shape) * 0.3 + name.endswith("gamma")).astype(np.float32)
        for name, shape in encoder_shapes(config).items()
    }


def even_arrays(config: BertConfig, classes: int) -> dict[str, NDArray[np.float32]]:
    """Weights of every kind, a classifier's head among them, that no version of a random generator changes."""
    from stagedml.ml.models.bert.checkpoint import encoder_shapes

    shapes = {
        **encoder_shapes(config),
        "output_weights": (classes, config.hidden_size),
        "output_bias": (classes,),
    }
    arrays = {}
    for number, (name, shape) in enumerate(shapes.items()):
        waves = np.sin(np.arange(np.prod(shape)) * (1.7 + number / 10) + number).reshape(shape)
        arrays[name] = (waves * 0.4 + name.endswith("gamma")).astype(np.float32)
    return arrays


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
