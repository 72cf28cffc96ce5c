"""Tensors: tokenizers, records, metrics, training and models. Knows nothing of stages, stores or engines."""
