"""Edits of generated projects: what an edit does to the results of stages is found out by running them.

An edit that gives a stage another result must give it another fingerprint; one that cannot give it another result,
since it is cosmetic or the stage does not reach it, must not.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from authoring.mutations import ANYWHERE, PIECES, STAGES, Project, projects
from authoring.workshop import Workshop

PROJECTS = projects(5)
LOOK = (
    ("run", "import json, pipeline"),
    ("answer", f"json.dumps({{n: getattr(pipeline, n).code().digest for n in {STAGES!r}}})"),
    ("answer", f"json.dumps({{n: str(getattr(pipeline, 'make_' + n)()) for n in {STAGES!r}}})"),
)


def look(workshop: Workshop, folder: Path, files: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The fingerprints and the results of all stages of a project."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, newline="")
    answers = workshop.experiment(folder, *LOOK)
    return json.loads(answers[0]), json.loads(answers[1])


def test_there_are_edits_enough() -> None:
    semantic = [edit for project in PROJECTS for edit in project.semantic()]
    cosmetic = [edit for project in PROJECTS for edit in project.cosmetic(random.Random(1))]
    assert len(semantic) >= 75
    assert len(cosmetic) >= 75
    assert len(PIECES) + len(ANYWHERE) >= 24


@pytest.mark.parametrize("project", PROJECTS, ids=range(len(PROJECTS)))
def test_an_edit_that_changes_a_result_changes_the_fingerprints_of_the_stages_that_reach_it_and_no_others(
    project: Project, workshop: Workshop, tmp_path: Path
) -> None:
    codes, results = look(workshop, tmp_path / "original", project.files)
    wrong = []
    for number, edit in enumerate(project.semantic()):
        new_codes, new_results = look(workshop, tmp_path / str(number), edit.files)
        changed = {name for name in STAGES if new_results[name] != results[name]}
        assert changed == edit.reached_by, f"the corpus is wrong: {edit.kind} changed the results of {changed}"
        rebuilt = {name for name in STAGES if new_codes[name] != codes[name]}
        if rebuilt != changed:
            wrong.append(f"{edit.kind}: changed {sorted(changed)}, rebuilt {sorted(rebuilt)}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("project", PROJECTS, ids=range(len(PROJECTS)))
def test_an_edit_that_changes_no_result_by_its_kind_changes_no_fingerprint(
    project: Project, workshop: Workshop, tmp_path: Path
) -> None:
    before = look(workshop, tmp_path / "original", project.files)
    wrong = []
    for number, edit in enumerate(project.cosmetic(random.Random(1))):
        codes, results = look(workshop, tmp_path / str(number), edit.files)
        assert results == before[1], f"the corpus is wrong: {edit.kind}"
        if codes != before[0]:
            wrong.append(edit.kind)
    assert not wrong, "\n".join(wrong)
