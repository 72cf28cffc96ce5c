"""GLUE: the tasks' files, by GLUE's own recipe for MRPC, from the published archives, or from a local folder.

Wang et al. 2018, GLUE: A Multi-Task Benchmark and Analysis Platform for Natural Language Understanding. The sums of the
archives are those that TensorFlow Datasets checks.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import output, stage
from stagedml.errors import BuildError
from stagedml.ml.glue import glue_task
from stagedml.stages.fetch import fetchfolder, fetchurl
from stagedml.types import Folder, Glue

_MRPC = "https://dl.fbaipublicfiles.com/senteval/senteval_data/"
_MRPC_DEV_IDS = (
    "https://firebasestorage.googleapis.com/v0/b/mtl-sentence-representations.appspot.com/o/"
    "data%2Fmrpc_dev_ids.tsv?alt=media&token=ec5c0836-31d5-48f4-b431-7480817f1adc"
)
_ARCHIVES = {  # task: (URL, sha256)
    "CoLA": (
        "https://dl.fbaipublicfiles.com/glue/data/CoLA.zip",
        "f212fcd832b8f7b435fb991f101abf89f96b933ab400603bf198960dfc32cbff",
    ),
    "SST-2": (
        "https://dl.fbaipublicfiles.com/glue/data/SST-2.zip",
        "d67e16fb55739c1b32cdce9877596db1c127dc322d93c082281f64057c16deaa",
    ),
    "RTE": (
        "https://dl.fbaipublicfiles.com/glue/data/RTE.zip",
        "6bf86de103ecd335f3441bd43574d23fef87ecc695977a63b82d5efb206556ee",
    ),
}


class TaskFilesMissing(BuildError):
    """A folder or archive does not hold the files of the task."""

    def __init__(self, task: str, source: str) -> None:
        super().__init__(task, source)
        self.task, self.source = task, source

    def __str__(self) -> str:
        return f"{self.source} holds no folder with train.tsv and dev.tsv of {self.task}"


@stage(Glue, name="glue-{task:lower}")
def glue_mrpc(
    build: Build,
    *,
    train_text: RefPath,
    test_text: RefPath,
    dev_ids: RefPath,
    task: str = "MRPC",
    folder: RefPath = output("MRPC"),
) -> None:
    """Make GLUE's MRPC from the corpus's two text files and the list of pairs that GLUE calls dev."""
    from stagedml.ml.glue import make_mrpc

    build.path(folder).mkdir()
    make_mrpc(build.path(train_text), build.path(test_text), build.path(dev_ids), build.path(folder))


@stage(Glue, name="glue-{task:lower}")
def glue_files(build: Build, *, source: Folder, task: str, folder: RefPath = output("{task}")) -> None:
    """Take one task's files out of an unpacked archive or a local folder."""
    top = build.path(source.folder)
    places = [top, *sorted(path for path in top.rglob("*") if path.is_dir() and path.name != "__MACOSX")]
    found = [place for place in places if (place / "train.tsv").is_file() and (place / "dev.tsv").is_file()]
    if not found:
        raise TaskFilesMissing(task, str(top))
    shutil.copytree(found[0], build.path(folder))
    for place, _, _ in os.walk(build.path(folder)):
        os.chmod(place, 0o755)


def fetch_glue(task_name: str, folder: str | os.PathLike[str] | None = None) -> Glue:
    """One GLUE task.

    Args:
        task_name: MRPC, CoLA, SST-2 or RTE, however capitalised.
        folder: a local `glue_data` folder, or the task's folder in one; default the official sources.

    Raises:
        UnknownGlueTask: there is no such task.
        UsageError: the folder is not there.
    """
    task = glue_task(task_name).name
    if folder is not None:
        inside = Path(folder) / task
        return glue_files(source=fetchfolder(inside if inside.is_dir() else folder), task=task)
    if task == "MRPC":
        return glue_mrpc(
            train_text=fetchurl(
                _MRPC + "msr_paraphrase_train.txt",
                sha256="60a9b09084528f0673eedee2b69cb941920f0b8cd0eeccefc464a98768457f89",
            ).file,
            test_text=fetchurl(
                _MRPC + "msr_paraphrase_test.txt",
                sha256="a04e271090879aaba6423d65b94950c089298587d9c084bf9cd7439bd785f784",
            ).file,
            dev_ids=fetchurl(
                _MRPC_DEV_IDS,
                sha256="971d7767d81b997fd9060ade0ec23c4fc31cbb226a55d1bd4a1bac474eb81dc7",
                filename="mrpc_dev_ids.tsv",
            ).file,
        )
    url, sha256 = _ARCHIVES[task]
    return glue_files(source=fetchurl(url, sha256=sha256, unpack=True), task=task)
