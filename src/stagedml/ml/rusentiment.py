"""RuSentiment: posts of a Russian social network, told apart by their sentiment, as a task in GLUE's layout.

Rogers et al. 2018, RuSentiment: An Enriched Sentiment Analysis Dataset for Social Media in Russian. Rules this module
keeps:
- *train* and *valid* are the posts that were drawn at random and those that were preselected, in this order, with 5 %
  held out as of all tasks; *test* is theirs.
- What a tokenizer sees of a post is what it would see of the original: line breaks and tabs become spaces, and nothing
  else changes.
- A row that does not fit is never dropped in silence: it is counted, and named by file and line.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from stagedml.errors import UsageError
from stagedml.ml.glue import GlueFile, GlueTask
from stagedml.ml.malformed import Malformed, MalformedRow, MalformedRows

_COLUMNS = ("label", "text")

RUSENTIMENT = GlueTask(
    name="RuSentiment",
    first="text",
    second=None,
    labels=("negative", "neutral", "positive", "skip", "speech"),
    metrics=("accuracy", "f1_weighted"),
    files={
        "train": GlueFile("train.tsv", _COLUMNS, label="label"),
        "test": GlueFile("test.tsv", _COLUMNS, label="label"),
    },
)
#: The published files that make each of ours.
PUBLISHED = {
    "train": ("rusentiment_random_posts.csv", "rusentiment_preselected_posts.csv"),
    "test": ("rusentiment_test.csv",),
}
_IN_ONE_LINE = str.maketrans("\t\n\r", "   ")


class RusentimentIncomplete(UsageError):
    """A folder or an archive does not hold RuSentiment."""

    def __init__(self, place: str, missing: tuple[str, ...]) -> None:
        super().__init__(place, missing)
        self.place, self.missing = place, missing

    def __str__(self) -> str:
        return f"{self.place} holds no {', '.join(self.missing)}; give a copy of RuSentiment as it was published"


def find_rusentiment(place: Path) -> dict[str, Path]:
    """The published files, at any depth below a folder, by name.

    Raises:
        RusentimentIncomplete: one is not there.
    """
    names = [name for split in PUBLISHED.values() for name in split]
    found = {name: min(place.rglob(name), default=None) for name in names}
    if missing := tuple(name for name, path in found.items() if path is None):
        raise RusentimentIncomplete(str(place), missing)
    return {name: path for name, path in found.items() if path is not None}


def make_rusentiment(source: Path, folder: Path, *, allow_malformed: int = 0) -> None:
    """Write the files of the task.

    Args:
        source: a folder with the published files.
        folder: where; it exists.
        allow_malformed: so many malformed rows of a split are no error.

    Raises:
        RusentimentIncomplete: a file is not there.
        MalformedRows: there are more of them, or a file is no such table.
    """
    paths = find_rusentiment(source)
    for split, names in PUBLISHED.items():
        malformed = Malformed()
        with (folder / RUSENTIMENT.file(split).name).open("w", encoding="utf-8", newline="\n") as file:
            file.write("\t".join(_COLUMNS) + "\n")
            for name in names:
                for row in _rows(paths[name]):
                    if isinstance(row, MalformedRow):
                        malformed.note([row])
                    else:
                        file.write("\t".join(row) + "\n")
        malformed.check(allow_malformed)


def _rows(path: Path) -> Iterator[tuple[str, str] | MalformedRow]:
    """The label and the text of each row of a table."""
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            if sorted(header) != sorted(_COLUMNS):
                raise _unusable(path, 1, f"header {header!r}, not {list(_COLUMNS)!r}")
            place, line = header.index("label"), reader.line_num + 1
            for cells in reader:
                problem = _problem(cells, place)
                yield MalformedRow(str(path), line, problem) if problem else (cells[place], _plain(cells[1 - place]))
                line = reader.line_num + 1
    except csv.Error as error:
        raise _unusable(path, line, str(error)) from error
    except UnicodeDecodeError as error:
        raise _unusable(path, line, f"not UTF-8 at byte {error.start} of what was read last") from error


def _problem(cells: list[str], place: int) -> str:
    if len(cells) != len(_COLUMNS):
        return f"{len(cells)} columns, not {len(_COLUMNS)}"
    if cells[place] not in RUSENTIMENT.labels:
        return f"label {cells[place]!r}, none of {', '.join(RUSENTIMENT.labels)}"
    return "" if cells[1 - place].strip() else "column 'text' is empty"


def _plain(text: str) -> str:
    return text.translate(_IN_ONE_LINE)


def _unusable(path: Path, line: int, problem: str) -> MalformedRows:
    return MalformedRows((MalformedRow(str(path), line, problem),), 1, 0)
