"""Every task of GLUE from files to metrics and to the leaderboard's files, with a model that learns next to nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ml.glue_files import HOSTILE, write_file
from stagedml import (
    Build,
    RefPath,
    UsageError,
    instantiate,
    mklens,
    output,
    realize,
    redefine,
    rref2path,
    stage,
    store_initialize,
)
from stagedml.ml.glue import TASKS, glue_task
from stagedml.ml.tokenizers import SPECIAL_TOKENS
from stagedml.stages.all import (
    all_glue_tfrecords,
    all_minibert_finetune_glue,
    bert_finetune_glue,
    bert_predict_glue,
    glue_tasks,
)
from stagedml.stages.models.glue_settings import GLUE_SETTINGS, glue_settings
from stagedml.types import BertCP, BertGlue, GluePredictions, GlueTFR

pytestmark = pytest.mark.tensorflow


@stage(BertCP, name="toy-bert")
def tiny_bert(
    build: Build,
    *,
    vocab_of: list[str],
    cased: bool = False,
    bert_config: RefPath = output("bert_config.json"),
    bert_vocab: RefPath = output("vocab.txt"),
    bert_ckpt: RefPath = output("bert_model.ckpt", prefix=True),
) -> None:
    """A BERT of random weights that knows single letters."""
    from stagedml.ml.models.bert.checkpoint import encoder_arrays, write_pretrained
    from stagedml.ml.models.bert.config import BertConfig
    from stagedml.ml.models.bert.encoder import build_encoder
    from stagedml.ml.train.determinism import seeded

    pieces = [*SPECIAL_TOKENS, *vocab_of, *(f"##{letter}" for letter in vocab_of)]
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=128,
        initializer_range=0.2,
    )
    with seeded(0):
        encoder = build_encoder(config)
    vocab = "".join(f"{piece}\n" for piece in pieces).encode()
    write_pretrained(build.outpath, config, vocab, encoder_arrays(encoder, config))


def some_bert() -> BertCP:
    letters = {letter for text in HOSTILE for letter in text.lower()} | set("0123456789abcdefghijklmnopqrstuvwxyz")
    return tiny_bert(vocab_of=sorted(letters))


def all_finetuned(task: str, folder: str, epochs: int = 1) -> BertGlue:
    bert = some_bert()
    data = all_glue_tfrecords(task, bert, folder)
    assert isinstance(data, GlueTFR)
    return bert_finetune_glue(data=data, bert=bert, task=data.task, epochs=epochs, learning_rate=1e-2, batch_size=16)


def all_predicted(task: str, folder: str) -> GluePredictions:
    model = all_finetuned("MNLI" if task == "AX" else task, folder)
    data = all_glue_tfrecords(task, some_bert(), folder)
    return bert_predict_glue(model=model, bert=some_bert(), data=data, task=data.task)


def write_task(folder: Path, name: str) -> None:
    for split in TASKS[name].files:
        write_file(folder / name, TASKS[name], split, 61)


def columns(path: Path) -> dict[str, NDArray[Any]]:
    """A file of predictions by columns."""
    header, *lines = path.read_text().splitlines()
    cells = zip(*(line.split("\t") for line in lines), strict=True)
    return {name: np.array(column) for name, column in zip(header.split("\t"), cells, strict=True)}


def by_others(metric: str, predicted: NDArray[Any], true: NDArray[Any]) -> float:
    """A metric as scikit-learn or SciPy have it."""
    metrics = pytest.importorskip("sklearn.metrics")
    stats = pytest.importorskip("scipy.stats")
    functions = {
        "accuracy": lambda: metrics.accuracy_score(true, predicted),
        "f1": lambda: metrics.f1_score(true, predicted),
        "matthews": lambda: metrics.matthews_corrcoef(true, predicted),
        "pearson": lambda: stats.pearsonr(predicted, true).statistic,
        "spearman": lambda: stats.spearmanr(predicted, true).statistic,
    }
    return float(functions[metric]())


@pytest.mark.parametrize("name", [*glue_tasks(), "SNLI"])
def test_a_task_goes_from_files_to_metrics_that_others_find_too(tmp_path: Path, name: str) -> None:
    write_task(tmp_path, name)
    store_initialize(tmp_path / "root")
    folder = Path(rref2path(realize(instantiate(all_finetuned, name, str(tmp_path)))))
    task = glue_task(name)
    metrics = json.loads((folder / "metrics.json").read_text())
    splits = {"valid": "eval", "test": "test", **{split: split for split in task.labelled}}
    assert {path.stem for path in (folder / "predictions").iterdir()} == set(splits)
    for split, prefix in splits.items():
        found = columns(folder / "predictions" / f"{split}.tsv")
        kind = float if task.scores else int
        predicted, true = found["prediction"].astype(kind), found["label"].astype(kind)
        assert len(true) == (61 if prefix != "eval" else len(true))
        for metric in task.metrics:
            assert metrics[f"{prefix}_{metric}"] == pytest.approx(by_others(metric, predicted, true), abs=1e-6), metric
    assert ("logit_1" in found) == (not task.scores)


@pytest.mark.parametrize("name", ["MRPC", "STS-B", "MNLI", "AX"])
def test_predictions_are_files_that_the_leaderboard_takes(tmp_path: Path, name: str) -> None:
    for one in {name, "MNLI"} if name == "AX" else {name}:
        write_task(tmp_path, one)
    store_initialize(tmp_path / "root")
    folder = Path(rref2path(realize(instantiate(all_predicted, name, str(tmp_path))))) / "submission"
    task = glue_task(name)
    assert {path.name for path in folder.iterdir()} == set(task.leaderboard.values())
    for path in folder.iterdir():
        found = columns(path)
        assert found["index"].tolist() == [str(row) for row in range(61)]
        if task.scores:
            low, high = task.scores
            assert all(low <= float(score) <= high for score in found["prediction"])
        else:
            assert set(found["prediction"].tolist()) <= set(task.labels)


def test_an_unlabelled_split_cannot_be_trained_on(tmp_path: Path) -> None:
    from stagedml.ml.models.bert.classifier import read_fitting
    from stagedml.ml.models.bert.config import read_bert_config
    from stagedml.ml.models.bert.finetuning import RecordsDoNotFit

    write_task(tmp_path, "RTE")
    store_initialize(tmp_path / "root")
    rref = realize(instantiate(lambda: all_glue_tfrecords("RTE", some_bert(), str(tmp_path))))
    path = mklens(rref).more.syspath / "unlabelled.tfrecord"
    config = read_bert_config(mklens(rref).bert.bert_config.syspath)
    assert read_fitting(path, config, 2, labelled=False).label is None
    with pytest.raises(RecordsDoNotFit, match="the rows have no labels"):
        read_fitting(path, config, 2)


def test_settings_of_a_checkpoint_are_those_of_the_table_unless_others_are_given(tmp_path: Path) -> None:
    write_task(tmp_path, "RTE")
    store_initialize(tmp_path / "root")
    config = mklens(instantiate(all_minibert_finetune_glue, "RTE", str(tmp_path)))
    assert (config.batch_size.val, config.learning_rate.val) == (8, 2e-5)
    config = mklens(instantiate(all_minibert_finetune_glue, "RTE", str(tmp_path), batch_size=64))
    assert (config.batch_size.val, config.learning_rate.val) == (64, 2e-5)


def test_each_setting_is_a_parameter_of_the_stage_and_has_a_source() -> None:
    for checkpoint, by_task in GLUE_SETTINGS.items():
        assert set(by_task) <= {"", *glue_tasks()}
        for settings in by_task.values():
            assert set(settings.values) <= set(bert_finetune_glue.checks)
            assert settings.source
        for task in glue_tasks():
            assert glue_settings(checkpoint, task)["epochs"] >= 1


def test_watching_needs_a_metric_of_the_task(tmp_path: Path) -> None:
    write_task(tmp_path, "CoLA")
    store_initialize(tmp_path / "root")

    def watching(task: str = "CoLA") -> BertGlue:
        bert = some_bert()
        data = all_glue_tfrecords("CoLA", bert, str(tmp_path))
        assert isinstance(data, GlueTFR)
        return bert_finetune_glue(data=data, bert=bert, task=task, keep_best="f1")

    with pytest.raises(UsageError, match="no 'f1' is measured after an epoch; there are loss, matthews"):
        instantiate(watching)
    with pytest.raises(UsageError, match="task is 'MRPC', but that of data is 'CoLA'"):
        instantiate(watching, "mrpc")
    with pytest.raises(UsageError, match="watch the metric of keep_best; name one there"):
        instantiate(redefine(watching, lambda own: own.update(keep_best=None, patience=2)))


@pytest.mark.parametrize(
    ("name", "folder", "rows"),
    [
        ("MRPC", "MRPC", {"train": 3668, "test": 408, "unlabelled": 1725}),
        pytest.param("CoLA", "CoLA", {"train": 8551, "test": 1043, "unlabelled": 1063}, marks=pytest.mark.slow),
        ("STS-B", "STS-B", {"train": 5749, "test": 1500, "unlabelled": 1379}),
        ("WNLI", "WNLI", {"train": 635, "test": 71, "unlabelled": 146}),
        pytest.param("QQP", "QQP-sample", {"train": 3000, "test": 500}, marks=pytest.mark.slow),
    ],
)
def test_the_real_files_go_to_metrics(
    shared_data: Path, tmp_path: Path, name: str, folder: str, rows: dict[str, int]
) -> None:
    store_initialize(tmp_path / "root")
    rref = realize(instantiate(all_finetuned, name, str(shared_data / "glue_data" / folder)))
    counted = json.loads(mklens(rref).data.rows.contents)
    counts = {split: entry["rows"] for split, entry in counted.items()}
    held_out = counts.pop("valid")
    assert {**counts, "train": counts["train"] + held_out} == rows
    metrics = json.loads(mklens(rref).metrics.contents)
    found = columns(mklens(rref).predictions.syspath / "test.tsv")
    kind = float if TASKS[name].scores else int
    for metric in TASKS[name].metrics:
        expected = by_others(metric, found["prediction"].astype(kind), found["label"].astype(kind))
        assert metrics[f"test_{metric}"] == pytest.approx(expected, abs=1e-6)
