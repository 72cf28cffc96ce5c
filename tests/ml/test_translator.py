"""The Transformer: what it computes, how it searches, and what a training of it comes to."""

from __future__ import annotations

import functools
import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ml.parallel_texts import multi30k, translation_data
from ml.toy_training import Interrupted, Told
from stagedml.errors import UsageError
from stagedml.ml.parallel_text import read_lines
from stagedml.ml.progress import Progress, silent
from stagedml.ml.ragged import Ragged
from stagedml.ml.subwords import END, Subwords
from stagedml.ml.translation_records import Pairs, PairsDoNotFit

pytestmark = pytest.mark.tensorflow

WORDS = ["red", "blue", "old", "new", "car", "boat", "stops", "turns"]


class FewSubwords(Subwords):
    """So few subwords that all translations of a few of them can be gone through."""

    def __init__(self) -> None:
        """Load nothing."""

    @property
    def size(self) -> int:
        return 5

    def decode(self, ids: Any) -> str:
        row = [int(number) for number in ids]
        return " ".join(map(str, row[: row.index(END)] if END in row else row))


@pytest.fixture(scope="module")
def translator() -> Any:
    from stagedml.ml.models.transformer.translator import Shape, Translator
    from stagedml.ml.train.determinism import seeded

    with seeded(3):
        built = Translator(Shape(1, 16, 2, 32, 0.0), FewSubwords())
    for variable in built.model.trainable_variables:
        variable.assign(variable * 3)  # so that it is sure of something
    return built


def log_probabilities(translator: Any, source: list[int], target: list[int]) -> NDArray[np.float64]:
    """Of each place of a target, (places, subwords): all of what stands before it is looked at anew."""
    return np.asarray(all_log_probabilities(translator, source, [target])[0])


def all_log_probabilities(translator: Any, source: list[int], targets: list[list[int]]) -> NDArray[np.float64]:
    longest = max(map(len, targets))
    padded = np.array([[*target, *[0] * (longest - len(target))] for target in targets], np.int32)
    batch = {"inputs": np.array([source] * len(targets), np.int32), "targets": padded}
    logits = translator.model(batch, training=False).numpy().astype(np.float64)
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True)))


def scored(translator: Any, source: list[int], texts: list[tuple[int, ...]]) -> list[float]:
    """The log-probability of each text, its end counted."""
    targets = [[*ids, END] for ids in texts]
    found = all_log_probabilities(translator, source, targets)
    return [math.fsum(own[range(len(ids)), ids]) for own, ids in zip(found, targets, strict=True)]


def penalised(score: float, length: int, penalty: float) -> float:
    return score / math.pow((5 + length) / 6, penalty)


SOURCES = [[2, 3, END], [4, END], [3, 3, 2, END]]
SHORT = [ids for count in range(5) for ids in itertools.product((0, 2, 3, 4), repeat=count)]


@pytest.mark.parametrize("penalty", [0.0, 2.0])
def test_a_wide_beam_finds_the_best_of_all_short_translations_or_a_better_one(translator: Any, penalty: float) -> None:
    from stagedml.ml.models.transformer.translator import Search

    found = translator.translate_ids(Ragged.of_rows(SOURCES), Search(64, penalty, extra_length=12))
    for source, text in zip(SOURCES, found, strict=True):
        ids = tuple(map(int, text.split()))
        *scores, own = scored(translator, source, [*SHORT, ids])
        best = max(penalised(score, len(each) + 1, penalty) for each, score in zip(SHORT, scores, strict=True))
        assert penalised(own, len(ids) + 1, penalty) >= best - 1e-4


def test_a_beam_of_one_follows_the_likeliest_subword(translator: Any) -> None:
    from stagedml.ml.models.transformer.translator import Search

    found = translator.translate_ids(Ragged.of_rows(SOURCES), Search(1, 0.0, extra_length=12))
    for source, text in zip(SOURCES, found, strict=True):
        ids = [int(number) for number in text.split()]
        likely = log_probabilities(translator, source, [*ids, END])
        assert ids == [max((0, 2, 3, 4), key=own.__getitem__) for own in likely[:-1]]
        assert END in np.argsort(likely[-1])[-2:] or len(ids) == 8 + 12


def test_a_row_s_loss_and_translation_are_its_own_whatever_is_beside_it(translator: Any) -> None:
    rows = [[2, END], [3, 4, 2, 2, 3, 4, 2, 3, 3, END], [4, 4, 4, END]]
    pairs = [Pairs(Ragged.of_rows([row]), Ragged.of_rows([[*row[::-1][1:], END]])) for row in rows]
    together = Pairs(
        *(Ragged.joined([getattr(one, side) for one in pairs], np.int32) for side in ("inputs", "targets"))
    )
    each = [translator.evaluate(pair)["loss"] * len(row) for pair, row in zip(pairs, rows, strict=True)]
    assert translator.evaluate(together)["loss"] == pytest.approx(math.fsum(each) / sum(map(len, rows)), rel=1e-5)
    assert translator.translate_ids(together.inputs) == [translator.translate_ids(pair.inputs)[0] for pair in pairs]


def test_the_loss_spreads_a_share_of_each_target_over_all_subwords_and_leaves_padding_out(translator: Any) -> None:
    targets = np.array([[3, 2, END, 0, 0], [4, 4, 4, 2, END]], np.int32)
    batch = {"inputs": np.array([[2, END, 0], [3, 3, END]], np.int32), "targets": targets}
    smoothed = np.where(np.arange(5) == targets[..., None], 0.9, 0.0) + 0.1 / 5
    losses = [
        -np.sum(smoothed[row, place] * log_probabilities(translator, source, list(targets[row]))[place])
        for row, source in enumerate([[2, END], [3, 3, END]])
        for place in range(5)
        if targets[row, place]
    ]
    assert float(translator.loss(batch, label_smoothing=0.1)) == pytest.approx(np.mean(losses), rel=1e-5)
    assert translator.weigh(batch) == len(losses)


def test_a_translator_comes_back_from_its_files_and_no_other_does(tmp_path: Path) -> None:
    from stagedml.ml.models.transformer.translator import Shape, Translator, WrongWeights, load_translator

    data = translation_data(tmp_path / "data", {"train": (WORDS, WORDS)}, size=300)
    subwords = Subwords.read(data.subwords)
    first, second = (Translator(Shape(2, 8, 2, 16, 0.1), subwords) for _ in range(2))
    assert sorted(first.arrays()) == sorted(second.arrays())
    assert len(first.arrays()) == len(first.model.variables)
    folders = [tmp_path / name for name in ("first", "again", "other")]
    for folder in folders:
        folder.mkdir()
    first.save(folders[0])
    loaded = load_translator(folders[0])
    loaded.save(folders[1])
    names = sorted(path.name for path in folders[0].iterdir())
    assert names == ["model.ckpt.data-00000-of-00001", "model.ckpt.index", "model.json", "subwords.model"]
    assert all((folders[0] / name).read_bytes() == (folders[1] / name).read_bytes() for name in names)
    texts = ["red car", "", "новый 😀"]
    assert loaded.translate(texts) == first.translate(texts)
    assert loaded.translate([]) == []
    Translator(Shape(1, 8, 2, 16, 0.1), subwords).save(folders[2])
    with pytest.raises(WrongWeights, match=r"transformer/decoder/layer_1/.* missing, too many or misshapen"):
        first.load(folders[2] / "model.ckpt")


def test_impossible_shapes_and_searches_are_refused_all_at_once() -> None:
    from stagedml.ml.models.transformer.training import TranslatorSettings
    from stagedml.ml.models.transformer.translator import Search, Shape

    with pytest.raises(UsageError, match=r"layers is 0, below 1; dropout is 1\.0, outside"):
        Shape(layers=0, dropout=1.0)
    with pytest.raises(UsageError, match="hidden_size is 30, odd or no multiple of the 4 heads"):
        Shape(hidden_size=30, heads=4)
    with pytest.raises(UsageError, match="beam_size 0"):
        Search(beam_size=0)
    with pytest.raises(UsageError, match="label_smoothing 1"):
        TranslatorSettings(label_smoothing=1.0)


# -- training --------------------------------------------------------------------------------------------------------


def settings(epochs: int, *, rate: float = 1e-2, average_decay: float | None = None) -> Any:
    from stagedml.ml.train.loop import TrainSettings
    from stagedml.ml.train.optimizer import OptimizerSettings

    optimizer = OptimizerSettings(
        rate, warmup_steps=5, schedule="inverse_sqrt", weight_decay=0.0, betas=(0.9, 0.98), epsilon=1e-9
    )
    return TrainSettings(optimizer, epochs=epochs, accumulate=2, average_decay=average_decay)


def phrases(count: int) -> tuple[list[str], list[str]]:
    every = [" ".join(words) for words in itertools.product(*(WORDS[place : place + 2] for place in (0, 2, 4, 6)))]
    texts = [every[number * 7 % len(every)] for number in range(count)]
    return texts, [" ".join(reversed(text.split())) for text in texts]


@pytest.mark.slow
def test_wherever_it_is_interrupted_a_training_ends_in_the_same_files(tmp_path: Path) -> None:
    from stagedml.ml.models.transformer.training import TranslatorSettings, train_translator
    from stagedml.ml.models.transformer.translator import Search, Shape
    from stagedml.ml.train.resume import Checkpoints

    data = translation_data(tmp_path / "data", {"train": phrases(60), "valid": phrases(9)}, size=300)
    own = TranslatorSettings(shape=Shape(1, 16, 2, 32, 0.3), batch_tokens=32, search=Search(2))

    def run(name: str, progress: Progress = silent, kept: str | None = None) -> dict[str, bytes]:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        train_translator(
            data,
            settings(2, average_decay=0.9),
            own,
            seed=1,
            output=folder,
            progress=progress,
            checkpoints=Checkpoints(tmp_path / kept, every_steps=2) if kept else None,
        )
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    whole = run("whole")
    assert {"metrics.json", "protocol.json", "raw.ckpt.index", "translations/valid.txt"} <= set(whole)
    for end_at in (3, 11):
        with pytest.raises(Interrupted):
            run(f"ended-{end_at}", Told(end_at), f"kept-{end_at}")
        told = Told()
        assert run(f"resumed-{end_at}", told, f"kept-{end_at}") == whole
        assert told.resumed_at >= end_at - 2


def test_a_folder_without_a_translator_and_a_text_that_is_no_list_are_refused(tmp_path: Path) -> None:
    from stagedml.ml.models.transformer.translator import NoTranslator, Shape, Translator, load_translator

    for folder in (tmp_path, "rref:1-2-transformer"):
        with pytest.raises(NoTranslator, match=r"holds no model\.json; give the folder of a trained translator"):
            load_translator(folder)
    data = translation_data(tmp_path / "data", {"train": phrases(2), "valid": phrases(2)}, size=300)
    with pytest.raises(UsageError, match="takes a list of texts"):
        Translator(Shape(1, 8, 1, 8), Subwords.read(data.subwords)).translate("a red car")


def test_data_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    from stagedml.ml.models.transformer.training import SplitMissing, TranslatorSettings, train_translator

    data = translation_data(tmp_path / "data", {"train": phrases(2), "valid": phrases(2)}, size=300)
    train = functools.partial(train_translator, data, settings(1), TranslatorSettings(), seed=0, output=tmp_path)
    data.path("train").write_bytes(b"")
    with pytest.raises(PairsDoNotFit, match="no pairs in it"):
        train()
    data.path("valid").unlink()
    with pytest.raises(SplitMissing, match=r"holds no valid\.tfrecord; write the records of train and valid"):
        train()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_low_precisions_train_and_are_searched_with_in_full(tmp_path: Path, precision: str) -> None:
    from stagedml.ml.models.transformer.training import TranslatorSettings, train_translator
    from stagedml.ml.models.transformer.translator import Search, Shape, load_translator

    data = translation_data(tmp_path / "data", {"train": phrases(60), "valid": phrases(9)}, size=300)
    own = TranslatorSettings(shape=Shape(1, 16, 2, 32), batch_tokens=128, search=Search(2))
    training = replace(settings(1), precision=precision)
    assert train_translator(data, training, own, seed=1, output=tmp_path)["eval_loss"] < 6
    found = load_translator(tmp_path).translate(phrases(9)[0], own.search)
    assert found == read_lines(tmp_path / "translations" / "valid.txt")


@pytest.mark.slow
def test_two_hundred_real_pairs_can_be_learnt_by_heart_and_a_beam_is_no_worse_than_none(
    shared_data: Path, tmp_path: Path
) -> None:
    from stagedml.ml.models.transformer.training import TranslatorSettings, train_translator
    from stagedml.ml.models.transformer.translator import Search, Shape, load_translator
    from stagedml.ml.train.loop import TrainSettings
    from stagedml.ml.train.optimizer import OptimizerSettings
    from stagedml.ml.translation_metrics import score_translations

    english, german = (multi30k(shared_data, "train", language, 200) for language in ("en", "de"))
    both = (english, german)
    data = translation_data(tmp_path / "data", {"train": both, "valid": both}, size=1500)
    optimizer = OptimizerSettings(
        3e-3, warmup_steps=30, schedule="inverse_sqrt", weight_decay=0.0, betas=(0.9, 0.98), epsilon=1e-9
    )
    results = train_translator(
        data,
        TrainSettings(optimizer, epochs=40),
        TranslatorSettings(shape=Shape(2, 128, 4, 256, 0.0), batch_tokens=1024, label_smoothing=0.0),
        seed=0,
        output=tmp_path,
    )
    assert results["eval_bleu"] > 90
    assert read_lines(tmp_path / "translations" / "valid.txt")[0] == german[0]
    assert "tok:13a" in json.loads((tmp_path / "metrics.json").read_text())["bleu_signature"]
    alone = load_translator(tmp_path).translate(english, Search(1))
    assert results["eval_bleu"] >= score_translations(alone, german).bleu
