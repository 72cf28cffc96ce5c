"""The idx format: what is read, and that nothing else is."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stagedml.ml.idx import UnreadableIdx, read_idx


def idx(array: NDArray[np.uint8]) -> bytes:
    """An array as the format has it."""
    return struct.pack(f">2xBB{array.ndim}I", 8, array.ndim, *array.shape) + array.tobytes()


LABELS = np.arange(7, dtype=np.uint8)
IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)


@pytest.mark.parametrize("array", [LABELS, IMAGES, LABELS[:0]], ids=["labels", "images", "none"])
@pytest.mark.parametrize("compressed", [False, True])
def test_an_array_is_read_whatever_the_file_is_called(
    tmp_path: Path, array: NDArray[np.uint8], compressed: bool
) -> None:
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(idx(array)) if compressed else idx(array))
    assert np.array_equal(read_idx(path, array.ndim), array)
    assert read_idx(path, array.ndim).shape == array.shape


BAD = {
    "nothing": (b"", "it is empty, not 00 00 08 03"),
    "other numbers": (idx(IMAGES).replace(b"\0\0\x08", b"\0\0\x0d", 1), "begins with 00 00 0d 03, not 00 00 08 03"),
    "other axes": (idx(LABELS), "begins with 00 00 08 01, not 00 00 08 03"),
    "an image": (b"\x89PNG\r\n\x1a\n", "begins with 89 50 4e 47"),
    "half a header": (idx(IMAGES)[:9], "begins with 00 00 08 03"),
    "too short": (idx(IMAGES)[:-1], "announces 60 bytes, and only 59 follow"),
    "too long": (idx(IMAGES) + b"\0", "announces 60 bytes, and more follow"),
    "huge": (
        struct.pack(">2xBB3I", 8, 3, *[2**32 - 1] * 3),
        "announces 79228162458924105385300197375 bytes, and only 0",
    ),
    "half a gzip": (gzip.compress(idx(IMAGES))[:-9], "cannot be read"),
    "a damaged gzip": (gzip.compress(idx(IMAGES))[:-8] + bytes(8), "cannot be read"),
    "no gzip": (b"\x1f\x8bno", "cannot be read"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_is_anything_else_is_refused_and_named(tmp_path: Path, case: str) -> None:
    data, complaint = BAD[case]
    path = tmp_path / "images.gz"
    path.write_bytes(data)
    with pytest.raises(UnreadableIdx, match=complaint) as caught:
        read_idx(path, 3)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableIdx, match="No such file"):
        read_idx(tmp_path / "absent", 1)
