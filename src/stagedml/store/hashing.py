"""Tree hash, version 1: what the bytes of a realization are called.

The manifest of a tree lists everything below its top folder but for the three unhashed names and `context.json`, in the
order of the paths' UTF-8 bytes. Its digest is BLAKE3 over

    b"stagedml tree 1\\n"
    for each entry: kind (1 byte), length of the path (8 bytes, little endian), path, payload

where the payload is nothing for a folder (`d`), size (8 bytes, little endian) and BLAKE3 of the contents (32 bytes)
for a file (`f`) or an executable file (`x`), and length (8 bytes, little endian) and target for a symbolic link
(`l`). Every field has a fixed length or is preceded by one, so no two trees share an encoding.
docs/reference/store-format.md has test vectors.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from blake3 import blake3

from stagedml.core.refs import DerivationRef, RealizationRef
from stagedml.errors import StoreError
from stagedml.store.layout import CONTEXT_FILE, UNHASHED

TREE_HEADER = b"stagedml tree 1\n"
REALIZATION_HEADER = b"stagedml realization 1\n"
_CHUNK_BYTES = 1 << 20


class UnpublishableContent(StoreError):
    """A tree holds things that cannot be published; every one is listed."""

    def __init__(self, tree: str, problems: tuple[str, ...]) -> None:
        super().__init__(tree, problems)
        self.tree, self.problems = tree, problems

    def __str__(self) -> str:
        return "\n  ".join([f"{self.tree} cannot be published:", *self.problems])


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, folder or link of a tree."""

    kind: str  #: `d` folder, `f` file, `x` executable file, `l` symbolic link
    path: str  #: relative, parts joined by `/`
    size: int = 0  #: bytes of a file; 0 otherwise
    digest: str = ""  #: BLAKE3 of a file in hexadecimal; the target of a link; empty for a folder

    def encoded(self) -> bytes:
        """The entry as it enters the tree hash."""
        path = self.path.encode()
        head = self.kind.encode() + len(path).to_bytes(8, "little") + path
        if self.kind == "d":
            return head
        if self.kind == "l":
            target = self.digest.encode()
            return head + len(target).to_bytes(8, "little") + target
        return head + self.size.to_bytes(8, "little") + bytes.fromhex(self.digest)


def hash_file(path: Path) -> str:
    """BLAKE3 of a file's contents in hexadecimal, read in pieces."""
    hasher = blake3()
    buffer = bytearray(_CHUNK_BYTES)
    view = memoryview(buffer)
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            hasher.update(view[:count])
    return hasher.hexdigest()


def scan(tree: Path) -> tuple[Entry, ...]:
    """The manifest of a tree, files hashed. Raises UnpublishableContent naming everything that cannot be kept."""
    problems: list[str] = []
    entries = list(_walk(tree, problems))
    if problems:
        raise UnpublishableContent(str(tree), tuple(sorted(problems)))
    return tuple(sorted(entries, key=lambda entry: entry.path.encode()))


def _walk(tree: Path, problems: list[str]) -> Iterator[Entry]:
    top = os.path.realpath(tree)
    pending = [""]
    while pending:
        folder = pending.pop()
        with os.scandir(tree / folder) as items:
            for item in items:
                if not folder and (item.name in UNHASHED or item.name == CONTEXT_FILE):
                    continue
                path = f"{folder}/{item.name}" if folder else item.name
                if not is_utf8(path):
                    problems.append(f"{path!r}: the name is not UTF-8")
                    continue
                mode = item.stat(follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode):
                    pending.append(path)
                    yield Entry("d", path)
                elif stat.S_ISREG(mode):
                    kind = "x" if mode & stat.S_IXUSR else "f"
                    yield Entry(kind, path, item.stat(follow_symlinks=False).st_size, hash_file(tree / path))
                elif stat.S_ISLNK(mode):
                    target = os.readlink(tree / path)
                    problem = _link_problem(top, path, target)
                    if problem:
                        problems.append(problem)
                    yield Entry("l", path, 0, target)
                else:
                    problems.append(f"{path}: neither file, folder nor link")


def _link_problem(top: str, path: str, target: str) -> str | None:
    if os.path.isabs(target):
        return f"{path}: a link to the absolute path {target!r}; copy the file, or link relatively inside the output"
    if not is_utf8(target):
        return f"{path}: a link to {target!r}, which is not UTF-8"
    # By its text alone, since the folder gets another name; and by where it leads now, past other links.
    parts = os.path.normpath(PurePosixPath(path).parent / target).split("/")
    if parts[0] == ".." or os.path.commonpath([top, os.path.realpath(os.path.join(top, path))]) != top:
        return f"{path}: a link that leads out of the output, to {target}; copy the file instead"
    return None


def is_utf8(name: str) -> bool:
    """Whether a name, as the file system gives it, is UTF-8 there."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def content_digest(entries: Iterable[Entry]) -> str:
    """The digest of a manifest, 64 hexadecimal digits. The entries must be in the manifest's order."""
    hasher = blake3(TREE_HEADER)
    for entry in entries:
        hasher.update(entry.encoded())
    return hasher.hexdigest()


def realization_digest(content: str, context_text: str) -> str:
    """The digest of a realization: its content and the exact text of its `context.json`; 64 hexadecimal digits."""
    hasher = blake3(REALIZATION_HEADER)
    hasher.update(bytes.fromhex(content))
    hasher.update(blake3(context_text.encode()).digest())
    return hasher.hexdigest()


def realization_ref(derivation: DerivationRef, digest: str) -> RealizationRef:
    """The reference of a realization: the first 128 bits of its digest are spelt."""
    return RealizationRef(digest[:32], derivation.dhash, derivation.name)
