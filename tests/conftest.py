"""Fixtures that every test may use, and the fence around the developer's own machine.

No test sees the settings of the person who runs it, and none writes to the home folder.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from unprivileged import NOBODY

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    # Who runs the tests in the background may have it ignored, and so would all that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in [name for name in os.environ if name.startswith(("STAGEDML_", "PYLIGHTNIX_"))]:
        del os.environ[name]
    # TensorFlow reads both when it is first imported, which any test may be the first to do.
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


@pytest.fixture(scope="session", autouse=True)
def _home_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.environ.get("HOME")
    os.environ["HOME"] = str(tmp_path_factory.mktemp("home"))
    yield
    if before is None:
        del os.environ["HOME"]
    else:
        os.environ["HOME"] = before


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the working tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real public data sets, kept beside the repository and never in it; the test is skipped where they are absent."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder


@pytest.fixture
def nobody_path() -> Iterator[Path]:
    """A folder that the user of `as_nobody` owns and can reach (`tmp_path` lies in a folder private to root)."""
    folder = Path(tempfile.mkdtemp(prefix="stagedml-nobody-"))
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    yield folder
    for directory, _, _ in os.walk(folder):
        os.chmod(directory, 0o700)
    shutil.rmtree(folder)
