"""How long work tells how far it is: one plain callback, which knows nothing of bars, logs or stages."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called now and then by work that takes long; must return at once and must not raise."""

    def __call__(self, label: str, done: int, total: int | None, unit: str, note: str = "") -> None:
        """Say how far the work is.

        Args:
            label: what is being done, the same words from beginning to end ("tokenize train").
            done: how many units are done.
            total: how many there will be; None while nobody knows.
            unit: what is counted, in the plural ("rows", "steps").
            note: what else is worth a glance ("loss 0.412").
        """


def silent(label: str, done: int, total: int | None, unit: str, note: str = "") -> None:
    """Tell nobody."""
