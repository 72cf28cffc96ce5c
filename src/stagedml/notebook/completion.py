"""What the Tab key offers: fields along a chain of lenses and artifacts, and stages and parameters after the magics.

IPython itself completes the parameters of a stage in a call, and one step of a lens; without Jedi it evaluates no
attribute that is computed, so a second step finds nothing. Here the chain is walked: fields are read, and nothing is
called.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from stagedml.authoring.artifact import Artifact
from stagedml.authoring.instantiate import Instantiated
from stagedml.authoring.lens import ACCESSORS, Lens, mklens
from stagedml.engine.catalogue import parameter_names, stage_named, stages_of, stages_of_session
from stagedml.errors import StagedmlError
from stagedml.settings import read_settings

_CHAIN = re.compile(r"(?<![\w.)\]])(mklens\(\s*)?([A-Za-z_]\w*)(?(1)\s*\))((?:\.[A-Za-z_]\w*)*)\.(\w*)\Z")
_MAGIC = re.compile(r"(?:^|=)\s*%(?:realize|plan|why)\s+(?:(\S+)\s+(?:.*\s)?)?([\w.:]*)\Z")


def matcher_for(names: Mapping[str, Any]) -> Any:
    """A matcher for IPython's completer, given the names of the session."""

    @context_matcher(identifier="stagedml")  # type: ignore[untyped-decorator]
    def stagedml_matcher(context: CompletionContext) -> SimpleMatcherResult:
        line = context.text_until_cursor
        try:
            fragment, found = offered(names, line)
        except (StagedmlError, OSError, ValueError):  # no store, or bytes that are gone: there is nothing to offer
            fragment, found = "", []
        completions = [SimpleCompletion(text) for text in found]
        return SimpleMatcherResult(completions=completions, matched_fragment=fragment, suppress=bool(completions))

    return stagedml_matcher


def offered(names: Mapping[str, Any], line: str) -> tuple[str, list[str]]:
    """What is typed of a word at the end of a line, and the words that it may become."""
    if match := _CHAIN.search(line):
        fragment, found = match[4], _along(names, match[2], match[3].split(".")[1:], through_lens=bool(match[1]))
    elif match := _MAGIC.search(line):
        fragment = match[2]
        found = _stages(names) if match[1] is None else (f"{name}=" for name in _parameters(names, match[1]))
    else:
        return "", []
    return fragment, [word for word in found if word.startswith(fragment)]


def _along(names: Mapping[str, Any], start: str, steps: Iterable[str], *, through_lens: bool) -> Iterable[str]:
    """What can follow a chain of names; nothing where it leads to something that is not ours."""
    value = names.get(start)
    if through_lens and names.get("mklens") is mklens:
        value = mklens(value)
    for step in steps:
        if step not in _fields(value) or (isinstance(value, Lens) and step in ACCESSORS):
            return []
        value = getattr(value, step)
    return _fields(value)


def _fields(value: object) -> Iterable[str]:
    if isinstance(value, Lens):
        return dir(value)
    if isinstance(value, Artifact):
        return type(value).artifact_fields
    return ("closure", "result") if isinstance(value, Instantiated) else ()


def _stages(names: Mapping[str, Any]) -> list[str]:
    """The stages of the session and of the catalogue, and what is composed of them and named so."""
    return sorted(stages_of_session({**stages_of(read_settings().catalogue), **names}))


def _parameters(names: Mapping[str, Any], stage: str) -> list[str]:
    return parameter_names(stage_named(stage, read_settings().catalogue, names))
