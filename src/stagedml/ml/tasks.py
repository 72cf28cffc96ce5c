"""The tasks that a BERT is fine-tuned on: those of GLUE, and others in GLUE's layout."""

from __future__ import annotations

from stagedml.ml.glue import GlueTask, glue_task
from stagedml.ml.rusentiment import RUSENTIMENT


def task_named(name: str) -> GlueTask:
    """The task of that name, however it is capitalised.

    Raises:
        UnknownGlueTask: there is none.
    """
    return RUSENTIMENT if str(name).lower() == RUSENTIMENT.name.lower() else glue_task(name)
