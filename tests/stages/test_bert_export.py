"""Exporting what was fine-tuned: no second training, and the answers of the evaluation."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from stagedml import RRef, instantiate, mklens, plan, realize, redefine, store_initialize
from stagedml.core.plan import Verdict
from stagedml.stages.all import (
    all_bert_export_glue,
    all_fetch_largebert,
    all_fetch_multibert,
    all_fetcholdbert,
    all_minibert_export_glue,
    all_minilm_export_glue,
    all_quickstart_export_glue,
    bert_checkpoint,
    bert_export,
    bert_finetune_glue,
    bert_pretrain,
    bert_pretrain_tfrecords,
    fetchfolder,
    glue_tfrecords,
    vocabulary,
)
from stagedml.stages.datasets.glue import glue_mrpc
from stagedml.stages.datasets.stories import paraphrases, stories
from stagedml.types import BertCP, BertExported, BertGlue, Glue, GlueTFR


def all_parts() -> tuple[Glue, BertGlue, GlueTFR, BertCP]:
    text = stories(documents=40)
    rows = bert_pretrain_tfrecords(corpus=text, vocabulary=vocabulary(corpus=text), dupe_factor=1)
    bert = bert_pretrain(
        data=rows,
        hidden_size=16,
        layers=1,
        heads=2,
        intermediate_size=32,
        max_position_embeddings=128,
        initializer_range=0.2,
    )
    corpus = paraphrases(train=150, dev=40, test=10)
    glue = glue_mrpc(train_text=corpus.train_text, test_text=corpus.test_text, dev_ids=corpus.dev_ids)
    data = glue_tfrecords(glue=glue, bert=bert, task="MRPC", max_seq_length=24)
    return glue, bert_finetune_glue(data=data, bert=bert, epochs=1, learning_rate=1e-2), data, bert


def all_tuned() -> BertGlue:
    return all_parts()[1]


def all_exported() -> BertExported:
    _, model, data, bert = all_parts()
    return bert_export(model=model, data=data, bert=bert)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> RRef:
    store_initialize(tmp_path_factory.mktemp("store"))
    return realize(instantiate(all_tuned))


@pytest.fixture(scope="module")
def exported(tuned: RRef) -> RRef:
    (step,) = plan(instantiate(all_exported)).builds
    assert step.name == "bert-export-mrpc"
    return realize(instantiate(all_exported))


@pytest.mark.tensorflow
def test_the_saved_model_gives_the_evaluations_probabilities(tuned: RRef, exported: RRef) -> None:
    from stagedml.ml.framework import tf

    dev = mklens(exported).data.glue.folder.syspath / "dev.tsv"
    rows = [line.split("\t")[3:] for line in dev.read_text().splitlines()[1:]]
    with (mklens(tuned).predictions.syspath / "test.tsv").open() as file:
        evaluated = {int(row["index"]): row for row in csv.DictReader(file, delimiter="\t")}
    assert len(rows) == len(evaluated) == 40
    logits = np.array([[float(evaluated[index][f"logit_{label}"]) for label in (0, 1)] for index in range(40)])
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    model = tf.saved_model.load(str(mklens(exported).saved_model.syspath))
    answers = model.signatures["serving_default"](
        first=tf.constant([first for first, _ in rows]), second=tf.constant([second for _, second in rows])
    )
    assert np.ptp(wanted[:, 0]) > 1e-3
    np.testing.assert_allclose(answers["probabilities"].numpy(), wanted, atol=1e-5, rtol=0)


@pytest.mark.tensorflow
def test_the_files_for_transformers_hold_the_models_weights(tuned: RRef, exported: RRef) -> None:
    from stagedml.ml.models.bert.checkpoint import read_checkpoint
    from stagedml.ml.models.bert.huggingface import read_tensors

    folder = mklens(exported).safetensors.syspath
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt"]
    assert json.loads((folder / "config.json").read_text())["id2label"] == {"0": "0", "1": "1"}
    assert json.loads((folder / "tokenizer_config.json").read_text())["model_max_length"] == 24
    weights = read_checkpoint(mklens(tuned).checkpoint.syspath)
    tensors = read_tensors(folder / "model.safetensors")
    assert set(tensors) == set(weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(tensors[name], array)


@pytest.mark.tensorflow
def test_a_shorter_length_reaches_the_training_and_the_export(tuned: RRef) -> None:
    shorter = redefine(all_exported, new_config=lambda config: config.update(max_seq_length=12), at=glue_tfrecords)
    names = [step.name for step in plan(instantiate(shorter)).steps if step.verdict is not Verdict.REUSE]
    assert names == ["glue-tfrecords-mrpc", "bert-finetune-mrpc", "bert-export-mrpc"]


@pytest.mark.tensorflow
def test_what_was_exported_for_transformers_is_a_checkpoint_again(exported: RRef) -> None:
    from stagedml.ml.models.bert.checkpoint import read_checkpoint

    folder = mklens(exported).safetensors.syspath
    rref = realize(instantiate(lambda: bert_checkpoint(source=fetchfolder(folder), model="mine", cased=False)))
    tuned = read_checkpoint(mklens(exported).model.checkpoint.syspath)
    found = read_checkpoint(mklens(rref).bert_ckpt.syspath)
    for name, array in tuned.items():
        np.testing.assert_array_equal(found[name], array)


def test_all_that_is_in_the_catalogue_is_declared_without_network(tmp_path: Path) -> None:
    store_initialize(tmp_path)
    names = {
        plan(instantiate(each)).steps[-1].name for each in (all_fetcholdbert, all_fetch_largebert, all_fetch_multibert)
    }
    assert names == {"bert-base-uncased-tf2", "bert-large-uncased", "bert-multilingual-cased"}
    for each in (all_bert_export_glue, all_minibert_export_glue, all_minilm_export_glue, all_quickstart_export_glue):
        assert plan(instantiate(each)).steps[-1].name == "bert-export-mrpc"
