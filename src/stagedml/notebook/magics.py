"""`%realize`, `%plan` and `%why`: the command line's verbs in a session.

A stage is named as in a shell, but names of the session come first: a stage that was defined in a cell needs no module.
Values are read as in a shell, too, and not as Python: `lr=3e-5`, `words='["a", "b"]'`.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from IPython.core.error import UsageError as SessionError
from IPython.core.magic import no_var_expand

from stagedml.authoring.instantiate import Instantiated
from stagedml.authoring.session import current_store
from stagedml.core import words
from stagedml.core.plan import Plan
from stagedml.core.refs import is_dref, is_rref
from stagedml.engine.catalogue import declared, is_stage, knows_stage
from stagedml.engine.realize import plan, realize_many
from stagedml.errors import StagedmlError, UsageError
from stagedml.inspection.selectors import find
from stagedml.inspection.why import Why, why
from stagedml.settings import read_settings

NAMES = ("plan", "realize", "why")


class Magics:
    """The magics of a session, given its names. Each takes the rest of its line, in which IPython fills in nothing."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names = names

    @no_var_expand
    def realize(self, line: str) -> Any:
        """Make sure that a stage is in the store, building what is not.

            %realize STAGE [ARGUMENT...] [-j N] [--force] [--offline]

        STAGE      a name of the session, a name from stagedml.stages.all, or MODULE:FUNCTION
        ARGUMENT   VALUE or NAME=VALUE, in the stage's order, as of `stagedml realize`
        -j N       build up to N stages at once, each in a process of its own; also --jobs N
        --force    rebuild the target even if it is there
        --offline  never try the network

        It gives the realization, or what `realize_many` gives where there are several.
        """
        with _told_plainly():
            given = _parser("realize").read(line)
            target = self._declared(given.stage, given.arguments)
            found = realize_many(target, jobs=given.jobs, force=given.force, offline=given.offline)
        return found[0] if is_dref(target.result) and len(found) == 1 else found

    @no_var_expand
    def plan(self, line: str) -> Plan:
        """Say what `%realize` would do, and why; nothing is built.

        %plan STAGE [ARGUMENT...] [--force]
        """
        with _told_plainly():
            given = _parser("plan").read(line)
            return plan(self._declared(given.stage, given.arguments), force=given.force)

    @no_var_expand
    def why(self, line: str) -> Why:
        """Say why a realization was built, or why a stage would be.

            %why REF
            %why STAGE [ARGUMENT...]

        REF is a variable that holds a realization, or what `stagedml show` takes: a reference, the start of its hash,
        the name of a stage as `stagedml ls` shows it.
        """
        with _told_plainly():
            given = _parser("why").read(line)
            value = self._names.get(given.stage)
            text: str = value if isinstance(value, str) and is_rref(value) else given.stage
            is_ref = text.startswith(("rref:", "dref:"))
            if is_stage(value) or (not is_ref and knows_stage(text, read_settings().catalogue)):
                return why(self._declared(given.stage, given.arguments))
            if given.arguments:
                raise UsageError(f"{given.stage} is no stage of the session or the catalogue, so it takes no arguments")
            return why(str(find(current_store(), text)))

    def _declared(self, stage: str, arguments: list[str]) -> Instantiated[Any]:
        return declared(stage, arguments, read_settings().catalogue, self._names)


class _Parser(argparse.ArgumentParser):
    """Reads the line of a magic, quoted as in a shell, options anywhere in it."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}; `{self.prog}?` tells more")

    def read(self, line: str) -> argparse.Namespace:
        """The arguments. Raises UsageError."""
        try:
            return self.parse_intermixed_args(shlex.split(line))
        except ValueError as error:
            raise UsageError(f"{self.prog}: {error}; quote as in a shell") from None


def _parser(name: str) -> _Parser:
    parser = _Parser(prog=f"%{name}", add_help=False, allow_abbrev=False)
    parser.add_argument("stage", metavar="REF|STAGE" if name == "why" else "STAGE")
    parser.add_argument("arguments", nargs="*", metavar="ARGUMENT")
    if name != "why":
        parser.add_argument("--force", action="store_true")
    if name == "realize":
        parser.add_argument("-j", "--jobs", type=int, metavar="N")
        parser.add_argument("--offline", action="store_true", default=None)
    return parser


@contextlib.contextmanager
def _told_plainly() -> Iterator[None]:
    """Errors are told without a traceback: wrong usage as by IPython's own magics, others by what they say.

    A failed build says where in the builder it was; how the engine came there is nobody's concern.
    """
    try:
        yield
    except UsageError as error:
        raise SessionError(words.printable_lines(str(error))) from None
    except StagedmlError as error:
        lines = words.printable_lines(f"{type(error).__name__}: {error}").splitlines()
        error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]  # IPython asks for it
        raise
