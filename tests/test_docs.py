"""The site is built without a warning, and the pages and pictures that are made of the product are as it makes them."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import stagedml
from pages import REPOSITORY

DOCS = REPOSITORY / "docs"


def script(path: Path) -> ModuleType:
    """A script as a module."""
    specification = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


REFERENCE = script(DOCS / "make_reference.py")


@pytest.mark.parametrize("name", REFERENCE.PAGES)
def test_a_page_that_is_made_of_the_code_is_as_the_code_says(name: str) -> None:
    page = (DOCS / "reference" / name).read_text(encoding="utf-8")
    assert page == REFERENCE.PAGES[name](), "run `make reference`"


def test_the_page_about_python_tells_every_public_name_once() -> None:
    page = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\.\. [\w:]+:: stagedml\.(\w+)(?:\(\))?$", page, re.MULTILINE)) == stagedml.__all__


def test_the_pictures_are_what_the_product_draws(tmp_path: Path) -> None:
    pytest.importorskip("graphlay")
    command = [sys.executable, str(DOCS / "pictures" / "make.py"), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    subprocess.run(command, env=environment, check=True)
    made = {path.name: path.read_text() for path in tmp_path.glob("*.svg")}
    assert made == {path.name: path.read_text() for path in (DOCS / "pictures").glob("*.svg")}, "run `make pictures`"


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    pytest.importorskip("furo")
    pytest.importorskip("myst_parser")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(DOCS), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for page in ("index", "reference/command-line", "reference/python", "explanation/never-stale"):
        assert (tmp_path / f"{page}.html").stat().st_size > 10_000
    assert "Make sure that a stage and everything behind it is in the store" in (
        tmp_path / "reference" / "python.html"
    ).read_text(encoding="utf-8")
