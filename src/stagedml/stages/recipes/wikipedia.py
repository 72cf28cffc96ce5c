"""BERT, pre-trained on Wikipedia. Devlin et al. 2018, BERT; the dumps are Wikimedia's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stagedml.stages.datasets.wiki import extract_wiki, fetch_wiki
from stagedml.stages.fetch import Local
from stagedml.stages.models.bert_pretrain import bert_pretrain
from stagedml.stages.preprocess.pretrain import bert_pretrain_tfrecords
from stagedml.stages.preprocess.vocabulary import vocabulary
from stagedml.types import BertCP, BertPretrained, File, PretrainTFR, Vocabulary, WikiText


def all_fetchenwiki(dump: Local | None = None) -> File:
    """The dump of the English Wikipedia's articles of March 2020, or a local one."""
    return fetch_wiki("enwiki", dump)


def all_fetchruwiki(dump: Local | None = None) -> File:
    """The dump of the Russian Wikipedia's articles of March 2020, or a local one."""
    return fetch_wiki("ruwiki", dump)


def all_extractenwiki(dump: Local | None = None) -> WikiText:
    """The sentences of the English Wikipedia.

    Args:
        dump: a local dump, whole or cut; default that of March 2020 from Wikimedia.
    """
    return extract_wiki(dump=all_fetchenwiki(dump), wiki="enwiki")


def all_extractruwiki(dump: Local | None = None) -> WikiText:
    """The sentences of the Russian Wikipedia; `dump` as of `all_extractenwiki`."""
    return extract_wiki(dump=all_fetchruwiki(dump), wiki="ruwiki")


def _wiki_tfrecords(
    corpus: WikiText, pieces: Vocabulary | None, cased: bool, settings: Mapping[str, Any]
) -> PretrainTFR:
    pieces = pieces or vocabulary(corpus=corpus, cased=cased)
    settings = {"held_out_every": 1000, **settings}
    return bert_pretrain_tfrecords(corpus=corpus, vocabulary=pieces, cased=pieces.cased, **settings)


def all_enwiki_tfrecords(dump: Local | None = None, pieces: Vocabulary | None = None, **settings: Any) -> PretrainTFR:
    """Rows to pre-train on of the English Wikipedia; of every 1,000 articles, the first is held out.

    Args:
        dump: a local dump, whole or cut; default that of March 2020 from Wikimedia.
        pieces: the vocabulary; default an uncased one of 30,522 word pieces, learnt from the text. `vocabulary_of`
            takes over that of a pretrained model.
        settings: parameters of `bert_pretrain_tfrecords`.
    """
    return _wiki_tfrecords(all_extractenwiki(dump), pieces, False, settings)


def all_ruwiki_tfrecords(dump: Local | None = None, pieces: Vocabulary | None = None, **settings: Any) -> PretrainTFR:
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
