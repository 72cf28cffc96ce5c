"""How each checkpoint is fine-tuned on SQuAD unless somebody says otherwise: numbers, and their sources.

Names are those of the parameters of `bert_finetune_squad`. What is not named has that stage's own default.
"""

from __future__ import annotations

from collections.abc import Mapping

from stagedml.stages.models.settings import Settings

#: By checkpoint, for both editions.
SQUAD_SETTINGS: Mapping[str, Settings] = {
    "base": Settings(
        {"learning_rate": 3e-5, "batch_size": 12, "epochs": 2},
        "google-research/bert, README, for one GPU; Devlin et al. 2018, 4.2, had 5e-5, batches of 32 and 3 epochs",
    ),
    "mini": Settings(
        {"learning_rate": 1e-4, "batch_size": 16, "epochs": 4},
        "within what google-research/bert, README, tried on GLUE for the smaller models; not tuned on SQuAD",
    ),
    "minilm": Settings(
        {"learning_rate": 1e-4, "batch_size": 16, "epochs": 3},
        "as on MRPC: docs/explanation/mrpc-settings.md; not tuned on SQuAD",
    ),
}
