"""Parallel text for tests: real, and generated."""

from __future__ import annotations

import gzip
from itertools import islice
from pathlib import Path

from stagedml.ml.models.transformer.training import TranslationData
from stagedml.ml.subwords import Subwords, learn_subwords
from stagedml.ml.translation_records import TRAIN, write_pairs


def multi30k(shared_data: Path, split: str, language: str, count: int | None = None) -> list[str]:
    """The first captions of a split of Multi30k."""
    with gzip.open(shared_data / "multi30k" / "raw" / f"{split}.{language}.gz", "rt", encoding="utf-8") as lines:
        return [line.rstrip("\n") for line in islice(lines, count)]


def write_text(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    return path


def translation_data(
    folder: Path, pairs: dict[str, tuple[list[str], list[str]]], *, size: int, max_length: int = 64
) -> TranslationData:
    """Records of some splits; subwords are learnt from the one to train on."""
    folder.mkdir(exist_ok=True)
    texts = {
        split: [write_text(folder / f"{split}.{side}", lines) for side, lines in enumerate(sides)]
        for split, sides in pairs.items()
    }
    data = TranslationData(folder / "records", folder / "references", folder / "subwords.model")
    data.records.mkdir()
    data.references.mkdir()
    learn_subwords(texts[TRAIN], data.subwords, size=size)
    for split, (source, target) in texts.items():
        references = None if split == TRAIN else data.references / f"{split}.txt"
        subwords = Subwords.read(data.subwords)
        write_pairs(split, source, target, data.path(split), subwords, max_length=max_length, references=references)
    return data
