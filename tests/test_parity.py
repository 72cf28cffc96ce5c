"""docs/reference/parity.md misses no name, and what it says is there can be imported."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "parity.md"
ROW = re.compile(r"\| `(?P<name>\w+)` \| (?P<state>[a-z ]+) \| (?P<where>.+) \|")
STATES = {"kept", "renamed", "left out"}


@dataclass(frozen=True)
class Row:
    section: str
    name: str
    state: str
    where: str


def rows() -> list[Row]:
    found, section = [], ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("#"):
            section = line.strip("# ")
        elif line.startswith("| `"):
            match = ROW.fullmatch(line)
            assert match, f"not a row of this page: {line}"
            found.append(Row(section, **match.groupdict()))
    return found


def public_names(path: Path) -> set[str]:
    """What a module defines itself under a public name, read without running it: Pylightnix prints when imported."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return {name for name in names if not name.startswith("_")}


def pylightnix_modules() -> dict[str, set[str]]:
    """The public names of Pylightnix by module, of the modules that its star-imports hand on."""
    spec = importlib.util.find_spec("pylightnix")
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent
    modules = {
        ".".join(("pylightnix", *path.relative_to(root).with_suffix("").parts)): path for path in root.rglob("*.py")
    }
    named = {name: public_names(path) for name, path in modules.items()}
    # Of tz.py, which was copied into Pylightnix, only one class is handed on; imports.py holds Python's own names.
    named["pylightnix.tz"] &= {"tzlocal"}
    del named["pylightnix.imports"]
    return {name: names for name, names in named.items() if names and not name.endswith(("__init__", ".version"))}


def test_every_public_name_of_pylightnix_has_its_row_and_no_other_has() -> None:
    listed: dict[str, set[str]] = {}
    for row in rows():
        if row.section.startswith("pylightnix."):
            listed.setdefault(row.section, set()).add(row.name)
    assert listed == pylightnix_modules()


def test_no_name_has_two_rows_in_one_section_and_every_state_is_known() -> None:
    keys = [(row.section, row.name) for row in rows()]
    assert len(keys) == len(set(keys))
    assert {row.state for row in rows()} == STATES


@pytest.mark.parametrize("state", ["kept", "renamed"])
def test_what_is_kept_or_renamed_can_be_imported(state: str) -> None:
    missing = []
    for row in rows():
        if row.state != state:
            continue
        path = re.search(r"`(stagedml(?:\.\w+)+)`", row.where)
        if path is None:
            assert state == "renamed", f"{row.name} is kept, but the row does not say where"
            continue
        assert state == "renamed" or path[1].endswith(f".{row.name}"), f"{row.name} is renamed, not kept: {row.where}"
        if not is_there(path[1]):
            missing.append(f"{row.name}: {path[1]}")
    assert not missing


def is_there(path: str) -> bool:
    """Whether a dotted path leads to a module, or to an attribute of one, at any depth."""
    parts = path.split(".")
    for split in range(len(parts), 0, -1):
        try:
            value: object = importlib.import_module(".".join(parts[:split]))
        except ModuleNotFoundError:
            continue
        for name in parts[split:]:
            if not hasattr(value, name):
                return False
            value = getattr(value, name)
        return True
    return False
