"""From a GLUE task's files to TFRecords of token ids."""

from __future__ import annotations

import json

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import Exec, output, stage
from stagedml.types import BertCP, Glue, GlueTFR


@stage(GlueTFR, name="glue-tfrecords-{task:lower}")
def glue_tfrecords(
    build: Build,
    *,
    glue: Glue,
    bert: BertCP,
    task: str = "MRPC",
    max_seq_length: int = 128,
    allow_malformed: int = 0,
    train: RefPath = output("train.tfrecord"),
    valid: RefPath = output("valid.tfrecord"),
    test: RefPath = output("test.tfrecord"),
    rows: RefPath = output("rows.json"),
    workers: Exec[int] = 2,
) -> None:
    """Tokenize one GLUE task with the vocabulary of one BERT, unpadded.

    Holds 5 % of GLUE's train out as `valid`; `test` is GLUE's dev. `rows.json` counts the rows of each split and names
    the malformed ones, of which `allow_malformed` a file are no error.
    """
    from stagedml.ml.glue import SPLITS, glue_task, read_split
    from stagedml.ml.records import write_examples
    from stagedml.ml.tokenizers import BertTokenizer

    description = glue_task(task)
    tokenizer = BertTokenizer(build.path(bert.bert_vocab), lower_case=not bert.cased)
    summary = {}
    for split, path in zip(SPLITS, (train, valid, test), strict=True):
        reading = read_split(description, build.path(glue.folder), split, allow_malformed=allow_malformed)
        written = write_examples(
            build.path(path),
            reading.examples,
            tokenizer,
            max_length=max_seq_length,
            workers=workers,
            total=len(reading.examples),
            progress=build.progress,
        )
        malformed = [f"{row.path.rsplit('/', 1)[-1]}:{row.line}: {row.problem}" for row in reading.malformed]
        summary[split] = {"rows": written, "malformed": malformed}
    build.path(rows).write_text(json.dumps(summary, indent=2) + "\n")
