"""Rows to pre-train BERT on, as TFRecord files: pairs of segments, some of their word pieces hidden.

Devlin et al. 2018, BERT, 3.1 and A.2. A row is a few neighbouring sentences of a document, the first ones BERT's first
segment, the others its second. For next sentence prediction, some rows have their second segment from another
document. A row has `input_ids` (with pieces hidden) and `segment_ids`, as long as the text is; `masked_lm_positions`
and `masked_lm_ids`, where pieces are hidden and what they are; and `next_sentence_labels`, 1 where the second segment
is from elsewhere, absent where that is not to be told. These are Google's names for them.

Rules this module keeps:
- What is written follows from text, vocabulary, settings and seed, not from the number of workers.
- Writing streams. Documents are taken in pieces of about a quarter of a million characters; other documents, for second
  segments from elsewhere, are those of the same piece.
- Rows of a document, those of its duplicates included, are scattered over all shards, so that a shard, which fits in
  memory, looks like the whole.
- Documents that are held out meet no others: not even as second segments.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagedml.errors import UsageError
from stagedml.ml.documents import read_documents
from stagedml.ml.processes import map_in_order
from stagedml.ml.progress import Progress, silent
from stagedml.ml.ragged import Ragged
from stagedml.ml.tfrecord import DamagedRecords, Row, frames_of, read_columns
from stagedml.ml.tokenizers import SPECIAL_TOKENS, BertTokenizer

TRAIN, VALID = "train", "valid"

_PIECE_CHARACTERS = 1 << 18
_PIECES_WORTH_A_PROCESS = 1
# Of text, duplicates counted: in memory, a shard takes about twice as much.
_SHARD_BYTES = 1 << 27

_SEGMENTS = {"input_ids": np.int32, "segment_ids": np.int8}
_HIDDEN = {"masked_lm_positions": np.int32, "masked_lm_ids": np.int32}
_NEXT = "next_sentence_labels"


class TooFewDocuments(UsageError):
    """A text has no document to train on, or none to measure with."""

    def __init__(self, corpus: str, documents: int, held_out_every: int) -> None:
        super().__init__(corpus, documents, held_out_every)
        self.corpus, self.documents, self.held_out_every = corpus, documents, held_out_every

    def __str__(self) -> str:
        return (
            f"{self.corpus}: {self.documents} documents, of which the first of every {self.held_out_every} is held "
            "out, leave none to train on; write a sentence a line and an empty line between documents, and 2 at least"
        )


@dataclass(frozen=True)
class RowSettings:
    """What rows are made of a text.

    Attributes:
        max_length: word pieces a row at most, special tokens included.
        row_sentences: sentences a row at most, of both segments; None for as many as fit.
        short_share: the share of rows that are made shorter than they could be, by any amount. BERT's is 0.1.
        random_next_share: the share of rows whose second segment is from another document, in [0, 1); 0 leaves next
            sentence prediction out. BERT's is 0.5.
        mask_share: the share of word pieces to predict, in (0, 1).
        mask_token_share, random_token_share: of those, the shares that become [MASK] and a random word piece; the rest
            stays. BERT's are 0.8 and 0.1. With more random ones and more that stay, a model learns sooner to compare
            what it sees in one place with what it sees in another.
        whole_words: hide all pieces of a word or none.
        dupe_factor: how often the documents to train on are gone through; each time rows are cut, and pieces hidden,
            in another way.
        held_out_every: the first of so many documents is not trained on, but measured with.
    """

    max_length: int = 128
    row_sentences: int | None = None
    short_share: float = 0.1
    random_next_share: float = 0.5
    mask_share: float = 0.15
    mask_token_share: float = 0.8
    random_token_share: float = 0.1
    whole_words: bool = False
    dupe_factor: int = 10
    held_out_every: int = 20

    def __post_init__(self) -> None:
        problems = []
        if not 0 < self.mask_share < 1:
            problems.append(f"mask_share is {self.mask_share}, outside (0, 1)")
        fates = (self.mask_token_share, self.random_token_share)
        if min(fates) < 0 or sum(fates) > 1:
            problems.append(f"mask_token_share and random_token_share are {fates}: below 0, or above 1 together")
        for name, share in (("random_next_share", self.random_next_share), ("short_share", self.short_share)):
            if not 0 <= share < 1:
                problems.append(f"{name} is {share}, outside [0, 1)")
        lowest = {"max_length": 5, "dupe_factor": 1, "held_out_every": 2, "row_sentences": 1}
        for name, least in lowest.items():
            value = getattr(self, name)
            if value is not None and value < least:
                problems.append(f"{name} is {value}, below {least}")
        if problems:
            raise UsageError("settings of the rows to pre-train on: " + "; ".join(problems))


@dataclass(frozen=True)
class WrittenRows:
    """What was written.

    Attributes:
        documents: how many there are, by split.
        train: rows, by shard.
        valid: rows.
    """

    documents: Mapping[str, int]
    train: tuple[int, ...]
    valid: int


def write_pretrain_records(
    corpus: Path,
    train: Path,
    valid: Path,
    tokenizer: BertTokenizer,
    settings: RowSettings,
    *,
    seed: int,
    workers: int = 1,
    progress: Progress = silent,
) -> WrittenRows:
    """Make rows of a text.

    Args:
        corpus: text, UTF-8: a sentence a line, an empty line between documents.
        train: a folder to make, for the shards: `shard_path(train, 0)` and so on.
        valid: the file of the rows of held-out documents, each of which is gone through once.
        tokenizer: of the model that is to learn from them.
        settings: what the rows are.
        seed: of all chance.
        workers: processes; no part of the result.
        progress: told now and then.

    Raises:
        TooFewDocuments: there is nothing to train on, or nothing to measure with.
    """
    train.mkdir()
    shards = -(-corpus.stat().st_size * settings.dupe_factor // _SHARD_BYTES) or 1
    paths = {TRAIN: [shard_path(train, number) for number in range(shards)], VALID: [valid]}
    rows = {split: [0] * len(files) for split, files in paths.items()}
    documents = {TRAIN: 0, VALID: 0}
    encode = functools.partial(
        _encode, tokenizer, settings, {split: len(files) for split, files in paths.items()}, seed
    )
    for path in chain.from_iterable(paths.values()):
        path.touch()
    pieces = _pieces(corpus, settings.held_out_every)
    with closing(map_in_order(encode, pieces, workers, worth=_PIECES_WORTH_A_PROCESS)) as encoded:
        for part in encoded:
            documents[part.split] += part.documents
            for number, (count, frames) in enumerate(part.shards):
                rows[part.split][number] += count
                with paths[part.split][number].open("ab") as file:
                    file.write(frames)
            progress("hide words", sum(documents.values()), None, "documents")
    if not all(map(sum, rows.values())):
        raise TooFewDocuments(str(corpus), sum(documents.values()), settings.held_out_every)
    return WrittenRows(documents, tuple(rows[TRAIN]), rows[VALID][0])


def shard_path(folder: Path, number: int) -> Path:
    """Where the rows of a shard are."""
    return folder / f"{number:05}.tfrecord"


def read_pretrain_columns(path: Path) -> dict[str, Ragged]:
    """The columns of a file of rows, in memory.

    Returns:
        `input_ids` int32 and `segment_ids` int8, a row as long as its text; `masked_lm_positions` and `masked_lm_ids`,
        int32; and `next_sentence_labels`, of one int32 a row, where that is to be told.

    Raises:
        DamagedRecords: the file is damaged, or lacks a column.
    """
    kinds: dict[str, Any] = {**_SEGMENTS, **_HIDDEN, _NEXT: np.int32}
    parts: dict[str, list[Ragged]] = {}
    for columns in read_columns(path):
        for name, column in columns.items():
            if name in kinds:
                parts.setdefault(name, []).append(Ragged(column.values.astype(kinds[name]), column.offsets))
    if missing := sorted({*_SEGMENTS, *_HIDDEN} - parts.keys()):
        raise DamagedRecords(str(path), 0, f"the rows have no {', '.join(missing)}")
    return {name: Ragged.joined(column, kinds[name]) for name, column in parts.items()}


# -- pieces of a text ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Piece:
    """Some documents of one split, and the number of this piece among those of its split."""

    split: str
    number: int
    documents: list[list[str]]


@dataclass(frozen=True)
class _Encoded:
    """What became of a piece: for each shard, how many rows, and what its file gets."""

    split: str
    documents: int
    shards: list[tuple[int, bytes]]


def _pieces(corpus: Path, held_out_every: int) -> Iterator[_Piece]:
    waiting: dict[str, list[list[str]]] = {TRAIN: [], VALID: []}
    characters, pieces = dict.fromkeys(waiting, 0), dict.fromkeys(waiting, 0)
    for number, document in enumerate(read_documents(corpus)):
        split = TRAIN if number % held_out_every else VALID
        waiting[split].append(document)
        characters[split] += sum(map(len, document))
        if characters[split] >= _PIECE_CHARACTERS and len(waiting[split]) > 1:
            yield _Piece(split, pieces[split], waiting[split])
            waiting[split], characters[split] = [], 0
            pieces[split] += 1
    for split, documents in waiting.items():
        if documents:
            yield _Piece(split, pieces[split], documents)


def _encode(
    tokenizer: BertTokenizer, settings: RowSettings, shards: Mapping[str, int], seed: int, piece: _Piece
) -> _Encoded:
    """The rows of a piece, each in a shard of its own choice."""
    sentences = ([ids for ids in tokenizer.batch_ids(document) if ids] for document in piece.documents)
    documents = [document for document in sentences if document]
    masking = Masking(tokenizer, settings)
    rows: list[list[Row]] = [[] for _ in range(shards[piece.split])]
    for duplicate in range(settings.dupe_factor if piece.split == TRAIN else 1):
        generator = np.random.default_rng((seed, (TRAIN, VALID).index(piece.split), piece.number, duplicate))
        for number in range(len(documents)):
            for pair in _pairs(documents, number, settings, generator):
                encoded = tokenizer.encode(pair.first, pair.second or None, pair.length)
                seen, positions, hidden = masking.hide(encoded.input_ids, generator)
                shard = rows[int(generator.random() * len(rows))]
                if len(positions):
                    row: dict[str, Sequence[int]] = {"input_ids": seen.tolist(), "segment_ids": encoded.segment_ids}
                    row |= {"masked_lm_positions": positions.tolist(), "masked_lm_ids": hidden.tolist()}
                    shard.append(row if pair.random_next is None else {**row, _NEXT: (int(pair.random_next),)})
    return _Encoded(piece.split, len(documents), [(len(some), frames_of(some) if some else b"") for some in rows])


# -- rows of documents -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pair:
    """Two segments, token ids: the row's length at most, and whether the second is from elsewhere, if that is asked."""

    first: list[int]
    second: list[int]
    length: int
    random_next: bool | None


def _pairs(
    documents: Sequence[Sequence[list[int]]], number: int, settings: RowSettings, generator: np.random.Generator
) -> Iterator[_Pair]:
    """The pairs of one of the documents, each a list of sentences, each a list of ids; no sentence is left out."""
    rest = documents[number]
    most = settings.max_length - 3  # [CLS] and two [SEP]
    sentences = settings.row_sentences or max(map(len, documents))
    predicts = settings.random_next_share > 0 and len(documents) > 1
    while rest:
        target = most
        if generator.random() < settings.short_share:
            target = 2 + int(generator.random() * (most - 1))
        chunk = _filled(rest, target, sentences)
        half = 1 + int(generator.random() * (len(chunk) - 1)) if len(chunk) > 1 else 1
        first, second = list(chain.from_iterable(chunk[:half])), chunk[half:]
        random_next = predicts and (not second or generator.random() < settings.random_next_share)
        rest = rest[half if random_next else len(chunk) :]
        if random_next:
            other = documents[(number + 1 + int(generator.random() * (len(documents) - 1))) % len(documents)]
            start = int(generator.random() * len(other))
            second = _filled(other[start:], max(target - len(first), 1), max(sentences - half, 1))
        told = random_next if settings.random_next_share > 0 else None
        yield _Pair(first, list(chain.from_iterable(second)), target + 3, told)


def _filled(sentences: Sequence[list[int]], target: int, most: int) -> Sequence[list[int]]:
    """The first sentences: as many as it takes to reach a number of word pieces, but at least one, and not too many."""
    length = 0
    for count, sentence in enumerate(sentences[:most], 1):
        length += len(sentence)
        if length >= target:
            return sentences[:count]
    return sentences[:most]


class Masking:
    """Which word pieces are hidden, and behind what."""

    def __init__(self, tokenizer: BertTokenizer, settings: RowSettings) -> None:
        """Of each row's word pieces, at least one is to be predicted."""
        self._share = settings.mask_share
        self._mask_below = settings.mask_token_share
        self._random_below = settings.mask_token_share + settings.random_token_share
        self._mask = tokenizer.id_of("[MASK]")
        self._is_special = np.array([piece in SPECIAL_TOKENS for piece in tokenizer.pieces])
        self._plain = np.flatnonzero(~self._is_special)
        self._begins_word = np.array(
            [not (settings.whole_words and piece.startswith("##")) for piece in tokenizer.pieces]
        )

    def hide(
        self, ids: Sequence[int], generator: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Hide word pieces of a row.

        A chosen piece becomes [MASK], a random one or stays, by the settings' shares (Devlin et al. 2018, 3.1). Of
        whole words, one that would be more than there is to hide is passed over for the next, but for the first.

        Args:
            ids: of the row, special tokens included.
            generator: the only source of randomness.

        Returns:
            The ids with some hidden; where, in order; and what was there. Special tokens are never hidden: of a row
            that has no others, nothing is.
        """
        row = np.array(ids, dtype=np.int64)
        plain = np.flatnonzero(~self._is_special[row])
        word_of = np.cumsum(self._begins_word[row[plain]])
        word_of -= word_of[:1]
        sizes = np.bincount(word_of)
        left = max(1, round(len(plain) * self._share))
        is_chosen = np.zeros(len(sizes), dtype=bool)
        for number, word in enumerate(np.argsort(generator.random(len(sizes)), kind="stable").tolist()):
            if sizes[word] <= left or number == 0:
                is_chosen[word] = True
                left -= sizes[word]
                if left <= 0:
                    break
        positions = plain[is_chosen[word_of]]
        true = row[positions]
        fate = generator.random(len(positions))
        others = self._plain[(generator.random(len(positions)) * len(self._plain)).astype(np.int64)]
        row[positions] = np.where(
            fate < self._mask_below, self._mask, np.where(fate < self._random_below, others, true)
        )
        return row, positions, true
