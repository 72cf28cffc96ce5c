"""What may be published, how it lies there, and what happens when somebody damages it."""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from format import independent_reader as reader
from stagedml import (
    Artifact,
    Build,
    RefPath,
    RRef,
    instantiate,
    mklens,
    output,
    plan,
    realize,
    realize_many,
    stage,
    using_store,
)
from stagedml.core.plan import Cause
from stagedml.core.refs import parse_dref, parse_rref
from stagedml.engine.realize import BuildFailed
from stagedml.settings import read_settings
from stagedml.store.hashing import UnpublishableContent
from stagedml.store.objects import Store
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
