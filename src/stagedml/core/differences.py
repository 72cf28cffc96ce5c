"""What differs between two derivations of one stage, as reasons: config, code to the line, packages, inputs."""

from __future__ import annotations

import ast
import json
import textwrap
from collections import Counter
from collections.abc import Mapping
from typing import Any

from stagedml.core import fingerprint
from stagedml.core.code import Code, Unit
from stagedml.core.plan import Cause, Reason
from stagedml.core.refs import is_dref, parse_dref

#: Where in `own_fields` the code stands, and how the names of packages begin there. No parameter is called so.
CODE = "stagedml code"
_PACKAGE = "stagedml package "
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
    first, second = own_fields(before), own_fields(after)
    found = []
    for name in sorted({*first, *second}):
        if first.get(name) != second.get(name):
            found.append(_reason(name, first.get(name, ""), second.get(name, ""), old, new))
    for name in sorted({*before, *after} - {"stagedml"}):
        if before.get(name) != after.get(name) and first.get(name) == second.get(name):
            found.append(Reason(Cause.INPUT, f"input {name}: {_which(before.get(name), after.get(name))}"))
    return tuple(sorted(found, key=lambda reason: _ORDER.index(reason.cause)))


def _reason(name: str, before: str, after: str, old: Code | None, new: Code | None) -> Reason:
    if name == CODE:
        return Reason(Cause.CODE, changed_place(old, new) if old is not None and new is not None else "")
    if name.startswith(_PACKAGE):
        return Reason(Cause.PACKAGE, name.removeprefix(_PACKAGE), before, after)
    return Reason(Cause.CONFIG, name.removeprefix("stagedml "), _short(before), _short(after))


def _named(value: Any) -> Any:
    """A config's value with the name of each input in place of its reference."""
    if is_dref(value):
        return {"input": parse_dref(value).name}
    if isinstance(value, list):
        return [_named(item) for item in value]
    if isinstance(value, dict):
        return {name: _named(item) for name, item in value.items()}
    return value


def _which(before: Any, after: Any) -> str:
    """Which of the inputs in a field are others, by their names."""
    known = set(_references(before))
    others = dict.fromkeys(parse_dref(text).name for text in _references(after) if text not in known)
    return ", ".join(f"another {name}" for name in others) or "in another order"


def _references(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value] if is_dref(value) else []
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in items for text in _references(item)]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


# -- code -------------------------------------------------------------------------------------------------------------


def changed_units(old: Code, new: Code) -> list[tuple[Unit | None, Unit | None]]:
    """The definitions that differ, as they were and as they are: first those in both, then new ones, then gone ones.

    Modules have numbers that may shift; what did not change is told by its text, whatever it is called.
    """
    gone = _without(old, new)
    come = _without(new, old)
    pairs: list[tuple[Unit | None, Unit | None]] = []
    for by_number in (True, False):
        for unit in list(come):
            before = next((one for one in gone if _name(one, by_number) == _name(unit, by_number)), None)
            if before is not None:
                pairs.append((before, unit))
                gone.remove(before)
                come.remove(unit)
    if old.units and new.units and old.units[0] in gone and new.units[0] in come:  # the builder was renamed
        pairs.append((old.units[0], new.units[0]))
        gone.remove(old.units[0])
        come.remove(new.units[0])
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
    line = unit.line + (_first_difference(before.text, after.text) if before and after else 0)
    name = unit.name.rpartition(":")[2]
    gone = " is gone" if after is None else ""
    return f"{unit.file}:{line} ({name}{gone})"


def _first_difference(before: str, after: str) -> int:
    """How many lines into a definition it begins to differ in what counts."""
    try:
        old, new = ast.parse(textwrap.dedent(before)), ast.parse(textwrap.dedent(after))
    except (SyntaxError, ValueError):
        return 0
    return _differing_line(old, new, 1) - 1


def _counting(items: list[Any]) -> list[Any]:
    """Without strings that stand alone."""
    return [
        item
        for item in items
        if not (
            isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant) and isinstance(item.value.value, str)
        )
    ]


def _differing_line(old: ast.AST, new: ast.AST, line: int) -> int:
    """The line of the innermost first part of a syntax tree that is not as in another one."""
    line = getattr(new, "lineno", line)
    if type(old) is not type(new):
        return line
    for name, value in ast.iter_fields(new):
        earlier = getattr(old, name, None)
        if name in ("returns", "annotation"):
            continue
        if isinstance(value, ast.AST) and isinstance(earlier, ast.AST):
            if fingerprint.normalised(value) != fingerprint.normalised(earlier):
                return _differing_line(earlier, value, line)
        elif isinstance(value, list) and isinstance(earlier, list):
            earlier, value = _counting(earlier), _counting(value)
            for position, item in enumerate(value):
                if position >= len(earlier) or not isinstance(item, ast.AST):
                    if position >= len(earlier):
                        return int(getattr(item, "lineno", line))
                    continue
                if fingerprint.normalised(item) != fingerprint.normalised(earlier[position]):
                    return _differing_line(earlier[position], item, line)
            if len(earlier) > len(value):
                return int(getattr(value[-1], "end_lineno", line)) if value and isinstance(value[-1], ast.AST) else line
    return line
