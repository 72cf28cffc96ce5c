"""From passages and questions to rows that BERT reads: long passages in windows that overlap.

Devlin et al. 2018, BERT, 4.2, and the SQuAD example of its authors. A row is [CLS] question [SEP] window [SEP]. Rules
this module keeps:

- A question loses what it has beyond `max_question_length` word pieces. The windows of a passage begin every `stride`
  word pieces, are as long as there is room, and together hold all of it.
- A word piece of a window knows the characters of the passage that it is made of, so an answer is a slice of the
  passage, letter for letter.
- A word piece that is in several windows belongs to the one in which it has most context: the most word pieces on that
  side of it where there are fewer.
- An answer is labelled in each window that holds all of it: the first and the last word piece that share a character
  with it. Elsewhere, and where there is none, the label is [CLS].
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from stagedml.errors import UsageError
from stagedml.ml.squad import Answer
from stagedml.ml.tokenizers import BertTokenizer, Located

Recovery = Literal["exact", "wider", "lost"]


@dataclass(frozen=True)
class WindowSettings:
    """How passages are cut.

    Attributes:
        max_length: word pieces a row at most, special tokens included.
        stride: word pieces from the beginning of one window to that of the next.
        max_question_length: word pieces of a question at most.
    """

    max_length: int = 384
    stride: int = 128
    max_question_length: int = 64

    def __post_init__(self) -> None:
        problems = []
        if self.max_question_length < 1:
            problems.append(f"the longest question has {self.max_question_length} word pieces, below 1")
        if self.max_length < (least := self.max_question_length + 4):
            problems.append(f"a row has {self.max_length} word pieces at most; with such questions, it takes {least}")
        if self.stride < 1:
            problems.append(f"windows begin every {self.stride} word pieces, below 1")
        if problems:
            raise UsageError("settings of the windows: " + "; ".join(problems))


@dataclass(frozen=True, slots=True)
class Window:
    """A row.

    Attributes:
        input_ids, segment_ids: what BERT reads.
        start: the word piece of the passage that the window begins with.
        first: where in the row that one is.
        own_begin, own_end: the places of the row, from the first to one past the last, that belong to this window.
        begins, ends: of each word piece of the passage that is in the row, the characters that it is made of.
    """

    input_ids: tuple[int, ...]
    segment_ids: tuple[int, ...]
    start: int
    first: int
    own_begin: int
    own_end: int
    begins: tuple[int, ...]
    ends: tuple[int, ...]

    def label(self, span: tuple[int, int] | None) -> tuple[int, int] | None:
        """Where in the row an answer begins and ends, None where the window does not hold all of it.

        Args:
            span: from `answer_span`.
        """
        if span is None or span[0] < self.start or span[1] >= self.start + len(self.begins):
            return None
        return self.first + span[0] - self.start, self.first + span[1] - self.start


def answer_span(passage: Located, answer: Answer) -> tuple[int, int] | None:
    """The first and the last word piece of a passage that share a character with an answer; None if none does."""
    first = bisect_right(passage.ends, answer.start)
    last = bisect_left(passage.begins, answer.end) - 1
    return (first, last) if first <= last else None


def recovery(text: str, passage: Located, answer: Answer, windows: Sequence[Window]) -> Recovery:
    """What the windows of a passage give back of an answer: exactly it, more than it, or, as none holds it, nothing.

    More than the answer comes back where it begins or ends within a word piece: "Japan" in "Japanese".
    """
    span = answer_span(passage, answer)
    if span is None or not any(window.label(span) for window in windows):
        return "lost"
    return "exact" if text[passage.begins[span[0]] : passage.ends[span[1]]] == answer.text else "wider"


def window_starts(pieces: int, room: int, stride: int) -> list[int]:
    """The word pieces that the windows of a passage begin with; an empty passage has one window.

    Args:
        pieces: of the passage.
        room: word pieces a window at most.
        stride: from one beginning to the next; where there is less room, windows follow each other without a gap.
    """
    starts = [0]
    while starts[-1] + room < pieces:
        starts.append(starts[-1] + min(stride, room))
    return starts


def owned(starts: Sequence[int], room: int, pieces: int) -> list[tuple[int, int]]:
    """For each window the word pieces of the passage, from the first to one past the last, that belong to it.

    Context is measured as BERT's authors do it: the word pieces on the side where there are fewer, and a hundredth of
    the window's length. Of windows with equal ones, it is the first.
    """
    place = np.arange(pieces)
    context = np.full((len(starts), pieces), -np.inf)
    for window, start in enumerate(starts):
        end = min(start + room, pieces)
        inside = slice(start, end)
        context[window, inside] = np.minimum(place[inside] - start, end - 1 - place[inside]) + 0.01 * (end - start)
    best = context.argmax(axis=0)
    # Towards a window's end its context shrinks while the next one's grows: what is a window's lies together.
    bounds = np.searchsorted(best, np.arange(len(starts) + 1)).tolist()
    return list(pairwise(bounds))


def question_windows(
    tokenizer: BertTokenizer, passage: Located, question: Sequence[int], settings: WindowSettings
) -> list[Window]:
    """The rows of one question.

    Args:
        tokenizer: whose ids they are.
        passage: its word pieces.
        question: its word pieces.
        settings: how to cut.
    """
    separator = tokenizer.id_of("[SEP]")
    head = (tokenizer.id_of("[CLS]"), *question[: settings.max_question_length], separator)
    room = settings.max_length - len(head) - 1
    starts = window_starts(len(passage.ids), room, settings.stride)
    windows = []
    for start, (own_begin, own_end) in zip(starts, owned(starts, room, len(passage.ids)), strict=True):
        inside, shift = slice(start, start + room), len(head) - start
        ids = passage.ids[inside]
        windows.append(
            Window(
                input_ids=(*head, *ids, separator),
                segment_ids=(0,) * len(head) + (1,) * (len(ids) + 1),
                start=start,
                first=len(head),
                own_begin=own_begin + shift,
                own_end=own_end + shift,
                begins=passage.begins[inside],
                ends=passage.ends[inside],
            )
        )
    return windows
