"""Configs: what a derivation is made of, as canonical JSON.

A config is a dict of JSON values: strings, booleans, integers, finite floats, null, lists, and dicts with string
keys. It is written with sorted keys and an indent of four, and a derivation's hash is the SHA-256 of exactly these
bytes; this is Pylightnix's own rule applied to a canonical order, so Pylightnix computes the same reference.

A path that starts with `__self__` names an output of the derivation itself; one that starts with a derivation reference
names a file of an input. The names in `RESERVED` are not for parameters.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from stagedml.core.refs import DerivationRef, is_dref, is_rref

Json: TypeAlias = Any  # a JSON value; recursive aliases read worse than they check
Config: TypeAlias = dict[str, Any]

SELF = "__self__"
_FIELD = "\n    "
_quoted = json.encoder.encode_basestring_ascii
_DEEPEST = 100
RESERVED = ("name", "r", "S", "stagedml")


def canonical(config: Mapping[str, Json]) -> str:
    """The one text of a config: what `json.dumps(config, indent=4, sort_keys=True)` gives, three times as fast.

    Raises ValueError for floats that are not finite, TypeError for what is no JSON value.
    """
    return joined(field_text(name, config[name]) for name in sorted(config))


def field_text(name: str, value: Json) -> str:
    """A field as it stands in the text of a config. Raises as `canonical`."""
    return f"{_quoted(name)}: {_written(value, _FIELD)}"


def joined(fields: Iterable[str]) -> str:
    """The text of a config, given those of its fields in the order of their names."""
    inside = f",{_FIELD}".join(fields)
    return f"{{{_FIELD}{inside}\n}}" if inside else "{}"


def _written(value: Json, newline: str) -> str:
    kind = type(value)
    if kind is str:
        return _quoted(value)
    if kind is dict:
        if not value:
            return "{}"
        inner = newline + "    "
        items = [f"{_quoted(name)}: {_written(value[name], inner)}" for name in sorted(value)]
        return f"{{{inner}{f',{inner}'.join(items)}{newline}}}"
    if kind is list:
        if not value:
            return "[]"
        inner = newline + "    "
        return f"[{inner}{f',{inner}'.join([_written(item, inner) for item in value])}{newline}]"
    if kind is int:
        return int.__repr__(value)
    # booleans, null, floats, and whatever is of a subclass of the above
    return json.dumps(value, indent=4, sort_keys=True, allow_nan=False).replace("\n", newline)


def reference(config: Mapping[str, Json], text: str | None = None) -> DerivationRef:
    """The derivation that a config declares; `text` is its canonical text, if it is at hand."""
    import hashlib  # takes milliseconds, and who looks at a store needs none

    digest = hashlib.sha256((text or canonical(config)).encode()).hexdigest()
    return DerivationRef(digest[:32], str(config.get("name", "unnamed")))


def problems_of(value: Json, field: str, depth: int = 0) -> Iterator[str]:
    """Why a value cannot be a parameter in a config, one sentence for each offending place inside it."""
    if depth > _DEEPEST:
        yield f"{field[:40]}...: lists and dicts are nested more than {_DEEPEST} deep"
    elif isinstance(value, str):
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            yield f"{field}: {value!r} holds half of a surrogate pair, which no UTF-8 file can hold"
        elif value.startswith("rref:") and is_rref(value):
            yield f"{field}: {value} is a realization; make it an input with `pinned(rref)`"
        elif value.startswith(("dref:", "rref:")) and not is_dref(value):
            yield f"{field}: {value!r} begins like a reference and is none"
    elif type(value) is float:
        if not math.isfinite(value):
            yield f"{field}: {value!r} is not a finite number"
    elif isinstance(value, list):
        if is_self_path(value):
            yield f"{field}: begins with {SELF!r} like the path of an output; outputs stand in the builder's signature"
        for index, item in enumerate(value):
            yield from problems_of(item, f"{field}[{index}]", depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(key, str):
                yield from problems_of(item, f"{field}.{key}", depth + 1)
            else:
                yield f"{field}: the key {key!r} is {article(type(key).__name__)}, keys must be strings"
    elif not (value is None or type(value) in (bool, int)):
        yield f"{field}: {article(type(value).__name__)} is no JSON value; {_remedy(value)}"


def article(noun: str) -> str:
    """`noun` with its indefinite article."""
    return f"an {noun}" if noun[:1].lower() in "aeiou" else f"a {noun}"


def _remedy(value: object) -> str:
    if isinstance(value, tuple):
        return "pass a list"
    if isinstance(value, (set, frozenset)):
        return "pass a sorted list"
    if hasattr(value, "item"):
        return "pass a plain number: call its .item()"
    if hasattr(value, "__fspath__"):
        return "pass a str, or make the file an input with `fetchlocal`"
    if callable(value):
        return "code belongs into the builder, not into the config"
    return "pass strings, numbers, booleans, null, lists or dicts"


def inputs_of(config: Mapping[str, Json]) -> tuple[str, ...]:
    """The derivations that a config refers to directly, sorted, each once."""
    found = set()
    stack: list[Json] = list(config.values())
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            if item.startswith("dref:") and is_dref(item):
                found.add(str.__str__(item))
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, dict):
            stack.extend(item.values())
    return tuple(sorted(found))


def pinned_by(config: Mapping[str, Json]) -> str | None:
    """The realization that a pinned derivation holds; None for any other derivation."""
    own = config.get("stagedml")
    pinned = own.get("pinned") if isinstance(own, dict) else None
    return pinned if isinstance(pinned, str) else None


def is_self_path(value: Json) -> bool:
    return isinstance(value, list) and bool(value) and value[0] == SELF and all(isinstance(v, str) for v in value)


def is_ref_path(value: Json) -> bool:
    return isinstance(value, list) and bool(value) and is_dref(value[0]) and all(isinstance(v, str) for v in value)


def resolve(value: Json, dref: str) -> Json:
    """A copy of a config value in which the paths of the derivation's own outputs name the derivation."""
    if is_self_path(value):
        return [dref, *value[1:]]
    if isinstance(value, list):
        return [resolve(item, dref) for item in value]
    if isinstance(value, dict):
        return {key: resolve(item, dref) for key, item in value.items()}
    return value


def outputs_of(config: Mapping[str, Json]) -> dict[str, tuple[str, bool]]:
    """The outputs a derivation promises: field -> (relative path, whether it is a prefix of file names).

    Stages of ours have them at the top; those of Pylightnix may have them deeper: `field.inner`, `field[0]`.
    """
    own = config.get("stagedml")
    prefixes = own.get("prefixes", ()) if isinstance(own, dict) else ()
    found = {}
    for name, value in config.items():
        if type(value) is list:
            if value and type(value[0]) is str and (value[0] == SELF) and is_self_path(value):
                found[name] = ("/".join(value[1:]), name in prefixes)
                continue
        elif type(value) is not dict or name == "stagedml":
            continue
        if value:
            for field, path in _self_paths(value, name):
                found[field] = ("/".join(path[1:]), field in prefixes)
    return found


def _self_paths(value: Json, field: str) -> Iterator[tuple[str, list[str]]]:
    if is_self_path(value):
        yield field, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _self_paths(item, f"{field}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _self_paths(item, f"{field}.{key}")
