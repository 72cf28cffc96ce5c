"""Every error family of StagedML, rooted in `StagedmlError`.

An error carries plain data (so that it survives pickling from a worker), says what went wrong, where, and what to try
next. Concrete errors live beside the code that raises them and derive from one of the families below.
"""

from __future__ import annotations


class StagedmlError(Exception):
    """The root of everything StagedML raises on purpose."""


class UsageError(StagedmlError):
    """The caller asked for something that cannot be: a wrong name, type, value or combination."""


class StoreError(StagedmlError):
    """The store on disk cannot do what was asked, or does not hold what it should."""


class BuildError(StagedmlError):
    """A stage was built and did not come to a good end."""


class RemoteError(StagedmlError):
    """Bytes that live elsewhere could not be had: no network, no mirror, or not the promised bytes."""
