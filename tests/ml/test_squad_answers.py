"""From logits to answers, against a search through all that there may be."""

from __future__ import annotations

import json
import math
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stagedml.errors import UsageError
from stagedml.ml.malformed import MalformedRows
from stagedml.ml.ragged import Ragged
from stagedml.ml.squad import EDITIONS, Article, Edition, Paragraph, Question, questions_of, read_squad
from stagedml.ml.squad_answers import Answered, AnswerSettings, Candidate, find_answers, write_answers
from stagedml.ml.squad_features import WindowSettings
from stagedml.ml.squad_records import EncodedWindows, SplitArticle, encode_article, read_windows, tokenize_squad
from stagedml.ml.squad_stories import write_squad_stories
from stagedml.ml.tfrecord import DamagedRecords, read_records, write_records
from stagedml.ml.tokenizers import SPECIAL_TOKENS, BertTokenizer

CUT = WindowSettings(max_length=40, stride=9, max_question_length=12)
SQUAD11, SQUAD20 = EDITIONS["squad11"], EDITIONS["squad20"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> BertTokenizer:
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,?"
    pieces = [*SPECIAL_TOKENS, "the", "doctor", "near", *letters, *(f"##{letter}" for letter in letters)]
    path.write_text("".join(f"{piece}\n" for piece in pieces))
    return BertTokenizer(path, lower_case=True)


def tokenized(
    folder: Path, tokenizer: BertTokenizer, edition: Edition, *, workers: int = 1, allow_malformed: int = 0
) -> dict[str, Any]:
    """A generated edition in `folder`, tokenized into `folder`; gives what became of it."""
    for name, articles, seed in (("train.json", 30, 1), ("dev.json", 2, 2)):
        if not (folder / name).exists():
            write_squad_stories(folder / name, edition, articles=articles, seed=seed)
    output = folder / f"{workers}"
    output.mkdir()
    found = tokenize_squad(
        edition,
        folder / "train.json",
        folder / "dev.json",
        {split: output / f"{split}.tfrecord" for split in ("train", "valid", "test")},
        output / "texts",
        tokenizer,
        settings=CUT,
        allow_malformed=allow_malformed,
        workers=workers,
    )
    return {split: part.to_json() for split, part in found.items()}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# -- records ---------------------------------------------------------------------------------------------------------


def test_the_number_of_workers_changes_no_byte_and_each_question_has_its_windows(
    tmp_path: Path, tokenizer: BertTokenizer
) -> None:
    found = tokenized(tmp_path, tokenizer, SQUAD20)
    assert tokenized(tmp_path, tokenizer, SQUAD20, workers=2) == found
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    published = sum(article.questions for article in read_squad(tmp_path / "train.json", SQUAD20)[0])
    assert found["train"]["questions"] + found["valid"]["questions"] == published
    titles = {
        split: [a.title for a in read_squad(tmp_path / "1" / "texts" / f"{split}.json", SQUAD20)[0]]
        for split in ("valid", "test")
    }
    assert (len(titles["valid"]), len(titles["test"])) == (2, 2)
    for split, part in found.items():
        rows = list(read_records(tmp_path / "1" / f"{split}.tfrecord"))
        assert len(rows) == part["rows"] > part["questions"]
        numbers = [int(row["index"][0]) for row in rows]
        assert [number for number, _ in groupby(numbers)] == list(range(part["questions"]))
        assert all(len(row["input_ids"]) <= CUT.max_length for row in rows)
        labels = [(int(row["start"][0]), int(row["end"][0]), int(row["first"][0])) for row in rows]
        assert all((start, end) == (0, 0) or first <= start <= end for start, end, first in labels)
        assert part["answers"]["exact"] > 0
        assert part["answers"]["wider"] == part["malformed"] == 0


def test_labels_of_the_windows_read_as_the_answers(tmp_path: Path, tokenizer: BertTokenizer) -> None:
    tokenized(tmp_path, tokenizer, SQUAD20)
    windows = read_windows(tmp_path / "1" / "test.tfrecord")
    asked = list(questions_of(read_squad(tmp_path / "1" / "texts" / "test.json", SQUAD20)[0]))
    seen = set()
    for row, number in enumerate(windows.index):
        passage, question = asked[number]
        start, end, first = int(windows.start[row]), int(windows.end[row]), int(windows.first[row])
        if start:
            text = passage[windows.begins[row][start - first] : windows.ends[row][end - first]]
            assert text == question.answers[0].text
            seen.add(number)
    assert seen == {number for number, (_, question) in enumerate(asked) if question.answers}


def test_malformed_questions_are_an_error_unless_allowed(tmp_path: Path, tokenizer: BertTokenizer) -> None:
    write_squad_stories(tmp_path / "train.json", SQUAD11, articles=30, seed=1)
    content = json.loads((tmp_path / "train.json").read_text())
    questions = [qa for article in content["data"] for part in article["paragraphs"] for qa in part["qas"]]
    for question in questions[:3]:
        question["answers"][0]["answer_start"] += 1
    (tmp_path / "train.json").write_text(json.dumps(content))
    with pytest.raises(MalformedRows, match=r"3 malformed rows \(2 allowed\)[^$]*train.json:data\[0\].paragraphs\[0\]"):
        tokenized(tmp_path, tokenizer, SQUAD11, allow_malformed=2)
    (tmp_path / "1" / "texts").rmdir()
    (tmp_path / "1").rmdir()
    found = tokenized(tmp_path, tokenizer, SQUAD11, allow_malformed=3)
    assert found["train"]["malformed"] == len(found["train"]["named"]) == 3
    assert found["train"]["questions"] + found["valid"]["questions"] == len(questions) - 3


def test_a_file_of_other_rows_is_no_file_of_windows(tmp_path: Path) -> None:
    write_records(tmp_path / "rows", [{"index": [1], "input_ids": [1, 2], "segment_ids": [0, 0], "label": [1]}])
    with pytest.raises(DamagedRecords, match="the rows have no begins, end, ends, first, own_begin, own_end, start"):
        read_windows(tmp_path / "rows")


# -- answers ---------------------------------------------------------------------------------------------------------


def windows_of(tmp_path: Path, tokenizer: BertTokenizer, articles: list[Article]) -> EncodedWindows:
    path = tmp_path / "windows"
    frames, first = b"", 0
    for article in articles:
        frames += encode_article(tokenizer, CUT, SplitArticle("test", first, article)).frames
        first += article.questions
    path.write_bytes(frames)
    return read_windows(path)


def drawn_logits(windows: EncodedWindows, seed: int, decimals: int = 6) -> tuple[Ragged, Ragged]:
    generator = np.random.default_rng(seed)
    size = len(windows.input_ids.values)
    starts, ends = (generator.normal(size=size).round(decimals).astype(np.float32) for _ in range(2))
    return Ragged(starts, windows.input_ids.offsets), Ragged(ends, windows.input_ids.offsets)


def by_search(
    passage: str, windows: EncodedWindows, rows: list[int], starts: Ragged, ends: Ragged, settings: AnswerSettings
) -> list[tuple[str, float]]:
    """The texts and scores of the best candidates, out of all pairs of places."""
    pairs = []
    for row in rows:
        first, count = int(windows.first[row]), len(windows.begins[row])
        for start in range(first, first + count):
            # Most context: in no other window is the nearer side longer.
            if not windows.own_begin[row] <= start < windows.own_end[row]:
                continue
            for end in range(start, min(first + count, start + settings.max_length)):
                text = passage[windows.begins[row][start - first] : windows.ends[row][end - first]]
                pairs.append((float(starts[row][start]) + float(ends[row][end]), text))
    best = sorted(pairs, key=lambda pair: -pair[0])[: settings.n_best]
    return [(text, score) for place, (score, text) in enumerate(best) if text not in [t for _, t in best[:place]]]


@pytest.mark.parametrize("settings", [AnswerSettings(), AnswerSettings(3, 2), AnswerSettings(500, 40)])
def test_the_best_candidates_are_the_best_of_all_that_there_are(
    tmp_path: Path, tokenizer: BertTokenizer, settings: AnswerSettings
) -> None:
    write_squad_stories(tmp_path / "squad.json", SQUAD20, articles=1, seed=3)
    articles, _ = read_squad(tmp_path / "squad.json", SQUAD20)
    windows = windows_of(tmp_path, tokenizer, articles)
    for decimals in (6, 0):  # and with many equal scores
        starts, ends = drawn_logits(windows, 1, decimals)
        answers = list(find_answers(articles, windows, starts, ends, settings))
        asked = list(questions_of(articles))
        assert [answer.id for answer in answers] == [question.id for _, question in asked]
        for number, (answer, (passage, _)) in enumerate(zip(answers, asked, strict=True)):
            rows = np.flatnonzero(windows.index == number).tolist()
            wanted = by_search(passage, windows, rows, starts, ends, settings)
            assert [candidate.score for candidate in answer.candidates] == pytest.approx([s for _, s in wanted])
            assert [candidate.text for candidate in answer.candidates] == [text for text, _ in wanted]
            assert answer.none.score == pytest.approx(min(float(starts[row][0]) + float(ends[row][0]) for row in rows))


def test_no_answer_wins_above_the_threshold_only() -> None:
    answer = Answered("a", (Candidate("x", 1.0, 2.0), Candidate("y", 0.0, 1.0)), Candidate("", 2.0, 2.5))
    assert answer.null_odds == 1.5
    assert (answer.text(1.5), answer.text(1.25), answer.text(None)) == ("x", "", "x")
    assert [candidate.text for candidate in answer.ranked(2, unanswerable=True)] == ["", "x"]
    assert [candidate.text for candidate in answer.ranked(2, unanswerable=False)] == ["x", "y"]


def test_answers_are_written_as_the_evaluation_takes_them(tmp_path: Path) -> None:
    answers = [
        Answered("a", (Candidate('x "é"', 1.0, 2.0), Candidate("y", 0.5, 1.0)), Candidate("", 1.0, 1.0)),
        Answered("b", (Candidate("z", -1.0, -1.0),), Candidate("", 1.5, 0.25)),
    ]
    settings = AnswerSettings(n_best=2)
    write_answers(tmp_path / "two", answers, settings, unanswerable=True, threshold=0.0)
    write_answers(tmp_path / "one", answers, settings, unanswerable=False)

    def read(name: str) -> Any:
        return json.loads((tmp_path / name).read_text())

    assert read("two/predictions.json") == {"a": 'x "é"', "b": ""}
    assert read("one/predictions.json") == {"a": 'x "é"', "b": "z"}
    assert read("two/null_odds.json") == {"a": -1.0, "b": 3.75}
    assert not (tmp_path / "one" / "null_odds.json").exists()
    first, second = read("two/nbest_predictions.json")["a"]
    assert (first["text"], second["text"]) == ('x "é"', "")
    assert first["probability"] == pytest.approx(math.exp(3) / (math.exp(3) + math.exp(2)))
    assert (first["start_logit"], first["end_logit"]) == (1.0, 2.0)
    assert [entry["text"] for entry in read("one/nbest_predictions.json")["a"]] == ['x "é"', "y"]


def test_a_passage_without_a_single_word_piece_is_answered_with_nothing(
    tmp_path: Path, tokenizer: BertTokenizer
) -> None:
    articles = [Article("T", (Paragraph("\x00 \x01", (Question("a", "who?", ()),)),))]
    windows = windows_of(tmp_path, tokenizer, articles)
    (answer,) = find_answers(articles, windows, *drawn_logits(windows, 1), AnswerSettings())
    assert (answer.best.text, answer.candidates) == ("", ())
    write_answers(tmp_path / "out", [answer], AnswerSettings(), unanswerable=False)
    (entry,) = json.loads((tmp_path / "out" / "nbest_predictions.json").read_text())["a"]
    assert (entry["text"], entry["probability"]) == ("", 1.0)


def test_windows_of_other_questions_are_refused(tmp_path: Path, tokenizer: BertTokenizer) -> None:
    write_squad_stories(tmp_path / "squad.json", SQUAD11, articles=2, seed=3)
    articles, _ = read_squad(tmp_path / "squad.json", SQUAD11)
    windows = windows_of(tmp_path, tokenizer, articles[:1])
    with pytest.raises(UsageError, match="question 3-1-0-0 has no window; tokenize the split again"):
        list(find_answers(articles, windows, *drawn_logits(windows, 1), AnswerSettings()))
    windows = windows_of(tmp_path, tokenizer, articles)
    with pytest.raises(UsageError, match=r"\d+ windows are of other questions than these"):
        list(find_answers(articles[:1], windows, *drawn_logits(windows, 1), AnswerSettings()))


def test_answers_of_no_length_are_refused() -> None:
    with pytest.raises(UsageError, match="n_best is 0, below 1; max_answer_length is 0, below 1"):
        AnswerSettings(0, 0)
