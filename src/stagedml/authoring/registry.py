"""What was declared during one `instantiate`.

Declarations stay in memory until the stage function has returned; then those that the result needs are written to the
store, so that a declaration which was thought better of (`redefine`) leaves nothing behind. Stages of plain Pylightnix
write as they declare, with fixed temporary names and no lock; they are handed a private staging storage, made when one
of them first asks for it, and what they declared there is published from it.
"""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stagedml.authoring.fingerprinted import Fingerprinted
from stagedml.authoring.matchers import StageMatcher
from stagedml.authoring.pylightnix import Derivation, DRef, Registry, StorageSettings
from stagedml.authoring.pylightnix import Path as PylightnixPath
from stagedml.core import config as configs
from stagedml.core.code import Code
from stagedml.core.config import Config
from stagedml.core.refs import DerivationRef, parse_dref
from stagedml.errors import UsageError
from stagedml.store.layout import CONFIG_FILE, DECLARING_STAGES
from stagedml.store.objects import Store, StoreUnusable

if TYPE_CHECKING:
    from stagedml.authoring.stage import Stage


logger = logging.getLogger(__name__)


class MatcherConflict(UsageError):
    """One derivation was declared twice, with two matchers."""

    def __init__(self, dref: str, first: str, first_caller: str, second: str, second_caller: str) -> None:
        super().__init__(dref, first, first_caller, second, second_caller)
        self.dref = dref
        self.first, self.first_caller, self.second, self.second_caller = first, first_caller, second, second_caller

    def __str__(self) -> str:
        return (
            f"{self.dref} is declared with two matchers: {self.first} at {self.first_caller} and {self.second} at "
            f"{self.second_caller}; a closure holds one matcher for a derivation, so let both be equal"
        )


@dataclass
class Declaration:
    """One derivation as it was declared here."""

    stage: Stage[..., Any] | None  #: None for a pinned realization or a node
    parameters: dict[str, Any]  #: the checked values, references as artifacts
    exec_values: dict[str, Any]  #: what the call set; not part of the identity
    config: Config
    text: str
    ref: DerivationRef
    inputs: tuple[str, ...]  #: the derivations that it refers to directly
    matcher: StageMatcher
    caller: str  #: file:line
    fingerprinted: Fingerprinted | None = None  #: None where no code is in the config
    dref: str = field(init=False)  #: the reference as text

    def __post_init__(self) -> None:
        self.dref = str(self.ref)

    @property
    def code(self) -> Code | None:
        """The code behind it, as it was when it was declared."""
        return self.fingerprinted.code if self.fingerprinted is not None else None


class StageRegistry(Registry):
    """Pylightnix's registry, kept in memory and in order."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.declarations: dict[str, Declaration] = {}
        self._fingerprinted: dict[Stage[..., Any], Fingerprinted | None] = {}
        self._rematching: list[tuple[StageMatcher, dict[str, MatcherConflict]]] = []
        self._staging: Path | None = None
        super().__init__(None)

    @property
    def S(self) -> StorageSettings | None:
        """The private staging storage of Pylightnix's own stages; made on first use.

        Its `tmp` is the store's: what a stage keeps a path of, such as a folder for downloads, must outlive this.
        """
        if self._staging is None:
            self._staging = Path(tempfile.mkdtemp(prefix=DECLARING_STAGES, dir=self.store.layout.scratch))
            (self._staging / "storage").mkdir()
            for declaration in self.declarations.values():
                self._stage(declaration)
        paths = (self._staging, self._staging / "storage", self.store.layout.tmp)
        return StorageSettings(*(PylightnixPath(str(path)) for path in paths))

    @S.setter
    def S(self, value: StorageSettings | None) -> None:
        """Pylightnix's constructor sets it; ours does not need it."""

    def _stage(self, declaration: Declaration) -> None:
        assert self._staging is not None
        folder = self._staging / "storage" / parse_dref(declaration.dref).folder
        folder.mkdir(exist_ok=True)
        (folder / CONFIG_FILE).write_text(declaration.text)

    def close(self) -> None:
        """Remove the staging storage."""
        if self._staging is not None:
            shutil.rmtree(self._staging, ignore_errors=True)
            self._staging = None

    def config_of(self, dref: str) -> Config:
        """The config of a derivation that was declared here or is in the store."""
        declared = self.declarations.get(dref)
        if declared is not None:
            return declared.config
        return self._foreign_config(dref) if DRef(dref) in self.builders else self.store.config_of(dref)

    def fingerprinted(self, stage: Stage[..., Any]) -> Fingerprinted | None:
        """The code behind a stage. It is read once in a registry: one `instantiate` sees one state of the sources."""
        if stage not in self._fingerprinted:
            self._fingerprinted[stage] = stage.fingerprinted()
        return self._fingerprinted[stage]

    def declare(self, declaration: Declaration, derivation: Derivation) -> None:
        """Add a derivation. Declared once more, it keeps its place. Raises MatcherConflict."""
        earlier = self.declarations.get(declaration.dref)
        if earlier is not None:
            if earlier.matcher != declaration.matcher:
                conflict = MatcherConflict(
                    declaration.dref,
                    repr(earlier.matcher.rule),
                    earlier.caller,
                    repr(declaration.matcher.rule),
                    declaration.caller,
                )
                for matcher, conflicts in self._rematching:
                    if earlier.matcher == matcher:
                        conflicts[declaration.dref] = conflict
                        break
                else:
                    raise conflict
            earlier.exec_values.update(declaration.exec_values)
            return
        self.declarations[declaration.dref] = declaration
        self.builders[DRef(declaration.dref)] = derivation
        if self._staging is not None:
            self._stage(declaration)

    @contextmanager
    def rematching(self, matcher: StageMatcher | None) -> Iterator[dict[str, MatcherConflict]]:
        """For `redefine`, while a function composes what it will give another matcher.

        Called once more, the function declares its result with its own matcher, where the other one is already. Such
        conflicts are not raised, but handed over, by derivation.
        """
        conflicts: dict[str, MatcherConflict] = {}
        if matcher is None:
            yield conflicts
            return
        self._rematching.append((matcher, conflicts))
        try:
            yield conflicts
        finally:
            self._rematching.pop()

    def withdraw(self, declaration: Declaration) -> Derivation:
        """Take back a declaration, for `redefine`; returns what `declare` needs to put it back."""
        del self.declarations[declaration.dref]
        return self.builders.pop(DRef(declaration.dref))

    def publish(self, targets: list[str]) -> list[Derivation]:
        """Write what the targets need to the store; returns it in an order in which inputs come first.

        Where nothing can be written, it is kept in memory.

        Raises:
            InvalidArguments: parameters of a stage do not go together; nothing is written.
        """
        needed = self._needed(targets)
        for dref in needed:
            if (declared := self.declarations.get(dref)) is not None and declared.stage is not None:
                declared.stage.check_together(declared.parameters)
        for dref in needed:
            declared = self.declarations.get(dref)
            ref, text = (declared.ref, declared.text) if declared is not None else (parse_dref(dref), self._text(dref))
            try:
                self.store.add_config(text, ref, declared.config if declared is not None else None)
            except StoreUnusable as error:  # what is there can be planned and reused all the same
                logger.info("%s is declared in memory alone: %s", dref, error)
                self.store.remember_config(text, ref)
        return [self.builders[DRef(dref)] for dref in needed]

    def _needed(self, targets: list[str]) -> list[str]:
        """What the targets need, inputs first, as declarations are, but for some that `redefine` moved."""
        wanted = set(targets)
        declared = [str(dref) for dref in self.builders]
        for dref in reversed(declared):
            if dref in wanted:
                wanted.update(self._inputs(dref))
        found = [dref for dref in declared if dref in wanted]
        done: set[str] = set()
        for dref in found:
            if not done.issuperset(self._inputs(dref)):
                break
            done.add(dref)
        else:
            if len(done) == len(wanted):
                return found
        needed: dict[str, None] = {}
        for target in targets:
            self._visit(target, needed)
        return list(needed)

    def _visit(self, target: str, needed: dict[str, None]) -> None:
        stack: list[tuple[str, Iterator[str]]] = [(target, iter(self._inputs(target)))]
        open_refs = {target}
        while stack:
            dref, inputs = stack[-1]
            following = next((ref for ref in inputs if ref not in needed and ref not in open_refs), None)
            if following is None:
                needed[dref] = None
                stack.pop()
            else:
                open_refs.add(following)
                stack.append((following, iter(self._inputs(following))))

    def _inputs(self, dref: str) -> tuple[str, ...]:
        if DRef(dref) not in self.builders:
            raise UsageError(
                f"{dref} was declared elsewhere, so nothing here can build it: call its stage inside the same "
                f"`instantiate`, or make one of its realizations an input with `pinned`"
            )
        declared = self.declarations.get(dref)
        return declared.inputs if declared else configs.inputs_of(self._foreign_config(dref))

    def _foreign_config(self, dref: str) -> Config:
        import json

        config: Config = json.loads(self._text(dref))
        return config

    def _text(self, dref: str) -> str:
        declared = self.declarations.get(dref)
        if declared is not None:
            return declared.text
        assert self._staging is not None, "a derivation of Pylightnix's own was declared without a storage"
        return (self._staging / "storage" / parse_dref(dref).folder / CONFIG_FILE).read_text()


def caller() -> str:
    """file:line of the nearest frame outside this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("stagedml.authoring"):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
