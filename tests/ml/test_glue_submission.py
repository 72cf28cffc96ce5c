"""Files for the leaderboard hold each row once, as the task spells it."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedml.ml.glue import TASKS, GlueTask
from stagedml.ml.glue_submission import UnusablePredictions, write_submission

TESTS = [(task, split) for task in TASKS.values() for split in task.leaderboard]


@st.composite
def predictions(draw: st.DrawFn) -> tuple[GlueTask, str, list[int], list[float]]:
    """A test of GLUE, its rows in some order, and predictions for them."""
    task, split = draw(st.sampled_from(TESTS))
    index = draw(st.permutations(range(draw(st.integers(1, 30)))))
    one = st.floats(-10, 10) if task.scores else st.integers(0, len(task.labels) - 1)
    return task, split, index, draw(st.lists(one, min_size=len(index), max_size=len(index)))


@given(predictions())
@settings(max_examples=200)
def test_what_is_written_is_what_was_predicted(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[GlueTask, str, list[int], list[float]]
) -> None:
    task, split, index, predicted = case
    path = write_submission(tmp_path_factory.mktemp("x"), task, split, np.array(index), np.array(predicted))
    text = path.read_bytes().decode()
    assert text.endswith("\n")
    header, *lines = text[:-1].split("\n")
    assert header == "index\tprediction"
    rows = [line.split("\t") for line in lines]
    assert [row for row, _ in rows] == [str(number) for number in range(len(index))]
    by_row = dict(zip(index, predicted, strict=True))
    for row, spelling in rows:
        if task.scores:
            assert float(spelling) == pytest.approx(min(max(by_row[int(row)], 0), 5), abs=0.0005)
            assert len(spelling) == 5
        else:
            assert task.labels.index(spelling) == by_row[int(row)]


def test_the_files_have_the_names_that_the_leaderboard_wants(tmp_path: Path) -> None:
    names = []
    for task, split in TESTS:
        names.append(write_submission(tmp_path, task, split, np.arange(3), np.array([0, 1, 0])).name)
    assert names == [
        "CoLA.tsv", "SST-2.tsv", "MRPC.tsv", "STS-B.tsv", "QQP.tsv", "MNLI-m.tsv", "MNLI-mm.tsv", "QNLI.tsv",
        "RTE.tsv", "WNLI.tsv", "AX.tsv",
    ]  # fmt: skip
    assert (tmp_path / "AX.tsv").read_text() == "index\tprediction\n0\tcontradiction\n1\tentailment\n2\tcontradiction\n"
    assert (tmp_path / "WNLI.tsv").read_text() == "index\tprediction\n0\t0\n1\t1\n2\t0\n"
    assert (tmp_path / "STS-B.tsv").read_text() == "index\tprediction\n0\t0.000\n1\t1.000\n2\t0.000\n"


def test_scores_stay_in_their_range_and_have_three_decimals(tmp_path: Path) -> None:
    scores = np.array([-0.0, -3.0, 5.2, 2.71828, 1e-9], dtype=np.float32)
    path = write_submission(tmp_path, TASKS["STS-B"], "unlabelled", np.arange(5), scores)
    assert [line.split("\t")[1] for line in path.read_text().splitlines()[1:]] == [
        "0.000", "0.000", "5.000", "2.718", "0.000",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "split", "index", "predicted", "says"),
    [
        ("RTE", "unlabelled", [0, 2], [0, 1], "row 1 is missing"),
        ("RTE", "unlabelled", [0, 0, 1], [0, 1, 1], "row 0 is there 2 times; row 2 is missing"),
        ("RTE", "unlabelled", [-1, 0], [0, 1], "row 1 is missing"),
        ("RTE", "unlabelled", [0, 1], [0, 2], "no class has the number 2; there are 2"),
        ("RTE", "unlabelled", [0, 1], [0, 0.5], "no class has the number 0.5"),
        ("RTE", "unlabelled", [0, 1], [0], r"\(1,\) predictions for \(2,\) rows"),
        ("RTE", "unlabelled", [], [], "predictions for"),
        ("RTE", "test", [0], [0], "the leaderboard takes unlabelled of this task"),
        ("SNLI", "test_labelled", [0], [0], "the leaderboard takes nothing of this task"),
        ("STS-B", "unlabelled", [0, 1], [0, np.nan], "no numbers"),
    ],
)
def test_what_the_leaderboard_would_refuse_is_refused_here(
    tmp_path: Path, name: str, split: str, index: list[int], predicted: list[float], says: str
) -> None:
    with pytest.raises(UnusablePredictions, match=says) as caught:
        write_submission(tmp_path, TASKS[name], split, np.array(index, dtype=np.int64), np.array(predicted))
    assert not list(tmp_path.iterdir())
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_another_number_of_rows_than_published_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        write_submission(tmp_path, TASKS["WNLI"], "unlabelled", np.arange(146), np.zeros(146, dtype=int))
        assert not caplog.messages
        write_submission(tmp_path, TASKS["WNLI"], "unlabelled", np.arange(145), np.zeros(145, dtype=int))
    assert caplog.messages == ["WNLI, unlabelled: 145 rows; the leaderboard wants 146"]
