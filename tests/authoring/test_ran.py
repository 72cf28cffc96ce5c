"""A build runs the code that was declared, also where it imports it."""

from __future__ import annotations

from pathlib import Path

import pytest

from authoring.test_fingerprint import builder
from authoring.workshop import Step, Workshop

LAZY = "def tool():\n    return inner() * SIZE\n\n\ndef inner():\n    return 1\n\n\nSIZE = 60 * 60\nOTHER = 1\n"
DECLARE = (
    "run",
    "import pipeline\nfrom stagedml import *\nstore_initialize('store')\n"
    "def declare():\n    global closure\n    closure = instantiate(pipeline.train)\n"
    "def build():\n    global failure\n    failure = ''\n    try:\n        realize(closure)\n"
    "    except BuildError as error:\n        failure = type(error.__cause__).__name__ + ': ' + str(error.__cause__)\n"
    "declare()",
)
BUILD = (("run", "build()"), ("answer", "failure"))
CHANGED = "ChangedSinceDeclared: {}/lazy.py ({}) changed between declaration and build; declare and realize again"


def written(text: str) -> Step:
    return ("write", "lazy.py", text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "lazy.py").write_text(LAZY)
    (tmp_path / "pipeline.py").write_text(builder("str(tool())", "    from lazy import tool\n"))
    return tmp_path


@pytest.mark.parametrize(
    ("edit", "name"),
    [(("return 1", "return 2"), "inner"), (("60 * 60", "60 * 61"), "SIZE"), (("tool()", "tool(x=1)"), "tool")],
)
def test_an_edit_between_declaration_and_build_fails_the_build(
    edit: tuple[str, str], name: str, workshop: Workshop, folder: Path
) -> None:
    answers = workshop.experiment(folder, DECLARE, written(LAZY.replace(*edit)), *BUILD)
    assert answers == [CHANGED.format(folder, name)]
    again = workshop.experiment(folder, DECLARE, *BUILD)
    assert again == [""]


def test_after_it_was_declared_again_it_builds_in_the_same_process(workshop: Workshop, folder: Path) -> None:
    edit = written(LAZY.replace("return 1", "return 2"))
    first, second = workshop.experiment(folder, DECLARE, edit, *BUILD, ("run", "declare()"), *BUILD)
    assert first.startswith("ChangedSinceDeclared")
    assert second == ""


def test_an_edit_that_the_builder_does_not_reach_is_fine(workshop: Workshop, folder: Path) -> None:
    cosmetic = LAZY.replace("OTHER = 1", "OTHER = 2  # why not")
    assert workshop.experiment(folder, DECLARE, written(cosmetic), *BUILD) == [""]


def test_what_was_loaded_between_is_compared_as_it_is_in_memory(workshop: Workshop, folder: Path) -> None:
    changed = written(LAZY.replace("return 1", "return 2"))
    load = ("run", "import lazy")
    (found,) = workshop.experiment(folder, DECLARE, changed, load, written(LAZY), *BUILD)
    assert found == CHANGED.format(folder, "inner")


def test_an_edit_while_the_builder_runs_does_not_cost_the_build(workshop: Workshop, folder: Path) -> None:
    lines = "    from lazy import tool\n    from pathlib import Path\n"
    lines += "    Path('lazy.py').write_text(Path('lazy.py').read_text().replace('return 1', 'return 3'))\n"
    (folder / "pipeline.py").write_text(builder("str(tool())", lines))
    assert workshop.experiment(folder, DECLARE, *BUILD) == [""]


def test_an_edit_while_the_builder_runs_and_before_it_loads_the_module_fails_the_build(
    workshop: Workshop, folder: Path
) -> None:
    lines = "    from pathlib import Path\n"
    lines += "    Path('lazy.py').write_text(Path('lazy.py').read_text().replace('return 1', 'return 3'))\n"
    lines += "    from lazy import tool\n"
    (folder / "pipeline.py").write_text(builder("str(tool())", lines))
    assert workshop.experiment(folder, DECLARE, *BUILD) == [CHANGED.format(folder, "inner")]


def test_edits_of_what_was_loaded_at_declaration_do_not_cost_the_build(workshop: Workshop, folder: Path) -> None:
    steps = (("run", "import lazy"), DECLARE, written(LAZY.replace("return 1", "return 2")))
    assert workshop.experiment(folder, *steps, *BUILD) == [""]
