"""Why what is there does not do: the vocabulary of plans, and of what is recorded of builds."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Cause(str, enum.Enum):
    """Why what is there does not do."""

    FIRST_BUILD = "first build"
    CONFIG = "config field"
    CODE = "code"
    PACKAGE = "package version"
    INPUT = "input contents"
    MATCHER = "matcher"
    INSTANCE_MISSING = "instance missing"
    FORCED = "forced"
    BYTES_MISSING = "bytes missing"
    BLESSED = "blessed"
    BY_HAND = "by hand"


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that is otherwise than it was.

    Attributes:
        cause: what kind of thing.
        subject: which: a field of the config; `file:line` and the definition there; a package; instances; of an input
            and of missing bytes a few words.
        before, after: its values, as short texts; empty where there is none.
    """

    cause: Cause
    subject: str = ""
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        change = f" {self.before or '(none)'} -> {self.after or '(none)'}" if self.before or self.after else ""
        if self.cause is Cause.CODE:
            return f"code {self.subject or 'changed'}"
        if self.cause is Cause.PACKAGE:
            return f"package {self.subject}{change}"
        if self.cause is Cause.INSTANCE_MISSING:
            return f"instance {self.subject} missing"
        return (self.subject or self.cause.value) + change
