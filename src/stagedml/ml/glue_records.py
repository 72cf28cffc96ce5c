"""From the files of a GLUE task to TFRecord files of tokenized examples, one a split."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from stagedml.ml.glue import GlueTask
from stagedml.ml.glue_rows import SplitPiece, SplitReader, count_lines
from stagedml.ml.malformed import Malformed
from stagedml.ml.progress import Progress, silent
from stagedml.ml.records import Encoded, encode_pieces, encode_texts
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
    readers = {split: SplitReader(task, folder / task.file(split).name, split) for split in paths}
    lines = {split: count_lines(reader.path) for split, reader in readers.items()}
    pieces = chain.from_iterable(reader.pieces() for reader in readers.values())
    found = {}
    encode = functools.partial(encode_texts, tokenizer, max_length)
    with closing(encode_pieces(pieces, encode, workers=workers)) as encoded:
        for split, part in groupby(encoded, key=lambda pair: pair[0].reader.split):
            told = functools.partial(progress, f"tokenize {split}", total=lines[split], unit="lines")
            written, malformed = _write(paths[split], part, told)
            share = math.ceil(task.malformed_share * (written + malformed.count))
            malformed.check(share if allow_malformed is None else allow_malformed)
            found[split] = SplitRows(written, malformed.count, malformed.texts)
    return found


def _write(path: Path, part: Iterable[tuple[SplitPiece, Encoded]], told: Callable[..., None]) -> tuple[int, Malformed]:
    """Write the rows of one split; gives their number, and the malformed ones."""
    malformed, written, passed = Malformed(), 0, 0
    with path.open("wb") as file:
        for piece, encoded in part:
            file.write(encoded.frames)
            malformed.note(encoded.remarks)
            written += encoded.rows
            passed += len(piece.lines)
            told(done=passed)
    return written, malformed
