"""A text's own vocabulary: complete, in a fixed order, and no larger than wanted."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagedml.ml.tokenizers import SPECIAL_TOKENS, BertTokenizer
from stagedml.ml.vocabulary import VocabularyTooSmall, build_vocabulary

TEXT = "The cat saw a dog .\nA dog saw the cat , twice .\n\nThe Ábc , the end .\n"


def _build(tmp_path: Path, size: int, *, lower_case: bool = True) -> list[str]:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    count = build_vocabulary(tmp_path / "text.txt", tmp_path / "vocab.txt", size=size, lower_case=lower_case)
    pieces = (tmp_path / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert len(pieces) == count <= size
    assert len(set(pieces)) == count
    return pieces


def test_special_tokens_come_first_then_characters_then_words_by_frequency(tmp_path: Path) -> None:
    pieces = _build(tmp_path, 1000)
    assert tuple(pieces[:5]) == SPECIAL_TOKENS
    assert [piece for piece in pieces[5:] if len(piece) == 1] == [",", ".", "a", "c", "d", "e", "s", "t"]
    assert pieces[-7:] == ["the", "cat", "dog", "saw", "abc", "end", "twice"]


def test_what_has_no_place_is_spelt_and_nothing_is_unknown(tmp_path: Path) -> None:
    all_pieces = _build(tmp_path, 1000)
    pieces = _build(tmp_path, len(all_pieces) - 3)
    assert pieces == all_pieces[:-3]
    tokenizer = BertTokenizer(tmp_path / "vocab.txt", lower_case=True)
    assert tokenizer.tokenize("The cat , twice .") == ["the", "cat", ",", "t", "##w", "##i", "##c", "##e", "."]
    assert "[UNK]" not in tokenizer.tokenize(TEXT)


def test_a_cased_vocabulary_keeps_case_and_accents(tmp_path: Path) -> None:
    assert {"The", "the", "Ábc"} < set(_build(tmp_path, 1000, lower_case=False))


def test_a_size_without_a_place_for_the_characters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VocabularyTooSmall, match=r"text\.txt.* allow 2\d"):
        _build(tmp_path, 20)
