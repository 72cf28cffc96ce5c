"""CRC-32C (Castagnoli), the checksum of TFRecord files: of some bytes, or of thousands of rows at once.

A checksum is linear: that of a row is the exclusive or of what each byte adds at its distance from the end, and of what
the length adds. So one table, looked up for all bytes of all rows at once, does what a loop over bytes would.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

_START = 0xFFFFFFFF
# Rows up to this length are taken at once, longer ones by themselves. The table takes a kilobyte a byte.
_LONGEST = 2048


def _byte_table() -> tuple[int, ...]:
    """The remainder of each single byte, bits reflected."""
    table = []
    for byte in range(256):
        remainder = byte
        for _ in range(8):
            remainder = (remainder >> 1) ^ (0x82F63B78 if remainder & 1 else 0)
        table.append(remainder)
    return tuple(table)


_OF_BYTE = _byte_table()


def checksum(data: bytes) -> int:
    """CRC-32C of some bytes (RFC 3720, appendix B.4 has test vectors)."""
    table = _OF_BYTE
    remainder = _START
    for byte in data:
        remainder = table[(remainder ^ byte) & 0xFF] ^ (remainder >> 8)
    return remainder ^ _START


def checksums(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.uint32]:
    """CRC-32C of rows of bytes.

    Args:
        data: (bytes,) all rows, one after the other.
        offsets: (rows + 1,) where each row begins, and where the last one ends.

    Returns:
        (rows,)
    """
    lengths = np.diff(offsets)
    by_distance, by_length = _tables()
    found = np.empty(len(lengths), dtype=np.uint32)
    short = lengths <= _LONGEST
    for row in np.flatnonzero(~short):
        found[row] = checksum(data[offsets[row] : offsets[row + 1]].tobytes())
    found[short] = by_length[lengths[short]]
    filled = short & (lengths > 0)
    if not short.all():
        data = data[np.repeat(short, lengths)]
    if filled.any():
        sizes = lengths[filled].astype(np.int32)
        ends = np.cumsum(sizes, dtype=np.int32)
        places: NDArray[np.int32] = np.arange(len(data), dtype=np.int32)
        added = by_distance.take(((np.repeat(ends - 1, sizes) - places) << 8) + data)
        found[filled] ^= np.bitwise_xor.reduceat(added, ends - sizes)
    return found


@functools.cache
def _tables() -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """What a byte adds by its distance from the end, (distance * 256 + byte,), and what a length adds, (length,)."""
    of_byte = np.array(_OF_BYTE, dtype=np.uint32)
    by_distance = np.empty((_LONGEST, 256), dtype=np.uint32)
    by_distance[0] = of_byte
    by_length = np.empty(_LONGEST + 1, dtype=np.uint32)
    by_length[0] = _START
    for length in range(1, _LONGEST):
        before = by_distance[length - 1]
        by_distance[length] = (before >> 8) ^ of_byte[before & 0xFF]
    for length in range(1, _LONGEST + 1):
        last = int(by_length[length - 1])
        by_length[length] = (last >> 8) ^ _OF_BYTE[last & 0xFF]
    return by_distance.ravel(), by_length ^ np.uint32(_START)
