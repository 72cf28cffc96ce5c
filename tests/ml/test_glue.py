"""What is known of GLUE's tasks, the fixed split, and MRPC by GLUE's own recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagedml.errors import UsageError
from stagedml.ml.glue import SPLITS, TASKS, UnknownGlueSplit, UnknownGlueTask, glue_task
from stagedml.ml.glue_mrpc import make_mrpc
from stagedml.ml.held_out import is_held_out
from stagedml.ml.malformed import MalformedRows
from stagedml.ml.metrics import CLASS_METRICS, SCORE_METRICS

MRPC_HEADER = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String"


def write(path: Path, *lines: str) -> Path:
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8"))
    return path


def test_the_held_out_rows_never_change() -> None:
    assert [index for index in range(200) if is_held_out(index)] == [
        16, 32, 99, 111, 190,
    ]  # fmt: skip


def test_tasks_are_found_in_any_case_and_others_refused() -> None:
    assert glue_task("mrpc") is TASKS["MRPC"]
    with pytest.raises(UnknownGlueTask, match="CoLA, SST-2, MRPC, STS-B, QQP, MNLI, QNLI, RTE, WNLI, AX, SNLI"):
        glue_task("WMT")


def test_the_splits_of_a_task_are_named_in_order_and_others_refused() -> None:
    assert TASKS["RTE"].splits == (*SPLITS, "unlabelled")
    assert TASKS["MNLI"].splits == (*SPLITS, "test_mismatched", "unlabelled", "unlabelled_mismatched")
    assert TASKS["AX"].splits == ("unlabelled",)
    assert TASKS["SNLI"].splits == (*SPLITS, "test_labelled")
    with pytest.raises(UnknownGlueSplit, match="AX has no split 'valid'; it has unlabelled"):
        TASKS["AX"].file("valid")


@pytest.mark.parametrize("name", TASKS)
def test_a_task_names_columns_that_its_files_have(name: str) -> None:
    known = glue_task(name)
    for split in known.splits:
        file = known.file(split)
        wanted = {known.first, *filter(None, (known.second, file.label))}
        for columns in filter(None, (file.columns, file.wider)):
            assert wanted <= set(columns)
            assert len(set(columns)) == len(columns)
        assert (file.label is None) == split.startswith("unlabelled")
    assert bool(known.labels) != bool(known.scores)
    assert set(known.metrics) <= set(SCORE_METRICS if known.scores else CLASS_METRICS)
    assert set(known.leaderboard) == {split for split in known.splits if split.startswith("unlabelled")}


def test_the_metrics_are_those_of_the_benchmark() -> None:
    # Wang et al. 2018, table 1; AX: section 4.
    assert {name: set(task.metrics) for name, task in TASKS.items()} == {
        "CoLA": {"matthews"},
        "SST-2": {"accuracy"},
        "MRPC": {"accuracy", "f1"},
        "STS-B": {"pearson", "spearman"},
        "QQP": {"accuracy", "f1"},
        "MNLI": {"accuracy"},
        "QNLI": {"accuracy"},
        "RTE": {"accuracy"},
        "WNLI": {"accuracy"},
        "AX": {"matthews"},
        "SNLI": {"accuracy"},
    }


def test_mrpc_is_made_by_the_ids_of_dev(tmp_path: Path) -> None:
    train = write(tmp_path / "a", MRPC_HEADER, "1\t1\t2\tx\ty", "0\t3\t4\tz\tw ", "1\t2\t1\tu\tv")
    test = write(tmp_path / "b", MRPC_HEADER, "1\t7\t8\tp\tq")
    make_mrpc(train, test, write(tmp_path / "c", "2\t1"), tmp_path)
    assert (tmp_path / "train.tsv").read_text("utf-8") == f"{MRPC_HEADER}\n1\t1\t2\tx\ty\n0\t3\t4\tz\tw\n"
    assert (tmp_path / "dev.tsv").read_text("utf-8") == f"{MRPC_HEADER}\n1\t2\t1\tu\tv\n"
    assert (tmp_path / "test.tsv").read_text("utf-8") == "index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t7\t8\tp\tq\n"


def test_mrpc_refuses_ids_that_the_corpus_does_not_have(tmp_path: Path) -> None:
    text = write(tmp_path / "a", MRPC_HEADER, "1\t1\t2\tx\ty")
    with pytest.raises(UsageError, match="1 pairs of ids"):
        make_mrpc(text, text, write(tmp_path / "c", "5\t6"), tmp_path)


def test_mrpc_refuses_rows_of_another_length(tmp_path: Path) -> None:
    text = write(tmp_path / "a", MRPC_HEADER, "1\t1\t2\tx\ty", "1\t1\t2\tx")
    with pytest.raises(MalformedRows, match="a:3: 4 columns, not 5"):
        make_mrpc(text, text, write(tmp_path / "c", "1\t2"), tmp_path)


def test_mrpc_from_the_official_files_is_glue_s_byte_for_byte(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "glue_data" / "MRPC"
    make_mrpc(
        folder / "msr_paraphrase_train.txt", folder / "msr_paraphrase_test.txt", folder / "mrpc_dev_ids.tsv", tmp_path
    )
    for name in ("train.tsv", "dev.tsv", "test.tsv"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
