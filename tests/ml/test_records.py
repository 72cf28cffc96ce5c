"""TFRecord files, written and read without TensorFlow, and the examples in them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedml.ml.crc32c import checksum, checksums
from stagedml.ml.ragged import Ragged
from stagedml.ml.records import TextExample, read_examples, write_examples
from stagedml.ml.tfrecord import DamagedRecords, read_columns, read_records, write_records
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


@given(st.lists(st.binary(max_size=40) | st.integers(2040, 2060).map(bytes), max_size=12))
def test_checksums_of_many_rows_are_those_of_each(rows: list[bytes]) -> None:
    offsets = np.cumsum([0, *map(len, rows)])
    found = checksums(np.frombuffer(b"".join(rows), dtype=np.uint8), offsets)
    assert found.tolist() == [checksum(row) for row in rows]


INTEGERS = st.lists(st.integers(0, 300) | st.integers(0, 2**63 - 1), max_size=6)
FLOATS = st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=6)


@given(st.lists(st.dictionaries(st.text(max_size=8), INTEGERS | FLOATS, max_size=4), max_size=4))
@settings(max_examples=100)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, list[int] | list[float]]]
) -> None:
    path = tmp_path_factory.mktemp("records") / "rows.tfrecord"
    assert write_records(path, rows) == len(rows)
    found = list(read_records(path))
    assert [{name: values.tolist() for name, values in row.items()} for row in found] == rows
    kinds = {"f" if isinstance(value, float) else "i" for row in rows for values in row.values() for value in values}
    assert kinds <= {values.dtype.kind for row in found for values in row.values()}


@given(
    st.dictionaries(st.text(max_size=8), st.sampled_from([INTEGERS, FLOATS]), min_size=1, max_size=4).flatmap(
        lambda features: st.lists(st.fixed_dictionaries(features), min_size=1, max_size=6)
    )
)
@settings(max_examples=100)
def test_columns_are_the_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, list[int] | list[float]]]
) -> None:
    path = tmp_path_factory.mktemp("records") / "rows.tfrecord"
    write_records(path, rows)
    (columns,) = read_columns(path)
    assert {name: [row.tolist() for row in column] for name, column in columns.items()} == {
        name: [row[name] for row in rows] for name in rows[0]
    }


def test_columns_of_a_long_file_come_in_parts(tmp_path: Path) -> None:
    write_records(tmp_path / "rows.tfrecord", ({"a": [row], "b": list(range(row % 5))} for row in range(10_000)))
    parts = list(read_columns(tmp_path / "rows.tfrecord"))
    assert [len(part["a"]) for part in parts] == [4096, 4096, 1808]
    joined = Ragged.joined([part["b"] for part in parts], np.int64)
    assert [row.tolist() for row in joined] == [list(range(row % 5)) for row in range(10_000)]


@pytest.mark.parametrize("other", [{"a": [1], "b": [2]}, {"a": [0.5]}, {}])
def test_columns_need_rows_with_the_same_features(tmp_path: Path, other: dict[str, list[int] | list[float]]) -> None:
    write_records(tmp_path / "rows.tfrecord", [{"a": [1]}, other])
    with pytest.raises(DamagedRecords, match=r"a row has .*; the first of its part has a \(int64\)"):
        list(read_columns(tmp_path / "rows.tfrecord"))


def test_rows_of_other_writers_are_read_as_columns(tmp_path: Path) -> None:
    # Features in another order than by name, and numbers in two packed parts: what a writer may do.
    one = b"\x0a\x12\x0a\x07\x0a\x01b\x12\x02\x1a\x00\x0a\x07\x0a\x01a\x12\x02\x1a\x00"
    two = b"\x0a\x12\x0a\x10\x0a\x01a\x12\x0b\x1a\x09\x0a\x02\x01\x02\x0a\x03\x03\xac\x02"
    frames = []
    for payload in (one, two):
        length = struct.pack("<Q", len(payload))
        frames.append(length + masked(length) + payload + masked(payload))
    (tmp_path / "one").write_bytes(frames[0])
    (tmp_path / "two").write_bytes(frames[1] * 2)
    (columns,) = read_columns(tmp_path / "one")
    assert {name: [row.tolist() for row in column] for name, column in columns.items()} == {"b": [[]], "a": [[]]}
    (columns,) = read_columns(tmp_path / "two")
    assert [row.tolist() for row in columns["a"]] == [[1, 2, 3, 300]] * 2


def masked(data: bytes) -> bytes:
    plain = checksum(data)
    return struct.pack("<I", (((plain >> 15) | (plain << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


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
    for read in (read_records, read_columns):
        with pytest.raises(DamagedRecords, match=r"rows\.tfrecord: at byte 0: "):
            list(read(path))


def test_the_damaged_row_among_many_is_the_one_that_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.tfrecord"
    write_records(path, ({"a": [1, 2, 3]} for _ in range(100)))
    data = bytearray(path.read_bytes())
    size = len(data) // 100
    data[42 * size + 14] ^= 1
    path.write_bytes(data)
    for read in (read_records, read_columns):
        with pytest.raises(DamagedRecords, match=f"at byte {42 * size}: the checksum of a record does not hold"):
            list(read(path))


def test_a_truncated_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.tfrecord"
    write_records(path, ROWS)
    whole = path.read_bytes()
    for size in (5, 50, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(DamagedRecords):
            list(read_records(path))


@pytest.mark.tensorflow
def test_tensorflow_reads_our_floats_and_we_its(tmp_path: Path) -> None:
    from stagedml.ml.framework import tf

    ours, theirs = tmp_path / "ours.tfrecord", tmp_path / "theirs.tfrecord"
    write_records(ours, [{"a": [1], "score": [0.5, -3.25]}])
    (example,) = [tf.train.Example.FromString(raw.numpy()) for raw in tf.data.TFRecordDataset(str(ours))]
    assert list(example.features.feature["score"].float_list.value) == [0.5, -3.25]
    with tf.io.TFRecordWriter(str(theirs)) as writer:
        writer.write(example.SerializeToString(deterministic=True))
    assert theirs.read_bytes() == ours.read_bytes()


@pytest.mark.tensorflow
def test_records_of_other_types_are_refused(tmp_path: Path) -> None:
    from stagedml.ml.framework import tf

    path = tmp_path / "rows.tfrecord"
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"text"]))
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(tf.train.Example(features=tf.train.Features(feature={"a": feature})).SerializeToString())
    with pytest.raises(DamagedRecords, match="holds bytes"):
        list(read_records(path))


def test_negative_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="negative"):
        write_records(tmp_path / "rows.tfrecord", [{"a": [-1]}])


def test_the_bytes_do_not_depend_on_the_workers(tmp_path: Path, tokenizer: BertTokenizer) -> None:
    contents = set()
    for workers in (1, 2, 5):
        path = tmp_path / f"{workers}.tfrecord"
        assert write_examples(path, examples(12_000), tokenizer, max_length=12, workers=workers) == 12_000
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
    assert rows.labels.tolist() == [index % 2 for index in range(1200)]
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
    assert max(ahead) <= 9 * 512


def test_examples_without_labels_and_with_scores_are_read(tmp_path: Path, tokenizer: BertTokenizer) -> None:
    for labels, kind in (((None, None), None), ((0.25, 5.0), np.float32), ((1, 0), np.int64)):
        path = tmp_path / f"{kind}.tfrecord"
        rows = [TextExample(3 + number, "a", "b", label) for number, label in enumerate(labels)]
        write_examples(path, rows, tokenizer, max_length=12)
        found = read_examples(path)
        assert found.index.tolist() == [3, 4]
        if kind is None:
            assert found.label is None
            with pytest.raises(ValueError, match="no labels"):
                _ = found.labels
        else:
            assert found.labels.dtype == kind
            assert found.labels.tolist() == list(labels)


def test_a_file_without_rows_is_read(tmp_path: Path) -> None:
    (tmp_path / "none.tfrecord").write_bytes(b"")
    found = read_examples(tmp_path / "none.tfrecord")
    assert (len(found), len(found.input_ids), found.label) == (0, 0, None)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"input_ids": None}, "the rows have no input_ids"),
        ({"label": [1, 2]}, "a row has not one label"),
        ({"segment_ids": [0]}, "not as many segment_ids as input_ids"),
        ({"input_ids": [1, 2**31]}, "input_ids above 2147483647"),
        ({"segment_ids": [0, 128]}, "segment_ids above 127"),
    ],
)
def test_rows_that_are_no_examples_are_refused(tmp_path: Path, change: dict[str, list[int] | None], says: str) -> None:
    row = {"index": [0], "input_ids": [1, 2], "segment_ids": [0, 1], "label": [1]} | change
    write_records(tmp_path / "rows.tfrecord", [{name: values for name, values in row.items() if values is not None}])
    with pytest.raises(DamagedRecords, match=says):
        read_examples(tmp_path / "rows.tfrecord")


def test_labels_for_some_parts_alone_are_refused(tmp_path: Path) -> None:
    row = {"index": [0], "input_ids": [1], "segment_ids": [0]}
    rows = [row | {"label": [1]} if number < 4096 else row for number in range(4100)]
    write_records(tmp_path / "rows.tfrecord", rows)
    with pytest.raises(DamagedRecords, match="some rows have a label and some have not"):
        read_examples(tmp_path / "rows.tfrecord")


def test_numbers_fill_their_whole_range(tmp_path: Path) -> None:
    values = [0, 127, 128, 2**14 - 1, 2**14, 2**32, 2**63 - 1]
    write_records(tmp_path / "rows.tfrecord", [{"a": values}])
    (row,) = read_records(tmp_path / "rows.tfrecord")
    assert row["a"].dtype == np.int64
    assert row["a"].tolist() == values
