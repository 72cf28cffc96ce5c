"""Windows of long passages: they hold all of them, and give answers back letter for letter."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.test_tokenizers import ODD_TEXTS, random_texts
from stagedml.errors import UsageError
from stagedml.ml.squad import EDITIONS, Answer, questions_of, read_squad
from stagedml.ml.squad_features import (
    Window,
    WindowSettings,
    answer_span,
    owned,
    question_windows,
    recovery,
    window_starts,
)
from stagedml.ml.tokenizers import SPECIAL_TOKENS, BertTokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> BertTokenizer:
    """One whose pieces are single letters, of whatever the tests' texts have."""
    texts = [*ODD_TEXTS, *random_texts(300)]
    letters = sorted({letter for text in texts for letter in text.lower() + text})
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    usable = [letter for letter in letters if letter.strip() and letter.isprintable()]
    pieces = [*SPECIAL_TOKENS, *usable, *(f"##{letter}" for letter in usable)]
    path.write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8", errors="ignore")
    return BertTokenizer(path, lower_case=True)


SIZES = {"pieces": st.integers(0, 90), "room": st.integers(1, 30), "stride": st.integers(1, 40)}


@given(**SIZES)
@settings(max_examples=200)
def test_windows_hold_all_of_a_passage_and_no_more_of_them_than_it_takes(pieces: int, room: int, stride: int) -> None:
    starts = window_starts(pieces, room, stride)
    assert starts[0] == 0
    assert {after - before for before, after in pairwise(starts)} <= {min(stride, room)}
    held = {place for start in starts for place in range(start, min(start + room, pieces))}
    assert held == set(range(pieces))
    assert len(starts) == 1 or starts[-2] + room < pieces


@given(**SIZES)
@settings(max_examples=200)
def test_a_word_piece_belongs_to_the_window_in_which_it_has_most_context(pieces: int, room: int, stride: int) -> None:
    starts = window_starts(pieces, room, stride)
    windows = [(start, min(start + room, pieces)) for start in starts]

    def context(window: tuple[int, int], place: int) -> tuple[bool, float]:
        start, end = window
        return start <= place < end, min(place - start, end - 1 - place) + 0.01 * (end - start)

    owners = [max(range(len(windows)), key=lambda w, p=place: context(windows[w], p)) for place in range(pieces)]  # type: ignore[misc]
    own = owned(starts, room, pieces)
    assert [number for number, (begin, end) in enumerate(own) for _ in range(begin, end)] == owners
    assert own[0][0] == 0
    assert own[-1][1] == pieces


def rows(tokenizer: BertTokenizer, text: str, cut: WindowSettings) -> list[Window]:
    return question_windows(tokenizer, tokenizer.locate(text), tokenizer.ids("what is it?"), cut)


def test_a_row_is_what_bert_reads(tokenizer: BertTokenizer) -> None:
    text = "abc defg hij"
    windows = rows(tokenizer, text, WindowSettings(max_length=14, stride=3, max_question_length=5))
    pieces = [[tokenizer.pieces[number] for number in window.input_ids] for window in windows]
    head = ["[CLS]", "w", "##h", "##a", "##t", "i", "[SEP]"]
    assert [row[:7] for row in pieces] == [head] * 3
    passage = ["a", "##b", "##c", "d", "##e", "##f", "##g", "h", "##i", "##j"]
    assert [row[7:] for row in pieces] == [[*passage[start : start + 6], "[SEP]"] for start in (0, 3)] + [
        [*passage[6:], "[SEP]"]
    ]
    for window in windows:
        assert window.segment_ids == (0,) * 7 + (1,) * (len(window.input_ids) - 7)
        assert text[window.begins[0]].strip()
        assert len(window.begins) == len(window.ends) == len(window.input_ids) - 8


def test_answers_come_back_from_each_window_that_holds_them_whole_and_from_no_other(tokenizer: BertTokenizer) -> None:
    cut = WindowSettings(max_length=24, stride=5, max_question_length=8)
    found: Counter[str] = Counter()
    for text in [*ODD_TEXTS, *random_texts(150)]:
        located = tokenizer.locate(text)
        windows = rows(tokenizer, text, cut)
        for first in range(0, len(located.ids), 3):
            for last in range(first, min(first + 15, len(located.ids)), 4):
                begin, end = located.begins[first], located.ends[last]
                answer = Answer(text[begin:end], begin)
                # The characters of the answer, wherever they were put.
                held = {place for place in range(len(located.ids)) if located.begins[place] < end}
                held = {place for place in held if located.ends[place] > begin}
                back = []
                for window in windows:
                    label = window.label(answer_span(located, answer))
                    inside = set(range(window.start, window.start + len(window.begins)))
                    assert (label is not None) == (held <= inside)
                    if label:
                        start, stop = (place - window.first for place in label)
                        back.append(text[window.begins[start] : window.ends[stop]])
                assert set(back) <= {answer.text}
                found[recovery(text, located, answer, windows)] += 1
    assert found["exact"] > 1000
    assert found["lost"] > 10  # too long for a window, or for the step between two
    assert not found["wider"]


@pytest.mark.parametrize(
    ("answer", "becomes"),
    [
        (Answer("apan", 1), "wider"),
        (Answer("Japan", 0), "wider"),
        (Answer("Japanese", 0), "exact"),
        (Answer(" ", 8), "lost"),
        (Answer("Japanese in", 0), "exact"),
        (Answer(" in", 8), "wider"),
    ],
)
def test_an_answer_within_a_word_comes_back_with_its_word(tmp_path: Path, answer: Answer, becomes: str) -> None:
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("".join(f"{piece}\n" for piece in (*SPECIAL_TOKENS, "japanese", "in")))
    tokenizer = BertTokenizer(vocab, lower_case=True)
    text = "Japanese in Japan"
    windows = rows(tokenizer, text, WindowSettings())
    assert recovery(text, tokenizer.locate(text), answer, windows) == becomes


@pytest.mark.parametrize(
    ("lengths", "says"),
    [
        ((384, 0, 64), "windows begin every 0 word pieces, below 1"),
        ((67, 1, 64), "a row has 67 word pieces at most; with such questions, it takes 68"),
        ((384, 1, 0), "the longest question has 0 word pieces, below 1"),
    ],
)
def test_windows_without_room_are_refused(lengths: tuple[int, int, int], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        WindowSettings(*lengths)


@pytest.mark.parametrize("cut", [WindowSettings(), WindowSettings(96, 24, 48)], ids=["384", "96"])
def test_every_answer_of_the_official_dev_comes_back(shared_data: Path, cut: WindowSettings) -> None:
    tokenizer = BertTokenizer(shared_data / "bert" / "all-MiniLM-L6-v2" / "vocab.txt", lower_case=True)
    articles, _ = read_squad(shared_data / "squad" / "dev-v1.1.json", EDITIONS["squad11"])
    found: Counter[str] = Counter()
    passage, located = "", tokenizer.locate("")
    for text, question in questions_of(articles):
        if text != passage:
            passage, located = text, tokenizer.locate(text)
        windows = question_windows(tokenizer, located, tokenizer.ids(question.text), cut)
        found.update(recovery(text, located, answer, windows) for answer in question.answers)
    # The 77 begin or end within a word, or within a number.
    assert found == {"exact": 34_649, "wider": 77}
