"""The settings in use, and where each comes from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from stagedml.settings import VARIABLES, read_settings


@dataclass(frozen=True, slots=True)
class SettingView:
    """One setting.

    Attributes:
        name: what it is called.
        value: as text.
        source: the environment variable that says so; `--root`; or `default`.
        variables: the environment variables that can say it, the first one that is set being asked.
        meaning: what it is for.
    """

    name: str
    value: str
    source: str
    variables: tuple[str, ...]
    meaning: str


def settings_in_use(root: str | None = None, environment: Mapping[str, str] | None = None) -> tuple[SettingView, ...]:
    """All settings, as `read_settings` reads them. Raises UsageError where it does.

    Args:
        root: the folder that holds the store, if it was given.
        environment: default `os.environ`.
    """
    env = os.environ if environment is None else environment
    settings = read_settings(env, root=root)
    found = []
    for name, (variables, meaning) in VARIABLES.items():
        value = getattr(settings, name)
        source = next((variable for variable in variables if env.get(variable)), "default")
        if root is not None and name in ("root", "storage", "tmp", "experiments"):
            source = "--root"
        text = "; ".join(value) if isinstance(value, tuple) else str(int(value) if isinstance(value, bool) else value)
        found.append(SettingView(name, text, source, variables, meaning))
    return tuple(found)
