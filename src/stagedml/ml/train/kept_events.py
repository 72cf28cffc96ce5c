"""TensorBoard's events of a training that may be interrupted: those up to each checkpoint lie beside it.

The folder that a training logs to is gone with the attempt that was interrupted. Whoever goes on from a checkpoint gets
the events back that there were when it was written, so that curves have a beginning, and no step twice. Nothing that
comes out of a training rests on them: where they cannot be kept, there is a warning.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

logger = logging.getLogger(__name__)

_UNFINISHED = "unfinished.tmp"
_NEWEST = 2  # that of the last whole checkpoint, and that of the one that is being written


class KeptEvents:
    """The events below a log folder, as they were at some steps."""

    def __init__(self, log_dir: Path, folder: Path) -> None:
        """Look at nothing yet; `folder` is this training's alone."""
        self._log_dir, self._folder = log_dir, folder

    def keep(self, step: int) -> None:
        """Keep those that there are now. Call it before the checkpoint of that step is written."""
        try:
            unfinished, kept = self._folder / _UNFINISHED, self._folder / f"{step:08d}"
            for old in (unfinished, kept):
                shutil.rmtree(old, ignore_errors=True)
            unfinished.mkdir(parents=True)
            _copy(self._log_dir, unfinished)
            os.replace(unfinished, kept)
            for old in sorted(self._folder.iterdir())[:-_NEWEST]:
                shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            logger.warning("TensorBoard's events up to step %d are not kept: %s", step, error)

    def give_back(self, step: int) -> None:
        """Put those of a step into the log folder, where they are not there."""
        kept = self._folder / f"{step:08d}"
        try:
            if kept.is_dir():
                _copy(kept, self._log_dir)
        except OSError as error:
            logger.warning("TensorBoard's events up to step %d are lost: %s", step, error)

    def discard(self) -> None:
        """Remove all that is kept, as far as that is possible."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    for path in source.rglob("*tfevents*"):
        place = target / path.relative_to(source)
        if path.is_file() and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
