"""The layers of the package: which part may know of which, held line by line.

Every import counts, those inside functions and for type checking alone included: a dependency is a dependency. What a
process really loads is asked of fresh interpreters.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src"

# From the ground up. A part may import itself and the parts of lower rows; parts of one row never import each other.
# The package itself (`stagedml`) and the catalogue's star-import face are parts of their own, at the top.
LAYERS = (
    ("errors",),
    ("settings",),
    ("core",),
    ("store", "remotes", "ml"),
    ("authoring",),
    ("types",),
    ("engine", "stages"),
    ("inspection",),
    ("testing",),
    ("cli", "notebook", "stages.all"),
    ("stagedml",),
)
ROW_OF = {part: row for row, parts in enumerate(LAYERS) for part in parts}

FRAMEWORKS = frozenset(
    {
        "keras",
        "official",
        "sacrebleu",
        "sentencepiece",
        "tensorflow",
        "tensorflow_text",
        "tf_keras",
        "tokenizers",
        "torch",
    }
)
# Values and rules look at nothing but their arguments.
NOT_FOR_CORE = frozenset(
    {"http", "os", "pathlib", "random", "secrets", "shutil", "socket", "subprocess", "tempfile", "time", "urllib"}
)


@dataclass(frozen=True)
class Import:
    """One module that one line imports."""

    path: Path
    line: int
    module: str

    @property
    def where(self) -> str:
        return f"{self.path.relative_to(SOURCE.parent)}:{self.line}"

    @property
    def importer(self) -> str:
        return part_of(module_name(self.path))

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str:
    """The part of the package that a module of ours belongs to."""
    _, _, inner = module.partition(".")
    if not inner or inner == "__main__":
        return "stagedml"
    return "stages.all" if inner == "stages.all" else inner.partition(".")[0]


def is_ours(module: str) -> bool:
    return module == "stagedml" or module.startswith("stagedml.")


def is_module(name: str) -> bool:
    path = SOURCE.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()


def imports_of(path: Path, text: str | None = None) -> Iterator[Import]:
    """All imports of a module, those within functions included, and `import_module` of a name spelt out."""
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text() if text is None else text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(path, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield Import(path, node.lineno, inner if is_ours(base) and is_module(inner) else base)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("import_module", "__import__"):
                yield Import(path, node.lineno, str(node.args[0].value))


def breaches(found: Import) -> Iterator[str]:
    """What one import breaks, in words."""
    importer = found.importer
    if is_ours(found.module):
        imported = part_of(found.module)
        if imported != importer and ROW_OF[imported] >= ROW_OF[importer]:
            yield f"{found.where}: {importer} must not import {found.module}: {imported} is not below it"
        return
    if found.top in FRAMEWORKS and importer != "ml":
        yield f"{found.where}: {importer} must not import {found.module}: frameworks are for ml"
    if found.top == "pylightnix" and module_name(found.path) != "stagedml.authoring.pylightnix":
        yield f"{found.where}: Pylightnix is imported by authoring/pylightnix.py, and by that alone"
    if importer in ("errors", "settings") and found.top not in sys.stdlib_module_names:
        yield f"{found.where}: {importer} must not import {found.module}: the ground is the standard library"
    if importer == "core" and found.top in NOT_FOR_CORE:
        yield f"{found.where}: core must not import {found.module}: it knows no disk, network, clock or randomness"


ALL_MODULES = sorted(SOURCE.rglob("*.py"))


def test_every_part_of_the_package_has_its_row() -> None:
    parts = {part_of(module_name(path)) for path in ALL_MODULES}
    assert parts <= ROW_OF.keys(), "name the new part's row in LAYERS, and in docs"


def test_imports_point_down_and_heavy_ones_stay_where_they_belong() -> None:
    broken = [text for path in ALL_MODULES for found in imports_of(path) for text in breaches(found)]
    assert not broken, "\n" + "\n".join(broken)


@pytest.mark.parametrize(
    ("module", "line", "complaint"),
    [
        ("core/refs.py", "from stagedml.store import objects", "store is not below it"),
        ("core/refs.py", "from ..store.objects import Store", "store is not below it"),
        ("ml/bert.py", "import stagedml.authoring.stage", "authoring is not below it"),
        ("engine/realize.py", "def run():\n    from stagedml.stages.fetch import url", "stages is not below it"),
        ("stages/fetch.py", "from stagedml import realize", "stagedml is not below it"),
        ("cli/main.py", "from stagedml.stages.all import *", "stages.all is not below it"),
        ("stages/glue.py", "def build():\n    import tensorflow as tf", "frameworks are for ml"),
        ("engine/worker.py", "importlib.import_module('tensorflow')", "frameworks are for ml"),
        ("engine/worker.py", "import pylightnix", "by that alone"),
        ("settings.py", "import numpy", "standard library"),
        ("core/plan.py", "from time import time", "no disk, network, clock"),
    ],
)
def test_a_line_that_breaks_a_rule_is_named(module: str, line: str, complaint: str) -> None:
    path = SOURCE / "stagedml" / module
    (broken,) = {text for found in imports_of(path, line) for text in breaches(found)}
    assert broken.startswith(f"src/stagedml/{module}:")
    assert complaint in broken


def loaded_after(statement: str, *arguments: str, cwd: Path) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after a statement."""
    program = f"import sys, json\nsys.argv[1:] = {list(arguments)}\n{statement}\n" + (
        "print(); print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_costs_next_to_nothing(tmp_path: Path) -> None:
    loaded = loaded_after("import stagedml", cwd=tmp_path)
    assert not loaded & {*FRAMEWORKS, "pylightnix", "numpy", "rich", "IPython", "urllib3"}


def test_the_catalogue_needs_no_framework_and_prints_nothing(tmp_path: Path) -> None:
    statement = "from stagedml.stages.all import *"
    assert not loaded_after(statement, cwd=tmp_path) & {*FRAMEWORKS, "rich", "IPython", "urllib3"}
    done = subprocess.run([sys.executable, "-c", statement], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_ls_loads_neither_pylightnix_nor_anything_heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLIGHTNIX_ROOT", str(tmp_path / "store"))
    create = "import stagedml; stagedml.store_initialize()"
    subprocess.run([sys.executable, "-c", create], cwd=tmp_path, capture_output=True, check=True)
    loaded = loaded_after("from stagedml.cli.main import main\nassert not main(['ls'])", cwd=tmp_path)
    assert not loaded & {*FRAMEWORKS, "pylightnix", "numpy", "rich", "click", "IPython", "urllib3"}
