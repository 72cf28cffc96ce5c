"""How much two builds of one thing are the same, in values that can be kept and told.

`compare.compare_trees` finds it out. What counts as a difference:

- *identical*: every file has the same bytes, kind and mode.
- *equal tensors*: some bytes differ, and no value does: the same tensors with other times in the zip file, the same
  JSON with other spaces, -0.0 for 0.0. NaN equals NaN.
- *equal within tolerance*: some floating point numbers differ, none by more than the `Tolerance`. Whole numbers, texts
  and shapes have no tolerance.
- *different*: anything else.
"""

from __future__ import annotations

import functools
import json
import math
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, TypeAlias

from stagedml.errors import UsageError

_FLOAT32_EPSILON = 2.0**-23

#: 64 units in the last place of a float32, 7.6e-6: rounding moves a sum of n numbers by about the square root of n
#: units when their order changes, so this is what 4096 numbers are worth. It is between what numpy.allclose (1e-5) and
#: torch.testing.assert_close (1.3e-6) allow.
RTOL = 64 * _FLOAT32_EPSILON
#: One unit in the last place of a float32 near 1, 1.2e-7: what terms of that size leave where they cancel out.
ATOL = _FLOAT32_EPSILON


@functools.total_ordering
class Sameness(Enum):
    """How much two things are the same; the worse is the greater, so that `max` sums up."""

    IDENTICAL = "identical"
    EQUAL = "equal tensors"
    CLOSE = "equal within tolerance"
    DIFFERENT = "different"

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Sameness):
            return NotImplemented
        order = list(Sameness)
        return order.index(self) < order.index(other)

    def __str__(self) -> str:
        return self.value


class InvalidTolerance(UsageError):
    """A tolerance is negative or not a number."""

    def __init__(self, name: str, value: float) -> None:
        super().__init__(name, value)
        self.name, self.value = name, value

    def __str__(self) -> str:
        return f"{self.name}={self.value!r}: give a finite number, 0 or more"


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far apart floating point numbers may be: |a - b| <= atol + rtol * max(|a|, |b|).

    It is one for all types. The defaults suit float32 and what is computed from it; weights that are kept in half
    precision need the epsilon of that (float16: 2**-10, bfloat16: 2**-7) as `rtol`. Infinities and NaN equal
    themselves alone.

    Raises:
        InvalidTolerance: one of them is negative or not finite.
    """

    rtol: float = RTOL
    atol: float = ATOL

    def __post_init__(self) -> None:
        for name, value in (("rtol", self.rtol), ("atol", self.atol)):
            if not (math.isfinite(value) and value >= 0):
                raise InvalidTolerance(name, value)


# -- where files differ ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EntryDiffers:
    """One of the two is missing, of another kind, or a link that leads elsewhere; None where there is nothing."""

    before: str | None
    after: str | None

    def __str__(self) -> str:
        return _change(self.before, self.after)


@dataclass(frozen=True, slots=True)
class ValueDiffers:
    """A value in a JSON file.

    Attributes:
        place: `name.name[3]`; empty for all of the file. Of JSON lines, `[3]` is the fourth line that is not blank.
        before, after: the values as JSON, shortened; None where there is none.
    """

    place: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        return f"{self.place} {_change(self.before, self.after)}".lstrip()


@dataclass(frozen=True, slots=True)
class TensorDiffers:
    """A tensor of a npy, npz or safetensors file or of a TensorFlow checkpoint.

    Attributes:
        name: empty for the one of a npy file.
        before, after: type and shape, `float32[3,4]`; None where there is no such tensor. The rest is only known
            where these are equal.
        elements: how many the tensor has.
        differing: how many of them are not equal, within the tolerance or not.
        largest_absolute: the largest |a - b|; infinite where a NaN or an infinity stands against another number; None
            for what is no number.
        largest_relative: the largest |a - b| / max(|a|, |b|), in the same way.
    """

    name: str
    before: str | None
    after: str | None
    elements: int = 0
    differing: int = 0
    largest_absolute: float | None = None
    largest_relative: float | None = None

    def __str__(self) -> str:
        if self.before != self.after:
            return f"{self.name} {_change(self.before, self.after)}".lstrip()
        told = f"{self.name} {self.before}: {self.differing} of {self.elements} elements differ".lstrip()
        if self.largest_absolute is None or self.largest_relative is None:
            return told
        return f"{told}, by up to {self.largest_absolute:.3g} (relative {self.largest_relative:.3g})"


@dataclass(frozen=True, slots=True)
class LineDiffers:
    """A line of a text file.

    Attributes:
        number: counted from 1.
        before, after: the line, or what of it is near the difference; None where the file has ended before.
    """

    number: int
    before: str | None
    after: str | None

    def __str__(self) -> str:
        before, after = (text if text is None else _quoted(text) for text in (self.before, self.after))
        return f"line {self.number}: {_change(before, after)}"


@dataclass(frozen=True, slots=True)
class RecordDiffers:
    """A record of a TFRecord file.

    Attributes:
        number: counted from 1.
        before, after: sizes in bytes; None where the file has ended before.
    """

    number: int
    before: int | None
    after: int | None

    def __str__(self) -> str:
        if self.before == self.after:
            return f"record {self.number}: {self.before} other bytes"
        before, after = (size if size is None else f"{size} bytes" for size in (self.before, self.after))
        return f"record {self.number}: {_change(before, after)}"


@dataclass(frozen=True, slots=True)
class ByteDiffers:
    """A byte of any other file.

    Attributes:
        offset: counted from 0.
        before, after: sizes of the files in bytes.
    """

    offset: int
    before: int
    after: int

    def __str__(self) -> str:
        sizes = "" if self.before == self.after else f" ({self.before} bytes -> {self.after} bytes)"
        return f"byte {self.offset}{sizes}"


Place: TypeAlias = "EntryDiffers | ValueDiffers | TensorDiffers | LineDiffers | RecordDiffers | ByteDiffers"


# -- the whole -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EpochDiffers:
    """The first epoch of a training in which something differs, by its protocol.

    Attributes:
        file: the protocol.
        sameness: how much; EQUAL never.
        epoch: the first in which something differs that much.
        since: the first in which anything differs, be it within the tolerance.
        key: what differs in it, `loss` or `rates[0]`; empty where all of an entry is there or not.
        before, after: the values as JSON, shortened; None where there is none.
    """

    file: str
    sameness: Sameness
    epoch: float
    since: float
    key: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        told = f"epoch {self.epoch}: {self.key} {_change(self.before, self.after)}".replace("  ", " ")
        if self.sameness is Sameness.CLOSE:
            return f"{told}, within tolerance"
        return told if self.since == self.epoch else f"{told}, within tolerance since epoch {self.since}"


@dataclass(frozen=True, slots=True)
class FileDiffers:
    """A file that is not identical.

    Attributes:
        path: relative, parts joined by `/`. Of a TensorFlow checkpoint, its first file that is not identical.
        sameness: how much it is the same.
        place: where it first differs that much; None where all values are equal.
        epoch: where it is the protocol of a training.
        note: why it was compared by its bytes although its name speaks of values; empty otherwise.
    """

    path: str
    sameness: Sameness
    place: Place | None = None
    epoch: EpochDiffers | None = None
    note: str = ""

    def __str__(self) -> str:
        told = "same values in other bytes" if self.place is None else str(self.place)
        return f"{_shown(self.path)}: {told}" + (f" ({_shown(self.note)})" if self.note else "")


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much two trees are the same.

    Attributes:
        sameness: that of the worst file.
        files: how many files, links and folders both have together.
        differing: how many of them are not identical.
        first: the first, by path, of the worst files; None where all are identical.
        epoch: the first epoch that differs in the worst of all protocols; None where none differs.
    """

    sameness: Sameness
    files: int
    differing: int
    first: FileDiffers | None = None
    epoch: EpochDiffers | None = None

    def told(self) -> str:
        """All of it in one line: `different: metrics.json: accuracy 0.81 -> 0.79 (first differs in ...)`."""
        if self.first is None:
            return str(self.sameness)
        told = f"{self.sameness}: {self.first}"
        epoch = self.epoch
        if epoch is None:
            return told
        if epoch.file != self.first.path:
            return f"{told} (first differs in {_shown(epoch.file)} at {epoch})"
        return f"{told} (first differs at {epoch})"

    def __str__(self) -> str:
        return self.told()

    def to_json(self) -> dict[str, Any]:
        """As plain data; numbers that JSON has not, such as NaN, as texts. `place` names its `kind`."""
        plain: dict[str, Any] = _plain(asdict(self))
        if self.first is not None and self.first.place is not None:
            kind = type(self.first.place).__name__.removesuffix("Differs").lower()
            plain["first"]["place"] = {"kind": kind, **plain["first"]["place"]}
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Sameness):
        return value.value
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    return {name: _plain(item) for name, item in value.items()} if isinstance(value, dict) else value


def _change(before: str | None, after: str | None) -> str:
    return " -> ".join("(none)" if text is None else _shown(text) for text in (before, after))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _shown(text: str) -> str:
    """On one line, whatever is in it."""
    return text if text.isprintable() else repr(text)[1:-1]
