"""The settings in use, and where each comes from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stagedml.settings import VARIABLES, Settings, read_settings
from stagedml.store.layout import Layout
from stagedml.store.roots import owner_of_experiments


@dataclass(frozen=True, slots=True)
class SettingView:
    """One setting.

    Attributes:
        name: what it is called.
        value: as text.
        source: the environment variable that says so; `--root`; or `default`, and which variables are empty.
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
        source = next((variable for variable in variables if env.get(variable)), _default(variables, env))
        if root is not None and name in ("root", "storage", "tmp", "experiments"):
            source = "--root"
        text = "; ".join(value) if isinstance(value, tuple) else str(int(value) if isinstance(value, bool) else value)
        found.append(SettingView(name, text, source, variables, meaning))
    return tuple(found)


def _default(variables: Iterable[str], env: Mapping[str, str]) -> str:
    empty = empty_among(variables, env)
    return f"default; {' and '.join(empty)} empty" if empty else "default"


def empty_among(variables: Iterable[str], environment: Mapping[str, str]) -> list[str]:
    """The variables that are set to nothing, and so count as not set."""
    return [variable for variable in variables if environment.get(variable) == ""]


def experiments_of_another(settings: Settings) -> str:
    """What is to be said where the experiments folder is another store's; "" where it is not."""
    owner = owner_of_experiments(Layout.of(settings))
    if owner is None:
        return ""
    folder = f"links go to {settings.experiments}, the folder of the store in {owner}"
    return f"{folder}; the store in use is {settings.storage}"
