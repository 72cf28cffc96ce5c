"""What tells derivations of a stage apart: parameters, and inputs by the start of their hash."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from stagedml.core import words
from stagedml.core.config import is_ref_path, is_self_path
from stagedml.core.refs import is_dref, parse_dref

_MOST_FIELDS = 3
_LONGEST_VALUE = 24
_SHORT = 6  #: characters of a hash


def values_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What may tell a derivation from others of its stage: parameters first, then inputs by the start of their hash."""
    own = {name: value for name, value in sorted(config.items()) if name not in ("name", "stagedml")}
    plain = {name: value for name, value in own.items() if not (is_self_path(value) or _is_input(value))}
    inputs = {name: value if isinstance(value, str) else value[0] for name, value in own.items() if _is_input(value)}
    return plain | {name: parse_dref(dref).dhash[:_SHORT] for name, dref in inputs.items()}


def _is_input(value: Any) -> bool:
    return is_ref_path(value) or (isinstance(value, str) and is_dref(value))


def differing(all_values: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each of some mappings what is not the same in all."""
    names = dict.fromkeys(name for values in all_values for name in values)
    texts = {name: {json.dumps(values.get(name), sort_keys=True) for values in all_values} for name in names}
    return [{name: value for name, value in values.items() if len(texts[name]) > 1} for values in all_values]


def words_of(values: Mapping[str, Any]) -> str:
    """A few of some values: `learning_rate=3e-05, epochs=3`."""
    told = [f"{name}={_value(value)}" for name, value in list(values.items())[:_MOST_FIELDS]]
    return ", ".join([*told, "..."] if len(values) > _MOST_FIELDS else told)


def _value(value: Any) -> str:
    text = words.printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
