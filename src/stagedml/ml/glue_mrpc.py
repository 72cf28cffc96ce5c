"""GLUE's MRPC from the files of the corpus, by GLUE's own recipe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stagedml.errors import UsageError
from stagedml.ml.glue import TASKS
from stagedml.ml.malformed import MalformedRow, MalformedRows


def make_mrpc(train_text: Path, test_text: Path, dev_ids: Path, output: Path) -> None:
    """Make GLUE's MRPC files from the corpus's two text files, as GLUE's own recipe does, byte for byte.

    train.tsv and dev.tsv: the rows of the corpus's train, in its order; dev.tsv has those whose pair of ids is listed.
    test.tsv: the rows of the corpus's test, numbered, without their labels.

    Args:
        train_text: msr_paraphrase_train.txt in its SentEval edition.
        test_text: msr_paraphrase_test.txt, likewise.
        dev_ids: mrpc_dev_ids.tsv, two ids a line.
        output: a folder that exists.

    Raises:
        MalformedRows: a row has not five columns, or the ids not two.
        UsageError: ids are listed that the corpus does not have.
    """
    columns = TASKS["MRPC"].file("train").columns
    ids = {tuple(cells) for cells in _rows(dev_ids, 2)}
    header, *corpus = _rows(train_text, len(columns))
    train, dev = ["\t".join(header)], ["\t".join(header)]
    for cells in corpus:
        (dev if cells[1:3] in ids else train).append("\t".join(cells))
    if lost := sorted(ids - {cells[1:3] for cells in corpus}):
        raise UsageError(f"{dev_ids}: {len(lost)} pairs of ids are not in {train_text}, the first {lost[0]}")
    _, *tested = _rows(test_text, len(columns))
    test = ["\t".join(("index", *columns[1:]))]
    test += ["\t".join((str(index), *cells[1:])) for index, cells in enumerate(tested)]
    for name, lines in (("train.tsv", train), ("dev.tsv", dev), ("test.tsv", test)):
        (output / name).write_bytes("".join(f"{line}\n" for line in lines).encode())


def _rows(path: Path, columns: int) -> Iterator[tuple[str, ...]]:
    """The rows of a file, outer whitespace stripped, which must all have so many columns."""
    lines = path.read_bytes().decode().split("\n")
    if lines[-1] == "":
        lines.pop()
    rows = [tuple(line.strip().split("\t")) for line in lines]
    malformed = tuple(
        MalformedRow(str(path), number, f"{len(row)} columns, not {columns}")
        for number, row in enumerate(rows, 1)
        if len(row) != columns
    )
    if malformed:
        raise MalformedRows(malformed, len(malformed), 0)
    return iter(rows)
