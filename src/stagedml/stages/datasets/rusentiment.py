"""RuSentiment, from the user's own copy: its owners withdrew it.

Rogers et al. 2018, RuSentiment: An Enriched Sentiment Analysis Dataset for Social Media in Russian.
"""

from __future__ import annotations

import os
from pathlib import Path

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import output, stage
from stagedml.errors import BuildError, UsageError
from stagedml.ml.rusentiment import PUBLISHED, RUSENTIMENT, find_rusentiment
from stagedml.remotes.checksum import Checksum
from stagedml.settings import VARIABLES, read_settings
from stagedml.stages.fetch import fetchfolder, fetchlocal, local_path
from stagedml.stages.parameters import Natural
from stagedml.types import Folder, Glue

_VARIABLE = VARIABLES["rusentiment"][0][0]
#: Of the rusentiment.tar that the first StagedML knew.
_ARCHIVE_SHA256 = "cbc02dfbfaee81eda1f192b5280f05fbda41fb1ab9952cb4d8f7b0ff227c968d"


class RusentimentMissing(BuildError):
    """Nobody said where a copy of RuSentiment is."""

    def __str__(self) -> str:
        names = ", ".join(name for split in PUBLISHED.values() for name in split)
        return (
            "RuSentiment was withdrawn by its owners and cannot be fetched. If you have a copy, name it in "
            f"{_VARIABLE}, or give `file` (rusentiment.tar) or `folder`; it holds {names}, tables with the columns "
            "label and text"
        )


@stage(Folder, name="rusentiment-wanted")
def rusentiment_wanted(build: Build, *, folder: RefPath = output("contents")) -> None:
    """Stands for a copy that nobody gave: to build it is to be told what to give."""
    raise RusentimentMissing()


@stage(Glue, name="rusentiment")
def rusentiment_files(
    build: Build,
    *,
    source: Folder,
    sha256: str | None = None,
    allow_malformed: Natural = 0,
    task: str = RUSENTIMENT.name,
    folder: RefPath = output(RUSENTIMENT.name),
) -> None:
    """Lay RuSentiment out as GLUE lays out its tasks; see `stagedml.ml.rusentiment`.

    `sha256` is that of the archive, if it came in one; another than the known one is told of.
    """
    from stagedml.ml.rusentiment import make_rusentiment

    if sha256 not in (None, _ARCHIVE_SHA256):
        build.message(f"this is not the known rusentiment.tar: its sha256 is {sha256}, not {_ARCHIVE_SHA256}")
    build.path(folder).mkdir()
    make_rusentiment(build.path(source.folder), build.path(folder), allow_malformed=allow_malformed)


def fetch_rusentiment(file: str | os.PathLike[str] | None = None, folder: str | os.PathLike[str] | None = None) -> Glue:
    """RuSentiment.

    Args:
        file: an archive with the published files.
        folder: a folder with them. Default for both: what STAGEDML_RUSENTIMENT names, one or the other.

    Raises:
        RusentimentIncomplete: the folder does not hold them.
        UsageError: both are given, or there is no such file or folder.
    """
    if file is not None and folder is not None:
        raise UsageError("RuSentiment: give `file` or `folder`, not both")
    if folder is not None:
        find_rusentiment(local_path("fetch_rusentiment", folder))
        return rusentiment_files(source=fetchfolder(folder))
    if file is not None:
        source = fetchlocal(file, unpack=True)
        return rusentiment_files(source=source, sha256=Checksum.given(sha256=_ARCHIVE_SHA256).of(Path(file)).digits)
    named = read_settings().rusentiment
    if not named:
        return rusentiment_files(source=rusentiment_wanted())
    place = Path(named).expanduser()
    if not place.exists():
        raise UsageError(f"{_VARIABLE}={named}: there is no such file or folder")
    return fetch_rusentiment(folder=place) if place.is_dir() else fetch_rusentiment(file=place)
