"""BERT on SQuAD. Rajpurkar et al. 2016, SQuAD; 2018, Know What You Don't Know; Devlin et al. 2018, BERT.

The files are those that SQuAD's authors publish.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stagedml.stages.datasets.squad import fetch_squad
from stagedml.stages.fetch import Local
from stagedml.stages.models.bert_squad import bert_finetune_squad
from stagedml.stages.models.squad_settings import SQUAD_SETTINGS
from stagedml.stages.preprocess.squad import squad_tfrecords
from stagedml.stages.recipes.bert import all_fetch_minilm, all_fetchbert, all_fetchminibert
from stagedml.types import BertCP, BertSquad, Squad, SquadTFR


def all_fetchsquad11(folder: Local | None = None) -> Squad:
    """SQuAD 1.1: questions with an answer in their passage.

    Args:
        folder: a local folder with train-v1.1.json and dev-v1.1.json; default the official sources.
    """
    return fetch_squad("squad11", folder)


def all_fetchsquad20(folder: Local | None = None) -> Squad:
    """SQuAD 2.0: questions with an answer in their passage, and questions without.

    Args:
        folder: a local folder with train-v2.0.json and dev-v2.0.json; default the official sources.
    """
    return fetch_squad("squad20", folder)


def all_squad11_tfrecords(bert: BertCP | None = None, folder: Local | None = None) -> SquadTFR:
    """SQuAD 1.1, tokenized for a BERT.

    Args:
        bert: whose vocabulary; default BERT base.
        folder: as of `all_fetchsquad11`.
    """
    return _squad_tfrecords("squad11", bert or all_fetchbert(), folder)


def all_squad20_tfrecords(bert: BertCP | None = None, folder: Local | None = None) -> SquadTFR:
    """SQuAD 2.0, tokenized for a BERT; arguments as of `all_squad11_tfrecords`."""
    return _squad_tfrecords("squad20", bert or all_fetchbert(), folder)


def _squad_tfrecords(task: str, bert: BertCP, folder: Local | None) -> SquadTFR:
    return squad_tfrecords(squad=fetch_squad(task, folder), bert=bert, task=task)


def _finetune_squad(
    task: str, checkpoint: str, bert: BertCP, folder: Local | None, settings: Mapping[str, Any]
) -> BertSquad:
    data = _squad_tfrecords(task, bert, folder)
    return bert_finetune_squad(data=data, bert=bert, task=task, **{**SQUAD_SETTINGS[checkpoint].values, **settings})


def all_bert_finetune_squad11(folder: Local | None = None, **settings: Any) -> BertSquad:
    """BERT base, fine-tuned on SQuAD 1.1.

    Args:
        folder: as of `all_fetchsquad11`.
        settings: parameters of `bert_finetune_squad`; default those of `stages.models.squad_settings`.
    """
    return _finetune_squad("squad11", "base", all_fetchbert(), folder, settings)


def all_bert_finetune_squad20(folder: Local | None = None, **settings: Any) -> BertSquad:
    """BERT base, fine-tuned on SQuAD 2.0; arguments as of `all_bert_finetune_squad11`."""
    return _finetune_squad("squad20", "base", all_fetchbert(), folder, settings)


def all_minibert_finetune_squad11(folder: Local | None = None, **settings: Any) -> BertSquad:
    """BERT mini, fine-tuned on SQuAD 1.1; arguments as of `all_bert_finetune_squad11`."""
    return _finetune_squad("squad11", "mini", all_fetchminibert(), folder, settings)


def all_minibert_finetune_squad20(folder: Local | None = None, **settings: Any) -> BertSquad:
    """BERT mini, fine-tuned on SQuAD 2.0; arguments as of `all_bert_finetune_squad11`."""
    return _finetune_squad("squad20", "mini", all_fetchminibert(), folder, settings)


def all_minilm_finetune_squad11(folder: Local | None = None, **settings: Any) -> BertSquad:
    """MiniLM, fine-tuned on SQuAD 1.1; arguments as of `all_bert_finetune_squad11`."""
    return _finetune_squad("squad11", "minilm", all_fetch_minilm(), folder, settings)


def all_minilm_finetune_squad20(folder: Local | None = None, **settings: Any) -> BertSquad:
    """MiniLM, fine-tuned on SQuAD 2.0; arguments as of `all_bert_finetune_squad11`."""
    return _finetune_squad("squad20", "minilm", all_fetch_minilm(), folder, settings)
