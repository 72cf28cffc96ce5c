"""GLUE's files as they are published, and the fixed split."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import pytest

from stagedml.errors import UsageError
from stagedml.ml.glue import (
    TASKS,
    GlueTask,
    MalformedRows,
    UnknownGlueTask,
    glue_task,
    is_held_out,
    make_mrpc,
    read_labelled,
    read_split,
)

MRPC_HEADER = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String"


def write(path: Path, *lines: str) -> Path:
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8"))
    return path


def test_quotation_marks_are_ordinary_characters(tmp_path: Path) -> None:
    path = write(tmp_path / "train.tsv", MRPC_HEADER, '1\t10\t11\t" He said\tShe " said', '0\t12\t13\ta "\tb')
    first, second = read_labelled(TASKS["MRPC"], path).examples
    assert (first.index, first.first, first.second, first.label) == (0, '" He said', 'She " said', 1)
    assert (second.index, second.first, second.second, second.label) == (1, 'a "', "b", 0)


def test_cola_has_no_header_and_no_newline_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "dev.tsv"
    path.write_bytes(b"gj04\t1\t\tOne.\r\ngj04\t0\t*\tTwo.")
    examples = read_labelled(TASKS["CoLA"], path).examples
    assert [(example.index, example.first, example.second, example.label) for example in examples] == [
        (0, "One.", None, 1),
        (1, "Two.", None, 0),
    ]


def test_other_line_separators_of_unicode_do_not_end_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "train.tsv", "sentence\tlabel", "one\u2028two\x85three\x0bfour\t1")
    (example,) = read_labelled(TASKS["SST-2"], path).examples
    assert example.first == "one\u2028two\x85three\x0bfour"


def test_labels_in_words_become_numbers(tmp_path: Path) -> None:
    path = write(
        tmp_path / "dev.tsv", "index\tsentence1\tsentence2\tlabel", "0\ta\tb\tnot_entailment", "1\tc\td\tentailment"
    )
    assert [example.label for example in read_labelled(TASKS["RTE"], path).examples] == [1, 0]


def test_malformed_rows_are_named_all_at_once_by_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path / "train.tsv", "sentence\tlabel", "good\t1", "no label", "bad label\t2", " \t0", "good\t0")
    with pytest.raises(MalformedRows) as caught:
        read_labelled(TASKS["SST-2"], path)
    assert [row.line for row in caught.value.rows] == [3, 4, 5]
    for part in (f"{path}:3: 1 columns, not 2", f"{path}:4: label '2'", f"{path}:5: column 'sentence' is empty"):
        assert part in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_allowed_malformed_rows_are_returned_and_keep_the_numbers_of_the_others(tmp_path: Path) -> None:
    path = write(tmp_path / "train.tsv", "sentence\tlabel", "first\t1", "no label", "third\t0")
    reading = read_labelled(TASKS["SST-2"], path, allow_malformed=1)
    assert [example.index for example in reading.examples] == [0, 2]
    assert [row.line for row in reading.malformed] == [3]


def test_another_header_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "train.tsv", "label\tsentence", "1\tgood")
    with pytest.raises(MalformedRows, match="header"):
        read_labelled(TASKS["SST-2"], path)


def test_an_absent_file_is_a_usage_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"train\.tsv"):
        read_split(TASKS["MRPC"], tmp_path, "train")


def test_train_and_valid_share_train_tsv_without_overlap(tmp_path: Path) -> None:
    write(tmp_path / "train.tsv", "sentence\tlabel", *(f"row {number}\t1" for number in range(2000)))
    train, valid = (read_split(TASKS["SST-2"], tmp_path, split).examples for split in ("train", "valid"))
    assert sorted(example.index for example in (*train, *valid)) == list(range(2000))
    assert not {example.index for example in train} & {example.index for example in valid}
    assert 0.035 < len(valid) / 2000 < 0.065


def test_the_held_out_rows_never_change() -> None:
    assert [index for index in range(200) if is_held_out(index)] == [
        16, 32, 99, 111, 190,
    ]  # fmt: skip


def test_tasks_are_found_in_any_case_and_others_refused() -> None:
    assert glue_task("mrpc") is TASKS["MRPC"]
    with pytest.raises(UnknownGlueTask, match="MRPC, CoLA, SST-2, RTE"):
        glue_task("WMT")


def test_every_task_names_columns_that_it_has() -> None:
    for task in TASKS.values():
        named = {task.first, task.label} | ({task.second} if task.second else set())
        assert named <= set(task.columns)


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


def test_mrpc_from_the_official_files_is_glue_s_byte_for_byte(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "glue_data" / "MRPC"
    make_mrpc(
        folder / "msr_paraphrase_train.txt", folder / "msr_paraphrase_test.txt", folder / "mrpc_dev_ids.tsv", tmp_path
    )
    for name in ("train.tsv", "dev.tsv", "test.tsv"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize(("name", "rows"), [("MRPC", (3493, 175, 408)), ("CoLA", (8106, 445, 1043))])
def test_real_files_are_read_to_the_last_row(shared_data: Path, name: str, rows: tuple[int, ...]) -> None:
    folder = shared_data / "glue_data" / name
    found = [len(read_split(TASKS[name], folder, split).examples) for split in ("train", "valid", "test")]
    assert tuple(found) == rows


def test_another_task_is_one_more_entry(shared_data: Path) -> None:
    wnli: GlueTask = dataclasses.replace(TASKS["RTE"], name="WNLI", labels=("0", "1"))
    assert len(read_labelled(wnli, shared_data / "glue_data" / "WNLI" / "train.tsv").examples) == 635
