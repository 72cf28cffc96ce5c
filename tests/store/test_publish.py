"""What may be published, how it lies there, and what happens when somebody damages it."""

from __future__ import annotations

import json
import logging
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from format import independent_reader as reader
from stagedml import (
    Artifact,
    Build,
    Exec,
    RefPath,
    RRef,
    instantiate,
    mklens,
    output,
    pinned,
    plan,
    realize,
    realize_many,
    stage,
    using_store,
)
from stagedml.core.reasons import Cause
from stagedml.core.refs import parse_dref, parse_rref
from stagedml.engine.failures import BuildFailed
from stagedml.settings import read_settings
from stagedml.store import atomic
from stagedml.store.hashing import UnpublishableContent
from stagedml.store.objects import Store
from stagedml.store.verify import verify
from stagedml.testing import toys
from unprivileged import as_nobody


class Things(Artifact):
    """Whatever a test wants to publish."""

    things: RefPath


def _absolute_link(things: Path) -> None:
    (things / "bad").symlink_to("/etc/hostname")


def _escaping_link(things: Path) -> None:
    (things / "bad").symlink_to("../../config.json")


def _link_escaping_by_another(things: Path) -> None:
    (things / "up").symlink_to("..")
    (things / "bad").symlink_to("up/../config.json")


def _fifo(things: Path) -> None:
    os.mkfifo(things / "bad")


def _socket(things: Path) -> None:
    os.mknod(things / "bad", stat.S_IFSOCK | 0o600)


def _name_that_is_not_utf8(things: Path) -> None:
    Path(os.fsdecode(os.fsencode(things) + b"/bad\xff")).write_text("")


def _link_to_what_is_not_utf8(things: Path) -> None:
    os.symlink(b"no\xff", os.fsencode(things) + b"/bad")


AWKWARD: dict[str, Callable[[Path], None]] = {
    "an absolute link": _absolute_link,
    "a link out": _escaping_link,
    "a link out by way of another": _link_escaping_by_another,
    "a fifo": _fifo,
    "a socket": _socket,
    "a name": _name_that_is_not_utf8,
    "a target": _link_to_what_is_not_utf8,
}


@stage(Things, name="awkward")
def awkward(build: Build, *, kinds: list[str], things: RefPath = output("things")) -> None:
    """Make things that a store cannot keep."""
    build.path(things).mkdir()
    for kind in kinds:
        AWKWARD[kind](build.path(things))


@stage(Things, name="reserved")
def reserved(build: Build, *, file: str, things: RefPath = output("things")) -> None:
    """Write a file whose name Pylightnix needs."""
    build.path(things).mkdir()
    (build.outpath / file).write_text("{}")


@stage(Things, name="fine")
def fine(build: Build, *, things: RefPath = output("things")) -> None:
    """Make everything that a store keeps."""
    folder = build.path(things)
    (folder / "empty").mkdir(parents=True)
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "secret").write_text("")
    (folder / "secret").chmod(0o600)
    (folder / "link").symlink_to("../things/run.sh")
    (folder / "folder").symlink_to("empty")
    (folder / "dangling").symlink_to("nothing/here")
    (folder / "loop").symlink_to("loop")
    (folder / "é\n").write_text("")
    (build.log_dir / "events").write_text("x")


def damage(path: Path, act: Callable[[Path], object]) -> None:
    """Do something to a published file, as somebody who owns it might."""
    path.parent.chmod(0o755)
    path.chmod(0o644)
    act(path)
    path.parent.chmod(0o555)


def quarantined(store: Store) -> list[Path]:
    return sorted(store.layout.quarantine.iterdir()) if store.layout.quarantine.exists() else []


# -- what may be published --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", AWKWARD)
def test_what_cannot_be_kept_is_refused_by_name_and_nothing_is_published(store: Store, kind: str) -> None:
    target = instantiate(awkward, kinds=[kind])
    with pytest.raises(BuildFailed, match="things/bad") as failed:
        realize(target)
    assert isinstance(failed.value.__cause__, UnpublishableContent)
    assert store.realizations(parse_dref(target.result)) == []
    assert list(store.layout.metadata.rglob("*.json")) == []
    assert reader.read_store(store.layout.storage).findings == []


def test_every_problem_is_listed_at_once(store: Store) -> None:
    with pytest.raises(BuildFailed) as failed:
        realize(instantiate(awkward, kinds=["a link out by way of another", "a name"]))
    assert isinstance(failed.value.__cause__, UnpublishableContent)
    assert len(failed.value.__cause__.problems) == 2


@pytest.mark.parametrize("file", ["context.json", "group.json"])
def test_reserved_names_are_refused(store: Store, file: str) -> None:
    target = instantiate(reserved, file=file)
    with pytest.raises(BuildFailed, match=f"{file}: a reserved name"):
        realize(target)
    assert store.realizations(parse_dref(target.result)) == []


def test_everything_else_is_kept_as_it_was(store: Store) -> None:
    path = Path(mklens(realize(instantiate(fine))).things.syspath)
    assert os.readlink(path / "link") == "../things/run.sh"
    assert os.access(path / "run.sh", os.X_OK)
    assert (path / "empty").is_dir()
    assert (path / "folder").is_symlink()
    assert reader.read_store(store.layout.storage).findings == []


def test_published_files_are_read_only_by_mode(store: Store) -> None:
    path = store.path(parse_rref(realize(instantiate(fine))))
    for item in [path, *path.rglob("*")]:
        if not item.is_symlink():
            assert item.stat().st_mode & 0o222 == 0, item
    assert store.layout.config(parse_rref(realize(instantiate(fine))).derivation).stat().st_mode & 0o222 == 0


@pytest.mark.unprivileged
def test_published_files_cannot_be_changed_by_who_published_them(nobody_path: Path) -> None:
    def check() -> None:
        with using_store(Store.open(read_settings({}, root=nobody_path))) as store:
            path = store.path(parse_rref(realize(instantiate(fine))))
            with pytest.raises(PermissionError):
                (path / "things" / "run.sh").write_text("")
            with pytest.raises(PermissionError):
                (path / "things" / "run.sh").unlink()
            with pytest.raises(PermissionError):
                (path / "things" / "new").write_text("")
            with pytest.raises(PermissionError):
                (path / "things").rename(path / "others")
            assert reader.read_store(store.layout.storage).findings == []

    as_nobody(check)


# -- damage -----------------------------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    os.truncate(path, 1)


@pytest.mark.parametrize("act", [Path.unlink, truncate])
def test_a_declared_output_that_is_damaged_is_noticed_set_aside_and_rebuilt(
    store: Store, act: Callable[[Path], object]
) -> None:
    target = instantiate(toys.all_counted, "hello")
    rref = realize(target)
    counts = mklens(rref).counts.syspath
    whole = counts.read_text()
    damage(counts, act)
    (step,) = plan(target).builds
    assert (step.cause, step.instances) == (Cause.BYTES_MISSING, (0,))
    assert rref in step.detail
    assert realize(target) == rref
    assert counts.read_text() == whole
    assert [place.name.split("-")[-2] for place in quarantined(store)] == [rref[5:37]]
    assert reader.read_store(store.layout.storage).findings == []


@pytest.mark.unprivileged
def test_what_is_damaged_is_rebuilt_by_an_unprivileged_user(nobody_path: Path) -> None:
    def check() -> None:
        with using_store(Store.open(read_settings({}, root=nobody_path))) as store:
            rref = realize(instantiate(toys.all_counted, "hello"))
            damage(mklens(rref).counts.syspath, Path.unlink)
            assert realize(instantiate(toys.all_counted, "hello")) == rref
            assert len(quarantined(store)) == 1
            assert reader.read_store(store.layout.storage).findings == []

    as_nobody(check)


class Checkpoint(Artifact):
    """A TensorFlow checkpoint, as far as its names go."""

    checkpoint: RefPath
    events: RefPath


@stage(Checkpoint, name="checkpoint")
def checkpoint(
    build: Build, *, checkpoint: RefPath = output("model.ckpt", prefix=True), events: RefPath = output("events")
) -> None:
    """Write a checkpoint of two files, and a folder."""
    for suffix in ("index", "data"):
        build.outpath.joinpath(f"model.ckpt.{suffix}").write_text(suffix)
    build.path(events).mkdir()
    build.path(events).joinpath("one").write_text("1")


@pytest.mark.parametrize("name", ["model.ckpt.data", "model.ckpt.index"])
def test_a_prefix_is_damaged_when_one_of_its_files_is(store: Store, name: str) -> None:
    rref = realize(instantiate(checkpoint))
    damage(store.path(parse_rref(rref)) / name, Path.unlink)
    assert plan(instantiate(checkpoint)).builds[0].cause is Cause.BYTES_MISSING
    assert realize(instantiate(checkpoint)) == rref
    assert reader.read_store(store.layout.storage).findings == []


def test_a_rebuild_does_not_take_changed_bytes_for_its_own(store: Store) -> None:
    target = instantiate(toys.all_counted, "hello")
    rref = realize(target)
    counts = mklens(rref).counts.syspath
    whole = counts.read_text()
    damage(counts, lambda path: path.write_text(whole.replace("1", "7")))  # of the same size
    assert realize(target, force=True) == rref
    assert counts.read_text() == whole
    assert len(quarantined(store)) == 1
    assert reader.read_store(store.layout.storage).findings == []


def test_a_rebuild_that_comes_out_as_before_changes_nothing(store: Store) -> None:
    rref = realize(instantiate(toys.all_counted, "hello"))
    before = mklens(rref).counts.syspath.stat()
    assert realize(instantiate(toys.all_counted, "hello"), force=True) == rref
    after = mklens(rref).counts.syspath.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert quarantined(store) == []
    known = store.metadata(parse_rref(rref))
    assert known is not None
    assert [build.instance for build in known.builds] == [0, 0]


def metadata_of(store: Store, rref: RRef) -> Path:
    return store.layout.metadata_of(parse_rref(rref))


def test_a_realization_that_lost_its_metadata_is_reused(store: Store) -> None:
    target = instantiate(toys.all_counted, "hello")
    rref = realize(target)
    metadata_of(store, rref).unlink()
    assert plan(target).builds == ()
    assert realize(target) == rref


def test_unreadable_metadata_is_warned_of_passed_over_and_mended_by_a_rebuild(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    target = instantiate(toys.all_counted, "hello")
    rref = realize(target)
    metadata_of(store, rref).write_text('{"format": 1,')
    with caplog.at_level(logging.WARNING):
        assert realize(target) == rref
    assert str(metadata_of(store, rref)) in caplog.text
    assert realize(target, force=True) == rref
    assert json.loads(metadata_of(store, rref).read_text())["rref"] == rref
    assert reader.read_store(store.layout.storage).findings == []


def test_a_lost_context_is_restored_by_building_again(store: Store) -> None:
    target = instantiate(toys.all_counted, "hello")
    rref = realize(target)
    damage(store.layout.context(parse_rref(rref)), Path.unlink)
    assert realize(target) == rref
    assert mklens(rref).source.text.contents == "HELLO"
    assert reader.read_store(store.layout.storage).findings == []


def test_equal_bytes_share_a_realization_and_keep_both_instances(store: Store) -> None:
    rrefs = realize_many(instantiate(toys.sample, constant=True), instances=2)
    assert rrefs[0] == rrefs[1]
    known = store.metadata(parse_rref(rrefs[0]))
    assert known is not None
    assert known.instances == (0, 1)


def test_names_may_be_long(store: Store) -> None:
    long = "n" * 120
    rref = realize(instantiate(toys.node, label=long, inputs=[]))
    assert parse_rref(rref).name == f"node-{long}"
    assert reader.read_store(store.layout.storage).findings == []


# -- odd content: exactly kept, or refused by name --------------------------------------------------------------------


@stage(Things, name="odd")
def odd(build: Build, *, kind: str, elsewhere: Exec[str] = "", things: RefPath = output("things")) -> None:
    """Make one odd thing; `elsewhere` is a folder outside of the store."""
    folder = build.path(things)
    folder.mkdir()
    ODD[kind](folder, Path(elsewhere))


def _linked_from_elsewhere(things: Path, elsewhere: Path) -> None:
    os.link(elsewhere / "data", things / "data")
    os.link(elsewhere / "data", things / "again")


def _linked_inside(things: Path, _: Path) -> None:
    (things / "data").write_text("data")
    os.link(things / "data", things / "again")


def _case_twins(things: Path, _: Path) -> None:
    for name in ("data", "Data", "DATA"):
        (things / name).write_text(name)


def _deep(things: Path, depth: int) -> None:
    descriptor = os.open(things, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=descriptor)
        inner = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(os.open("data", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor))
    os.close(descriptor)


def _sparse(things: Path, _: Path) -> None:
    with open(things / "data", "wb") as file:
        file.seek(50 << 20)
        file.write(b"end")


def _unreadable(things: Path, _: Path) -> None:
    (things / "data").write_text("data")
    (things / "data").chmod(0o200)
    (things / "folder").mkdir(mode=0o100)


ODD: dict[str, Callable[[Path, Path], None]] = {
    "linked from elsewhere": _linked_from_elsewhere,
    "linked inside": _linked_inside,
    "case twins": _case_twins,
    "deep": lambda things, _: _deep(things, 1500),
    "too deep": lambda things, _: _deep(things, 2500),
    "sparse": _sparse,
    "unreadable": _unreadable,
}


def test_a_file_that_is_linked_from_elsewhere_cannot_be_changed_from_there(store: Store, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_text("before")
    rref = realize(instantiate(odd, kind="linked from elsewhere"), args={"elsewhere": str(tmp_path)})
    assert data.stat().st_mode & 0o200
    data.write_text("after")
    things = Path(mklens(rref).things.syspath)
    assert {path.read_text() for path in things.iterdir()} == {"before"}
    assert len(list(things.iterdir())) == 2
    assert verify(store).findings == ()


def test_a_pinned_realization_shares_its_bytes_with_its_source(store: Store) -> None:
    source = realize(instantiate(toys.text, content="shared"))
    copy = realize(instantiate(lambda: pinned(source, toys.Text)))
    inodes = [Path(mklens(rref).text.syspath).stat().st_ino for rref in (source, copy)]
    assert inodes[0] == inodes[1]
    assert verify(store).findings == ()


@pytest.mark.parametrize(("kind", "count"), [("linked inside", 2), ("case twins", 3)])
def test_links_among_each_other_and_names_that_differ_in_case_are_kept(store: Store, kind: str, count: int) -> None:
    rref = realize(instantiate(odd, kind=kind))
    assert len(os.listdir(mklens(rref).things.syspath)) == count
    assert verify(store).findings == ()
    assert reader.read_store(store.layout.storage).findings == []


def test_a_deep_tree_is_kept_and_one_that_is_too_deep_is_refused_by_name(store: Store) -> None:
    rref = realize(instantiate(odd, kind="deep"))
    assert verify(store).findings == ()
    with pytest.raises(BuildFailed, match=r"things/d/d/.*bytes of path, \d+ fit into this store"):
        realize(instantiate(odd, kind="too deep"))
    with pytest.raises(BuildFailed):  # what the first attempt left is removed by the second
        realize(instantiate(odd, kind="too deep"))
    assert realize(instantiate(odd, kind="deep"), force=True) == rref
    assert [sorted(os.listdir(path)) for path in store.layout.scratch.iterdir()] == [["build.log", "out"]]
    atomic.remove_tree(store.layout.scratch)
    assert not store.layout.scratch.exists()
    atomic.remove_tree(store.layout.storage)  # what `rm -rf`, and pytest, cannot remove


def test_holes_stay_holes(store: Store) -> None:
    rref = realize(instantiate(odd, kind="sparse"))
    status = (Path(mklens(rref).things.syspath) / "data").stat()
    assert status.st_size == (50 << 20) + 3
    assert status.st_blocks * 512 < 1 << 20
    known = store.metadata(parse_rref(rref))
    assert known is not None
    assert [entry.digest for entry in known.files if entry.kind == "f"] == [
        blake3(bytes(50 << 20) + b"end").hexdigest()
    ]


@pytest.mark.unprivileged
def test_what_the_builder_cannot_read_again_is_refused_by_name(nobody_path: Path) -> None:
    def check() -> None:
        with using_store(Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=nobody_path / "root"))):
            with pytest.raises(BuildFailed) as failed:
                realize(instantiate(odd, kind="unreadable"))
            assert "things/data: cannot be read: Permission denied" in str(failed.value)
            assert "things/folder: cannot be read: Permission denied" in str(failed.value)

    as_nobody(check)


def test_large_files_are_hashed_in_bounded_memory(tmp_path: Path) -> None:
    sizes = [600 << 20, 40 << 20, 3 << 20, 3 << 20]
    for index, size in enumerate(sizes):
        with open(tmp_path / str(index), "wb") as file:
            file.write(bytes([index]))
            file.truncate(size)
    script = (
        "import resource, sys\nfrom stagedml.store.hashing import scan\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\nentries = scan(sys.argv[1])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, *[entry.digest for entry in entries])"
    )
    run = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    grown_kib, *digests = run.stdout.split()
    assert int(grown_kib) < 64 << 10
    for index, (size, digest) in enumerate(zip(sizes, digests, strict=True)):
        hasher = blake3(bytes([index]))
        hasher.update(bytes(size - 1))
        assert digest == hasher.hexdigest()
