"""BERT on RuSentiment. Rogers et al. 2018, RuSentiment: An Enriched Sentiment Analysis Dataset.

The posts come from the user's own copy: their owners withdrew them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stagedml.stages.datasets.rusentiment import fetch_rusentiment
from stagedml.stages.fetch import Local
from stagedml.stages.models.bert_glue import bert_finetune_glue
from stagedml.stages.models.glue_settings import glue_settings
from stagedml.stages.preprocess.glue import glue_tfrecords
from stagedml.stages.recipes.bert import all_fetch_multibert, all_fetch_rubert
from stagedml.types import BertCP, BertGlue, Glue, GlueTFR


def all_fetchrusent(file: Local | None = None, folder: Local | None = None) -> Glue:
    """RuSentiment, posts in Russian by sentiment, in GLUE's layout; from your own copy, since it was withdrawn.

    Args:
        file: its archive.
        folder: a folder with its files. Default for both: what STAGEDML_RUSENTIMENT names.
    """
    return fetch_rusentiment(file, folder)


def all_rusentiment_tfrecords(
    bert: BertCP | None = None,
    file: Local | None = None,
    folder: Local | None = None,
) -> GlueTFR:
    """RuSentiment, tokenized for a BERT, by default that for 104 languages; else as of `all_fetchrusent`."""
    data = fetch_rusentiment(file, folder)
    return glue_tfrecords(glue=data, bert=bert or all_fetch_multibert(), task=data.task)


def all_multibert_finetune_rusentiment(
    file: Local | None = None, folder: Local | None = None, **settings: Any
) -> BertGlue:
    """BERT base for 104 languages, fine-tuned on RuSentiment.

    Args:
        file, folder: as of `all_fetchrusent`.
        settings: parameters of `bert_finetune_glue`; default those of `stages.models.glue_settings`.
    """
    return _finetune_rusentiment("multi", all_fetch_multibert(), file, folder, settings)


def all_rubert_finetune_rusentiment(
    file: Local | None = None, folder: Local | None = None, **settings: Any
) -> BertGlue:
    """BERT base for Russian, fine-tuned on RuSentiment; arguments as of `all_multibert_finetune_rusentiment`."""
    return _finetune_rusentiment("russian", all_fetch_rubert(), file, folder, settings)


def _finetune_rusentiment(
    checkpoint: str,
    bert: BertCP,
    file: Local | None,
    folder: Local | None,
    settings: Mapping[str, Any],
) -> BertGlue:
    data = all_rusentiment_tfrecords(bert, file, folder)
    return bert_finetune_glue(
        data=data, bert=bert, task=data.task, **{**glue_settings(checkpoint, data.task), **settings}
    )
