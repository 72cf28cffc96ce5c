"""The key of adoption: what a builder sees, and nothing else that stands behind its inputs.

Two derivations with one key have builders that do the same with the same bytes, so what one of them made may stand for
what the other would make. A derivation's reference says more: it changes with everything upstream, also with what did
not change a byte.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from blake3 import blake3

from stagedml.core.refs import is_dref

_HEADER = b"stagedml adoption 1\n"


def key_of(view: Any, contents_of: Callable[[str], Sequence[str] | None]) -> str | None:
    """The key of a build.

    Args:
        view: what the builder is given, a JSON value; each reference in it stands for an input.
        contents_of: the content digests of the realizations of an input, None where they are not known.

    Returns:
        32 hexadecimal digits; None where an input's contents are not known.

    Each reference is replaced by its number among the different ones of the view, in the order in which they come:
    which inputs are one and the same is something that a builder sees.
    """
    numbers: dict[str, int] = {}

    def replaced(value: Any) -> Any:
        if isinstance(value, str):
            return {"input": numbers.setdefault(value, len(numbers))} if is_dref(value) else value
        if isinstance(value, list):
            return [replaced(item) for item in value]
        if isinstance(value, dict):
            return {name: replaced(value[name]) for name in sorted(value)}
        return value

    own = replaced(view)
    contents = []
    for dref in numbers:
        known = contents_of(dref)
        if known is None:
            return None
        contents.append(sorted(known))
    text = json.dumps([own, contents], sort_keys=True, separators=(",", ":"))
    return blake3(_HEADER + text.encode()).hexdigest()[:32]
