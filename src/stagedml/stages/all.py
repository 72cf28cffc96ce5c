"""The catalogue, and everything that a session needs, under one star:

    from stagedml.stages.all import *

Nothing here imports TensorFlow; builders do, when they run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar, overload

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
from stagedml.stages.datasets.mnist import Layout, fetch_mnist, mnist_drawn, mnist_idx, mnist_npz
from stagedml.stages.datasets.nl2bash import fetch_nl2bash, nl2bash
from stagedml.stages.datasets.rusentiment import fetch_rusentiment, rusentiment_files, rusentiment_wanted
from stagedml.stages.datasets.squad import fetch_squad, squad_files
from stagedml.stages.datasets.translation import fetch_wmt, parallel_text
from stagedml.stages.datasets.wiki import extract_wiki, fetch_wiki, wikistat
from stagedml.stages.fetch import fetchfolder, fetchlocal, fetchpypi, fetchurl
from stagedml.stages.models.bert_export import bert_export
from stagedml.stages.models.bert_glue import bert_finetune_glue, bert_predict_glue
from stagedml.stages.models.bert_pretrain import bert_pretrain
from stagedml.stages.models.bert_squad import bert_finetune_squad
from stagedml.stages.models.glue_settings import glue_settings
from stagedml.stages.models.mnist import convnn_mnist, lenet_mnist
from stagedml.stages.models.squad_settings import SQUAD_SETTINGS
from stagedml.stages.models.transformer import transformer
from stagedml.stages.models.transformer_settings import transformer_settings
from stagedml.stages.preprocess.glue import glue_tfrecords, glue_unlabelled_tfrecords
from stagedml.stages.preprocess.pretrain import bert_pretrain_tfrecords
from stagedml.stages.preprocess.squad import squad_tfrecords
from stagedml.stages.preprocess.translation import bash_subwords, subwords, translation_tfrecords
from stagedml.stages.preprocess.vocabulary import vocabulary, vocabulary_of
from stagedml.stages.recipes.bert import (
    all_fetch_largebert,
    all_fetch_minilm,
    all_fetch_multibert,
    all_fetch_rubert,
    all_fetchbert,
    all_fetchminibert,
    all_fetcholdbert,
)
from stagedml.stages.recipes.dryrun import (
    dryrun_bert_pretrain,
    dryrun_convnn_mnist,
    dryrun_finetune_glue,
    dryrun_finetune_rusentiment,
    dryrun_finetune_squad11,
    dryrun_finetune_squad20,
    dryrun_lenet_mnist,
    dryrun_transformer,
    dryrun_transformer_nl2bash,
)
from stagedml.stages.recipes.glue import (
    all_bert_export_glue,
    all_bert_finetune_glue,
    all_fetchglue,
    all_glue_tfrecords,
    all_largebert_finetune_glue,
    all_minibert_export_glue,
    all_minibert_finetune_glue,
    all_minilm_export_glue,
    all_minilm_finetune_glue,
    all_minilm_predict_glue,
    all_multibert_finetune_glue,
    glue_tasks,
)
from stagedml.stages.recipes.mnist import (
    all_convnn_mnist,
    all_fetchmnist,
    all_lenet_mnist,
)
from stagedml.stages.recipes.quickstart import (
    all_quickstart_export_glue,
    all_quickstart_finetune_glue,
    all_quickstart_pretrain,
)
from stagedml.stages.recipes.rusentiment import (
    all_fetchrusent,
    all_multibert_finetune_rusentiment,
    all_rubert_finetune_rusentiment,
    all_rusentiment_tfrecords,
)
from stagedml.stages.recipes.squad import (
    all_bert_finetune_squad11,
    all_bert_finetune_squad20,
    all_fetchsquad11,
    all_fetchsquad20,
    all_minibert_finetune_squad11,
    all_minibert_finetune_squad20,
    all_minilm_finetune_squad11,
    all_minilm_finetune_squad20,
    all_squad11_tfrecords,
    all_squad20_tfrecords,
)
from stagedml.stages.recipes.translation import (
    all_fetchnl2bash,
    all_fetchwmt,
    all_nl2bashsubtok,
    all_transformer_nl2bash,
    all_transformer_wmtende,
    all_transformer_wmtenru,
    all_transformer_wmtruen,
    all_wmtsubtok_ende,
    all_wmtsubtok_enru,
    all_wmtsubtok_ruen,
)
from stagedml.stages.recipes.wikipedia import (
    all_basebert_pretrain,
    all_enwiki_tfrecords,
    all_extractenwiki,
    all_extractruwiki,
    all_fetchenwiki,
    all_fetchruwiki,
    all_minibert_pretrain,
    all_ruwiki_tfrecords,
)
from stagedml.stages.report import comparison
from stagedml.store.gc import Policy
from stagedml.types import (
    BertCP,
    BertExported,
    BertGlue,
    BertPretrained,
    BertSquad,
    ConvnnMnist,
    File,
    Folder,
    Glue,
    GluePredictions,
    GlueTFR,
    GlueUnlabelledTFR,
    LenetMnist,
    Mnist,
    ParallelText,
    PretrainTFR,
    Report,
    Squad,
    SquadTFR,
    SubwordModel,
    Text,
    Trained,
    Transformer,
    TranslationTFR,
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
    "BertSquad",
    "Build",
    "ConvnnMnist",
    "DRef",
    "Exec",
    "File",
    "Folder",
    "Glue",
    "GluePredictions",
    "GlueTFR",
    "GlueUnlabelledTFR",
    "LenetMnist",
    "Mnist",
    "ParallelText",
    "Policy",
    "PretrainTFR",
    "RRef",
    "RefPath",
    "Report",
    "Squad",
    "SquadTFR",
    "SubwordModel",
    "Text",
    "Trained",
    "Transformer",
    "TranslationTFR",
    "Vocabulary",
    "WikiStat",
    "WikiText",
    "all_basebert_pretrain",
    "all_bert_export_glue",
    "all_bert_finetune_glue",
    "all_bert_finetune_squad11",
    "all_bert_finetune_squad20",
    "all_convnn_mnist",
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
    "all_fetchmnist",
    "all_fetchnl2bash",
    "all_fetcholdbert",
    "all_fetchrusent",
    "all_fetchruwiki",
    "all_fetchsquad11",
    "all_fetchsquad20",
    "all_fetchwmt",
    "all_glue_tfrecords",
    "all_largebert_finetune_glue",
    "all_lenet_mnist",
    "all_minibert_export_glue",
    "all_minibert_finetune_glue",
    "all_minibert_finetune_squad11",
    "all_minibert_finetune_squad20",
    "all_minibert_pretrain",
    "all_minilm_export_glue",
    "all_minilm_finetune_glue",
    "all_minilm_finetune_squad11",
    "all_minilm_finetune_squad20",
    "all_minilm_predict_glue",
    "all_multibert_finetune_glue",
    "all_multibert_finetune_rusentiment",
    "all_nl2bashsubtok",
    "all_quickstart_export_glue",
    "all_quickstart_finetune_glue",
    "all_quickstart_pretrain",
    "all_rubert_finetune_rusentiment",
    "all_rusentiment_tfrecords",
    "all_ruwiki_tfrecords",
    "all_squad11_tfrecords",
    "all_squad20_tfrecords",
    "all_transformer_nl2bash",
    "all_transformer_wmtende",
    "all_transformer_wmtenru",
    "all_transformer_wmtruen",
    "all_wmtsubtok_ende",
    "all_wmtsubtok_enru",
    "all_wmtsubtok_ruen",
    "bash_subwords",
    "bert_checkpoint",
    "bert_export",
    "bert_finetune_glue",
    "bert_finetune_squad",
    "bert_predict_glue",
    "bert_pretrain",
    "bert_pretrain_tfrecords",
    "best",
    "bless",
    "borrow",
    "catref",
    "comparison",
    "convnn_mnist",
    "current_store",
    "curves",
    "depgraph",
    "diff",
    "dryrun_bert_pretrain",
    "dryrun_convnn_mnist",
    "dryrun_finetune_glue",
    "dryrun_finetune_rusentiment",
    "dryrun_finetune_squad11",
    "dryrun_finetune_squad20",
    "dryrun_lenet_mnist",
    "dryrun_transformer",
    "dryrun_transformer_nl2bash",
    "du",
    "every",
    "exactly",
    "extract_wiki",
    "fetch_glue",
    "fetch_nl2bash",
    "fetch_squad",
    "fetch_wiki",
    "fetch_wmt",
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
    "lenet_mnist",
    "linkrref",
    "linkrrefs",
    "lrealize",
    "lsref",
    "mklens",
    "mknode",
    "mnist_drawn",
    "mnist_idx",
    "mnist_npz",
    "nl2bash",
    "output",
    "parallel_text",
    "pinned",
    "plan",
    "plot_compare",
    "plot_curves",
    "realize",
    "realize_many",
    "realize_recursive",
    "realized",
    "redefine",
    "rmref",
    "rref2dref",
    "rref2path",
    "runtb",
    "rusentiment_files",
    "rusentiment_wanted",
    "shell",
    "squad_files",
    "squad_tfrecords",
    "stage",
    "store_initialize",
    "subwords",
    "transformer",
    "translation_tfrecords",
    "tryrealize",
    "using_store",
    "vocabulary",
    "vocabulary_of",
    "why",
    "why_alive",
    "wikistat",
]
