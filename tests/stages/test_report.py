"""Reports: what stands in them, that they are the same twice, and what is built again when a run is another."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from stagedml import Build, RefPath, instantiate, mklens, output, plan, realize, rref2path, stage, store_initialize
from stagedml.core.plan import Verdict
from stagedml.errors import StagedmlError
from stagedml.stages.report import comparison
from stagedml.types import BertPretrained, Report, Trained

HOSTILE = '<script>alert("1")</script> & | *a* `b` [c](d) é中'


@stage(Trained, name="toy-training")
def toy_training(
    build: Build,
    *,
    rate: float = 0.1,
    size: int = 8,
    seed: int = 0,
    measured: dict[str, float] | None = None,
    metrics: RefPath = output("metrics.json"),
    protocol: RefPath = output("protocol.json"),
) -> None:
    """Leaves what a training leaves."""
    numbers = measured or {"eval_loss": rate + size / 100 + seed / 1000, "eval_accuracy": 1 - rate - seed / 100}
    build.path(metrics).write_text(json.dumps({**numbers, "history": {"loss": [1, 2]}}))
    epochs: list[dict[str, Any]] = []
    for epoch in (1, 2):
        epochs.append({"operation": "train", "epoch": epoch, "steps": epoch * 5, "loss": rate / epoch})
        epochs.append({"operation": "evaluate", "split": "valid", "epoch": epoch, "rows": 9, "loss": size / epoch})
    build.path(protocol).write_text(json.dumps(epochs))


def all_compared(
    labels: list[dict[str, Any]], metrics: list[str] | None = None, title: str = "A grid", text: str = ""
) -> Report:
    """Toy trainings, with labels as parameters, but for a task and other words."""
    runs: list[Trained] = []
    for own in labels:
        runs.append(toy_training(**{name: value for name, value in own.items() if not isinstance(value, str)}))
    return comparison(runs=runs, labels=labels, title=title, text=text, metrics=metrics)


GRID = [{"rate": rate, "size": size} for rate in (0.1, 0.2) for size in (8, 16)]
SEEDS = [{"rate": rate, "seed": seed} for rate in (0.1, 0.2) for seed in (0, 1, 2)]


def realized(labels: list[dict[str, Any]], **settings: Any) -> Path:
    return Path(rref2path(realize(instantiate(all_compared, labels, **settings))))


def numbers(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def page(folder: Path) -> ElementTree.Element:
    """The HTML, whose every element is closed."""
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>\n")
    return ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>\n"))


def cells(of: ElementTree.Element, table: int = 0) -> list[list[str]]:
    found = of.findall(".//table")[table]
    return [["".join(cell.itertext()) for cell in row] for row in found.iter("tr")]


@pytest.fixture(autouse=True)
def _store(tmp_path: Path) -> None:
    store_initialize(tmp_path / "root")


# -- numbers ----------------------------------------------------------------------------------------------------------


def test_the_numbers_are_those_of_the_runs() -> None:
    rref = realize(instantiate(all_compared, GRID))
    folder = Path(rref2path(rref))
    found = numbers(folder)
    assert found["metrics"] == ["eval_loss", "eval_accuracy"]  # all that the runs share, without their histories
    assert [run["labels"] for run in found["runs"]] == GRID
    for run in found["runs"]:
        of_run = json.loads(mklens(realize(instantiate(toy_training, **run["labels"]))).metrics.contents)
        assert run["metrics"] == {name: of_run[name] for name in found["metrics"]}
    rows = cells(page(folder))
    assert rows[0] == ["rate", "size", "eval_loss", "eval_accuracy"]
    assert rows[1:] == [
        [f"{run['labels']['rate']}", f"{run['labels']['size']}", *(f"{value:.4f}" for value in run["metrics"].values())]
        for run in found["runs"]
    ]


def test_the_best_is_the_highest_but_of_losses_the_lowest_and_equals_are_both() -> None:
    folder = realized(GRID)
    assert [setting["best"] for setting in numbers(folder)["settings"]] == [
        ["eval_loss", "eval_accuracy"],
        ["eval_accuracy"],
        [],
        [],
    ]
    marked = [cell.text for cell in page(folder).iter("td") if "best" in cell.get("class", "").split()]
    assert marked == ["0.1800", "0.9000", "0.9000"]
    assert re.findall(r"\*\*(.+?)\*\*", (folder / "report.md").read_text()) == marked


def test_there_is_a_best_of_each_task_that_has_several_settings() -> None:
    tasks = [{"task": "a", "rate": 0.1}, {"task": "b", "rate": 0.3}, {"task": "a", "rate": 0.2}]
    settings = numbers(realized(tasks, metrics=["eval_accuracy"]))["settings"]
    assert [setting["best"] for setting in settings] == [["eval_accuracy"], [], []]


def test_runs_that_differ_in_seed_alone_are_told_by_mean_and_standard_deviation() -> None:
    folder = realized(SEEDS)
    first, second = numbers(folder)["settings"]
    assert (first["labels"], first["runs"]) == ({"rate": 0.1}, 3)
    assert first["mean"]["eval_accuracy"] == pytest.approx(0.89, rel=1e-12)
    assert second["mean"]["eval_accuracy"] == pytest.approx(0.79, rel=1e-12)
    assert first["standard_deviation"]["eval_accuracy"] == pytest.approx(0.01, rel=1e-12)
    results, runs = (cells(page(folder), table) for table in range(2))
    assert results[:2] == [
        ["rate", "runs", "eval_loss", "eval_accuracy"],
        ["0.1", "3", "0.1810 ± 0.0010", "0.8900 ± 0.0100"],
    ]
    assert runs[0][:2] == ["rate", "seed"]
    assert len(runs) == 1 + len(SEEDS)


def test_a_metric_may_be_missing_and_a_number_may_be_none() -> None:
    def all_odd() -> Report:
        one = toy_training(measured={"matthews": 0.5, "huge": 123456.0})
        other = toy_training(measured={"pearson": 0.25, "huge": float(10**300)})
        return comparison(
            runs=[one, other],
            labels=[{"task": "CoLA"}, {"task": "STS-B"}],
            title="Odd",
            metrics=["matthews", "pearson", "huge"],
        )

    folder = Path(rref2path(realize(instantiate(all_odd))))
    assert cells(page(folder))[1:] == [["CoLA", "0.5000", "", "1.2346e+05"], ["STS-B", "", "0.2500", "1e+300"]]
    assert [run["metrics"].keys() for run in numbers(folder)["runs"]] == [{"matthews", "huge"}, {"pearson", "huge"}]


def test_a_loss_that_is_no_number_is_null_and_never_the_best() -> None:
    from stagedml.ml.report import Run, as_json, compare

    runs = [Run({"rate": 1}, {"loss": float("nan")}), Run({"rate": 2}, {"loss": 2.0}), Run({"rate": 3}, {"loss": 3.0})]
    settings: Any = as_json(compare("A divergence", "", runs, []))["settings"]
    assert [setting["mean"]["loss"] for setting in settings] == [None, 2.0, 3.0]
    assert [setting["best"] for setting in settings] == [[], ["loss"], []]


# -- pages ------------------------------------------------------------------------------------------------------------


def headings(folder: Path) -> list[str]:
    return ["".join(heading.itertext()) for heading in page(folder).iter("h2")]


def test_each_label_that_is_a_number_has_its_lines_and_other_ones_have_bars() -> None:
    assert headings(realized(GRID)) == ["Results", "Over rate", "Over size", "Learning curves"]
    assert headings(realized(SEEDS)) == ["Results", "Runs", "Over rate", "Learning curves"]
    methods = [{"method": "plain", "rate": 0.1}, {"method": "other", "rate": 0.2}]
    assert headings(realized(methods)) == ["Results", "Over rate", "By setting", "Learning curves"]
    assert headings(realized([{}])) == ["Results", "Learning curves"]


def test_markdown_shows_the_pictures_that_the_page_has_in_it() -> None:
    folder = realized(GRID)
    links = re.findall(r"!\[.+?\]\((.+?)\)", (folder / "report.md").read_text())
    assert links == [f"pictures/{name}" for name in sorted(os.listdir(folder / "pictures"))]
    for link in links:
        assert ElementTree.parse(folder / link).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert len(page(folder).findall(".//figure/{http://www.w3.org/2000/svg}svg")) == len(links) == 3


def test_a_page_is_one_file_and_its_names_are_its_own() -> None:
    whole = page(realized(GRID))
    names = [name for element in whole.iter() if (name := element.get("id"))]
    assert len(names) == len(set(names)) > 20
    told = {name: value for element in whole.iter() for name, value in element.items()}
    links = [value for element in whole.iter() for name, value in element.items() if name.endswith(("href", "src"))]
    assert links
    assert {link.removeprefix("#") for link in links} <= set(names)
    clips = re.findall(r"url\((.+?)\)", " ".join(told.values()))
    assert {clip.removeprefix("#") for clip in clips} <= set(names)


def test_whatever_stands_in_a_text_is_text() -> None:
    labels = [{"method": HOSTILE, "rate": 0.1}, {"method": "../../x", "rate": 0.2}]
    folder = realized(labels, title=HOSTILE, text=f"{HOSTILE}\n\nsecond\nparagraph")
    whole = page(folder)
    assert whole.findtext(".//h1") == whole.findtext(".//title") == whole.findtext(".//p") == HOSTILE
    assert whole.findall(".//p")[1].text == "second paragraph"
    assert cells(whole)[1][0] == HOSTILE
    assert not whole.findall(".//script")

    shown = MarkdownIt("commonmark").enable("table").render((folder / "report.md").read_text(encoding="utf-8"))
    assert not {"script", "em", "code", "a"} & set(re.findall(r"<(\w+)", shown))
    assert shown.count("</tr>") == 1 + len(labels)
    assert "<h1>&lt;script&gt;alert" in shown


def test_two_stores_and_a_process_of_its_own_give_the_same_reference(tmp_path: Path) -> None:
    here = realize(instantiate(all_compared, SEEDS))
    program = (
        "import sys; from stagedml import instantiate, realize, store_initialize\n"
        "from stages.test_report import SEEDS, all_compared\n"
        "store_initialize(sys.argv[1])\n"
        "print(realize(instantiate(all_compared, SEEDS), jobs=2))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "7", "LANG": "C"}
    command = [sys.executable, "-c", program, str(tmp_path / "another")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [here], done.stderr


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "settings", "complaint"),
    [
        ([], {}, "there are no runs"),
        ([{"rate": 0.1}, {"rate": 0.1}], {}, "runs 0 and 1 have the same labels"),
        (GRID, {"metrics": ["acuracy"]}, "no run has measured acuracy; there are eval_loss, eval_accuracy"),
        ([{"measured": {"a": 1.0}, "task": "a"}, {"measured": {"b": 1.0}, "task": "b"}], {}, "share no metric"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    labels: list[dict[str, Any]], settings: dict[str, Any], complaint: str
) -> None:
    def all_refused() -> Report:
        runs: list[Trained] = [
            toy_training(**{name: it for name, it in own.items() if name != "task"}) for own in labels
        ]
        plain = [{name: it for name, it in own.items() if name != "measured"} for own in labels]
        return comparison(runs=runs, labels=plain, title="Refused", **settings)

    with pytest.raises(StagedmlError, match=complaint):
        realize(instantiate(all_refused))


def test_each_run_needs_its_labels() -> None:
    def all_unlabelled() -> Report:
        return comparison(runs=[toy_training()], labels=[], title="Unlabelled")

    with pytest.raises(StagedmlError, match="there are 1 runs and 0 labels; give one for each run"):
        realize(instantiate(all_unlabelled))


# -- what is built again ----------------------------------------------------------------------------------------------


def test_another_parameter_of_one_run_builds_that_run_and_the_report() -> None:
    realized(GRID)
    changed = [*GRID[:-1], {"rate": 0.4, "size": 16}]
    steps = plan(instantiate(all_compared, changed)).steps
    assert sorted(step.name for step in steps if step.verdict == Verdict.BUILD) == ["comparison", "toy-training"]
    assert [step.name for step in steps if step.verdict == Verdict.REUSE] == ["toy-training"] * 3


def test_another_title_builds_the_report_alone() -> None:
    realized(GRID)
    assert [step.name for step in plan(instantiate(all_compared, GRID, title="Another")).builds] == ["comparison"]
    assert not plan(instantiate(all_compared, GRID)).builds


def test_a_pretrained_model_is_a_trained_one_with_the_fields_of_both() -> None:
    assert issubclass(BertPretrained, Trained)
    assert {"bert_ckpt", "cased", "metrics", "protocol"} <= BertPretrained.field_types().keys()


@stage(Trained, name="toy-classes")
def toy_classes(
    build: Build,
    *,
    labels: list[str],
    metrics: RefPath = output("metrics.json"),
    protocol: RefPath = output("protocol.json"),
) -> None:
    """Leaves what a training leaves that told classes apart."""
    counts = [[10 * row + column for column in range(len(labels))] for row in range(len(labels))]
    entry = {"operation": "evaluate", "split": "test", "epoch": 1, "confusion": {"labels": labels, "counts": counts}}
    build.path(metrics).write_text(json.dumps({"test_accuracy": 0.5}))
    build.path(protocol).write_text(json.dumps([entry]))


def test_which_class_was_taken_for_which_is_shown_of_more_than_two(tmp_path: Path) -> None:
    store_initialize(tmp_path)

    def all_told() -> Report:
        runs: list[Trained] = [toy_classes(labels=labels) for labels in (["no", "yes"], ["a", "b|", "c"])]
        return comparison(runs=runs, labels=[{"model": "two"}, {"model": "three"}], title="Classes")

    result = mklens(realize(instantiate(all_told)))
    text = result.markdown.contents
    assert "two, test" not in text
    assert (
        r"""## Classes taken for each other: three, test

| true | a | b\| | c |
| --- | ---: | ---: | ---: |
| a | 0 | 1 | 2 |
| b\| | 10 | 11 | 12 |
| c | 20 | 21 | 22 |

A column for each class that was predicted."""
        in text
    )
    assert "<td>b|</td>" in result.html.contents
    first, second = json.loads(result.table.contents)["runs"]
    assert "confusions" not in first
    assert second["confusions"]["test"]["counts"][2] == [20, 21, 22]
