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
from stagedml.errors import BuildError, UsageError
from stagedml.ml.glue import TASKS, GlueTask, glue_task
from stagedml.stages.fetch import fetchfolder, fetchurl, local_path
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
    "STS-B": (
        "https://dl.fbaipublicfiles.com/glue/data/STS-B.zip",
        "e60a6393de5a8b5b9bac5020a1554b54e3691f9d600b775bd131e613ac179c85",
    ),
    "QQP": (
        "https://dl.fbaipublicfiles.com/glue/data/QQP.zip",
        "40e7c862c04eb26ee04b67fd900e76c45c6ba8e6d8fab4f8f1f8072a1a3fbae0",
    ),
    "MNLI": (
        "https://dl.fbaipublicfiles.com/glue/data/MNLI.zip",
        "e7c1d896d26ed6caf700110645df426cc2d8ebf02a5ab743d5a5c68ac1c83633",
    ),
    "QNLI": (
        "https://dl.fbaipublicfiles.com/glue/data/QNLIv2.zip",
        "e634e78627a29adaecd4f955359b22bf5e70f2cbd93b493f2d624138a0c0e5f5",
    ),
    "RTE": (
        "https://dl.fbaipublicfiles.com/glue/data/RTE.zip",
        "6bf86de103ecd335f3441bd43574d23fef87ecc695977a63b82d5efb206556ee",
    ),
    "WNLI": (
        "https://dl.fbaipublicfiles.com/glue/data/WNLI.zip",
        "ae0e8e4d16f4d46d4a0a566ec7ecceccfd3fbfaa4a7a4b4e02848c0f2561ac46",
    ),
}
_AX = ("https://bit.ly/2BOtOJ7", "0e13510b1bb14436ff7e2ee82338f0efb0133ecf2e73507a697dc210db3f05fd")
#: The tasks whose official files can be fetched, in GLUE's order.
PUBLISHED = tuple(name for name in TASKS if name in {*_ARCHIVES, "MRPC", "AX"})


class TaskFilesMissing(BuildError):
    """An archive does not hold the files of the task."""

    def __init__(self, task: str, source: str) -> None:
        super().__init__(task, source)
        self.task, self.source = task, source

    def __str__(self) -> str:
        return f"{self.source} holds no folder with {_names(glue_task(self.task))} of {self.task}"


class NoTaskFolder(UsageError):
    """A local folder does not hold the files of the task."""

    def __init__(self, task: str, folder: str) -> None:
        super().__init__(task, folder)
        self.task, self.folder = task, folder

    def __str__(self) -> str:
        wanted = _names(glue_task(self.task))
        return f"{self.folder} holds neither a folder {self.task} with {wanted} in it, nor those files of {self.task}"


class NoOfficialSource(UsageError):
    """Nobody is known to publish the files of the task."""

    def __init__(self, task: str) -> None:
        super().__init__(task)
        self.task = task

    def __str__(self) -> str:
        wanted = _names(glue_task(self.task))
        return f"no URL with a sum is known for GLUE's {self.task}; give `folder`, where {wanted} lie"


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
    from stagedml.ml.glue_mrpc import make_mrpc

    build.path(folder).mkdir()
    make_mrpc(build.path(train_text), build.path(test_text), build.path(dev_ids), build.path(folder))


@stage(Glue, name="glue-{task:lower}")
def glue_diagnostic(build: Build, *, table: RefPath, task: str = "AX", folder: RefPath = output("AX")) -> None:
    """Put the diagnostic's one file where the files of a task are."""
    build.path(folder).mkdir()
    shutil.copy(build.path(table), build.path(folder) / glue_task(task).file("unlabelled").name)


@stage(Glue, name="glue-{task:lower}")
def glue_files(build: Build, *, source: Folder, task: str, folder: RefPath = output("{task}")) -> None:
    """Take one task's files out of an unpacked archive or a local folder."""
    top = build.path(source.folder)
    places = [top, *sorted(path for path in top.rglob("*") if path.is_dir() and path.name != "__MACOSX")]
    found = [place for place in places if _holds(place, glue_task(task))]
    if not found:
        raise TaskFilesMissing(task, str(top))
    shutil.copytree(found[0], build.path(folder))
    for place, _, _ in os.walk(build.path(folder)):
        os.chmod(place, 0o755)


def fetch_glue(task_name: str, folder: str | os.PathLike[str] | None = None) -> Glue:
    """One GLUE task.

    Args:
        task_name: as `all_fetchglue` takes it.
        folder: a local `glue_data` folder, or the task's folder in one; default the official sources.

    Raises:
        UnknownGlueTask: there is no such task.
        NoTaskFolder: the folder does not hold it.
        NoOfficialSource: it can be had from a folder only.
    """
    task = glue_task(task_name)
    if folder is not None:
        return glue_files(source=fetchfolder(_task_folder(task, local_path("fetch_glue", folder))), task=task.name)
    if task.name == "MRPC":
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
    if task.name == "AX":
        url, sha256 = _AX
        return glue_diagnostic(table=fetchurl(url, sha256=sha256, filename=task.file("unlabelled").name).file)
    if task.name not in _ARCHIVES:
        raise NoOfficialSource(task.name)
    url, sha256 = _ARCHIVES[task.name]
    return glue_files(source=fetchurl(url, sha256=sha256, unpack=True), task=task.name)


def tasks_in(folder: Path) -> list[str]:
    """The tasks that have a folder in a local folder, in GLUE's order.

    Raises:
        UsageError: there are none.
    """
    found = [name for name, task in TASKS.items() if any(_holds(place, task) for place in _folders(folder, task))]
    if not found:
        raise UsageError(f"{folder} holds no folder of a task of GLUE: {', '.join(TASKS)}")
    return found


def _task_folder(task: GlueTask, folder: Path) -> Path:
    for place in (*_folders(folder, task), folder):
        if _holds(place, task):
            return place
    raise NoTaskFolder(task.name, str(folder))


def _folders(folder: Path, task: GlueTask) -> tuple[Path, Path]:
    return folder / task.name, folder / (task.folder or task.name)


def _holds(folder: Path, task: GlueTask) -> bool:
    return all((folder / name).is_file() for name in task.needed)


def _names(task: GlueTask) -> str:
    return " and ".join(task.needed)
