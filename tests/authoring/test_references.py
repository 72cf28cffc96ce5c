"""A project has the same references wherever it is declared."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from authoring.workshop import Workshop
from unprivileged import as_nobody

HELPERS = """
import re
from dataclasses import dataclass, field

WORDS = {"b", "a", "c"}
TABLE = {"x": 1.5, "y": [True, None, ...], "z": -0.0}
PATTERN = re.compile("a+")


@dataclass(frozen=True)
class Settings:
    size: int = 3
    names: list[str] = field(default_factory=list)


def assist(x, *, k=f"{1!r:>{3}}{2}"):
    try:
        match x:
            case [1, *rest]:
                return [y for y in rest], k
    finally:
        print(PATTERN, WORDS, TABLE, Settings())
"""
PIPELINE = """
from stagedml import Artifact, Build, RefPath, output, stage
from helpers import assist


class Model(Artifact):
    model: RefPath


@stage(Model, name="model")
def train(build: Build, *, rate: float = 0.1, model: RefPath = output("model")) -> None:
    \"\"\"Train.\"\"\"
    import numpy

    build.path(model).write_text(str(assist([rate, numpy.pi])))


@stage(Model, name="copy", packages="none")
def copy(build: Build, *, of: Model, model: RefPath = output("model")) -> None:
    build.path(model).write_text(build.path(of.model).read_text())


def everything():
    return copy(of=train())
"""
PROGRAM = """
import os, sys
os.chdir(sys.argv[2])
sys.path.insert(0, sys.argv[1])
from stagedml import instantiate, store_initialize
store_initialize(sys.argv[3])
from pipeline import everything
print(*sorted(str(one.dref) for one in instantiate(everything).closure.derivations))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "helpers.py").write_text(HELPERS)
    (folder / "pipeline.py").write_text(PIPELINE)
    return folder


def declared(project: Path, store: Path, *, cwd: str = "/", python: str = sys.executable, **environment: str) -> str:
    """The references of the project, declared by a fresh interpreter."""
    paths = os.pathsep.join(str(path) for path in sys.path if path and (python == sys.executable or "src" in path))
    done = subprocess.run(
        [python, "-B", "-c", PROGRAM, str(project), cwd, str(store)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def references(project: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    found = declared(project, tmp_path_factory.mktemp("store"), PYTHONHASHSEED="0")
    assert found.count("dref:") == 2
    return found


@pytest.mark.parametrize("seed", ["1", "2"])
def test_under_another_hash_seed_and_from_another_folder(
    seed: str, project: Path, references: str, tmp_path: Path
) -> None:
    cwd = {"1": tmp_path, "2": project}[seed]
    assert declared(project, tmp_path / "store", cwd=str(cwd), PYTHONHASHSEED=seed) == references


@pytest.mark.unprivileged
def test_as_another_user_in_another_place(project: Path, references: str, nobody_path: Path) -> None:
    copied = nobody_path / "elsewhere"
    shutil.copytree(project, copied, copy_function=shutil.copyfile)
    for path in [copied, *copied.iterdir()]:
        path.chmod(0o755)
    assert _declare_here(str(project), str(nobody_path / "mine")) == references  # imports what the other needs
    assert as_nobody(_declare_here, str(copied), str(nobody_path / "store")) == references


def _declare_here(folder: str, store: str) -> str:
    from stagedml import instantiate, store_initialize

    sys.path.insert(0, folder)
    try:
        from pipeline import everything  # type: ignore[import-not-found]

        store_initialize(store)
        return " ".join(sorted(str(one.dref) for one in instantiate(everything).closure.derivations))
    finally:
        sys.path.remove(folder)
        for name in ("pipeline", "helpers"):
            sys.modules.pop(name, None)


@pytest.mark.parametrize("cells", [1, 3])
def test_in_cells_of_a_notebook(cells: int, project: Path, references: str, workshop: Workshop) -> None:
    text = HELPERS + PIPELINE.replace("from helpers import assist\n", "")
    module = project.parent / f"module{cells}"
    module.mkdir()
    (module / "pipeline.py").write_text(text)
    declare = "found = ' '.join(sorted(str(one.dref) for one in instantiate(everything).closure.derivations))"
    here = f"from stagedml import *\nstore_initialize('store')\n{declare}"
    (as_module,) = workshop.experiment(module, ("run", f"from pipeline import everything\n{here}"), ("answer", "found"))
    parts = text.split("\n\n\n")
    size = -(-len(parts) // cells)
    steps = [("cell", "\n\n\n".join(parts[start : start + size])) for start in range(0, len(parts), size)]
    steps += [("cell", here), ("cell", "import builtins\nbuiltins.found = found")]
    (in_cells,) = workshop.experiment(module, *steps, ("answer", "found"))
    assert in_cells == as_module
    assert in_cells.count("dref:") == 2
    assert in_cells != references  # it is other code: one module instead of two


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_under_every_python(version: str, project: Path, tmp_path: Path) -> None:
    """The versions of packages, which differ between the environments, are left out."""
    python = _python(version, tmp_path)
    expected = declared(project, tmp_path / "store", STAGEDML_PACKAGES="none")
    assert declared(project, tmp_path / "store", python=python, STAGEDML_PACKAGES="none") == expected


def _python(version: str, tmp_path: Path) -> str:
    """An interpreter of that version that has what StagedML needs; the test is skipped where there is none."""
    home = Path(pwd.getpwuid(os.geteuid()).pw_dir)
    installed = Path(os.environ.get("PYENV_ROOT", home / ".pyenv"), "versions")
    places = [f"python{version}", *map(str, installed.glob(f"{version}.*/bin/python"))]
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        places.insert(0, sys.executable)
    for place in places:
        python = shutil.which(place)
        if python is None:
            continue
        needed = "import numpy, blake3, pylightnix, cloudpickle, packaging"
        if not subprocess.run([python, "-c", needed], cwd=tmp_path, capture_output=True, check=False).returncode:
            return python
    pytest.skip(f"no Python {version} with the dependencies of StagedML")
