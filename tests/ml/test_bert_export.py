"""SavedModels: they read plain sentences, without any of us, and answer as the model that was fine-tuned."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml.test_tokenizers import ODD_TEXTS
from ml.toy_bert import CONFIG, VOCAB, even_arrays

pytestmark = pytest.mark.tensorflow

MAX_LENGTH = 12
FIRST = [text for text in ODD_TEXTS if text.isprintable()] + ["abc de", "a " * 40, ""]
SECOND = [*reversed(FIRST[1:]), "b " * 40]

# What a user without StagedML writes, sent to a Python that must not find StagedML.
CLIENT = """
import json, sys
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1])
texts = {name: tf.constant(text) for name, text in json.load(sys.stdin).items()}
answers = {name: tensor.numpy().tolist() for name, tensor in model.signatures["serving_default"](**texts).items()}
loaded = {name.partition(".")[0] for name in sys.modules}
print(json.dumps({"answers": answers, "loaded": sorted(loaded & {"stagedml", "official", "tensorflow_text"})}))
"""


def write_model(folder: Path, classes: int) -> dict[str, Any]:
    """A fine-tuned classifier, and what there is to say of it."""
    from stagedml.ml.models.bert.checkpoint import write_checkpoint
    from stagedml.ml.models.bert.config import write_bert_config

    write_bert_config(folder / "bert_config.json", CONFIG)
    write_checkpoint(folder / "model.ckpt", even_arrays(CONFIG, classes))
    (folder / "vocab.txt").write_bytes(VOCAB)
    return {
        "bert_config": folder / "bert_config.json",
        "checkpoint": folder / "model.ckpt",
        "vocab": folder / "vocab.txt",
        "lower_case": True,
        "max_length": MAX_LENGTH,
    }


def evaluated(folder: Path, second: list[str] | None) -> Any:
    """The logits of the evaluation: through records, in batches of rows of about the same length."""
    from stagedml.ml.models.bert.classifier import load_classifier
    from stagedml.ml.records import TextExample, read_examples, write_examples
    from stagedml.ml.tokenizers import BertTokenizer

    rows = [TextExample(number, text, second[number] if second else None, 0) for number, text in enumerate(FIRST)]
    tokenizer = BertTokenizer(folder / "vocab.txt", lower_case=True)
    write_examples(folder / "rows.tfrecord", rows, tokenizer, max_length=MAX_LENGTH)
    classifier = load_classifier(folder / "bert_config.json", folder / "model.ckpt")
    return classifier.predict(read_examples(folder / "rows.tfrecord"))


def asked(saved_model: Path, **texts: list[str]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-I", "-c", CLIENT, saved_model], input=json.dumps(texts), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert said["loaded"] == []
    return {name: np.array(numbers) for name, numbers in said["answers"].items()}


@pytest.fixture(scope="module")
def for_pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with the SavedModel `exported`, and what else was asked for."""
    from stagedml.ml.models.bert.export import write_saved_model

    folder = tmp_path_factory.mktemp("for_pairs")
    described = write_model(folder, classes=3)
    write_saved_model(folder / "exported", pairs=True, **described)
    return folder, described


def test_pairs_of_sentences_get_the_evaluations_probabilities(for_pairs: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = for_pairs
    answers = asked(folder / "exported", first=FIRST, second=SECOND)
    logits = evaluated(folder, SECOND).astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.ptp(shares[:, 0]) > 0.01  # a thousand times what is allowed for below: the texts are told apart
    assert set(answers) == {"logits", "probabilities"}
    np.testing.assert_allclose(answers["probabilities"], shares, atol=1e-5, rtol=0)
    np.testing.assert_allclose(answers["logits"], logits, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_the_same_model_gives_the_same_bytes(for_pairs: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    from stagedml.ml.models.bert.export import write_saved_model

    folder, described = for_pairs
    write_saved_model(tmp_path / "again", pairs=True, **described)
    once, again = (
        {path.name: path.read_bytes() for path in saved.rglob("*") if path.is_file()}
        for saved in (folder / "exported", tmp_path / "again")
    )
    assert sorted(once) == ["saved_model.pb", "variables.data-00000-of-00001", "variables.index"]
    assert once == again


@pytest.mark.slow
def test_single_sentences_get_the_evaluations_score(tmp_path: Path) -> None:
    from stagedml.ml.models.bert.export import write_saved_model

    write_saved_model(tmp_path / "saved_model", pairs=False, **write_model(tmp_path, classes=1))
    answers = asked(tmp_path / "saved_model", first=FIRST)
    assert set(answers) == {"score"}
    np.testing.assert_allclose(answers["score"], evaluated(tmp_path, None)[:, 0], atol=1e-5, rtol=0)


def test_a_vocabulary_or_length_of_another_model_is_refused(tmp_path: Path) -> None:
    from stagedml.ml.models.bert.config import write_bert_config
    from stagedml.ml.models.bert.export import TextsDoNotFit, write_saved_model

    described = write_model(tmp_path, classes=2) | {"max_length": 17}
    write_bert_config(tmp_path / "bert_config.json", replace(CONFIG, vocab_size=39))
    with pytest.raises(TextsDoNotFit) as caught:
        write_saved_model(tmp_path / "saved_model", pairs=True, **described)
    text = str(pickle.loads(pickle.dumps(caught.value)))
    assert (
        "the number of word pieces in the vocabulary is 40, above 39; max_length is 17, above 16; export with" in text
    )


def test_what_a_process_that_fails_says_last_is_told(tmp_path: Path) -> None:
    from stagedml.ml.models.bert.checkpoint import write_checkpoint
    from stagedml.ml.models.bert.export import NotSaved, write_saved_model

    described = write_model(tmp_path, classes=2)
    write_checkpoint(tmp_path / "model.ckpt", {"output_bias": np.zeros(2, np.float32)})
    with pytest.raises(NotSaved, match=r"(?s)saved_model was not written.*missing: output_weights"):
        write_saved_model(tmp_path / "saved_model", pairs=True, **described)
