"""Compare two builds of one thing by what their files mean, and name where they first differ.

JSON, JSON lines, npy, npz, safetensors and TensorFlow checkpoints are compared by the values in them, everything else
by its bytes; what that makes of the whole stands in `sameness`. Rules this module keeps:

- Files of equal bytes are not looked into. Nothing is written.
- Both sides count the same: the other way round the verdict is the same.
- Memory is bounded whatever the sizes: files are read in pieces, tensors as `tensors` says. A JSON file is held whole,
  and compared by its bytes if it is larger than `LARGEST_JSON_BYTES`.
- A file that is not what its name says, on either side, is compared by its bytes, and the answer has a note of it.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import math
import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stagedml.errors import UsageError
from stagedml.ml import tensors
from stagedml.ml.sameness import (
    ByteDiffers,
    Comparison,
    EntryDiffers,
    EpochDiffers,
    FileDiffers,
    LineDiffers,
    Place,
    RecordDiffers,
    Sameness,
    TensorDiffers,
    Tolerance,
    ValueDiffers,
)
from stagedml.ml.tensors import Tensor, UnreadableTensors
from stagedml.ml.tfrecord import DamagedRecords, read_frames

LARGEST_JSON_BYTES = 1 << 26

_PIECE_BYTES = 1 << 20
_SNIFFED_BYTES = 8192
_LONGEST_SHOWN = 80

_CHECKPOINT = re.compile(r"(.+)(?:\.index|\.data-\d{5}-of-\d{5})")
_RECORDS = re.compile(r".+\.tfrecords?(-\d+-of-\d+)?")


class UnreadableTree(UsageError):
    """Something in a tree cannot be read, or is no file, folder or link."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: cannot be compared ({self.reason}); see that it is there and may be read by you"


class _NotWhatItSays(Exception):
    """A file cannot be compared by its meaning."""


def compare_trees(
    before: Path, after: Path, *, left_out: Collection[str] = (), tolerance: Tolerance | None = None
) -> Comparison:
    """Compare two folders and everything below them.

    Args:
        before, after: the folders.
        left_out: names at the top that are no part of what is compared, such as logs.
        tolerance: for floating point numbers in JSON and in tensors; the default is `Tolerance()`.

    Raises:
        UnreadableTree: one of them is no folder, or holds what cannot be read, or things other than files, folders and
            symbolic links.
    """
    sides = _entries(before, left_out), _entries(after, left_out)
    allowed = Tolerance() if tolerance is None else tolerance
    paths = {*sides[0], *sides[1]}
    differing = 0
    first: FileDiffers | None = None
    epoch: EpochDiffers | None = None
    for found in _differing_files(before, after, *sides, allowed):
        differing += 1
        if first is None or (_badness(found.sameness), os.fsencode(found.path)) < (
            _badness(first.sameness),
            os.fsencode(first.path),
        ):
            first = found
        if found.epoch is not None:
            epoch = found.epoch if epoch is None else _earlier(epoch, found.epoch)
    return Comparison(
        sameness=Sameness.IDENTICAL if first is None else first.sameness,
        files=len(paths),
        differing=differing,
        first=first,
        epoch=epoch,
    )


def _badness(sameness: Sameness) -> int:
    """The worse the smaller, to look for the first of the worst."""
    return -list(Sameness).index(sameness)


def _earlier(one: EpochDiffers, other: EpochDiffers) -> EpochDiffers:
    best = min(one, other, key=lambda epoch: (_badness(epoch.sameness), epoch.epoch, os.fsencode(epoch.file)))
    return replace(best, since=min(one.since, other.since))


# -- trees -----------------------------------------------------------------------------------------------------------


class _Entry(NamedTuple):
    """What stands at a path."""

    kind: str  #: in words
    size: int = 0
    is_file: bool = False


def _entries(top: Path, left_out: Collection[str]) -> dict[str, _Entry]:
    found: dict[str, _Entry] = {}
    pending = [""]
    while pending:
        folder = pending.pop()
        with _readable(top / folder), os.scandir(top / folder) as items:
            for item in items:
                if folder or item.name not in left_out:
                    path = f"{folder}/{item.name}" if folder else item.name
                    found[path] = _entry(item)
                    if item.is_dir(follow_symlinks=False):
                        pending.append(path)
    return found


def _entry(item: os.DirEntry[str]) -> _Entry:
    status = item.stat(follow_symlinks=False)
    mode = status.st_mode
    if stat.S_ISDIR(mode):
        return _Entry("a folder")
    if stat.S_ISLNK(mode):
        return _Entry(f"a link to {os.readlink(item.path)}")
    if stat.S_ISREG(mode):
        return _Entry("an executable file" if mode & stat.S_IXUSR else "a file", status.st_size, is_file=True)
    raise UnreadableTree(item.path, "it is no file, folder or symbolic link")


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnreadableTree(str(error.filename or path), error.strerror or str(error)) from error


def _differing_files(
    before: Path,
    after: Path,
    old: Mapping[str, _Entry],
    new: Mapping[str, _Entry],
    tolerance: Tolerance,
) -> Iterator[FileDiffers]:
    """All that is not identical."""
    checkpoints = _checkpoints(old, new)
    for path in sorted({*old, *new}, key=os.fsencode):
        first, second = old.get(path), new.get(path)
        match = _CHECKPOINT.fullmatch(path)
        if match and match[1] in checkpoints:
            if members := checkpoints[match[1]]:
                yield from _checkpoint(match[1], members, before, after, old, new, tolerance)
                members.clear()  # all of them together, when the first is met
        elif first is None or second is None or first.kind != second.kind:
            yield _other_entry(path, first, second)
        elif first.is_file:
            with _readable(before / path):
                if found := _file(path, before / path, after / path, tolerance):
                    yield found


def _other_entry(path: str, first: _Entry | None, second: _Entry | None) -> FileDiffers:
    kinds = (entry.kind if entry else None for entry in (first, second))
    return FileDiffers(path, Sameness.DIFFERENT, EntryDiffers(*kinds))


def _checkpoints(old: Mapping[str, _Entry], new: Mapping[str, _Entry]) -> dict[str, list[str]]:
    """The TensorFlow checkpoints that both have: the files of each, in the order of paths, by prefix."""
    found: dict[str, list[str]] = {}
    for path in sorted({*old, *new}, key=os.fsencode):
        if match := _CHECKPOINT.fullmatch(path):
            found.setdefault(match[1], []).append(path)

    def is_whole(members: Sequence[str], side: Mapping[str, _Entry]) -> bool:
        there = [path for path in members if path in side]
        return len(there) > 1 and any(path.endswith(".index") for path in there)

    return {
        prefix: members
        for prefix, members in found.items()
        if is_whole(members, old)
        and is_whole(members, new)
        and len({side[path].kind for side in (old, new) for path in members if path in side}) == 1
        and all(side[path].is_file for side in (old, new) for path in members if path in side)
    }


def _checkpoint(
    prefix: str,
    members: Sequence[str],
    before: Path,
    after: Path,
    old: Mapping[str, _Entry],
    new: Mapping[str, _Entry],
    tolerance: Tolerance,
) -> Iterator[FileDiffers]:
    """A checkpoint of several files: one answer, or one for each file if its tensors cannot be read."""
    differing = []
    for path in members:
        with _readable(before / path):
            if path not in old or path not in new or _first_byte(before / path, after / path) is not None:
                differing.append(path)
    if not differing:
        return
    try:
        found = _tensors(before / prefix, after / prefix, tensors.open_checkpoint, tolerance)
        yield FileDiffers(differing[0], found.sameness, found.place)
    except UnreadableTensors as error:
        for path in differing:
            if path not in old or path not in new:
                yield _other_entry(path, old.get(path), new.get(path))
            else:
                with _readable(before / path):
                    yield _by_bytes(path, before / path, after / path, _note(error, before / prefix, after / prefix))


# -- files -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    """What came of comparing two files by their meaning."""

    sameness: Sameness = Sameness.EQUAL
    place: Place | None = None
    epoch: EpochDiffers | None = None


def _file(path: str, first: Path, second: Path, tolerance: Tolerance) -> FileDiffers | None:
    """How two files differ; None if they are identical."""
    if _first_byte(first, second) is None:
        return None
    meaning = _meaning(path)
    note = ""
    if meaning is not None:
        try:
            found = meaning(first, second, tolerance)
            epoch = replace(found.epoch, file=path) if found.epoch else None
            return FileDiffers(path, found.sameness, found.place, epoch)
        except (UnreadableTensors, DamagedRecords, _NotWhatItSays, MemoryError, OverflowError) as error:
            note = _note(error, first, second)
    return _by_bytes(path, first, second, note)


def _note(error: Exception, first: Path, second: Path) -> str:
    path = getattr(error, "path", None)
    side = {str(first): "before, ", str(second): "after, "}.get(str(path), "")
    reason = getattr(error, "reason", None) or getattr(error, "problem", None) or str(error)
    return f"compared by bytes: {side}{_short(str(reason), 200)}"


def _meaning(path: str) -> Callable[[Path, Path, Tolerance], _Found] | None:
    """Who knows what is in a file of that name."""
    name = path.rpartition("/")[2].lower()
    if _RECORDS.fullmatch(name):
        return _records
    return _MEANINGS.get(name.rpartition(".")[2]) if "." in name else None


def _by_bytes(path: str, first: Path, second: Path, note: str = "") -> FileDiffers:
    offset = _first_byte(first, second)
    assert offset is not None
    place: Place
    if _is_text(first) and _is_text(second):
        place = _line(first, second, offset)
    else:
        place = ByteDiffers(offset, first.stat().st_size, second.stat().st_size)
    return FileDiffers(path, Sameness.DIFFERENT, place, note=note)


def _first_byte(first: Path, second: Path) -> int | None:
    """The offset of the first byte that differs; None if there is none."""
    if os.path.samefile(first, second):  # a store links equal files
        return None
    offset = 0
    with first.open("rb", buffering=0) as one, second.open("rb", buffering=0) as other:
        while True:
            pieces = _filled(one), _filled(other)
            if pieces[0] != pieces[1]:
                both = min(map(len, pieces))
                arrays = [np.frombuffer(piece[:both], np.uint8) for piece in pieces]
                others = np.flatnonzero(arrays[0] != arrays[1])
                return offset + (int(others[0]) if others.size else both)
            if not pieces[0]:
                return None
            offset += len(pieces[0])


def _filled(file: Any) -> bytes:
    """The next piece of a file; shorter than others only at its end."""
    data: bytes = file.read(_PIECE_BYTES)
    while 0 < len(data) < _PIECE_BYTES and (more := file.read(_PIECE_BYTES - len(data))):
        data += more
    return data


def _is_text(path: Path) -> bool:
    with path.open("rb") as file:
        data = file.read(_SNIFFED_BYTES)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return False
    return b"\0" not in data


def _line(first: Path, second: Path, offset: int) -> LineDiffers:
    """The line that an offset lies in."""
    number, start, position = 1, 0, 0
    with first.open("rb") as file:
        while position < offset and (data := file.read(min(_PIECE_BYTES, offset - position))):
            number += data.count(b"\n")
            if (last := data.rfind(b"\n")) >= 0:
                start = position + last + 1
            position += len(data)
    near = max(start, offset - _LONGEST_SHOWN // 2)
    texts = []
    for path in (first, second):
        with path.open("rb") as file:
            file.seek(near)
            line = file.readline(_LONGEST_SHOWN)
        while near > start and line and line[0] & 0xC0 == 0x80:  # not from the middle of a character
            line = line[1:]
        texts.append(line.decode("utf-8", "ignore") if path.stat().st_size > start else None)
    return LineDiffers(number, *texts)


def _records(first: Path, second: Path, tolerance: Tolerance) -> _Found:
    """The first record that differs, by its bytes."""
    for number, (one, other) in enumerate(zip_longest(read_frames(first), read_frames(second)), start=1):
        if one != other:
            sizes = (frame if frame is None else len(frame) - 4 for frame in (one, other))
            return _Found(Sameness.DIFFERENT, RecordDiffers(number, *sizes))
    raise _NotWhatItSays("only checksums differ")


# -- JSON ------------------------------------------------------------------------------------------------------------

_NOTHING = object()
_PLAIN_NAME = re.compile(r"[^\s.\[\]\"'\\][^.\[\]\"'\\]*")
_Steps = tuple["str | int", ...]


class _Difference(NamedTuple):
    sameness: Sameness
    steps: _Steps
    before: Any
    after: Any


def _json(first: Path, second: Path, tolerance: Tolerance) -> _Found:
    """One value in each file, or one on each line."""
    try:
        pair = _parsed(_whole(first)), _parsed(_whole(second))
    except _NotWhatItSays as no_value:
        if not (first.stat().st_size and second.stat().st_size):  # nothing would be no lines
            raise
        try:
            return _json_lines(first, second, tolerance)
        except _NotWhatItSays:
            raise no_value from None
    if all(isinstance(value, list) for value in pair):
        return _entry_by_entry(zip_longest(*pair, fillvalue=_NOTHING), tolerance)
    with _bounded_depth():
        return _first_of_worst(_differences(*pair, (), tolerance))


def _json_lines(first: Path, second: Path, tolerance: Tolerance) -> _Found:
    return _entry_by_entry(zip_longest(_lines(first), _lines(second), fillvalue=_NOTHING), tolerance)


def _whole(path: Path) -> bytes:
    if path.stat().st_size > LARGEST_JSON_BYTES:
        raise _NotWhatItSays(f"more than {LARGEST_JSON_BYTES >> 20} MiB of JSON")
    return path.read_bytes()


def _lines(path: Path) -> Iterator[Any]:
    """The values of a file of JSON lines; blank lines are none."""
    with path.open("rb") as file:
        while line := file.readline(LARGEST_JSON_BYTES + 1):
            if len(line) > LARGEST_JSON_BYTES:
                raise _NotWhatItSays(f"a line has more than {LARGEST_JSON_BYTES >> 20} MiB")
            if not line.isspace():
                yield _parsed(line)


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data, object_pairs_hook=_without_twins)
    except (ValueError, RecursionError) as error:
        raise _NotWhatItSays(f"not JSON: {error}") from error


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; readers disagree on one that has a name twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


@contextlib.contextmanager
def _bounded_depth() -> Iterator[None]:
    try:
        yield
    except RecursionError as error:
        raise _NotWhatItSays("JSON too deep") from error


def _entry_by_entry(pairs: Iterable[tuple[Any, Any]], tolerance: Tolerance) -> _Found:
    """Two lists; where objects have an `epoch` they are a training's protocol, and no entry is left out."""
    worst: _Difference | None = None
    earliest: EpochDiffers | None = None
    with _bounded_depth():
        for index, (one, other) in enumerate(pairs):
            # The same entry is gone through once for each sameness: the first place may be another one.
            for found in _first_of_each(_differences(one, other, (index,), tolerance)):
                if worst is None or found.sameness > worst.sameness:
                    worst = found
                epochs = [epoch for epoch in (_epoch(one), _epoch(other)) if epoch is not None]
                if epochs:
                    differs = EpochDiffers(
                        "", found.sameness, min(epochs), min(epochs), _told(found.steps[1:]), *_texts(found)
                    )
                    earliest = differs if earliest is None else _earlier(earliest, differs)
    if worst is None:
        return _Found()
    return _Found(worst.sameness, ValueDiffers(_told(worst.steps), *_texts(worst)), earliest)


def _epoch(entry: Any) -> float | None:
    epoch = entry.get("epoch") if isinstance(entry, dict) else None
    return epoch if isinstance(epoch, (int, float)) and type(epoch) is not bool and math.isfinite(epoch) else None


def _first_of_each(differences: Iterable[_Difference]) -> Iterator[_Difference]:
    """The differences that are worse than all before."""
    worst = Sameness.EQUAL
    for found in differences:
        if found.sameness > worst:
            yield found
            worst = found.sameness
        if worst is Sameness.DIFFERENT:
            return


def _first_of_worst(differences: Iterable[_Difference]) -> _Found:
    found = _Found()
    for one in _first_of_each(differences):
        found = _Found(one.sameness, ValueDiffers(_told(one.steps), *_texts(one)))
    return found


def _differences(one: Any, other: Any, steps: _Steps, tolerance: Tolerance) -> Iterator[_Difference]:
    """Where two values differ, in the order of the first."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in dict.fromkeys((*one, *other)):
            yield from _differences(one.get(name, _NOTHING), other.get(name, _NOTHING), (*steps, name), tolerance)
    elif isinstance(one, list) and isinstance(other, list):
        for index, (item, counterpart) in enumerate(zip_longest(one, other, fillvalue=_NOTHING)):
            yield from _differences(item, counterpart, (*steps, index), tolerance)
    else:
        sameness = _of_values(one, other, tolerance)
        if sameness > Sameness.EQUAL:
            yield _Difference(sameness, steps, one, other)


def _of_values(one: Any, other: Any, tolerance: Tolerance) -> Sameness:
    if not (_is_number(one) and _is_number(other)):
        return Sameness.EQUAL if type(one) is type(other) and one == other else Sameness.DIFFERENT
    if one == other or (one != one and other != other):
        return Sameness.EQUAL
    if isinstance(one, int) and isinstance(other, int):
        return Sameness.DIFFERENT
    try:
        gap, scale = abs(one - other), max(abs(one), abs(other))
        close = math.isfinite(scale) and gap <= tolerance.atol + tolerance.rtol * scale
    except OverflowError:  # a whole number that is no float
        close = False
    return Sameness.CLOSE if close else Sameness.DIFFERENT


def _is_number(value: Any) -> bool:
    return type(value) is int or type(value) is float


def _told(steps: _Steps) -> str:
    """`name.name[3]`; a name that this would garble is in quotes: `["a.b"]`."""
    told = ""
    for step in steps:
        if isinstance(step, int):
            told += f"[{step}]"
        elif _PLAIN_NAME.fullmatch(step) and step.isprintable():
            told += f".{step}" if told else step
        else:
            told += f"[{json.dumps(step)}]"
    return told


def _texts(found: _Difference) -> tuple[str | None, str | None]:
    before, after = (None if value is _NOTHING else json.dumps(value) for value in (found.before, found.after))
    if before is None or after is None or max(len(before), len(after)) <= _LONGEST_SHOWN:
        return before and _short(before), after and _short(after)
    same = next((at for at, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), 0)
    start = max(0, same - _LONGEST_SHOWN // 2)
    dots = "..." if start else ""
    return _short(dots + before[start:]), _short(dots + after[start:])


def _short(text: str, longest: int = _LONGEST_SHOWN) -> str:
    return text if len(text) <= longest + 3 else text[:longest] + "..."


# -- tensors ---------------------------------------------------------------------------------------------------------

_Open = Callable[[Path], "contextlib.AbstractContextManager[tensors.Tensors]"]


def _tensors(first: Path, second: Path, opened: _Open, tolerance: Tolerance) -> _Found:
    """The first tensor that differs most, by name."""
    with opened(first) as one, opened(second) as other:
        found = _Found()
        for name in sorted({*one.by_name, *other.by_name}, key=_by_numbers):
            sameness, place = _tensor(name, one.by_name.get(name), other.by_name.get(name), tolerance)
            if sameness > found.sameness:
                found = _Found(sameness, place)
            if sameness is Sameness.DIFFERENT:
                return found
        about = _first_of_worst(_differences(dict(one.about), dict(other.about), ("__metadata__",), tolerance))
        return about if about.sameness > found.sameness else found


def _by_numbers(name: str) -> list[tuple[int, str]]:
    """Layer 2 before layer 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)] + [(-2, name)]


def _tensor(
    name: str, one: Tensor | None, other: Tensor | None, tolerance: Tolerance
) -> tuple[Sameness, TensorDiffers | None]:
    before, after = (str(tensor) if tensor else None for tensor in (one, other))
    if one is None or other is None or before != after:
        return Sameness.DIFFERENT, TensorDiffers(name, before, after)
    tally = _Tally(tolerance)
    for piece, counterpart in _pairs(one, other):
        tally.add(piece, counterpart)
    if not tally.differing:
        return Sameness.EQUAL, None
    differs = TensorDiffers(
        name, before, after, one.size, tally.differing, tally.largest_absolute, tally.largest_relative
    )
    return (Sameness.CLOSE if tally.close else Sameness.DIFFERENT), differs


def _pairs(one: Tensor, other: Tensor) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """The elements of both in one order."""
    if one.order == other.order or len(one.shape) < 2 or not one.size:
        yield from zip(one.pieces(), other.pieces(), strict=True)
    else:  # by rows and by columns: both are held whole, which two builds of one stage hardly ever need
        flat = (
            np.concatenate(list(tensor.pieces())).reshape(tensor.shape, order=tensor.order).ravel(order="C")
            for tensor in (one, other)
        )
        yield next(flat), next(flat)


class _Tally:
    """What differs between two tensors, piece by piece."""

    def __init__(self, tolerance: Tolerance) -> None:
        self._tolerance = tolerance
        self.differing = 0
        self.close = True
        self.largest_absolute: float | None = None
        self.largest_relative: float | None = None

    def add(self, one: NDArray[Any], other: NDArray[Any]) -> None:
        kind = one.dtype.kind
        if kind in "fc":
            equal = (one == other) | (np.isnan(one) & np.isnan(other))
        elif kind == "V":
            equal = (_bytes_of(one) == _bytes_of(other)).all(axis=1)
        elif kind in "mM":
            equal = one.view(np.int64) == other.view(np.int64)
        else:
            equal = np.asarray(one == other)
        if equal.all():
            return
        self.differing += int(np.count_nonzero(~equal))
        one, other = one[~equal], other[~equal]
        if kind in "fc":
            self._add_numbers(one, other)
        else:
            self.close = False
            if kind in "iu":
                self._add_whole(one, other)

    def _add_numbers(self, one: NDArray[Any], other: NDArray[Any]) -> None:
        wide = np.result_type(one.dtype, np.complex128 if one.dtype.kind == "c" else np.float64)
        one, other = one.astype(wide), other.astype(wide)
        with np.errstate(all="ignore"):
            scale = np.maximum(np.abs(one), np.abs(other))  # NaN if one is
            finite = np.isfinite(scale)
            gap = np.where(finite, np.abs(one - other), np.inf)
            self.close &= bool(np.all(finite & (gap <= self._tolerance.atol + self._tolerance.rtol * scale)))
            self._largest(gap, np.where(finite, gap / scale, np.inf))

    def _add_whole(self, one: NDArray[Any], other: NDArray[Any]) -> None:
        low, high = np.minimum(one, other), np.maximum(one, other)
        wrapped = np.uint64 if one.dtype.kind == "u" else np.int64
        gap = (high.astype(wrapped).view(np.uint64) - low.astype(wrapped).view(np.uint64)).astype(np.float64)
        self._largest(gap, gap / np.maximum(np.abs(low.astype(np.float64)), np.abs(high.astype(np.float64))))

    def _largest(self, absolute: NDArray[Any], relative: NDArray[Any]) -> None:
        self.largest_absolute = max(self.largest_absolute or 0.0, float(absolute.max()))
        self.largest_relative = max(self.largest_relative or 0.0, float(relative.max()))


def _bytes_of(array: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(array).view(np.uint8).reshape(array.size, -1)


def _by(opened: _Open) -> Callable[[Path, Path, Tolerance], _Found]:
    return lambda first, second, tolerance: _tensors(first, second, opened, tolerance)


#: By the last part of a name.
_MEANINGS: Mapping[str, Callable[[Path, Path, Tolerance], _Found]] = {
    "json": _json,
    "jsonl": _json_lines,
    "ndjson": _json_lines,
    "npy": _by(tensors.open_npy),
    "npz": _by(tensors.open_npz),
    "safetensors": _by(tensors.open_safetensors),
}
