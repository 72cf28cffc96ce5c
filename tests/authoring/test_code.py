"""What is told of the code behind a stage: `Stage.code()`."""

from __future__ import annotations

import json
from pathlib import Path

from authoring.test_fingerprint import builder
from authoring.workshop import Workshop
from stagedml import Store, instantiate, realize
from stagedml.authoring.session import using_store
from stagedml.core import code as codes
from stagedml.core.refs import parse_rref
from stagedml.stages.fetch import fetch_file
from stagedml.testing import toys

UNITS = "[[u.name, u.file.rpartition('/')[2], u.line, u.text, len(u.digest)] for u in code.units]"


def code_of(workshop: Workshop, folder: Path, **modules: str) -> list[list[object]]:
    """The units of the stage `train` in the module `pipeline`."""
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)
    found = workshop.experiment(
        folder,
        ("run", "import json, pipeline\ncode = pipeline.train.code()"),
        ("answer", f"json.dumps({UNITS})"),
    )
    units: list[list[object]] = json.loads(found[0])
    return units


def test_units_name_file_line_and_text_of_each_definition_the_builder_first(workshop: Workshop, tmp_path: Path) -> None:
    above = "from helpers import assist\n\nSIZE = (1,\n    2)\n\n\n@str\ndef helper():\n    # why\n    return SIZE\n"
    pipeline = builder("str([helper, assist()])", above=above)
    helpers = "import functools\n\n\n@functools.lru_cache(\n    maxsize=1)\ndef assist():\n    'Doc.'\n    return 1; \n"
    units = code_of(workshop, tmp_path, pipeline=pipeline, helpers=helpers)
    start = pipeline[: pipeline.index("@stage")].count("\n") + 1
    assert units == [
        ["train", "pipeline.py", start, pipeline[pipeline.index("@stage") :].rstrip("\n"), 32],
        [
            "1:assist",
            "helpers.py",
            4,
            "@functools.lru_cache(\n    maxsize=1)\ndef assist():\n    'Doc.'\n    return 1; ",
            32,
        ],
        ["1:functools", "helpers.py", 1, "import functools", 32],
        ["SIZE", "pipeline.py", 5, "SIZE = (1,\n    2)", 32],
        ["assist", "pipeline.py", 3, "from helpers import assist", 32],
        ["helper", "pipeline.py", 9, "@str\ndef helper():\n    # why\n    return SIZE", 32],
    ]


def test_of_a_captured_value_the_unit_is_its_text(workshop: Workshop, tmp_path: Path) -> None:
    text = builder("str(value)").replace("\n", "\n    ")
    units = code_of(workshop, tmp_path, pipeline=f"def make(value):{text}\n    return train\n\n\ntrain = make([1])\n")
    assert ["value", "pipeline.py", 9, "[1]", 32] in units


def test_a_changed_definition_changes_the_digest_of_its_unit_alone(workshop: Workshop, tmp_path: Path) -> None:
    pipeline = builder("str([one(), two()])", above="def one():\n    return 1\n\n\ndef two():\n    return 2\n")
    answers = []
    for text in (pipeline, pipeline.replace("return 2", "return 3")):
        (tmp_path / "pipeline.py").write_text(text)
        units = "json.dumps({u.name: u.digest for u in pipeline.train.code().units})"
        answers += workshop.experiment(tmp_path, ("run", "import json, pipeline"), ("answer", units))
    before, after = map(json.loads, answers)
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} == {"two"}


def test_code_goes_through_its_text_unchanged() -> None:
    code = toys.text.code()
    assert code is not None
    assert codes.from_text(code.to_text()) == code
    assert code.units[0].file == toys.__file__


def test_a_stage_whose_parameters_say_what_its_bytes_are_has_no_code() -> None:
    assert fetch_file.code() is None


def test_a_build_keeps_the_code_beside_its_derivation(store: Store) -> None:
    with using_store(store):
        rref = realize(instantiate(toys.text))
    assert store.code(parse_rref(str(rref)).derivation) == toys.text.code()
