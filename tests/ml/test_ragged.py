"""Rows of different lengths behave as a sequence of arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedml.ml.ragged import Ragged

ROWS = st.lists(st.lists(st.integers(-5, 2**31 - 1), max_size=5), max_size=8)


@given(ROWS, st.slices(8))
def test_it_is_the_sequence_of_its_rows(rows: list[list[int]], some: slice) -> None:
    ragged = Ragged.of_rows(rows)
    assert ragged.values.dtype == np.int32
    assert len(ragged) == len(rows)
    assert [row.tolist() for row in ragged] == rows
    assert ragged.lengths.tolist() == [len(row) for row in rows]
    assert [row.tolist() for row in ragged[some]] == rows[some]
    for place in range(-len(rows), len(rows)):
        assert ragged[place].tolist() == ragged[np.int64(place)].tolist() == rows[place]  # type: ignore[call-overload]
    for place in (len(rows), -len(rows) - 1):
        with pytest.raises(IndexError):
            ragged[place]


@given(st.lists(ROWS, max_size=4))
def test_several_are_joined_in_order(parts: list[list[list[int]]]) -> None:
    joined = Ragged.joined([Ragged.of_rows(part) for part in parts], np.int64)
    assert joined.values.dtype == np.int64
    assert [row.tolist() for row in joined] == [row for part in parts for row in part]
