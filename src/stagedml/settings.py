"""The environment, read once into one frozen value. `VARIABLES` says which variables there are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stagedml.errors import UsageError

STORAGE_NAME = "store-v0"  # Pylightnix's name for its storage version 0

#: setting -> the variables that can say it, the first one that is set being asked, and what it is for. One that is
#: empty counts as not set.
VARIABLES = {
    "root": (
        ("PYLIGHTNIX_ROOT", "STAGEDML_ROOT"),
        "the folder that holds storage and scratch; default ~/_pylightnix",
    ),
    "storage": (("PYLIGHTNIX_STORAGE",), "the storage alone; default <root>/store-v0"),
    "tmp": (("PYLIGHTNIX_TMP",), "where builders of plain Pylightnix stages work; default <root>/tmp"),
    "experiments": (("STAGEDML_EXPERIMENTS",), "the folder of your links into the store; default <root>/roots"),
    "keep": (
        ("STAGEDML_KEEP",),
        "stages whose realizations are never collected: STAGE ARGUMENT..., separated by `;`",
    ),
    "catalogue": (
        ("STAGEDML_CATALOGUE",),
        "the module whose stages go by their bare names; default stagedml.stages.all",
    ),
    "mirrors": (("STAGEDML_MIRRORS",), "folders and URLs that are asked before the network, separated by `:`"),
    "rusentiment": (
        ("STAGEDML_RUSENTIMENT",),
        "your own copy of RuSentiment, which was withdrawn: its archive, or a folder with its files",
    ),
    "offline": (("STAGEDML_OFFLINE",), "1: never try the network"),
    "durable": (("STAGEDML_DURABLE",), "0: publish without fsync, for stores that may be lost"),
    "packages": (
        ("STAGEDML_PACKAGES",),
        "how installed packages count in a stage's identity: none, direct, lock; default direct",
    ),
    "jobs": (
        ("STAGEDML_JOBS",),
        "how many builds run at once, each in a process of its own; default 1, in the calling process",
    ),
}


@dataclass(frozen=True)
class Settings:
    """Where things are and how they are done, as the environment says."""

    root: Path
    storage: Path
    tmp: Path
    experiments: Path
    keep: tuple[str, ...]
    catalogue: str
    mirrors: str
    offline: bool
    durable: bool
    packages: str = "direct"
    jobs: int = 1
    rusentiment: str = ""


def read_settings(
    environment: Mapping[str, str] | None = None,
    *,
    root: str | os.PathLike[str] | None = None,
    storage: str | os.PathLike[str] | None = None,
    tmp: str | os.PathLike[str] | None = None,
) -> Settings:
    """Arguments over environment over defaults. A root that is given as an argument ignores the environment's paths.

    Raises:
        UsageError: an argument is no folder, or a variable says what it cannot.
    """
    given: tuple[tuple[str, object], ...] = (("root", root), ("storage", storage), ("tmp", tmp))
    for name, folder in given:
        if folder is not None and (not isinstance(folder, (str, os.PathLike)) or not os.fspath(folder)):
            raise UsageError(f"{name}={folder!r}: give a folder, as a str or a path object")
    env = os.environ if environment is None else environment
    paths = env if root is None else {}
    base = _folder(root or paths.get("PYLIGHTNIX_ROOT") or paths.get("STAGEDML_ROOT") or _default_root(env))
    return Settings(
        root=base,
        storage=_folder(storage or paths.get("PYLIGHTNIX_STORAGE") or base / STORAGE_NAME),
        tmp=_folder(tmp or paths.get("PYLIGHTNIX_TMP") or base / "tmp"),
        experiments=_folder(paths.get("STAGEDML_EXPERIMENTS") or base / "roots"),
        keep=tuple(line.strip() for line in env.get("STAGEDML_KEEP", "").split(";") if line.strip()),
        catalogue=env.get("STAGEDML_CATALOGUE") or "stagedml.stages.all",
        mirrors=env.get("STAGEDML_MIRRORS", ""),
        offline=_flag(env, "STAGEDML_OFFLINE", default=False),
        durable=_flag(env, "STAGEDML_DURABLE", default=True),
        jobs=_count(env, "STAGEDML_JOBS", 1),
        rusentiment=env.get("STAGEDML_RUSENTIMENT", ""),
        packages=_choice(env, "STAGEDML_PACKAGES", ("direct", "none", "lock")),
    )


def _folder(path: str | os.PathLike[str]) -> Path:
    return Path(path).expanduser().absolute()


def _default_root(env: Mapping[str, str]) -> str:
    return os.path.join(env.get("HOME") or "/var/run", "_pylightnix")


def _count(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, "").strip()
    if text and not (text.isdecimal() and int(text)):
        raise UsageError(f"{name}={env[name]!r}: set it to a whole number, at least 1")
    return int(text) if text else default


def _flag(env: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = env.get(name, "").strip().lower()
    if text in ("1", "yes", "true", "on"):
        return True
    if text in ("0", "no", "false", "off"):
        return False
    if not text:
        return default
    raise UsageError(f"{name}={env[name]!r} is neither yes nor no: set it to 1 or 0")


def _choice(env: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    """One of several words; the first where nothing is said."""
    text = env.get(name, "").strip().lower()
    if text and text not in choices:
        raise UsageError(f"{name}={env[name]!r}: set it to one of {', '.join(choices)}")
    return text or choices[0]
