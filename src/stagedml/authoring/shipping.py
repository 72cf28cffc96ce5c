"""Sending what builds a derivation to another process.

A stage at the top of a module goes by its name: the process imports the module, computes the fingerprint of what it
finds, and refuses to build if it is not the declared one. What a notebook, a script or a function defines goes by its
value, with what it uses of its surroundings; of the modules that it uses, the files must read as they did when the
stage was declared. What depends on changes that a cell or script made in modules cannot go at all: these were made in
this process, and another one would not see them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stagedml.authoring.build import Build
from stagedml.authoring.fingerprinted import Fingerprinted
from stagedml.authoring.ran import ChangedSinceDeclared
from stagedml.authoring.sources import digest_of_text, text_of_file
from stagedml.authoring.stage import Stage, StageRealizer
from stagedml.errors import UsageError


class CannotBeSent(UsageError):
    """Code, or what it holds, cannot be sent to a process of its own."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(name, problem)
        self.name, self.problem = name, problem

    def __str__(self) -> str:
        return f"{self.name} cannot be built in a process of its own: {self.problem}; realize it with `jobs=1`"


@dataclass(frozen=True)
class Sent:
    """A stage on its way.

    Attributes:
        declared: the fingerprint that its reference tells; None where no code is in the config.
        packages: the policy by which packages count.
        units: (name, digest) of the definitions behind it, to find the one that differs.
        files: digests of the texts of modules, for a stage that goes by its value.
    """

    stage: Stage[..., Any]
    declared: str | None
    packages: str
    units: frozenset[tuple[str, str]]
    files: Mapping[str, str]

    def run(self, build: Build) -> tuple[float, float]:
        """Run the builder if its code is the declared one. Raises ChangedSinceDeclared."""
        if self.declared is None:
            return self.stage.run(build)
        for path, digest in self.files.items():
            if digest_of_text(text_of_file(path) or "") != digest:
                raise ChangedSinceDeclared(path, "its text")
        if not is_named(self.stage):
            return self.stage.run(build)
        found = Fingerprinted(self.stage.builder, self.packages)
        if found.code.digest != self.declared:
            other = next((unit for unit in found.code.units if (unit.name, unit.digest) not in self.units), None)
            first = other or found.code.units[0]
            raise ChangedSinceDeclared(first.file, first.name)
        times = self.stage.run(build)
        found.check_ran()
        return times

    def beyond(self, build: Build) -> tuple[str, ...]:
        """As of `OwnRealizer`."""
        return () if self.stage.fixed_output else build.reads

    @property
    def deterministic(self) -> bool:
        """As of `OwnRealizer`."""
        return self.stage.deterministic


def sent(realizer: StageRealizer) -> Sent:
    """A stage as it goes to another process."""
    fingerprinted, stage = realizer.declaration.fingerprinted, realizer.stage
    if fingerprinted is None:
        return Sent(stage, None, "none", frozenset(), {})
    code = fingerprinted.code
    units = frozenset((unit.name, unit.digest) for unit in code.units)
    return Sent(stage, code.digest, fingerprinted.policy, units, {} if is_named(stage) else fingerprinted.files)


def is_named(stage: Stage[..., Any]) -> bool:
    builder = stage.builder
    return found_by_name(builder.__module__, builder.__qualname__) is stage


def found_by_name(module: str | None, qualname: str) -> object:
    """What a name in an importable module stands for; None if it is none."""
    if not module or module == "__main__" or module not in sys.modules:
        return None
    if getattr(sys.modules[module], "__spec__", None) is None:
        return None
    found: object = sys.modules[module]
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found
