"""NL2Bash: Bash commands, and what they do in plain English.

Lin et al. 2018, NL2Bash: A Corpus and Semantic Parser for Natural Language Interface to the Linux Operating System. The
corpus lies in the authors' repository; the sums are the first StagedML's.
"""

from __future__ import annotations

import os

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import output, stage
from stagedml.errors import UsageError
from stagedml.stages.fetch import fetchlocal, fetchurl, local_path
from stagedml.stages.parameters import ShareBetween
from stagedml.types import ParallelText

_URL = "https://raw.githubusercontent.com/TellinaTool/nl2bash/466c5fe873ab08c7cc0112ea1521cc6ad9c20992/data/bash/all.{}"
_SHA256 = {
    "nl": "1db0c529c350b463919624550b8f5882a97c42ad5051c7d49fbc496bc4e8b770",
    "cm": "3a72eaced7fa14a0938354cefc42b2dcafb2d47297102f1279086e18c3abe57e",
}


@stage(ParallelText, name="nl2bash")
def nl2bash(
    build: Build,
    *,
    descriptions: RefPath,
    commands: RefPath,
    languages: str = "nl-cm",
    train_share: ShareBetween = 0.9,
    seed: int = 0,
    folder: RefPath = output("text"),
) -> None:
    """Shuffle descriptions and commands in step, and hold a share out, as the first StagedML does."""
    from stagedml.ml.parallel_text import split_shuffled

    build.path(folder).mkdir()
    split_shuffled(
        [build.path(descriptions), build.path(commands)],
        [
            [build.path(folder) / f"{split}.{language}" for split in ("train", "valid")]
            for language in languages.split("-")
        ],
        share=train_share,
        seed=build.seed,
    )


def fetch_nl2bash(folder: str | os.PathLike[str] | None = None) -> ParallelText:
    """The corpus, parted in two.

    Args:
        folder: a local folder with `all.nl` and `all.cm`; default the authors' repository.

    Raises:
        UsageError: the folder does not hold them.
    """
    if folder is None:
        nl, cm = (fetchurl(_URL.format(language), sha256=sha256) for language, sha256 in _SHA256.items())
        return nl2bash(descriptions=nl.file, commands=cm.file)
    paths = [local_path("fetch_nl2bash", folder) / f"all.{language}" for language in _SHA256]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise UsageError(f"{folder} holds no {' and no '.join(missing)}, the files of NL2Bash")
    nl, cm = map(fetchlocal, paths)
    return nl2bash(descriptions=nl.file, commands=cm.file)
