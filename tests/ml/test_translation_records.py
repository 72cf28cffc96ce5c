"""Pairs of texts in TFRecord files: cleaned where they are learnt from, whole where they are measured with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ml.parallel_texts import write_text
from stagedml.ml.parallel_text import NotAligned, read_lines
from stagedml.ml.subwords import END, Subwords, learn_subwords
from stagedml.ml.tfrecord import DamagedRecords, read_records, write_records
from stagedml.ml.translation_records import (
    EMPTY,
    NOT_UTF8,
    TOO_LONG,
    NotText,
    PairsDoNotFit,
    SplitPairs,
    read_pairs,
    write_pairs,
)

SOURCES = ["one two", "", "two one two one two one", "  one ", "two"]
TARGETS = ["eins zwei", "leer", "zwei eins zwei eins zwei eins", "eins", " "]


@pytest.fixture(scope="module")
def subwords(tmp_path_factory: pytest.TempPathFactory) -> Subwords:
    folder = tmp_path_factory.mktemp("subwords")
    text = write_text(folder / "text", ["one two eins zwei"] * 9)
    learn_subwords([text], folder / "model", size=300)
    return Subwords.read(folder / "model")


def write(
    folder: Path,
    subwords: Subwords,
    sources: list[str],
    targets: list[str],
    *,
    measured: bool = False,
    workers: int = 1,
) -> SplitPairs:
    return write_pairs(
        "some",
        write_text(folder / "source", sources),
        write_text(folder / "target", targets),
        folder / "some.tfrecord",
        subwords,
        max_length=4,
        references=folder / "some.txt" if measured else None,
        workers=workers,
    )


def texts(path: Path, subwords: Subwords) -> list[tuple[int, str, str]]:
    rows = list(read_records(path))
    assert all(row[side][-1] == END for row in rows for side in ("inputs", "targets"))
    return [(int(row["index"][0]), subwords.decode(row["inputs"]), subwords.decode(row["targets"])) for row in rows]


def test_pairs_to_train_on_are_cleaned_and_what_is_left_out_is_counted_and_named(
    tmp_path: Path, subwords: Subwords
) -> None:
    found = write(tmp_path, subwords, SOURCES, TARGETS)
    assert texts(tmp_path / "some.tfrecord", subwords) == [(0, "one two", "eins zwei"), (3, "one", "eins")]
    assert found.to_json() == {
        "rows": 2,
        "problems": {EMPTY: 2, TOO_LONG: 1},
        "named": ["line 2: an empty side", "line 3: too long", "line 5: an empty side"],
    }


def test_pairs_to_measure_with_are_all_there_and_references_are_the_lines_themselves(
    tmp_path: Path, subwords: Subwords
) -> None:
    found = write(tmp_path, subwords, SOURCES, TARGETS, measured=True)
    rows = texts(tmp_path / "some.tfrecord", subwords)
    assert [row[0] for row in rows] == [0, 1, 2, 3, 4]
    assert rows[2][1:] == ("two one two", "zwei eins zwei")
    assert found.problems == {TOO_LONG: 1}
    assert read_lines(tmp_path / "some.txt") == [target.strip() for target in TARGETS]


def test_bytes_that_are_no_text_are_left_out_of_training_and_an_error_elsewhere(
    tmp_path: Path, subwords: Subwords
) -> None:
    (tmp_path / "source").write_bytes(b"one\ntw\xff\n" + b"one\n" * 18)
    paths = tmp_path / "source", write_text(tmp_path / "target", ["eins", "zwei"] * 10), tmp_path / "some.tfrecord"
    found = write_pairs("train", *paths, subwords, max_length=9)
    assert (found.written, found.problems, found.named) == (19, {NOT_UTF8: 1}, ("line 2: not UTF-8",))
    with pytest.raises(NotText, match=r"line 2 of .* or .*: bytes that are no UTF-8"):
        write_pairs("valid", *paths, subwords, max_length=9, references=tmp_path / "some.txt")


def test_a_text_of_another_encoding_is_an_error_and_not_a_small_text(tmp_path: Path, subwords: Subwords) -> None:
    (tmp_path / "source").write_bytes(b"one\n" * 18 + b"tw\xff\n" * 2)
    paths = tmp_path / "source", write_text(tmp_path / "target", ["eins"] * 20), tmp_path / "some.tfrecord"
    with pytest.raises(NotText, match=r"line 19 of .* or .*: bytes that are no UTF-8, and too many to leave out"):
        write_pairs("train", *paths, subwords, max_length=9)


def test_texts_of_different_lengths_are_an_error(tmp_path: Path, subwords: Subwords) -> None:
    with pytest.raises(NotAligned):
        write(tmp_path, subwords, SOURCES, TARGETS[:-1])


def test_the_number_of_workers_is_no_part_of_the_bytes(tmp_path: Path, subwords: Subwords) -> None:
    files = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        folder.mkdir()
        found = write(folder, subwords, SOURCES * 5000, TARGETS * 5000, workers=workers)
        assert found.written == 10_000
        assert len(found.named) == 20
        files.append((folder / "some.tfrecord").read_bytes())
    assert files[0] == files[1]


def test_pairs_come_back_in_as_few_bits_as_they_need(tmp_path: Path, subwords: Subwords) -> None:
    write(tmp_path, subwords, SOURCES, TARGETS)
    pairs = read_pairs(tmp_path / "some.tfrecord", subwords.size)
    assert len(pairs) == 2
    assert pairs.inputs.values.dtype == np.uint16
    assert [subwords.decode(row) for row in pairs.targets] == ["eins zwei", "eins"]
    assert read_pairs(tmp_path / "some.tfrecord", 100_000).inputs.values.dtype == np.int32


def test_records_that_do_not_fit_are_refused(tmp_path: Path, subwords: Subwords) -> None:
    path = tmp_path / "some.tfrecord"
    write(tmp_path, subwords, SOURCES, TARGETS)
    with pytest.raises(PairsDoNotFit, match=r"there is a subword \d+ among inputs, and 10 are known"):
        read_pairs(path, 10)
    write_records(path, [])
    with pytest.raises(PairsDoNotFit, match="no pairs in it"):
        read_pairs(path, 10)
    write_records(path, [{"inputs": [1]}])
    with pytest.raises(DamagedRecords, match="no targets"):
        read_pairs(path, 10)
