"""RuSentiment's tables, and the task in GLUE's layout that is made of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ml.rusentiment_files import HOSTILE, write_rusentiment
from stagedml.ml.glue_rows import SplitReader, count_lines
from stagedml.ml.held_out import is_held_out
from stagedml.ml.malformed import MalformedRows
from stagedml.ml.rusentiment import PUBLISHED, RUSENTIMENT, RusentimentIncomplete, make_rusentiment
from stagedml.ml.tasks import task_named
from stagedml.ml.tokenizers import SPECIAL_TOKENS, BertTokenizer


def made(source: Path, folder: Path, allow_malformed: int = 0) -> dict[str, list[tuple[str, str]]]:
    """The label and the text of each row of each split, as the reader of GLUE's files gives them."""
    folder.mkdir()
    make_rusentiment(source, folder, allow_malformed=allow_malformed)
    found = {}
    for split in ("train", "valid", "test"):
        reader = SplitReader(RUSENTIMENT, folder / RUSENTIMENT.file(split).name, split)
        examples = [example for piece in reader.pieces() for example in piece.read()[0]]
        found[split] = [(RUSENTIMENT.labels[int(example.label or 0)], example.first) for example in examples]
    return found


def test_every_row_is_in_its_split_and_tokenizes_as_the_original_does(tmp_path: Path) -> None:
    written = write_rusentiment(tmp_path / "source" / "deep")
    found = made(tmp_path / "source", tmp_path / "task")
    letters = sorted({letter for rows in written.values() for _, text in rows for letter in text if letter.strip()})
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("\n".join([*SPECIAL_TOKENS, *letters, *(f"##{letter}" for letter in letters)]), encoding="utf-8")
    tokenizer = BertTokenizer(vocab, lower_case=False)

    def tokens(rows: list[tuple[str, str]]) -> list[tuple[str, list[int]]]:
        return [(label, tokenizer.ids(text)) for label, text in rows]

    train = [row for name in PUBLISHED["train"] for row in written[name]]
    for split, held_out in (("train", False), ("valid", True)):
        wanted = [row for number, row in enumerate(train) if is_held_out(number) == held_out]
        assert tokens(found[split]) == tokens(wanted)
    assert tokens(found["test"]) == tokens(written["rusentiment_test.csv"])
    assert count_lines(tmp_path / "task" / "train.tsv") == 241  # no post is torn apart, whatever is in it
    assert any(hostile in text for hostile in HOSTILE for _, text in found["train"])


def test_columns_may_come_in_either_order_after_a_mark(tmp_path: Path) -> None:
    write_rusentiment(tmp_path / "source")
    table = '\ufefftext,label\r\n"да, ""да""",positive\r\n'
    (tmp_path / "source" / "rusentiment_test.csv").write_text(table, encoding="utf-8", newline="")
    assert made(tmp_path / "source", tmp_path / "task")["test"] == [("positive", 'да, "да"')]


BAD = {
    "another label": (
        "label,text\nhappy,да\n",
        r"test.csv:2: label 'happy', none of negative, neutral, positive, skip",
    ),
    "no text": ('label,text\nneutral,"\n "\n', r"test.csv:2: column 'text' is empty"),
    "after a long row": ('label,text\nneutral,"а\nб\nв"\nskip\n', r"test.csv:5: 1 columns, not 2"),
    "another header": ("id,label,text\n1,skip,да\n", r"test.csv:1: header \['id', 'label', 'text'\]"),
    "nothing": ("", r"test.csv:1: header \[\], not \['label', 'text'\]"),
    "an open quote": ('label,text\nskip,"да\n', r"test.csv:2: unexpected end of data"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_malformed_row_is_named_by_file_and_line(tmp_path: Path, case: str) -> None:
    table, complaint = BAD[case]
    write_rusentiment(tmp_path / "source")
    (tmp_path / "source" / "rusentiment_test.csv").write_text(table, encoding="utf-8", newline="")
    with pytest.raises(MalformedRows, match=complaint):
        made(tmp_path / "source", tmp_path / "task")


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    write_rusentiment(tmp_path / "source")
    (tmp_path / "source" / "rusentiment_test.csv").write_bytes("label,text\nskip,да\n".encode("cp1251"))
    with pytest.raises(MalformedRows, match=r"test.csv:.: not UTF-8"):
        made(tmp_path / "source", tmp_path / "task")


def test_malformed_rows_that_are_allowed_for_are_left_out(tmp_path: Path) -> None:
    write_rusentiment(tmp_path / "source")
    table = "label,text\nhappy,да\nskip,нет\n"
    (tmp_path / "source" / "rusentiment_test.csv").write_text(table, encoding="utf-8")
    assert made(tmp_path / "source", tmp_path / "task", allow_malformed=1)["test"] == [("skip", "нет")]


def test_files_that_are_absent_are_named_all_at_once(tmp_path: Path) -> None:
    write_rusentiment(tmp_path / "source")
    for name in ("rusentiment_test.csv", "rusentiment_random_posts.csv"):
        (tmp_path / "source" / name).unlink()
    with pytest.raises(RusentimentIncomplete, match=r"holds no rusentiment_random_posts.csv, rusentiment_test.csv;"):
        made(tmp_path / "source", tmp_path / "task")


def test_the_task_is_found_in_any_case_beside_those_of_glue() -> None:
    assert task_named("rusentiment") is RUSENTIMENT
    assert task_named("mrpc").name == "MRPC"
