"""Exact match and F1 against definitions written down in another way, and against tf-models-official's."""

from __future__ import annotations

import importlib
import random
import string
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from stagedml.errors import UsageError
from stagedml.ml.squad import EDITIONS, Answer, Edition, Question, questions_of, read_squad
from stagedml.ml.squad_metrics import best_thresholds, evaluate, exact_match, f1, normalized
from stagedml.ml.squad_stories import write_squad_stories

SQUAD11, SQUAD20 = EDITIONS["squad11"], EDITIONS["squad20"]

ADVERSARIAL = (
    "", " ", "the", "The", "a an the", "THE the A", ".", "...", "$", "the.", "a-the-b", "the_end", "theatre",
    "an\u2014the\u2014a", "\u201cThe\u201d", "\u201cThe End\u201d", "end", "The End", "the end.", "end the",
    "U.S.A.", "usa", "u s a", "9,000", "9000", "9 000", "\t the\nend ", "end end", "end end end", "End of the end",
    "a b c d", "d c b a", "a b", "B", "b a a", "\u0130stanbul", "istanbul", "stra\u00dfe", "STRASSE", "caf\u00e9",
    "cafe", "cafe\u0301", "the\u00a0end", "the\u2003end", "\u4e2d\u6587", "\u4e2d \u6587", "a\u0301",
    "theme an anthem", "x" * 500, "-1", "1", "%1", "\ud83d\ude00 the \ud83d\ude00", "an", "A's", "as", "can't",
    "cant", "\ud800", "\u0085the\u001c",
)  # fmt: skip


# -- the definitions once more, word for word, and without the same tools ---------------------------------------------


def words_of(text: str) -> list[str]:
    """Lower, drop punctuation, drop articles that are words of their own, split."""
    kept = "".join(character for character in text.lower() if character not in string.punctuation)
    # A word, to regular expressions, is made of letters, digits, and what counts as such.
    runs: list[str] = []
    for character in kept:
        if runs and runs[-1][-1].isalnum() == character.isalnum():
            runs[-1] += character
        else:
            runs.append(character)
    return "".join(" " if run in ("a", "an", "the") else run for run in runs).split()


def overlap(one: list[str], other: list[str], empty: int) -> Fraction:
    """F1 by taking words away from one list as they are found in the other."""
    if not one or not other:
        return Fraction(empty) if one == other else Fraction(0)
    left = list(other)
    hits = 0
    for word in one:
        if word in left:
            left.remove(word)
            hits += 1
    precision, recall = Fraction(hits, len(one)), Fraction(hits, len(other))
    return 2 * precision * recall / (precision + recall) if hits else Fraction(0)


def by_definition(
    questions: list[Question], predictions: dict[str, str], edition: Edition
) -> tuple[Fraction, Fraction]:
    """Exact match and F1, in percent."""
    exact = shared = Fraction(0)
    for question in questions:
        if question.id not in predictions:
            continue
        said = words_of(predictions[question.id])
        wanted = [words_of(answer.text) for answer in question.answers]
        if edition.unanswerable:
            wanted = [words for words in wanted if words] or [[]]
        exact += any(said == words for words in wanted)
        shared += max(overlap(said, words, int(edition.unanswerable)) for words in wanted)
    return 100 * exact / len(questions), 100 * shared / len(questions)


def drawn_predictions(questions: list[tuple[str, Question]], seed: int, unanswerable: bool) -> dict[str, str]:
    """What a model might say: an answer, some of it or more than it, other texts, odd ones, nothing."""
    generator = random.Random(seed)
    predictions = {}
    for passage, question in questions:
        answer = generator.choice(question.answers or (Answer(passage[:20], 0),))
        start, end = answer.start, answer.end
        kind = generator.randrange(6)
        if kind == 1:
            start, end = max(0, start - generator.randrange(20)), end + generator.randrange(20)
        elif kind == 2:
            start, end = start + generator.randrange(4), end - generator.randrange(4)
        elif kind == 3:
            start = generator.randrange(len(passage))
            end = start + generator.randrange(60)
        text = passage[start:end]
        if kind == 4:
            text = generator.choice((f"the {text}!", text.upper(), text.replace(" ", " a  "), f"\u2018{text}\u2019"))
        elif kind == 5:
            text = generator.choice(ADVERSARIAL)
        if not (kind == 0 and unanswerable and generator.random() < 0.5):
            predictions[question.id] = text
        else:
            predictions[question.id] = ""
    return predictions


def by_official(module: str, questions: list[Question], predictions: dict[str, str], *more: Any) -> dict[str, float]:
    """What tf-models-official's edition of the official evaluation says."""
    official = importlib.import_module(f"official.nlp.tools.{module}")
    entries = [
        {
            "id": question.id,
            "answers": [{"text": answer.text} for answer in question.answers],
        }
        for question in questions
    ]
    found: dict[str, float] = official.evaluate([{"paragraphs": [{"qas": entries}]}], predictions, *more)
    return found


def check_first(questions: list[Question], predictions: dict[str, str]) -> None:
    measured = evaluate(questions, predictions, SQUAD11)
    exact, shared = by_definition(questions, predictions, SQUAD11)
    assert measured == pytest.approx({"exact_match": float(exact), "f1": float(shared)}, abs=1e-9)
    official = by_official("squad_evaluate_v1_1", questions, predictions)
    assert measured["exact_match"] == pytest.approx(100 * official["exact_match"], abs=1e-9)
    assert measured["f1"] == pytest.approx(100 * official["final_f1"], abs=1e-9)


def check_second(questions: list[Question], predictions: dict[str, str]) -> None:
    measured = evaluate(questions, predictions, SQUAD20)
    exact, shared = by_definition(questions, predictions, SQUAD20)
    assert (measured["exact_match"], measured["f1"]) == pytest.approx((float(exact), float(shared)), abs=1e-9)
    generator = random.Random(5)
    odds = {question.id: generator.uniform(0, 1) + 0.5 * (not question.answers) for question in questions}
    official = by_official("squad_evaluate_v2_0", questions, predictions, dict.fromkeys(odds, 0.0))
    for ours, theirs in (("exact_match", "exact"), ("f1", "f1")):
        for group in ("", "HasAns_", "NoAns_"):
            assert measured[group + ours] == pytest.approx(official[group + theirs], abs=1e-9), group + ours
    official = by_official("squad_evaluate_v2_0", questions, predictions, odds)
    best = best_thresholds(questions, predictions, odds, SQUAD20)
    assert best == pytest.approx({name: official[name.replace("best", "final")] for name in best}, abs=1e-9)


@pytest.mark.tensorflow
def test_adversarial_predictions_are_scored_as_the_definitions_say() -> None:
    # Each odd text is predicted where each odd text is the answer, alone and as one of two.
    pairs = [(said, true) for said in ADVERSARIAL for true in ADVERSARIAL]
    questions = [
        Question(str(number), "?", (Answer(true, 0), *((Answer("the end", 0),) if number % 2 else ())))
        for number, (_, true) in enumerate(pairs)
    ]
    predictions = {str(number): said for number, (said, _) in enumerate(pairs)}
    for number, question in enumerate(questions):
        exact, shared = by_definition([question], predictions, SQUAD11)
        measured = evaluate([question], predictions, SQUAD11)
        assert (measured["exact_match"], measured["f1"]) == pytest.approx((float(exact), float(shared))), pairs[number]
    check_first(questions, predictions)
    unanswered = [Question(f"none {number}", "?", ()) for number in range(len(ADVERSARIAL))]
    predictions |= {f"none {number}": said for number, said in enumerate(ADVERSARIAL)}
    check_second([*questions, *unanswered], predictions)


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", EDITIONS)
def test_generated_predictions_are_scored_as_the_definitions_say(tmp_path: Path, name: str) -> None:
    edition = EDITIONS[name]
    write_squad_stories(tmp_path / "squad.json", edition, articles=20, seed=3)
    asked = list(questions_of(read_squad(tmp_path / "squad.json", edition)[0]))
    questions, predictions = [question for _, question in asked], drawn_predictions(asked, 1, edition.unanswerable)
    (check_second if edition.unanswerable else check_first)(questions, predictions)


@pytest.mark.tensorflow
def test_a_thousand_predictions_for_real_questions_are_scored_as_the_definitions_say(shared_data: Path) -> None:
    asked = list(questions_of(read_squad(shared_data / "squad" / "dev-v1.1.json", SQUAD11)[0]))
    asked = random.Random(0).sample(asked, 1000)
    questions, predictions = [question for _, question in asked], drawn_predictions(asked, 2, False)
    check_first(questions, predictions)
    # As the other edition has it, a third of them without an answer.
    questions = [
        Question(question.id, question.text, question.answers * (number % 3 > 0))
        for number, question in enumerate(questions)
    ]
    check_second(questions, drawn_predictions(list(zip([p for p, _ in asked], questions, strict=True)), 4, True))


def test_known_scores() -> None:
    assert normalized("The  U.S.A.,\n a land") == "usa land"
    assert exact_match("the End!", "end") == 1
    assert f1("a big red dog", "the red dog", empty=0.0) == pytest.approx(0.8)
    assert (f1("the", ".", empty=0.0), f1("the", ".", empty=1.0)) == (0, 1)


def test_a_question_that_nothing_is_predicted_for_counts_nothing() -> None:
    questions = [Question("a", "?", (Answer("x", 0),)), Question("b", "?", (Answer("y", 0),))]
    for edition in EDITIONS.values():
        measured = evaluate(questions, {"a": "x"}, edition)
        assert (measured["exact_match"], measured["f1"]) == (50, 50)
    with pytest.raises(UsageError, match="no questions"):
        evaluate([], {}, SQUAD11)


def test_the_best_threshold_gives_what_is_said_of_it_whatever_the_sign_of_the_odds() -> None:
    generator = random.Random(1)
    for shift in (-9.0, 0.0, 9.0):
        questions = [Question(str(n), "?", (Answer("x", 0),) if generator.random() < 0.4 else ()) for n in range(60)]
        predictions = {question.id: generator.choice(("x", "x z", "y")) for question in questions}
        odds = {question.id: shift + generator.gauss(0, 2) for question in questions}
        best = best_thresholds(questions, predictions, odds, SQUAD20)
        for name, metric in (("exact", "exact_match"), ("f1", "f1")):
            # By trying all thresholds that there are.
            reached = {}
            for threshold in (*odds.values(), -1000.0):
                answered = {id: "" if odds[id] > threshold else text for id, text in predictions.items()}
                reached[threshold] = evaluate(questions, answered, SQUAD20)[metric]
            assert best[f"best_{name}"] == pytest.approx(max(reached.values()))
            threshold = best[f"best_{name}_thresh"]
            answered = {id: "" if odds[id] > threshold else text for id, text in predictions.items()}
            assert evaluate(questions, answered, SQUAD20)[metric] == pytest.approx(best[f"best_{name}"])
