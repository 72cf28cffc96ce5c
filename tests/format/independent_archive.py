"""Takes archives apart and writes them, by `docs/reference/store-format.md` alone.

A second implementation, kept apart on purpose: it imports nothing of stagedml. Reading is left to Python's `tarfile`,
since any tar program reads an archive. What a tar program cannot be made to write, this can: members of any type, in
any order, with a checksum that is right.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from typing import Any, NamedTuple

from blake3 import blake3

MANIFEST = "stagedml-archive.json"
CHECKSUM = "stagedml-archive.blake3"
TYPES = {"f": b"0", "x": b"0", "d": b"5", "l": b"2"}
MODES = {"d": 0o555, "f": 0o444, "x": 0o555, "l": 0o777}


class Member(NamedTuple):
    """One member: `kind` is d, f, x or l, or else the type as tar writes it."""

    kind: str
    name: str
    data: bytes = b""
    target: str = ""


def unpack(archive: bytes) -> list[Member]:
    """The members of an archive, the checksum not among them."""
    members = []
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        for info in tar:
            file = tar.extractfile(info) if info.isreg() else None
            kind = "d" if info.isdir() else "l" if info.issym() else "x" if info.mode & 0o100 else "f"
            members.append(Member(kind, info.name, file.read() if file else b"", info.linkname))
    assert members[-1].name == CHECKSUM
    return members[:-1]


def pack(members: Iterable[Member], *, checksum: str = "") -> bytes:
    """An archive of these members."""
    written = b""
    summed = blake3(b"stagedml archive 1\n")
    for member in members:
        written += header(member) + padded(member.data)
        summed.update(entry(member))
    data = f"{checksum or summed.hexdigest()}\n".encode()
    written += header(Member("f", CHECKSUM, data)) + padded(data) + bytes(1024)
    return written + bytes(-len(written) % 10_240)


def entry(member: Member) -> bytes:
    """A member as an entry of the tree hash."""
    path = member.name.encode()
    head = member.kind.encode() + length(path) + path
    if member.kind == "d":
        return head
    if member.kind == "l":
        return head + length(member.target.encode()) + member.target.encode()
    return head + length(member.data) + blake3(member.data).digest()


def length(data: bytes) -> bytes:
    return len(data).to_bytes(8, "little")


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def header(member: Member) -> bytes:
    name = member.name.encode() + (b"/" if member.kind == "d" else b"")
    target = member.target.encode()
    records = b"".join(record(key, value) for key, value in ((b"path", name), (b"linkpath", target)) if not fits(value))
    kind = TYPES.get(member.kind, member.kind.encode())
    block = ustar(name, MODES.get(member.kind, 0o444), len(member.data), kind, target)
    return ustar(b"././@PaxHeader", 0, len(records), b"x", b"") + padded(records) + block if records else block


def fits(value: bytes) -> bool:
    return value.isascii() and len(value) <= 100


def record(key: bytes, value: bytes) -> bytes:
    for count in range(len(value), len(value) + 20):
        line = b"%d %s=%s\n" % (count, key, value)
        if len(line) == count:
            return line
    raise AssertionError(value)


def ustar(name: bytes, mode: int, size: int, kind: bytes, target: bytes) -> bytes:
    def text(value: bytes) -> bytes:
        return bytes(byte if byte < 128 else ord("?") for byte in value[:100]).ljust(100, b"\0")

    begin = text(name) + b"%07o\0" % mode + b"0000000\0" * 2 + b"%011o\0" % size + b"00000000000\0"
    end = kind + text(target) + b"ustar\x0000" + bytes(64) + b"0000000\0" * 2 + bytes(167)
    return begin + b"%06o\0 " % sum(begin + b" " * 8 + end) + end


def manifest(members: Iterable[Member]) -> Any:
    (document,) = (json.loads(member.data) for member in members if member.name == MANIFEST)
    return document
