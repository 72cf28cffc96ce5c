"""Pre-training: what is hidden and how, that it learns, that it repeats, and that its result is a pretrained model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from stagedml.errors import UsageError
from stagedml.ml.storyteller import write_stories
from stagedml.ml.tokenizers import BertTokenizer
from stagedml.ml.vocabulary import build_vocabulary

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with corpus.txt and vocab.txt."""
    folder = tmp_path_factory.mktemp("text")
    write_stories(folder / "corpus.txt", documents=150, seed=0)
    build_vocabulary(folder / "corpus.txt", folder / "vocab.txt", size=1000, lower_case=True)
    return folder


def _pretrain(
    text: Path, output: Path, checkpoints: Path | None = None, stop_at: int | None = None
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
        corpus=text / "corpus.txt",
        vocab=text / "vocab.txt",
        lower_case=True,
        training=TrainSettings(OptimizerSettings(1e-2), epochs=3),
        settings=PretrainSettings(hidden_size=32, num_hidden_layers=1, intermediate_size=32, length_step=64),
        seed=0,
        output=output,
        log_dir=output.with_suffix(".log"),
        progress=progress,
        checkpoints=Checkpoints(checkpoints, every_steps=5) if checkpoints else None,
    )
    assert results == json.loads((output / "metrics.json").read_text())
    return told


@pytest.fixture(scope="module")
def model(text: Path) -> Path:
    """A folder with what pre-training wrote."""
    assert _pretrain(text, text / "model")[-1] == ("pretrain", 54, 54, "steps")
    assert list((text / "model.log" / "pretrain").iterdir())
    return text / "model"


def test_pretraining_lowers_the_loss_on_documents_that_it_did_not_see(model: Path) -> None:
    protocol = json.loads((model / "protocol.json").read_text())
    assert [step["operation"] for step in protocol] == ["train", "evaluate"] * 3
    losses = [step["loss"] for step in protocol if step["operation"] == "evaluate"]
    assert losses == sorted(losses, reverse=True)
    # Knowing nothing, each of some 200 word pieces is as good as another: 5.3.
    assert losses[-1] < 4.3
    metrics = json.loads((model / "metrics.json").read_text())
    assert metrics["eval_loss"] == losses[-1]
    assert 0.15 < metrics["eval_accuracy"] < 1


def test_pretraining_repeats_byte_for_byte(text: Path, model: Path, tmp_path: Path) -> None:
    _pretrain(text, tmp_path / "again")
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


def test_an_interrupted_pretraining_ends_in_the_same_bytes(text: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _pretrain(text, tmp_path / "stopped", tmp_path / "checkpoints", stop_at=25)
    told = _pretrain(text, tmp_path / "resumed", tmp_path / "checkpoints")
    assert told[0] == ("pretrain", 23, 54, "steps")  # five after the end of the first epoch
    for path in model.iterdir():
        assert (tmp_path / "resumed" / path.name).read_bytes() == path.read_bytes(), path.name


def test_what_comes_out_is_a_pretrained_model_with_its_head(text: Path, model: Path) -> None:
    from stagedml.ml.models.bert.checkpoint import load_encoder, read_checkpoint
    from stagedml.ml.models.bert.config import read_bert_config
    from stagedml.ml.models.bert.encoder import build_encoder

    config = read_bert_config(model / "bert_config.json")
    assert (model / "vocab.txt").read_bytes() == (text / "vocab.txt").read_bytes()
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


def test_next_sentences_are_learned_beside_hidden_words(text: Path, tmp_path: Path) -> None:
    from stagedml.ml.models.bert.checkpoint import read_checkpoint
    from stagedml.ml.models.bert.pretraining import PretrainSettings, pretrain
    from stagedml.ml.train.loop import TrainSettings
    from stagedml.ml.train.optimizer import OptimizerSettings

    # Each document says one of three words again and again: what follows is easy to tell from most that does not.
    words = [word for word in (text / "vocab.txt").read_text().split() if word.isalpha()][:3]
    documents = [f"{word} {word} {word}\n" * 8 for word in words * 80]
    (tmp_path / "corpus.txt").write_text("\n".join(documents))
    results = pretrain(
        corpus=tmp_path / "corpus.txt",
        vocab=text / "vocab.txt",
        lower_case=True,
        training=TrainSettings(OptimizerSettings(1e-2), epochs=6),
        settings=PretrainSettings(
            hidden_size=32,
            num_hidden_layers=2,
            intermediate_size=32,
            length_step=64,
            random_next_share=0.5,
            dropout=0.0,
            initializer_range=0.1,
        ),
        seed=0,
        output=tmp_path,
    )
    assert results == json.loads((tmp_path / "metrics.json").read_text())
    assert results["eval_next_sentence_loss"] < 0.6  # chance: 0.69
    assert results["eval_next_sentence_accuracy"] > 0.7
    arrays = read_checkpoint(tmp_path / "bert_model.ckpt")
    assert arrays["cls/seq_relationship/output_weights"].shape == (2, 32)
    assert arrays["cls/seq_relationship/output_bias"].shape == (2,)


def test_a_second_segment_is_from_another_document_just_where_the_row_says_so(text: Path, tmp_path: Path) -> None:
    from stagedml.ml.models.bert.pretraining import PretrainSettings, read_rows

    # Each document has a word of its own, three times: the last sentence has no second half but one from elsewhere.
    vocab = BertTokenizer(text / "vocab.txt", lower_case=True)
    words = [word for word in (text / "vocab.txt").read_text().split() if word.isalpha()][:60]
    (tmp_path / "corpus.txt").write_text("\n".join(f"{word}\n{word}\n{word}\n" for word in words))
    settings = PretrainSettings(random_next_share=0.5)
    training, held_out = read_rows(tmp_path / "corpus.txt", vocab, settings, seed=3)
    assert (len(training), len(held_out)) == (2 * 57, 2 * 3)
    for part in (training, held_out):
        firsts, seconds = ([row.encoded.input_ids[place] for row in part] for place in (1, 3))
        assert [row.random_next for row in part] == [a != b for a, b in zip(firsts, seconds, strict=True)]
        assert all(row.random_next for row in part[1::2])
        assert set(seconds) <= set(firsts)  # what is held out never gets into training
    assert 15 < sum(row.random_next for row in training[::2]) < 42

    plain, _ = read_rows(tmp_path / "corpus.txt", vocab, PretrainSettings(), seed=3)
    assert not any(row.random_next for row in plain)
    assert {len(row.encoded.input_ids) for row in plain} == {5, 3}


@pytest.mark.parametrize("shares", [(0.8, 0.1), (0.5, 0.25), (0.0, 0.0), (0.4, 0.6)])
def test_word_pieces_are_hidden_by_the_rule_of_the_paper(text: Path, shares: tuple[float, float]) -> None:
    from stagedml.ml.models.bert.pretraining import Masking, PretrainSettings

    tokenizer = BertTokenizer(text / "vocab.txt", lower_case=True)
    generator = np.random.default_rng(0)
    rows, length = 400, 64
    lengths = generator.integers(23, length + 1, rows)
    mask = (np.arange(length) < lengths[:, None]).astype(np.int32)
    ids = generator.integers(5, tokenizer.vocab_size, (rows, length), dtype=np.int32) * mask
    ids[:, 0] = tokenizer.id_of("[CLS]")
    ids[:, 20] = tokenizer.id_of("[SEP]")
    batch = {"input_ids": ids, "input_mask": mask, "segment_ids": np.zeros_like(ids)}
    settings = PretrainSettings(mask_share=0.15, mask_token_share=shares[0], random_token_share=shares[1])
    masked = Masking(tokenizer, settings).apply(batch, np.random.default_rng(1))

    chosen = masked["weights"] == 1
    np.testing.assert_array_equal(chosen.sum(axis=1), np.rint((lengths - 2) * 0.15))
    row, column = np.nonzero(chosen)
    place = masked["positions"][row, column]
    np.testing.assert_array_equal(masked["labels"][row, column], ids[row, place])
    assert not np.isin(ids[row, place], [0, 1, 2, 3, 4]).any()
    assert len(set(zip(row.tolist(), place.tolist(), strict=True))) == len(row)
    untouched = np.ones_like(ids, dtype=bool)
    untouched[row, place] = False
    np.testing.assert_array_equal(masked["input_ids"][untouched], ids[untouched])
    shown = masked["input_ids"][row, place]
    hidden, kept = shown == tokenizer.id_of("[MASK]"), shown == ids[row, place]
    # 2,500 choices: three standard errors; a random piece is the true one now and then.
    assert hidden.mean() == pytest.approx(shares[0], abs=0.03)
    assert kept.mean() == pytest.approx(1 - sum(shares), abs=0.03)
    assert not np.isin(shown[~hidden], [0, 1, 2, 3]).any()


def test_each_epoch_hides_other_pieces_the_same_ones_each_time(text: Path) -> None:
    from stagedml.ml.models.bert.pretraining import MaskedBatches, Masking, PretrainSettings
    from stagedml.ml.train.batching import SortedBatches

    tokenizer = BertTokenizer(text / "vocab.txt", lower_case=True)
    row = np.array(tokenizer.encode(tokenizer.ids("the old sailor praised the king ."), None, 32).input_ids)
    columns = {"input_ids": [row] * 20, "input_mask": [np.ones_like(row)] * 20, "segment_ids": [row * 0] * 20}
    first, again, another_epoch, another_seed = (
        np.concatenate(
            [
                batch["positions"]
                for batch in MaskedBatches(
                    SortedBatches(columns, {}, batch_size=8), Masking(tokenizer, PretrainSettings()), seed=seed
                ).epoch(epoch)
            ]
        )
        for seed, epoch in ((3, 0), (3, 0), (3, 1), (4, 0))
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, another_epoch)
    assert not np.array_equal(first, another_seed)


def test_a_text_without_documents_and_a_share_out_of_range_are_refused(text: Path, tmp_path: Path) -> None:
    from stagedml.ml.models.bert.pretraining import PretrainSettings, TooFewDocuments, pretrain
    from stagedml.ml.train.loop import TrainSettings
    from stagedml.ml.train.optimizer import OptimizerSettings

    (tmp_path / "one.txt").write_text("the king .\nthe monarch .\n\n\n")
    with pytest.raises(TooFewDocuments, match="1 documents, where 2 are needed"):
        pretrain(
            corpus=tmp_path / "one.txt",
            vocab=text / "vocab.txt",
            lower_case=True,
            training=TrainSettings(OptimizerSettings(1e-2)),
            settings=PretrainSettings(),
            seed=0,
            output=tmp_path,
        )
    with pytest.raises(UsageError, match=r"mask_share is 0, outside .* segment_sentences is 0"):
        PretrainSettings(mask_share=0, segment_sentences=0)
    with pytest.raises(UsageError, match=r"mask_token_share and random_token_share .* random_next_share is 1"):
        PretrainSettings(mask_token_share=0.8, random_token_share=0.3, random_next_share=1)
