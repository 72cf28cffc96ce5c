"""SQuAD made up by the storyteller: passages of a few sentences, and questions where and when what they tell happened.

The questions tell an event in other words than the passage. Where they may have no answer, some ask what is not told.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

from stagedml.ml.squad import Answer, Article, Edition, Paragraph, Question, write_squad
from stagedml.ml.storyteller import draw_questioned

_PARAGRAPHS = 4
_SENTENCES = 8
# Of the questions without an answer, so many are asked: in SQuAD 2.0, a third of all have none.
_UNTOLD_SHARE = 0.15


def write_squad_stories(path: Path, edition: Edition, *, articles: int, seed: int) -> None:
    """Write a file in SQuAD's layout.

    Args:
        path: the file; its folder exists.
        edition: which one; in 2.0 some questions have no answer.
        articles: how many; each has four passages.
        seed: of all that is drawn.
    """
    random = Random(seed)
    drawn = [
        Article(
            f"Story {seed}-{number}",
            tuple(_paragraph(random, edition, f"{seed}-{number}-{place}") for place in range(_PARAGRAPHS)),
        )
        for number in range(articles)
    ]
    write_squad(path, edition, drawn)


def _paragraph(random: Random, edition: Edition, label: str) -> Paragraph:
    passage, asked = draw_questioned(random, _SENTENCES)
    questions: list[Question] = []
    for text, answer in asked:
        if answer is None and (not edition.unanswerable or random.random() >= _UNTOLD_SHARE):
            continue
        answers = () if answer is None else (Answer(passage[slice(*answer)], answer[0]),)
        questions.append(Question(f"{label}-{len(questions)}", text, answers))
    return Paragraph(passage, tuple(questions))
