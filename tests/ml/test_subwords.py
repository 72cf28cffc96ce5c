"""Subwords: any text comes back as it was; the same text gives the same bytes."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.parallel_texts import multi30k, write_text
from stagedml.ml.storyteller import write_stories
from stagedml.ml.subwords import (
    END,
    PAD,
    SPACE,
    Subwords,
    SubwordsNotLearnt,
    UnreadableSubwords,
    learn_subwords,
)

HOSTILE = [
    "two  spaces", "tab\tbed", "</s> <unk> <pad> <0x41>", "héllo 😀 мир ﬁ ½ ㍿", "a\u200bb\u00a0c",
    "e\u0301", "\x00\x01", "find . -name '*.c'  | xargs -0 grep -l \"x\\|y\"", ",,,", "x" * 3000, "",
]  # fmt: skip


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stories") / "stories.txt"
    write_stories(path, documents=60, seed=0)
    return path


@pytest.fixture(scope="module")
def subwords(stories: Path) -> Subwords:
    learn_subwords([stories], stories.parent / "subwords.model", size=500)
    return Subwords.read(stories.parent / "subwords.model")


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters=SPACE + "\n", exclude_categories=["Cs"])))
def test_every_text_comes_back_as_it_was(subwords: Subwords, text: str) -> None:
    (ids,) = subwords.encode([text])
    assert subwords.decode(ids) == text
    assert PAD not in ids
    assert END not in ids


def test_hostile_texts_come_back_one_by_one_and_together(subwords: Subwords) -> None:
    ids = subwords.encode(HOSTILE)
    assert [subwords.decode([*own, END, *ids[0], PAD]) for own in ids] == HOSTILE
    assert ids == [subwords.encode([text])[0] for text in HOSTILE]


def test_words_of_the_text_are_few_subwords_and_what_can_be_spelt_stays_in_a_line(subwords: Subwords) -> None:
    assert subwords.size == 500
    assert len(subwords.encode(["the young doctor"])[0]) < len("the young doctor") / 2
    assert subwords.decode(subwords.encode(["a\nb"])[0]) == "a b"


def test_the_same_text_gives_the_same_bytes_in_every_process(stories: Path, tmp_path: Path) -> None:
    program = "import sys, pathlib; from stagedml.ml.subwords import learn_subwords; " + (
        "learn_subwords([pathlib.Path(sys.argv[1])], pathlib.Path(sys.argv[2]), size=400, reserved=['|', 'zz'])"
    )
    for name, seed, threads in (("a", "1", "1"), ("b", "2", "4")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads}
        command = [sys.executable, "-c", program, str(stories), str(tmp_path / name)]
        subprocess.run(command, check=True, env=environment)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_copy_in_another_process_splits_the_same(subwords: Subwords, tmp_path: Path) -> None:
    copy = pickle.loads(pickle.dumps(subwords))
    assert copy.encode(HOSTILE) == subwords.encode(HOSTILE)
    copy.write(tmp_path / "copy")
    assert Subwords.read(tmp_path / "copy").pieces() == subwords.pieces()


def test_what_is_reserved_is_one_subword_and_part_of_no_other(stories: Path, tmp_path: Path) -> None:
    reserved = [f"{SPACE}find", f"{SPACE}-name", "|", '"', ",", "'", "."]
    learn_subwords([stories], tmp_path / "model", size=500, reserved=reserved)
    subwords = Subwords.read(tmp_path / "model")
    pieces = subwords.pieces()
    assert set(reserved) <= set(pieces)
    assert [piece for piece in pieces if "." in piece] == ["."]
    (ids,) = subwords.encode(['find -name ",|"'])
    assert [pieces[number] for number in ids] == [f"{SPACE}find", f"{SPACE}-name", SPACE, '"', ",", "|", '"']


def test_of_a_long_text_lines_from_everywhere_are_learnt_from(tmp_path: Path) -> None:
    path = write_text(tmp_path / "long.txt", [f"{'abcdefghij'[number // 100] * 8}" for number in range(1000)])
    learn_subwords([path], tmp_path / "model", size=400, most_lines=10)
    pieces = Subwords.read(tmp_path / "model").pieces()
    assert {f"{SPACE}{letter * 8}" for letter in "abcdefghij"} <= set(pieces)


def test_impossible_vocabularies_are_refused_with_a_reason(stories: Path, tmp_path: Path) -> None:
    with pytest.raises(
        SubwordsNotLearnt, match=r"no 20 subwords can be learnt: .+ take \d+ already; give a larger size"
    ):
        learn_subwords([stories], tmp_path / "model", size=20)
    with pytest.raises(SubwordsNotLearnt, match=r"no 500 subwords"):
        learn_subwords([write_text(tmp_path / "empty", [])], tmp_path / "model", size=500)
    for data in (b"", b"no model"):
        (tmp_path / "bad").write_bytes(data)
        with pytest.raises(UnreadableSubwords, match=r"bad is no SentencePiece model"):
            Subwords.read(tmp_path / "bad")


def test_real_captions_come_back_as_they_were(shared_data: Path, tmp_path: Path) -> None:
    lines = [multi30k(shared_data, "train", language, 5000) for language in ("en", "de")]
    paths = [write_text(tmp_path / str(number), own) for number, own in enumerate(lines)]
    learn_subwords(paths, tmp_path / "model", size=4000)
    subwords = Subwords.read(tmp_path / "model")
    assert subwords.size == 4000
    for own in lines:
        texts = [line.strip() for line in own]
        assert [subwords.decode(ids) for ids in subwords.encode(texts)] == texts
