"""Pictures as files: the ending of a file's name says the format, and only that format is made."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stagedml.errors import UsageError


def write_picture(path: str | os.PathLike[str], formats: Mapping[str, Callable[[], bytes]]) -> Path:
    """Write a picture.

    Args:
        path: where to; what is there is replaced.
        formats: by ending, what draws it.

    Raises:
        UsageError: the path has another ending.
    """
    passed: Any = path  # whoever checks no types passes other things, too
    if not isinstance(passed, (str, os.PathLike)) or Path(passed).suffix.lower() not in formats:
        raise UsageError(f"{passed!r} names no picture: let it end in {' or '.join(formats)}")
    target = Path(passed)
    target.write_bytes(formats[target.suffix.lower()]())
    return target
