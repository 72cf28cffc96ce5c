"""How answers are scored: exact match and F1, as SQuAD's official evaluations define them, in percent.

Rajpurkar et al. 2016, section 6.1; Rajpurkar, Jia and Liang 2018, section 5. Texts are compared after they are lowered
and lose punctuation (ASCII's), the articles "a", "an" and "the", and all but single spaces between words. A question
counts with the best of its answers; one that nothing is predicted for counts 0.

The two editions differ. In 2.0, a question without an answer wants the empty text, answers of which comparing leaves
nothing do not count, and two texts of which it leaves nothing are the same; in 1.1 they share no word, so F1 is 0.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence

from stagedml.errors import UsageError
from stagedml.ml.squad import Edition, Question

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


METRICS = ("exact_match", "f1")
"""What `evaluate` gives of all questions."""


def normalized(text: str) -> str:
    """What of a text is compared."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(predicted: str, true: str) -> float:
    """1 if two texts are the same, else 0."""
    return float(normalized(predicted) == normalized(true))


def f1(predicted: str, true: str, *, empty: float) -> float:
    """The harmonic mean of the shares of words that two texts have in common, counted as often as they occur.

    Args:
        predicted, true: the texts.
        empty: what two texts without any words give.
    """
    said, wanted = normalized(predicted).split(), normalized(true).split()
    if not said and not wanted:
        return empty
    common = (Counter(said) & Counter(wanted)).total()
    return 2 * common / (len(said) + len(wanted)) if common else 0.0


def wanted_texts(question: Question, edition: Edition) -> list[str]:
    """The answers that a prediction is compared with."""
    texts = [answer.text for answer in question.answers]
    if not edition.unanswerable:
        return texts
    return [text for text in texts if normalized(text)] or [""]


def scores(
    questions: Sequence[Question], predictions: Mapping[str, str], edition: Edition
) -> dict[str, tuple[float, float]]:
    """Exact match and F1 of each question, by its id, in [0, 1].

    Args:
        questions: all that there are.
        predictions: the text predicted for each, by id; "" for no answer.
        edition: whose rules.
    """
    found = {}
    for question in questions:
        predicted, wanted = predictions.get(question.id), wanted_texts(question, edition)
        found[question.id] = (0.0, 0.0)
        if predicted is not None:
            overlaps = (f1(predicted, text, empty=float(edition.unanswerable)) for text in wanted)
            found[question.id] = (max(exact_match(predicted, text) for text in wanted), max(overlaps))
    return found


def evaluate(questions: Sequence[Question], predictions: Mapping[str, str], edition: Edition) -> dict[str, float]:
    """`exact_match` and `f1` over some questions, in percent.

    In an edition with unanswerable questions also `HasAns_...` over those with answers and `NoAns_...` over those
    without, where there are such.

    Raises:
        UsageError: there are no questions.
    """
    if not questions:
        raise UsageError("there are no questions to evaluate predictions of")
    found = scores(questions, predictions, edition)
    measured = _means([found[question.id] for question in questions])
    if edition.unanswerable:
        for name, has_answer in (("HasAns", True), ("NoAns", False)):
            if part := [found[question.id] for question in questions if bool(question.answers) == has_answer]:
                measured |= {f"{name}_{metric}": value for metric, value in _means(part).items()}
    return measured


def _means(rows: Sequence[tuple[float, float]]) -> dict[str, float]:
    return {name: 100 * sum(row[place] for row in rows) / len(rows) for place, name in enumerate(("exact_match", "f1"))}


def best_thresholds(
    questions: Sequence[Question], predictions: Mapping[str, str], null_odds: Mapping[str, float], edition: Edition
) -> dict[str, float]:
    """What the best rule of the kind "no answer where the odds are above a threshold" would give, and that threshold.

    Args:
        questions: all that there are.
        predictions: as for `scores`, before such a rule.
        null_odds: by id, how much speaks for there being no answer.
        edition: whose rules.

    Returns:
        `best_exact`, in percent, and `best_exact_thresh`; the same of `f1`. (Where answering nothing is best, the
        official evaluation calls the threshold 0; here it is below all odds, if one of those is not above 0.)
    """
    found = scores(questions, predictions, edition)
    ordered = sorted(questions, key=lambda question: null_odds[question.id])
    answerable = {question.id: bool(question.answers) for question in questions}
    measured: dict[str, float] = {}
    for place, name in enumerate(("exact", "f1")):
        # Begin with no answer anywhere, and go on to answer, first where least speaks against it.
        total = best = float(len(questions) - sum(answerable.values()))
        threshold = min(0.0, math.nextafter(null_odds[ordered[0].id], -math.inf))
        for question in ordered:
            wrong = -1.0 if predictions[question.id] else 0.0
            total += found[question.id][place] if answerable[question.id] else wrong
            if total > best:
                best, threshold = total, null_odds[question.id]
        measured |= {f"best_{name}": 100 * best / len(questions), f"best_{name}_thresh": threshold}
    return measured
