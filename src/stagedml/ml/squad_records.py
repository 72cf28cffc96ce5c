"""From the files of SQuAD to TFRecord files of windows, one a split.

A row is a window of a passage with a question (see `squad_features`): `index`, the number of the question in its split;
`input_ids` and `segment_ids`; `start` and `end`, the places of the first answer; `first`, `own_begin`, `own_end`,
`begins` and `ends`, which say what of the passage is where. Beside each split that is measured stands its text: a file
in SQuAD's layout with the split's questions, in the same order. The bytes of all files follow from the files of SQuAD,
vocabulary and settings, not from the number of workers.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagedml.ml.malformed import NAMED, Malformed
from stagedml.ml.progress import Progress, silent
from stagedml.ml.ragged import Ragged
from stagedml.ml.records import TOKENS, Columns, Encoded, encode_pieces, read_table
from stagedml.ml.squad import Article, Edition, Question, held_out, read_squad, write_squad
from stagedml.ml.squad_features import Recovery, Window, WindowSettings, answer_span, question_windows, recovery
from stagedml.ml.tfrecord import Row, frames_of
from stagedml.ml.tokenizers import BertTokenizer, Located

_PLACES: Columns = {"begins": np.int32, "ends": np.int32}
_SINGLE: Columns = {
    "index": np.int64, "start": np.int32, "end": np.int32, "first": np.int32, "own_begin": np.int32, "own_end": np.int32
}  # fmt: skip


@dataclass
class SplitWindows:
    """What became of the questions of a split.

    Attributes:
        questions: how many there are.
        windows: how many rows they have.
        answers: how many answers come back from the windows exactly, how many within more ("wider"), how many not at
            all ("lost").
        inexact: the first of the questions with others than exact answers, by their ids.
        malformed: of the file; that of train and valid is told of with train.
    """

    questions: int = 0
    windows: int = 0
    answers: Counter[Recovery] = field(default_factory=Counter)
    inexact: list[str] = field(default_factory=list)
    malformed: Malformed = field(default_factory=Malformed)

    def to_json(self) -> dict[str, Any]:
        """As `rows.json` has it."""
        return {
            "questions": self.questions,
            "rows": self.windows,
            "answers": {name: self.answers[name] for name in ("exact", "wider", "lost")},
            "inexact": self.inexact,
            "malformed": self.malformed.count,
            "named": list(self.malformed.texts),
        }


@dataclass(frozen=True)
class EncodedWindows:
    """A file of windows, in memory; see the module and `squad_features.Window`.

    Attributes:
        index, start, end, first, own_begin, own_end: (rows,).
        input_ids, segment_ids: a row as long as its text.
        begins, ends: a row as long as its window of the passage.
    """

    index: NDArray[np.int64]
    input_ids: Ragged
    segment_ids: Ragged
    start: NDArray[np.int32]
    end: NDArray[np.int32]
    first: NDArray[np.int32]
    own_begin: NDArray[np.int32]
    own_end: NDArray[np.int32]
    begins: Ragged
    ends: Ragged

    def __len__(self) -> int:
        return len(self.index)


def tokenize_squad(
    edition: Edition,
    train: Path,
    dev: Path,
    splits: Mapping[str, Path],
    texts: Path,
    tokenizer: BertTokenizer,
    *,
    settings: WindowSettings,
    allow_malformed: int = 0,
    workers: int = 1,
    progress: Progress = silent,
) -> dict[str, SplitWindows]:
    """Tokenize an edition of SQuAD.

    Args:
        edition: from `squad.EDITIONS`.
        train, dev: its files.
        splits: where to write train, valid and test.
        texts: a folder to make, for `valid.json` and `test.json`.
        tokenizer: of the model that will read the rows.
        settings: how passages are cut.
        allow_malformed: so many malformed questions of a file are no error.
        workers: processes that tokenize; no part of the result.
        progress: told now and then.

    Returns:
        What became of the questions, by split.

    Raises:
        MalformedRows: there are more of them.
        UsageError: a file is absent, unreadable, something else, or has too few articles.
    """
    texts.mkdir()
    found = {split: SplitWindows() for split in ("train", "valid", "test")}
    published = _read(train, edition, found["train"], allow_malformed)
    kept = held_out(published)
    articles = {
        "train": [article for number, article in enumerate(published) if number not in kept],
        "valid": [published[number] for number in sorted(kept)],
        "test": _read(dev, edition, found["test"], allow_malformed),
    }
    for split in ("valid", "test"):
        write_squad(texts / f"{split}.json", edition, articles[split])
    encode = functools.partial(encode_article, tokenizer, settings)
    with closing(encode_pieces(_pieces(articles), encode, workers=workers)) as encoded:
        for split, part in groupby(encoded, key=lambda pair: pair[0].split):
            total = sum(article.questions for article in articles[split])
            told = functools.partial(progress, f"tokenize {split}", total=total, unit="questions")
            _write(splits[split], part, found[split], told)
    return found


def _read(path: Path, edition: Edition, found: SplitWindows, allow_malformed: int) -> list[Article]:
    articles, malformed = read_squad(path, edition)
    found.malformed.note(malformed)
    found.malformed.check(allow_malformed)
    return articles


@dataclass(frozen=True)
class SplitArticle:
    """An article of a split, and the number of its first question."""

    split: str
    first: int
    article: Article


def _pieces(articles: Mapping[str, list[Article]]) -> Iterator[SplitArticle]:
    for split, part in articles.items():
        first = 0
        for article in part:
            yield SplitArticle(split, first, article)
            first += article.questions


def _write(
    path: Path, part: Iterable[tuple[SplitArticle, Encoded]], found: SplitWindows, told: Callable[..., None]
) -> None:
    with path.open("wb") as file:
        for piece, encoded in part:
            file.write(encoded.frames)
            found.questions += piece.article.questions
            found.windows += encoded.rows
            for id, recoveries in encoded.remarks:
                found.answers.update(recoveries)
                if set(recoveries) - {"exact"}:
                    found.inexact += [id][: NAMED - len(found.inexact)]
            told(done=found.questions)


def encode_article(tokenizer: BertTokenizer, settings: WindowSettings, piece: SplitArticle) -> Encoded:
    """Tokenize an article; the remarks are the ids of its questions, each with what becomes of its answers."""
    rows: list[Row] = []
    remarks: list[tuple[str, list[Recovery]]] = []
    index = piece.first
    for paragraph in piece.article.paragraphs:
        passage = tokenizer.locate(paragraph.passage)
        for question in paragraph.questions:
            windows = question_windows(tokenizer, passage, tokenizer.ids(question.text), settings)
            rows += [_row(index, window, passage, question) for window in windows]
            recoveries = [recovery(paragraph.passage, passage, answer, windows) for answer in question.answers]
            remarks.append((question.id, recoveries))
            index += 1
    return Encoded(len(rows), frames_of(rows), remarks)


def _row(index: int, window: Window, passage: Located, question: Question) -> Row:
    label = window.label(answer_span(passage, question.answers[0])) if question.answers else None
    start, end = label or (0, 0)
    return {
        "index": (index,),
        "input_ids": window.input_ids,
        "segment_ids": window.segment_ids,
        "start": (start,),
        "end": (end,),
        "first": (window.first,),
        "own_begin": (window.own_begin,),
        "own_end": (window.own_end,),
        "begins": window.begins,
        "ends": window.ends,
    }


def read_windows(path: Path) -> EncodedWindows:
    """Read a file of windows.

    Raises:
        DamagedRecords: the file is damaged, or a row lacks a feature.
    """
    table = read_table(path, {**TOKENS, **_PLACES}, _SINGLE)
    columns: dict[str, Any] = {name: column.values if name in _SINGLE else column for name, column in table.items()}
    return EncodedWindows(**columns)
