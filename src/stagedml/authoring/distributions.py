"""Which installed distributions are behind imported modules, and in which versions they count.

Nothing is imported to find out. A distribution that is called like its module, as most are, is found by its name; for
the others the metadata beside the module is searched. What is known is kept while the folders of `sys.path` stay as
they are.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import re
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path

from stagedml.authoring.sources import is_namespace, spec_of_module
from stagedml.errors import UsageError

POLICIES = ("none", "direct", "lock")
#: Stands for the version of what is not installed, and of what is there without saying its version.
ABSENT, UNKNOWN = "absent", "unknown"
_RELEASE = re.compile(r"v?(?:\d+!)?(\d+)(?:\.(\d+))?")
_State = tuple[tuple[str, int], ...]


class UnknownPolicy(UsageError):
    """Packages are to count by a policy that there is not."""

    def __init__(self, policy: str) -> None:
        super().__init__(policy)
        self.policy = policy

    def __str__(self) -> str:
        return f"packages={self.policy!r}: there is no such policy; there are {', '.join(POLICIES)}"


def versions_of(modules: Iterable[str], policy: str) -> dict[str, str]:
    """The distributions behind modules that code imports, by name, with the version that counts.

    Args:
        modules: full names, of the parts of namespaces too: `numpy`, `google.protobuf`.
        policy: `none`; `direct`: these, by major and minor version; `lock`: these and all that they require, exactly.

    Raises:
        UnknownPolicy: it is none of these.
    """
    if policy not in POLICIES:
        raise UnknownPolicy(policy)
    if policy == "none":
        return {}
    state = _state()
    found: dict[str, str] = {}
    for module in sorted(modules):
        name, version = _distribution_of(module, state)
        found[name] = version
    if policy == "lock":
        return dict(sorted({**found, **_required(tuple(sorted(found)), state)}.items()))
    return {name: _minor(version) for name, version in sorted(found.items())}


def normal_name(name: str) -> str:
    """The one spelling of a distribution's name: `Typing_Extensions` is `typing-extensions`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _minor(version: str) -> str:
    release = _RELEASE.match(version)
    return f"{release[1]}.{release[2] or 0}" if release else version


def _state() -> _State:
    """What changes when something is installed or removed."""
    state = []
    for folder in sys.path:
        try:
            state.append((folder, os.stat(folder or ".").st_mtime_ns))
        except OSError:
            continue
    return tuple(state)


@functools.lru_cache(maxsize=1024)
def _distribution_of(module: str, state: _State) -> tuple[str, str]:
    top = module.partition(".")[0]
    spec = spec_of_module(module)
    if spec is None or (not spec.has_location and is_namespace(module)):
        return normal_name(top), ABSENT
    located = (
        spec.origin if spec.has_location and spec.origin else next(iter(spec.submodule_search_locations or ()), "")
    )
    folder = Path(located).parents[module.count(".") + (Path(located).stem == "__init__")] if located else None
    if "." not in module:
        named = _named(module, folder)
        if named is not None:
            return normal_name(module), named.version or UNKNOWN
    for distribution in _beside(folder):
        if _holds(distribution, module):
            return normal_name(distribution.metadata["Name"]), distribution.version or UNKNOWN
    return normal_name(top), UNKNOWN


def _named(name: str, folder: Path | None) -> Distribution | None:
    """The distribution of that name, if it lies in the folder where the module is."""
    try:
        found = importlib.metadata.distribution(name)
    except (PackageNotFoundError, ValueError):
        return None
    root = Path(str(found.locate_file("")))
    return found if folder is None or root.resolve() == folder.resolve() else None


def _beside(folder: Path | None) -> Iterator[Distribution]:
    if folder is not None:
        yield from importlib.metadata.distributions(path=[str(folder)])


def _holds(distribution: Distribution, module: str) -> bool:
    """Whether a distribution installed a module, by its list of files, or else by its list of top-level names."""
    path = module.replace(".", "/")
    for name in ("RECORD", "SOURCES.txt"):
        text = distribution.read_text(name)
        if text:
            if path not in text:  # much quicker
                return False
            return (
                re.search(rf"^(?:src/)?{re.escape(path)}(?:/|\.py,|\.py$|\.[^/,\n]*(?:so|pyd),)", text, re.M)
                is not None
            )
    return module in (distribution.read_text("top_level.txt") or "").split()


@functools.lru_cache(maxsize=256)
def _required(names: tuple[str, ...], state: _State) -> dict[str, str]:
    """Distributions and all that they require on this machine, by exact version; extras only where asked for."""
    from packaging.requirements import InvalidRequirement, Requirement

    found: dict[str, str] = {}
    pending: list[tuple[str, str]] = [(name, "") for name in names]  # (distribution, extra)
    seen: set[tuple[str, str]] = set()
    while pending:
        name, extra = pending.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            distribution = importlib.metadata.distribution(name)
        except (PackageNotFoundError, ValueError):
            found.setdefault(name, ABSENT)
            continue
        found[name] = distribution.version or UNKNOWN
        for text in distribution.requires or ():
            try:
                requirement = Requirement(text)
            except InvalidRequirement:
                continue
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                needed = normal_name(requirement.name)
                pending += [(needed, ""), *((needed, asked) for asked in sorted(requirement.extras))]
    return {name: version for name, version in found.items() if name not in names or version != ABSENT}
