"""From the files of SQuAD to TFRecords of windows."""

from __future__ import annotations

import json

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import Exec, output, stage
from stagedml.stages import agreement
from stagedml.stages.parameters import Count, Natural
from stagedml.types import BertCP, Squad, SquadTFR


@stage(SquadTFR, name="{task}-tfrecords", check=agreement.of_edition)
def squad_tfrecords(
    build: Build,
    *,
    squad: Squad,
    bert: BertCP,
    task: str = "squad11",
    max_seq_length: Count = 384,
    doc_stride: Count = 128,
    max_query_length: Count = 64,
    allow_malformed: Natural = 0,
    train: RefPath = output("train.tfrecord"),
    valid: RefPath = output("valid.tfrecord"),
    test: RefPath = output("test.tfrecord"),
    texts: RefPath = output("texts"),
    rows: RefPath = output("rows.json"),
    workers: Exec[Count] = 2,
) -> None:
    """Tokenize an edition of SQuAD with the vocabulary of one BERT, unpadded.

    A row has a question of `max_query_length` word pieces at most, and as much of its passage as there is room for; of
    a longer passage there are several rows, the next one `doc_stride` word pieces on. Holds one article of SQuAD's
    train in twenty out as `valid`; `test` is SQuAD's dev, and `texts` holds the questions of both. `rows.json` counts
    questions, rows and answers, the answers that no row gives back exactly, and the malformed questions, and names
    them; of the latter `allow_malformed` a file are no error. Lengths are Google's for BERT.
    """
    from stagedml.ml.squad import edition_of
    from stagedml.ml.squad_features import WindowSettings
    from stagedml.ml.squad_records import tokenize_squad
    from stagedml.ml.tokenizers import BertTokenizer

    found = tokenize_squad(
        edition_of(task),
        build.path(squad.train),
        build.path(squad.dev),
        {"train": build.path(train), "valid": build.path(valid), "test": build.path(test)},
        build.path(texts),
        BertTokenizer(build.path(bert.bert_vocab), lower_case=not bert.cased),
        settings=WindowSettings(max_seq_length, doc_stride, max_query_length),
        allow_malformed=allow_malformed,
        workers=workers,
        progress=build.progress,
    )
    summary = {split: part.to_json() for split, part in found.items()}
    build.path(rows).write_text(json.dumps(summary, indent=2) + "\n")
