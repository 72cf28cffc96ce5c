"""From a GLUE task's files to TFRecords of token ids."""

from __future__ import annotations

import json
from collections.abc import Mapping

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import Exec, output, stage
from stagedml.stages import agreement
from stagedml.stages.parameters import Count, Natural, RowLength
from stagedml.types import BertCP, Glue, GlueTFR, GlueUnlabelledTFR


@stage(GlueTFR, name="glue-tfrecords-{task:lower}", check=agreement.of_task)
def glue_tfrecords(
    build: Build,
    *,
    glue: Glue,
    bert: BertCP,
    task: str = "MRPC",
    max_seq_length: RowLength = 128,
    allow_malformed: Natural | None = None,
    train: RefPath = output("train.tfrecord"),
    valid: RefPath = output("valid.tfrecord"),
    test: RefPath = output("test.tfrecord"),
    more: RefPath = output("more"),
    rows: RefPath = output("rows.json"),
    workers: Exec[Count] = 2,
) -> None:
    """Tokenize one GLUE task with the vocabulary of one BERT, unpadded.

    Holds 5 % of GLUE's train out as `valid`; `test` is GLUE's dev. The further splits whose files are there go into
    `more`. `rows.json` counts the rows of each split, and counts and names the malformed ones, of which
    `allow_malformed` a split are no error; by default, as many as the published files are known to have.
    """
    splits = {"train": train, "valid": valid, "test": test}
    _tokenize(build, glue, bert, task, splits, more, rows, max_seq_length, allow_malformed, workers)


@stage(GlueUnlabelledTFR, name="glue-tfrecords-{task:lower}", check=agreement.of_task)
def glue_unlabelled_tfrecords(
    build: Build,
    *,
    glue: Glue,
    bert: BertCP,
    task: str = "AX",
    max_seq_length: RowLength = 128,
    allow_malformed: Natural | None = None,
    more: RefPath = output("more"),
    rows: RefPath = output("rows.json"),
    workers: Exec[Count] = 2,
) -> None:
    """Tokenize a task of GLUE that has nothing to learn from; all else as of `glue_tfrecords`."""
    _tokenize(build, glue, bert, task, {}, more, rows, max_seq_length, allow_malformed, workers)


def _tokenize(
    build: Build,
    glue: Glue,
    bert: BertCP,
    task: str,
    splits: Mapping[str, RefPath],
    more: RefPath,
    rows: RefPath,
    max_seq_length: int,
    allow_malformed: int | None,
    workers: int,
) -> None:
    from stagedml.ml.glue_records import tokenize_task
    from stagedml.ml.tasks import task_named
    from stagedml.ml.tokenizers import BertTokenizer

    found = tokenize_task(
        task_named(task),
        build.path(glue.folder),
        {split: build.path(path) for split, path in splits.items()},
        build.path(more),
        BertTokenizer(build.path(bert.bert_vocab), lower_case=not bert.cased),
        max_length=max_seq_length,
        allow_malformed=allow_malformed,
        workers=workers,
        progress=build.progress,
    )
    summary = {split: split_rows.to_json() for split, split_rows in found.items()}
    build.path(rows).write_text(json.dumps(summary, indent=2) + "\n")
