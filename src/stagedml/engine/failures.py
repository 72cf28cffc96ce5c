"""How a realize ends badly, and what is told of it."""

from __future__ import annotations

import textwrap
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stagedml.core.refs import parse_dref
from stagedml.errors import BuildError, StagedmlError

_OWN = str(Path(__file__).resolve().parent.parent)  # the package
_LONGEST_REASON = 4000
_NOT_OURS = (f"{_OWN}/ml", f"{_OWN}/stages")  # but recipes are as a user's


@dataclass(frozen=True, slots=True)
class Failure:
    """What a builder raised.

    Attributes:
        error: it, if it can be sent; else None.
        reason: what it says, with its type.
        frames: its traceback, from the first line of the builder on.
    """

    error: BaseException | None
    reason: str
    frames: str


def failure_of(error: BaseException) -> Failure:
    """What is told of an error, here or elsewhere."""
    return Failure(error, reason_of(error), users_traceback(error))


def reason_of(error: BaseException) -> str:
    """What an error says, cut short; of those that are not ours, with the type."""
    try:
        told = str(error)
    except Exception as other:  # of somebody's own class
        told = f"(its text cannot be had: {type(other).__name__})"
    told = told[:_LONGEST_REASON].encode("utf-8", "backslashreplace").decode()
    if isinstance(error, StagedmlError):
        return told
    return f"{type(error).__name__}: {told}" if told else type(error).__name__


def users_traceback(error: BaseException) -> str:
    """The traceback of an error without the frames of ours above the builder.

    None of them tells more than an error of ours does that came from a stage of ours.
    """
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, StagedmlError) and all(frame.filename.startswith(f"{_OWN}/") for frame in frames):
        return ""
    first = next((index for index, frame in enumerate(frames) if not _is_ours(frame.filename)), None)
    found = "".join(traceback.format_list(frames[first:])) if first is not None else ""
    return found.encode("utf-8", "backslashreplace").decode()


def users_frame(error: BaseException) -> traceback.FrameSummary | None:
    """Where in the user's own code an error came from; None where none of it was running."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame for frame in reversed(frames) if not _is_ours(frame.filename)), None)


def _is_ours(filename: str) -> bool:
    return filename.startswith(f"{_OWN}/") and not filename.startswith(_NOT_OURS)


class BuildFailed(BuildError):
    """A build did not come to a good end. What the builder raised, if it did, is the cause (`__cause__`).

    Attributes:
        dref: what was being built.
        reason: what happened.
        scratch: what it had written, kept until the next attempt; "" where it was deleted, to make room.
        frames: the traceback, from the builder on.
        log: the last lines that it printed, if it ran in a process of its own.
        log_path: where all of them are.
        sources: how inputs that the reason names were made, where their declaration says how.
        differences: what is different from the nearest earlier build of that stage, which is `since`.
    """

    def __init__(
        self,
        dref: str,
        reason: str,
        scratch: str,
        frames: str = "",
        log: str = "",
        log_path: str = "",
        differences: Sequence[str] = (),
        since: str = "",
        sources: Sequence[str] = (),
    ) -> None:
        super().__init__(dref, reason, scratch, frames, log, log_path, tuple(differences), since, tuple(sources))
        self.dref, self.reason, self.scratch = dref, reason, scratch
        self.frames, self.log, self.log_path = frames, log, log_path
        self.differences, self.since, self.sources = tuple(differences), since, tuple(sources)

    def __str__(self) -> str:
        parts = [f"building {parse_dref(self.dref).name} failed: {self.reason}"]
        parts += [f"  {source}" for source in self.sources]
        parts.append(f"  derivation {self.dref}")
        if self.differences:
            parts.append(f"  since {self.since}: " + "; ".join(self.differences))
        if self.frames:
            parts.append("  at\n" + textwrap.indent(self.frames.rstrip("\n"), "  "))
        if self.log:
            parts.append(f"  the last it printed, of {self.log_path}:\n" + textwrap.indent(self.log, "    | "))
        if self.scratch:
            parts.append(f"  what it had written is kept, until the next attempt, in {self.scratch}")
            parts.append(f"  `stagedml shell {parse_dref(self.dref).name}` leads there, `stagedml retry` tries again")
        return "\n".join(parts)


class BuildsFailed(BuildError):
    """Several builds of one realize failed, and what did not rest on them was built all the same."""

    def __init__(self, failures: Sequence[BaseException], skipped: Sequence[str]) -> None:
        super().__init__(tuple(failures), tuple(skipped))
        self.failures, self.skipped = tuple(failures), tuple(skipped)

    def __str__(self) -> str:
        parts = [str(failure) for failure in self.failures]
        if self.skipped:
            names = ", ".join(parse_dref(dref).name for dref in self.skipped)
            parts.append(f"not tried, since they rest on these: {names}")
        return "\n".join(parts)


class Cancelled(BuildError):
    """A build was ended because the realize that it belongs to is over."""

    def __init__(self, dref: str) -> None:
        super().__init__(dref)
        self.dref = dref

    def __str__(self) -> str:
        return f"building {parse_dref(self.dref).name} was cancelled"


class ChangedInput(BuildError):
    """A published file was written to while something was built that rests on it."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return (
            f"{self.path}, an input, was written to during the build; inputs are never changed: copy what is to be "
            "changed to `build.scratch`. `stagedml verify --repair` puts aside what is damaged, and it is built anew"
        )


class NotBegun(BuildError):
    """A build was not begun, since another one failed."""

    def __init__(self, dref: str) -> None:
        super().__init__(dref)
        self.dref = dref

    def __str__(self) -> str:
        return f"{parse_dref(self.dref).name} was not built, since another build failed"


class MatcherUnsatisfied(BuildError):
    """Nothing that can be built would satisfy a matcher."""

    def __init__(self, dref: str, matcher: str) -> None:
        super().__init__(dref, matcher)
        self.dref, self.matcher = dref, matcher

    def __str__(self) -> str:
        return f"{self.dref}: its matcher {self.matcher} is not satisfied by what is in the store or was built"
