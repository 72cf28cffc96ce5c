"""A text's own vocabulary: complete, in a fixed order, and no larger than wanted."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from stagedml.ml import vocabulary
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


def test_where_words_have_no_place_what_meets_most_often_is_merged(tmp_path: Path) -> None:
    pieces = _build(tmp_path, len(_build(tmp_path, 1000)) - 3)
    # Of "the" (4 times), "cat", "dog" and "saw" (twice); of equals, the first in the order of characters.
    assert pieces[-4:] == ["##he", "the", "##at", "##aw"]
    tokenizer = BertTokenizer(tmp_path / "vocab.txt", lower_case=True)
    assert tokenizer.tokenize("The cat , twice .") == ["the", "c", "##at", ",", "t", "##w", "##i", "##c", "##e", "."]
    assert "[UNK]" not in tokenizer.tokenize(TEXT)


def _merged_plainly(words: dict[str, int], room: int) -> list[str]:
    """The same by the definition: count all pairs anew for each merge."""
    spelt = {word: [word[0], *(f"##{letter}" for letter in word[1:])] for word in words}
    made: list[str] = []
    while len(made) < room:
        counts = Counter(pair for word, parts in spelt.items() for pair in pairwise(parts) for _ in range(words[word]))
        if not counts or max(counts.values()) < 2:
            break
        first, second = min(counts, key=lambda pair: (-counts[pair], pair))
        piece = first + second.removeprefix("##")
        if piece not in made:
            made.append(piece)
        for parts in spelt.values():
            place = 0
            while place + 1 < len(parts):
                if (parts[place], parts[place + 1]) == (first, second):
                    parts[place : place + 2] = [piece]
                place += 1
    return made


def test_merging_does_what_its_definition_says(tmp_path: Path) -> None:
    random = Random(3)
    for room in (5, 40, 200):
        words = {"".join(random.choices("abc", k=random.randint(1, 9))): random.randint(1, 9) for _ in range(60)}
        (tmp_path / "text.txt").write_text("\n".join(" ".join([word] * count) for word, count in words.items()))
        start = len(SPECIAL_TOKENS) + 6
        build_vocabulary(tmp_path / "text.txt", tmp_path / "vocab.txt", size=start + room, lower_case=True)
        pieces = (tmp_path / "vocab.txt").read_text().split()
        if room < 200:
            assert pieces[start:] == _merged_plainly(words, room)
        else:  # all have a place
            assert set(words) < set(pieces)


def test_rare_characters_and_rare_words_give_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "_MOST_CHARACTERS", 3)
    monkeypatch.setattr(vocabulary, "_MOST_WORDS", 4)
    (tmp_path / "text.txt").write_text("ab ab ab ba ba\nc ab x y z\nab ac ca\n")
    build_vocabulary(tmp_path / "text.txt", tmp_path / "vocab.txt", size=100, lower_case=True)
    pieces = (tmp_path / "vocab.txt").read_text().split()[5:]
    assert pieces == ["a", "b", "c", "##a", "##b", "##c", "ab", "ba", "ac", "ca"]


def test_a_cased_vocabulary_keeps_case_and_accents(tmp_path: Path) -> None:
    assert {"The", "the", "Ábc"} < set(_build(tmp_path, 1000, lower_case=False))


def test_a_size_without_a_place_for_the_characters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VocabularyTooSmall, match=r"text\.txt.* allow 2\d"):
        _build(tmp_path, 20)
