"""Writing stages, and their builders, by their names where they have one."""

from __future__ import annotations

import importlib
import io
import pickle
import types
from collections.abc import Callable
from typing import Any

import cloudpickle

from stagedml.authoring.ran import ChangedSinceDeclared
from stagedml.authoring.shipping import CannotBeSent, found_by_name, is_named
from stagedml.authoring.stage import Stage


def dumps(name: str, value: object) -> bytes:
    """Write a value for another process. Raises CannotBeSent, which speaks of `name`."""
    file = io.BytesIO()
    try:
        _StagePickler(file).dump(value)
    except Exception as error:  # whatever the objects' own methods raise
        raise CannotBeSent(name, f"{type(error).__name__}: {error}") from error
    return file.getvalue()


def loads(text: bytes) -> Any:
    """Read what `dumps` wrote."""
    return pickle.loads(text)


class _StagePickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    """Writes by their names what has one."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Stage) and is_named(obj):
            return _stage_named, (obj.builder.__module__, obj.builder.__qualname__)
        if isinstance(obj, types.FunctionType):
            stage = found_by_name(obj.__module__, obj.__qualname__)
            if isinstance(stage, Stage) and stage.builder is obj:
                return _builder_named, (obj.__module__, obj.__qualname__)
        return super().reducer_override(obj)


def _stage_named(module: str, qualname: str) -> object:
    found: object = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, Stage):
        raise ChangedSinceDeclared(module, qualname)
    return found


def _builder_named(module: str, qualname: str) -> Callable[..., Any]:
    stage = _stage_named(module, qualname)
    assert isinstance(stage, Stage)
    return stage.builder
