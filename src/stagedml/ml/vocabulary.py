"""A WordPiece vocabulary of a text's own: its characters, and its words or what words are made of.

Where all words of a text have a place, they are its vocabulary. Where they have not, pieces of words are merged: again
and again, of the two pieces that stand side by side most often, one is made (Sennrich et al. 2016, Neural Machine
Translation of Rare Words with Subword Units), until the vocabulary is full. Rules this module keeps:

- The same text gives the same bytes: of equally frequent things, the first in the order of their characters counts.
- Memory is bounded: where a text has more different words than `_MOST_WORDS`, the rarest so far are forgotten now and
  then. Merged are the pieces of the most frequent ones.
- At most `_MOST_CHARACTERS` are kept, the most frequent ones, as in BERT's own; words with others are unknown.

Not the algorithm that made BERT's vocabulary, which was not published; what it gives is of the same kind.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from stagedml.errors import UsageError
from stagedml.ml.tokenizers import SPECIAL_TOKENS, split_words

_MOST_WORDS = 2_000_000
_MERGED_WORDS = 200_000
_MOST_CHARACTERS = 1000
_CONTINUES = "##"


class VocabularyTooSmall(UsageError):
    """A vocabulary of the wanted size has no place for all characters of its text."""

    def __init__(self, corpus: str, size: int, needed: int) -> None:
        super().__init__(corpus, size, needed)
        self.corpus, self.size, self.needed = corpus, size, needed

    def __str__(self) -> str:
        return f"{self.corpus}: a vocabulary of {self.size} has no place for the text's characters; allow {self.needed}"


def build_vocabulary(corpus: Path, output: Path, *, size: int, lower_case: bool) -> int:
    """Write the vocabulary of a text: special tokens, characters, then words, the most frequent ones first, or pieces,
    in the order in which they were merged.

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
    words = _spelt_with_frequent_characters(_count_words(corpus, lower_case=lower_case))
    initial = sorted({word[0] for word in words})
    following = sorted({f"{_CONTINUES}{character}" for word in words for character in word[1:]})
    pieces = [*SPECIAL_TOKENS, *initial, *following]
    if len(pieces) > size:
        raise VocabularyTooSmall(str(corpus), size, len(pieces))
    ranked = sorted(words, key=lambda word: (-words[word], word))
    known = set(pieces)
    whole = [word for word in ranked if word not in known]
    if len(pieces) + len(whole) <= size:
        pieces += whole
    else:
        pieces += _merged({word: words[word] for word in ranked[:_MERGED_WORDS]}, size - len(pieces))
    output.write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8", newline="\n")
    return len(pieces)


def _count_words(corpus: Path, *, lower_case: bool) -> Counter[str]:
    words: Counter[str] = Counter()
    with corpus.open(encoding="utf-8") as lines:
        for line in lines:
            words.update(split_words(line, lower_case=lower_case).split())
            if len(words) > _MOST_WORDS:
                words = Counter(dict(words.most_common(_MOST_WORDS // 2)))
    return words


def _spelt_with_frequent_characters(words: Counter[str]) -> Counter[str]:
    """Those words that have no rare character."""
    characters: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            characters[character] += count
    kept = set(sorted(characters, key=lambda character: (-characters[character], character))[:_MOST_CHARACTERS])
    return Counter({word: count for word, count in words.items() if kept.issuperset(word)})


def _merged(words: Mapping[str, int], room: int) -> list[str]:
    """The pieces that merging makes, in order, until there is no room or no two pieces meet twice."""
    spelt = [[word[0], *(f"{_CONTINUES}{character}" for character in word[1:])] for word in words]
    counts = list(words.values())
    pairs: Counter[tuple[str, str]] = Counter()
    places: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for number, spelling in enumerate(spelt):
        for pair in pairwise(spelling):
            pairs[pair] += counts[number]
            places[pair].add(number)
    heap = [(-count, pair) for pair, count in pairs.items()]
    heapq.heapify(heap)
    made: dict[str, None] = {}
    while heap and len(made) < room:
        count, pair = heapq.heappop(heap)
        if -count != pairs[pair]:  # some of them are parts of other pieces by now
            if pairs[pair]:
                heapq.heappush(heap, (-pairs[pair], pair))
            continue
        if -count < 2:
            break
        piece = pair[0] + pair[1].removeprefix(_CONTINUES)
        made[piece] = None
        new: set[tuple[str, str]] = set()
        for number in places.pop(pair):
            for other in pairwise(spelt[number]):
                pairs[other] -= counts[number]
            spelt[number] = _joined(spelt[number], pair, piece)
            for other in pairwise(spelt[number]):
                pairs[other] += counts[number]
                if piece in other:
                    places[other].add(number)
                    new.add(other)
        for other in new:
            heapq.heappush(heap, (-pairs[other], other))
    return list(made)


def _joined(spelling: list[str], pair: tuple[str, str], piece: str) -> list[str]:
    """A spelling in which a pair, wherever it is, is one piece."""
    joined: list[str] = []
    place = 0
    while place < len(spelling):
        if tuple(spelling[place : place + 2]) == pair:
            joined.append(piece)
            place += 2
        else:
            joined.append(spelling[place])
            place += 1
    return joined
