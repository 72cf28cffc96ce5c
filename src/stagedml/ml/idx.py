"""The idx format, in which MNIST is published: which numbers, how many along each axis, and the numbers themselves.

Rules this module keeps:
- A file holds one array of bytes, with as many axes as asked for, and nothing else; any other is refused.
- Whether it is gzip's is seen from its first bytes, not from its name.
- What a file says about its size is not believed: no more memory is taken than there are bytes.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stagedml.errors import UsageError

_UNSIGNED_BYTES = 8  # the format's number for them
_GZIP = b"\x1f\x8b"
_PIECE_BYTES = 1 << 20


class UnreadableIdx(UsageError):
    """A file does not hold an array in the idx format, or another one than it should."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; an idx file of MNIST is wanted, as it is published: fetch it again"


def read_idx(path: Path, axes: int) -> NDArray[np.uint8]:
    """Read an array, plain or compressed by gzip.

    Args:
        path: of the file.
        axes: how many the array must have.

    Raises:
        UnreadableIdx: it is no such file.
    """
    try:
        with path.open("rb") as plain:
            is_gzip = plain.read(2) == _GZIP
        with gzip.open(path) if is_gzip else path.open("rb") as file:
            header = file.read(4 + 4 * axes)
            magic = bytes((0, 0, _UNSIGNED_BYTES, axes))
            if header[:4] != magic or len(header) != 4 + 4 * axes:
                found = f"it begins with {header[:4].hex(' ')}" if header else "it is empty"
                raise UnreadableIdx(str(path), f"{found}, not {magic.hex(' ')}")
            shape = struct.unpack(f">{axes}I", header[4:])
            size = math.prod(shape)
            data = bytearray()
            while piece := file.read(min(_PIECE_BYTES, size + 1 - len(data))):
                data += piece
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableIdx(str(path), f"it cannot be read ({error})") from error
    if len(data) != size:
        found = f"only {len(data)}" if len(data) < size else "more"
        raise UnreadableIdx(str(path), f"it announces {size} bytes, and {found} follow")
    return np.frombuffer(data, np.uint8).reshape(shape)
