"""Tokenized examples for sequence classification, as TFRecord files.

A row has `index` (the example's number in its source), `input_ids` and `segment_ids` (as long as the text is: padding
is the batch's affair) and `label`, absent where the example has none.

Rules this module keeps:
- A file's bytes follow from examples, vocabulary and `max_length`, not from the number of workers.
- Writing streams: a few chunks of examples are in memory, however many there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stagedml.ml.progress import Progress, silent
from stagedml.ml.tfrecord import DamagedRecords, Row, read_records, write_records
from stagedml.ml.tokenizers import BertTokenizer

_CHUNK = 512


@dataclass(frozen=True)
class TextExample:
    """A text or a pair of texts to be classified.

    Attributes:
        index: its number in the source, from 0.
        first: the text, or the first of two.
        second: the second; None for single texts.
        label: the number of its class; None if unknown.
    """

    index: int
    first: str
    second: str | None
    label: int | None


@dataclass(frozen=True)
class EncodedExamples:
    """A file of tokenized examples, in memory.

    Attributes:
        index: (rows,) int64.
        input_ids: one int64 array a row, of the row's own length.
        segment_ids: likewise.
        label: (rows,) int64.
    """

    index: NDArray[np.int64]
    input_ids: tuple[NDArray[np.int64], ...]
    segment_ids: tuple[NDArray[np.int64], ...]
    label: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.input_ids)


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
        workers: threads that tokenize; no part of the result.
        total: how many examples there are, if known, for `progress`.
        progress: told after each chunk.

    Returns:
        The number of rows.
    """

    def encode(chunk: Sequence[TextExample]) -> list[Row]:
        return encode_chunk(chunk, tokenizer, max_length)

    def rows() -> Iterator[Row]:
        done = 0
        for encoded in _map_in_order(encode, _chunks(examples), workers):
            yield from encoded
            done += len(encoded)
            progress(f"tokenize {path.stem}", done, total, "rows")

    return write_records(path, rows())


def encode_chunk(examples: Sequence[TextExample], tokenizer: BertTokenizer, max_length: int) -> list[Row]:
    """The rows of some examples."""
    first = tokenizer.batch_ids([example.first for example in examples])
    second = iter(tokenizer.batch_ids([example.second for example in examples if example.second is not None]))
    rows: list[Row] = []
    for example, first_ids in zip(examples, first, strict=True):
        encoded = tokenizer.encode(first_ids, None if example.second is None else next(second), max_length)
        row: dict[str, Sequence[int]] = {
            "index": (example.index,),
            "input_ids": encoded.input_ids,
            "segment_ids": encoded.segment_ids,
        }
        if example.label is not None:
            row["label"] = (example.label,)
        rows.append(row)
    return rows


def read_examples(path: Path) -> EncodedExamples:
    """Read a file of labelled examples.

    Raises:
        DamagedRecords: the file is damaged, or a row lacks a feature.
    """
    rows = list(read_records(path))
    for number, row in enumerate(rows):
        if missing := {"index", "input_ids", "segment_ids", "label"} - set(row):
            raise DamagedRecords(str(path), 0, f"row {number} has no {', '.join(sorted(missing))}")
    return EncodedExamples(
        index=np.array([row["index"][0] for row in rows], dtype=np.int64),
        input_ids=tuple(row["input_ids"] for row in rows),
        segment_ids=tuple(row["segment_ids"] for row in rows),
        label=np.array([row["label"][0] for row in rows], dtype=np.int64),
    )


def _chunks(examples: Iterable[TextExample]) -> Iterator[list[TextExample]]:
    remaining = iter(examples)
    while chunk := list(islice(remaining, _CHUNK)):
        yield chunk


def _map_in_order(
    function: Callable[[list[TextExample]], list[Row]], chunks: Iterator[list[TextExample]], workers: int
) -> Iterator[list[Row]]:
    """Map in threads, results in order, with two chunks a worker under way at most."""
    if workers <= 1:
        yield from map(function, chunks)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="tokenize") as pool:
        pending: deque[Future[list[Row]]] = deque(pool.submit(function, chunk) for chunk in islice(chunks, 2 * workers))
        while pending:
            yield pending.popleft().result()
            pending.extend(pool.submit(function, chunk) for chunk in islice(chunks, 1))
