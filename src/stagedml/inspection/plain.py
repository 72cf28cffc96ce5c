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


def schema_of(*views: Any) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of what `as_json` makes of one of these types, such as `tuple[View, ...]`."""
    import msgspec

    found, definitions = msgspec.json.schema_components(views, ref_template="#/$defs/{name}")
    schema = {**found[0]} if len(found) == 1 else {"anyOf": list(found)}
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {**dialect, **_as_printed({**schema, "$defs": definitions})}


def _as_printed(schema: Any) -> Any:
    """A schema of a type as one of what `plain` makes of it: all fields are there, NaN and the infinities are texts."""
    if isinstance(schema, list):
        return [_as_printed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema == {"type": "number"}:
        return {"anyOf": [schema, {"enum": ["NaN", "Infinity", "-Infinity"]}]}
    fields = {"required": list(schema["properties"])} if isinstance(schema.get("properties"), dict) else {}
    return {**{key: _as_printed(value) for key, value in schema.items()}, **fields}
