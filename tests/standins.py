"""A PATH of which a test knows everything: some of the machine's programs, and stand-ins that do as they are told."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path


class Programs:
    """The folder `path`, made here, for PATH."""

    def __init__(self, path: Path, of_the_machine: Iterable[str]) -> None:
        self.path = path
        path.mkdir()
        for name in of_the_machine:
            program = shutil.which(name)
            assert program is not None, f"this machine has no {name}"
            # No link: a stand-in that is installed in its place would be written into the machine's own program.
            self.install(name, f'exec {program} "$@"')

    def install(self, name: str, body: str) -> None:
        """Let `name` be a bash script of that body."""
        (self.path / name).write_text(f"#!/bin/bash\n{body}\n")
        (self.path / name).chmod(0o755)

    def remove(self, name: str) -> None:
        (self.path / name).unlink()
