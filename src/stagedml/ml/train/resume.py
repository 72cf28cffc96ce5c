"""What lets a training go on after its process died: checkpoints of all that a step changes.

Rules this module keeps:
- A checkpoint is used only by the training that wrote it, and only if its bytes are those that were written. A damaged
  one is warned of and the one before it is used, or the training starts at its beginning. Those of others are left.
- It is written under another name, synced and renamed: a crash at any moment, a full disk or a failing one leave the
  checkpoint before it as it was. A write that fails is told of and costs the training nothing else.
- At most two of a training lie on the disk, the one that is being written included.
- However long a write takes: unless steps are counted, the next one waits until it is a small share of the time.

What a checkpoint is: one safetensors file, `<number>.<SHA-256 of the file>.safetensors`, its arrays called by their
places (`00000`, ...), its metadata `training` (what tells the training from others) and `state`, both JSON. The format
is plain, other tools read it, and one file is either there or not; `tf.train.Checkpoint` writes several, with no
digest over them, and names variables by objects. It is written here rather than by the library so that arrays are
read, hashed and written one after the other and never lie in memory a second time.

Nothing here knows of TensorFlow; `loop.train` says what there is to keep.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

WRITING_SHARE = 0.03
"""The share of the time that goes into checkpoints, at most."""

_UNFINISHED = "unfinished.tmp"
_NAME = re.compile(r"([0-9]{8})\.([0-9a-f]{64})\.safetensors")
_ALIGNMENT = 8
_DTYPES = {
    "bool": "BOOL",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
}
_NUMPY = {code: np.dtype(name) for name, code in _DTYPES.items()}


@dataclass(frozen=True)
class Checkpoints:
    """Where a training keeps its checkpoints, and how often it writes one.

    One is due `every_s` seconds after the last one and at the end of each epoch, but not before `WRITING_SHARE` of the
    time since the last one is as long as it took to write that one. So a crash costs the work of `every_s` seconds (or
    of 1 / `WRITING_SHARE` writes, if that is longer), and of the step or the evaluation that was going on.

    Attributes:
        folder: made if it is not there; the training has a folder of its own in it. No two processes may use it at
            once. What a training leaves in it stays there; asked for once more, a finished training is not repeated.
        every_s: seconds. MiniLM with AdamW's moments, 22 million weights, is 270 MB; to read, hash, write and sync them
            takes half a second on a plain disk, 1 % of a minute.
        every_steps: count steps instead, whatever that costs: one is due after so many, and at the end of each epoch.
    """

    folder: Path
    every_s: float = 60.0
    every_steps: int | None = None


@dataclass(frozen=True)
class Kept:
    """An array that a checkpoint is to hold; it is read when it is its turn.

    Attributes:
        shape: of what `read` returns.
        dtype: of what `read` returns.
        read: returns the array.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], NDArray[Any]]

    @property
    def size_bytes(self) -> int:
        """How long the array is on disk."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


@dataclass(frozen=True)
class Checkpoint:
    """What was read back.

    Attributes:
        state: what was given to `CheckpointFolder.write`, JSON values.
        arrays: in the order in which they were given; not writable.
    """

    state: Mapping[str, Any]
    arrays: Sequence[NDArray[Any]]


class _Unusable(Exception):
    """A checkpoint does not hold what this training wrote."""


class CheckpointFolder:
    """The checkpoints of one training.

    A crash leaves at most one unfinished file, which the next write replaces. For one process at a time.
    """

    def __init__(
        self,
        settings: Checkpoints,
        label: str,
        training: Mapping[str, object],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Look at nothing and write nothing yet.

        Args:
            settings: where and how often.
            label: what warnings call the training.
            training: all that tells it from others: JSON values, dataclasses, and objects with a `get_config`.
            clock: seconds.
        """
        self._settings = settings
        self._label = label
        self._training = json.dumps(training, sort_keys=True, default=_plain)
        identity = hashlib.sha256(self._training.encode()).hexdigest()
        self.folder = settings.folder / f"{label}-{identity[:16]}"
        self._clock = clock
        self._newest: Path | None = None
        self._number = 0
        self._step = 0
        self._since_s = clock()
        self._write_s = 0.0

    # -- reading -----------------------------------------------------------------------------------------------------

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, or None. Those that are not are told of, and go with the next write."""
        for path in reversed(_files(self.folder)):
            try:
                found = self._read(path)
            except (OSError, _Unusable) as error:
                logger.warning("%s: the checkpoint %s is not used: %s", self._label, path, error)
                continue
            self._newest = path
            self._number = int(path.name.partition(".")[0])
            return found
        self._tell_others()
        return None

    def _read(self, path: Path) -> Checkpoint:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != path.name.split(".")[1]:
            raise _Unusable("its bytes are not those that were written")
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        metadata = header.pop("__metadata__")
        if metadata["training"] != self._training:
            raise _Unusable(f"it is of another training ({self._differences(metadata['training'])})")
        arrays = []
        for name in sorted(header):
            dtype, shape = _NUMPY[header[name]["dtype"]], header[name]["shape"]
            begin, end = header[name]["data_offsets"]
            flat = np.frombuffer(data, dtype, (end - begin) // dtype.itemsize, start + begin)
            arrays.append(flat.reshape(shape))
        return Checkpoint(json.loads(metadata["state"]), arrays)

    def _tell_others(self) -> None:
        """Say why what lies where checkpoints of this training would is not used; several trainings may take turns."""
        for folder in _paths(self._settings.folder):
            if folder == self.folder or not folder.name.startswith(f"{self._label}-"):
                continue
            for path in _files(folder)[-1:]:
                try:
                    with path.open("rb") as file:
                        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
                    differences = self._differences(header["__metadata__"]["training"])
                except (OSError, ValueError, KeyError, MemoryError, OverflowError):
                    continue  # damaged, and nobody was going to use it
                logger.info("%s: does not go on from %s: of another training (%s)", self._label, path, differences)

    def _differences(self, training: str) -> str:
        ours, theirs = json.loads(self._training), json.loads(training)
        names = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
        return f"other {', '.join(names)}"

    # -- writing -----------------------------------------------------------------------------------------------------

    def is_due(self, step: int, *, epoch_ended: bool) -> bool:
        """Whether to write a checkpoint now; see `Checkpoints`."""
        if self._settings.every_steps is not None:
            return epoch_ended or step - self._step >= self._settings.every_steps
        waited_s = self._clock() - self._since_s
        return WRITING_SHARE * waited_s >= self._write_s and (epoch_ended or waited_s >= self._settings.every_s)

    def resumed(self, step: int) -> None:
        """Count from here on until the next checkpoint is due."""
        self._step, self._since_s = step, self._clock()

    def write(self, step: int, state: Mapping[str, object], arrays: Sequence[Kept]) -> None:
        """Write a checkpoint; if that fails, warn.

        Args:
            step: how many steps were done.
            state: JSON values.
            arrays: what else to keep.
        """
        start_s = self._clock()
        try:
            self._write(state, arrays)
        except OSError as error:
            logger.warning("%s: there is no checkpoint at step %d, the training goes on: %s", self._label, step, error)
            with contextlib.suppress(OSError):
                (self.folder / _UNFINISHED).unlink(missing_ok=True)
        self.resumed(step)
        self._write_s = self._since_s - start_s

    def _write(self, state: Mapping[str, object], arrays: Sequence[Kept]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        # Before the new one is written, so that there is room for it.
        for path in _paths(self.folder):
            if path != self._newest:
                path.unlink()
        unfinished = self.folder / _UNFINISHED
        digest = hashlib.sha256()
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            parts = (np.ascontiguousarray(array.read()).reshape(-1).view(np.uint8).data for array in arrays)
            for part in chain([memoryview(self._header(state, arrays))], parts):
                digest.update(part)
                while part:
                    part = part[os.write(descriptor, part) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        path = self.folder / f"{self._number + 1:08d}.{digest.hexdigest()}.safetensors"
        os.replace(unfinished, path)
        self._newest, self._number = path, self._number + 1
        _sync_folder(self.folder)

    def _header(self, state: Mapping[str, object], arrays: Sequence[Kept]) -> bytes:
        header: dict[str, object] = {
            "__metadata__": {"training": self._training, "state": json.dumps(state, sort_keys=True)}
        }
        begin = 0
        for place, array in enumerate(arrays):
            end = begin + array.size_bytes
            dtype = _DTYPES[array.dtype.name]
            header[f"{place:05d}"] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [begin, end]}
            begin = end
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % _ALIGNMENT)
        return len(text).to_bytes(8, "little") + text

    def discard(self) -> None:
        """Remove all checkpoints of the training, as far as that is possible."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._newest = None


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, for what tells a training from others."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while piece := file.read(1 << 20):
            digest.update(piece)
        return digest.hexdigest()


def _files(folder: Path) -> list[Path]:
    """What is called as a checkpoint is, oldest first."""
    return [path for path in _paths(folder) if _NAME.fullmatch(path.name)]


def _paths(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _plain(value: Any) -> object:
    """JSON for what is none itself."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "get_config"):
        return [type(value).__name__, value.get_config()]
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} does not tell a training from others in another process")
