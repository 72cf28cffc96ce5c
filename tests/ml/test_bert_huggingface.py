"""A real pretrained BERT, converted: what it computes is what it computed where it came from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ml.numpy_bert import forward

pytestmark = pytest.mark.tensorflow

REFERENCE = Path(__file__).parent / "reference" / "minilm.json"


@pytest.fixture(scope="module")
def minilm(minilm_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _convert(minilm_files, tmp_path_factory.mktemp("converted"))


def _convert(source: Path, folder: Path) -> Path:
    from stagedml.ml.models.bert.pretrained import convert_pretrained

    convert_pretrained(source, folder)
    return folder


def _batch(cases: list[dict[str, Any]]) -> dict[str, NDArray[np.int64]]:
    """All cases in one batch, padded to the longest."""
    shape = (len(cases), max(len(case["input_ids"]) for case in cases))
    names = ("input_word_ids", "input_mask", "input_type_ids")
    batch: dict[str, NDArray[np.int64]] = {name: np.zeros(shape, dtype=np.int64) for name in names}
    for row, case in enumerate(cases):
        length = len(case["input_ids"])
        batch["input_word_ids"][row, :length] = case["input_ids"]
        batch["input_mask"][row, :length] = 1
        batch["input_type_ids"][row, :length] = case["segment_ids"]
    return batch


def test_minilm_agrees_with_independent_implementations_in_every_layer(minilm: Path) -> None:
    from stagedml.ml.models.bert.checkpoint import load_encoder, read_checkpoint
    from stagedml.ml.models.bert.config import read_bert_config
    from stagedml.ml.models.bert.encoder import build_encoder

    config = read_bert_config(minilm / "bert_config.json")
    assert config.hidden_act == "gelu_exact"
    arrays = read_checkpoint(minilm / "bert_model.ckpt")
    encoder = build_encoder(config)
    load_encoder(encoder, config, arrays)
    reference = json.loads(REFERENCE.read_text())
    cases, dimensions = reference["cases"], reference["dimensions"]
    batch = _batch(cases)
    outputs = encoder(batch, training=False)
    ours = [layer.numpy() for layer in outputs["encoder_outputs"]]
    pooled = outputs["pooled_output"].numpy()
    assert len(ours) == 6

    # The tolerance is the issue's; single precision through six layers is off by about 6e-6.
    mask = batch["input_mask"]
    states, numpy_pooled = forward(
        arrays, batch["input_word_ids"], batch["input_type_ids"], mask, heads=12, activation="gelu_exact"
    )
    for layer, state in zip(ours, states[1:], strict=True):
        np.testing.assert_allclose(layer[mask == 1], state[mask == 1], atol=1e-4, rtol=0)
    np.testing.assert_allclose(pooled, numpy_pooled, atol=1e-4, rtol=0)

    # PyTorch ran each text alone; here they share a batch, so padding is seen not to matter, too.
    for row, case in enumerate(cases):
        for number, hidden in enumerate(case["hidden"]):
            state = states[0] if number == 0 else ours[number - 1]
            np.testing.assert_allclose(state[row][case["positions"]][:, dimensions], hidden, atol=1e-4, rtol=0)
        np.testing.assert_allclose(pooled[row, dimensions], case["pooled"], atol=1e-4, rtol=0)


def test_the_reference_is_of_sentences_that_the_vocabulary_still_splits_alike(minilm: Path) -> None:
    pieces = (minilm / "vocab.txt").read_text(encoding="utf-8").splitlines()
    for case in json.loads(REFERENCE.read_text())["cases"]:
        words = " [SEP] ".join(text for text in case["texts"] if text)
        found = " ".join(pieces[number] for number in case["input_ids"]).replace(" ##", "")
        assert found == f"[CLS] {words} [SEP]"


def test_converting_twice_gives_the_same_bytes(minilm: Path, minilm_files: Path, tmp_path: Path) -> None:
    _convert(minilm_files, tmp_path)
    names = sorted(path.name for path in minilm.iterdir())
    assert names == ["bert_config.json", "bert_model.ckpt.data-00000-of-00001", "bert_model.ckpt.index", "vocab.txt"]
    for name in names:
        assert (tmp_path / name).read_bytes() == (minilm / name).read_bytes()


def test_tensors_of_another_model_are_named(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    from ml.toy_bert import CONFIG
    from stagedml.ml.models.bert.checkpoint import CheckpointMismatch, check_encoder_arrays
    from stagedml.ml.models.bert.huggingface import UnreadableTensors, read_tensors

    path = tmp_path / "model.safetensors"
    kernel = np.arange(6, dtype=np.float32).reshape(2, 3)
    save_file({"bert.encoder.layer.0.output.dense.weight": kernel, "rotary.weight": kernel}, path)
    arrays = read_tensors(path)
    np.testing.assert_array_equal(arrays["bert/encoder/layer_0/output/dense/kernel"], kernel.T)
    with pytest.raises(CheckpointMismatch) as caught:
        check_encoder_arrays(CONFIG, arrays)
    assert "unknown: bert/rotary/kernel" in str(caught.value)
    assert "missing: bert/embeddings/word_embeddings" in str(caught.value)
    assert "bert/encoder/layer_0/output/dense/kernel has shape (3, 2), not (36, 24)" in str(caught.value)
    path.write_bytes(b"no tensors here")
    with pytest.raises(UnreadableTensors, match=r"model\.safetensors"):
        read_tensors(path)
