"""What differs between two derivations of one stage, as reasons: config, code to the line, packages, inputs."""

from __future__ import annotations

import ast
import difflib
import json
import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from stagedml.core import fingerprint
from stagedml.core.code import Code, Unit
from stagedml.core.config import SELF, is_self_path
from stagedml.core.reasons import Cause, Reason
from stagedml.core.refs import is_dref, parse_dref

#: Where in `own_fields` the code stands, and how the names of packages begin there. No parameter is called so.
CODE = "stagedml code"
_PACKAGE = "stagedml package "
_ABSENT = [SELF]  #: in place of a field that a config has not; no value of a field
_LONGEST = 40  #: characters of a value in a reason
_MOST_NAMED = 4  #: inputs in a reason
_ORDER = (Cause.CODE, Cause.CONFIG, Cause.PACKAGE, Cause.INPUT, Cause.FIRST_BUILD)


def own_fields(config: Mapping[str, Any]) -> dict[str, str]:
    """What a derivation is made of itself, as texts that compare: of its inputs the names alone."""
    fields = {name: _text(_named(value)) for name, value in config.items() if name != "stagedml"}
    own = config.get("stagedml")
    for name, value in (own if isinstance(own, dict) else {}).items():
        if name == "packages" and isinstance(value, dict):
            fields |= {_PACKAGE + package: str(version) for package, version in value.items()}
        else:
            fields[f"stagedml {name}"] = _text(value)
    return fields


def reasons(
    before: Mapping[str, Any], after: Mapping[str, Any], old: Code | None = None, new: Code | None = None
) -> tuple[Reason, ...]:
    """What differs between two configs, what counts most first.

    Args:
        before, after: the configs.
        old, new: the code behind them, where it is known, for the line that changed.
    """
    found: list[Reason] = []
    for name in sorted({*before, *after} - {"stagedml"}):
        found += _field_reasons(name, before.get(name, _ABSENT), after.get(name, _ABSENT))
    first, second = (_beside_parameters(config) for config in (before, after))
    for name in sorted({*first, *second}):
        if first.get(name) != second.get(name):
            found.append(_reason_beside(name, first.get(name, ""), second.get(name, ""), old, new))
    return tuple(sorted(found, key=lambda reason: _ORDER.index(reason.cause)))


def _beside_parameters(config: Mapping[str, Any]) -> dict[str, str]:
    """What our own part of a config says: code, packages, and the like."""
    own = config.get("stagedml")
    return own_fields({"stagedml": own}) if own is not None else {}


def _reason_beside(name: str, before: str, after: str, old: Code | None, new: Code | None) -> Reason:
    if name == CODE:
        versions = [json.loads(text).partition(":")[0] if text else "" for text in (before, after)]
        if all(versions) and versions[0] != versions[1]:
            return Reason(Cause.CODE, f"fingerprint by other rules, version {' -> '.join(versions)}")
        return Reason(Cause.CODE, changed_place(old, new) if old is not None and new is not None else "")
    if name.startswith(_PACKAGE):
        return Reason(Cause.PACKAGE, name.removeprefix(_PACKAGE), before, after)
    return Reason(Cause.CONFIG, name.removeprefix("stagedml "), *cut_to_difference(before, after))


def _field_reasons(name: str, before: Any, after: Any) -> Iterator[Reason]:
    """What differs in a field: of a dict, in each of its entries."""
    if _text(before) == _text(after):
        return
    if _references(before) or _references(after):
        if _text(_without_references(before)) == _text(_without_references(after)):
            yield _input_reason(name, before, after)
            return
    elif isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            yield from _field_reasons(f"{name}.{key}", before.get(key, _ABSENT), after.get(key, _ABSENT))
        return
    yield Reason(Cause.CONFIG, name, *cut_to_difference(_shown(before), _shown(after)))


def _shown(value: Any) -> str:
    """A config's value for people: inputs by their names, outputs by their paths."""
    if value == _ABSENT:
        return ""
    return _text("/".join(value[1:]) if is_self_path(value) else _named(value))


def _named(value: Any) -> Any:
    """A config's value with the name of each input in place of its reference."""
    if is_dref(value):
        return {"input": parse_dref(value).name}
    if isinstance(value, list):
        return [_named(item) for item in value]
    if isinstance(value, dict):
        return {name: _named(item) for name, item in value.items()}
    return value


def _input_reason(name: str, before: Any, after: Any) -> Reason:
    """Which of the inputs in a field are others, by their names."""
    first, second = _references(before), _references(after)
    gone = [parse_dref(text).name for text in (Counter(first) - Counter(second)).elements()]
    come = [parse_dref(text).name for text in (Counter(second) - Counter(first)).elements()]
    others = [one for one in dict.fromkeys(come) if one in gone]
    removed = [one for one in dict.fromkeys(gone) if one not in come]
    added = [one for one in dict.fromkeys(come) if one not in gone]
    if removed and added and not others:
        return Reason(Cause.INPUT, f"input {name}", _listed(removed), _listed(added))
    parts = [f"another {_listed(others)}"] if others else []
    parts += [f"{_listed(added)} added"] if added else []
    parts += [f"{_listed(removed)} removed"] if removed else []
    return Reason(Cause.INPUT, f"input {name}: {', '.join(parts) or 'in another order'}")


def input_field(reason: Reason) -> str:
    """The field of the config whose inputs a reason speaks of; "" where it speaks of something else."""
    match = re.match(r"input ([^:]+)", reason.subject) if reason.cause is Cause.INPUT else None
    return match[1] if match else ""


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + f" and {len(names) - _MOST_NAMED} more" * (len(names) > _MOST_NAMED)


def _references(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value] if is_dref(value) else []
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in items for text in _references(item)]


def _without_references(value: Any) -> Any:
    """What a field holds besides inputs; None if that is nothing."""
    if value == _ABSENT or is_dref(value):
        return None
    if isinstance(value, list):
        return [_without_references(item) for item in value if not is_dref(item)] or None
    if isinstance(value, dict):
        return {name: _without_references(item) for name, item in value.items() if not is_dref(item)} or None
    return value


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def cut_to_difference(before: str, after: str) -> tuple[str, str]:
    """Two texts that differ, long ones cut to where they begin to."""
    common = next((place for place, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), None)
    common = min(len(before), len(after)) if common is None else common
    start = max(common - 10, 0) if common > _LONGEST - 10 and max(len(before), len(after)) > _LONGEST else 0
    return _cut(before, start), _cut(after, start)


def _cut(text: str, start: int) -> str:
    text = "..." * (start > 0) + text[start:]
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


# -- code -------------------------------------------------------------------------------------------------------------


def changed_units(old: Code, new: Code) -> list[tuple[Unit | None, Unit | None]]:
    """The definitions that differ, as they were and as they are: first those in both, then new ones, then gone ones.

    Modules have numbers that may shift; what did not change is told by its text, whatever it is called.
    """
    gone = _without(old, new)
    come = _without(new, old)
    pairs: list[tuple[Unit | None, Unit | None]] = []
    if old.units and new.units and old.units[0] in gone and new.units[0] in come:  # the builder, whatever its name
        pairs.append((gone.pop(gone.index(old.units[0])), come.pop(come.index(new.units[0]))))
    for by_number in (True, False):
        for unit in list(come):
            before = next((one for one in gone if _name(one, by_number) == _name(unit, by_number)), None)
            if before is not None:
                gone.remove(before)
                come.remove(unit)
                if before.text != unit.text:  # else only what it calls a module changed
                    pairs.append((before, unit))
    return [*pairs, *((None, unit) for unit in come), *((unit, None) for unit in gone)]


def _name(unit: Unit, by_number: bool) -> str:
    return unit.name if by_number else unit.name.rpartition(":")[2]


def _without(code: Code, other: Code) -> list[Unit]:
    """The units of a code that the other has not."""
    there = Counter(unit.digest for unit in other.units)
    left = []
    for unit in code.units:
        if there[unit.digest]:
            there[unit.digest] -= 1
        else:
            left.append(unit)
    return left


def changed_place(old: Code, new: Code) -> str:
    """Where code differs first: `file:line (definition)`; empty where that cannot be told."""
    pairs = changed_units(old, new)
    if not pairs:
        return ""
    before, after = pairs[0]
    unit = after or before
    assert unit is not None
    line = unit.line + (_first_difference(before.text, after.text, unit is new.units[0]) if before and after else 0)
    name = unit.name.rpartition(":")[2]
    gone = " is gone" if after is None else ""
    return f"{unit.file}:{line} ({name}{gone})"


def _first_difference(before: str, after: str, is_builder: bool) -> int:
    """How many lines into a definition it begins to differ in what counts."""
    try:
        old, new = ast.parse(textwrap.dedent(before)), ast.parse(textwrap.dedent(after))
        if is_builder:
            for tree in (old, new):
                _remove_what_configs_say(tree)
        line = _differing_line(old, new, 1)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # a value's text, or more than fits
        return 0
    if len(new.body) > 1 and line > (new.body[0].end_lineno or 1):
        return 0  # between the statements of one name there may be others, which nobody counted
    return line - 1


def _remove_what_configs_say(tree: ast.Module) -> None:
    """Take from a builder what counts in its config, and not in its code."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.args.defaults, node.args.kw_defaults = [], []
            node.decorator_list = [one for one in node.decorator_list if not fingerprint.is_stage(one)]


def _differing_line(old: ast.AST, new: ast.AST, line: int) -> int:
    """The line of the innermost first part of a syntax tree that is not as in another one."""
    line = getattr(new, "lineno", line)
    if type(old) is not type(new) or isinstance(new, ast.JoinedStr):
        return line
    for name, value in ast.iter_fields(new):
        earlier = getattr(old, name, None)
        if name in ("returns", "annotation"):
            continue
        if isinstance(value, ast.AST) and isinstance(earlier, ast.AST):
            if fingerprint.normalised(value) != fingerprint.normalised(earlier):
                return _differing_line(earlier, value, line)
        elif isinstance(value, list) and isinstance(earlier, list):
            found = _differing_item(earlier, value, line, isinstance(new, ast.ClassDef))
            if found is not None:
                return found
    return line


def _differing_item(old: list[Any], new: list[Any], line: int, in_class: bool) -> int | None:
    """The line of the first item that is not as in another list; of one that is gone, where it stood."""
    old, new = ([item for item in items if not _is_bare_string(item)] for items in (old, new))
    before, after = ([_comparable(item, in_class) for item in items] for items in (old, new))
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for kind, old_start, old_end, start, end in matcher.get_opcodes():
        if kind == "equal":
            continue
        if kind == "delete" and start == len(new):
            return int(getattr(new[-1], "end_lineno", line)) if new else line
        if kind == "replace" and old_end - old_start == end - start and isinstance(new[start], ast.AST):
            return _differing_line(old[old_start], new[start], line)
        return int(getattr(new[start], "lineno", line))
    return None


def _comparable(item: object, in_class: bool) -> str:
    if not isinstance(item, ast.AST):
        return repr(item)
    annotation = ast.dump(item.annotation) if in_class and isinstance(item, ast.AnnAssign) else ""
    return fingerprint.normalised(item) + annotation


def _is_bare_string(item: object) -> bool:
    return isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant) and isinstance(item.value.value, str)
