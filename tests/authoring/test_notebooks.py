"""Notebooks are also where things are looked at: what changes a name there, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from authoring.test_fingerprint import CELL, builder
from authoring.workshop import Workshop

HELPERS = """
import logging
import random
LOG = logging.getLogger("helpers")
TABLE = dict(a=1)
ROWS = list(range(3))
LEVEL = 0
PLAIN = {'a': 1}
def f():
    LOG.info("f")
    print(TABLE)
    return LEVEL, PLAIN
def configure(level):
    global LEVEL
    LEVEL = level
def shuffle(module):
    random.shuffle(module.ROWS)
"""
STAGE = [
    "import importlib, random\nimport helpers\nimport numpy as np",
    builder("str([helpers.f(), np.zeros(2)])"),
]


def both(workshop: Workshop, folder: Path, cells: list[str], *later: str) -> tuple[str, str]:
    """The fingerprints before and after some more cells."""
    (folder / "helpers.py").write_text(HELPERS)
    steps = [("cell", text) for text in cells]
    before, after = workshop.experiment(folder, *steps, CELL, *(("cell", text) for text in later), CELL)
    assert before.startswith("2:"), before
    assert after.startswith("2:"), after
    return before, after


@pytest.mark.parametrize(
    "later",
    [
        "print(helpers)",
        "helpers.f()",
        "helpers.f(); None",
        "help(helpers)",
        "dir(helpers)",
        "np.zeros(3)",
        "np.save('x.npy', np.zeros(3))",
        "x = [1]\nnp.save('x.npy', x)",
        "for i in range(2): helpers.f()",
        "importlib.reload(helpers)",
        "from importlib import reload\nreload(helpers)",
        "import helpers",
        "import helpers\nhelpers.f()",
        "import inspect\ninspect.getsource(helpers)",
        "import inspect\ninspect.getsource(helpers.f)",
        "helpers.TABLE.items()",
        "helpers.TABLE.get('a')",
        "random.seed(helpers.LEVEL)",
        "print(helpers.TABLE)",
    ],
)
def test_looking_at_things_in_a_cell_is_no_edit(later: str, workshop: Workshop, tmp_path: Path) -> None:
    before, after = both(workshop, tmp_path, STAGE, later)
    assert before == after


@pytest.mark.parametrize(
    "later",
    [
        "helpers.configure(3)",
        "old = helpers.configure(3)",
        "helpers.TABLE.update(b=2)",
        "helpers.TABLE['b'] = 2",
        "helpers.PLAIN.update(b=2)",
        "helpers.PLAIN['b'] = 2",
        "helpers.LEVEL = 3",
        "helpers.f = lambda: 1",
        "setattr(helpers, 'f', lambda: 1)",
        "random.shuffle(helpers.ROWS)",
        "def change(x):\n    x.LEVEL = 3\nchange(helpers)",
        "def change(x):\n    x.LEVEL = 3\n    return x\nhelpers = change(helpers)",
        "helpers.shuffle(helpers)",
        "from helpers import shuffle\nshuffle(helpers)",
        "if True:\n    helpers.configure(3)",
        "import random as helpers\nhelpers.f = lambda: 2",
    ],
)
def test_a_change_of_a_module_in_a_cell_counts(later: str, workshop: Workshop, tmp_path: Path) -> None:
    before, after = both(workshop, tmp_path, STAGE, later)
    assert before != after


def test_a_change_counts_although_the_import_is_repeated(workshop: Workshop, tmp_path: Path) -> None:
    before, after = both(workshop, tmp_path, STAGE, "helpers.configure(3)")
    again = both(workshop, tmp_path, STAGE, "helpers.configure(3)\nimport helpers", "import helpers")
    assert again == (before, after)


@pytest.mark.parametrize("later", ["TABLE.update(b=2)", "random.shuffle(TABLE)", "fill(TABLE)", "print(TABLE)"])
def test_tables_that_calls_fill_count_in_a_cell(later: str, workshop: Workshop, tmp_path: Path) -> None:
    made = "import random\nclass Rows(dict):\n    pass\nTABLE = Rows({0: 1, 1: 2})\ndef fill(x):\n    x[0] = 2"
    before, after = both(workshop, tmp_path, [made, builder("str(TABLE)")], later)
    assert (before == after) is later.startswith("print")


def test_print_of_somebody_is_not_the_built_in_one(workshop: Workshop, tmp_path: Path) -> None:
    made = "class Rows(dict):\n    pass\nTABLE = Rows({0: 1, 1: 2})\ndef print(x):\n    x[0] = 2"
    before, after = both(workshop, tmp_path, [made, builder("str(TABLE)")], "print(TABLE)")
    assert before != after


@pytest.mark.parametrize(
    ("more", "is_change"),
    [
        ("print(TABLE)\n", False),
        ("print(helpers.TABLE)\n", False),
        ("len(TABLE)\n", False),
        ("TABLE.update(b=3)\n", True),
        ("helpers.shuffle(helpers)\n", True),
        ("def print(x):\n    x.clear()\nprint(TABLE)\n", True),
    ],
)
def test_looking_at_a_table_in_a_module_is_no_edit(
    more: str, is_change: bool, workshop: Workshop, tmp_path: Path
) -> None:
    (tmp_path / "helpers.py").write_text(HELPERS)
    text = builder("str([TABLE, helpers.TABLE, helpers.f()])", above="import helpers\nTABLE = dict(a=1)\n")
    found = []
    for name, end in {"first": "", "second": more}.items():
        (tmp_path / f"{name}.py").write_text(text + end)
        found += workshop.experiment(tmp_path, ("fingerprint", name, "train"))
    assert found[0].startswith("2:")
    assert (found[0] != found[1]) is is_change


@pytest.mark.parametrize(
    "made",
    [
        "import dataclasses\n@dataclasses.dataclass\nclass Conf:\n    a: int = 1",
        "import enum\nclass Conf(enum.Enum):\n    A = 1",
        "import typing\nclass Conf(typing.NamedTuple):\n    a: int = 1",
    ],
)
def test_a_class_of_a_cell_that_is_captured_counts(made: str, workshop: Workshop, tmp_path: Path) -> None:
    inner = builder("str(value)").replace("\n", "\n    ")
    factory = f"def outer(value):{inner}\n    return train"
    cells = [made, factory, "train = outer(Conf)"]
    before, after = both(workshop, tmp_path, cells, made.replace("= 1", "= 2"), "train = outer(Conf)")
    assert before != after


CACHE = """
C = None
T = {}
def get(x=1):
    global C
    C = C or compute(x)
    T["x"] = C
    return C
def compute(x):
    return x + 1
"""


@pytest.mark.parametrize(
    ("later", "is_change"),
    [
        ("get()", False),
        ("train.builder and get(); C", False),
        ("get(5)", True),
        ("def outer():\n    get(5)\ndef beside(x):\n    outer()\nbeside(1)", True),
        ("C = 4", True),
        ("T['y'] = 1", True),
        ("def compute(x):\n    return x + 2", True),
        ("LEVEL = 1", True),
        (CACHE, False),
    ],
)
def test_a_cache_that_the_code_fills_itself_is_no_edit_in_a_cell(
    later: str, is_change: bool, workshop: Workshop, tmp_path: Path
) -> None:
    before, after = both(workshop, tmp_path, ["LEVEL = 0", CACHE, builder("str([get(), C, T, LEVEL])")], later)
    assert (before != after) is is_change
