"""What parameters of a stage must agree with: functions for `@stage(check=...)`, called where a stage is declared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stagedml.errors import UsageError


def of_task(parameters: Mapping[str, Any]) -> None:
    """`task` is that of the data."""
    from stagedml.ml.tasks import task_named

    given, name = next((parameters[name], name) for name in ("data", "glue") if name in parameters)
    _same(task_named(parameters["task"]).name, task_named(given.task).name, name)


def of_edition(parameters: Mapping[str, Any]) -> None:
    """`task` is the edition of the data."""
    given, name = next((parameters[name], name) for name in ("data", "squad") if name in parameters)
    _same(parameters["task"], given.task, name)


def of_finetuning(parameters: Mapping[str, Any]) -> None:
    """`task` is that of the data, and has the metric to watch."""
    from stagedml.ml.tasks import task_named

    of_task(parameters)
    _watched(task_named(parameters["task"]).metrics, parameters)


def of_squad_finetuning(parameters: Mapping[str, Any]) -> None:
    """`task` is the edition of the data, and the metric to watch is measured."""
    from stagedml.ml.squad_metrics import METRICS

    of_edition(parameters)
    _watched(METRICS, parameters)


def _same(task: str, of_data: str, name: str) -> None:
    if task != of_data:
        raise UsageError(f"task is {task!r}, but that of {name} is {of_data!r}; say which task where {name} is made")


def _watched(metrics: tuple[str, ...], parameters: Mapping[str, Any]) -> None:
    from stagedml.ml.train.callbacks import watching

    watching(metrics, *(parameters[name] for name in ("keep_best", "patience", "plateau_factor")))
