"""Every task of GLUE goes from its files to tokenized records, and each row is accounted for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ml.glue_files import HOSTILE, Written, write_file
from stagedml.errors import UsageError
from stagedml.ml import glue_rows
from stagedml.ml.glue import SPLITS, TASKS, GlueTask
from stagedml.ml.glue_records import SplitRows, tokenize_task
from stagedml.ml.held_out import is_held_out
from stagedml.ml.malformed import MalformedRows
from stagedml.ml.records import read_examples
from stagedml.ml.tokenizers import SPECIAL_TOKENS, BertTokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> BertTokenizer:
    vocab = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    letters = sorted({letter for text in HOSTILE for letter in text.lower()} | set("0123456789"))
    vocab.write_text("".join(f"{piece}\n" for piece in (*SPECIAL_TOKENS, *letters, *(f"##{one}" for one in letters))))
    return BertTokenizer(vocab, lower_case=True)


def write_task(folder: Path, task: GlueTask, count: int, *, malformed: bool = False) -> dict[str, Written]:
    """The files of a task, by the split that each is named for in the table."""
    return {split: write_file(folder, task, split, count, malformed=malformed) for split in task.files}


def tokenized(
    task: GlueTask,
    folder: Path,
    output: Path,
    tokenizer: BertTokenizer,
    *,
    allowed: int | None = None,
    workers: int = 1,
) -> tuple[dict[str, SplitRows], dict[str, Path]]:
    """What became of the rows, and where they are."""
    output.mkdir()
    splits = {split: output / f"{split}.tfrecord" for split in (SPLITS if task.is_learnt else ())}
    more = output / "more"
    found = tokenize_task(
        task, folder, splits, more, tokenizer, max_length=40, allow_malformed=allowed, workers=workers
    )
    return found, splits | {path.stem: path for path in more.iterdir()}


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_every_task_goes_from_files_to_records(tmp_path: Path, task: GlueTask, tokenizer: BertTokenizer) -> None:
    written = write_task(tmp_path / "glue", task, 121)
    found, paths = tokenized(task, tmp_path / "glue", tmp_path / "output", tokenizer)
    assert tuple(found) == task.splits
    assert set(paths) == set(task.splits)
    for split in task.splits:
        rows = written["train" if split == "valid" else split].rows
        if split in ("train", "valid"):
            rows = {index: row for index, row in rows.items() if is_held_out(index) == (split == "valid")}
        assert found[split] == SplitRows(len(rows), 0, ())
        examples = read_examples(paths[split])
        assert examples.index.tolist() == list(rows)
        if task.file(split).label is None:
            assert examples.label is None
        else:
            assert examples.labels.dtype == (np.int64 if task.scores is None else np.float32)
            assert examples.labels.tolist() == pytest.approx([label for _, _, label in rows.values()])
        for ids, segments, (first, second, _) in zip(
            examples.input_ids, examples.segment_ids, rows.values(), strict=True
        ):
            wanted = tokenizer.encode(tokenizer.ids(first), None if second is None else tokenizer.ids(second), 40)
            assert ids.tolist() == list(wanted.input_ids)
            assert segments.tolist() == list(wanted.segment_ids)


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_malformed_rows_are_an_error_unless_allowed_and_then_counted(
    tmp_path: Path, task: GlueTask, tokenizer: BertTokenizer
) -> None:
    written = write_task(tmp_path / "glue", task, 60, malformed=True)
    with pytest.raises(MalformedRows, match="malformed rows"):
        tokenized(task, tmp_path / "glue", tmp_path / "refused", tokenizer)
    found, _ = tokenized(task, tmp_path / "glue", tmp_path / "output", tokenizer, allowed=20)
    for split, file in written.items():
        parts = [found[part] for part in ((split, "valid") if split == "train" else (split,))]
        assert sum(part.written for part in parts) == len(file.rows)
        assert sum(part.malformed for part in parts) == len(file.malformed)
        named = [int(row.split(":")[1]) for part in parts for row in part.named]
        assert sorted(named) == file.malformed


@pytest.mark.parametrize(("name", "rows", "fine", "refused"), [("QQP", 3000, 3, 4), ("SNLI", 400, 8, 9)])
def test_what_the_published_files_are_known_for_is_allowed_within_bounds(
    tmp_path: Path, tokenizer: BertTokenizer, name: str, rows: int, fine: int, refused: int
) -> None:
    task = TASKS[name]
    write_task(tmp_path / "glue", task, 30)
    file = task.file("test")
    good = "\t".join("0" if column == file.label and name == "QQP" else column for column in file.columns)
    good = good if name == "QQP" else good.removesuffix("gold_label") + "neutral"
    for bad in (fine, refused):
        lines = ["\t".join(file.columns), *["\ttorn apart\t0"] * bad, *[good] * (rows - bad)]
        (tmp_path / "glue" / file.name).write_text("".join(f"{line}\n" for line in lines))
        if bad == fine:
            found, _ = tokenized(task, tmp_path / "glue", tmp_path / "output", tokenizer)
            assert (found["test"].written, found["test"].malformed) == (rows - bad, bad)
            assert found["test"].named[0] == f"dev.tsv:2: 3 columns, not {len(file.columns)}"
        else:
            with pytest.raises(MalformedRows, match=rf"{bad} malformed rows \({fine} allowed\)"):
                tokenized(task, tmp_path / "glue", tmp_path / "refused", tokenizer)


def test_the_bytes_do_not_depend_on_the_workers(
    tmp_path: Path, tokenizer: BertTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glue_rows, "_PIECE_BYTES", 10_000)
    task = TASKS["QQP"]
    write_task(tmp_path / "glue", task, 3000, malformed=True)
    contents = []
    for workers in (1, 2, 3):
        output = tmp_path / str(workers)
        found, paths = tokenized(task, tmp_path / "glue", output, tokenizer, allowed=20, workers=workers)
        contents.append((found, {split: path.read_bytes() for split, path in paths.items()}))
    assert contents[0] == contents[1] == contents[2]


def test_splits_whose_files_are_not_there_are_left_out(tmp_path: Path, tokenizer: BertTokenizer) -> None:
    task = TASKS["MNLI"]
    write_task(tmp_path / "glue", task, 31)
    for name in ("test_matched.tsv", "dev_mismatched.tsv"):
        (tmp_path / "glue" / name).unlink()
    found, paths = tokenized(task, tmp_path / "glue", tmp_path / "output", tokenizer)
    assert set(found) == set(paths) == {*SPLITS, "unlabelled_mismatched"}
    (tmp_path / "glue" / "dev_matched.tsv").unlink()
    with pytest.raises(UsageError, match=r"dev_matched\.tsv: No such file"):
        tokenized(task, tmp_path / "glue", tmp_path / "another", tokenizer)


def test_a_task_with_nothing_to_learn_from_needs_its_one_file(tmp_path: Path, tokenizer: BertTokenizer) -> None:
    with pytest.raises(UsageError, match=r"diagnostic\.tsv: No such file"):
        tokenized(TASKS["AX"], tmp_path, tmp_path / "output", tokenizer)


REAL = {
    "MRPC": ("MRPC", SPLITS),
    "CoLA": ("CoLA", SPLITS),
    "STS-B": ("STS-B", SPLITS),
    "WNLI": ("WNLI", SPLITS),
    "AX": ("diagnostic", ()),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files_have_as_many_rows_as_published(
    shared_data: Path, tmp_path: Path, tokenizer: BertTokenizer, name: str
) -> None:
    task = TASKS[name]
    found, _ = tokenized(task, shared_data / "glue_data" / REAL[name][0], tmp_path / "output", tokenizer)
    rows = {split: found[split].written for split in found}
    if task.is_learnt:
        rows["train"] += rows.pop("valid")
    assert rows == {split: file.rows for split, file in task.files.items()}
    assert all(split.malformed == 0 for split in found.values())


@pytest.mark.parametrize(("name", "folder", "rows"), [("QNLI", "QNLI", 5463), ("QQP", "QQP-sample", 500)])
def test_real_files_of_tasks_of_which_there_are_parts_are_read(
    shared_data: Path, tmp_path: Path, tokenizer: BertTokenizer, name: str, folder: str, rows: int
) -> None:
    (tmp_path / "glue").mkdir()
    for file in ("train.tsv", "dev.tsv"):
        (tmp_path / "glue" / file).symlink_to(shared_data / "glue_data" / folder / "dev.tsv")
    found, _ = tokenized(TASKS[name], tmp_path / "glue", tmp_path / "output", tokenizer)
    assert (found["test"].written, found["test"].malformed) == (rows, 0)
    assert found["train"].written + found["valid"].written == rows


def test_the_splits_of_real_files_stay_as_they_are(shared_data: Path, tmp_path: Path, tokenizer: BertTokenizer) -> None:
    for name, rows in (("MRPC", (3493, 175, 408)), ("CoLA", (8106, 445, 1043))):
        found, _ = tokenized(TASKS[name], shared_data / "glue_data" / name, tmp_path / name, tokenizer)
        assert tuple(found[split].written for split in SPLITS) == rows
