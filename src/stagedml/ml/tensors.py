"""Tensors in files of any of four formats, read piece by piece: npy, npz, safetensors and TensorFlow checkpoints.

Rules this module keeps:
- Memory is bounded whatever the sizes: a piece is at most a MiB, or one element. TensorFlow has no way to read a part
  of a tensor; from a checkpoint one tensor at a time is held.
- Nothing is unpickled. What is pickled is bytes.
- A file that holds anything that would not be seen, such as bytes after the last tensor, is not readable.
- TensorFlow is imported to read a checkpoint, and for nothing else.
"""

from __future__ import annotations

import contextlib
import json
import lzma
import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from stagedml.errors import UsageError

Piece = NDArray[Any]

PIECE_BYTES = 1 << 20
_LONGEST_HEADER = 100_000_000  # the format's own limit

#: What readers stumble with over bytes that are not what they should be. An error of the disk is among them: whoever
#: reads the bytes instead meets it again.
_STUMBLES = (
    ArithmeticError,
    AttributeError,  # a header that is no mapping
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,  # encrypted, too deep, no such method of compression
    SyntaxError,
    TypeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


class UnreadableTensors(UsageError):
    """A file does not hold the tensors that its name speaks of, or not only those."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: its tensors cannot be read ({self.reason}); build or fetch it again"


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file that is open.

    Attributes:
        dtype: its name, without the order of bytes: `float32`.
        shape: of the whole.
        order: in which order the elements come, by rows (C) or columns (F).
        pieces: the elements as flat arrays of the machine's order of bytes. Two tensors of one type come in pieces of
            the same sizes. Raises UnreadableTensors.
    """

    dtype: str
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    pieces: Callable[[], Iterator[Piece]]

    @property
    def size(self) -> int:
        """How many elements there are."""
        return math.prod(self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Tensors:
    """What an open file holds: tensors by name, and what is told of them."""

    by_name: Mapping[str, Tensor]
    about: Mapping[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def open_npy(path: Path) -> Iterator[Tensors]:
    """The one tensor of a npy file, under the empty name. Raises UnreadableTensors."""
    with _translated(path):
        with path.open("rb") as file:
            tensor = _npy(path, lambda: path.open("rb"), file, os.fstat(file.fileno()).st_size)
        if tensor is None:
            raise ValueError("pickled objects")
    yield Tensors({"": tensor})


@contextlib.contextmanager
def open_npz(path: Path) -> Iterator[Tensors]:
    """The tensors of a npz file; what in it is not a tensor, as bytes. Raises UnreadableTensors."""
    with contextlib.ExitStack() as stack:
        tensors: dict[str, Tensor] = {}
        with _translated(path):
            archive = stack.enter_context(zipfile.ZipFile(path))
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if name in tensors:
                    raise ValueError(f"{name} is in it twice")
                tensors[name] = _member(path, archive, info)
        yield Tensors(tensors)


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Tensor:
    def opened() -> IO[bytes]:
        return archive.open(info)

    if info.filename.endswith(".npy"):
        with opened() as stream:
            tensor = _npy(path, opened, stream, info.file_size)
        if tensor is not None:
            return tensor
    return _raw(path, opened, 0, np.dtype(np.uint8), (info.file_size,), name="bytes")


def _npy(path: Path, opened: Callable[[], IO[bytes]], stream: IO[bytes], size_bytes: int) -> Tensor | None:
    """The tensor that begins here and takes all the bytes; None if its elements are pickled objects."""
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, by_columns, dtype = readers[version](stream)
    if dtype.hasobject:
        return None
    start = stream.tell()
    if start + math.prod(shape) * dtype.itemsize != size_bytes:
        raise ValueError("another size than the header tells")
    return _raw(path, opened, start, dtype, shape, order="F" if by_columns else "C")


_SAFETENSORS = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8",
    "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<c8",
}  # fmt: skip
_BFLOAT16 = "BF16"


@contextlib.contextmanager
def open_safetensors(path: Path) -> Iterator[Tensors]:
    """The tensors of a safetensors file, and its metadata. Raises UnreadableTensors."""
    with _translated(path):
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _LONGEST_HEADER:
                raise ValueError("no header")
            header = json.loads(file.read(length))
            end = os.fstat(file.fileno()).st_size - 8 - length
        about = header.pop("__metadata__", {})
        if not all(isinstance(text, str) for text in about.values()):
            raise ValueError("its metadata are no texts")
        tensors = {}
        position = 0
        for name, told in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            first, last = told["data_offsets"]
            if first != position:
                raise ValueError(f"{name} does not begin where the one before it ends")
            tensors[name] = _safetensor(path, 8 + length + first, last - first, told["dtype"], tuple(told["shape"]))
            position = last
        if position != end:
            raise ValueError("another size than the header tells")
    yield Tensors(tensors, about)


def _safetensor(path: Path, start: int, size_bytes: int, kind: str, shape: tuple[int, ...]) -> Tensor:
    elements = math.prod(shape)
    if kind in _SAFETENSORS:
        dtype = np.dtype(_SAFETENSORS[kind])
        name = dtype.name
    else:
        # Kinds that numpy has no type for, such as F8_E4M3, are opaque; but bfloat16 is the upper half of a float32.
        name = "bfloat16" if kind == _BFLOAT16 else kind.lower()
        dtype = np.dtype("<u2") if kind == _BFLOAT16 else np.dtype(f"V{size_bytes // max(elements, 1)}")
    if not all(type(extent) is int and extent >= 0 for extent in shape) or elements * dtype.itemsize != size_bytes:
        raise ValueError("a tensor has another size than the header tells")
    return _raw(path, lambda: path.open("rb"), start, dtype, shape, name=name)


@contextlib.contextmanager
def open_checkpoint(prefix: Path) -> Iterator[Tensors]:
    """The tensors of a TensorFlow checkpoint; texts in them are objects, of `bytes`.

    Args:
        prefix: what precedes ".index" and ".data-00000-of-00001".

    Raises:
        UnreadableTensors: it is damaged, or TensorFlow is not installed.
    """
    from stagedml.ml.framework import FrameworkMissing, WrongKeras

    try:
        from stagedml.ml.framework import tf
    except (FrameworkMissing, WrongKeras) as error:
        raise UnreadableTensors(str(prefix), str(error)) from error
    with _translated(prefix, tf.errors.OpError):
        reader = tf.train.load_checkpoint(str(prefix))
        types = reader.get_variable_to_dtype_map()
        shapes = reader.get_variable_to_shape_map()

    def tensor(name: str) -> Tensor:
        def pieces() -> Iterator[Piece]:
            with _translated(prefix, tf.errors.OpError):
                value = reader.get_tensor(name)
            whole = np.array(value, dtype=object) if types[name] == tf.string else np.asarray(value)
            return _cut(_with_numbers(whole).reshape(-1))

        return Tensor(types[name].name, tuple(shapes[name]), "C", pieces)

    yield Tensors({name: tensor(name) for name in shapes})


def _with_numbers(array: Piece) -> Piece:
    """What numpy has no type for itself, such as bfloat16, as float32, which holds all of its numbers."""
    return array.astype(np.float32) if array.dtype.kind == "V" and array.dtype.names is None else array


def _cut(flat: Piece) -> Iterator[Piece]:
    count = max(1, PIECE_BYTES // max(flat.itemsize, 1))
    for start in range(0, flat.size, count):
        yield flat[start : start + count]


def _raw(
    path: Path,
    opened: Callable[[], IO[bytes]],
    start: int,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    *,
    order: Literal["C", "F"] = "C",
    name: str | None = None,
) -> Tensor:
    """A tensor whose elements stand one after the other in a stream."""
    native = dtype.newbyteorder("=")
    left = math.prod(shape) * dtype.itemsize

    def pieces() -> Iterator[Piece]:
        remaining = left
        with _translated(path), opened() as stream:
            if remaining:
                stream.seek(start)
            while remaining:
                data = stream.read(min(remaining, max(1, PIECE_BYTES // dtype.itemsize) * dtype.itemsize))
                if not data or len(data) % dtype.itemsize:
                    raise ValueError("it ends within a tensor")
                remaining -= len(data)
                piece: Piece = np.frombuffer(data, dtype).astype(native, copy=False)
                yield _from_bfloat16(piece) if name == "bfloat16" else piece
            if isinstance(stream, zipfile.ZipExtFile):
                stream.read(1)  # at the end its checksum is looked at

    return Tensor(name or (native.name if native.names is None else str(native)), shape, order, pieces)


def _from_bfloat16(piece: Piece) -> Piece:
    return (piece.astype(np.uint32) << 16).view(np.float32)


@contextlib.contextmanager
def _translated(path: Path, *more: type[Exception]) -> Iterator[None]:
    stumbles: tuple[type[Exception], ...] = (*_STUMBLES, *more)
    try:
        yield
    except UnreadableTensors:
        raise
    except stumbles as error:
        raise UnreadableTensors(str(path), str(error) or type(error).__name__) from error
