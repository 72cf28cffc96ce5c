"""Every task of GLUE through the catalogue: from a local folder to tokenized records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ml.glue_files import HOSTILE, write_file
from stagedml import Build, RefPath, RRef, UsageError, instantiate, mklens, output, realize, stage, store_initialize
from stagedml.ml.glue import TASKS
from stagedml.ml.records import read_examples
from stagedml.ml.tokenizers import SPECIAL_TOKENS
from stagedml.stages.all import all_bert_finetune_glue, all_glue_tfrecords
from stagedml.types import BertCP, GlueUnlabelledTFR


@stage(BertCP, name="toy-bert")
def toy_bert(
    build: Build,
    *,
    cased: bool = False,
    bert_config: RefPath = output("bert_config.json"),
    bert_vocab: RefPath = output("vocab.txt"),
    bert_ckpt: RefPath = output("bert_model.ckpt", prefix=True),
) -> None:
    letters = sorted({letter for text in HOSTILE for letter in text.lower()} | set("0123456789"))
    pieces = [*SPECIAL_TOKENS, *letters, *(f"##{letter}" for letter in letters)]
    build.path(bert_vocab).write_text("".join(f"{piece}\n" for piece in pieces))
    build.path(bert_config).write_text("{}")
    Path(f"{build.path(bert_ckpt)}.index").write_text("")


def all_toy_tfrecords(task: str, folder: Path) -> GlueUnlabelledTFR:
    return all_glue_tfrecords(task, toy_bert(), folder)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_tokenized_with_all_of_its_splits(tmp_path: Path, name: str) -> None:
    task = TASKS[name]
    for split in task.files:
        write_file(tmp_path / name, task, split, 61)
    store_initialize(tmp_path / "root")
    rref = realize(instantiate(all_toy_tfrecords, name.lower(), tmp_path))
    artifact = mklens(rref)
    rows = json.loads((artifact.rows.syspath).read_text())
    assert tuple(rows) == task.splits
    for split in task.splits:
        own = split in ("train", "valid", "test")
        path = getattr(artifact, split).syspath if own else artifact.more.syspath / f"{split}.tfrecord"
        assert len(read_examples(path)) == rows[split]["rows"]
        assert (rows[split]["malformed"], rows[split]["named"]) == (0, [])


def test_a_builder_in_a_process_of_its_own_gives_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "QQP"
    for split, count in (("train", 40_000), ("test", 30)):
        write_file(folder, TASKS["QQP"], split, count, malformed=split == "train")
    assert (folder / "train.tsv").stat().st_size > 2 << 20  # so that there is work for two processes

    def realized(root: str, jobs: int, workers: int) -> RRef:
        store_initialize(tmp_path / root)
        return realize(instantiate(all_toy_tfrecords, "QQP", folder), jobs=jobs, args={"workers": workers})

    rref = realized("inline", 1, 1)
    assert realized("apart", 2, 2) == rref
    assert sum(split["malformed"] for split in json.loads(mklens(rref).rows.contents).values()) == 10


def test_the_diagnostic_is_nothing_to_fine_tune_on(tmp_path: Path) -> None:
    store_initialize(tmp_path / "root")
    write_file(tmp_path / "diagnostic", TASKS["AX"], "unlabelled", 9)
    with pytest.raises(UsageError, match="AX has no rows to learn from; fine-tune on MNLI"):
        instantiate(all_bert_finetune_glue, "AX", tmp_path)
