"""The helper that runs tests as nobody is itself held to its word."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from unprivileged import NOBODY, FailedAsNobody, as_nobody

pytestmark = pytest.mark.unprivileged
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")


class OfTwoParts(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)
        self.second = second


def _write_into_read_only_folder(folder: Path) -> None:
    folder.chmod(0o500)
    (folder / "another").write_text("text")


def _raise_what_no_pickle_brings_back() -> None:
    raise OfTwoParts("first", "second")


@needs_root
def test_the_function_runs_as_nobody_and_its_result_comes_back() -> None:
    assert as_nobody(os.getuid) == NOBODY
    assert as_nobody(os.getgroups) == []
    assert os.getuid() == 0


def test_nobody_can_write_into_its_folder_but_not_against_its_mode(nobody_path: Path) -> None:
    as_nobody((nobody_path / "file").write_text, "text")
    assert (nobody_path / "file").read_text() == "text"
    with pytest.raises(PermissionError):
        as_nobody(_write_into_read_only_folder, nobody_path)


@needs_root
def test_a_process_that_just_ends_and_an_error_that_cannot_travel_are_failures() -> None:
    with pytest.raises(FailedAsNobody, match="ended with 3"):
        as_nobody(os._exit, 3)
    with pytest.raises(FailedAsNobody, match="OfTwoParts"):
        as_nobody(_raise_what_no_pickle_brings_back)
