"""TFRecord files, written and read without TensorFlow, and the examples in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedml.ml.records import TextExample, read_examples, write_examples
from stagedml.ml.tfrecord import DamagedRecords, checksum, read_records, write_records
from stagedml.ml.tokenizers import SPECIAL_TOKENS, BertTokenizer

ROWS = [
    {"input_ids": [101, 7592, 30521, 102], "segment_ids": [0, 0, 1, 1], "label": [1], "index": [70000]},
    {"input_ids": list(range(0, 60000, 7)), "segment_ids": [], "label": [0], "index": [0]},
]


@pytest.fixture
def tokenizer(tmp_path: Path) -> BertTokenizer:
    vocab = tmp_path / "vocab.txt"
    words = [*SPECIAL_TOKENS, *"abcdefghijklmnopqrstuvwxyz0123456789", *(f"##{digit}" for digit in "0123456789")]
    vocab.write_text("".join(f"{word}\n" for word in words))
    return BertTokenizer(vocab, lower_case=True)


def examples(count: int) -> Iterator[TextExample]:
    for index in range(count):
        second = None if index % 3 == 0 else f"b {index * 7}"
        yield TextExample(index=index, first=f"a {index}", second=second, label=index % 2)


def test_checksums_are_those_of_the_standard() -> None:
    # RFC 3720, appendix B.4.
    assert checksum(bytes(32)) == 0x8A9136AA
    assert checksum(b"\xff" * 32) == 0x62A8AB43
    assert checksum(bytes(range(32))) == 0x46DD794E
    assert checksum(b"123456789") == 0xE3069283


@given(
    st.lists(
        st.dictionaries(st.text(max_size=8), st.lists(st.integers(0, 2**63 - 1), max_size=6), max_size=4), max_size=4
    )
)
@settings(max_examples=100)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, list[int]]]) -> None:
    path = tmp_path_factory.mktemp("records") / "rows.tfrecord"
    assert write_records(path, rows) == len(rows)
    assert [{name: values.tolist() for name, values in row.items()} for row in read_records(path)] == rows


@pytest.mark.tensorflow
def test_tensorflow_reads_what_we_write_and_we_what_it_writes(tmp_path: Path) -> None:
    from stagedml.ml.framework import tf

    ours, theirs = tmp_path / "ours.tfrecord", tmp_path / "theirs.tfrecord"
    write_records(ours, ROWS)
    parsed = [tf.train.Example.FromString(raw.numpy()) for raw in tf.data.TFRecordDataset(str(ours))]
    assert [
        {name: list(feature.int64_list.value) for name, feature in example.features.feature.items()}
        for example in parsed
    ] == ROWS
    with tf.io.TFRecordWriter(str(theirs)) as writer:
        for example in parsed:
            writer.write(example.SerializeToString(deterministic=True))
    assert [{name: values.tolist() for name, values in row.items()} for row in read_records(theirs)] == ROWS
    assert theirs.read_bytes() == ours.read_bytes()


@pytest.mark.parametrize("place", [0, 9, 40, -2])
def test_a_changed_byte_is_an_error_that_names_file_and_offset(tmp_path: Path, place: int) -> None:
    path = tmp_path / "rows.tfrecord"
    write_records(path, ROWS[:1])
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedRecords, match=r"rows\.tfrecord: at byte 0: "):
        list(read_records(path))


def test_a_truncated_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.tfrecord"
    write_records(path, ROWS)
    whole = path.read_bytes()
    for size in (5, 50, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(DamagedRecords):
            list(read_records(path))


@pytest.mark.tensorflow
def test_records_of_other_types_are_refused(tmp_path: Path) -> None:
    from stagedml.ml.framework import tf

    path = tmp_path / "rows.tfrecord"
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"text"]))
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(tf.train.Example(features=tf.train.Features(feature={"a": feature})).SerializeToString())
    with pytest.raises(DamagedRecords, match="bytes or floats"):
        list(read_records(path))


def test_negative_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="negative"):
        write_records(tmp_path / "rows.tfrecord", [{"a": [-1]}])


def test_the_bytes_do_not_depend_on_the_workers(tmp_path: Path, tokenizer: BertTokenizer) -> None:
    contents = set()
    for workers in (1, 2, 5):
        path = tmp_path / f"{workers}.tfrecord"
        assert write_examples(path, examples(3000), tokenizer, max_length=12, workers=workers) == 3000
        contents.add(path.read_bytes())
    assert len(contents) == 1


def test_examples_come_back_in_order_and_unpadded(tmp_path: Path, tokenizer: BertTokenizer) -> None:
    path = tmp_path / "train.tfrecord"
    told: list[tuple[object, ...]] = []
    write_examples(
        path,
        examples(1200),
        tokenizer,
        max_length=12,
        workers=2,
        total=1200,
        progress=lambda *message: told.append(message),
    )
    rows = read_examples(path)
    assert len(rows) == 1200
    assert rows.index.tolist() == list(range(1200))
    assert rows.label.tolist() == [index % 2 for index in range(1200)]
    pieces = [tokenizer.pieces[number] for number in rows.input_ids[10]]
    assert pieces == ["[CLS]", "a", "1", "##0", "[SEP]", "b", "7", "##0", "[SEP]"]
    assert rows.segment_ids[10].tolist() == [0] * 5 + [1] * 4
    assert [len(ids) for ids in rows.input_ids] == [len(segments) for segments in rows.segment_ids]
    assert told[-1] == ("tokenize train", 1200, 1200, "rows")


def test_writing_reads_no_further_ahead_than_a_few_chunks(tmp_path: Path, tokenizer: BertTokenizer) -> None:
    taken = 0

    def source() -> Iterator[TextExample]:
        nonlocal taken
        for example in examples(20_000):
            taken += 1
            yield example

    ahead = []
    write_examples(
        tmp_path / "rows.tfrecord",
        source(),
        tokenizer,
        max_length=12,
        workers=2,
        progress=lambda label, done, total, unit, note="": ahead.append(taken - done),
    )
    assert max(ahead) <= 5 * 512


def test_examples_without_labels_are_written_but_not_trained_on(tmp_path: Path, tokenizer: BertTokenizer) -> None:
    path = tmp_path / "test.tfrecord"
    write_examples(path, [TextExample(index=3, first="a", second=None, label=None)], tokenizer, max_length=12)
    (row,) = read_records(path)
    assert set(row) == {"index", "input_ids", "segment_ids"}
    with pytest.raises(DamagedRecords, match="no label"):
        read_examples(path)


def test_numbers_fill_their_whole_range(tmp_path: Path) -> None:
    values = [0, 127, 128, 2**14 - 1, 2**14, 2**32, 2**63 - 1]
    write_records(tmp_path / "rows.tfrecord", [{"a": values}])
    (row,) = read_records(tmp_path / "rows.tfrecord")
    assert row["a"].dtype == np.int64
    assert row["a"].tolist() == values
