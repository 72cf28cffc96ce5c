"""The experiments in `examples/` come to their reports, on generated data."""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stagedml import RRef, instantiate, plan, rref2path, store_initialize
from stagedml.cli.experiment import run_experiment
from stagedml.stages.all import all_minibert_finetune_glue, all_tiny_finetune_glue
from stagedml.types import Report

#: Of each, how many runs there are, their labels, and a part of it that takes seconds.
EXPERIMENTS: dict[str, tuple[int, set[str], dict[str, Any]]] = {
    "glue_mini": (9, {"task"}, {"tasks": ["CoLA", "STS-B"]}),
    "learning_rate_batch_size": (
        6,
        {"learning_rate", "batch_size"},
        {"learning_rates": [2e-5, 1e-4], "batch_sizes": [32]},
    ),
    "batch_size": (9, {"batch_size", "seed"}, {"batch_sizes": [8], "seeds": [0, 1]}),
    "training_method": (5, {"method"}, {"methods": ["adamw", "lamb"]}),
}


def experiment(repository: Path, name: str) -> Any:
    """What composes the report of an example."""
    specification = importlib.util.spec_from_file_location(f"example_{name}", repository / "examples" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return getattr(module, f"all_{name}")


@pytest.fixture(scope="module", autouse=True)
def _store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One for all: the tiny model is pre-trained once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYLIGHTNIX_ROOT", str(tmp_path_factory.mktemp("store")))
        store_initialize()
        yield


def test_each_experiment_is_tested_here(repository: Path) -> None:
    assert {path.stem for path in (repository / "examples").glob("*.py")} == {*EXPERIMENTS, "quickstart"}


def tiny_report(composed: Callable[..., Report], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The numbers in the report of an experiment, run as from a shell."""
    run_experiment(composed, all_minibert_finetune_glue, "", ["--tiny"])
    rref, html = capsys.readouterr().out.split()
    assert html == f"{rref2path(RRef(rref))}/report.html"
    table: dict[str, Any] = json.loads(Path(html).with_name("report.json").read_text())
    return table


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_part_of_an_experiment_comes_to_its_report(
    name: str, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, labels, part = EXPERIMENTS[name]
    composed = functools.partial(experiment(repository, name), **part)
    table = tiny_report(composed, capsys)
    assert [run["labels"].keys() for run in table["runs"]] == [labels] * 2
    assert all(run["metrics"] for run in table["runs"])
    assert not plan(instantiate(composed, all_tiny_finetune_glue)).builds


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_comes_to_its_report(name: str, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs, labels, _ = EXPERIMENTS[name]
    table = tiny_report(experiment(repository, name), capsys)
    assert [run["labels"].keys() for run in table["runs"]] == [labels] * runs


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_is_declared_on_the_published_data(name: str, repository: Path) -> None:
    """Nothing is fetched for that."""
    steps = plan(instantiate(experiment(repository, name), all_minibert_finetune_glue)).steps
    assert len([step for step in steps if step.name.startswith("bert-finetune-")]) == EXPERIMENTS[name][0]
    assert steps[-1].name == "comparison"


def test_an_experiment_takes_a_local_folder_or_says_what_it_misses(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_experiment(experiment(repository, "glue_mini"), all_minibert_finetune_glue, "", ["--folder", str(tmp_path)])
    assert ended.value.code == 2
    assert f"{tmp_path} holds neither a folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run_experiment(experiment(repository, "glue_mini"), all_minibert_finetune_glue, "", ["--tiny", "--folder", "a"])
    assert "not allowed with argument" in capsys.readouterr().err
