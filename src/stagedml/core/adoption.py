"""The key of adoption: what a builder sees, and nothing else that stands behind its inputs.

Two derivations with one key have builders that do the same with the same bytes, so what one of them made may stand for
what the other would make. A derivation's reference says more: it changes with everything upstream, also with what did
not change a byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

from stagedml.core.refs import is_dref

_HEADER = b"stagedml adoption 1\n"
_KEY = re.compile(r"[0-9a-f]{32}\Z")


@dataclass(frozen=True, slots=True)
class Template:
    """What a builder is given, as text, with a number in place of each input.

    Attributes:
        text: the JSON text; each reference is replaced by its number among the different ones, in the order in which
            they come: which inputs are one and the same is something that a builder sees.
        inputs: the references, in that order.
    """

    text: str
    inputs: tuple[str, ...]


def template_of(view: Any) -> Template:
    """The template of a view, a JSON value in which each reference stands for an input."""
    numbers: dict[str, int] = {}

    def replaced(value: Any) -> Any:
        kind = type(value)
        if kind is str:
            if value[:5] == "dref:" and is_dref(value):
                return f"dref:{numbers.setdefault(value, len(numbers))}"  # as no plain text in a config begins
            return value
        if kind is list:
            return [replaced(item) for item in value]
        if kind is dict:
            return {name: replaced(value[name]) for name in sorted(value)}
        return replaced(str.__str__(value)) if isinstance(value, str) else value

    return Template(json.dumps(replaced(view), sort_keys=True, separators=(",", ":")), tuple(numbers))


def key_of(template: Template, contents_of: Callable[[str], Sequence[str] | None]) -> str | None:
    """The key of a build.

    Args:
        template: of what the builder is given.
        contents_of: the content digests of the realizations of an input, None where they are not known.

    Returns:
        32 hexadecimal digits; None where an input's contents are not known.
    """
    contents = []
    for dref in template.inputs:
        known = contents_of(dref)
        if known is None:
            return None
        contents.append(sorted(known))
    text = f"[{template.text},{json.dumps(contents, separators=(',', ':'))}]"
    return blake3(_HEADER + text.encode()).hexdigest()[:32]


def is_key(text: object) -> bool:
    """Whether something is a key of adoption, which may stand in the name of a file."""
    return isinstance(text, str) and _KEY.match(text) is not None
