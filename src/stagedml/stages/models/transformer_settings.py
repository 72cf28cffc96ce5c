"""Sizes of Transformers, and how each is trained unless somebody says otherwise: numbers, and their sources.

Names are those of the parameters of `transformer`. What is not named has that stage's own default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stagedml.errors import UsageError
from stagedml.stages.models.settings import Settings

#: By size.
TRANSFORMER_SETTINGS: Mapping[str, Settings] = {
    "base": Settings(
        {},
        "Vaswani et al. 2017, 3 and 5: 6 batches of 4,096 subwords a step are its 25,000; 20 epochs of WMT's German "
        "are about its 100,000 steps",
    ),
    "small": Settings(
        {
            "layers": 2,
            "hidden_size": 128,
            "heads": 4,
            "intermediate_size": 512,
            "learning_rate": 4e-3,
            "warmup_steps": 300,
            "batch_tokens": 1024,
            "accumulate": 1,
            "epochs": 12,
            "average_decay": 0.99,
        },
        "for tens of thousands of short sentences, and a CPU: docs/how-to/translate.md",
    ),
}


def transformer_settings(size: str) -> dict[str, Any]:
    """What to train a Transformer of some size with: arguments of `transformer`.

    Raises:
        UsageError: there is no such size.
    """
    if size not in TRANSFORMER_SETTINGS:
        raise UsageError(f"there is no Transformer of size {size!r}, but {' and '.join(TRANSFORMER_SETTINGS)}")
    return dict(TRANSFORMER_SETTINGS[size].values)
