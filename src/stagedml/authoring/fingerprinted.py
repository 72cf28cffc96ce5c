"""The code behind one builder, as it was when its stage was declared."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from stagedml.authoring.distributions import versions_of
from stagedml.authoring.live import changed
from stagedml.authoring.ran import ChangedSinceDeclared, Unloaded, unloaded_modules
from stagedml.authoring.walk import walk
from stagedml.core import fingerprint
from stagedml.core.code import Code, Unfollowed
from stagedml.errors import UsageError

logger = logging.getLogger(__name__)


class UnfollowedCode(UsageError):
    """A strict stage reaches code that its source does not name; every place is listed."""

    def __init__(self, stage: str, places: Sequence[Unfollowed]) -> None:
        super().__init__(stage, tuple(places))
        self.stage, self.places = stage, tuple(places)

    def __str__(self) -> str:
        return "\n  ".join(
            [
                f"the stage {self.stage} is strict, and its code reaches what no fingerprint covers:",
                *map(str, self.places),
                "name functions and modules in the source (import them, put them into a dict), or leave out `strict`",
            ]
        )


def fingerprint_of(builder: Callable[..., Any]) -> str:
    """The code fingerprint of a builder, as it stands in the config of its stage. Raises what `walk` raises."""
    return Fingerprinted(builder).code.digest


class Fingerprinted:
    """What is known of the code of a builder.

    Attributes:
        code: the fingerprint, what it covers, and what could not be followed.
        policy: how packages count.
        imports: the installed modules that the code imports.
        files: the modules that it was found in, each with the digest of its text, but for what notebooks and scripts
            define.
        bound_here: why another process could not run it as this one does; "" if it could.
    """

    def __init__(self, builder: Callable[..., Any], packages: str = "none") -> None:
        """Read the code of a builder; its packages count by a policy of `distributions.POLICIES`.

        Raises:
            SourceChanged, SourceUnavailable, UncoveredCapture, OversizedData: as `walk` does.
            UnknownPolicy: there is no such policy.
        """
        found = walk(builder)
        self.code = Code(
            digest=fingerprint.digest(found.builder, found.reached),
            units=found.units,
            packages=versions_of(found.packages, packages),
            unfollowed=found.unfollowed,
        )
        self.policy = packages
        self.imports = found.packages
        self.files = found.files
        self.bound_here = found.bound_here
        self._unloaded: list[Unloaded] = unloaded_modules(found.unloaded)
        self._live = found.live

    def tell(self, stage: str, *, strict: bool) -> None:
        """Warn of what could not be followed, of each place once in a process. Raises UnfollowedCode where strict."""
        if strict and self.code.unfollowed:
            raise UnfollowedCode(stage, self.code.unfollowed)
        for place in self.code.unfollowed:
            if place not in _told:
                _told.add(place)
                logger.warning("%s: no fingerprint covers what this reaches; an edit of it rebuilds nothing", place)

    def check_declared(self) -> None:
        """Before a run: refuse names that stand for other code or data now. Raises ChangedSinceDeclared."""
        other = changed(self._live)
        if other is not None:
            raise ChangedSinceDeclared(other.where, other.name)

    def check_unchanged(self) -> None:
        """Before a build: refuse to run other code than was declared. Raises ChangedSinceDeclared."""
        for module in self._unloaded:
            module.check_unchanged()

    def check_ran(self) -> None:
        """After a build: refuse what other code than was declared has made. Raises ChangedSinceDeclared."""
        for module in self._unloaded:
            module.check_ran()


#: The places that were warned of already.
_told: set[Unfollowed] = set()
