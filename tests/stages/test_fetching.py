"""Fetch stages: what they are known by, where they look, and what they say when there is nothing."""

from __future__ import annotations

import hashlib
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from stagedml import (
    BuildError,
    UsageError,
    instantiate,
    mklens,
    plan,
    realize,
    realize_many,
    rref2path,
    store_initialize,
)
from stagedml.ml.glue import TASKS, glue_task
from stagedml.remotes.download import FetchFailed, WrongChecksum
from stagedml.stages.all import (
    Glue,
    all_fetchglue,
    all_fetchmnist,
    all_fetchnl2bash,
    all_fetchrusent,
    all_fetchsquad11,
    all_fetchwmt,
    dryrun_finetune_glue,
    fetchfolder,
    fetchlocal,
    fetchurl,
    glue_files,
    glue_tasks,
)

SOURCE = b"some bytes\n"
SUM = hashlib.sha256(SOURCE).hexdigest()


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> None:
    store_initialize(tmp_path / "root")


def test_a_file_url_is_fetched_verified_and_published(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(SOURCE)
    rref = realize(instantiate(lambda: fetchurl((tmp_path / "data.bin").as_uri(), sha256=SUM)))
    assert Path(rref2path(rref), "data.bin").read_bytes() == SOURCE
    assert mklens(rref).url.val.startswith("file://")


def test_a_mirror_is_asked_first_and_the_network_is_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mirror" / "deep").mkdir(parents=True)
    (tmp_path / "mirror" / "deep" / "data.bin").write_bytes(SOURCE)
    monkeypatch.setenv("STAGEDML_MIRRORS", str(tmp_path / "mirror"))
    rref = realize(instantiate(lambda: fetchurl("https://nowhere.invalid/data.bin", sha256=SUM)), offline=True)
    assert Path(rref2path(rref), "data.bin").read_bytes() == SOURCE


def test_offline_the_error_names_url_sum_and_the_variable() -> None:
    with pytest.raises(BuildError) as caught:
        realize(instantiate(lambda: fetchurl("https://nowhere.invalid/data.bin", sha256=SUM)), offline=True)
    assert isinstance(caught.value.__cause__, FetchFailed)
    for part in ("https://nowhere.invalid/data.bin", SUM, "STAGEDML_MIRRORS"):
        assert part in str(caught.value)


def test_a_wrong_sum_says_both_and_publishes_nothing(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"other bytes")
    closure = instantiate(lambda: fetchurl((tmp_path / "data.bin").as_uri(), sha256=SUM))
    with pytest.raises(BuildError) as caught:
        realize(closure)
    assert isinstance(caught.value.__cause__, WrongChecksum)
    assert SUM in str(caught.value)
    assert hashlib.sha256(b"other bytes").hexdigest() in str(caught.value)
    assert len(plan(closure).builds) == 1


def test_an_archive_is_unpacked_into_a_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("top/inner.txt", "hello")
    digest = hashlib.sha256((tmp_path / "a.zip").read_bytes()).hexdigest()
    rref = realize(instantiate(lambda: fetchurl((tmp_path / "a.zip").as_uri(), sha256=digest, unpack=True)))
    assert (mklens(rref).folder.syspath / "top" / "inner.txt").read_text() == "hello"


@pytest.mark.parametrize(
    ("url", "arguments", "says"),
    [
        ("https://x.invalid/a", {}, "no sum is given"),
        ("https://x.invalid/a", {"sha256": "abc"}, "'abc' is not a sha256 sum"),
        ("https://x.invalid/a", {"sha256": SUM, "sha1": "0" * 40}, "both"),
        ("ftp://x.invalid/a", {"sha256": SUM}, "http, https or file"),
        ("https://x.invalid/a", {"sha256": SUM, "filename": "../a"}, "../a"),
    ],
)
def test_what_cannot_be_fetched_is_refused_when_it_is_declared(url: str, arguments: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        instantiate(
            lambda: fetchurl(
                url, sha256=arguments.get("sha256"), sha1=arguments.get("sha1"), filename=arguments.get("filename")
            )
        )
    assert says in str(caught.value)


def test_a_local_file_is_known_by_name_and_contents_wherever_it_lies(tmp_path: Path) -> None:
    drefs = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "data.txt").write_bytes(SOURCE)
        closure = instantiate(fetchlocal, tmp_path / folder / "data.txt")
        drefs.append(closure.result)
        assert Path(rref2path(realize(closure)), "data.txt").read_bytes() == SOURCE
    assert drefs[0] == drefs[1]
    (tmp_path / "one" / "data.txt").write_bytes(b"changed")
    assert instantiate(fetchlocal, tmp_path / "one" / "data.txt").result != drefs[0]


def test_a_local_file_that_changes_between_declaring_and_building_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_bytes(SOURCE)
    closure = instantiate(fetchlocal, tmp_path / "data.txt")
    (tmp_path / "data.txt").write_bytes(b"changed")
    with pytest.raises(BuildError, match="changed since it was declared"):
        realize(closure)


def test_a_local_archive_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "inner.txt").write_text("hello")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "inner.txt", "inner.txt")
    rref = realize(instantiate(lambda: fetchlocal(tmp_path / "a.tar.gz", unpack=True)))
    assert (mklens(rref).folder.syspath / "inner.txt").read_text() == "hello"


def test_a_local_folder_is_an_input_by_its_contents(tmp_path: Path) -> None:
    (tmp_path / "data" / "sub").mkdir(parents=True)
    (tmp_path / "data" / "sub" / "a").write_text("x")
    closure = instantiate(fetchfolder, tmp_path / "data")
    assert (mklens(realize(closure)).folder.syspath / "sub" / "a").read_text() == "x"
    (tmp_path / "data" / "sub" / "a").write_text("y")
    assert instantiate(fetchfolder, tmp_path / "data").result != closure.result


def test_missing_local_files_are_named(tmp_path: Path) -> None:
    for stage, function in ((fetchlocal, "fetchlocal"), (fetchfolder, "fetchfolder"), (all_fetchmnist, "fetch_mnist")):
        with pytest.raises(UsageError, match=f"{function}: there is no {tmp_path}/nothing"):
            instantiate(stage, tmp_path / "nothing")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is no file; for a folder use `fetchfolder`"):
        instantiate(fetchlocal, tmp_path)
    with pytest.raises(UsageError, match="is no folder"):
        instantiate(fetchfolder, tmp_path / "file")


@pytest.mark.parametrize(
    "stage",
    [
        fetchlocal,
        fetchfolder,
        lambda folder: all_fetchglue("CoLA", folder=folder),
        lambda folder: all_fetchsquad11(folder=folder),
        lambda folder: all_fetchmnist(folder=folder),
        lambda folder: all_fetchnl2bash(folder=folder),
        lambda folder: all_fetchrusent(folder=folder),
        lambda folder: all_fetchwmt("de-en", folder=folder),
    ],
)
def test_an_empty_path_is_not_the_current_folder(stage: Callable[[str], object]) -> None:
    with pytest.raises(UsageError, match=r"\(''\): give a path"):
        instantiate(stage, "")


# -- GLUE --------------------------------------------------------------------------------------------------------------


def test_glue_is_one_derivation_a_task() -> None:
    result = instantiate(all_fetchglue).result
    assert list(result) == [*glue_tasks(), "AX"]
    assert len(set(result.values())) == 10


def test_the_tasks_of_glue_are_named_in_its_order() -> None:
    assert glue_tasks() == ["CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI", "QNLI", "RTE", "WNLI"]


def test_the_official_mrpc_files_give_glues_own(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGEDML_MIRRORS", str(shared_data))
    rref = realize(instantiate(all_fetchglue, "mrpc"), offline=True)
    made = mklens(rref).folder.syspath
    for name in ("train.tsv", "dev.tsv", "test.tsv"):
        assert (made / name).read_bytes() == (shared_data / "glue_data" / "MRPC" / name).read_bytes()


def test_a_local_glue_data_folder_is_taken_as_it_is(shared_data: Path) -> None:
    rref = realize(instantiate(all_fetchglue, "CoLA", shared_data / "glue_data"))
    made = mklens(rref).folder.syspath
    assert (made / "train.tsv").read_bytes() == (shared_data / "glue_data" / "CoLA" / "train.tsv").read_bytes()


def test_the_official_diagnostic_is_a_task_of_its_own(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGEDML_MIRRORS", str(shared_data))
    rref = realize(instantiate(all_fetchglue, "AX"), offline=True)
    made = mklens(rref).folder.syspath / "diagnostic.tsv"
    assert made.read_bytes() == (shared_data / "glue_data" / "diagnostic" / "diagnostic.tsv").read_bytes()
    local = realize(instantiate(all_fetchglue, "AX", shared_data / "glue_data"))
    assert [path.name for path in mklens(local).folder.syspath.iterdir()] == ["diagnostic.tsv"]


def write_tasks(folder: Path, *tasks: str) -> None:
    """Folders of tasks, each with its files; what is in them is the task's name."""
    for name in tasks:
        task = glue_task(name)
        for split in task.splits:
            path = folder / (task.folder or task.name) / task.file(split).name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_taken_from_its_folder_or_from_the_one_that_holds_it(tmp_path: Path, task: str) -> None:
    write_tasks(tmp_path, *TASKS)
    known = glue_task(task)
    inner = tmp_path / (known.folder or task)
    for folder in (tmp_path, inner):
        rref = realize(instantiate(all_fetchglue, task.lower(), folder))
        assert mklens(rref).task.val == task
        made = {path.name: path.read_text() for path in mklens(rref).folder.syspath.iterdir()}
        assert made == {known.file(split).name: task for split in known.splits}


def test_an_archive_with_a_top_folder_gives_the_tasks_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "QNLIv2.zip", "w") as archive:
        for name in ("QNLI/train.tsv", "QNLI/dev.tsv", "__MACOSX/QNLI/._dev.tsv"):
            archive.writestr(name, "QNLI")

    def all_unpacked(task: str) -> Glue:
        return glue_files(source=fetchlocal(tmp_path / "QNLIv2.zip", unpack=True), task=task)

    rref = realize(instantiate(all_unpacked, "QNLI"))
    assert sorted(path.name for path in mklens(rref).folder.syspath.iterdir()) == ["dev.tsv", "train.tsv"]
    with pytest.raises(BuildError, match=r"holds no folder with train\.tsv and dev_matched\.tsv of MNLI"):
        realize(instantiate(all_unpacked, "MNLI"))


def test_a_folder_without_the_tasks_files_is_named_when_declared(tmp_path: Path) -> None:
    write_tasks(tmp_path, "CoLA", "WNLI")
    with pytest.raises(UsageError, match=r"holds neither a folder RTE with train\.tsv and dev\.tsv in it"):
        instantiate(all_fetchglue, "RTE", tmp_path)
    with pytest.raises(UsageError, match=r"no folder of a task of GLUE"):
        instantiate(all_fetchglue, None, tmp_path / "CoLA")


def test_snli_can_be_had_from_a_folder_only() -> None:
    with pytest.raises(UsageError, match="no URL with a sum is known for GLUE's SNLI; give `folder`"):
        instantiate(all_fetchglue, "SNLI")


def test_an_unknown_task_lists_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"no GLUE task \['MRPC'\]; there are CoLA"):
        instantiate(dryrun_finetune_glue, ["MRPC"])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no GLUE task 'XNLI'; there are CoLA, SST-2, MRPC, STS-B"):
        instantiate(all_fetchglue, "XNLI")


def test_of_a_local_folder_all_tasks_that_it_holds_are_given_by_name(tmp_path: Path) -> None:
    write_tasks(tmp_path, "SNLI", "MRPC", "CoLA", "AX")
    realized = realize_many(instantiate(all_fetchglue, None, tmp_path))
    assert list(realized) == ["CoLA", "MRPC", "AX", "SNLI"]
    assert all(len(rrefs) == 1 for rrefs in realized.values())
