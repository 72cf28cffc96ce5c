"""Stages that move from a notebook into a module stay what they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from notebooks.kernels import executed, notebook_of, outputs

CELLS = [
    """import json

import numpy as np

from stagedml import *
""",
    """class Numbers(Artifact):
    numbers: RefPath

FACTOR = 3

class Scale:
    # how far
    by = 2.0

def scaled(values: np.ndarray) -> np.ndarray:
    '''As large as they are to be.'''
    return values * FACTOR * Scale.by
""",
    """def told(values):
    return json.dumps([round(float(value), 3) for value in scaled(values)])

@stage(Numbers, name="numbers")
def numbers(build: Build, *, count: int = 3, numbers: RefPath = output("numbers.json")) -> None:
    build.path(numbers).write_text(told(np.arange(count)))
""",
    """@stage(Numbers, name="doubled")
def doubled(build: Build, *, source: Numbers, numbers: RefPath = output("numbers.json")) -> None:
    build.path(numbers).write_text(told(np.array(json.loads(build.path(source.numbers).read_text()))))

def all_doubled(count: int = 4) -> Numbers:
    return doubled(source=numbers(count=count))
""",
]
LOOKING = ["%load_ext stagedml\nstore_initialize('root')", "%plan all_doubled", "print(scaled(np.ones(2)))"]


@pytest.mark.parametrize(
    ("before", "after", "is_edit"),
    [("", "", False), ("# how far", "# how far indeed", False), ("by = 2.0", "by = 2.5", True)],
    ids=["as it was", "another comment", "an edit"],
)
def test_a_module_of_the_same_cells_reuses_what_the_notebook_built(
    tmp_path: Path, before: str, after: str, is_edit: bool
) -> None:
    built = ["%realize all_doubled", "str(instantiate(all_doubled).result)"]
    notebook = executed(notebook_of(*CELLS, *LOOKING, *built), tmp_path)
    (dref,) = outputs(notebook.cells[-1], "text/plain")
    (tmp_path / "moved.py").write_text("\n\n\n".join(CELLS).replace(before, after))
    done = subprocess.run(
        [sys.executable, "-m", "stagedml.cli.main", "plan", "--root", "root", "moved:all_doubled", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        check=True,
    )
    drawn = json.loads(done.stdout)
    assert ([repr(one) for one in drawn["targets"]] == [dref]) is not is_edit
    assert ({step["verdict"] for step in drawn["steps"]} == {"reuse"}) is not is_edit
