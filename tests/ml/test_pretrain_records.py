"""Rows to pre-train on: where segments come from, what is hidden and how, and that all of it follows from the seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stagedml.errors import UsageError
from stagedml.ml import pretrain_records
from stagedml.ml.pretrain_records import (
    Masking,
    RowSettings,
    TooFewDocuments,
    WrittenRows,
    read_pretrain_columns,
    shard_path,
    write_pretrain_records,
)
from stagedml.ml.storyteller import write_stories
from stagedml.ml.tfrecord import DamagedRecords, write_records
from stagedml.ml.tokenizers import SPECIAL_TOKENS, BertTokenizer
from stagedml.ml.vocabulary import build_vocabulary

ONE_ROW = RowSettings(short_share=0, dupe_factor=1)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with corpus.txt and vocab.txt."""
    folder = tmp_path_factory.mktemp("text")
    write_stories(folder / "corpus.txt", documents=150, seed=0)
    build_vocabulary(folder / "corpus.txt", folder / "vocab.txt", size=1000, lower_case=True)
    return folder


@pytest.fixture(scope="module")
def tokenizer(text: Path) -> BertTokenizer:
    return BertTokenizer(text / "vocab.txt", lower_case=True)


def written(
    corpus: Path, tokenizer: BertTokenizer, output: Path, settings: RowSettings, seed: int = 0, workers: int = 1
) -> WrittenRows:
    output.mkdir()
    return write_pretrain_records(
        corpus, output / "train", output / "valid", tokenizer, settings, seed=seed, workers=workers
    )


def rows_of(path: Path) -> list[dict[str, list[int]]]:
    columns = read_pretrain_columns(path)
    return [
        {name: column[row].tolist() for name, column in columns.items()} for row in range(len(columns["input_ids"]))
    ]


def originals(rows: list[dict[str, list[int]]]) -> list[list[int]]:
    """The ids of rows before any were hidden."""
    restored = []
    for row in rows:
        ids = list(row["input_ids"])
        for position, true in zip(row["masked_lm_positions"], row["masked_lm_ids"], strict=True):
            ids[position] = true
        restored.append(ids)
    return restored


def test_the_same_seed_gives_the_same_bytes_whoever_works(tokenizer: BertTokenizer, tmp_path: Path) -> None:
    write_stories(tmp_path / "corpus.txt", documents=1200, seed=1)  # three pieces
    settings = RowSettings(dupe_factor=1, row_sentences=2)
    contents = []
    for name, seed, workers in (("one", 3, 1), ("two", 3, 2), ("other", 4, 1)):
        found = written(tmp_path / "corpus.txt", tokenizer, tmp_path / name, settings, seed, workers)
        shard = shard_path(tmp_path / name / "train", 0)
        assert (len(read_pretrain_columns(shard)["input_ids"]),) == found.train
        contents.append([path.read_bytes() for path in (shard, tmp_path / name / "valid")])
    assert contents[0] == contents[1]
    assert contents[0][0] != contents[2][0]


def test_rows_of_each_document_are_scattered_over_all_shards(
    text: Path, tokenizer: BertTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrain_records, "_SHARD_BYTES", 50_000)
    settings = RowSettings(dupe_factor=3, row_sentences=2, short_share=0, random_next_share=0)
    found = written(text / "corpus.txt", tokenizer, tmp_path / "rows", settings)
    assert len(found.train) == 4
    assert min(found.train) > 0.8 * max(found.train)
    shards = [rows_of(shard_path(tmp_path / "rows" / "train", number)) for number in range(4)]
    assert [len(shard) for shard in shards] == list(found.train)
    alone = written(text / "corpus.txt", tokenizer, tmp_path / "alone", replace(settings, dupe_factor=1))
    assert sum(found.train) == 3 * sum(alone.train)


def test_every_sentence_is_in_a_row_and_neighbours_share_one(tokenizer: BertTokenizer, tmp_path: Path) -> None:
    words = [piece for piece in tokenizer.pieces if piece.isalpha()][:60]
    (tmp_path / "corpus.txt").write_text("\n".join(f"{word}\n" * 30 for word in words))
    settings = RowSettings(max_length=16, random_next_share=0, dupe_factor=1)
    found = written(tmp_path / "corpus.txt", tokenizer, tmp_path / "rows", settings)
    assert dict(found.documents) == {"train": 57, "valid": 3}
    rows = rows_of(shard_path(tmp_path / "rows" / "train", 0))
    special = {tokenizer.id_of(token) for token in SPECIAL_TOKENS}
    counts = Counter[int]()
    for ids in originals(rows):
        plain = [piece for piece in ids if piece not in special]
        assert len(set(plain)) == 1
        assert len(ids) <= 16
        counts.update(plain)
    assert len(counts) == 57
    assert set(counts.values()) == {30}
    assert "next_sentence_labels" not in rows[0]
    assert len({len(row["input_ids"]) for row in rows}) > 3  # some are short


def test_a_second_segment_is_from_another_document_just_where_the_row_says_so(
    tokenizer: BertTokenizer, tmp_path: Path
) -> None:
    # Each document has a word of its own, three times: the last sentence has no second half but one from elsewhere.
    words = [piece for piece in tokenizer.pieces if piece.isalpha()][:60]
    (tmp_path / "corpus.txt").write_text("\n".join(f"{word}\n{word}\n{word}\n" for word in words))
    settings = RowSettings(row_sentences=2, short_share=0, dupe_factor=4)
    written(tmp_path / "corpus.txt", tokenizer, tmp_path / "rows", settings, seed=3)
    for path, least in ((shard_path(tmp_path / "rows" / "train", 0), 400), (tmp_path / "rows" / "valid", 5)):
        rows = rows_of(path)
        assert len(rows) > least
        firsts, seconds = ([ids[place] for ids in originals(rows)] for place in (1, 3))
        told = [row["next_sentence_labels"] == [1] for row in rows]
        assert told == [a != b for a, b in zip(firsts, seconds, strict=True)]
        assert set(seconds) <= set(firsts)  # what is held out never meets what is not
        assert all(row["segment_ids"] == [0, 0, 0, 1, 1] for row in rows)
        assert 0.6 < np.mean(told) < 0.9  # half of the first rows of a document, and all of the last ones


def test_each_duplicate_hides_other_pieces(text: Path, tokenizer: BertTokenizer, tmp_path: Path) -> None:
    settings = RowSettings(row_sentences=2, short_share=0, random_next_share=0, dupe_factor=3)
    found = written(text / "corpus.txt", tokenizer, tmp_path / "rows", settings)
    rows = rows_of(shard_path(tmp_path / "rows" / "train", 0))
    same = Counter(map(tuple, originals(rows)))
    assert len(rows) == found.train[0]
    assert all(count % 3 == 0 for count in same.values())
    hidden = {(*ids, -1, *row["masked_lm_positions"]) for ids, row in zip(originals(rows), rows, strict=True)}
    assert len(hidden) > 2 * len(same)


@pytest.mark.parametrize("shares", [(0.8, 0.1), (0.5, 0.25)])
def test_the_right_share_is_hidden_and_never_a_special_token(
    tokenizer: BertTokenizer, shares: tuple[float, float]
) -> None:
    settings = RowSettings(mask_share=0.25, mask_token_share=shares[0], random_token_share=shares[1])
    masking, generator = Masking(tokenizer, settings), np.random.default_rng(0)
    sentence = tokenizer.ids("the old sailor praised the king at dawn .")
    ids = np.array(tokenizer.encode(sentence * 3, sentence * 2, 128).input_ids)
    special = {tokenizer.id_of(token) for token in SPECIAL_TOKENS}
    fates = Counter[str]()
    for _ in range(250):
        seen, positions, true = masking.hide(ids.tolist(), generator)
        assert len(positions) == round(0.25 * (len(ids) - 3))
        assert np.array_equal(ids[positions], true)
        assert not special & set(true.tolist())
        untouched = np.ones(len(ids), dtype=bool)
        untouched[positions] = False
        assert np.array_equal(seen[untouched], ids[untouched])
        for shown, there in zip(seen[positions].tolist(), true.tolist(), strict=True):
            fates["mask" if shown == tokenizer.id_of("[MASK]") else "kept" if shown == there else "other"] += 1
            assert shown == tokenizer.id_of("[MASK]") or shown not in special
    # 2,800 choices: three standard errors; a random piece is the true one now and then.
    total = sum(fates.values())
    assert fates["mask"] / total == pytest.approx(shares[0], abs=0.03)
    assert fates["kept"] / total == pytest.approx(1 - sum(shares), abs=0.03)


def test_whole_words_are_hidden_with_all_of_their_pieces(tmp_path: Path) -> None:
    pieces = [*SPECIAL_TOKENS, "un", "##believ", "##able", "a", "so", "very"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces))
    tokenizer = BertTokenizer(tmp_path / "vocab.txt", lower_case=True)
    ids = tokenizer.encode(tokenizer.ids("a unbelievable so very unbelievable a so"), None, 64).input_ids
    generator = np.random.default_rng(0)
    found = Counter[tuple[int, ...]]()
    masking = Masking(tokenizer, RowSettings(mask_share=0.3, whole_words=True))  # 3 of 11
    for _ in range(300):
        _, positions, _ = masking.hide(ids, generator)
        found[tuple(positions.tolist())] += 1
    assert {(2, 3, 4), (7, 8, 9)} < set(found)
    for places in found:
        assert len(places) == 3
        for word in ({2, 3, 4}, {7, 8, 9}):
            assert len(word & set(places)) in (0, 3)
    # A word that is more than there is to hide is hidden all the same, if it comes first.
    alone = Masking(tokenizer, RowSettings(mask_share=0.1, whole_words=True))
    assert {len(alone.hide(ids, generator)[1]) for _ in range(100)} == {1, 3}
    only = tokenizer.encode(tokenizer.ids("unbelievable"), None, 64).input_ids
    assert alone.hide(only, generator)[1].tolist() == [1, 2, 3]


def test_rows_without_anything_to_hide_are_none(tokenizer: BertTokenizer, tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("king .\nking .\n\n漢\n\u200b\n\nking .\n")  # one unknown, one empty
    settings = RowSettings(random_next_share=0, dupe_factor=1, held_out_every=3)
    assert sum(written(tmp_path / "corpus.txt", tokenizer, tmp_path / "rows", settings).train) == 1


def test_a_text_with_too_few_documents_is_refused(tokenizer: BertTokenizer, tmp_path: Path) -> None:
    for number, content in enumerate(("", "the king .\nthe monarch .\n\n\n")):
        (tmp_path / "corpus.txt").write_text(content)
        with pytest.raises(TooFewDocuments, match=f"{number} documents"):
            written(tmp_path / "corpus.txt", tokenizer, tmp_path / f"rows{number}", ONE_ROW)


def test_settings_out_of_range_are_refused_all_at_once() -> None:
    with pytest.raises(UsageError, match=r"mask_share is 0, outside .* dupe_factor is 0, below 1"):
        RowSettings(mask_share=0, dupe_factor=0)
    with pytest.raises(UsageError, match=r"mask_token_share and random_token_share .* random_next_share is 1"):
        RowSettings(mask_token_share=0.8, random_token_share=0.3, random_next_share=1)


def test_records_of_something_else_are_told(tmp_path: Path) -> None:
    write_records(tmp_path / "rows", [{"input_ids": [1, 2], "segment_ids": [0, 0]}])
    with pytest.raises(DamagedRecords, match="no masked_lm_ids, masked_lm_positions"):
        read_pretrain_columns(tmp_path / "rows")
