"""Rows of different lengths in two flat arrays: tens of megabytes where a list of arrays takes hundreds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import index as as_index
from typing import Any, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Ragged(Sequence[NDArray[Any]]):
    """A sequence of one-dimensional arrays of one type.

    Attributes:
        values: of all rows, one after the other.
        offsets: (rows + 1,) int64; row i is `values[offsets[i]:offsets[i + 1]]`.
    """

    def __init__(self, values: NDArray[Any], offsets: NDArray[np.int64]) -> None:
        """Hold the arrays, which are not copied."""
        self.values = values
        self.offsets = offsets

    @classmethod
    def of_rows(cls, rows: Iterable[Sequence[Any] | NDArray[Any]], dtype: DTypeLike = np.int32) -> Ragged:
        """Copy some rows."""
        arrays = [np.asarray(row, dtype=dtype) for row in rows]
        return cls.of_lengths(np.concatenate([np.zeros(0, dtype=dtype), *arrays]), [len(array) for array in arrays])

    @classmethod
    def of_lengths(cls, values: NDArray[Any], lengths: Sequence[int] | NDArray[np.int64]) -> Ragged:
        """Cut values into rows of some lengths."""
        offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return cls(values, offsets)

    @classmethod
    def joined(cls, parts: Sequence[Ragged], dtype: DTypeLike) -> Ragged:
        """Copy the rows of several, one after the other."""
        values = np.concatenate([np.zeros(0, dtype), *(part.values for part in parts)], dtype=dtype)
        return cls.of_lengths(values, np.concatenate([np.zeros(0, np.int64), *(part.lengths for part in parts)]))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How long each row is: (rows,)."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, key: int) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, key: slice) -> Ragged: ...
    def __getitem__(self, key: int | slice) -> NDArray[Any] | Ragged:
        if isinstance(key, slice):
            return Ragged.of_rows([self[row] for row in range(len(self))[key]], self.values.dtype)
        row = range(len(self))[as_index(key)]
        return self.values[self.offsets[row] : self.offsets[row + 1]]
