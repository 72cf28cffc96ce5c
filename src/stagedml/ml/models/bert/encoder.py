"""BERT's encoder, as tf-models-official implements it."""

from __future__ import annotations

from typing import Any

from stagedml.ml.framework import tf_keras
from stagedml.ml.models.bert.config import BertConfig


def build_encoder(
    config: BertConfig, *, hidden_dropout: float | None = None, attention_dropout: float | None = None
) -> Any:
    """Build an encoder with fresh weights, drawn from Keras's global random generator.

    Args:
        config: the model's shape.
        hidden_dropout: in [0, 1), instead of the configuration's.
        attention_dropout: in [0, 1), instead of the configuration's.

    Returns:
        An `official.nlp.modeling.networks.BertEncoderV2` whose variables exist. It is called with a dict of
        input_word_ids, input_mask (1: a word piece, 0: padding) and input_type_ids, each (batch, length) int32, and
        gives a dict: sequence_output (batch, length, hidden_size) float32, pooled_output (batch, hidden_size) float32,
        and encoder_outputs, the list of all layers' outputs.
    """
    from official.nlp.modeling.networks import BertEncoderV2

    encoder = BertEncoderV2(
        **encoder_shape(config),
        output_dropout=config.hidden_dropout_prob if hidden_dropout is None else hidden_dropout,
        attention_dropout=config.attention_probs_dropout_prob if attention_dropout is None else attention_dropout,
        initializer=tf_keras.initializers.TruncatedNormal(stddev=config.initializer_range),
    )
    encoder(encoder.inputs)
    return encoder


def encoder_shape(config: BertConfig) -> dict[str, Any]:
    """What tf-models-official's encoders are told of a model's shape."""
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "max_sequence_length": config.max_position_embeddings,
        "type_vocab_size": config.type_vocab_size,
        "inner_dim": config.intermediate_size,
        "inner_activation": activation(config.hidden_act),
    }


def activation(name: str) -> Any:
    """The Keras activation for a name from `config.ACTIVATIONS`."""
    return {
        "gelu": _gelu,
        "gelu_exact": _gelu_exact,
        "relu": tf_keras.activations.relu,
        "tanh": tf_keras.activations.tanh,
    }[name]


def _gelu(x: Any) -> Any:
    return tf_keras.activations.gelu(x, approximate=True)


def _gelu_exact(x: Any) -> Any:
    return tf_keras.activations.gelu(x, approximate=False)
