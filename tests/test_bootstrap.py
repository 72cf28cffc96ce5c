"""3rdparty/bootstrap.sh on small projects with empty lock files: no network, real virtual environments."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BASE_PYTHON = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "toy"
version = "1"
"""

# The least that pip takes for an editable installation, so that the toy needs nothing from a registry.
BACKEND = """
import zipfile

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    name = "toy-1-py3-none-any.whl"
    with zipfile.ZipFile(f"{wheel_directory}/{name}", "w") as wheel:
        wheel.writestr("toy.py", "")
        wheel.writestr("toy-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: toy\\nVersion: 1\\n")
        wheel.writestr("toy-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("toy-1.dist-info/RECORD", "")
    return name
"""


@pytest.fixture
def toy(repository: Path, tmp_path: Path) -> Path:
    """A working tree that bootstrap.sh takes for its own."""
    tree = tmp_path / "a tree"
    (tree / "3rdparty").mkdir(parents=True)
    shutil.copy(repository / "3rdparty" / "bootstrap.sh", tree / "3rdparty")
    (tree / "3rdparty" / "lock-build.txt").write_text("")
    (tree / "3rdparty" / "lock.txt").write_text("# first\n")
    (tree / "pyproject.toml").write_text(PYPROJECT)
    (tree / "backend.py").write_text(BACKEND)
    (tree / "setup.py").write_text("")
    return tree


def start(tree: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    variables = {**os.environ, "PYTHON": str(BASE_PYTHON), **environment}
    variables.pop("VIRTUAL_ENV", None)
    return subprocess.Popen(
        ["bash", str(tree / "3rdparty" / "bootstrap.sh"), *arguments],
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, stderr = process.communicate(timeout=120)
    return process.returncode, stderr


def run(tree: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    return finish(start(tree, *arguments, **environment))


def identity(tree: Path) -> int:
    """Changes when the environment is made anew."""
    return (tree / ".venv" / "pyvenv.cfg").stat().st_ino


@pytest.mark.slow
def test_an_environment_is_made_once_and_anew_when_the_lock_changes(toy: Path) -> None:
    assert run(toy)[0] == 0
    subprocess.run([toy / ".venv" / "bin" / "python", "-c", "import toy"], check=True)
    first = identity(toy)

    assert run(toy) == (0, "")
    assert identity(toy) == first

    (toy / "pyproject.toml").write_text(PYPROJECT + "description = 'another'\n")
    code, said = run(toy)
    assert (code, "is ready" in said, "making" in said) == (0, True, False)
    assert identity(toy) == first

    # From within the environment, which `env.sh` enters: its own python3 is the first on PATH.
    (toy / "3rdparty" / "lock.txt").write_text("# second\n")
    code, said = run(toy, PYTHON="", PATH=f"{toy}/.venv/bin:{os.environ['PATH']}")
    assert (code, "making" in said) == (0, True)
    assert identity(toy) != first
    assert run(toy) == (0, "")


@pytest.mark.slow
def test_of_two_at_once_one_installs_and_the_other_waits_for_it(toy: Path) -> None:
    both = [start(toy), start(toy)]
    answers = [finish(process) for process in both]
    assert [code for code, _ in answers] == [0, 0]
    said = "".join(text for _, text in answers)
    assert said.count("bootstrap: making") == 1
    assert said.count("waiting for it") == 1


@pytest.mark.slow
def test_what_was_killed_is_begun_again(toy: Path) -> None:
    process = start(toy)
    while not (toy / ".venv" / "bin" / "python").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert run(toy)[0] == 0
    subprocess.run([toy / ".venv" / "bin" / "python", "-c", "import toy"], check=True)
    assert not list(toy.glob(".venv.[no]*"))


@pytest.mark.slow
def test_packages_are_installed_without_the_project_and_the_project_into_them(toy: Path) -> None:
    for name in ("pyproject.toml", "setup.py", "backend.py"):
        (toy / name).rename(toy / f"later-{name}")
    assert run(toy, "packages")[0] == 0
    assert run(toy, "packages") == (0, "")
    first = identity(toy)

    for name in ("pyproject.toml", "setup.py", "backend.py"):
        (toy / f"later-{name}").rename(toy / name)
    code, said = run(toy)
    assert (code, "is ready" in said, "making" in said) == (0, True, False)
    assert identity(toy) == first
    subprocess.run([toy / ".venv" / "bin" / "python", "-c", "import toy"], check=True)


def test_an_unknown_word_is_refused(toy: Path) -> None:
    assert run(toy, "package") == (1, "bootstrap: takes nothing, or the word packages; not: package\n")
    assert not (toy / ".venv").exists()


def test_an_environment_that_somebody_else_made_is_left_alone(toy: Path) -> None:
    (toy / ".venv").mkdir()
    (toy / ".venv" / "mine").write_text("")
    code, said = run(toy)
    assert code == 1
    assert "was not made by this script" in said
    assert (toy / ".venv" / "mine").exists()


def pretend(folder: Path, name: str, first_lines: str) -> Path:
    """An interpreter that believes another version of itself."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f'#!/bin/sh\nexec {BASE_PYTHON} -c "{first_lines}; exec(sys.stdin.read())"\n')
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("first_lines", "reason"),
    [
        ("import sys; sys.version_info = (3, 9, 18)", "is Python 3.9.18"),
        ("import sys; sys.version_info = (3, 14, 0)", "is Python 3.14.0"),
        ("import sys; sys.implementation.name = 'pypy'", "is pypy, and TensorFlow has wheels for CPython alone"),
        ("import sys; sys.modules['ensurepip'] = None", "cannot make a virtual environment"),
        ("import sys; sys.exit('broken')", "does not run: broken"),
    ],
)
def test_an_unsuitable_python_is_refused_with_the_reason(toy: Path, first_lines: str, reason: str) -> None:
    python = pretend(toy / "bin", "python3", first_lines)
    code, said = run(toy, PYTHON=str(python))
    assert code == 1
    assert f"  {python} {reason}" in said
    assert "StagedML needs CPython 3.10, 3.11, 3.12 or 3.13" in said
    assert not (toy / ".venv").exists()


def test_without_any_python_it_says_what_was_looked_for(toy: Path) -> None:
    tools = toy / "bin"
    pretend(tools, "python3", "import sys; sys.version_info = (3, 8, 1)")
    for name in ("bash", "cat", "cksum", "dirname", "grep", "head", "tail", "tr"):
        program = shutil.which(name)
        assert program is not None
        (tools / name).symlink_to(program)
    code, said = run(toy, PYTHON="", PATH=str(tools))
    assert code == 1
    assert f"  {tools}/python3 is Python 3.8.1" in said
    assert "make PYTHON=/path/to" in said
