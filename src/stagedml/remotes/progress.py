"""How the functions of this layer tell how far they are.

A `Progress` is called with plain values, from the calling thread: label (what is moved), done and total (total is None
where nobody knows), unit ("bytes") and note (where from, or what happened).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

Progress = Callable[[str, int, int | None, str, str], None]

_INTERVAL_S: Final = 0.1


class Meter:
    """Counts bytes and reports them at most ten times a second, the first and the last report always."""

    def __init__(
        self, report: Progress | None, label: str, *, total: int | None, done: int = 0, note: str = ""
    ) -> None:
        self._report, self._label, self._total, self._note = report, label, total, note
        self._done = done
        self._last_report_s = 0.0
        self.finish()

    def add(self, size_bytes: int) -> None:
        """Count bytes that were moved."""
        self.reach(self._done + size_bytes)

    def reach(self, done: int) -> None:
        """Say how many bytes are behind us in all."""
        self._done = done
        if self._report is not None and time.monotonic() - self._last_report_s >= _INTERVAL_S:
            self.finish()

    def finish(self) -> None:
        """Report where we are now, whatever the time."""
        if self._report is not None:
            self._report(self._label, self._done, self._total, "bytes", self._note)
            self._last_report_s = time.monotonic()
