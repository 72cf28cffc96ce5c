"""SQuAD: its editions, and reading their files.

Rajpurkar et al. 2016, SQuAD: 100,000+ Questions for Machine Comprehension of Text; Rajpurkar, Jia and Liang 2018, Know
What You Don't Know: Unanswerable Questions for SQuAD. Rules this module keeps:
- An answer is a text of its passage: it stands, letter for letter, where the file says that it does.
- In version 1.1 each question has an answer at least; in version 2.0 it has none if, and only if, the file calls it
  impossible.
- A question that breaks a rule is never dropped in silence: it is counted, and named by file and place.
- Splits: *train* and *valid* are SQuAD's train, of whose articles one in twenty is held out (`held_out`); *test* is
  SQuAD's dev, since its test was never published. Choices are made on valid; test is only reported.
- A file is one JSON text: it is read as a whole, some 200 MB for the largest of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagedml.errors import UsageError
from stagedml.ml.malformed import MalformedRow

_HELD_OUT_EVERY = 20


@dataclass(frozen=True)
class Edition:
    """One version of SQuAD.

    Attributes:
        name: of the task.
        version: as its files spell it.
        train, dev: the names of its files.
        unanswerable: whether there are questions without an answer.
    """

    name: str
    version: str
    train: str
    dev: str
    unanswerable: bool


EDITIONS = {
    edition.name: edition
    for edition in (
        Edition("squad11", "1.1", "train-v1.1.json", "dev-v1.1.json", unanswerable=False),
        Edition("squad20", "v2.0", "train-v2.0.json", "dev-v2.0.json", unanswerable=True),
    )
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A text of a passage, and the number of the character that it begins with."""

    text: str
    start: int

    @property
    def end(self) -> int:
        """One past its last character."""
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and what people answered; nothing where there is no answer in the passage."""

    id: str
    text: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A passage, and the questions about it."""

    passage: str
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Article:
    """The paragraphs of one article of Wikipedia."""

    title: str
    paragraphs: tuple[Paragraph, ...]

    @property
    def questions(self) -> int:
        """How many there are."""
        return sum(len(paragraph.questions) for paragraph in self.paragraphs)


class UnknownEdition(UsageError):
    """No edition of SQuAD has that name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"no edition of SQuAD is called {self.name!r}; there are {', '.join(EDITIONS)}"


class NotSquad(UsageError):
    """A file has not the layout of SQuAD."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; give a file in SQuAD's layout, as train-v1.1.json has it"


def edition_of(name: str) -> Edition:
    """The edition of that name.

    Raises:
        UnknownEdition: there is none.
    """
    if edition := EDITIONS.get(name):
        return edition
    raise UnknownEdition(name)


def held_out(articles: Sequence[Article]) -> frozenset[int]:
    """The numbers of the articles of train that belong to the validation split.

    The rule, fixed for ever: of the articles, sorted by the SHA-256 of their titles in UTF-8 (those of one title by
    their place), the first ones are held out: one in twenty, rounded up. No generator and no seed: the split of a file
    is the same everywhere. By article, since those of its questions that are trained on would help with the others.

    Raises:
        UsageError: there are fewer than two.
    """
    if len(articles) < 2:
        raise UsageError(f"to hold an article out takes 2 of them at least; there are {len(articles)} to train on")
    digests = [hashlib.sha256(article.title.encode("utf-8", "surrogatepass")).digest() for article in articles]
    ranked = sorted(range(len(articles)), key=lambda number: (digests[number], number))
    return frozenset(ranked[: -(-len(ranked) // _HELD_OUT_EVERY)])


def questions_of(articles: Iterable[Article]) -> Iterator[tuple[str, Question]]:
    """All questions, in their order, each with its passage."""
    for article in articles:
        for paragraph in article.paragraphs:
            for question in paragraph.questions:
                yield paragraph.passage, question


# -- reading ---------------------------------------------------------------------------------------------------------


def read_squad(path: Path, edition: Edition) -> tuple[list[Article], list[MalformedRow]]:
    """Read a file, and say what of it is malformed and left out.

    Args:
        path: of JSON in SQuAD's layout.
        edition: which one it is of.

    Raises:
        NotSquad: the file as a whole is something else.
        UsageError: it cannot be read.
    """
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; is this the folder of SQuAD {edition.version}?") from error
    except (ValueError, RecursionError) as error:
        raise NotSquad(str(path), f"no JSON: {error}") from error
    entries = document.get("data") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise NotSquad(str(path), 'no object with a list called "data"')
    if not entries:
        raise NotSquad(str(path), "there is no article in it")
    reader = _Reader(path, edition)
    return [reader.article(f"data[{number}]", entry) for number, entry in enumerate(entries)], reader.malformed


class _Malformed(Exception):
    """What is wrong with a part of a file."""


class _Reader:
    """Reads the parts of one file, and notes those that are malformed."""

    def __init__(self, path: Path, edition: Edition) -> None:
        self._path = path
        self._edition = edition
        self._ids: set[str] = set()
        self.malformed: list[MalformedRow] = []

    def article(self, place: str, entry: object) -> Article:
        title = entry.get("title", "") if isinstance(entry, dict) else ""
        parts = self._parts(place, entry, "paragraphs", self._paragraph)
        return Article(title if isinstance(title, str) else "", tuple(parts))

    def _parts(self, place: str, entry: object, name: str, read: Any) -> Iterator[Any]:
        """The parts of a list that are as they should be; the others are noted."""
        try:
            parts = _of_kind(entry, name, list, "a list")
        except _Malformed as problem:
            self._note(place, problem)
            return
        for number, part in enumerate(parts):
            at = f"{place}.{name}[{number}]"
            try:
                yield read(at, part)
            except _Malformed as problem:
                self._note(at, problem)

    def _note(self, place: str, problem: _Malformed) -> None:
        self.malformed.append(MalformedRow(str(self._path), place, str(problem)))

    def _paragraph(self, place: str, entry: object) -> Paragraph:
        passage = _text(entry, "context")
        return Paragraph(passage, tuple(self._parts(place, entry, "qas", lambda at, qa: self._question(passage, qa))))

    def _question(self, passage: str, entry: object) -> Question:
        id, text = _text(entry, "id"), _text(entry, "question")
        if id in self._ids:
            raise _Malformed(f"there was a question {id!r} before")
        answers = tuple(_answer(passage, answer) for answer in _of_kind(entry, "answers", list, "a list"))
        impossible = self._edition.unanswerable and _of_kind(entry, "is_impossible", bool, "true or false")
        if impossible and answers:
            raise _Malformed("it is called impossible, and has answers")
        if not impossible and not answers:
            other = isinstance(entry, dict) and entry.get("is_impossible") is True
            raise _Malformed(
                "it has no answer, as in SQuAD 2.0 alone; is the file of that version?"
                if other
                else "it has no answer, and is not called impossible"
            )
        self._ids.add(id)
        return Question(id, text, answers)


def _answer(passage: str, entry: object) -> Answer:
    text, start = _text(entry, "text"), _of_kind(entry, "answer_start", int, "a number")
    if start < 0 or not passage.startswith(text, start):
        there = passage[max(start, 0) : max(start, 0) + len(text)]
        raise _Malformed(f"the answer {text!r} is not at {start}, where {there!r} is")
    return Answer(text, start)


def _text(entry: object, name: str) -> str:
    text: str = _of_kind(entry, name, str, "a text")
    if not text.strip():
        raise _Malformed(f"its {name!r} is empty")
    return text


def _of_kind(entry: object, name: str, kind: type, wanted: str) -> Any:
    if not isinstance(entry, dict):
        raise _Malformed("it is no object")
    if name not in entry:
        raise _Malformed(f"it has no {name!r}")
    if type(entry[name]) is not kind:
        raise _Malformed(f"its {name!r} is not {wanted}")
    return entry[name]


# -- writing ---------------------------------------------------------------------------------------------------------


def write_squad(path: Path, edition: Edition, articles: Sequence[Article]) -> None:
    """Write articles in SQuAD's layout."""
    data = [
        {
            "title": article.title,
            "paragraphs": [_paragraph_json(paragraph, edition) for paragraph in article.paragraphs],
        }
        for article in articles
    ]
    path.write_text(json.dumps({"version": edition.version, "data": data}) + "\n", encoding="utf-8")


def _paragraph_json(paragraph: Paragraph, edition: Edition) -> dict[str, object]:
    questions = []
    for question in paragraph.questions:
        answers = [{"text": answer.text, "answer_start": answer.start} for answer in question.answers]
        entry: dict[str, object] = {"id": question.id, "question": question.text, "answers": answers}
        questions.append(entry | ({"is_impossible": not answers} if edition.unanswerable else {}))
    return {"context": paragraph.passage, "qas": questions}
