"""GLUE's files are read as they are published, row by row, and nothing is dropped in silence."""

from __future__ import annotations

import pickle
from itertools import pairwise
from pathlib import Path

import pytest

from ml.glue_files import write_file
from stagedml.errors import UsageError
from stagedml.ml import glue_rows
from stagedml.ml.glue import TASKS, GlueTask
from stagedml.ml.glue_rows import SplitReader, count_lines
from stagedml.ml.held_out import is_held_out
from stagedml.ml.malformed import Malformed, MalformedRow, MalformedRows
from stagedml.ml.records import TextExample

EVERY_SPLIT = [(task, split) for task in TASKS.values() for split in task.splits]
IDS = [f"{task.name}-{split}" for task, split in EVERY_SPLIT]


def write(path: Path, *lines: str) -> Path:
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8"))
    return path


def read(task: GlueTask, path: Path, split: str = "test") -> tuple[list[TextExample], list[MalformedRow]]:
    examples: list[TextExample] = []
    malformed: list[MalformedRow] = []
    for piece in SplitReader(task, path, split).pieces():
        some, bad = piece.read()
        examples += some
        malformed += bad
    return examples, malformed


@pytest.mark.parametrize(("task", "split"), EVERY_SPLIT, ids=IDS)
def test_every_split_is_read_in_its_exact_layout(tmp_path: Path, task: GlueTask, split: str) -> None:
    for count in (60, 61, 62):  # newlines of both kinds, with and without one at the end
        written = write_file(tmp_path, task, split, count)
        wanted = written.rows
        if split in ("train", "valid"):
            wanted = {index: row for index, row in wanted.items() if is_held_out(index) == (split == "valid")}
        examples, malformed = read(task, tmp_path / task.file(split).name, split)
        assert {example.index: (example.first, example.second, example.label) for example in examples} == wanted
        assert [example.index for example in examples] == sorted(wanted)
        assert malformed == []


@pytest.mark.parametrize(("task", "split"), EVERY_SPLIT, ids=IDS)
def test_every_malformed_row_is_named_by_its_line(tmp_path: Path, task: GlueTask, split: str) -> None:
    written = write_file(tmp_path, task, split, 60, malformed=True)
    path = tmp_path / task.file(split).name
    parts = [read(task, path, part) for part in (("train", "valid") if split in ("train", "valid") else (split,))]
    assert len(written.malformed) >= 4
    assert sorted(row.place for _, malformed in parts for row in malformed) == written.malformed
    assert {row.path for _, malformed in parts for row in malformed} == {str(path)}
    assert sorted(example.index for examples, _ in parts for example in examples) == sorted(written.rows)


def test_a_file_is_read_alike_in_small_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = TASKS["MNLI"]
    write_file(tmp_path, task, "test", 61, malformed=True)
    path = tmp_path / "dev_matched.tsv"
    whole = read(task, path)
    monkeypatch.setattr(glue_rows, "_PIECE_BYTES", 700)
    pieces = list(SplitReader(task, path, "test").pieces())
    assert len(pieces) > 10
    assert all(one.first + len(one.lines) == other.first for one, other in pairwise(pieces))
    assert read(task, path) == whole


def test_problems_are_told_in_words(tmp_path: Path) -> None:
    path = write(tmp_path / "train.tsv", "sentence\tlabel", "good\t1", "no label", "bad label\t2", " \t0", "good\t0")
    examples, malformed = read(TASKS["SST-2"], path)
    assert [example.index for example in examples] == [0, 4]
    assert [str(row) for row in malformed] == [
        f"{path}:3: 1 columns, not 2",
        f"{path}:4: label '2', none of 0, 1",
        f"{path}:5: column 'sentence' is empty",
    ]


def test_a_score_outside_of_the_range_is_malformed(tmp_path: Path) -> None:
    task = TASKS["STS-B"]
    cells = ["0"] * 7 + ["a", "b"]
    path = write(tmp_path / "dev.tsv", "\t".join(task.file("test").columns), "\t".join([*cells, "5.5"]))
    assert [row.problem for row in read(task, path)[1]] == ["label '5.5', no score from 0 to 5"]


def test_an_undecided_row_of_snli_is_malformed(tmp_path: Path) -> None:
    task = TASKS["SNLI"]
    row = ["0", "c", "p", "x", "x", "x", "x", "a", "b", "neutral", "-", "-", "-", "-", "-"]
    path = write(tmp_path / "dev.tsv", "\t".join(task.file("test").columns), "\t".join(row))
    assert [row.problem for row in read(task, path)[1]] == ["label '-', none of contradiction, entailment, neutral"]


def test_another_header_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "train.tsv", "label\tsentence", "1\tgood")
    with pytest.raises(MalformedRows, match="header"):
        read(TASKS["SST-2"], path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    absent = tmp_path / "train.tsv"
    for call in (lambda: count_lines(absent), lambda: read(TASKS["MRPC"], absent)):
        with pytest.raises(UsageError, match=r"train\.tsv: No such file"):
            call()
    absent.write_bytes(b"sentence\tlabel\ngood\t1\n\xffbad\t1\n")
    with pytest.raises(UsageError, match=r"train\.tsv:3: not UTF-8 at byte 0"):
        read(TASKS["SST-2"], absent)


@pytest.mark.parametrize(
    ("data", "lines"), [(b"", 0), (b"a", 1), (b"a\n", 1), (b"a\nb", 2), (b"\n\n", 2), (b"a\r\nb\xe2\x80\xa8c\r\n", 2)]
)
def test_lines_are_counted_as_they_are_read(tmp_path: Path, data: bytes, lines: int) -> None:
    (tmp_path / "file").write_bytes(data)
    assert count_lines(tmp_path / "file") == lines


def test_of_too_many_malformed_rows_the_first_are_named_and_all_counted() -> None:
    found = Malformed()
    rows = [MalformedRow("train.tsv", line, "1 columns, not 2") for line in range(1, 1001)]
    for start in range(0, 1000, 150):
        found.note(rows[start : start + 150])
    assert found.count == 1000
    assert found.named == rows[:100]
    found.check(1000)
    with pytest.raises(MalformedRows) as caught:
        found.check(999)
    assert str(caught.value).startswith("1000 malformed rows (999 allowed)")
    assert str(caught.value).endswith("train.tsv:20: 1 columns, not 2\n... and 980 more")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_rows_that_are_left_out_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    found = Malformed()
    found.note([MalformedRow("train.tsv", line, "1 columns, not 2") for line in range(1, 31)])
    found.check(30)
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0] == "left out: train.tsv:1: 1 columns, not 2"
    assert messages[-1] == "left out: 10 more rows"
    assert len(messages) == 21
