"""TFRecord files of integer features, without TensorFlow.

A TFRecord file is a sequence of frames: length (8 bytes, little-endian), masked CRC-32C of those 8 bytes (4 bytes),
payload, masked CRC-32C of the payload. Each payload here is a `tf.train.Example` whose features are int64 lists.

Rules this module keeps:
- The bytes of a file follow from its rows alone: features are written in the order of their names.
- What is written, TensorFlow reads, and the other way round.
- Every checksum is checked when a file is read; damage is an error that names the file and the byte offset.
- Rows stream: neither writing nor reading holds more than one of them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stagedml.errors import BuildError

Row = Mapping[str, Sequence[int]]

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")


class DamagedRecords(BuildError):
    """A TFRecord file does not hold what a TFRecord file must."""

    def __init__(self, path: str, offset: int, problem: str) -> None:
        super().__init__(path, offset, problem)
        self.path, self.offset, self.problem = path, offset, problem

    def __str__(self) -> str:
        return f"{self.path}: at byte {self.offset}: {self.problem}; write the file anew (a stage: realize with force)"


def write_records(path: Path, rows: Iterable[Row]) -> int:
    """Write rows of integers to a TFRecord file.

    Args:
        path: the file; replaced if it exists.
        rows: each maps feature names to integers in [0, 2**63).

    Returns:
        The number of rows.
    """
    count = 0
    with path.open("wb") as file:
        for row in rows:
            payload = _encode_example(row)
            length = _LENGTH.pack(len(payload))
            file.write(length + _masked_checksum(length) + payload + _masked_checksum(payload))
            count += 1
    return count


def read_records(path: Path) -> Iterator[dict[str, NDArray[np.int64]]]:
    """Read a TFRecord file of int64 features row by row.

    Raises:
        DamagedRecords: a checksum does not hold, the file ends within a row, or a feature holds no integers.
    """
    for offset, payload, masked in _frames(path):
        if _masked_checksum(payload) != masked:
            raise DamagedRecords(str(path), offset, "the checksum of a record does not hold")
        try:
            yield _decode_example(payload)
        except (ValueError, IndexError) as error:
            raise DamagedRecords(str(path), offset, f"not an example of integers ({error})") from error


def read_frames(path: Path) -> Iterator[bytes]:
    """The records of any TFRecord file as bytes, each with its checksum, which is not checked.

    Raises:
        DamagedRecords: the checksum of a length does not hold, or the file ends within a record.
    """
    for _, payload, masked in _frames(path):
        yield payload + masked


def _frames(path: Path) -> Iterator[tuple[int, bytes, bytes]]:
    """Offset, payload and its masked checksum of each record; only the checksums of the lengths are checked."""
    with path.open("rb") as file:
        offset = 0
        while head := file.read(12):
            if len(head) < 12 or _masked_checksum(head[:8]) != head[8:]:
                raise DamagedRecords(str(path), offset, "the length of a record is damaged")
            (size,) = _LENGTH.unpack(head[:8])
            body = file.read(size + 4)
            if len(body) < size + 4:
                raise DamagedRecords(str(path), offset, "the file ends within a record")
            yield offset, body[:size], body[size:]
            offset += 12 + size + 4


# -- checksums -------------------------------------------------------------------------------------------------------


def _checksum_table() -> tuple[int, ...]:
    """CRC-32C (Castagnoli) of each single byte, bits reflected."""
    table = []
    for byte in range(256):
        remainder = byte
        for _ in range(8):
            remainder = (remainder >> 1) ^ (0x82F63B78 if remainder & 1 else 0)
        table.append(remainder)
    return tuple(table)


_CHECKSUMS = _checksum_table()


def checksum(data: bytes) -> int:
    """CRC-32C of some bytes (RFC 3720, appendix B.4 has test vectors)."""
    table = _CHECKSUMS
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder = table[(remainder ^ byte) & 0xFF] ^ (remainder >> 8)
    return remainder ^ 0xFFFFFFFF


def _masked_checksum(data: bytes) -> bytes:
    """As the format wants it: rotated and shifted, so that a checksum of data with checksums in it stays good."""
    plain = checksum(data)
    return _CHECKSUM.pack((((plain >> 15) | (plain << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


# -- tf.train.Example, as protocol buffer wire format ----------------------------------------------------------------
#
# Example { Features features = 1 }; Features { map<string, Feature> feature = 1 }; a map entry { key = 1, value = 2 };
# Feature { Int64List int64_list = 3 }; Int64List { repeated int64 value = 1 [packed] }. All are length-delimited.

_FIELD_1, _FIELD_2, _FIELD_3 = b"\x0a", b"\x12", b"\x1a"


def _varint(value: int) -> bytes:
    if value < 0:
        raise ValueError(f"{value}: negative integers are not written")
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


# Token ids repeat: nearly all of them are found here.
_VARINTS = tuple(_varint(value) for value in range(1 << 15))


def _delimited(tag: bytes, payload: bytes) -> bytes:
    return tag + _varint(len(payload)) + payload


def _encode_example(row: Row) -> bytes:
    entries = []
    for name in sorted(row):
        packed = b"".join(
            _VARINTS[value] if 0 <= value < len(_VARINTS) else _varint(value) for value in map(int, row[name])
        )
        feature = _delimited(_FIELD_3, _delimited(_FIELD_1, packed) if packed else b"")
        entries.append(_delimited(_FIELD_1, _delimited(_FIELD_1, name.encode()) + _delimited(_FIELD_2, feature)))
    return _delimited(_FIELD_1, b"".join(entries))


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of a message: (number, payload)."""
    position = 0
    while position < len(data):
        tag, position = _read_varint(data, position)
        if tag & 7 != 2:
            raise ValueError(f"wire type {tag & 7} where a length-delimited field is due")
        size, position = _read_varint(data, position)
        if position + size > len(data):
            raise ValueError("a field reaches beyond its message")
        yield tag >> 3, data[position : position + size]
        position += size


def _decode_example(payload: bytes) -> dict[str, NDArray[np.int64]]:
    row: dict[str, NDArray[np.int64]] = {}
    for _, features in _fields(payload):
        for _, entry in _fields(features):
            parts = dict(_fields(entry))
            values = b""
            for kind, packed in _fields(parts.get(2, b"")):
                if kind != 3:
                    raise ValueError("a feature holds bytes or floats")
                values = b"".join(chunk for _, chunk in _fields(packed))
            row[parts[1].decode()] = _unpack_varints(values)
    return row


def _unpack_varints(packed: bytes) -> NDArray[np.int64]:
    """All varints of a packed field at once: digits of 7 bits, the last of each number below 128."""
    digits = np.frombuffer(packed, dtype=np.uint8)
    last = digits < 0x80
    if digits.size and not last[-1]:
        raise ValueError("a number is cut off")
    starts = np.flatnonzero(np.concatenate(([True], last[:-1]))) if digits.size else np.zeros(0, dtype=np.int64)
    place = np.arange(digits.size) - np.repeat(starts, np.diff(np.append(starts, digits.size)))
    shifted = (digits & 0x7F).astype(np.uint64) << (7 * place).astype(np.uint64)
    return np.add.reduceat(shifted, starts).astype(np.int64) if digits.size else np.zeros(0, dtype=np.int64)
