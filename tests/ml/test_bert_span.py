"""Fine-tuning a small BERT to find answers: it learns, it repeats, and what it writes can be read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml.toy_bert import CONFIG
from stagedml.ml.squad import EDITIONS, Answer, Article, Paragraph, Question, write_squad
from stagedml.ml.squad_features import WindowSettings
from stagedml.ml.squad_records import read_windows, tokenize_squad
from stagedml.ml.tokenizers import SPECIAL_TOKENS, BertTokenizer

pytestmark = pytest.mark.tensorflow

LETTERS = "abcdefghijklmnop"
SHAPE = replace(CONFIG, vocab_size=21, max_position_embeddings=24, num_hidden_layers=2, initializer_range=0.3)
SQUAD20 = EDITIONS["squad20"]
CUT = WindowSettings(max_length=20, stride=7, max_question_length=2)


def articles(count: int, seed: int) -> list[Article]:
    """Passages of letters. The answer is the one a that there is, or there is none."""
    generator = np.random.default_rng(seed)
    made = []
    for number in range(count):
        paragraphs = []
        for place in range(4):
            words = generator.choice(list(LETTERS[2:]), 18).tolist()
            answers: tuple[Answer, ...] = ()
            if place:
                begin = int(generator.integers(0, 17))
                words[begin] = "a"
                answers = (Answer("a", 2 * begin),)
            paragraphs.append(Paragraph(" ".join(words), (Question(f"{seed}-{number}-{place}", "b", answers),)))
        made.append(Article(f"{seed}-{number}", tuple(paragraphs)))
    return made


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretrained toy and three splits for it."""
    from stagedml.ml.models.bert.checkpoint import encoder_arrays, write_pretrained
    from stagedml.ml.models.bert.encoder import build_encoder
    from stagedml.ml.train.determinism import seeded

    folder = tmp_path_factory.mktemp("inputs")
    with seeded(0):
        encoder = build_encoder(SHAPE)
    vocab = "".join(f"{piece}\n" for piece in (*SPECIAL_TOKENS, *LETTERS)).encode()
    write_pretrained(folder, SHAPE, vocab, encoder_arrays(encoder, SHAPE))
    write_squad(folder / "train.json", SQUAD20, articles(60, 1))
    write_squad(folder / "dev.json", SQUAD20, articles(6, 2))
    tokenize_squad(
        SQUAD20,
        folder / "train.json",
        folder / "dev.json",
        {split: folder / f"{split}.tfrecord" for split in ("train", "valid", "test")},
        folder / "texts",
        BertTokenizer(folder / "vocab.txt", lower_case=True),
        settings=CUT,
    )
    return folder


def finetune_toy(inputs: Path, output: Path, *, seed: int = 1, epochs: int = 2, **options: Any) -> dict[str, float]:
    from stagedml.ml.models.bert.finetuning import FinetuneSettings
    from stagedml.ml.models.bert.span import Splits, finetune_span
    from stagedml.ml.squad_answers import AnswerSettings
    from stagedml.ml.train.loop import TrainSettings
    from stagedml.ml.train.optimizer import OptimizerSettings

    output.mkdir(parents=True, exist_ok=True)
    return finetune_span(
        bert_config=inputs / "bert_config.json",
        bert_ckpt=inputs / "bert_model.ckpt",
        splits=Splits(inputs / "train.tfrecord", inputs / "valid.tfrecord", inputs / "test.tfrecord", inputs / "texts"),
        edition=SQUAD20,
        training=TrainSettings(OptimizerSettings(1e-2), epochs=epochs),
        settings=FinetuneSettings(batch_size=16, dropout=0.0),
        answering=AnswerSettings(n_best=5, max_length=3),
        seed=seed,
        output=output,
        **options,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def trained(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trained")
    finetune_toy(inputs, output)
    return output


def test_it_finds_answers_and_sees_where_there_is_none(trained: Path) -> None:
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["test_exact_match"] > 80
    assert metrics["test_HasAns_exact_match"] > 80
    assert metrics["test_NoAns_exact_match"] > 60
    assert {"eval_exact_match", "eval_f1", "eval_loss", "eval_best_f1_thresh", "train_loss"} <= set(metrics)
    protocol = json.loads((trained / "protocol.json").read_text())
    assert [entry["operation"] for entry in protocol] == ["train", "evaluate"] * 2 + ["keep", "evaluate"]
    assert [entry["epoch"] for entry in protocol if "exact_match" in entry] == [1, 2, 2]
    assert protocol[0]["loss"] > protocol[2]["loss"]


def test_what_is_measured_follows_from_the_predictions_and_the_threshold_from_valid(
    inputs: Path, trained: Path
) -> None:
    from stagedml.ml.squad import questions_of, read_squad
    from stagedml.ml.squad_metrics import evaluate

    metrics = json.loads((trained / "metrics.json").read_text())
    for split, prefix in (("valid", "eval"), ("test", "test")):
        folder = trained / "predictions" / split
        predictions, odds, nbest = (
            json.loads((folder / f"{name}.json").read_text())
            for name in ("predictions", "null_odds", "nbest_predictions")
        )
        read, _ = read_squad(inputs / "texts" / f"{split}.json", SQUAD20)
        questions = [question for _, question in questions_of(read)]
        measured = evaluate(questions, predictions, SQUAD20)
        assert {name: metrics[f"{prefix}_{name}"] for name in measured} == measured
        threshold = metrics["eval_best_f1_thresh"]
        for id, text in predictions.items():
            texts = [entry["text"] for entry in nbest[id] if entry["text"]]
            assert text == ("" if odds[id] > threshold else texts[0])


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_and_another_one_others(inputs: Path, trained: Path, tmp_path: Path) -> None:
    finetune_toy(inputs, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(trained)
    finetune_toy(inputs, tmp_path / "other", epochs=1, seed=2)
    weights = "model.ckpt.data-00000-of-00001"
    assert contents(tmp_path / "other")[weights] != contents(trained)[weights]


def test_a_training_that_was_interrupted_ends_in_the_same_bytes(inputs: Path, trained: Path, tmp_path: Path) -> None:
    from stagedml.ml.train.resume import Checkpoints

    class Interrupted(Exception):
        pass

    def interrupt(label: str, done: int, total: int | None, unit: str, note: str = "") -> None:
        if done == 20:
            raise Interrupted

    checkpoints = Checkpoints(tmp_path / "checkpoints", every_steps=6)
    with pytest.raises(Interrupted):
        finetune_toy(inputs, tmp_path / "broken", progress=interrupt, checkpoints=checkpoints)
    told: list[int] = []
    finetune_toy(
        inputs,
        tmp_path / "resumed",
        checkpoints=checkpoints,
        progress=lambda label, done, total, unit, note="": told.append(done),
    )
    assert told[0] == 18
    assert contents(tmp_path / "resumed") == contents(trained)


def test_the_checkpoint_has_google_s_names_and_gives_what_was_measured(inputs: Path, trained: Path) -> None:
    from stagedml.ml.models.bert.checkpoint import encoder_shapes, read_checkpoint
    from stagedml.ml.models.bert.span import load_span_labeler
    from stagedml.ml.squad import read_squad
    from stagedml.ml.squad_answers import AnswerSettings, find_answers

    weights = read_checkpoint(trained / "model.ckpt")
    assert set(weights) == {*encoder_shapes(SHAPE), "cls/squad/output_weights", "cls/squad/output_bias"}
    assert weights["cls/squad/output_weights"].shape == (2, SHAPE.hidden_size)
    labeler = load_span_labeler(inputs / "bert_config.json", trained / "model.ckpt")
    rows = read_windows(inputs / "test.tfrecord")
    read, _ = read_squad(inputs / "texts" / "test.json", SQUAD20)
    answers = find_answers(read, rows, *labeler.predict(rows), AnswerSettings(n_best=5, max_length=3))
    odds = json.loads((trained / "predictions" / "test" / "null_odds.json").read_text())
    assert {answer.id: answer.null_odds for answer in answers} == odds


def test_padding_changes_neither_answers_nor_loss(inputs: Path, trained: Path) -> None:
    from stagedml.ml.framework import tf
    from stagedml.ml.models.bert.span import load_span_labeler

    labeler = load_span_labeler(inputs / "bert_config.json", trained / "model.ckpt")
    rows = read_windows(inputs / "test.tfrecord")
    for close, wide in zip(labeler.predict(rows, length_step=1), labeler.predict(rows, length_step=24), strict=True):
        np.testing.assert_allclose(close.values, wide.values, atol=1e-5)
        assert np.array_equal(close.lengths, rows.input_ids.lengths)

    def batch(padding: int) -> dict[str, Any]:
        columns = {"input_ids": rows.input_ids[0], "segment_ids": rows.segment_ids[0]}
        columns["input_mask"] = np.ones_like(rows.input_ids[0])
        padded = {name: np.pad(column, (0, padding))[None].astype(np.int32) for name, column in columns.items()}
        return {name: tf.constant(column) for name, column in padded.items()}

    tight, loose = (labeler.logits(batch(padding), training=False).numpy() for padding in (0, 4))
    # What padding has counts for nothing in a softmax, and so in the loss.
    np.testing.assert_allclose(tight, loose[:, : tight.shape[1]], atol=1e-5)
    assert loose[:, tight.shape[1] :].max() < -1e8


def test_rows_that_the_model_has_no_place_for_are_refused_before_training(inputs: Path, tmp_path: Path) -> None:
    from stagedml.ml.models.bert.finetuning import NoRecords, RecordsDoNotFit, fitting

    path = inputs / "train.tfrecord"
    with pytest.raises(RecordsDoNotFit, match=r"the longest row is 20, above 8; the highest token is 20, above 9"):
        fitting(path, read_windows(path), replace(SHAPE, max_position_embeddings=8, vocab_size=10))
    empty = tmp_path / "empty.tfrecord"
    empty.write_bytes(b"")
    with pytest.raises(NoRecords, match=r"has no rows: rows\.json beside it says"):
        fitting(empty, read_windows(empty), SHAPE)


def test_a_classifier_s_checkpoint_is_no_span_labeler_s(inputs: Path, trained: Path) -> None:
    from stagedml.ml.models.bert.checkpoint import CheckpointMismatch
    from stagedml.ml.models.bert.span import load_span_labeler

    with pytest.raises(CheckpointMismatch, match="cls/squad/output_weights"):
        load_span_labeler(inputs / "bert_config.json", inputs / "bert_model.ckpt")
