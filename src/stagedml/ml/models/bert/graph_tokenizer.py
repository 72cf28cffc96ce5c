"""BERT's tokenizer as a TensorFlow graph: what a model needs to read plain sentences wherever it is loaded.

Rules this module keeps:
- Token for token what `tokenizers.BertTokenizer` gives, for every text in UTF-8; bytes that are no UTF-8 count as
  U+FFFD, which BERT drops.
- TensorFlow's own operations alone, so that whoever loads the graph needs no other package. (The tokenizers of
  tensorflow-text must be imported to load what holds them, and are exact on most texts, not on all.)
- What is known of characters is Python's, asked for each of them and kept in tables. So a graph answers as the Python
  that made it, whichever its version of Unicode.

A batch of texts is one flat sequence of code points, a space behind each text. Tables say what becomes of a character;
then words are cut, and the pieces of all words are found at once, by walking down a trie.
"""

from __future__ import annotations

import functools
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagedml.errors import UsageError
from stagedml.ml.framework import tf
from stagedml.ml.tokenizers import CLEAN, SPLIT_PUNCTUATION, UNACCENT, BertTokenizer

_CODES = sys.maxunicode + 1
_CODE_BITS = sys.maxunicode.bit_length()
_SURROGATES = range(0xD800, 0xE000)
_PAGE = 256

# What a character is to words.
_LETTER, _SPACE, _ALONE, _DROPPED = range(4)

# What a character is to a capital sigma, which is lowered otherwise at the end of a word.
_OTHER, _CASED, _LOOKED_PAST, _GONE = range(4)
_CAPITAL_SIGMA, _FINAL_SIGMA = ord("Σ"), ord("ς")

# Canonical combining classes are below.
_ORDERS = 256

# Among code points and ids.
_NOTHING, _ITSELF = -1, -2

_SINGLE_SPECIAL = 2  # [CLS] a [SEP]
_PAIR_SPECIAL = 3  # [CLS] a [SEP] b [SEP]


class LengthTooSmall(UsageError):
    """Rows of so few word pieces have no room for a pair of texts."""

    def __init__(self, max_length: int) -> None:
        super().__init__(max_length)
        self.max_length = max_length

    def __str__(self) -> str:
        return f"max_length is {self.max_length}; special tokens alone take {_PAIR_SPECIAL}, and 128 is usual"


def check_max_length(max_length: int) -> None:
    """Make sure that special tokens fit into rows of such a length.

    Raises:
        LengthTooSmall: they do not.
    """
    if max_length < _PAIR_SPECIAL:
        raise LengthTooSmall(max_length)


class GraphTokenizer:
    """What `BertTokenizer` does, as operations of the graph in which it is called."""

    def __init__(self, tokenizer: BertTokenizer, *, max_length: int) -> None:
        """Make the tables.

        Args:
            tokenizer: whose words, pieces and special tokens these are.
            max_length: pieces a row at most, special tokens included; at least 3.

        Raises:
            LengthTooSmall: it is less.
        """
        check_max_length(max_length)
        self._max_length = max_length
        self._longest_word = tokenizer.longest_word
        self._start, self._separator, self._unknown, self._padding = (
            tokenizer.id_of(token) for token in ("[CLS]", "[SEP]", "[UNK]", "[PAD]")
        )
        # Texts are the processor's affair: other devices have no operations for them.
        with tf.device("CPU:0"):
            self._words = _Words(lower_case=tokenizer.lower_case)
            self._trie = _Trie(tokenizer.pieces)

    def __call__(self, first: Any, second: Any | None = None) -> dict[str, Any]:
        """Tokenize texts, or pairs of texts; what is too long loses its end, the longer text first.

        Args:
            first: (rows,) strings, UTF-8.
            second: likewise; None for single texts.

        Returns:
            input_ids, input_mask (1: a word piece, 0: padding) and segment_ids, each (rows, the longest row) int32.
        """
        with tf.device("CPU:0"):
            start, separator = (tf.fill([tf.size(first), 1], number) for number in (self._start, self._separator))
            if second is None:
                ids = self.ids(first, self._max_length - _SINGLE_SPECIAL)
                segments = [tf.concat([start, ids, separator], 1)]
            else:
                room = self._max_length - _PAIR_SPECIAL
                both = self.ids(tf.concat([first, second], 0), room)
                one, two = _truncated(both[: tf.size(first)], both[tf.size(first) :], room)
                segments = [tf.concat([start, one, separator], 1), tf.concat([two, separator], 1)]
            input_ids = tf.concat(segments, 1)
            segment_ids = tf.concat([tf.ones_like(ids) * number for number, ids in enumerate(segments)], 1)
            return {
                "input_ids": input_ids.to_tensor(self._padding),
                "input_mask": tf.ones_like(input_ids).to_tensor(),
                "segment_ids": segment_ids.to_tensor(),
            }

    def ids(self, texts: Any, count: int) -> Any:
        """The ids of texts' first word pieces, without special tokens.

        Args:
            texts: (rows,) strings, UTF-8.
            count: of a text so many at most.

        Returns:
            (rows, pieces) int32, ragged.
        """
        letters, starts = self._words(texts)
        ends = starts.with_values(tf.concat([starts.values[1:], tf.shape(letters)], 0))
        # A word has at least one piece, so no more words than that are looked at.
        words = starts[:, :count]
        pieces = self._pieces(letters, words.values, ends[:, :count].values)
        return words.with_values(pieces).merge_dims(1, 2)[:, :count]

    def _pieces(self, letters: Any, starts: Any, ends: Any) -> Any:
        """The ids of words' pieces: (words, pieces) int32, ragged."""

        def is_unfinished(step: Any, places: Any, *_: Any) -> Any:
            return (step == 0) | tf.reduce_any(places < ends)

        def take(step: Any, places: Any, unknown: Any, columns: Any) -> tuple[Any, ...]:
            pieces, lengths = self._trie.longest(letters, places, ends, goes_on=step > 0)
            stuck = (pieces == _NOTHING) & (places < ends)
            return step + 1, tf.where(stuck, ends, places + lengths), unknown | stuck, columns.write(step, pieces)

        too_long = ends - starts > self._longest_word
        columns = tf.TensorArray(tf.int32, size=0, dynamic_size=True, element_shape=[None])
        state = (0, tf.where(too_long, ends, starts), too_long, columns)
        _, _, unknown, columns = tf.while_loop(is_unfinished, take, state)
        # A word of which a part is unknown is unknown as a whole.
        pieces = tf.where(unknown[:, None], _NOTHING, tf.transpose(columns.stack()))
        pieces = tf.concat([tf.where(unknown, self._unknown, _NOTHING)[:, None], pieces], 1)
        return tf.ragged.boolean_mask(pieces, pieces != _NOTHING)


def _truncated(first: Any, second: Any, room: int) -> tuple[Any, Any]:
    """Of two ragged (rows, pieces) what `tokenizers.truncated_lengths` leaves."""
    first_lengths, second_lengths = first.row_lengths(), second.row_lengths()
    kept = tf.minimum(first_lengths, tf.maximum(room - second_lengths, room - room // 2))
    return _shortened(first, kept), _shortened(second, tf.minimum(second_lengths, room - kept))


def _shortened(ids: Any, lengths: Any) -> Any:
    rows = ids.value_rowids()
    places = tf.range(tf.size(rows, tf.int64)) - tf.gather(ids.row_starts(), rows)
    return tf.ragged.boolean_mask(ids, ids.with_values(places < tf.gather(lengths, rows)))


# -- words -----------------------------------------------------------------------------------------------------------


class _Words:
    """Cuts texts into words, as `tokenizers.split_words` does."""

    def __init__(self, *, lower_case: bool) -> None:
        tables = _tables(lower_case)
        self._kinds = _Paged(tables.kinds)
        self._lower = _Lower(tables) if lower_case else None

    def __call__(self, texts: Any) -> tuple[Any, Any]:
        """The letters of texts, (letters,) int32, and where in them each word begins, (texts, words) int32, ragged."""
        decoded = tf.strings.unicode_decode(tf.strings.join([texts, " "]), "UTF-8")
        codes, rows = decoded.values, decoded.value_rowids()
        if self._lower is not None:
            codes, rows = self._lower(codes, rows)
        kinds = self._kinds.at(codes)
        codes, rows, kinds = _kept(kinds != _DROPPED, codes, rows, kinds)
        follows_letter = tf.concat([[False], kinds[:-1] == _LETTER], 0)
        begins = (kinds == _ALONE) | ((kinds == _LETTER) & ~follows_letter)
        letters, rows, begins = _kept(kinds != _SPACE, codes, rows, begins)
        starts = tf.where(begins)[:, 0]
        words = tf.RaggedTensor.from_value_rowids(
            tf.cast(starts, tf.int32), tf.gather(rows, starts), nrows=tf.size(texts, tf.int64)
        )
        return letters, words


class _Lower:
    """Lowers and decomposes characters; marks are left for their kind to drop."""

    def __init__(self, tables: _Tables) -> None:
        self._contexts, self._orders, self._becomes = map(_Paged, (tables.contexts, tables.orders, tables.becomes))
        self._sequences = tf.constant(tables.sequences)

    def __call__(self, codes: Any, rows: Any) -> tuple[Any, Any]:
        contexts = self._contexts.at(codes)
        codes, rows, contexts = _kept(contexts != _GONE, codes, rows, contexts)
        codes = tf.where(_are_final_sigmas(codes, contexts), _FINAL_SIGMA, codes)
        sequences = tf.gather(self._sequences, self._becomes.at(codes))
        sequences = tf.where(sequences == _ITSELF, codes[:, None], sequences)
        are_there = sequences != _NOTHING
        codes, rows = tf.boolean_mask(sequences, are_there), tf.repeat(rows, tf.math.count_nonzero(are_there, 1))
        # The canonical order: marks in a row are sorted by their class, and nothing moves past what is no mark.
        orders = self._orders.at(codes)
        runs = tf.cumsum(tf.cast(orders == 0, tf.int64))
        order = tf.argsort(runs * _ORDERS + tf.cast(orders, tf.int64), stable=True)
        return tf.gather(codes, order), rows


def _are_final_sigmas(codes: Any, contexts: Any) -> Any:
    """Where a capital sigma has a cased letter before it and none behind, nearest of what is not looked past."""
    seen = contexts != _LOOKED_PAST
    cased = tf.concat([[False], tf.boolean_mask(contexts == _CASED, seen), [False]], 0)
    # A sigma is itself seen: here is its number, from 1, and its neighbours' are one less and one more.
    numbers = tf.clip_by_value(tf.cumsum(tf.cast(seen, tf.int32)), 1, tf.size(cased) - 2)
    return (codes == _CAPITAL_SIGMA) & tf.gather(cased, numbers - 1) & ~tf.gather(cased, numbers + 1)


def _kept(mask: Any, *tensors: Any) -> list[Any]:
    return [tf.boolean_mask(tensor, mask) for tensor in tensors]


class _Paged:
    """A number for each code point, in little room: of pages that are the same there is one."""

    def __init__(self, table: NDArray[np.int32]) -> None:
        pages, numbers = np.unique(table.reshape(-1, _PAGE), axis=0, return_inverse=True)
        self._values = tf.constant(pages.reshape(-1))
        self._starts = tf.constant(numbers.reshape(-1) * _PAGE, tf.int32)

    def at(self, codes: Any) -> Any:
        return tf.gather(self._values, tf.gather(self._starts, codes // _PAGE) + codes % _PAGE)


@dataclass(frozen=True)
class _Tables:
    """What is known of characters.

    Attributes:
        kinds: by code point, what it is to words.
        contexts: what it is to a capital sigma.
        becomes: which of `sequences` it becomes, lowered and decomposed.
        orders: its canonical combining class; 0 for what is no mark.
        sequences: rows of code points with `_NOTHING` behind them, and one of `_ITSELF`.
    """

    kinds: NDArray[np.int32]
    contexts: NDArray[np.int32]
    becomes: NDArray[np.int32]
    orders: NDArray[np.int32]
    sequences: NDArray[np.int32]


@functools.cache
def _tables(lower_case: bool) -> _Tables:
    """Ask about every character; takes a few seconds."""
    # Halves of surrogate pairs are not in UTF-8; any other character may stand for them.
    characters = [chr(code) if code not in _SURROGATES else " " for code in range(_CODES)]
    becomes: dict[str, int] = {}
    numbers = [becomes.setdefault(_lowered(character), len(becomes)) for character in characters]
    return _Tables(
        kinds=_table(_kind(character, lower_case) for character in characters),
        contexts=_table(map(_context, characters)),
        becomes=_table(numbers),
        orders=_table(map(unicodedata.combining, characters)),
        sequences=np.array(
            list(zip(*zip_longest(*map(_codes, becomes), fillvalue=_NOTHING), strict=True)), dtype=np.int32
        ),
    )


def _table(numbers: Iterable[int]) -> NDArray[np.int32]:
    return np.fromiter(numbers, np.int32, _CODES)


def _lowered(character: str) -> str:
    """What a character becomes; nothing for itself."""
    lowered = unicodedata.normalize("NFD", character.lower())
    return "" if lowered == character else lowered


def _codes(sequence: str) -> Sequence[int]:
    return [ord(character) for character in sequence] or [_ITSELF]


def _kind(character: str, lower_case: bool) -> int:
    cleaned = CLEAN.translate(character)
    if not cleaned or (lower_case and not UNACCENT.translate(character)):
        return _DROPPED
    if cleaned.isspace():
        return _SPACE
    return _LETTER if cleaned == SPLIT_PUNCTUATION.translate(character) else _ALONE


def _context(character: str) -> int:
    if not CLEAN.translate(character):
        return _GONE
    if (character + "Σ").lower().endswith("ς"):
        return _CASED
    return _LOOKED_PAST if ("A" + character + "Σ").lower().endswith("ς") else _OTHER


# -- pieces ----------------------------------------------------------------------------------------------------------


class _Trie:
    """The beginnings of all word pieces, as a tree.

    Node 0 is the empty beginning. The others are numbered so that edges, each the number of a node and a letter, are
    sorted: then the n-th edge leads to node n, and to follow an edge is to look for it.
    """

    def __init__(self, pieces: Sequence[str]) -> None:
        nodes = {"": 0}
        edges: list[int] = []
        for length in range(1, max(map(len, pieces)) + 1):
            beginnings = {piece[:length] for piece in pieces if len(piece) >= length}
            for edge, beginning in sorted((_edge(nodes[text[:-1]], ord(text[-1])), text) for text in beginnings):
                edges.append(edge)
                nodes[beginning] = len(edges)
        ids = np.full(len(nodes), _NOTHING, np.int32)
        for number, piece in enumerate(pieces):
            ids[nodes[piece]] = number
        # The last one is never found, and stands where it is looked for what is behind all others.
        self._edges = tf.constant([*edges, np.iinfo(np.int64).max], tf.int64)
        self._ids = tf.constant(ids)
        self._goes_on = nodes.get("##", _NOTHING)

    def longest(self, letters: Any, places: Any, ends: Any, *, goes_on: Any) -> tuple[Any, Any]:
        """The longest pieces with which texts begin.

        Args:
            letters: (letters,) int32, code points.
            places: (texts,) int32, where in them each text begins.
            ends: likewise, where it ends; a text may be empty.
            goes_on: whether they are rests of words, whose pieces begin with "##".

        Returns:
            The ids of the pieces, `_NOTHING` where there is none, and how many letters they take: both (texts,) int32.
        """

        def is_underway(_: Any, nodes: Any, *__: Any) -> Any:
            return tf.reduce_any(nodes != _NOTHING)

        def walk(depth: Any, nodes: Any, pieces: Any, lengths: Any) -> tuple[Any, ...]:
            underway = (nodes != _NOTHING) & (places + depth < ends)
            letter = tf.gather(letters, tf.where(underway, places + depth, 0))
            edges = _edge(tf.cast(nodes, tf.int64), tf.cast(letter, tf.int64))
            found = tf.searchsorted(self._edges, edges)
            nodes = tf.where(underway & (tf.gather(self._edges, found) == edges), found + 1, _NOTHING)
            ids = tf.where(nodes == _NOTHING, _NOTHING, tf.gather(self._ids, tf.maximum(nodes, 0)))
            return (
                depth + 1,
                nodes,
                tf.where(ids == _NOTHING, pieces, ids),
                tf.where(ids == _NOTHING, lengths, depth + 1),
            )

        nodes = tf.where(places < ends, tf.where(goes_on, self._goes_on, 0), _NOTHING)
        state = (0, nodes, tf.fill(tf.shape(places), _NOTHING), tf.zeros_like(places))
        _, _, pieces, lengths = tf.while_loop(is_underway, walk, state)
        return pieces, lengths


def _edge(node: Any, letter: Any) -> Any:
    return node * (1 << _CODE_BITS) + letter
