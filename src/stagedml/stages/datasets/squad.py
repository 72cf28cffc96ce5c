"""SQuAD: questions about passages of Wikipedia, from the official files or from a local folder.

Rajpurkar et al. 2016, SQuAD: 100,000+ Questions for Machine Comprehension of Text (version 1.1); Rajpurkar, Jia and
Liang 2018, Know What You Don't Know: Unanswerable Questions for SQuAD (version 2.0). CC BY-SA 4.0. The sums are those
that TensorFlow Datasets checks.
"""

from __future__ import annotations

import os
import shutil

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import output, stage
from stagedml.errors import UsageError
from stagedml.ml.squad import edition_of
from stagedml.stages.fetch import fetchlocal, fetchurl, local_path
from stagedml.types import File, Squad

_SITE = "https://rajpurkar.github.io/SQuAD-explorer/dataset/"
_SHA256 = {
    "train-v1.1.json": "3527663986b8295af4f7fcdff1ba1ff3f72d07d61a20f487cb238a6ef92fd955",
    "dev-v1.1.json": "95aa6a52d5d6a735563366753ca50492a658031da74f301ac5238b03966972c9",
    "train-v2.0.json": "68dcfbb971bd3e96d5b46c7177b16c1a4e7d4bdef19fb204502738552dede002",
    "dev-v2.0.json": "80a5225e94905956a6446d296ca1093975c4d3b3260f1d6c8f68bc2ab77182d8",
}


class NoSquadFolder(UsageError):
    """A local folder does not hold the files of SQuAD."""

    def __init__(self, folder: str, missing: tuple[str, ...]) -> None:
        super().__init__(folder, missing)
        self.folder, self.missing = folder, missing

    def __str__(self) -> str:
        return f"{self.folder} holds no {' and no '.join(self.missing)}; call your files so, or leave `folder` out"


@stage(Squad, name="{task}")
def squad_files(
    build: Build,
    *,
    train_file: RefPath,
    dev_file: RefPath,
    task: str,
    train: RefPath = output("train.json"),
    dev: RefPath = output("dev.json"),
) -> None:
    """Put the two files of an edition of SQuAD together."""
    shutil.copy(build.path(train_file), build.path(train))
    shutil.copy(build.path(dev_file), build.path(dev))


def fetch_squad(task: str, folder: str | os.PathLike[str] | None = None) -> Squad:
    """One edition of SQuAD.

    Args:
        task: "squad11" or "squad20".
        folder: a local folder with its two files, called as the official ones are; default the official sources.

    Raises:
        UnknownEdition: there is no such edition.
        NoSquadFolder: the folder does not hold it.
    """
    edition = edition_of(task)
    names = (edition.train, edition.dev)
    if folder is None:
        train, dev = map(_file, names)
    else:
        paths = [local_path("fetch_squad", folder) / name for name in names]
        if missing := tuple(path.name for path in paths if not path.is_file()):
            raise NoSquadFolder(str(folder), missing)
        train, dev = map(fetchlocal, paths)
    return squad_files(train_file=train.file, dev_file=dev.file, task=task)


def _file(name: str) -> File:
    return fetchurl(_SITE + name, sha256=_SHA256[name])
