"""Opening a store: what is made, what is refused, and what a user without rights, or without space, is told."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from format import independent_reader as reader
from stagedml import (
    Build,
    BuildError,
    RefPath,
    StoreError,
    current_store,
    instantiate,
    mklens,
    output,
    plan,
    realize,
    stage,
    store_initialize,
    using_store,
)
from stagedml.engine.failures import BuildFailed
from stagedml.settings import read_settings
from stagedml.store.objects import Store, StoreUnusable
from stagedml.testing import toys
from unprivileged import as_nobody


def opened(root: Path) -> Store:
    return Store.open(read_settings({}, root=root))


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_newer_layout_is_refused_and_nothing_is_written_to_it(tmp_path: Path) -> None:
    side = tmp_path / "store-v0.stagedml"
    side.mkdir()
    (side / "version").write_text("2\n")
    before = tree(tmp_path)
    with pytest.raises(StoreUnusable, match="version 2, this StagedML knows 1; use a newer StagedML"):
        opened(tmp_path)
    assert tree(tmp_path) == before


def test_the_environment_names_the_store_unless_an_argument_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYLIGHTNIX_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("PYLIGHTNIX_STORAGE", str(tmp_path / "elsewhere" / "storage"))
    monkeypatch.setenv("PYLIGHTNIX_TMP", str(tmp_path / "scratch"))
    store_initialize()
    layout = current_store().layout
    assert (layout.root, layout.storage) == (tmp_path / "root", tmp_path / "elsewhere" / "storage")
    assert layout.tmp == tmp_path / "scratch"
    store_initialize(tmp_path / "other")
    assert current_store().layout.storage == tmp_path / "other" / "store-v0"
    assert tree(tmp_path / "elsewhere")[0] == "storage"


def test_a_store_that_is_not_there_is_not_made_by_reading(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable, match="store_initialize"):
        Store.open(read_settings({}, root=tmp_path / "nowhere"), create=False)
    assert tree(tmp_path) == []


@pytest.fixture
def other_file_system(tmp_path: Path) -> Iterator[Path]:
    shared_memory = Path("/dev/shm")
    if not os.access(shared_memory, os.W_OK) or shared_memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    folder = shared_memory / f"stagedml-test-{os.getpid()}"
    folder.mkdir()
    yield folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_a_store_on_two_file_systems_is_refused(tmp_path: Path, other_file_system: Path) -> None:
    for settings in (
        read_settings({}, root=tmp_path, tmp=other_file_system / "tmp"),
        read_settings({}, root=other_file_system / "root", tmp=tmp_path / "tmp"),
    ):
        with pytest.raises(StoreUnusable, match="on another file system"):
            Store.open(settings)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "store-v0").symlink_to(other_file_system)
    with pytest.raises(StoreUnusable, match="on another file system"):
        opened(tmp_path / "linked")


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "store-v0").write_text("")
    with pytest.raises(StoreUnusable, match=str(tmp_path / "store-v0")):
        opened(tmp_path)


# -- without rights ---------------------------------------------------------------------------------------------------


@pytest.mark.unprivileged
def test_a_root_that_may_not_be_written_is_named(nobody_path: Path) -> None:
    nobody_path.chmod(0o555)

    def check() -> None:
        with pytest.raises(StoreUnusable, match=r"Permission denied.*there"):
            opened(nobody_path / "there")

    as_nobody(check)


@pytest.mark.unprivileged
def test_who_may_only_read_reuses_everything_and_is_told_when_something_is_to_be_built(nobody_path: Path) -> None:
    def fill() -> str:
        with using_store(opened(nobody_path)):
            return str(realize(instantiate(toys.all_counted, "hello")))

    def lock_up() -> None:
        for folder, _, _ in os.walk(nobody_path):
            os.chmod(folder, 0o555)

    def use(rref: str) -> None:
        with using_store(opened(nobody_path)):
            target = instantiate(toys.all_counted, "hello")
            assert plan(target).builds == ()
            assert realize(target) == rref
            assert mklens(rref).counts.H.val == 1.0
            with pytest.raises(StoreError, match="Permission denied"):
                realize(target, force=True)
            new = instantiate(toys.all_counted, "new")
            assert [step.name for step in plan(new).builds] == ["text", "upper", "count"]
            with pytest.raises(StoreError, match="Permission denied"):
                realize(new)

    rref = as_nobody(fill)
    as_nobody(lock_up)
    as_nobody(use, rref)


# -- without space ----------------------------------------------------------------------------------------------------


@stage(toys.Text, name="big")
def big(build: Build, *, size_bytes: int, text: RefPath = output("text.txt")) -> None:
    """Write a file of some size."""
    build.path(text).write_bytes(b"x" * size_bytes)


def test_a_full_disk_fails_the_build_and_leaves_the_store_valid(small_disk: Path) -> None:
    with using_store(opened(small_disk)) as store:
        rref = realize(instantiate(toys.all_counted, "hello"))
        with pytest.raises(BuildFailed, match="No space left") as failed:
            realize(instantiate(big, size_bytes=300_000))
        assert re.search(rf"[\d,]+ bytes were free on the file system of {small_disk}.*stagedml gc", str(failed.value))
        assert failed.value.scratch == ""  # what was written makes room
        assert reader.read_store(store.layout.storage).findings == []
        assert realize(instantiate(toys.all_counted, "hello")) == rref
        ballast = small_disk / "ballast"
        with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
            while True:
                file.write(b"x" * 512)
        for content in ("a", "b", "c"):
            with pytest.raises((BuildError, StoreError), match=r"No space left.* bytes (are|were) free"):
                realize(instantiate(toys.all_counted, content))
        assert reader.read_store(store.layout.storage).findings == []
        ballast.unlink()
        assert mklens(realize(instantiate(toys.all_counted, "a"))).counts.A.val == 1.0
        assert reader.read_store(store.layout.storage).findings == []


def test_a_store_inside_of_another_one_is_refused(store: Store) -> None:
    with pytest.raises(StoreUnusable, match=f"inside of the store {store.layout.storage}"):
        opened(store.layout.storage)
