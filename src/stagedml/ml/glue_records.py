"""From the files of a GLUE task to TFRecord files of tokenized examples, one a split."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stagedml.ml.glue import GlueTask
from stagedml.ml.glue_rows import Lines, Malformed, SplitReader, count_lines
from stagedml.ml.progress import Progress, silent
from stagedml.ml.records import encode_pieces
from stagedml.ml.tokenizers import BertTokenizer


@dataclass(frozen=True)
class SplitRows:
    """What became of the rows of a split.

    Attributes:
        written: how many are in its TFRecord file.
        malformed: how many are not, since they do not fit their layout.
        named: the first of those, by file and line.
    """

    written: int
    malformed: int
    named: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As `rows.json` has it."""
        return {"rows": self.written, "malformed": self.malformed, "named": list(self.named)}


def tokenize_task(
    task: GlueTask,
    folder: Path,
    splits: Mapping[str, Path],
    more: Path,
    tokenizer: BertTokenizer,
    *,
    max_length: int,
    allow_malformed: int | None = None,
    workers: int = 1,
    progress: Progress = silent,
) -> dict[str, SplitRows]:
    """Tokenize all splits of a task.

    Args:
        task: from `glue.TASKS`.
        folder: with its files.
        splits: where to write splits, by name.
        more: a folder to make, for those of the task's other splits whose files are there.
        tokenizer, max_length, workers, progress: as of `records.write_examples`.
        allow_malformed: so many malformed rows of a split are no error; None for what is known of the published files.

    Returns:
        What became of the rows, by split.

    Raises:
        MalformedRows: there are more of them.
        UsageError: a file is absent or unreadable.
    """
    more.mkdir()
    paths = dict(splits)
    for split in task.splits:
        name = task.file(split).name
        if split not in splits and (name in task.needed or (folder / name).is_file()):
            paths[split] = more / f"{split}.tfrecord"
    found = {}
    for split, path in paths.items():
        reader = SplitReader(task, folder / task.file(split).name, split)
        found[split] = _tokenize_split(reader, path, tokenizer, max_length, allow_malformed, workers, progress)
    return found


def _tokenize_split(
    reader: SplitReader,
    path: Path,
    tokenizer: BertTokenizer,
    max_length: int,
    allow_malformed: int | None,
    workers: int,
    progress: Progress,
) -> SplitRows:
    malformed = Malformed()
    total, read, written = count_lines(reader.path), 0, 0

    def pieces() -> Iterator[Lines]:
        nonlocal read
        for piece in reader.pieces():
            read += len(piece.lines)
            yield piece

    with path.open("wb") as file:
        for encoded in encode_pieces(pieces(), reader.read, tokenizer, max_length=max_length, workers=workers):
            file.write(encoded.frames)
            malformed.note(encoded.remarks)
            written += encoded.rows
            progress(f"tokenize {reader.split}", read, total, "lines")
    if allow_malformed is None:
        allow_malformed = math.ceil(reader.task.malformed_share * (written + malformed.count))
    malformed.check(allow_malformed)
    named = tuple(f"{Path(row.path).name}:{row.line}: {row.problem}" for row in malformed.named)
    return SplitRows(written, malformed.count, named)
