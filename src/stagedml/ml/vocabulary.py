"""A WordPiece vocabulary of a text's own: its words, and the characters that every other word can be spelt with.

Not the algorithm that made BERT's vocabulary, which merges pieces by likelihood and breaks ties by chance; for a text
with few different words it comes to the same. The same text gives the same bytes.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from stagedml.errors import UsageError
from stagedml.ml.tokenizers import SPECIAL_TOKENS, split_words


class VocabularyTooSmall(UsageError):
    """A vocabulary of the wanted size has no place for all characters of its text."""

    def __init__(self, corpus: str, size: int, needed: int) -> None:
        super().__init__(corpus, size, needed)
        self.corpus, self.size, self.needed = corpus, size, needed

    def __str__(self) -> str:
        return f"{self.corpus}: a vocabulary of {self.size} has no place for the text's characters; allow {self.needed}"


def build_vocabulary(corpus: Path, output: Path, *, size: int, lower_case: bool) -> int:
    """Write the vocabulary of a text: special tokens, characters, then words, the most frequent ones first.

    Args:
        corpus: text, UTF-8.
        output: the file to write, one word piece a line.
        size: word pieces at most.
        lower_case: whether case and accents are dropped, as uncased models do.

    Returns:
        The number of word pieces.

    Raises:
        VocabularyTooSmall: `size` does not hold the special tokens and all characters.
    """
    words: Counter[str] = Counter()
    with corpus.open(encoding="utf-8") as lines:
        for line in lines:
            words.update(split_words(line, lower_case=lower_case).split())
    initial = sorted({word[0] for word in words})
    following = sorted({f"##{character}" for word in words for character in word[1:]})
    pieces = [*SPECIAL_TOKENS, *initial, *following]
    if len(pieces) > size:
        raise VocabularyTooSmall(str(corpus), size, len(pieces))
    known = set(pieces)
    ranked = sorted((-count, word) for word, count in words.items() if word not in known)
    pieces += [word for _, word in ranked[: size - len(pieces)]]
    output.write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8", newline="\n")
    return len(pieces)
