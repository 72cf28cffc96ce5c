"""Transformers that translate, and that write Bash commands. Vaswani et al. 2017, Attention Is All You Need.

The texts are WMT 2017's, and NL2Bash (Lin et al. 2018).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stagedml.stages.datasets.nl2bash import fetch_nl2bash
from stagedml.stages.datasets.translation import fetch_wmt
from stagedml.stages.fetch import Local
from stagedml.stages.models.transformer import transformer
from stagedml.stages.models.transformer_settings import transformer_settings
from stagedml.stages.preprocess.translation import bash_subwords, subwords, translation_tfrecords
from stagedml.types import ParallelText, Transformer, TranslationTFR


def all_fetchwmt(languages: str = "de-en", folder: Local | None = None) -> ParallelText:
    """WMT's parallel text.

    Args:
        languages: "de-en" or "ru-en"; of a local folder, any two.
        folder: a local folder with `train.<language>` and `valid.<language>`, perhaps `test.<language>`; default WMT's
            archives.
    """
    return fetch_wmt(languages, folder)


def _wmtsubtok(languages: str, source: str, target: str, folder: Local | None, vocabulary_size: int) -> TranslationTFR:
    text = fetch_wmt(languages, folder)
    vocabulary = subwords(text=text, size=vocabulary_size)
    return translation_tfrecords(text=text, vocabulary=vocabulary, source=source, target=target)


def all_wmtsubtok_ende(folder: Local | None = None, *, vocabulary_size: int = 32768) -> TranslationTFR:
    """WMT's English and German as subwords that both share.

    Args:
        folder: as of `all_fetchwmt`.
        vocabulary_size: how many subwords there are at most.
    """
    return _wmtsubtok("de-en", "en", "de", folder, vocabulary_size)


def all_wmtsubtok_enru(folder: Local | None = None, *, vocabulary_size: int = 32768) -> TranslationTFR:
    """WMT's English and Russian as subwords that both share; arguments as of `all_wmtsubtok_ende`."""
    return _wmtsubtok("ru-en", "en", "ru", folder, vocabulary_size)


def all_wmtsubtok_ruen(folder: Local | None = None, *, vocabulary_size: int = 32768) -> TranslationTFR:
    """WMT's Russian and English as subwords that both share; arguments as of `all_wmtsubtok_ende`."""
    return _wmtsubtok("ru-en", "ru", "en", folder, vocabulary_size)


def _transformer(data: TranslationTFR, size: str, settings: Mapping[str, Any]) -> Transformer:
    own = {**transformer_settings(size), **settings}
    return transformer(data=data, source=data.source, target=data.target, **own)


def all_transformer_wmtende(
    folder: Local | None = None,
    *,
    size: str = "base",
    vocabulary_size: int = 32768,
    **settings: Any,
) -> Transformer:
    """A Transformer that translates from English into German.

    Args:
        folder: as of `all_fetchwmt`.
        size: "base" or "small"; see `stages.models.transformer_settings`.
        vocabulary_size: how many subwords there are at most.
        settings: parameters of `transformer`; default those of the size.
    """
    return _transformer(all_wmtsubtok_ende(folder, vocabulary_size=vocabulary_size), size, settings)


def all_transformer_wmtenru(
    folder: Local | None = None,
    *,
    size: str = "base",
    vocabulary_size: int = 32768,
    **settings: Any,
) -> Transformer:
    """A Transformer that translates from English into Russian; arguments as of `all_transformer_wmtende`."""
    return _transformer(all_wmtsubtok_enru(folder, vocabulary_size=vocabulary_size), size, settings)


def all_transformer_wmtruen(
    folder: Local | None = None,
    *,
    size: str = "base",
    vocabulary_size: int = 32768,
    **settings: Any,
) -> Transformer:
    """A Transformer that translates from Russian into English; arguments as of `all_transformer_wmtende`."""
    return _transformer(all_wmtsubtok_ruen(folder, vocabulary_size=vocabulary_size), size, settings)


def all_fetchnl2bash(folder: Local | None = None) -> ParallelText:
    """Bash commands and their descriptions, shuffled, a tenth of them held out.

    Args:
        folder: a local folder with `all.nl` and `all.cm`; default the authors' repository.
    """
    return fetch_nl2bash(folder)


def all_nl2bashsubtok(folder: Local | None = None, *, vocabulary_size: int = 8192, **options: Any) -> TranslationTFR:
    """NL2Bash as subwords that know what Bash commands are made of.

    Args:
        folder: as of `all_fetchnl2bash`.
        vocabulary_size: how many subwords there are at most.
        options: other parameters of `bash_subwords`.
    """
    text = fetch_nl2bash(folder)
    vocabulary = bash_subwords(text=text, size=vocabulary_size, **options)
    return translation_tfrecords(text=text, vocabulary=vocabulary, source="nl", target="cm")


def all_transformer_nl2bash(
    folder: Local | None = None, *, size: str = "small", vocabulary_size: int = 8192, **settings: Any
) -> Transformer:
    """A Transformer that writes Bash commands from descriptions.

    Args:
        folder: as of `all_fetchnl2bash`.
        size, vocabulary_size: as of `all_transformer_wmtende`.
        settings: parameters of `transformer`; default those of the size.
    """
    return _transformer(all_nl2bashsubtok(folder, vocabulary_size=vocabulary_size), size, settings)
