"""From what a model says of the word pieces of windows to answers, and to files as SQuAD's evaluation takes them.

Devlin et al. 2018, BERT, 4.2 and 4.3. A model gives each word piece a logit for being the first of the answer, and one
for being the last. Rules this module keeps:

- A candidate begins at a word piece that belongs to its window (see `squad_features`), ends at or after it in the same
  window, and is no longer than so many word pieces. Its score is the sum of its two logits.
- Of a question, the `n_best` best candidates of all its windows are looked at; those of one text count once. All
  candidates are compared, not only those made of the likeliest beginnings and ends.
- An answer is a slice of its passage.
- Where there may be no answer, [CLS] speaks for that: the score for none is the lowest that [CLS] has in the windows of
  the question, and none is the answer if that exceeds the best candidate's by more than a threshold.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from stagedml.errors import UsageError
from stagedml.ml.ragged import Ragged
from stagedml.ml.squad import Article, questions_of
from stagedml.ml.squad_records import EncodedWindows

PREDICTIONS_FILE = "predictions.json"
NBEST_FILE = "nbest_predictions.json"
NULL_ODDS_FILE = "null_odds.json"


@dataclass(frozen=True)
class AnswerSettings:
    """How answers are found.

    Attributes:
        n_best: how many candidates of a question are looked at.
        max_length: word pieces of an answer at most.
    """

    n_best: int = 20
    max_length: int = 30

    def __post_init__(self) -> None:
        counts = {"n_best": self.n_best, "max_answer_length": self.max_length}
        if problems := [f"{name} is {value}, below 1" for name, value in counts.items() if value < 1]:
            raise UsageError("settings of the answers: " + "; ".join(problems))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A text of the passage, and the logits of its two ends; "" stands for no answer."""

    text: str
    start_logit: float
    end_logit: float

    @property
    def score(self) -> float:
        """How much speaks for it."""
        return self.start_logit + self.end_logit


#: Where a passage has nothing to answer with.
_NOTHING = Candidate("", 0.0, 0.0)


@dataclass(frozen=True)
class Answered:
    """What is found for a question.

    Attributes:
        id: of the question.
        candidates: the best first.
        none: what speaks for no answer.
    """

    id: str
    candidates: tuple[Candidate, ...]
    none: Candidate

    @property
    def best(self) -> Candidate:
        """The best candidate."""
        return self.candidates[0] if self.candidates else _NOTHING

    @property
    def null_odds(self) -> float:
        """By how much the score of no answer exceeds that of the best candidate."""
        return self.none.score - self.best.score

    def text(self, threshold: float | None) -> str:
        """The answer: "" if `null_odds` are above the threshold, of which None is above all."""
        return self.best.text if threshold is None or self.null_odds <= threshold else ""

    def ranked(self, n_best: int, *, unanswerable: bool) -> list[Candidate]:
        """The best candidates, no answer among them where there may be none."""
        if not unanswerable:
            return list(self.candidates) or [_NOTHING]
        return sorted((*self.candidates, self.none), key=lambda candidate: -candidate.score)[:n_best]


def find_answers(
    articles: Iterable[Article], windows: EncodedWindows, starts: Ragged, ends: Ragged, settings: AnswerSettings
) -> Iterator[Answered]:
    """Find the answers to all questions of a split.

    Args:
        articles: with the questions, in the order in which the windows number them.
        windows: of the questions, those of one next to each other.
        starts, ends: the logits; float32, a row as long as that of the window.
        settings: how to find them.

    Raises:
        UsageError: the windows are of other questions.
    """
    row = 0
    for index, (passage, question) in enumerate(questions_of(articles)):
        candidates: list[Candidate] = []
        none: list[Candidate] = []
        while row < len(windows) and windows.index[row] == index:
            first = windows.first[row]
            none.append(Candidate("", float(starts[row][0]), float(ends[row][0])))
            for start, end in _best_spans(windows, row, starts[row], ends[row], settings):
                text = passage[windows.begins[row][start - first] : windows.ends[row][end - first]]
                candidates.append(Candidate(text, float(starts[row][start]), float(ends[row][end])))
            row += 1
        if not none:
            raise UsageError(f"question {question.id} has no window; tokenize the split again")
        best = sorted(candidates, key=lambda candidate: -candidate.score)[: settings.n_best]
        distinct: dict[str, Candidate] = {}
        for candidate in best:
            distinct.setdefault(candidate.text, candidate)
        yield Answered(question.id, tuple(distinct.values()), min(none, key=lambda candidate: candidate.score))
    if row < len(windows):
        raise UsageError(f"{len(windows) - row} windows are of other questions than these; tokenize the split again")


def _best_spans(
    windows: EncodedWindows,
    row: int,
    starts: NDArray[np.float32],
    ends: NDArray[np.float32],
    settings: AnswerSettings,
) -> list[tuple[int, int]]:
    """The first and the last word piece of each of the best candidates of a window, the best first."""
    begin, stop = int(windows.own_begin[row]), int(windows.own_end[row])
    last = int(windows.first[row]) + len(windows.begins[row])
    length = settings.max_length
    beyond = np.full(length, -np.inf)
    lasts = sliding_window_view(np.concatenate([ends[begin:last].astype(np.float64), beyond]), length)
    scores = (starts[begin:stop, None].astype(np.float64) + lasts[: stop - begin]).ravel()
    count = min(settings.n_best, int(np.isfinite(scores).sum()))
    if not count:
        return []
    places = np.flatnonzero(scores >= np.partition(scores, -count)[-count])
    # Of equal scores those that stand first.
    chosen = places[np.argsort(-scores[places], kind="stable")][:count].tolist()
    return [(begin + place // length, begin + place // length + place % length) for place in chosen]


def write_answers(
    folder: Path,
    answers: Sequence[Answered],
    settings: AnswerSettings,
    *,
    unanswerable: bool,
    threshold: float | None = None,
) -> None:
    """Write answers as SQuAD's evaluation and BERT's SQuAD example have them, a question a line.

    `predictions.json` has the text of each question; `nbest_predictions.json` the candidates, best first, each with its
    text, its logits and its share among them; `null_odds.json`, where there may be no answer, its odds.

    Args:
        folder: to make.
        answers: from `find_answers`.
        settings: that they were found with.
        unanswerable: whether there may be no answer.
        threshold: as `Answered.text` takes it.
    """
    folder.mkdir()
    _write_object(folder / PREDICTIONS_FILE, ((answer.id, answer.text(threshold)) for answer in answers))
    _write_object(
        folder / NBEST_FILE,
        ((answer.id, _ranked(answer.ranked(settings.n_best, unanswerable=unanswerable))) for answer in answers),
    )
    if unanswerable:
        _write_object(folder / NULL_ODDS_FILE, ((answer.id, answer.null_odds) for answer in answers))


def _ranked(candidates: Sequence[Candidate]) -> list[dict[str, object]]:
    scores = np.array([candidate.score for candidate in candidates])
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    return [
        {
            "text": candidate.text,
            "probability": share,
            "start_logit": candidate.start_logit,
            "end_logit": candidate.end_logit,
        }
        for candidate, share in zip(candidates, shares.tolist(), strict=True)
    ]


def _write_object(path: Path, entries: Iterable[tuple[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("{")
        for number, (name, value) in enumerate(entries):
            file.write(f"{',' * bool(number)}\n{json.dumps(name)}: {json.dumps(value)}")
        file.write("\n}\n")
