"""Pre-training: that it learns, repeats and goes on, and that its result is a pretrained model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from stagedml.errors import UsageError
from stagedml.ml.pretrain_records import RowSettings, shard_path, write_pretrain_records
from stagedml.ml.storyteller import write_stories
from stagedml.ml.tokenizers import BertTokenizer
from stagedml.ml.vocabulary import build_vocabulary

if TYPE_CHECKING:
    from stagedml.ml.models.bert.pretraining import PretrainRows, Start

pytestmark = pytest.mark.tensorflow

SHAPE = {"hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 32, "length_step": 64}


def rows_of(corpus: Path, vocab: Path, folder: Path, settings: RowSettings) -> PretrainRows:
    """Make rows of a text."""
    from stagedml.ml.models.bert.pretraining import PretrainRows

    folder.mkdir()
    tokenizer = BertTokenizer(vocab, lower_case=True)
    written = write_pretrain_records(corpus, folder / "train", folder / "valid", tokenizer, settings, seed=0)
    shards = [(count, shard_path(folder / "train", number)) for number, count in enumerate(written.train)]
    return PretrainRows(shards, folder / "valid", vocab)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> PretrainRows:
    """Rows of a few stories, without next sentences."""
    folder = tmp_path_factory.mktemp("text")
    write_stories(folder / "corpus.txt", documents=150, seed=0)
    build_vocabulary(folder / "corpus.txt", folder / "vocab.txt", size=1000, lower_case=True)
    settings = RowSettings(row_sentences=2, short_share=0, random_next_share=0, dupe_factor=1)
    return rows_of(folder / "corpus.txt", folder / "vocab.txt", folder / "rows", settings)


def _pretrain(
    rows: PretrainRows,
    output: Path,
    checkpoints: Path | None = None,
    stop_at: int | None = None,
    start: Start | None = None,
    epochs: int = 3,
    **settings: Any,
) -> list[tuple[str, int, int | None, str]]:
    """Pre-train a tiny model for a few seconds; what was told of its progress."""
    from stagedml.ml.models.bert.pretraining import PretrainSettings, pretrain
    from stagedml.ml.train.loop import TrainSettings
    from stagedml.ml.train.optimizer import OptimizerSettings
    from stagedml.ml.train.resume import Checkpoints

    output.mkdir()
    told: list[tuple[str, int, int | None, str]] = []

    def progress(label: str, done: int, total: int | None, unit: str, note: str = "") -> None:
        told.append((label, done, total, unit))
        if done == stop_at:
            raise KeyboardInterrupt

    results = pretrain(
        rows,
        training=TrainSettings(OptimizerSettings(1e-2), epochs=epochs),
        settings=PretrainSettings(**{**SHAPE, **settings}),
        seed=0,
        output=output,
        start=start,
        log_dir=output.with_suffix(".log"),
        progress=progress,
        checkpoints=Checkpoints(checkpoints, every_steps=5) if checkpoints else None,
    )
    assert results == json.loads((output / "metrics.json").read_text())
    return told


def start_of(folder: Path) -> Start:
    """The pretrained model in a folder, to go on from."""
    from stagedml.ml.models.bert.pretraining import Start

    return Start(folder / "bert_config.json", folder / "vocab.txt", folder / "bert_model.ckpt")


@pytest.fixture(scope="module")
def model(rows: PretrainRows, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what pre-training wrote."""
    output = tmp_path_factory.mktemp("trained") / "model"
    assert _pretrain(rows, output)[-1] == ("pretrain", 54, 54, "steps")
    assert {path.name for path in output.with_suffix(".log").iterdir()} == {"pretrain", "valid"}
    return output


def test_pretraining_lowers_the_loss_on_documents_that_it_did_not_see(model: Path) -> None:
    protocol = json.loads((model / "protocol.json").read_text())
    assert [step["operation"] for step in protocol] == ["train", "evaluate"] * 3 + ["keep"]
    losses = [step["loss"] for step in protocol if step["operation"] == "evaluate"]
    assert losses == sorted(losses, reverse=True)
    # Knowing nothing, each of some 200 word pieces is as good as another: 5.3.
    assert losses[-1] < 4.3
    metrics = json.loads((model / "metrics.json").read_text())
    assert metrics["eval_loss"] == losses[-1]
    assert 0.15 < metrics["eval_accuracy"] < 1


def test_pretraining_repeats_byte_for_byte(rows: PretrainRows, model: Path, tmp_path: Path) -> None:
    _pretrain(rows, tmp_path / "again")
    names = sorted(path.name for path in model.iterdir())
    assert names == [
        "bert_config.json",
        "bert_model.ckpt.data-00000-of-00001",
        "bert_model.ckpt.index",
        "metrics.json",
        "protocol.json",
        "vocab.txt",
    ]
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (model / name).read_bytes(), name


def test_an_interrupted_pretraining_ends_in_the_same_bytes(rows: PretrainRows, model: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _pretrain(rows, tmp_path / "stopped", tmp_path / "checkpoints", stop_at=25)
    told = _pretrain(rows, tmp_path / "resumed", tmp_path / "checkpoints")
    assert told[0] == ("pretrain", 23, 54, "steps")  # five after the end of the first epoch
    for path in model.iterdir():
        assert (tmp_path / "resumed" / path.name).read_bytes() == path.read_bytes(), path.name


def test_what_comes_out_is_a_pretrained_model_with_its_head(rows: PretrainRows, model: Path) -> None:
    from stagedml.ml.models.bert.checkpoint import load_encoder, read_checkpoint
    from stagedml.ml.models.bert.config import read_bert_config
    from stagedml.ml.models.bert.encoder import build_encoder

    config = read_bert_config(model / "bert_config.json")
    assert (model / "vocab.txt").read_bytes() == rows.vocab.read_bytes()
    arrays = read_checkpoint(model / "bert_model.ckpt")
    load_encoder(build_encoder(config), config, arrays)
    assert {name: array.shape for name, array in arrays.items() if name.startswith("cls/")} == {
        "cls/predictions/transform/dense/kernel": (32, 32),
        "cls/predictions/transform/dense/bias": (32,),
        "cls/predictions/transform/LayerNorm/gamma": (32,),
        "cls/predictions/transform/LayerNorm/beta": (32,),
        "cls/predictions/output_bias": (config.vocab_size,),
    }
    assert np.abs(arrays["cls/predictions/output_bias"]).max() > 0


def test_next_sentences_are_learned_beside_hidden_words(rows: PretrainRows, tmp_path: Path) -> None:
    from stagedml.ml.models.bert.checkpoint import read_checkpoint

    # Each document says one of three words again and again: what follows is easy to tell from most that does not.
    words = [word for word in rows.vocab.read_text().split() if word.isalpha()][:3]
    documents = [f"{word} {word} {word}\n" * 8 for word in words * 80]
    (tmp_path / "corpus.txt").write_text("\n".join(documents))
    settings = RowSettings(row_sentences=2, short_share=0, dupe_factor=3)
    pairs = rows_of(tmp_path / "corpus.txt", rows.vocab, tmp_path / "rows", settings)
    output = tmp_path / "model"
    _pretrain(pairs, output, epochs=2, num_hidden_layers=2, dropout=0.0, initializer_range=0.1)
    results = json.loads((output / "metrics.json").read_text())
    assert results["eval_next_sentence_loss"] < 0.6  # chance: 0.69
    assert results["eval_next_sentence_accuracy"] > 0.7
    arrays = read_checkpoint(output / "bert_model.ckpt")
    assert arrays["cls/seq_relationship/output_weights"].shape == (2, 32)
    assert arrays["cls/seq_relationship/output_bias"].shape == (2,)

    # What goes on from it begins with both heads as they were.
    from stagedml.ml.models.bert.config import read_bert_config
    from stagedml.ml.models.bert.pretraining import MaskedLanguageModel

    fresh = MaskedLanguageModel(read_bert_config(output / "bert_config.json"), next_sentence=True)
    fresh.load(arrays)
    for name, array in fresh.arrays().items():
        np.testing.assert_array_equal(array, arrays[name], err_msg=name)


def test_a_training_goes_on_from_the_one_before_with_other_chance(
    rows: PretrainRows, model: Path, tmp_path: Path
) -> None:
    _pretrain(rows, tmp_path / "further", start=start_of(model), epochs=1)
    before, after = (json.loads((folder / "metrics.json").read_text()) for folder in (model, tmp_path / "further"))
    first, *_ = json.loads((model / "protocol.json").read_text())
    assert after["train_loss"] < first["loss"] - 0.5
    assert after["eval_loss"] < before["eval_loss"] + 0.1
    _pretrain(rows, tmp_path / "again", start=start_of(model), epochs=1)
    for path in (tmp_path / "further").iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_model_of_another_shape_or_vocabulary_is_not_gone_on_from(
    rows: PretrainRows, model: Path, tmp_path: Path
) -> None:
    from stagedml.ml.models.bert.pretraining import CannotGoOn

    with pytest.raises(CannotGoOn, match=r"its num_hidden_layers is 1, not 2; give the shape"):
        _pretrain(rows, tmp_path / "deeper", start=start_of(model), num_hidden_layers=2)
    with pytest.raises(CannotGoOn, match="its num_attention_heads is 2, not 4"):
        _pretrain(rows, tmp_path / "heads", start=start_of(model), num_attention_heads=4)
    other = start_of(model)
    (tmp_path / "vocab.txt").write_text("\n".join(reversed(other.vocab.read_text().splitlines())))
    with pytest.raises(CannotGoOn, match="its vocabulary is not that of the rows"):
        _pretrain(rows, tmp_path / "words", start=type(other)(other.bert_config, tmp_path / "vocab.txt", other.ckpt))


def test_rows_that_are_longer_than_the_model_are_refused(rows: PretrainRows, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"give max_position_embeddings at least the max_seq_length of the rows"):
        _pretrain(rows, tmp_path / "short", max_position_embeddings=8)


def test_shards_are_trained_on_one_after_the_other_each_row_once(rows: PretrainRows, tmp_path: Path) -> None:
    from stagedml.ml.models.bert.pretraining import PretrainRows

    # The same rows twice, as two shards: twice as many steps, in one epoch.
    (shard,) = rows.shards
    (tmp_path / "empty").touch()
    double = PretrainRows([shard, (0, tmp_path / "empty"), shard], rows.valid, rows.vocab)
    assert _pretrain(double, tmp_path / "model", epochs=1)[-1] == ("pretrain", 36, 36, "steps")
