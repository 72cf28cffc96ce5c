"""The probes that stores are compared by: ours passes them all, and they can be failed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from unprivileged import as_nobody

NEEDS_MOUNT = "a full disk leaves nothing half-written"
SCRIPT = "benchmarks/probes.py"


def probed(repository: Path, tool: str) -> tuple[int, dict[str, dict[str, str]]]:
    """The script's exit code, and what came of each probe."""
    command = [sys.executable, SCRIPT, "--only", tool, "--json"]
    environment = {**os.environ, "PYTHONPATH": str(repository / "src")}
    done = subprocess.run(command, cwd=repository, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, {row["probe"]: row[tool] for row in json.loads(done.stdout)}


def test_every_probe_is_passed(repository: Path) -> None:
    status, cells = probed(repository, "stagedml")
    failed = [f"{probe}: {cell['why']}" for probe, cell in cells.items() if cell["answer"] == "no"]
    assert not failed, "\n".join(failed)
    assert status == 0
    assert len(cells) == 10
    assert {probe for probe, cell in cells.items() if cell["answer"] == "skipped"} <= {NEEDS_MOUNT}


def test_the_probes_notice_what_plain_pylightnix_does(repository: Path) -> None:
    status, cells = probed(repository, "pylightnix")
    assert status == 0  # only our own failures count
    passed = [probe for probe, cell in cells.items() if cell["answer"] == "yes"]
    assert passed == []
    failed_themselves = [cell["why"] for cell in cells.values() if "Error" in cell["why"].partition(":")[0]]
    assert failed_themselves == []


@pytest.fixture
def probes(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, with everything loaded that it needs."""
    specification = importlib.util.spec_from_file_location("probes_script", repository / SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, "probes_script", module)
    specification.loader.exec_module(module)
    return module


@pytest.mark.unprivileged
def test_an_unprivileged_user_passes_every_probe_that_needs_no_mount(probes: ModuleType, nobody_path: Path) -> None:
    def check() -> list[str]:
        failed = []
        for number, probe in enumerate(probes.PROBES):
            folder = nobody_path / str(number)
            folder.mkdir()
            cell = probes.probe_here("stagedml", probe, folder) if probe != NEEDS_MOUNT else None
            if cell is not None and cell.answer != "yes":
                failed.append(f"{probe}: {cell.why}")
        return failed

    probes.open_stagedml(nobody_path / "warm")
    assert as_nobody(check) == []
