"""The experiments in `examples/` come to their reports, on generated data."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stagedml import RRef, instantiate, plan, rref2path, store_initialize
from stagedml.cli.experiment import Trains, run_experiment
from stagedml.stages.all import (
    all_minibert_finetune_glue,
    dryrun_bert_pretrain,
    dryrun_convnn_mnist,
    dryrun_finetune_glue,
    dryrun_finetune_rusentiment,
    dryrun_finetune_squad11,
    dryrun_transformer,
    dryrun_transformer_nl2bash,
)
from stagedml.types import Report


@dataclass(frozen=True)
class Experiment:
    """What to expect of an example.

    Attributes:
        trained: what its runs are called, a pattern.
        runs: how many there are.
        labels: of each run.
        part: arguments for two runs alone, which take seconds.
        trains, dryrun: as of `run_experiment`; the former by its name in the example.
    """

    trained: str
    runs: int
    labels: set[str]
    part: dict[str, Any]
    trains: str = "all_minibert_finetune_glue"
    dryrun: Trains = dryrun_finetune_glue


RATES = {"learning_rates": [1e-4, 1e-3]}
EXPERIMENTS = {
    "glue_mini": Experiment("bert-finetune-.*", 9, {"task"}, {"tasks": ["CoLA", "STS-B"]}),
    "learning_rate_batch_size": Experiment(
        "bert-finetune-.*", 6, {"learning_rate", "batch_size"}, {**RATES, "batch_sizes": [32]}
    ),
    "batch_size": Experiment("bert-finetune-.*", 9, {"batch_size", "seed"}, {"batch_sizes": [8], "seeds": [0, 1]}),
    "training_method": Experiment("bert-finetune-.*", 5, {"method"}, {"methods": ["adamw", "lamb"]}),
    "squad": Experiment(
        "bert-finetune-squad11",
        6,
        {"learning_rate", "seed"},
        {**RATES, "seeds": [0]},
        "all_minibert_finetune_squad11",
        dryrun_finetune_squad11,
    ),
    "pretraining": Experiment("bert-pretrain", 3, {"epochs"}, {"epochs": 2}, "pretrain", dryrun_bert_pretrain),
    "mnist": Experiment(
        "convnn-mnist", 3, {"learning_rate"}, {**RATES, "instances": 1}, "all_convnn_mnist", dryrun_convnn_mnist
    ),
    "translation": Experiment(
        "transformer-en-de",
        4,
        {"method"},
        {"methods": ["the paper's", "greedy"]},
        "trains_small",
        dryrun_transformer,
    ),
    "nl2bash": Experiment(
        "transformer-nl-cm",
        4,
        {"vocabulary"},
        {"vocabularies": ["signs", "as plain text"]},
        "all_transformer_nl2bash",
        dryrun_transformer_nl2bash,
    ),
    "rusentiment": Experiment(
        "bert-finetune-rusentiment",
        3,
        {"learning_rate"},
        RATES,
        "all_rubert_finetune_rusentiment",
        dryrun_finetune_rusentiment,
    ),
}


def module_of(repository: Path, name: str) -> types.ModuleType:
    specification = importlib.util.spec_from_file_location(f"example_{name}", repository / "examples" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def composed_of(repository: Path, name: str) -> Callable[..., Report]:
    composed: Callable[..., Report] = getattr(module_of(repository, name), f"all_{name}")
    return composed


@pytest.fixture(scope="module", autouse=True)
def _store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One for all: the tiny model is pre-trained once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYLIGHTNIX_ROOT", str(tmp_path_factory.mktemp("store")))
        store_initialize()
        yield


def test_each_experiment_is_tested_here(repository: Path) -> None:
    assert {path.stem for path in (repository / "examples").glob("*.py")} == {*EXPERIMENTS, "quickstart"}


def tiny_report(composed: Callable[..., Report], dryrun: Trains, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The numbers in the report of an experiment, run as from a shell."""
    run_experiment(composed, all_minibert_finetune_glue, dryrun, "", ["--tiny"])
    rref, html = capsys.readouterr().out.split()
    assert html == f"{rref2path(RRef(rref))}/report.html"
    table: dict[str, Any] = json.loads(Path(html).with_name("report.json").read_text())
    return table


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_part_of_an_experiment_comes_to_its_report(
    name: str, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = EXPERIMENTS[name]
    composed = functools.partial(composed_of(repository, name), **expected.part)
    table = tiny_report(composed, expected.dryrun, capsys)
    assert [run["labels"].keys() for run in table["runs"]] == [expected.labels] * 2
    assert all(run["metrics"] for run in table["runs"])
    assert not plan(instantiate(composed, expected.dryrun)).builds


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_comes_to_its_report(name: str, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = EXPERIMENTS[name]
    table = tiny_report(composed_of(repository, name), expected.dryrun, capsys)
    assert [run["labels"].keys() for run in table["runs"]] == [expected.labels] * expected.runs


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_is_declared_on_the_published_data(name: str, repository: Path) -> None:
    """Nothing is fetched for that."""
    expected = EXPERIMENTS[name]
    module = module_of(repository, name)
    steps = plan(instantiate(composed_of(repository, name), getattr(module, expected.trains))).steps
    assert len([step for step in steps if re.fullmatch(expected.trained, step.name)]) == expected.runs
    assert steps[-1].name == "comparison"


def test_an_experiment_takes_a_local_folder_or_says_what_it_misses(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    composed = composed_of(repository, "glue_mini")
    with pytest.raises(SystemExit) as ended:
        run_experiment(composed, all_minibert_finetune_glue, dryrun_finetune_glue, "", ["--folder", str(tmp_path)])
    assert ended.value.code == 2
    assert f"{tmp_path} holds neither a folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run_experiment(composed, all_minibert_finetune_glue, dryrun_finetune_glue, "", ["--tiny", "--folder", "a"])
    assert "not allowed with argument" in capsys.readouterr().err
