"""BERT's tokenizer: the official one's tokens, several times faster.

Token for token what `FullTokenizer` of tensorflow-models gives, cased and uncased. The official rules have two halves:
*words* (clean, split at whitespace, CJK characters and punctuation; uncased: lower and strip accents) and *pieces*
(longest match first). The words are made here, with Python's own `unicodedata`, exactly as the official code does it;
the pieces come from the Rust implementation in `tokenizers`. (Its own normalizer for BERT is not used: it drops
characters which the official one keeps, and reads another version of the Unicode tables.) Words are remembered.

Where in its text a piece stands is known to the character, whatever was dropped, lowered or taken apart on the way:
`CLEAN` and the two tables after it turn each character into others, or into nothing, on its own. Lowering looks around
itself in one case, the last sigma of a word, and normalization may exchange marks on one letter; neither changes how
many characters there are.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from stagedml.errors import UsageError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

# A longer word becomes [UNK], as in tensorflow-models.
_LONGEST_WORD = 400
# They take about 20 MB.
_REMEMBERED_WORDS = 100_000

_CJK = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


class UnusableVocabulary(UsageError):
    """A vocabulary file lacks what BERT needs."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return (
            f"{self.path}: {self.problem}; a BERT vocabulary has one word piece a line, {' '.join(SPECIAL_TOKENS)} too"
        )


@dataclass(frozen=True)
class Encoded:
    """One text, or a pair of texts, as BERT reads it: [CLS] a [SEP] or [CLS] a [SEP] b [SEP]."""

    input_ids: tuple[int, ...]
    segment_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Located:
    """A text's word pieces, and where in the text they stand: piece i is made of `text[begins[i]:ends[i]]`.

    Neither begins nor ends ever decrease. Pieces of one character that is taken apart (a Korean syllable) share it.
    """

    ids: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]


class BertTokenizer:
    """Splits texts into the word pieces of one vocabulary. Safe to use from several threads at once."""

    def __init__(self, vocab: Path, *, lower_case: bool) -> None:
        """Read a vocabulary.

        Args:
            vocab: one word piece a line, UTF-8; the line's number is the id.
            lower_case: True for uncased models.

        Raises:
            UnusableVocabulary: a special token is missing.
        """
        from tokenizers import Tokenizer
        from tokenizers.models import WordPiece
        from tokenizers.pre_tokenizers import WhitespaceSplit

        self.pieces = read_vocabulary(vocab)
        self.lower_case = lower_case
        self._ids = {piece: number for number, piece in enumerate(self.pieces)}
        if missing := [token for token in SPECIAL_TOKENS if token not in self._ids]:
            raise UnusableVocabulary(str(vocab), f"no {', '.join(missing)}")
        tokenizer = Tokenizer(WordPiece(self._ids, unk_token="[UNK]", max_input_chars_per_word=_LONGEST_WORD))
        tokenizer.pre_tokenizer = WhitespaceSplit()
        self._pieces_of = _WordPieces(tokenizer)
        self._origins = _Lengths(lower_case)

    @property
    def vocab_size(self) -> int:
        """The number of word pieces."""
        return len(self.pieces)

    @property
    def longest_word(self) -> int:
        """Words of more characters are unknown."""
        return _LONGEST_WORD

    def id_of(self, piece: str) -> int:
        """The id of a word piece that is in the vocabulary."""
        return self._ids[piece]

    def tokenize(self, text: str) -> list[str]:
        """The word pieces of a text, without special tokens."""
        return [self.pieces[number] for number in self.ids(text)]

    def ids(self, text: str) -> list[int]:
        """The ids of a text's word pieces, without special tokens."""
        words = split_words(text, lower_case=self.lower_case).split()
        return list(chain.from_iterable(map(self._pieces_of.__getitem__, words)))

    def batch_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """`ids` of many texts."""
        return [self.ids(text) for text in texts]

    def locate(self, text: str) -> Located:
        """`ids`, and where they stand.

        Marks that are dropped belong to the letter that they stand on.
        """
        lengths = [self._origins[ord(character)] for character in text]
        origins = [place for place, length in enumerate(lengths) for _ in range(length)]
        ids: list[int] = []
        begins: list[int] = []
        ends: list[int] = []
        done = 0
        for word in split_words(text, lower_case=self.lower_case).split():
            ids += self._pieces_of[word]
            for begin, end in self._pieces_of.offsets(word):
                begins.append(origins[done + begin])
                last = origins[done + end - 1] + 1
                while last < len(text) and not lengths[last] and unicodedata.category(text[last]) == "Mn":
                    last += 1
                ends.append(last)
            done += len(word)
        return Located(tuple(ids), tuple(begins), tuple(ends))

    def encode(self, first: Sequence[int], second: Sequence[int] | None, max_length: int) -> Encoded:
        """Add special tokens to one or two texts; what is too long loses its end, the longer text first.

        Args:
            first: ids of the first text, from `ids`.
            second: ids of the second, or None.
            max_length: pieces at most, special tokens included; at least 3.
        """
        start, separator = self._ids["[CLS]"], self._ids["[SEP]"]
        if second is None:
            kept = first[: max_length - 2]
            return Encoded((start, *kept, separator), (0,) * (len(kept) + 2))
        first_length, second_length = truncated_lengths(len(first), len(second), max_length - 3)
        return Encoded(
            (start, *first[:first_length], separator, *second[:second_length], separator),
            (0,) * (first_length + 2) + (1,) * (second_length + 1),
        )


class _WordPieces(dict[str, tuple[int, ...]]):
    """The ids of a word's pieces. Most words of a text were met before; to look them up takes a quarter of the time."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def __missing__(self, word: str) -> tuple[int, ...]:
        if len(self) >= _REMEMBERED_WORDS:
            self.clear()
        ids = self[word] = tuple(self._tokenizer.encode(word, add_special_tokens=False).ids)
        return ids

    def offsets(self, word: str) -> list[tuple[int, int]]:
        """Where in the word its pieces begin and end."""
        offsets: list[tuple[int, int]] = self._tokenizer.encode(word, add_special_tokens=False).offsets
        return offsets

    def __reduce__(self) -> tuple[Any, ...]:
        return _WordPieces, (self._tokenizer,)


def read_vocabulary(path: Path) -> tuple[str, ...]:
    """The word pieces of a vocabulary file, in order."""
    lines = path.read_bytes().decode("utf-8").split("\n")
    if lines[-1] == "":
        lines.pop()
    return tuple(line.strip() for line in lines)


def truncated_lengths(first: int, second: int, total: int) -> tuple[int, int]:
    """What is left of two lengths when the longer (of equal ones, the second) gives way until both fit in `total`."""
    if first + second <= total:
        return first, second
    half = total // 2
    if first <= half:
        return first, total - first
    if second <= half:
        return total - second, second
    return total - half, half


# -- words -----------------------------------------------------------------------------------------------------------


def split_words(text: str, *, lower_case: bool) -> str:
    """A text's words, separated by single spaces, by BERT's rules."""
    text = text.translate(CLEAN)
    if lower_case:
        text = text.lower()
        if not text.isascii():
            text = unicodedata.normalize("NFD", text).translate(UNACCENT)
    return " ".join(text.translate(SPLIT_PUNCTUATION).split())


class _Translation(dict[int, str]):
    """A table for `str.translate` which is computed as characters turn up."""

    def __missing__(self, code: int) -> str:
        result = self[code] = self.translate(chr(code))
        return result

    def translate(self, character: str) -> str:
        """What a character becomes."""
        raise NotImplementedError


class _Clean(_Translation):
    """Drop control characters, make whitespace a space, set CJK characters apart."""

    def translate(self, character: str) -> str:
        if character in "\t\n\r":
            return " "
        category = unicodedata.category(character)
        if character in "\0\ufffd" or category in ("Cc", "Cf"):
            return ""
        if category == "Zs":
            return " "
        if category == "Cs":
            # Half a surrogate pair cannot reach Rust; no vocabulary holds this noncharacter either.
            return "\uffff"
        if any(low <= ord(character) <= high for low, high in _CJK):
            return f" {character} "
        return character


class _Unaccent(_Translation):
    """Drop combining marks."""

    def translate(self, character: str) -> str:
        return "" if unicodedata.category(character) == "Mn" else character


class _SplitPunctuation(_Translation):
    """Set punctuation apart; every ASCII character that is no letter, digit or space counts."""

    def translate(self, character: str) -> str:
        ascii_symbol = "!" <= character <= "~" and not character.isalnum()
        return f" {character} " if ascii_symbol or unicodedata.category(character).startswith("P") else character


class _Lengths(dict[int, int]):
    """How many characters of words a character becomes."""

    def __init__(self, lower_case: bool) -> None:
        super().__init__()
        self._lower_case = lower_case

    def __missing__(self, code: int) -> int:
        length = self[code] = sum(map(len, split_words(chr(code), lower_case=self._lower_case).split()))
        return length

    def __reduce__(self) -> tuple[Any, ...]:
        return _Lengths, (self._lower_case,)


CLEAN, UNACCENT, SPLIT_PUNCTUATION = _Clean(), _Unaccent(), _SplitPunctuation()
"""What `split_words` does to each character, in this order; it lowers before it drops marks."""
