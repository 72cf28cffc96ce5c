"""TFRecord files of numbers, without TensorFlow.

A TFRecord file is a sequence of frames: length (8 bytes, little-endian), masked CRC-32C of those 8 bytes (4 bytes),
payload, masked CRC-32C of the payload. Each payload here is a `tf.train.Example` whose features are lists of int64 or
of float.

Rules this module keeps:
- The bytes of a file follow from its rows alone: features are written in the order of their names.
- What is written, TensorFlow reads, and the other way round.
- Every checksum is checked when a file is read; damage is an error that names the file and the byte offset.
- Rows stream: neither writing nor reading holds more than a few thousand of them.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagedml.errors import BuildError
from stagedml.ml.crc32c import checksum, checksums
from stagedml.ml.ragged import Ragged

Row = Mapping[str, Sequence[int] | Sequence[float]]

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_ROWS_AT_ONCE = 4096


class DamagedRecords(BuildError):
    """A TFRecord file does not hold what a TFRecord file must."""

    def __init__(self, path: str, offset: int, problem: str) -> None:
        super().__init__(path, offset, problem)
        self.path, self.offset, self.problem = path, offset, problem

    def __str__(self) -> str:
        return f"{self.path}: at byte {self.offset}: {self.problem}; write the file anew (a stage: realize with force)"


def write_records(path: Path, rows: Iterable[Row]) -> int:
    """Write rows of numbers to a TFRecord file.

    Args:
        path: the file; replaced if it exists.
        rows: each maps feature names to integers in [0, 2**63), or to floats.

    Returns:
        The number of rows.
    """
    count, remaining = 0, iter(rows)
    with path.open("wb") as file:
        while some := list(islice(remaining, _ROWS_AT_ONCE)):
            file.write(frames_of(some))
            count += len(some)
    return count


def frames_of(rows: Sequence[Row]) -> bytes:
    """What a TFRecord file of some rows holds; files can be made of it in parts."""
    payloads = [_encode_example(row) for row in rows]
    masked = _masked(*_joined(payloads)).astype("<u4").tobytes()
    parts: list[bytes] = []
    for number, payload in enumerate(payloads):
        parts += (_head(len(payload)), payload, masked[4 * number : 4 * number + 4])
    return b"".join(parts)


def read_records(path: Path) -> Iterator[dict[str, NDArray[Any]]]:
    """Read a TFRecord file row by row: features of int64 and of float32. `read_columns` is much faster.

    Raises:
        DamagedRecords: a checksum does not hold, the file ends within a row, or a feature holds no numbers.
    """
    for rows in _batches(path):
        yield from rows.decoded()


def read_columns(path: Path) -> Iterator[dict[str, Ragged]]:
    """Read a TFRecord file in parts of a few thousand rows, each feature as one column, of int64 or of float32.

    Raises:
        DamagedRecords: as `read_records`, or the rows of a part have not all the same features.
    """
    for rows in _batches(path):
        columns = _decode_alike(rows)
        yield _columns_of(rows) if columns is None else columns


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
            size = _LENGTH.unpack(head[:8])[0] if len(head) == 12 else 0
            if head != _head(size):
                raise DamagedRecords(str(path), offset, "the length of a record is damaged")
            body = file.read(size + 4)
            if len(body) < size + 4:
                raise DamagedRecords(str(path), offset, "the file ends within a record")
            yield offset, body[:size], body[size:]
            offset += 12 + size + 4


class _Batch:
    """Some records of a file, whose checksums hold."""

    def __init__(self, path: Path, frames: Sequence[tuple[int, bytes, bytes]]) -> None:
        self.path = path
        self.places, self.payloads, masked = zip(*frames, strict=True)
        self.data, self.offsets = _joined(self.payloads)
        damaged = np.flatnonzero(_masked(self.data, self.offsets) != np.frombuffer(b"".join(masked), dtype="<u4"))
        if damaged.size:
            raise self.damage(int(damaged[0]), "the checksum of a record does not hold")

    def damage(self, row: int, problem: str) -> DamagedRecords:
        return DamagedRecords(str(self.path), self.places[row], problem)

    def decoded(self) -> Iterator[dict[str, NDArray[Any]]]:
        """The rows, one by one."""
        for number, payload in enumerate(self.payloads):
            try:
                yield _decode_example(payload)
            except (ValueError, LookupError) as error:
                raise self.damage(number, f"not an example of numbers ({error})") from error


def _batches(path: Path) -> Iterator[_Batch]:
    frames = _frames(path)
    while some := list(islice(frames, _ROWS_AT_ONCE)):
        yield _Batch(path, some)


def _joined(parts: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All bytes, one after the other, and where each part begins and the last one ends."""
    offsets = np.zeros(len(parts) + 1, dtype=np.int64)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    return np.frombuffer(b"".join(parts), dtype=np.uint8), offsets


@functools.lru_cache(maxsize=4096)
def _head(size: int) -> bytes:
    """The length of a record with its checksum: there are few different ones."""
    length = _LENGTH.pack(size)
    return length + _CHECKSUM.pack(_mask(checksum(length)))


def _mask(plain: int) -> int:
    """As the format wants it: rotated and shifted, so that a checksum of data with checksums in it stays good."""
    return (((plain >> 15) | (plain << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _masked(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.uint32]:
    plain = checksums(data, offsets)
    return (((plain >> 15) | (plain << 17)) + np.uint32(0xA282EAD8)).astype(np.uint32)


# -- tf.train.Example, as protocol buffer wire format ----------------------------------------------------------------
#
# Example { Features features = 1 }; Features { map<string, Feature> feature = 1 }; a map entry { key = 1, value = 2 };
# Feature { FloatList float_list = 2 or Int64List int64_list = 3 }; both lists { repeated value = 1 [packed] }. All are
# length-delimited.

_FIELD_1, _FIELD_2, _FIELD_3 = b"\x0a", b"\x12", b"\x1a"
_FLOATS, _INTEGERS = 2, 3


class _Varints(dict[int, bytes]):
    """How numbers are written. Token ids repeat: nearly all of them are found here."""

    def __missing__(self, value: int) -> bytes:
        if value < 0:
            raise ValueError(f"{value}: negative integers are not written")
        digits, rest = bytearray(), int(value)
        while rest > 0x7F:
            digits.append(rest & 0x7F | 0x80)
            rest >>= 7
        digits.append(rest)
        found = bytes(digits)
        if value < 1 << 17:
            self[value] = found
        return found


_varint = _Varints().__getitem__


def _delimited(tag: bytes, payload: bytes) -> bytes:
    return tag + _varint(len(payload)) + payload


def _encode_example(row: Row) -> bytes:
    entries: list[bytes] = []
    for name in sorted(row):
        values: Sequence[Any] = row[name]
        if len(values) and isinstance(values[0], (float, np.floating)):
            kind, packed = _FIELD_2, np.asarray(values, dtype="<f4").tobytes()
        elif len(values) and max(values) < 0x80 and min(values) >= 0:
            kind, packed = _FIELD_3, bytes(values)
        else:
            kind, packed = _FIELD_3, b"".join(map(_varint, values))
        entries += (_entry_head(name, kind, len(packed)), packed)
    return _delimited(_FIELD_1, b"".join(entries))


@functools.lru_cache(maxsize=1 << 14)
def _entry_head(name: str, kind: bytes, size: int) -> bytes:
    """What comes before the numbers of a feature: there are as many different ones as lengths."""
    numbers = bytes(size)
    feature = _delimited(kind, _delimited(_FIELD_1, numbers) if size else b"")
    entry = _delimited(_FIELD_1, _delimited(_FIELD_1, name.encode()) + _delimited(_FIELD_2, feature))
    return entry[: len(entry) - size]


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


def _decode_example(payload: bytes) -> dict[str, NDArray[Any]]:
    row: dict[str, NDArray[Any]] = {}
    for _, features in _fields(payload):
        for _, entry in _fields(features):
            parts = dict(_fields(entry))
            # A feature that says nothing of its kind has no numbers.
            kind, packed = next(_fields(parts.get(2, b"")), (_INTEGERS, b""))
            values = b"".join(chunk for _, chunk in _fields(packed))
            row[parts[1].decode()] = _unpacked(kind, np.frombuffer(values, dtype=np.uint8))
    return row


def _unpacked(kind: int, packed: NDArray[np.uint8]) -> NDArray[Any]:
    """All numbers of packed fields at once."""
    if kind == _INTEGERS:
        return _unpack_varints(packed)
    if kind != _FLOATS:
        raise ValueError("a feature holds bytes")
    return packed.view("<f4").astype(np.float32)


def _unpack_varints(packed: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Digits of 7 bits, the lowest first, the last of each number below 128."""
    last = np.flatnonzero(packed < 0x80)
    if len(last) == len(packed):
        return packed.astype(np.int64)
    if not last.size or last[-1] != len(packed) - 1:
        raise ValueError("a number is cut off")
    lengths = np.diff(last, prepend=-1)
    values = np.zeros(len(last), dtype=np.int64)
    for digit in range(int(lengths.max())):
        some = np.flatnonzero(lengths > digit)
        place = last[some] - lengths[some] + 1 + digit
        values[some] |= (packed[place] & 0x7F).astype(np.int64) << (7 * digit)
    return values


# -- many examples at once -------------------------------------------------------------------------------------------
#
# Rows of one writer look alike: the same features in the same order, each with numbers. Then the same step is made in
# all rows at once. Rows that do not look alike are decoded one by one.


class _NotAlike(Exception):
    """One step cannot be made in all rows."""


class _Cursor:
    """A position in each row of a batch."""

    def __init__(self, data: NDArray[np.uint8], starts: NDArray[np.int64]) -> None:
        self.data, self.at = data, starts

    def expect(self, wanted: bytes) -> None:
        """Pass the same bytes in all rows."""
        found = self.data.take(self.at[:, None] + np.arange(len(wanted)), mode="clip")
        if not np.all(found == np.frombuffer(wanted, dtype=np.uint8)):
            raise _NotAlike
        self.at = self.at + len(wanted)

    def enter(self, tag: bytes) -> NDArray[np.int64]:
        """Pass the tag and the length of a field; gives where it ends."""
        self.expect(tag)
        size = np.zeros_like(self.at)
        in_it = np.arange(len(self.at))
        for shift in range(0, 35, 7):
            byte = self.data.take(self.at[in_it], mode="clip")
            size[in_it] |= (byte & 0x7F).astype(np.int64) << shift
            self.at[in_it] += 1
            in_it = in_it[byte >= 0x80]
        if in_it.size:
            raise _NotAlike
        return self.at + size

    def enter_last(self, tag: bytes, end: NDArray[np.int64]) -> None:
        """Pass the tag and the length of a field that reaches up to some end."""
        if not np.array_equal(self.enter(tag), end):
            raise _NotAlike


def _decode_alike(rows: _Batch) -> dict[str, Ragged] | None:
    """The columns of rows that look alike; None of others."""
    try:
        return dict(_walk_alike(rows))
    except (_NotAlike, ValueError, LookupError):
        return None


def _walk_alike(rows: _Batch) -> Iterator[tuple[str, Ragged]]:
    ends = rows.offsets[1:]
    cursor = _Cursor(rows.data, rows.offsets[:-1].copy())
    cursor.enter_last(_FIELD_1, ends)
    for name, values in _decode_example(rows.payloads[0]).items():
        is_float = values.dtype == np.float32
        entry_end = cursor.enter(_FIELD_1)
        cursor.expect(_delimited(_FIELD_1, name.encode()))
        cursor.enter_last(_FIELD_2, entry_end)
        cursor.enter_last(_FIELD_2 if is_float else _FIELD_3, entry_end)
        cursor.enter_last(_FIELD_1, entry_end)
        sizes = entry_end - cursor.at
        yield name, _ragged(_FLOATS if is_float else _INTEGERS, rows.data, cursor.at, sizes)
        cursor.at = entry_end
    if not np.array_equal(cursor.at, ends):
        raise _NotAlike


def _ragged(kind: int, data: NDArray[np.uint8], starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> Ragged:
    """The numbers of one feature in all rows."""
    if not np.all(sizes > 0):
        raise _NotAlike
    ends = np.cumsum(sizes)
    packed = data[np.repeat(starts - (ends - sizes), sizes) + np.arange(ends[-1])]
    if kind == _FLOATS:
        return Ragged.of_lengths(_unpacked(kind, packed), sizes // 4)
    is_last = packed < 0x80
    if not np.all(is_last[ends - 1]):
        raise _NotAlike
    return Ragged.of_lengths(_unpacked(kind, packed), np.add.reduceat(is_last, ends - sizes, dtype=np.int64))


def _columns_of(rows: _Batch) -> dict[str, Ragged]:
    decoded = list(rows.decoded())
    kinds = {name: values.dtype for name, values in decoded[0].items()}
    for number, row in enumerate(decoded):
        if (found := {name: values.dtype for name, values in row.items()}) != kinds:
            raise rows.damage(number, f"a row has {_told(found)}; the first of its part has {_told(kinds)}")
    return {name: Ragged.of_rows([row[name] for row in decoded], kind) for name, kind in kinds.items()}


def _told(kinds: Mapping[str, np.dtype[Any]]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in sorted(kinds.items())) or "no features"
