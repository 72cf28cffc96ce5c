"""pyproject.toml, the lock files and the environment that is made from them agree."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import stagedml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
FRAGMENT = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\.(added|changed|fixed|removed|format)\.md")


def applies(requirement: Requirement, python: str) -> bool:
    """Whether a requirement is one for this Python, on Linux."""
    environment = {
        "implementation_name": "cpython",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.5",
        "python_version": python,
        "sys_platform": "linux",
    }
    return requirement.marker is None or requirement.marker.evaluate(environment)


def pins(lock: Path, python: str) -> dict[str, Version]:
    """The version of each package that a lock file gives for one Python."""
    found: dict[str, Version] = {}
    for line in lock.read_text().splitlines():
        if line.startswith((" ", "#")) or not line.strip():
            continue
        requirement = Requirement(line.removesuffix("\\").strip())
        if applies(requirement, python):
            name = canonicalize_name(requirement.name)
            assert name not in found, f"{lock.name} pins {name} twice for Python {python}"
            (specifier,) = requirement.specifier
            assert specifier.operator == "=="
            found[name] = Version(specifier.version)
    return found


def project(repository: Path) -> dict[str, object]:
    table: dict[str, object] = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    return table


def declared(repository: Path, lock: str) -> list[Requirement]:
    """What a lock is to hold: PyTorch has one of its own."""
    table = tomllib.loads((repository / "pyproject.toml").read_text())
    extras = table["project"]["optional-dependencies"]
    torch = extras.pop("torch")
    if lock == "lock-torch.txt":
        return [Requirement(line) for line in torch]
    lines = list(table["build-system"]["requires"]) + list(table["project"]["dependencies"])
    for extra in extras.values():
        lines += extra
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", ["lock.txt", "lock-torch.txt"])
def test_the_lock_holds_what_pyproject_asks_for_on_every_python(repository: Path, lock: str, python: str) -> None:
    locked = pins(repository / "3rdparty" / lock, python)
    for requirement in [each for each in declared(repository, lock) if applies(each, python)]:
        name = canonicalize_name(requirement.name)
        assert name in locked, f"{name} is not in {lock}: run 3rdparty/relock.sh"
        assert requirement.specifier.contains(locked[name]), f"{requirement}, but {locked[name]} is locked"


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", ["lock-build.txt", "lock-torch.txt"])
def test_the_locks_agree_where_they_overlap(repository: Path, lock: str, python: str) -> None:
    everything = pins(repository / "3rdparty" / "lock.txt", python)
    for name, version in pins(repository / "3rdparty" / lock, python).items():
        assert everything.get(name, version) == version


def test_nothing_that_everybody_installs_brings_pytorch(repository: Path) -> None:
    assert "torch" not in {name for python in PYTHONS for name in pins(repository / "3rdparty" / "lock.txt", python)}


@pytest.mark.parametrize("name", ["lock.txt", "lock-build.txt", "lock-torch.txt"])
def test_a_lock_says_what_to_install_with_its_sums_and_not_from_where(repository: Path, name: str) -> None:
    text = (repository / "3rdparty" / name).read_text()
    assert "://" not in text
    for line in text.splitlines():
        assert not line.startswith("-"), f"an option of pip in a lock: {line}"
    for entry in re.split(r"\n(?=\S)", text.strip()):
        assert "--hash=sha256:" in entry, f"no sum: {entry}"


def test_the_pinned_packages_agree_with_each_other(repository: Path) -> None:
    if Path(sys.prefix) != repository / ".venv":
        pytest.skip("this is not the pinned environment; `make test` runs this in it")
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_supported_pythons_are_said_once_and_the_same_everywhere(repository: Path) -> None:
    table = project(repository)
    assert table["requires-python"] == ">=3.10,<3.14"
    classifiers = [f"Programming Language :: Python :: {python}" for python in PYTHONS]
    assert [item for item in table["classifiers"] if re.search(r":: 3\.\d+$", item)] == classifiers  # type: ignore[attr-defined]
    bootstrap = (repository / "3rdparty" / "bootstrap.sh").read_text()
    assert "(3, 10) <= sys.version_info[:2] <= (3, 13)" in bootstrap


def test_the_package_knows_its_version_and_ships_its_types_and_licence(repository: Path) -> None:
    assert project(repository)["version"] == stagedml.__version__
    assert (repository / "src" / "stagedml" / "py.typed").exists()
    assert "Apache License" in (repository / "LICENSE").read_text()


def test_change_fragments_are_named_by_topic_and_kind(repository: Path) -> None:
    names = {path.name for path in (repository / "docs" / "changes").iterdir()} - {"README.md"}
    assert not {name for name in names if not FRAGMENT.fullmatch(name)}
