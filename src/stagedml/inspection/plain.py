"""Views as plain data, and the JSON schemas of what comes out.

A view is a frozen dataclass of texts, numbers, truth values, None, enumerations, tuples, mappings and views. As JSON it
is an object with its fields, whatever it was made by. Numbers that JSON has not, such as NaN, become texts.
"""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any


def plain(view: Any) -> Any:
    """A view, or several, as what `json.dumps` takes."""
    if isinstance(view, enum.Enum):
        return view.value
    if is_dataclass(view):
        return {field.name: plain(getattr(view, field.name)) for field in fields(view)}
    if isinstance(view, Mapping):
        return {str(key): plain(value) for key, value in view.items()}
    if isinstance(view, (tuple, list)):
        return [plain(item) for item in view]
    if isinstance(view, float) and not math.isfinite(view):
        return json.dumps(view)
    return view


def as_json(view: Any) -> str:
    """A view, or several, as JSON text."""
    return json.dumps(plain(view), indent=2, default=str)


def schema_of(view: Any) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of what `as_json` makes of a type of views, such as `tuple[View, ...]`."""
    import msgspec

    schema: dict[str, Any] = msgspec.json.schema(view)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_with_text_numbers(schema)}


def _with_text_numbers(schema: Any) -> Any:
    """A schema with what NaN and the infinities become."""
    if isinstance(schema, list):
        return [_with_text_numbers(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema == {"type": "number"}:
        return {"anyOf": [schema, {"enum": ["NaN", "Infinity", "-Infinity"]}]}
    return {key: _with_text_numbers(value) for key, value in schema.items()}
