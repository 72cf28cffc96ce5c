"""BERT on GLUE. Wang et al. 2018, GLUE: A Multi-Task Benchmark; Devlin et al. 2018, BERT.

The tasks' files are those that GLUE's authors publish; MRPC is made of Microsoft's, by GLUE's own recipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, overload

from stagedml.errors import UsageError
from stagedml.ml.glue import TASKS
from stagedml.stages.datasets.glue import PUBLISHED, fetch_glue, tasks_in
from stagedml.stages.fetch import Local, local_path
from stagedml.stages.models.bert_export import bert_export
from stagedml.stages.models.bert_glue import bert_finetune_glue, bert_predict_glue
from stagedml.stages.models.glue_settings import glue_settings
from stagedml.stages.preprocess.glue import glue_tfrecords, glue_unlabelled_tfrecords
from stagedml.stages.recipes.bert import (
    all_fetch_largebert,
    all_fetch_minilm,
    all_fetch_multibert,
    all_fetchbert,
    all_fetchminibert,
)
from stagedml.types import BertCP, BertExported, BertGlue, Glue, GluePredictions, GlueTFR, GlueUnlabelledTFR


def glue_tasks() -> list[str]:
    """The nine tasks of GLUE, in its order.

    The functions that take a task know two more: AX, GLUE's diagnostic, which has no rows to learn from and is
    answered by a model of MNLI; and SNLI, which is in no score of GLUE and can be had from a local folder only.
    """
    return [name for name, task in TASKS.items() if task.is_learnt and task.leaderboard]


@overload
def all_fetchglue(task_name: str, folder: Local | None = ...) -> Glue: ...


@overload
def all_fetchglue(task_name: None = ..., folder: Local | None = ...) -> dict[str, Glue]: ...


def all_fetchglue(task_name: str | None = None, folder: Local | None = None) -> Glue | dict[str, Glue]:
    """The files of one GLUE task, or of all of them by name.

    Args:
        task_name: one of `glue_tasks()`, AX or SNLI, however capitalised; None for all that there are.
        folder: a local `glue_data` folder; default the official sources.
    """
    if task_name is not None:
        return fetch_glue(task_name, folder)
    names = PUBLISHED if folder is None else tasks_in(local_path("all_fetchglue", folder))
    return {name: fetch_glue(name, folder) for name in names}


@overload
def all_glue_tfrecords(  # type: ignore[overload-overlap]  # what a constant says is known better
    task_name: Literal["AX"], bert: BertCP | None = ..., folder: Local | None = ...
) -> GlueUnlabelledTFR: ...


@overload
def all_glue_tfrecords(task_name: str = ..., bert: BertCP | None = ..., folder: Local | None = ...) -> GlueTFR: ...


def all_glue_tfrecords(
    task_name: str = "MRPC", bert: BertCP | None = None, folder: Local | None = None
) -> GlueUnlabelledTFR:
    """One GLUE task, tokenized for a BERT.

    Args:
        task_name: one of `glue_tasks()`, AX or SNLI, however capitalised; AX has unlabelled rows alone.
        bert: whose vocabulary; default BERT base.
        folder: a local `glue_data` folder; default the official sources.
    """
    glue, bert = fetch_glue(task_name, folder), bert or all_fetchbert()
    if TASKS[glue.task].is_learnt:
        return glue_tfrecords(glue=glue, bert=bert, task=glue.task)
    return glue_unlabelled_tfrecords(glue=glue, bert=bert, task=glue.task)


def _finetune_glue(
    checkpoint: str, bert: BertCP, task_name: str, folder: Local | None, settings: Mapping[str, Any]
) -> BertGlue:
    glue = fetch_glue(task_name, folder)
    if not TASKS[glue.task].is_learnt:
        raise UsageError(f"{glue.task} has no rows to learn from; fine-tune on MNLI, whose models answer it")
    data = glue_tfrecords(glue=glue, bert=bert, task=glue.task)
    return bert_finetune_glue(
        data=data, bert=bert, task=glue.task, **{**glue_settings(checkpoint, glue.task), **settings}
    )


def all_bert_finetune_glue(task_name: str = "MRPC", folder: Local | None = None, **settings: Any) -> BertGlue:
    """BERT base, fine-tuned on one GLUE task.

    Args:
        task_name: one of `glue_tasks()`, or SNLI, however capitalised.
        folder: a local `glue_data` folder; default the official sources.
        settings: parameters of `bert_finetune_glue`; default those of `stages.models.glue_settings`.
    """
    return _finetune_glue("base", all_fetchbert(), task_name, folder, settings)


def all_minibert_finetune_glue(task_name: str = "MRPC", folder: Local | None = None, **settings: Any) -> BertGlue:
    """BERT mini, fine-tuned on one GLUE task; arguments as of `all_bert_finetune_glue`."""
    return _finetune_glue("mini", all_fetchminibert(), task_name, folder, settings)


def all_minilm_finetune_glue(task_name: str = "MRPC", folder: Local | None = None, **settings: Any) -> BertGlue:
    """MiniLM, fine-tuned on one GLUE task; arguments as of `all_bert_finetune_glue`."""
    return _finetune_glue("minilm", all_fetch_minilm(), task_name, folder, settings)


def all_multibert_finetune_glue(task_name: str = "MRPC", folder: Local | None = None, **settings: Any) -> BertGlue:
    """BERT base for 104 languages, fine-tuned on one GLUE task; arguments as of `all_bert_finetune_glue`."""
    return _finetune_glue("multi", all_fetch_multibert(), task_name, folder, settings)


def all_largebert_finetune_glue(task_name: str = "MRPC", folder: Local | None = None, **settings: Any) -> BertGlue:
    """BERT large, fine-tuned on one GLUE task; arguments as of `all_bert_finetune_glue`."""
    return _finetune_glue("large", all_fetch_largebert(), task_name, folder, settings)


def all_minilm_predict_glue(task_name: str = "MRPC", folder: Local | None = None, **settings: Any) -> GluePredictions:
    """What MiniLM, fine-tuned as by `all_minilm_finetune_glue`, says of GLUE's test, in the leaderboard's files.

    AX is answered by a model of MNLI.
    """
    bert = all_fetch_minilm()
    model = all_minilm_finetune_glue("MNLI" if task_name.upper() == "AX" else task_name, folder, **settings)
    data = all_glue_tfrecords(task_name, bert, folder)
    return bert_predict_glue(model=model, bert=bert, data=data, task=data.task)


def all_bert_export_glue(task_name: str = "MRPC", folder: Local | None = None, **settings: Any) -> BertExported:
    """What `all_bert_finetune_glue` trains: a SavedModel that takes sentences, and files for `transformers`."""
    model, bert = all_bert_finetune_glue(task_name, folder, **settings), all_fetchbert()
    return _export_glue(model, all_glue_tfrecords(task_name, bert, folder), bert)


def all_minibert_export_glue(task_name: str = "MRPC", folder: Local | None = None, **settings: Any) -> BertExported:
    """What `all_minibert_finetune_glue` trains, for others to load; see `all_bert_export_glue`."""
    model, bert = all_minibert_finetune_glue(task_name, folder, **settings), all_fetchminibert()
    return _export_glue(model, all_glue_tfrecords(task_name, bert, folder), bert)


def all_minilm_export_glue(task_name: str = "MRPC", folder: Local | None = None, **settings: Any) -> BertExported:
    """What `all_minilm_finetune_glue` trains, for others to load; see `all_bert_export_glue`."""
    model, bert = all_minilm_finetune_glue(task_name, folder, **settings), all_fetch_minilm()
    return _export_glue(model, all_glue_tfrecords(task_name, bert, folder), bert)


def _export_glue(model: BertGlue, data: GlueTFR, bert: BertCP) -> BertExported:
    return bert_export(model=model, data=data, bert=bert, task=data.task)
