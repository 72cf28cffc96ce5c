"""Batches of rows of similar length.

A batch is as long as its longest row needs, rounded up to one of a few lengths, instead of as long as the longest row
there may be: on short texts that saves more than half of the work.

Rules this module keeps:
- The batches of an epoch, their rows and their order are a pure function of (data, batch size, seed, epoch).
- An epoch has each row exactly once. All batches are full, except for one (of each shard, where there are shards).
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Sized
from itertools import islice
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from stagedml.errors import UsageError

Batch = Mapping[str, NDArray[Any]]
"""Named arrays; the first dimension of each is the batch's rows."""

LENGTH_STEP = 8

_T = TypeVar("_T")


class Batches(Protocol):
    """The rows of a data set, cut into batches anew for every epoch."""

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch (from 0): the same ones whenever they are asked for."""


def grouped(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """So many batches at a time, in order; the last group may be smaller."""
    remaining = iter(batches)
    while group := list(islice(remaining, size)):
        yield group


def ahead(items: Iterator[_T], count: int = 2) -> Generator[_T, None, None]:
    """The same items in the same order, made in a thread of their own, up to `count` of them before they are asked for.

    What making them raises is raised where the item would have been. Close the iterator to end the thread.
    """
    made: queue.Queue[tuple[_T | None, BaseException | None]] = queue.Queue(count)
    ended = threading.Event()

    def give(item: _T | None, error: BaseException | None = None) -> None:
        while not ended.is_set():
            with contextlib.suppress(queue.Full):
                made.put((item, error), timeout=0.1)
                return

    def make() -> None:
        try:
            for item in items:
                give(item)
                if ended.is_set():
                    return
            give(None)
        except BaseException as error:
            give(None, error)

    thread = threading.Thread(target=make, name="batches", daemon=True)
    thread.start()
    try:
        while True:
            item, error = made.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        ended.set()
        thread.join()


def epoch_generator(seed: int, epoch: int) -> np.random.Generator:
    """The generator from which all chance in the order of an epoch's data comes."""
    return np.random.default_rng((seed, epoch))


class LengthBatches:
    """Shuffled batches of rows of similar length, for training.

    Each epoch: shuffle the rows, sort them by rounded length (which keeps the shuffled order within a length), cut them
    into batches, and shuffle the batches.
    """

    def __init__(
        self,
        ragged: Mapping[str, Sequence[NDArray[Any]]],
        scalars: Mapping[str, NDArray[Any]],
        *,
        batch_size: int,
        seed: int,
        batch_tokens: int | None = None,
        length_step: int = LENGTH_STEP,
    ) -> None:
        """Hold rows in memory.

        Args:
            ragged: columns with one array a row, padded with 0. A row is as long as the longest of its arrays; of a
                batch, each column is as long as the longest of its own.
            scalars: columns with one number a row, (rows,).
            batch_size: rows a batch.
            seed: of the order.
            batch_tokens: a batch has fewer rows where more would make it larger than so many entries of a ragged
                column, padding counted. Each length then has batches of one size, but for the shortest one.
            length_step: batches are padded to a multiple of it; a large one pads all to one length.
        """
        self._rows = _Rows(ragged, scalars, length_step)
        self._seed = seed
        self._cuts = _cuts(np.sort(self._rows.padded_lengths), batch_size, batch_tokens)

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return len(self._cuts)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch (from 0)."""
        generator = epoch_generator(self._seed, number)
        order = generator.permutation(len(self._rows))
        order = order[np.argsort(self._rows.padded_lengths[order], kind="stable")]
        for place in generator.permutation(len(self._cuts)):
            start, end = self._cuts[place]
            yield self._rows.batch(order[start:end])


def _cuts(lengths: NDArray[np.int64], batch_size: int, batch_tokens: int | None) -> list[tuple[int, int]]:
    """Where rows, sorted by length, are cut into batches."""
    if batch_tokens is None:
        return [(start, start + batch_size) for start in range(0, len(lengths), batch_size)]
    cuts = []
    end = len(lengths)
    while end:
        size = min(batch_size, max(1, batch_tokens // int(lengths[end - 1])))
        cuts.append((max(end - size, 0), end))
        end -= min(size, end)
    return cuts


class ShuffledBatches:
    """Shuffled batches of rows of one size, for training."""

    def __init__(self, columns: Mapping[str, NDArray[Any]], *, batch_size: int, seed: int) -> None:
        """Hold rows in memory.

        Args:
            columns: the first dimension of each is the rows.
            batch_size: rows a batch.
            seed: of the order.

        Raises:
            UsageError: a batch is to have no rows.
        """
        if batch_size < 1:
            raise UsageError(f"batch_size is {batch_size}, below 1")
        self._columns = columns
        self._size = len(next(iter(columns.values())))
        if any(len(column) != self._size for column in columns.values()):
            raise ValueError(f"the columns {', '.join(columns)} differ in their numbers of rows")
        if not self._size:
            raise ValueError("there are no rows to make batches of")
        self._batch_size = batch_size
        self._seed = seed

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return -(-self._size // self._batch_size)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch (from 0)."""
        order = epoch_generator(self._seed, number).permutation(self._size)
        for start in range(0, self._size, self._batch_size):
            rows = order[start : start + self._batch_size]
            yield {name: column[rows] for name, column in self._columns.items()}


class SortedBatches:
    """All rows once, sorted by length, for evaluation. `order` names the row behind each row of the batches."""

    def __init__(
        self,
        ragged: Mapping[str, Sequence[NDArray[Any]]],
        scalars: Mapping[str, NDArray[Any]],
        *,
        batch_size: int,
        length_step: int = LENGTH_STEP,
    ) -> None:
        """As `LengthBatches`."""
        self._rows = _Rows(ragged, scalars, length_step)
        self._batch_size = batch_size
        self.order = np.argsort(self._rows.padded_lengths, kind="stable")

    @property
    def steps_per_epoch(self) -> int:
        """How many batches there are."""
        return -(-len(self._rows) // self._batch_size)

    def epoch(self, number: int = 0) -> Iterator[Batch]:
        """The batches, the same in every epoch."""
        for start in range(0, len(self.order), self._batch_size):
            yield self._rows.batch(self.order[start : start + self._batch_size])


class ShardBatches:
    """The rows of several shards, of which one at a time is in memory: shards in another order in each epoch.

    Where a training goes on in the middle of an epoch, the shards before that are read again, to pass over their rows;
    with hundreds of them, let epochs be shorter than a day.
    """

    def __init__(self, shards: Sequence[tuple[int, Callable[[], Batches]]], *, seed: int) -> None:
        """Open nothing yet.

        Args:
            shards: how many batches each has, and what loads it.
            seed: of the order of shards.
        """
        self._shards = shards
        self._seed = seed
        self._loaded: tuple[int, Batches] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has."""
        return sum(steps for steps, _ in self._shards)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of an epoch (from 0)."""
        for place in epoch_generator(self._seed, number).permutation(len(self._shards)).tolist():
            if self._loaded is None or self._loaded[0] != place:
                self._loaded = None  # before the next one, not beside it
                self._loaded = place, self._shards[place][1]()
            yield from self._loaded[1].epoch(number)


class _Rows:
    """Rows in memory, of which any can be put into one padded batch."""

    def __init__(
        self, ragged: Mapping[str, Sequence[NDArray[Any]]], scalars: Mapping[str, NDArray[Any]], length_step: int
    ) -> None:
        lengths = {
            name: -(-np.maximum(_lengths(rows), 1) // length_step) * length_step for name, rows in ragged.items()
        }
        columns: dict[str, Sized] = {**ragged, **scalars}
        counts = {name: len(column) for name, column in columns.items()}
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{name} has {count}" for name, count in counts.items())
            raise ValueError(f"the columns differ in their numbers of rows: {told}")
        if not next(iter(counts.values())):
            raise ValueError("there are no rows to make batches of")
        self._ragged = ragged
        self._scalars = scalars
        self._lengths = lengths
        self.padded_lengths = np.max(list(lengths.values()), axis=0)

    def __len__(self) -> int:
        return len(self.padded_lengths)

    def batch(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        batch: dict[str, NDArray[Any]] = {}
        for name, column in self._ragged.items():
            padded = batch[name] = np.zeros((len(rows), self._lengths[name][rows].max()), dtype=np.int32)
            for place, row in enumerate(rows):
                padded[place, : len(column[row])] = column[row]
        return batch | {name: column[rows] for name, column in self._scalars.items()}


def _lengths(rows: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    known: NDArray[np.int64] | None = getattr(rows, "lengths", None)
    return np.array([len(row) for row in rows], dtype=np.int64) if known is None else known
