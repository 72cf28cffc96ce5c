"""What a builder sees of its inputs by what they declare: the view of which `core.adoption` makes a key."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from stagedml.authoring.artifact import Artifact, ConfigSource, _typed, bound
from stagedml.core.config import Config

if TYPE_CHECKING:
    from stagedml.authoring.stage import Stage


def view_of(stage: Stage[..., Any], config: Config, source: ConfigSource) -> Any:
    """What the builder is given by a config: of each input its declared fields beside the reference.

    Of a fixed output what says what the bytes are, and where they lie.
    """
    if stage.fixed_output:
        code = inspect.unwrap(stage.builder)
        return {
            "fixed": f"{code.__module__}.{code.__qualname__}",
            "outputs": {name: config[name] for name in stage.outputs},
            "parameters": {name: config[name] for name in stage.telling},
        }
    seen: dict[tuple[str, type[Artifact]], None] = {}
    for name in sorted(stage.annotations):
        _see(_typed(config[name], stage.annotations[name], source), seen)
    inputs = []
    pending = list(seen)
    while pending:
        dref, kind = pending.pop(0)
        further: dict[tuple[str, type[Artifact]], None] = {}
        value = bound(kind, dref, source)
        fields = {name: getattr(value, name) for name in sorted(kind.artifact_fields)}
        for field in fields.values():
            _see(field, further)
        inputs.append([dref, plain(fields)])
        pending += [one for one in further if one not in seen]
        seen |= further
    return {"own": config, "inputs": inputs}


def _see(value: Any, seen: dict[tuple[str, type[Artifact]], None]) -> None:
    """Note the artifacts in a value, in their order."""
    if type(value) is Artifact:
        return  # declares no fields; it stands in the config itself
    if isinstance(value, Artifact):
        seen[str.__str__(value), type(value)] = None
    elif isinstance(value, (list, dict)):
        for item in [value[key] for key in sorted(value)] if isinstance(value, dict) else value:
            _see(item, seen)


def plain(value: Any) -> Any:
    """A checked value as it stands in the config: references as plain text."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value
