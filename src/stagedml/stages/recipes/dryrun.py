"""Each family in seconds, on data that is generated: nothing is fetched, and next to nothing is learnt.

They show how experiments work, and whether they do, before hours are spent on the real thing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from stagedml.authoring.redefine import redefine
from stagedml.ml.tasks import task_named
from stagedml.stages.datasets.mnist import mnist_drawn
from stagedml.stages.datasets.stories import glue_stories, parallel_stories, squad_stories, stories
from stagedml.stages.models.bert_glue import bert_finetune_glue
from stagedml.stages.models.bert_pretrain import bert_pretrain
from stagedml.stages.models.bert_squad import bert_finetune_squad
from stagedml.stages.models.mnist import convnn_mnist, lenet_mnist
from stagedml.stages.models.transformer import transformer
from stagedml.stages.preprocess.glue import glue_tfrecords
from stagedml.stages.preprocess.pretrain import bert_pretrain_tfrecords
from stagedml.stages.preprocess.squad import squad_tfrecords
from stagedml.stages.preprocess.translation import bash_subwords, subwords, translation_tfrecords
from stagedml.stages.preprocess.vocabulary import vocabulary
from stagedml.stages.recipes.mnist import best_of
from stagedml.types import (
    BertCP,
    BertGlue,
    BertPretrained,
    BertSquad,
    ConvnnMnist,
    LenetMnist,
    Mnist,
    PretrainTFR,
    Transformer,
    TranslationTFR,
)

_P = ParamSpec("_P")
_R = TypeVar("_R")

_TINY_BERT = {"hidden_size": 16, "layers": 1, "heads": 2, "intermediate_size": 32}
_TINY_TRANSFORMER = {"layers": 1, "hidden_size": 16, "heads": 2, "intermediate_size": 32, "learning_rate": 1e-2}
_TINY_TRANSFORMER |= {"warmup_steps": 10, "batch_tokens": 512, "accumulate": 1, "epochs": 2, "beam_size": 2}


def _reduced(trains: Callable[_P, _R], small: Mapping[str, Any], settings: Mapping[str, Any]) -> Callable[_P, _R]:
    """A stage with small parameters, but for those that are given."""
    changes = {name: value for name, value in small.items() if name not in settings}
    return redefine(trains, new_config=lambda parameters: parameters.update(changes))


def _pretrain_tfrecords() -> PretrainTFR:
    corpus = stories(documents=40)
    return bert_pretrain_tfrecords(corpus=corpus, vocabulary=vocabulary(corpus=corpus), dupe_factor=1)


def dryrun_bert_pretrain(
    data: PretrainTFR | None = None, start: BertCP | None = None, **settings: Any
) -> BertPretrained:
    """A tiny BERT, pre-trained on a few generated stories.

    Args:
        data, start: as of `all_basebert_pretrain`; by default those stories.
        settings: parameters of `bert_pretrain`.
    """
    data = data or _pretrain_tfrecords()
    return _reduced(bert_pretrain, _TINY_BERT, settings)(data=data, start=start, cased=data.cased, **settings)


def dryrun_finetune_glue(task_name: str = "MRPC", **settings: Any) -> BertGlue:
    """A tiny BERT, fine-tuned on a generated task in the layout of one of GLUE's.

    Args:
        task_name: one of `glue_tasks()`, SNLI or RuSentiment, however capitalised.
        settings: parameters of `bert_finetune_glue`.
    """
    bert, task = dryrun_bert_pretrain(), task_named(task_name).name
    data = glue_tfrecords(glue=glue_stories(task=task, train=150, dev=40), bert=bert, task=task)
    return _reduced(bert_finetune_glue, {"epochs": 2}, settings)(data=data, bert=bert, task=task, **settings)


def dryrun_finetune_rusentiment(**settings: Any) -> BertGlue:
    """A tiny BERT, fine-tuned on generated rows in RuSentiment's layout; see `dryrun_finetune_glue`."""
    return dryrun_finetune_glue("RuSentiment", **settings)


def dryrun_finetune_squad11(**settings: Any) -> BertSquad:
    """A tiny BERT, fine-tuned on generated questions in the layout of SQuAD 1.1.

    Args:
        settings: parameters of `bert_finetune_squad`.
    """
    return _finetune_squad("squad11", settings)


def dryrun_finetune_squad20(**settings: Any) -> BertSquad:
    """A tiny BERT, fine-tuned on generated questions in the layout of SQuAD 2.0; see `dryrun_finetune_squad11`."""
    return _finetune_squad("squad20", settings)


def _finetune_squad(task: str, settings: Mapping[str, Any]) -> BertSquad:
    bert, squad = dryrun_bert_pretrain(), squad_stories(task=task, train_articles=12, dev_articles=3)
    data = squad_tfrecords(squad=squad, bert=bert, task=task, max_seq_length=96, doc_stride=32, max_query_length=32)
    return _reduced(bert_finetune_squad, {"epochs": 1}, settings)(data=data, bert=bert, task=task, **settings)


def dryrun_transformer(**settings: Any) -> Transformer:
    """A tiny Transformer that translates into a made-up language.

    Args:
        settings: parameters of `transformer`.
    """
    text = parallel_stories(languages="en-ne", sizes={"train": 200, "valid": 20, "test": 20})
    data = translation_tfrecords(text=text, vocabulary=subwords(text=text, size=500), source="en", target="ne")
    return _transformer(data, settings)


def dryrun_transformer_nl2bash(**settings: Any) -> Transformer:
    """A tiny Transformer that writes Bash commands of a few kinds.

    Args:
        settings: parameters of `transformer`.
    """
    text = parallel_stories(languages="nl-cm", sizes={"train": 200, "valid": 20})
    data = translation_tfrecords(text=text, vocabulary=bash_subwords(text=text, size=500), source="nl", target="cm")
    return _transformer(data, settings)


def _transformer(data: TranslationTFR, settings: Mapping[str, Any]) -> Transformer:
    reduced = _reduced(transformer, _TINY_TRANSFORMER, settings)
    return reduced(data=data, source=data.source, target=data.target, **settings)


def dryrun_convnn_mnist(instances: int = 1, **settings: Any) -> ConvnnMnist:
    """`all_convnn_mnist` on a few digits that are drawn by program; arguments as there."""
    return best_of(_reduced(convnn_mnist, {"epochs": 1}, settings), instances)(mnist=_digits(), **settings)


def dryrun_lenet_mnist(instances: int = 1, **settings: Any) -> LenetMnist:
    """`all_lenet_mnist` on a few digits that are drawn by program; arguments as there."""
    return best_of(_reduced(lenet_mnist, {"epochs": 1}, settings), instances)(mnist=_digits(), **settings)


def _digits() -> Mnist:
    return mnist_drawn(train=600, test=100)
