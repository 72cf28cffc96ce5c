"""Reading the files of SQuAD: what fits is read, what does not is named, and articles are held out by a fixed rule."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stagedml.errors import UsageError
from stagedml.ml.malformed import MalformedRow
from stagedml.ml.squad import (
    EDITIONS,
    Answer,
    Article,
    NotSquad,
    Question,
    UnknownEdition,
    edition_of,
    held_out,
    questions_of,
    read_squad,
    write_squad,
)
from stagedml.ml.squad_stories import write_squad_stories

PASSAGE = "The doctor praised the sailor near the harbor ."
SQUAD11, SQUAD20 = EDITIONS["squad11"], EDITIONS["squad20"]


def document(impossible: bool | None = None) -> Any:
    """A file of one article, one passage and two questions, the second of which tests change."""

    def question(id: str) -> dict[str, Any]:
        entry = {"id": id, "question": "Who?", "answers": [{"text": "The doctor", "answer_start": 0}]}
        return entry | ({} if impossible is None else {"is_impossible": impossible})

    return {"data": [{"title": "T", "paragraphs": [{"context": PASSAGE, "qas": [question("a"), question("b")]}]}]}


def read(tmp_path: Path, content: Any, edition: Any = SQUAD11) -> tuple[list[Article], list[MalformedRow]]:
    path = tmp_path / "squad.json"
    path.write_text(json.dumps(content))
    return read_squad(path, edition)


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    articles, malformed = read(tmp_path, document())
    assert not malformed
    assert [article.title for article in articles] == ["T"]
    expected = [Question(id, "Who?", (Answer("The doctor", 0),)) for id in "ab"]
    assert list(questions_of(articles)) == [(PASSAGE, question) for question in expected]


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no id": (lambda question: question.pop("id"), "it has no 'id'"),
    "empty question": (lambda question: question.update(question=" \n"), "its 'question' is empty"),
    "question is a number": (lambda question: question.update(question=7), "its 'question' is not a text"),
    "id twice": (lambda question: question.update(id="a"), "there was a question 'a' before"),
    "no answers": (lambda question: question.pop("answers"), "it has no 'answers'"),
    "answers is no list": (lambda question: question.update(answers={}), "its 'answers' is not a list"),
    "none": (lambda question: question.update(answers=[]), "it has no answer, and is not called impossible"),
    "of 2.0": (
        lambda question: question.update(answers=[], is_impossible=True),
        "it has no answer, as in SQuAD 2.0 alone; is the file of that version?",
    ),
    "an answer is a text": (lambda question: question.update(answers=["x"]), "it is no object"),
    "moved": (
        lambda question: question["answers"][0].update(answer_start=1),
        "the answer 'The doctor' is not at 1, where 'he doctor ' is",
    ),
    "from the end": (
        lambda question: question["answers"].append({"text": ".", "answer_start": -1}),
        "the answer '.' is not at -1, where 'T' is",
    ),
    "beyond": (
        lambda question: question["answers"][0].update(answer_start=4000),
        "the answer 'The doctor' is not at 4000, where '' is",
    ),
    "start is true": (lambda question: question["answers"][0].update(answer_start=True), "is not a number"),
    "start is a text": (lambda question: question["answers"][0].update(answer_start="0"), "is not a number"),
    "empty answer": (lambda question: question["answers"][0].update(text=""), "its 'text' is empty"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_malformed_question_is_left_out_and_named(tmp_path: Path, change: str) -> None:
    content = document()
    spoil, says = CHANGES[change]
    spoil(content["data"][0]["paragraphs"][0]["qas"][1])
    articles, (row,) = read(tmp_path, content)
    assert [question.id for _, question in questions_of(articles)] == ["a"]
    assert row.place == "data[0].paragraphs[0].qas[1]"
    assert says in str(row)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"is_impossible": True}, "it is called impossible, and has answers"),
        ({"is_impossible": False, "answers": []}, "it has no answer, and is not called impossible"),
        ({"is_impossible": 1}, "its 'is_impossible' is not true or false"),
        ({"is_impossible": None}, "its 'is_impossible' is not true or false"),
    ],
)
def test_a_question_contradicts_itself_in_the_second_edition(tmp_path: Path, change: Any, says: str) -> None:
    content = document(impossible=False)
    content["data"][0]["paragraphs"][0]["qas"][1].update(change)
    _, (row,) = read(tmp_path, content, SQUAD20)
    assert row.problem == says


def test_a_question_without_an_answer_is_no_malformed_one_where_it_is_called_so(tmp_path: Path) -> None:
    content = document(impossible=False)
    content["data"][0]["paragraphs"][0]["qas"][1].update(is_impossible=True, answers=[], plausible_answers=[{}])
    articles, malformed = read(tmp_path, content, SQUAD20)
    assert not malformed
    assert [len(question.answers) for _, question in questions_of(articles)] == [1, 0]


def test_paragraphs_and_articles_without_what_they_need_are_named(tmp_path: Path) -> None:
    content = document()
    content["data"][0]["paragraphs"] += [{"qas": []}, {"context": PASSAGE}, 3]
    content["data"] += ["x", {"title": "U"}]
    articles, malformed = read(tmp_path, content)
    assert [(row.place, row.problem) for row in malformed] == [
        ("data[0].paragraphs[1]", "it has no 'context'"),
        ("data[0].paragraphs[2]", "it has no 'qas'"),
        ("data[0].paragraphs[3]", "it is no object"),
        ("data[1]", "it is no object"),
        ("data[2]", "it has no 'paragraphs'"),
    ]
    assert [article.questions for article in articles] == [2, 0, 0]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"data": [', "no JSON: Expecting value"),
        (b"\xff\xfe\xfd", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[1]", 'no object with a list called "data"'),
        (b'{"data": {}}', 'no object with a list called "data"'),
        (b'{"data": []}', "there is no article in it"),
    ],
)
def test_what_is_no_squad_at_all_is_an_error(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "squad.json"
    path.write_bytes(content)
    with pytest.raises(NotSquad, match=says):
        read_squad(path, SQUAD11)
    with pytest.raises(UsageError, match="No such file"):
        read_squad(tmp_path / "absent.json", SQUAD11)


@pytest.mark.parametrize("name", EDITIONS)
def test_what_is_written_reads_back(tmp_path: Path, name: str) -> None:
    path, copy = tmp_path / "squad.json", tmp_path / "copy.json"
    write_squad_stories(path, EDITIONS[name], articles=3, seed=1)
    articles, malformed = read_squad(path, EDITIONS[name])
    assert not malformed
    assert sum(article.questions for article in articles) > 20
    unanswered = sum(not question.answers for _, question in questions_of(articles))
    assert (unanswered > 0) == EDITIONS[name].unanswerable
    write_squad(copy, EDITIONS[name], articles)
    assert copy.read_bytes() == path.read_bytes()


def test_generated_questions_follow_from_the_seed(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        write_squad_stories(tmp_path / name, SQUAD20, articles=2, seed=seed)
    one, again, other = ((tmp_path / name).read_bytes() for name in ("one", "again", "other"))
    assert one == again != other


def test_the_official_dev_is_read_in_full(shared_data: Path) -> None:
    articles, malformed = read_squad(shared_data / "squad" / "dev-v1.1.json", SQUAD11)
    assert (len(articles), sum(article.questions for article in articles), malformed) == (48, 10_570, [])


def test_one_article_in_twenty_is_held_out_by_its_title() -> None:
    articles = [Article(f"Title {number}", ()) for number in range(41)]
    kept = held_out(articles)
    # The rule is fixed for ever; that it did not change in a release shows here.
    assert kept == {11, 20, 21}
    turned = articles[::-1]
    assert {turned[number].title for number in held_out(turned)} == {articles[number].title for number in kept}
    assert len(held_out([Article("same", ())] * 2)) == 1
    with pytest.raises(UsageError, match="2 of them at least; there are 1"):
        held_out(articles[:1])


def test_an_edition_has_a_name() -> None:
    assert edition_of("squad20") is SQUAD20
    with pytest.raises(UnknownEdition, match="no edition of SQuAD is called 'squad'; there are squad11, squad20"):
        edition_of("squad")
