"""A store of one's own for each test, current while it runs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagedml import instantiate, realize, using_store
from stagedml.settings import read_settings
from stagedml.store.objects import Store
from stagedml.testing import toys


@pytest.fixture(scope="session", autouse=True)
def _modules_are_loaded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Load what a build loads when it runs: the interpreter's folder may be out of reach for an unprivileged user."""
    with using_store(Store.open(read_settings({}, root=tmp_path_factory.mktemp("warm")))):
        realize(instantiate(toys.all_counted))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with using_store(Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=tmp_path / "root"))) as store:
        yield store


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
