"""What differs between two realizations: config, code, packages, inputs, metrics and files."""

from __future__ import annotations

import difflib
import json
import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stagedml.core import differences
from stagedml.core.code import Code, Unit
from stagedml.core.config import is_self_path
from stagedml.core.refs import RealizationRef, is_dref, parse_rref
from stagedml.store.hashing import Entry, UnpublishableContent, content_digest, scan
from stagedml.store.metadata import BuildRecord, Metadata, UnreadableMetadata
from stagedml.store.objects import Store

logger = logging.getLogger(__name__)

_METRICS = "metrics.json"
_HUNK = re.compile(r"@@ -(\d+)(,\d+)? \+(\d+)(,\d+)? @@")


@dataclass(frozen=True, slots=True)
class Changed:
    """A value that is otherwise; None where there is none."""

    name: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class ChangedCode:
    """A definition that is otherwise.

    Attributes:
        name: of the definition.
        place: `file:line`, where it stands now; of one that is gone, where it stood.
        lines: a unified diff of its source as it was written.
    """

    name: str
    place: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChangedInput:
    """An input that is another realization.

    Attributes:
        before, after: the realizations; "" where there is none.
        same_contents: whether both hold the same bytes.
    """

    name: str
    before: str
    after: str
    same_contents: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """The difference of two realizations. Everything that is equal is left out.

    Attributes:
        old, new: the realizations.
        same_contents: whether both hold the same bytes.
        config: parameters and outputs.
        code: definitions, where the code of both is kept; `code_known` says whether it is.
        packages: versions of the packages that the builds ran with, and of those that count.
        inputs: direct ones.
        metrics: the numbers in `metrics.json`, `name.name[place]`.
        files: sizes in bytes, by path; a file of equal size and other bytes is there, too.
    """

    old: str
    new: str
    same_contents: bool
    config: tuple[Changed, ...]
    code: tuple[ChangedCode, ...]
    code_known: bool
    code_differs: bool
    packages: tuple[Changed, ...]
    inputs: tuple[ChangedInput, ...]
    metrics: tuple[Changed, ...]
    files: tuple[Changed, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain data; numbers that JSON has not, such as NaN, as texts."""
        found: dict[str, Any] = _finite(asdict(self))
        return found


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


def compare(store: Store, old: RealizationRef, new: RealizationRef) -> Comparison:
    """The difference of two realizations, of one stage or of two. Raises NotInStore."""
    before, after = (_Side(store, ref) for ref in (old, new))
    codes = store.code(old.derivation), store.code(new.derivation)
    first, second = (differences.own_fields(side.config).get(differences.CODE) for side in (before, after))
    return Comparison(
        old=str(old),
        new=str(new),
        same_contents=before.content is not None and before.content == after.content,
        config=tuple(_changed(before.parameters, after.parameters)),
        code=tuple(_changed_code(*codes)) if first != second and codes[0] and codes[1] else (),
        code_known=None not in codes,
        code_differs=first != second,
        packages=tuple(_changed(before.packages, after.packages)),
        inputs=tuple(_changed_inputs(before, after)),
        metrics=tuple(one for one in _changed(before.metrics, after.metrics) if one.before != one.after),
        files=tuple(_changed_files(before, after)),
    )


class _Side:
    """One of the two realizations."""

    def __init__(self, store: Store, ref: RealizationRef) -> None:
        path = store.path(ref)
        try:
            self.known: Metadata | None = store.metadata(ref)
        except UnreadableMetadata:
            self.known = None
        self.store = store
        self.config = store.config(ref.derivation)
        self.parameters = {
            name: "/".join(value[1:]) if is_self_path(value) else value
            for name, value in self.config.items()
            if name != "stagedml" and not _holds_input(value)
        }
        self.inputs = store.inputs_of(ref, self.known)
        own = self.config.get("stagedml")
        counted = own.get("packages") if isinstance(own, dict) else None
        ran = _last_build(self.known).environment.get("packages") if self.known is not None else None
        self.packages = {**_mapping(counted), **_mapping(ran)}  # exact where it is known
        self.metrics = metrics_in(path)
        entries, self.content = _contents(path, self.known)
        self.files = {entry.path: (entry.size, entry.kind, entry.digest) for entry in entries if entry.kind != "d"}


def _contents(path: Path, known: Metadata | None) -> tuple[Sequence[Entry], str | None]:
    """The files of a realization, and the digest of all; of one without metadata they are read for it."""
    if known is not None:
        return known.files, known.content
    try:
        entries = scan(path)
    except UnpublishableContent as error:
        logger.warning("%s: its files cannot be compared: %s", path, error)
        return (), None
    return entries, content_digest(entries)


def _last_build(known: Metadata) -> BuildRecord:
    return max(known.builds, key=lambda build: max(build.started, build.published))


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _holds_input(value: Any) -> bool:
    if isinstance(value, str):
        return is_dref(value)
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_holds_input, items))


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Changed]:
    for name in dict.fromkeys((*before, *after)):
        if name not in before or name not in after or _differ(before[name], after[name]):
            yield Changed(name, before.get(name), after.get(name))


def _differ(before: Any, after: Any) -> bool:
    """Whether two values are written differently: 1 and 1.0 are not one, NaN is."""
    return json.dumps(before, sort_keys=True) != json.dumps(after, sort_keys=True)


def _changed_code(old: Code | None, new: Code | None) -> Iterator[ChangedCode]:
    assert old is not None
    assert new is not None
    for before, after in differences.changed_units(old, new):
        unit = after or before
        assert unit is not None
        yield ChangedCode(unit.name.rpartition(":")[2], f"{unit.file}:{unit.line}", tuple(_source_diff(before, after)))


def _source_diff(before: Unit | None, after: Unit | None) -> Iterator[str]:
    """A unified diff of a definition, with the lines of its file as far as these are known."""
    old, new = (unit.text.splitlines() if unit is not None else [] for unit in (before, after))
    from_file, to_file = (unit.file if unit is not None else "(none)" for unit in (before, after))
    offsets = [max(unit.line - 1, 0) if unit is not None else 0 for unit in (before, after)]
    for line in difflib.unified_diff(old, new, from_file, to_file, lineterm="", n=2):
        head = _HUNK.fullmatch(line)
        if head is None:
            yield line
        else:
            first, second = (int(head[group]) + offset for group, offset in zip((1, 3), offsets, strict=True))
            yield f"@@ -{first}{head[2] or ''} +{second}{head[4] or ''} @@"


def _changed_inputs(before: _Side, after: _Side) -> Iterator[ChangedInput]:
    first, second = (_by_name(side) for side in (before, after))
    for name in sorted({*first, *second}):
        gone = [rref for rref in first.get(name, ()) if rref not in second.get(name, ())]
        come = [rref for rref in second.get(name, ()) if rref not in first.get(name, ())]
        for place in range(max(len(gone), len(come))):
            old, new = (side[place] if place < len(side) else "" for side in (gone, come))
            contents = {_content(before.store, rref) if rref else None for rref in (old, new)}
            same = len(contents) == 1 and None not in contents
            yield ChangedInput(name, old, new, same)


def _by_name(side: _Side) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for rrefs in side.inputs.values():
        for rref in rrefs:
            found.setdefault(parse_rref(rref).name, []).append(rref)
    return found


def _content(store: Store, rref: str) -> str | None:
    try:
        known = store.metadata(parse_rref(rref))
    except UnreadableMetadata:
        return None
    return known.content if known is not None else None


def _changed_files(before: _Side, after: _Side) -> Iterator[Changed]:
    for path in sorted({*before.files, *after.files}):
        old, new = before.files.get(path), after.files.get(path)
        if old != new:
            yield Changed(path, old[0] if old else None, new[0] if new else None)


def metrics_in(folder: Path) -> dict[str, float]:
    """The numbers in the `metrics.json` of a realization, by where they stand in it; none where it cannot be read."""
    try:
        return dict(_numbers(json.loads((folder / _METRICS).read_text(encoding="utf-8"))))
    except (OSError, ValueError, RecursionError):
        return {}


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _numbers(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _numbers(item, f"{name}[{place}]")
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and name:
        yield name, value
