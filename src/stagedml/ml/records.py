"""Tokenized examples, as TFRecord files.

A row has `index` (the example's number in its source), `input_ids` and `segment_ids` (as long as the text is: padding
is the batch's affair) and `label`, the number of a class or a score, absent where the example has none.

Rules this module keeps:
- A file's bytes follow from examples, vocabulary and `max_length`, not from the number of workers.
- Writing streams: a few pieces of the source are in memory, however many there are.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from stagedml.ml.processes import map_in_order
from stagedml.ml.progress import Progress, silent
from stagedml.ml.ragged import Ragged
from stagedml.ml.tfrecord import DamagedRecords, Row, frames_of, read_columns
from stagedml.ml.tokenizers import BertTokenizer

_CHUNK = 512
# A process takes a quarter of a second to start; so many pieces, of about a thousand rows, are worth it.
_PIECES_WORTH_A_PROCESS = 4

Columns: TypeAlias = Mapping[str, type[np.signedinteger[Any]]]
"""The types of columns of integers, by their names."""

#: The columns that BERT reads.
TOKENS: Columns = {"input_ids": np.int32, "segment_ids": np.int8}

_Piece = TypeVar("_Piece")


@dataclass(frozen=True, slots=True)
class TextExample:
    """A text or a pair of texts.

    Attributes:
        index: its number in the source, from 0.
        first: the text, or the first of two.
        second: the second; None for single texts.
        label: the number of its class, or its score; None if unknown.
    """

    index: int
    first: str
    second: str | None
    label: int | float | None


@dataclass(frozen=True)
class EncodedExamples:
    """A file of tokenized examples, in memory.

    Attributes:
        index: (rows,) int64.
        input_ids: int32, a row as long as its text.
        segment_ids: int8, likewise.
        label: (rows,) int64 numbers of classes or float32 scores; None where the examples have none.
    """

    index: NDArray[np.int64]
    input_ids: Ragged
    segment_ids: Ragged
    label: NDArray[Any] | None

    def __len__(self) -> int:
        return len(self.index)

    @property
    def labels(self) -> NDArray[Any]:
        """`label`, for those who cannot do without.

        Raises:
            ValueError: the examples have none.
        """
        if self.label is None:
            raise ValueError("these examples have no labels")
        return self.label


class Piece(Protocol):
    """A part of a source, small enough to be in memory."""

    def read(self) -> tuple[Sequence[TextExample], Sequence[Any]]:
        """Its examples, and what there is to remark about others."""


@dataclass(frozen=True)
class Encoded:
    """A piece of a source, tokenized.

    Attributes:
        rows: how many there are.
        frames: as a TFRecord file holds them.
        remarks: what there was to remark about the piece.
    """

    rows: int
    frames: bytes
    remarks: Sequence[Any]


def write_examples(
    path: Path,
    examples: Iterable[TextExample],
    tokenizer: BertTokenizer,
    *,
    max_length: int,
    workers: int = 1,
    total: int | None = None,
    progress: Progress = silent,
) -> int:
    """Tokenize examples into a TFRecord file.

    Args:
        path: the file; replaced if it exists.
        examples: in the order in which they are written.
        tokenizer: of the model that will read them.
        max_length: word pieces a row at most, special tokens included.
        workers: processes that tokenize; no part of the result.
        total: how many examples there are, if known, for `progress`.
        progress: told now and then.

    Returns:
        The number of rows.
    """
    rows = 0
    encode = functools.partial(encode_texts, tokenizer, max_length)
    pieces = encode_pieces(_chunks(examples), encode, workers=workers)
    with path.open("wb") as file, closing(pieces):
        for _, encoded in pieces:
            file.write(encoded.frames)
            rows += encoded.rows
            progress(f"tokenize {path.stem}", rows, total, "rows")
    return rows


def encode_pieces(
    pieces: Iterator[_Piece], encode: Callable[[_Piece], Encoded], *, workers: int
) -> Generator[tuple[_Piece, Encoded], None, None]:
    """Tokenize the pieces of a source, in processes of their own where there are enough of them.

    Args:
        pieces: of the source, in order; can be pickled.
        encode: what to do with each: a function of a module, or a partial of one; what it is given can be pickled.
        workers: processes that tokenize; no part of the result.

    Returns:
        Each piece, and what became of it.
    """
    under_way: deque[_Piece] = deque()

    def noted() -> Iterator[_Piece]:
        for piece in pieces:
            under_way.append(piece)
            yield piece

    with closing(map_in_order(encode, noted(), workers, worth=_PIECES_WORTH_A_PROCESS)) as results:
        for encoded in results:
            yield under_way.popleft(), encoded


def encode_texts(tokenizer: BertTokenizer, max_length: int, piece: Piece) -> Encoded:
    """Read and tokenize a piece of texts and pairs of texts; as of `write_examples`."""
    examples, remarks = piece.read()
    return Encoded(len(examples), frames_of(encode_examples(examples, tokenizer, max_length)), remarks)


def encode_examples(examples: Sequence[TextExample], tokenizer: BertTokenizer, max_length: int) -> list[Row]:
    """The rows of some examples."""
    rows: list[Row] = []
    for example in examples:
        second = None if example.second is None else tokenizer.ids(example.second)
        encoded = tokenizer.encode(tokenizer.ids(example.first), second, max_length)
        row: dict[str, Sequence[int] | Sequence[float]] = {
            "index": (example.index,),
            "input_ids": encoded.input_ids,
            "segment_ids": encoded.segment_ids,
        }
        if example.label is not None:
            row["label"] = (example.label,)
        rows.append(row)
    return rows


def read_examples(path: Path) -> EncodedExamples:
    """Read a file of examples, which have labels either all or none.

    Raises:
        DamagedRecords: the file is damaged, or a row lacks a feature.
    """
    columns = read_table(path, TOKENS, {"index": np.int64}, {"label"})
    label = columns["label"].values if "label" in columns else None
    return EncodedExamples(columns["index"].values, columns["input_ids"], columns["segment_ids"], label)


def read_table(path: Path, ragged: Columns, single: Columns, optional: Set[str] = frozenset()) -> dict[str, Ragged]:
    """Read columns of a TFRecord file, each in as many bits as it needs.

    Args:
        path: of the file.
        ragged: the types of columns with one row of integers a row; `TOKENS` among them.
        single: the types of columns with one integer a row.
        optional: columns with one number a row, of int64 or of float32, which either all rows have or none.

    Raises:
        DamagedRecords: the file is damaged, or a row lacks a feature.
    """
    kinds = {**ragged, **single}
    parts = [_checked(path, columns, kinds, {*single, *optional}) for columns in read_columns(path)]
    table = {name: Ragged.joined([part.pop(name) for part in parts], kind) for name, kind in kinds.items()}
    for name in sorted(optional):
        if len({name in part for part in parts}) > 1:
            raise DamagedRecords(str(path), 0, f"some rows have a {name} and some have not")
        if parts and name in parts[0]:
            table[name] = Ragged.joined([part[name] for part in parts], parts[0][name].values.dtype)
    return table


def _checked(path: Path, columns: dict[str, Ragged], kinds: Columns, single: Set[str]) -> dict[str, Ragged]:
    """The columns of a part of a file, each of its own type."""
    if missing := sorted(set(kinds) - set(columns)):
        raise DamagedRecords(str(path), 0, f"the rows have no {', '.join(missing)}")
    for name in sorted(single & set(columns)):
        if np.any(columns[name].lengths != 1):
            raise DamagedRecords(str(path), 0, f"a row has not one {name}")
    if not np.array_equal(columns["input_ids"].offsets, columns["segment_ids"].offsets):
        raise DamagedRecords(str(path), 0, "a row has not as many segment_ids as input_ids")
    for name, kind in kinds.items():
        column = columns[name]
        if column.values.max(initial=0) > np.iinfo(kind).max:
            raise DamagedRecords(str(path), 0, f"there are {name} above {np.iinfo(kind).max}")
        columns[name] = Ragged(column.values.astype(kind), column.offsets)
    return columns


@dataclass(frozen=True)
class _Chunk:
    """A piece that was read before."""

    examples: list[TextExample]

    def read(self) -> tuple[list[TextExample], tuple[()]]:
        return self.examples, ()


def _chunks(examples: Iterable[TextExample]) -> Iterator[_Chunk]:
    remaining = iter(examples)
    while some := list(islice(remaining, _CHUNK)):
        yield _Chunk(some)
