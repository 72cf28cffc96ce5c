"""How each checkpoint is fine-tuned on each task of GLUE unless somebody says otherwise: numbers, and their sources.

Names are those of the parameters of `bert_finetune_glue`. What is not named has that stage's own default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stagedml.stages.models.settings import Settings

_ORIGINAL = "the first StagedML (2020), which used them for all tasks"
_BERT = "Devlin et al. 2018, BERT, A.3: batches of 32 and 3 epochs; 2e-5 is the lowest of its learning rates"

#: By checkpoint: the settings for all tasks, under "", and those for single ones, which come on top.
GLUE_SETTINGS: Mapping[str, Mapping[str, Settings]] = {
    "base": {"": Settings({"learning_rate": 2e-5, "batch_size": 32, "epochs": 3}, f"{_ORIGINAL}; {_BERT}")},
    "multi": {"": Settings({"learning_rate": 2e-5, "batch_size": 32, "epochs": 3}, f"as the base model; {_BERT}")},
    "russian": {"": Settings({"learning_rate": 2e-5, "batch_size": 32, "epochs": 3}, f"as the base model; {_BERT}")},
    # The first StagedML had batches of one row, for lack of memory. Eight rows at a time need little more, and four
    # such batches are one of the paper's.
    "large": {
        "": Settings({"learning_rate": 2e-5, "batch_size": 8, "accumulate": 4, "epochs": 3}, f"{_ORIGINAL}; {_BERT}")
    },
    "mini": {"": Settings({"learning_rate": 2e-5, "batch_size": 8, "epochs": 3}, _ORIGINAL)},
    "minilm": {
        "": Settings(
            {"learning_rate": 1e-4, "batch_size": 16, "epochs": 3},
            "chosen on rows held out of MRPC's train: docs/explanation/mrpc-settings.md",
        ),
        "CoLA": Settings(
            {"learning_rate": 5e-5, "batch_size": 32, "epochs": 3},
            "chosen on rows held out of CoLA's train: docs/explanation/cola-settings.md",
        ),
    },
}


def glue_settings(checkpoint: str, task: str) -> dict[str, Any]:
    """What to fine-tune a checkpoint on a task with: arguments of `bert_finetune_glue`."""
    by_task = GLUE_SETTINGS[checkpoint]
    return {name: value for key in ("", task) if key in by_task for name, value in by_task[key].values.items()}
