"""BLEU, by its definition, and with its signature."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml.parallel_texts import multi30k
from stagedml.ml.translation_metrics import score_translations


def bleu_by_definition(translations: list[str], references: list[str]) -> float:
    """Papineni et al. 2002, 2.3, of words parted by spaces."""

    def grams(text: str, length: int) -> Iterator[tuple[str, ...]]:
        words = text.split()
        return zip(*(words[place:] for place in range(length)), strict=False)

    logarithms = []
    for length in range(1, 5):
        found = right = 0
        for ours, theirs in zip(translations, references, strict=True):
            counts = Counter(grams(ours, length))
            found += counts.total()
            right += (counts & Counter(grams(theirs, length))).total()
        logarithms.append(math.log(right / found))
    length, wanted = (sum(len(text.split()) for text in texts) for texts in (translations, references))
    return 100 * min(1.0, math.exp(1 - wanted / length)) * math.exp(sum(logarithms) / 4)


def test_bleu_is_what_its_definition_gives(shared_data: Path) -> None:
    # Without punctuation, sacrebleu's words are what stands between spaces.
    references = [
        "".join(letter for letter in line if letter.isalpha() or letter == " ").strip()
        for line in multi30k(shared_data, "val", "de", 200)
    ]
    for words in (1, 2):
        translations = [" ".join(text.split()[:-words]) + " x" for text in references]
        scores = score_translations(translations, references)
        assert scores.bleu == pytest.approx(bleu_by_definition(translations, references), abs=1e-6)


def test_exact_matches_are_counted_and_the_signature_says_how_bleu_was_measured() -> None:
    scores = score_translations(["a b c d", "e f g h ", "x"], ["a b c d", "e f g h", "y"])
    assert scores.exact_match == pytest.approx(2 / 3)
    assert "nrefs:1" in scores.signature
    assert "tok:13a" in scores.signature
    assert "version:" in scores.signature
    assert score_translations(["a b c d e"] * 2, ["a b c d e"] * 2).bleu == pytest.approx(100)


def test_translations_without_a_reference_each_are_refused() -> None:
    for translations, references in ((["a"], []), ([], []), (["a"], ["b", "c"])):
        with pytest.raises(ValueError, match="translations for"):
            score_translations(translations, references)
