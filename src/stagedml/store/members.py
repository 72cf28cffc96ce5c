"""The members of an archive as bytes: a tar stream in which everything has one spelling.

It is POSIX tar with extended ("pax") headers: any tar program lists and unpacks it. Who writes the same members writes
the same bytes, whatever the version of Python. Who reads takes no other spelling, so that nothing is left for two
programs to understand in two ways: each header is written anew from what was understood of it, and compared. The last
member is a checksum over all before it; what follows are zeros, and then nothing.

Memory is bounded: streams are read and written in pieces, once, from beginning to end.
docs/reference/store-format.md describes every byte.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, TypeAlias

from blake3 import blake3

from stagedml.errors import StoreError
from stagedml.store.hashing import Entry

SUM_HEADER = b"stagedml archive 1\n"
SUM_NAME = "stagedml-archive.blake3"
_SUM_BYTES = 65  # 64 digits and a newline
_BLOCK_BYTES = 512
_RECORD_BYTES = 10_240  # tar writes whole records of so many bytes
_PIECE_BYTES = 1 << 20
_MOST_EXTENDED_BYTES = 1 << 14  # more than the longest path and the longest target
_SIZES_IN_HEADER = 8**11
_LONGEST_NAME_BYTES = 100
#: name, mode, user, group, size, time, checksum, type, target, magic, version, names of user and group, device, prefix
_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12x")
_CHECKSUM = slice(148, 156)
_TYPES = {"d": b"5", "f": b"0", "x": b"0", "l": b"2"}
_MODES = {"d": 0o555, "f": 0o444, "x": 0o555, "l": 0o777}
_REFUSED = {b"1": "a hard link", b"3": "a device", b"4": "a device", b"6": "a fifo", b"S": "a sparse file"}

Piece: TypeAlias = "bytes | memoryview"


class BadArchive(StoreError):
    """A stream is not what `export` writes, or not all of it."""

    def __init__(self, member: str, problem: str) -> None:
        super().__init__(member, problem)
        self.member, self.problem = member, problem

    def __str__(self) -> str:
        member = self.member if len(self.member) < 300 else f"{self.member[:150]}...{self.member[-60:]}"
        what = f"{member}: {self.problem}"
        if not what.isprintable():
            what = ascii(what)
        return f"this archive cannot be imported: {what}; nothing was changed. Transfer it again, or export it anew"


class ArchiveNotWritten(StoreError):
    """An archive could not be written to where it should go."""

    def __init__(self, place: str, reason: str, size_bytes: int) -> None:
        super().__init__(place, reason, size_bytes)
        self.place, self.reason, self.size_bytes = place, reason, size_bytes

    def __str__(self) -> str:
        return (
            f"the archive cannot be written to {self.place}: {self.reason}; it has {self.size_bytes:,} bytes and some "
            "more, and what was written of it is of no use"
        )


def header(entry: Entry) -> bytes:
    """The header of a member, extended if need be; the digest of an entry matters if it is the target of a link."""
    name = (f"{entry.path}/" if entry.kind == "d" else entry.path).encode()
    target = entry.digest.encode() if entry.kind == "l" else b""
    extended = b""
    if not _fits(name):
        extended += _record(b"path", name)
    if not _fits(target):
        extended += _record(b"linkpath", target)
    if entry.size >= _SIZES_IN_HEADER:
        extended += _record(b"size", b"%d" % entry.size)
    block = _block(name, _MODES[entry.kind], entry.size, _TYPES[entry.kind], target)
    if not extended:
        return block
    return _block(b"././@PaxHeader", 0, len(extended), b"x", b"") + extended + _padding(len(extended)) + block


def _fits(name: bytes) -> bool:
    return len(name) <= _LONGEST_NAME_BYTES and name.isascii()


def _record(key: bytes, value: bytes) -> bytes:
    """`<length> <key>=<value>` and a newline; the length is that of all of it, its own digits included."""
    rest = b" %s=%s\n" % (key, value)
    length = len(rest) + 1
    while len(rest) + len(str(length)) != length:
        length = len(rest) + len(str(length))
    return b"%d" % length + rest


def _block(name: bytes, mode: int, size: int, kind: bytes, target: bytes) -> bytes:
    nobody = b"0000000\0"
    block = bytearray(
        _HEADER.pack(
            _shortened(name),
            b"%07o\0" % mode,
            nobody,
            nobody,
            b"%011o\0" % (size if size < _SIZES_IN_HEADER else 0),
            b"00000000000\0",
            b" " * 8,
            kind,
            _shortened(target),
            b"ustar\0",
            b"00",
            b"",
            b"",
            nobody,
            nobody,
            b"",
        )
    )
    block[_CHECKSUM] = b"%06o\0 " % sum(block)
    return bytes(block)


def _shortened(name: bytes) -> bytes:
    """What of a name stands in the header; where that is not all of it, the extended header has it."""
    return name if _fits(name) else bytes(byte if byte < 128 else 0x3F for byte in name[:_LONGEST_NAME_BYTES])


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK_BYTES)


def _end(offset: int) -> bytes:
    """What follows the last member: two blocks of zeros, and zeros up to a whole record."""
    blocks = 2 * _BLOCK_BYTES
    return bytes(blocks + -(offset + blocks) % _RECORD_BYTES)


class Writer:
    """Writes members, one after the other, and the checksum after them."""

    def __init__(self, stream: BinaryIO, expected_bytes: int) -> None:
        self._stream = stream
        self._expected_bytes = expected_bytes
        self._pending = bytearray()
        self._sum = blake3(SUM_HEADER)
        self.size_bytes = 0  #: how much was written

    def add(self, entry: Entry, data: Piece = b"") -> None:
        """Write a member whose digest is known."""
        self._sum.update(entry.encoded())
        self._write(header(entry))
        self._write(data)
        self._write(_padding(entry.size))

    def add_text(self, name: str, data: bytes) -> None:
        self.add(Entry("f", name, len(data), blake3(data).hexdigest()), data)

    def add_large(self, entry: Entry, pieces: Iterable[Piece]) -> str:
        """Write a file whose digest is not known yet; returns it. The pieces together have the size of the entry."""
        hasher = blake3()
        self._write(header(entry))
        for piece in pieces:
            hasher.update(piece)
            self._write(piece)
        self._write(_padding(entry.size))
        digest = hasher.hexdigest()
        self._sum.update(entry._replace(digest=digest).encoded())
        return digest

    def finish(self) -> None:
        """Write the checksum and the end."""
        self.add_text(SUM_NAME, f"{self._sum.hexdigest()}\n".encode())
        self._write(_end(self.size_bytes))
        self._flush()
        with self._own_errors():
            self._stream.flush()

    def _write(self, data: Piece) -> None:
        self.size_bytes += len(data)
        if len(data) < _PIECE_BYTES // 4:
            self._pending += data
            if len(self._pending) >= _PIECE_BYTES:
                self._flush()
        else:
            self._flush()
            self._put(data)

    def _flush(self) -> None:
        self._put(self._pending)
        self._pending = bytearray()

    def _put(self, data: Piece | bytearray) -> None:
        view = memoryview(data)
        with self._own_errors():
            while view:  # a pipe or a file without a buffer may take less
                view = view[self._stream.write(view) :]

    @contextlib.contextmanager
    def _own_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            name = getattr(self._stream, "name", None)
            place = name if isinstance(name, str) else "its stream"
            raise ArchiveNotWritten(place, error.strerror or str(error), self._expected_bytes) from error


class Reader:
    """Reads members, one after the other. Whatever is not as `Writer` writes it raises BadArchive."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._chunk = memoryview(b"")
        self._position = 0  # in the chunk
        self._before = 0  # how much was read before the chunk
        self._sum = blake3(SUM_HEADER)
        self._next: Entry | None = None
        self._reading = ""

    def peek(self) -> Entry:
        """The next member, which stays the next; the digest of a file is not known yet."""
        if self._next is None:
            self._next = self._read_header()
        return self._next

    def read(self, write: Callable[[memoryview], object]) -> Entry:
        """Take the next member; a file's contents go to `write`, piece by piece. Returns it with its digest."""
        entry = self.peek()
        self._next = None
        if entry.kind in "fx":
            self._reading = entry.path
            hasher = blake3()
            left = entry.size
            while left:
                piece = self._some(left)
                hasher.update(piece)
                write(piece)
                left -= len(piece)
            if self._exactly(-entry.size % _BLOCK_BYTES).strip(b"\0"):
                raise BadArchive(entry.path, "is not padded with zeros")
            entry = entry._replace(digest=hasher.hexdigest())
            self._reading = ""
        self._sum.update(entry.encoded())
        return entry

    def read_text(self, most_bytes: int) -> bytes:
        """Take the next member, a file that is not large, whole."""
        entry = self.peek()
        if entry.size > most_bytes:
            raise BadArchive(entry.path, f"has {entry.size:,} bytes; no more than {most_bytes:,} are read")
        pieces: list[bytes] = []
        self.read(lambda piece: pieces.append(bytes(piece)))
        return b"".join(pieces)

    def finish(self) -> None:
        """Read the checksum and the end, and compare."""
        entry = self.peek()
        if entry != Entry("f", SUM_NAME, _SUM_BYTES):
            raise BadArchive(entry.path, "does not belong here")
        expected = f"{self._sum.hexdigest()}\n".encode()
        if self.read_text(_SUM_BYTES) != expected:
            raise BadArchive(SUM_NAME, "the checksum is that of something else")
        self._reading = "the end"
        end = _end(self._offset)
        if self._exactly(len(end)) != end or self._position < len(self._chunk) or self._read_chunk():
            raise BadArchive("the end", "something follows it")

    @property
    def _offset(self) -> int:
        return self._before + self._position

    def _read_header(self) -> Entry:
        start = self._offset
        block = self._exactly(_BLOCK_BYTES)
        try:
            extended: dict[str, str] = {}
            raw = block
            if block[156:157] == b"x":
                data, size = self._extended(block)
                extended = _records(data[:size])
                block = self._exactly(_BLOCK_BYTES)
                raw += data + block
            entry = _understood(block, extended)
            if header(entry) == raw:
                return entry
        except ValueError:  # not a number, not UTF-8
            pass
        if start == 0:
            raise BadArchive("its beginning", "is not that of an archive of StagedML; if it is compressed, unpack it")
        if not block.strip(b"\0"):
            raise BadArchive(f"byte {start:,}", "the end, before the checksum")
        raise BadArchive(f"byte {start:,}", "is not the header of a member as `stagedml export` writes it")

    def _extended(self, block: bytes) -> tuple[bytes, int]:
        size = int(block[124:135], 8)
        if not 0 < size <= _MOST_EXTENDED_BYTES:
            raise ValueError(size)
        return self._exactly(size + -size % _BLOCK_BYTES), size

    def _exactly(self, count: int) -> bytes:
        data = bytes(self._some(count)) if count else b""
        while len(data) < count:
            data += self._some(count - len(data))
        return data

    def _some(self, most: int) -> memoryview:
        """The next bytes, at least one."""
        if self._position == len(self._chunk):
            self._before += len(self._chunk)
            self._position = 0
            self._chunk = memoryview(self._read_chunk())
            if not self._chunk:
                raise BadArchive(self._reading or f"byte {self._before:,}", "the archive ends here, too early")
        piece = self._chunk[self._position : self._position + most]
        self._position += len(piece)
        return piece

    def _read_chunk(self) -> bytes:
        try:
            return self._stream.read(_PIECE_BYTES)
        except OSError as error:
            where = self._reading or f"byte {self._offset:,}"
            raise BadArchive(where, f"cannot be read: {error.strerror or error}") from error


def _understood(block: bytes, extended: dict[str, str]) -> Entry:
    """What a header says, as far as it is said where it should be. Raises ValueError and BadArchive."""
    name = extended.get("path") or block[:100].rstrip(b"\0").decode("ascii")
    kind = block[156:157]
    if kind == b"5":
        return Entry("d", name.removesuffix("/"))
    if kind == b"2":
        return Entry("l", name, 0, extended.get("linkpath") or block[157:257].rstrip(b"\0").decode("ascii"))
    if kind == b"0":
        size = int(extended["size"]) if "size" in extended else int(block[124:135], 8)
        return Entry("x" if block[100:107] == b"%07o" % _MODES["x"] else "f", name, size)
    if kind in _REFUSED:
        raise BadArchive(name, f"is {_REFUSED[kind]}; only files, folders and symbolic links are read")
    raise ValueError(kind)


def _records(data: bytes) -> dict[str, str]:
    """The fields of an extended header. Raises ValueError."""
    found = {}
    while data:
        length = int(data[: data.index(b" ")])
        if length < 1:
            raise ValueError(length)
        key, _, value = data[: length - 1].partition(b" ")[2].partition(b"=")
        found[key.decode()] = value.decode()
        data = data[length:]
    return found
