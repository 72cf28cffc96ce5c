"""RuSentiment through the catalogue: from the user's copy to a confusion matrix."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from inspection.event_files import tags_of
from ml.rusentiment_files import write_rusentiment
from stagedml import BuildError, UsageError, instantiate, mklens, plan, realize, rref2path, store_initialize
from stagedml.engine.events import Observer
from stagedml.ml.rusentiment import RUSENTIMENT
from stagedml.stages.all import (
    BertGlue,
    GlueTFR,
    all_fetchrusent,
    all_multibert_finetune_rusentiment,
    all_rubert_finetune_rusentiment,
    all_rusentiment_tfrecords,
    bert_finetune_glue,
    dryrun_finetune_rusentiment,
)
from stages.test_glue_finetune import columns, tiny_bert


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> None:
    store_initialize(tmp_path / "root")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the data."""
    folder = tmp_path_factory.mktemp("copy") / "rusentiment"
    write_rusentiment(folder)
    return folder


class Messages(Observer):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def message(self, dref: str, text: str) -> None:
        self.texts.append(text)


@pytest.mark.parametrize("kind", ["tar", "gztar", "zip"])
def test_an_archive_and_a_folder_give_the_same_by_argument_and_by_variable(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    archive = shutil.make_archive(str(tmp_path / "rusentiment"), kind, folder.parent)
    heard = Messages()
    by_file = realize(instantiate(all_fetchrusent, file=archive), observer=heard)
    (told,) = heard.texts
    assert told.startswith("this is not the known rusentiment.tar: its sha256 is ")
    by_folder = realize(instantiate(all_fetchrusent, folder=folder))
    for name in ("train.tsv", "test.tsv"):
        assert (mklens(by_file).folder.syspath / name).read_bytes() == (
            mklens(by_folder).folder.syspath / name
        ).read_bytes()
    for given, rref in ((archive, by_file), (folder, by_folder)):
        monkeypatch.setenv("STAGEDML_RUSENTIMENT", str(given))
        assert realize(instantiate(all_fetchrusent)) == rref


def test_without_a_copy_it_is_declared_and_its_build_says_what_to_provide() -> None:
    declared = instantiate(all_rubert_finetune_rusentiment)
    assert [step.name for step in plan(declared).steps][-1] == "bert-finetune-rusentiment"
    with pytest.raises(BuildError) as caught:
        realize(instantiate(all_fetchrusent), offline=True)
    for part in ("withdrawn by its owners", "STAGEDML_RUSENTIMENT", "rusentiment_test.csv", "columns label and text"):
        assert part in str(caught.value)


def test_what_is_no_copy_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="give `file` or `folder`, not both"):
        instantiate(all_fetchrusent, file="a.tar", folder=folder)
    with pytest.raises(UsageError, match=r"holds no rusentiment_random_posts.csv, "):
        instantiate(all_fetchrusent, folder=tmp_path)
    monkeypatch.setenv("STAGEDML_RUSENTIMENT", str(tmp_path / "absent.tar"))
    with pytest.raises(UsageError, match=r"STAGEDML_RUSENTIMENT=.*absent.tar: there is no such file or folder"):
        instantiate(all_fetchrusent)


def test_settings_are_those_of_the_table_unless_others_are_given(folder: Path) -> None:
    config = mklens(instantiate(all_multibert_finetune_rusentiment, folder=folder, batch_size=8))
    assert (config.task.val, config.batch_size.val, config.learning_rate.val) == ("RuSentiment", 8, 2e-5)


def all_toy(folder: str) -> BertGlue:
    letters = "абвгдежзийклмнопрстуфхцчшщъыьэюя,-"
    bert = tiny_bert(vocab_of=list(letters), cased=True)
    data = all_rusentiment_tfrecords(bert, folder=folder)
    assert isinstance(data, GlueTFR)
    return bert_finetune_glue(data=data, bert=bert, task=data.task, epochs=8, learning_rate=2e-2, batch_size=16)


@pytest.mark.tensorflow
def test_a_model_learns_and_its_confusion_is_what_others_count(folder: Path) -> None:
    result = mklens(realize(instantiate(all_toy, str(folder))))
    metrics, confusion = json.loads(result.metrics.contents), json.loads(result.confusion.contents)
    assert sorted(confusion) == ["test", "valid"]
    assert confusion["test"]["labels"] == list(RUSENTIMENT.labels)
    found = columns(result.predictions.syspath / "test.tsv")
    true, predicted = found["label"].astype(int), found["prediction"].astype(int)
    others = pytest.importorskip("sklearn.metrics")
    assert confusion["test"]["counts"] == others.confusion_matrix(true, predicted, labels=range(5)).tolist()
    assert metrics["test_f1_weighted"] == pytest.approx(others.f1_score(true, predicted, average="weighted"))
    majority = np.bincount(true).max() / len(true)
    assert metrics["test_accuracy"] > majority + 0.2


@pytest.mark.tensorflow
def test_the_dry_run_needs_nothing_from_elsewhere() -> None:
    rref = realize(instantiate(dryrun_finetune_rusentiment), offline=True, args={"histograms": True})
    result = mklens(rref)
    assert sum(map(sum, json.loads(result.confusion.contents)["test"]["counts"])) == 40
    for folder in (rref2path(rref), result.bert.syspath):
        assert any("kernel" in tag for tag, _ in tags_of(Path(folder)))
