"""What the tests of the command line share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stagedml.cli.main import main

#: Runs a verb; returns its exit code, standard output and standard error.
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "root")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], root: str) -> Run:
    """Run a verb on a store of its own."""

    def run_verb(verb: str, *arguments: str) -> tuple[int, str, str]:
        try:
            code = main([verb, "--root", root, *arguments])
        except SystemExit as exit:  # argparse's own errors
            code = exit.code if isinstance(exit.code, int) else 1
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_verb
