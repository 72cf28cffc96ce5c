"""Closures go out as archives and come in again: the same bytes, all of it or nothing, nothing that is not right."""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from compat.plain import doubled, our_store, pair, plain_storage, plx
from faulting import faults
from format import independent_archive as independent
from format import independent_reader as reader
from format.independent_archive import Member
from stagedml import Build, RefPath, instantiate, mklens, output, pinned, realize, realize_many, stage, using_store
from stagedml.cli.main import EXIT_FAILED, EXIT_USAGE, main
from stagedml.core import config as configs
from stagedml.core.refs import RealizationRef, parse_rref
from stagedml.settings import read_settings
from stagedml.store import atomic, gc, roots
from stagedml.store.archive import Imported, copy, export, import_archive
from stagedml.store.collect import collect as collect_planned
from stagedml.store.collect import remove
from stagedml.store.hashing import Entry, UnpublishableContent
from stagedml.store.members import ArchiveNotWritten, BadArchive, Reader, header
from stagedml.store.metadata import BuildRecord
from stagedml.store.objects import DamagedFile, DiskFull, NotInStore, Store, StoreUnusable
from stagedml.store.publish import publish
from stagedml.store.verify import Kind, verify
from stagedml.testing import toys
from stagedml.testing.faults import Fault, count_calls, with_fault
from unprivileged import NOBODY, as_nobody

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "store-format.md"


def opened(root: Path) -> Store:
    return Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=root))


def exported(store: Store, *rrefs: str, records: bool = False) -> bytes:
    stream = io.BytesIO()
    export(store, map(parse_rref, rrefs), stream, records=records)
    return stream.getvalue()


def imported(store: Store, archive: bytes) -> Imported:
    return import_archive(store, io.BytesIO(archive))


def realized(store: Store, target: Callable[..., Any], *arguments: Any) -> str:
    with using_store(store):
        return str(realize(instantiate(target, *arguments)))


def in_store(store: Store) -> set[str]:
    return {str(ref) for derivation in store.derivations() for ref in store.realizations(derivation)}


def tree(folder: Path) -> dict[str, str]:
    """Everything below a folder: kind, mode and contents, by path."""
    found = {}
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        what = os.readlink(path) if path.is_symlink() else path.read_bytes().hex() if path.is_file() else ""
        found[str(path.relative_to(folder))] = f"{stat.filemode(mode)} {what}"
    return found


def everything(store: Store) -> dict[str, str]:
    """What a store consists of, but for claims and locks of running processes, and journals of past runs."""
    passing = ("/live/", "/store.", "/runs/")
    found = tree(store.layout.root)
    return {path: what for path, what in found.items() if not any(part in path for part in passing)}


def contents(store: Store, rref: str) -> dict[str, str]:
    """The artifacts of a realization, and its context, as if all were read-only."""
    found = tree(store.path(parse_rref(rref)))
    return {
        path: what if what.startswith("l") else what.replace("w", "-", 1)
        for path, what in found.items()
        if not path.startswith("__")
    }


def check(store: Store) -> None:
    """Nothing is wrong in a store, and nothing was left behind."""
    assert verify(store).findings == ()
    assert reader.read_store(store.layout.storage).findings == []
    assert list(store.layout.scratch.iterdir()) == []
    assert list(store.layout.locks.iterdir()) == []


def of_stage(store: Store, name: str) -> RealizationRef:
    (ref,) = (ref for one in store.derivations() if one.name == name for ref in store.realizations(one))
    return ref


def altered(path: Path, change: Callable[[Path], object]) -> None:
    """Do something to a published file, and leave it read-only."""
    path.parent.chmod(0o755)
    path.chmod(0o644)
    change(path)
    if path.exists():
        path.chmod(0o444)
    path.parent.chmod(0o555)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


LONG = "deep/" * 60 + "x" * 200  # more than 255 bytes, and more than 100
NAMES = ("a b", "é", "new\nline", "end\n", "-", "quote\"'\\", "日本", "n" * 100, "n" * 101, "ü" * 60, LONG, "=", "*")


@stage(toys.Text, name="odd")
def odd(build: Build, *, source: toys.Text, text: RefPath = output("text.txt")) -> None:
    """All that a realization can hold."""
    top = build.path(text).parent
    build.path(text).write_bytes(os.urandom(0))
    for name in NAMES:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(name)
    (top / "empty" / "inner").mkdir(parents=True)
    (top / "run.sh").write_text("#!/bin/sh\n")
    (top / "run.sh").chmod(0o755)
    (top / "large").write_bytes(bytes(range(256)) * 10_000)
    (top / "empty" / "up").symlink_to("../run.sh")
    (top / "folder-link").symlink_to("empty")
    (top / "dangling").symlink_to("nö/where")
    (top / "far").symlink_to("deep/" + "d" * 150)
    (build.log_dir / "log.txt").write_text("done")
    os.mkfifo(build.log_dir / "fifo")


def all_odd() -> toys.Text:
    return odd(source=toys.text(content="hello"))


@pytest.fixture
def quick_path() -> Iterator[Path]:
    """A folder of the user of `as_nobody`, in memory if that can be had, for tests that make very many files."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="stagedml-test-", dir=memory if os.access(memory, os.W_OK) else None))
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    yield folder
    atomic.remove_tree(folder)


# -- out and in again -------------------------------------------------------------------------------------------------


def test_a_closure_comes_out_of_an_archive_as_it_went_in(store: Store, tmp_path: Path) -> None:
    rref = realized(store, all_odd)
    archive = exported(store, rref)
    other = opened(tmp_path / "other")
    result = imported(other, archive)
    assert result.asked == (rref,)
    assert result.imported == (str(of_stage(store, "text")), rref)
    assert result.present == ()
    for text in result.imported:
        assert contents(other, text) == contents(store, text)
        ref = parse_rref(text)
        assert other.layout.config(ref.derivation).read_bytes() == store.layout.config(ref.derivation).read_bytes()
        theirs, ours = store.metadata(ref), other.metadata(ref)
        assert theirs is not None
        assert ours is not None
        assert (ours.digest, ours.content, ours.inputs, ours.files) == (
            theirs.digest,
            theirs.content,
            theirs.inputs,
            theirs.files,
        )
        (build,) = ours.builds
        assert (build.instance, build.seed) == (0, theirs.builds[0].seed)
        assert (build.host, build.user, build.arguments, build.environment) == ("", "", {}, {})
        assert build.started == build.stopped > theirs.started
    check(other)
    assert realized(other, all_odd) == rref  # nothing is built
    before = everything(other)
    again = imported(other, archive)
    assert (again.imported, again.present, again.size_bytes) == ((), result.imported, 0)
    assert everything(other) == before


def test_any_tar_program_unpacks_an_archive(store: Store, tmp_path: Path) -> None:
    archive = exported(store, rref := realized(store, all_odd))
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert {(info.mtime, info.uid, info.gid, info.uname, info.gname) for info in tar} == {(0, 0, 0, "", "")}
        assert {info.mode for info in tar if not info.issym()} == {0o444, 0o555}
    subprocess.run(["tar", "-C", str(tmp_path), "-xf", "-"], input=archive, check=True)
    ref = parse_rref(rref)
    assert tree(tmp_path / "store-v0" / ref.folder / ref.rhash) == contents(store, rref)


def test_a_second_implementation_writes_the_same_archive(store: Store) -> None:
    archive = exported(store, realized(store, all_odd))
    assert independent.pack(independent.unpack(archive)) == archive
    assert len(archive) % 10_240 == 0


def fixed_realization(store: Store, folder: Path) -> RealizationRef:
    """One that depends on nothing but this function."""
    config = {"name": "fixed", "out": [configs.SELF, "a"]}
    ref = configs.reference(config)
    store.add_config(configs.canonical(config), ref)
    folder.mkdir()
    (folder / "a").write_text("b")
    build = BuildRecord(instance=0, seed=243964722, started=1.5, stopped=2.5, host="here", user="me")
    return publish(store, ref, folder, context={}, inputs={}, build=build)


def test_the_archive_of_a_certain_content_has_certain_bytes(store: Store) -> None:
    archive = exported(store, str(fixed_realization(store, store.layout.scratch / "fixed")))
    digest = blake3(archive).hexdigest()
    assert f"{len(archive):,} bytes" in PAGE.read_text()
    assert digest in PAGE.read_text()


def test_equal_content_gives_equal_bytes_wherever_and_whenever_it_was_built(tmp_path: Path) -> None:
    one, other = opened(tmp_path / "one"), opened(tmp_path / "elsewhere" / "other")
    rrefs = [realized(one, toys.all_counted, "hello"), realized(one, all_odd)]
    with using_store(other):
        realize(instantiate(toys.text, content="before"))
        assert [str(realize(instantiate(all_odd))), str(realize(instantiate(toys.all_counted, "hello")))] == rrefs[::-1]
        realize(instantiate(toys.all_counted, "hello"), force=True)  # one more build of the same bytes
    archive = exported(one, *rrefs)
    assert exported(other, *rrefs[::-1], rrefs[0]) == archive
    third = opened(tmp_path / "third")
    imported(third, archive)
    assert exported(third, *rrefs) == archive
    assert exported(one, *rrefs, records=True) != exported(other, *rrefs, records=True)


def test_records_bring_times_hosts_arguments_and_logs_along(store: Store, tmp_path: Path) -> None:
    with using_store(store):
        rref = str(realize(instantiate(all_odd), args={}))
    other = opened(tmp_path / "other")
    archive = exported(store, rref, records=True)
    assert independent.pack(independent.unpack(archive)) == archive
    assert imported(other, archive).imported == (str(of_stage(store, "text")), rref)
    ref = parse_rref(rref)
    assert other.layout.metadata_of(ref).read_text() == store.layout.metadata_of(ref).read_text()
    before, after = tree(store.path(ref)), tree(other.path(ref))
    assert before.pop("__log__/fifo")
    assert after == before
    assert after["__log__/log.txt"] == f"-r--r--r-- {b'done'.hex()}"
    check(other)
    assert imported(other, archive).imported == ()
    assert other.layout.metadata_of(ref).read_text() == store.layout.metadata_of(ref).read_text()


def test_instances_and_their_seeds_come_along_and_are_added_to_those_that_are_known(
    store: Store, tmp_path: Path
) -> None:
    with using_store(store):
        (rref,) = {str(rref) for rref in realize_many(instantiate(toys.sample, constant=True), instances=3)}
    other = opened(tmp_path / "other")
    with using_store(other):
        assert str(realize(instantiate(toys.sample, constant=True))) == rref
    theirs = store.metadata(parse_rref(rref))
    assert theirs is not None
    for archive in (exported(store, rref), exported(store, rref)):
        assert imported(other, archive).present == (rref,)
        ours = other.metadata(parse_rref(rref))
        assert ours is not None
        assert ours.instances == (0, 1, 2)
        assert [build.seed for build in ours.builds] == [build.seed for build in theirs.builds]
    assert exported(other, rref) == exported(store, rref)
    with using_store(other):
        assert set(map(str, realize_many(instantiate(toys.sample, constant=True), instances=3))) == {rref}
    check(other)


def test_the_sources_of_pinned_derivations_come_along_unless_they_are_gone(store: Store, tmp_path: Path) -> None:
    source = realized(store, toys.text)
    with using_store(store):
        rref = str(realize(instantiate(lambda: toys.count(source=pinned(source, toys.Text)))))
    other = opened(tmp_path / "other")
    archive = exported(store, rref)
    assert len(imported(other, archive).imported) == 3
    assert source in in_store(other)
    collect_planned(other, gc.plan_gc(other, gc.Policy(grace_s=0), named={rref: "test"}), named={rref: "test"})
    assert source in in_store(other)
    remove(store, parse_rref(source), force=True)
    third = opened(tmp_path / "third")
    assert len(imported(third, exported(store, rref)).imported) == 2
    check(third)


def test_realizations_of_plain_pylightnix_move_too(tmp_path: Path) -> None:
    S = plain_storage(tmp_path / "root")
    rrefs = [str(plx.realize1(plx.instantiate(doubled, S=S))), *map(str, plx.realizeMany(plx.instantiate(pair, S=S)))]
    store, other = our_store(tmp_path / "root"), our_store(tmp_path / "other")
    result = imported(other, exported(store, *rrefs))
    assert len(result.imported) == 4
    for rref in result.imported:
        assert contents(other, rref) == contents(store, rref)
    check(other)
    with using_store(other):
        assert mklens(rrefs[0]).out.contents == "one twoone two"
    assert exported(other, *rrefs) == exported(store, *rrefs)
    third = our_store(tmp_path / "third")
    assert copy(store, third, map(parse_rref, rrefs)).imported == result.imported
    assert "__buildstart__.txt" in tree(third.path(parse_rref(rrefs[0])))
    assert exported(third, *rrefs) == exported(store, *rrefs)
    members = independent.unpack(exported(store, *rrefs))
    changed = replaced(members, "doubled.txt", named(members, "doubled.txt")._replace(data=b"one twoone TWO"))
    with pytest.raises(BadArchive, match="does not hash to its name"):
        imported(our_store(tmp_path / "fourth"), independent.pack(changed))
    altered(store.path(parse_rref(rrefs[0])) / "doubled.txt", flip)
    with pytest.raises(DamagedFile, match="does not hash to its name"):
        exported(store, *rrefs)


def test_logs_of_our_stages_that_pylightnix_realized_come_along(tmp_path: Path) -> None:
    S = plain_storage(tmp_path / "root")
    count: Any = toys.count
    text: Any = toys.text  # both take Pylightnix's registry
    rref = str(plx.realize1(plx.instantiate(lambda r: count(source=text(r=r), r=r), S=S)))
    store, other = our_store(tmp_path / "root"), our_store(tmp_path / "other")
    imported(other, exported(store, rref))
    assert "__log__/workers" in tree(other.path(parse_rref(rref)))
    check(other)


def test_what_lost_files_or_metadata_is_whole_after_an_import(store: Store, tmp_path: Path) -> None:
    rref = realized(store, toys.all_counted)
    archive, ref = exported(store, rref), parse_rref(rref)
    altered(store.path(ref) / "result" / "counts.json", Path.unlink)
    assert imported(store, archive).imported == (rref,)
    check(store)
    (quarantined,) = store.layout.quarantine.iterdir()
    assert not (quarantined / "result" / "counts.json").exists()
    store.layout.metadata_of(ref).unlink()
    assert imported(store, archive).imported == (rref,)
    check(store)
    assert store.metadata(ref) is not None
    altered(store.layout.config(ref.derivation), flip)
    imported(opened(store.layout.root), archive)
    check(store)


def test_progress_tells_bytes_of_files(store: Store, tmp_path: Path) -> None:
    rref = parse_rref(realized(store, all_odd))
    stream, seen = io.BytesIO(), list[tuple[int, int]]()
    export(store, [rref], stream, on_progress=lambda done, total: seen.append((done, total)))
    stream.seek(0)
    total = seen[-1][1]
    assert total > 2_560_000
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (total, total)
    import_archive(opened(tmp_path / "a"), stream, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (total, total)
    copy(store, opened(tmp_path / "b"), [rref], on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] > total  # logs


class Watched(io.BytesIO):
    """A stream that does something at its first read, and gives little at a time."""

    def __init__(self, data: bytes, at_first: Callable[[], None]) -> None:
        super().__init__(data)
        self._at_first: Callable[[], None] | None = at_first
        self._reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads += 1
        if self._reads == 50 and self._at_first is not None:
            self._at_first()
            self._at_first = None
        return super().read(min(size or 1, 500))

    def seekable(self) -> bool:
        return False


def test_a_collector_takes_nothing_that_is_being_imported_or_rested_on(store: Store, tmp_path: Path) -> None:
    rref = realized(store, all_odd)
    kept = realized(store, toys.all_counted, "kept")
    other = opened(tmp_path / "other")
    imported(other, exported(store, realized(store, toys.text)))
    imported(other, exported(store, kept))
    roots.add_link(other, "kept", parse_rref(kept))
    seen = []

    def collect() -> None:
        policy = gc.Policy(grace_s=0, scratch_s=0)
        collector = opened(tmp_path / "other")
        seen.append(collect_planned(collector, gc.plan_gc(collector, policy)))

    importer = opened(tmp_path / "other")
    result = import_archive(importer, Watched(exported(store, rref), collect))
    (collected,) = seen
    assert (collected.realizations, collected.leftovers) == ((), ())
    assert (len(result.imported), len(result.present)) == (1, 1)
    check(other)


def test_several_may_import_the_same_at_once(store: Store, tmp_path: Path) -> None:
    rref = realized(store, all_odd)
    archive = exported(store, rref)
    failures = []

    def work() -> None:
        try:
            imported(opened(tmp_path / "other"), archive)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    other = opened(tmp_path / "other")
    check(other)
    assert exported(other, rref) == archive


# -- what is damaged is not exported ----------------------------------------------------------------------------------


def _grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


def _make_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("run.sh")


@pytest.mark.parametrize("how", [flip, _grow, Path.unlink, _make_link])
@pytest.mark.parametrize("name", ["a b", "large", "context.json"])
def test_damage_is_found_when_it_is_exported_or_copied(
    store: Store, tmp_path: Path, name: str, how: Callable[[Path], None]
) -> None:
    rref = realized(store, all_odd)
    path = store.path(parse_rref(rref)) / name
    altered(path, how)
    stream = io.BytesIO()
    with pytest.raises(DamagedFile, match="verify --repair") as refused:
        export(store, [parse_rref(rref)], stream)
    assert refused.value.path == str(path)
    other = opened(tmp_path / "other")
    if stream.getvalue():
        with pytest.raises(BadArchive, match=r"too early|hashes to"):
            imported(other, stream.getvalue())
    before = everything(other)
    with pytest.raises(DamagedFile) as refused:
        copy(store, other, [parse_rref(rref)])
    assert refused.value.path == str(path)
    assert everything(other) == before


def _lead_elsewhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("large")


def test_other_damage_is_found_too(store: Store) -> None:
    rref = realized(store, all_odd)
    ref = parse_rref(rref)
    folder = store.path(ref)

    def refused(change: Callable[[Path], object], path: Path, problem: str) -> None:
        before = everything(store)
        path.parent.chmod(0o755)
        change(path)
        with pytest.raises((DamagedFile, NotInStore), match=problem):
            exported(opened(store.layout.root), rref)
        atomic.remove_tree(store.layout.root)
        assert realized(opened(store.layout.root), all_odd) == rref
        assert everything(store).keys() == before.keys()

    refused(lambda path: path.chmod(0o555), folder / "a b", "another kind")
    refused(lambda path: path.rmdir(), folder / "empty" / "inner", "inner is damaged: is gone")
    refused(_lead_elsewhere, folder / "empty" / "up", "leads to large")
    refused(flip, store.layout.config(ref.derivation), "config.json is damaged")
    refused(atomic.remove_tree, store.path(of_stage(store, "text")), "is not in the store")
    beside = store.layout.metadata_of(ref)
    refused(lambda path: path.write_text(path.read_text().replace("large", "lerge")), beside, "was changed")


@pytest.mark.unprivileged
def test_a_file_that_may_not_be_read_is_named(nobody_path: Path) -> None:
    def act() -> None:
        store = opened(nobody_path / "root")
        rref = parse_rref(realized(store, toys.all_counted))
        path = store.path(rref) / "result" / "counts.json"
        path.chmod(0)
        for work in (
            lambda: export(store, [rref], io.BytesIO()),
            lambda: copy(store, opened(nobody_path / "other"), [rref]),
        ):
            with pytest.raises(StoreUnusable, match=rf"Permission denied: {path}"):
                work()

    as_nobody(act)


def test_an_archive_that_cannot_be_written_says_where_and_how_much(store: Store) -> None:
    rref = parse_rref(realized(store, all_odd))
    with (
        open("/dev/full", "wb", buffering=0) as stream,
        pytest.raises(ArchiveNotWritten, match=r"/dev/full: No space left on device; it has 2,56\d,\d+ bytes"),
    ):
        export(store, [rref], stream)


def test_pylightnix_content_that_no_archive_can_hold_is_named(tmp_path: Path) -> None:
    S = plain_storage(tmp_path / "root")
    rref = parse_rref(str(plx.realize1(plx.instantiate(doubled, S=S))))
    store = our_store(tmp_path / "root")
    folder = store.path(rref)
    folder.chmod(0o755)
    (folder / "link").symlink_to("/etc/hostname")
    with pytest.raises(UnpublishableContent, match="link: a link to the absolute path"):
        exported(store, str(rref))


# -- bad archives -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    source = opened(tmp_path_factory.mktemp("source"))
    return exported(source, realized(source, toys.all_counted))


def test_no_byte_of_an_archive_can_change_unnoticed(quick_path: Path, archive: bytes) -> None:
    store = opened(quick_path)
    before = everything(store)
    for offset in range(0, len(archive), 61):
        damaged = bytearray(archive)
        damaged[offset] ^= 1 << offset % 8
        with pytest.raises(BadArchive):
            imported(store, bytes(damaged))
    assert everything(store) == before
    assert len(imported(store, archive).imported) == 3


def test_a_truncated_archive_changes_nothing(quick_path: Path, archive: bytes) -> None:
    store = opened(quick_path)
    before = everything(store)
    for length in [*range(0, len(archive), 173), len(archive) - 10_240, len(archive) - 512, len(archive) - 1]:
        with pytest.raises(BadArchive, match=r"beginning|too early"):
            imported(store, archive[:length])
    for more in (b"\0", bytes(10_240), b"garbage", archive):
        with pytest.raises(BadArchive, match="the end: something follows it"):
            imported(store, archive + more)
    for other in (b"no archive", b"x" * 512, b"\x1f\x8b" + bytes(1000), bytes(10_240)):
        with pytest.raises(BadArchive, match=r"beginning|too early"):
            imported(store, other)
    assert everything(store) == before


def test_an_archive_that_cannot_be_read_changes_nothing(store: Store, archive: bytes) -> None:
    def fail() -> None:
        raise OSError(5, "Input/output error")

    before = everything(store)
    with pytest.raises(BadArchive, match="cannot be read: Input/output error"):
        import_archive(store, Watched(archive, fail))
    assert everything(store) == before


def replaced(members: list[Member], name: str, *new: Member) -> list[Member]:
    """Members in which that with a certain end of its name is replaced."""
    (index,) = (index for index, member in enumerate(members) if member.name.endswith(name))
    return [*members[:index], *new, *members[index + 1 :]]


def named(members: list[Member], name: str) -> Member:
    (found,) = (member for member in members if member.name.endswith(name))
    return found


def manifested(members: list[Member], **fields: Any) -> list[Member]:
    """Members with another manifest."""
    document = {**independent.manifest(members), **fields}
    return replaced(members, independent.MANIFEST, Member("f", independent.MANIFEST, json.dumps(document).encode()))


def without_metadata(members: list[Member]) -> list[Member]:
    """As if Pylightnix had built it all, so that there is nothing to compare with."""
    return [member for member in members if "/metadata/" not in member.name]


Change = Callable[[list[Member]], list[Member]]


def after(name: str, more: Callable[[Member], Member], *, plain: bool = True) -> Change:
    """Put one more member behind another one."""

    def change(members: list[Member]) -> list[Member]:
        member = named(members, name)
        grown = replaced(members, name, member, more(member))
        return without_metadata(grown) if plain else grown

    return change


def instead(name: str, new: Callable[[Member], Member], *, plain: bool = False) -> Change:
    def change(members: list[Member]) -> list[Member]:
        grown = replaced(members, name, new(named(members, name)))
        return without_metadata(grown) if plain else grown

    return change


def edited(name: str, old: str, new: str) -> Change:
    """Change a text in a member."""

    def edit(member: Member) -> Member:
        data = member.data.replace(old.encode(), new.encode())
        assert data != member.data
        return member._replace(data=data)

    return instead(name, edit)


def at_top(name: str) -> Callable[[Member], Member]:
    """A file of a certain name in the folder that a member lies in."""
    return lambda member: Member("f", f"{member.name.rpartition('/')[0]}/{name}")


def link(target: str) -> Callable[[Member], Member]:
    return lambda member: Member("l", f"{member.name.rpartition('/')[0]}/link", target=target)


def of(kind: str, target: str = "") -> Callable[[Member], Member]:
    return lambda member: Member(kind, member.name, target=target)


def _through_link(members: list[Member]) -> list[Member]:
    counts = named(members, "result/counts.json")
    folder = named(members, "/result")
    changed = replaced(members, "/result", Member("l", folder.name, target="/tmp/stagedml-evil"))
    assert counts in changed
    return without_metadata(changed)


def _with_log(members: list[Member], *, kind: str) -> list[Member]:
    top = named(members, COUNTS).name.removesuffix(COUNTS)
    log = Member(kind, f"{top}__log__", target="x" if kind == "l" else "")
    return replaced(members, f"{top}context.json", log, named(members, f"{top}context.json"))


def _other_config(members: list[Member]) -> list[Member]:
    return [
        member._replace(data=member.data.replace(b"hello", b"HELLO")) if member.name.endswith("config.json") else member
        for member in members
    ]


def _order(members: list[Member]) -> list[Member]:
    """Realizations in the opposite order."""
    realizations = independent.manifest(members)["realizations"]

    def rank(member: Member) -> int:
        ranks = [rank for rank, (rref, _) in enumerate(realizations) if rref[5:37] in member.name]
        return -ranks[0] if ranks else -len(realizations)

    return manifested(sorted(members, key=rank), realizations=realizations[::-1])


def metadata(**fields: Any) -> Change:
    """Change the metadata of the last realization."""

    def change(members: list[Member]) -> list[Member]:
        last = [member for member in members if "/metadata/" in member.name][-1]
        data = json.dumps({**json.loads(last.data), **fields}).encode()
        return replaced(members, last.name, last._replace(data=data))

    return change


def _sizes(by: int) -> Change:
    def change(members: list[Member]) -> list[Member]:
        realizations = independent.manifest(members)["realizations"]
        return manifested(members, realizations=[[rref, size + by] for rref, size in realizations])

    return change


def _configs_reversed(members: list[Member]) -> list[Member]:
    begin = [member for member in members if member.name.endswith("config.json")]
    rest = [member for member in members if member not in begin]
    changed = [rest[0], *begin[::-1], *rest[1:]]
    return manifested(changed, derivations=independent.manifest(members)["derivations"][::-1])


COUNTS = "result/counts.json"
HOSTILE: dict[str, tuple[Change, str]] = {
    "a path upwards": (after(COUNTS, at_top("../../../x")), "no path inside of a realization"),
    "a path upwards in another place": (after(COUNTS, at_top("..")), "no path inside of a realization"),
    "a path with an empty part": (after(COUNTS, at_top("/x")), "no path inside of a realization"),
    "an absolute path": (after(COUNTS, lambda member: Member("f", "/tmp/stagedml-evil")), "does not belong here"),
    "a name with a zero": (after(COUNTS, at_top("x\0y")), "no path inside of a realization"),
    "a file in no folder": (after(COUNTS, at_top("x/y")), "lies in no folder"),
    "a file through a link": (_through_link, "lies in no folder"),
    "a link out": (after(COUNTS, link("../../../x")), "leads out of the output"),
    "a link to the root": (after(COUNTS, link("/etc/hostname")), "a link to the absolute path"),
    "a link to nothing": (after(COUNTS, link("")), "a link to nothing"),
    "a hard link": (instead(COUNTS, of("1", "x")), "a hard link; only files"),
    "a device": (instead(COUNTS, of("3")), "a device; only files"),
    "a fifo": (instead(COUNTS, of("6")), "a fifo; only files"),
    "an unknown type": (instead(COUNTS, of("Z")), "not the header of a member"),
    "a file twice": (after(COUNTS, lambda member: member), "comes twice"),
    "a file out of order": (after(COUNTS, at_top("a")), "comes twice, or too late"),
    "a file that no metadata tells": (after(COUNTS, at_top("x"), plain=False), "metadata"),
    "a log without records": (lambda members: _with_log(members, kind="d"), "does not belong into this archive"),
    "a link among logs": (
        lambda members: manifested(_with_log(members, kind="l"), records=True),
        "__log__: does not belong into this archive",
    ),
    "other contents": (edited(COUNTS, "1", "2"), "hashes to"),
    "no file": (lambda members: replaced(members, COUNTS), "is missing"),
    "another mode": (instead(COUNTS, lambda member: member._replace(kind="x")), "metadata"),
    "a config that does not hash": (_other_config, "it hashes to"),
    "an unknown format": (lambda members: manifested(members, format=2), "format 2, this StagedML reads 1"),
    "no format": (lambda members: manifested(members, format=None), "format None"),
    "a manifest that is none": (
        instead(independent.MANIFEST, lambda m: m._replace(data=b"[" * 9999)),
        "cannot be read",
    ),
    "references that are none": (lambda members: manifested(members, asked=["../x"]), "is not a reference"),
    "what is not asked": (lambda members: manifested(members, asked=[f"rref:{'0' * 32}-{'0' * 32}-x"]), "asks for"),
    "no derivations": (lambda members: manifested(members, derivations=[]), "without their derivations"),
    "no realizations": (lambda members: manifested(members, realizations=[], asked=[]), "does not belong here"),
    "more than it is": (_sizes(-1), "is larger than the manifest says"),
    "less than it is": (_sizes(1), "is smaller than the manifest says"),
    "configs in another order": (_configs_reversed, r"config.json: names dref:\S+, which neither comes before it"),
    "metadata of another": (metadata(rref="rref:x"), "is that of rref:x"),
    "another digest": (metadata(digest="0" * 64), "does not hash to the reference"),
    "another content": (metadata(content="0" * 64), "does not hash to the reference"),
    "no inputs": (metadata(inputs={}), "does not hold the inputs that metadata and config name"),
    "inputs that are none": (metadata(inputs={"x": ["y"]}), "its inputs are no references"),
    "no builds": (metadata(builds=[]), "it tells of no build"),
    "builds that are none": (metadata(builds=[{"instance": "x"}]), "TypeError"),
    "files that are none": (metadata(files=[["f", 1, 2, 3]]), "metadata"),
    "newer metadata": (metadata(format=2), "format 2, this version reads 1"),
    "inputs last": (_order, "neither comes before it nor is in the store"),
    "no end": (lambda members: members[:-1], "is missing"),
    "no manifest": (lambda members: members[1:], "stands where stagedml-archive.json should"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_no_export_writes_is_refused_and_changes_nothing(store: Store, archive: bytes, what: str) -> None:
    change, problem = HOSTILE[what]
    before = everything(store)
    with pytest.raises(BadArchive, match=problem):
        imported(store, independent.pack(change(independent.unpack(archive))))
    assert everything(store) == before
    assert not Path("/tmp/stagedml-evil").exists()


def test_a_path_that_is_too_long_for_another_store_is_named(quick_path: Path) -> None:
    @stage(toys.Text, name="deep")
    def deep(build: Build, *, text: RefPath = output("text.txt")) -> None:
        build.path(text).write_text("flat")
        os.chdir(build.path(text).parent)
        for _ in range(19):
            os.mkdir("d" * 199)
            os.chdir("d" * 199)
        Path("e" * 60).write_text("deep")
        os.chdir("/")

    store, other = opened(quick_path / "s"), opened(quick_path / ("x" * 200))
    rref = realized(store, deep)
    assert len(imported(opened(quick_path / "t"), exported(store, rref)).imported) == 1
    said = r"\.\.\..*: 3799 bytes of path, 37\d\d fit into this store"
    with pytest.raises(BadArchive, match=said):
        imported(other, exported(store, rref))
    with pytest.raises(UnpublishableContent, match=said):
        copy(store, other, [parse_rref(rref)])
    check(other)


def test_files_of_any_size_have_headers() -> None:
    for size in (8**11 - 1, 8**11, 10**15):
        block = header(Entry("x", "ä" * 80, size))
        assert Reader(io.BytesIO(block)).peek() == Entry("x", "ä" * 80, size)
        with tarfile.open(fileobj=io.BytesIO(block + bytes(1024))) as tar:
            info = tar.next()
        assert info is not None
        assert (info.name, info.size, info.mode) == ("ä" * 80, size, 0o555)


# -- what is wrong elsewhere ------------------------------------------------------------------------------------------


@stage(toys.Text, name="files")
def files(build: Build, *, count: int, size_bytes: int, text: RefPath = output("folder")) -> None:
    """Write some files of some size."""
    build.path(text).mkdir()
    for number in range(count):
        (build.path(text) / str(number)).write_bytes(os.urandom(size_bytes))


def test_a_full_disk_is_told_before_or_while_it_is_written_and_the_store_stays_valid(
    store: Store, small_disk: Path
) -> None:
    counted = realized(store, toys.all_counted)
    large = realized(store, lambda: files(count=1, size_bytes=300_000))
    many = realized(store, lambda: files(count=200, size_bytes=1))  # each takes a page
    target = opened(small_disk)
    imported(target, exported(store, counted))
    before = everything(target)
    for rref, needed in ((large, "300,0"), (many, "2")):
        said = rf"{small_disk}/store-v0 .*: {needed}\d\d bytes are to be written; No space left"
        with pytest.raises(DiskFull, match=said):
            imported(target, exported(store, rref))
        assert everything(target) == before
        with pytest.raises(DiskFull, match=said):
            copy(store, target, [parse_rref(rref)])
        assert everything(target) == before
    check(target)
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
        while True:
            file.write(b"x" * 512)
    for archive in (exported(store, counted), exported(store, realized(store, toys.all_counted, "new"))):
        with contextlib.suppress(DiskFull):
            imported(target, archive)
        assert verify(target).findings == ()
    ballast.unlink()
    assert len(imported(target, exported(store, realized(store, toys.all_counted, "new"))).imported) == 3
    check(target)


def interrupted(root: Path, fault: Fault, work: Callable[[Store], object], archive: bytes, first: bytes) -> None:
    """Let `work` bring in what `archive` holds, and meet a fault at each of its calls, in a store that has `first`."""
    rrefs = {rref for rref, _ in independent.manifest(independent.unpack(archive))["realizations"]}
    (asked,) = independent.manifest(independent.unpack(archive))["asked"]
    reference = opened(root / "reference")
    imported(reference, first)
    there = in_store(reference)
    calls = count_calls(lambda: work(reference))
    assert any(call.startswith("rename") for call in calls)
    assert any(call.startswith("symlink") for call in calls)
    seen = set()
    for number, call in enumerate(calls):
        store = opened(root / str(number))
        imported(store, first)
        outcome = with_fault(lambda store=store: work(store), number, fault)  # type: ignore[misc]
        assert outcome.killed == (fault in (Fault.KILL_BEFORE, Fault.KILL_AFTER)), call
        if outcome.error is not None:
            assert "StoreError" in outcome.family, (call, outcome.error)
            assert "BadArchive" not in outcome.family, (call, outcome.error)
        assert {finding.kind for finding in verify(store).findings} <= {Kind.ORPHAN}, call
        assert reader.read_store(store.layout.storage).findings == [], call
        assert there <= in_store(store) <= there | rrefs, call
        seen.add(len(in_store(store)))
        again = opened(root / str(number))
        imported(again, archive)
        assert in_store(again) == there | rrefs
        assert exported(again, asked) == archive  # which reads all of it
        atomic.remove_tree(again.layout.root)
    if fault is Fault.KILL_AFTER:
        assert seen == set(range(len(there), len(there | rrefs) + 1))


@stage(toys.Text, name="linked")
def linked(build: Build, *, source: toys.Text, text: RefPath = output("folder")) -> None:
    """A file, a folder and a link."""
    build.path(text).mkdir()
    (build.path(text) / "link").symlink_to("../folder")
    (build.path(text) / "file").write_text("file")


def all_linked() -> toys.Text:
    return linked(source=toys.upper(source=toys.text(content="hello")))


def interrupted_import(root: Path, fault: Fault) -> None:
    source = opened(root / "source")
    archive = exported(source, realized(source, all_linked))
    first = exported(source, realized(source, toys.text))
    interrupted(root, fault, lambda store: imported(store, archive), archive, first)


def interrupted_copy(root: Path, fault: Fault) -> None:
    source = opened(root / "source")
    rref = realized(source, all_linked)
    first = exported(source, realized(source, toys.text))
    interrupted(root, fault, lambda store: copy(source, store, [parse_rref(rref)]), exported(source, rref), first)


@pytest.mark.parametrize("fault", faults(Fault.KILL_AFTER, Fault.ENOSPC))
def test_an_interrupted_import_leaves_whole_realizations_with_their_inputs(quick_path: Path, fault: Fault) -> None:
    interrupted_import(quick_path, fault)


@pytest.mark.unprivileged
@pytest.mark.parametrize("fault", faults(Fault.KILL_AFTER))
def test_an_interrupted_import_is_in_no_unprivileged_users_way(quick_path: Path, fault: Fault) -> None:
    as_nobody(interrupted_import, quick_path, fault)


def test_an_interrupted_copy_leaves_whole_realizations_with_their_inputs(quick_path: Path) -> None:
    interrupted_copy(quick_path, Fault.KILL_AFTER)


def test_what_a_killed_import_leaves_is_swept_and_what_a_running_one_has_is_not(store: Store, archive: bytes) -> None:
    reference = opened(store.layout.root / "reference")
    calls = count_calls(lambda: imported(reference, archive))
    extracting = [
        number for number, call in enumerate(calls) if call.startswith("mkdir") and "/scratch/import-" in call
    ]
    assert with_fault(lambda: imported(store, archive), extracting[-1], Fault.KILL_BEFORE).killed
    (left,) = store.layout.scratch.iterdir()
    assert left.name.startswith("import-")
    plan = gc.plan_gc(store, gc.Policy(scratch_s=0))
    assert [leftover.path for leftover in plan.leftovers] == [str(left)]
    collect_planned(store, plan)
    assert list(store.layout.scratch.iterdir()) == []


# -- from store to store ----------------------------------------------------------------------------------------------


def test_a_copy_is_the_whole_closure_with_its_records_and_shares_no_bytes(store: Store, tmp_path: Path) -> None:
    rref = realized(store, all_odd)
    other = opened(tmp_path / "other")
    result = copy(store, other, [parse_rref(rref)])
    assert result.asked == (rref,)
    assert result.imported == (str(of_stage(store, "text")), rref)
    for text in result.imported:
        ref = parse_rref(text)
        before, after = tree(store.path(ref)), tree(other.path(ref))
        before.pop("__log__/fifo", None)
        assert after == before
        assert other.layout.metadata_of(ref).read_text() == store.layout.metadata_of(ref).read_text()
    ref = parse_rref(rref)
    assert (store.path(ref) / "large").stat().st_ino != (other.path(ref) / "large").stat().st_ino
    check(other)
    before = everything(other)
    altered(store.path(of_stage(store, "text")) / "text.txt", Path.unlink)  # what is there is not read
    assert copy(store, other, [ref]).present == result.imported
    assert everything(other) == before


def test_holes_in_files_stay_holes_in_a_copy(store: Store, tmp_path: Path) -> None:
    @stage(toys.Text, name="sparse")
    def sparse(build: Build, *, text: RefPath = output("text.txt")) -> None:
        with open(build.path(text), "wb") as file:
            file.truncate(10_000_000)

    rref = parse_rref(realized(store, sparse))
    if (store.path(rref) / "text.txt").stat().st_blocks * 512 > 1_000_000:
        pytest.skip("this file system has no holes")
    other = opened(tmp_path / "other")
    copy(store, other, [rref])
    assert (other.path(rref) / "text.txt").stat().st_blocks * 512 < 1_000_000
    check(other)


# -- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(store: Store) -> tuple[str, str]:
    """The root of a store, and a realization in it."""
    return str(store.layout.root), realized(store, toys.all_counted)


def test_export_and_import_meet_in_a_pipe(filled: tuple[str, str], tmp_path: Path) -> None:
    root, rref = filled
    command = [sys.executable, "-m", "stagedml.cli.main"]
    exporting = subprocess.Popen(
        [*command, "export", "--root", root, "count"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    importing = subprocess.run(
        [*command, "import", "--root", str(tmp_path / "other")],
        stdin=exporting.stdout,
        capture_output=True,
        text=True,
        check=True,
    )
    _, told = exporting.communicate()
    assert exporting.returncode == 0
    assert told.decode().splitlines() == ["3 realizations, 30.0 KiB"]
    assert (importing.stdout, importing.stderr) == (f"{rref}\n", "3 realizations, 493 B\n")
    check(opened(tmp_path / "other"))


def test_an_export_that_nobody_reads_fails(store: Store) -> None:
    rref = realized(store, lambda: files(count=1, size_bytes=3_000_000))
    command = [sys.executable, "-m", "stagedml.cli.main", "export", "--root", str(store.layout.root), rref]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as exporting:
        assert exporting.stdout is not None
        assert exporting.stderr is not None
        exporting.stdout.read(10)
        exporting.stdout.close()
        told = exporting.stderr.read().decode()
    assert exporting.returncode == EXIT_FAILED
    assert told.startswith("stagedml: the archive cannot be written to standard output: Broken pipe; it has 3,000,002")
    assert told.count("\n") == 1


def test_verbs_tell_what_they_did(
    filled: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, rref = filled
    monkeypatch.setenv("STAGEDML_DURABLE", "0")
    file = str(tmp_path / "archive.tar")

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    assert run("export", "--root", root, rref, "-o", file) == (0, "", "3 realizations, 30.0 KiB\n")
    _, out, _ = run("export", "--root", root, rref, "-o", file, "--json")
    assert json.loads(out)["size_bytes"] == Path(file).stat().st_size
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["archive.tar"]
    other = str(tmp_path / "other")
    assert run("import", "--root", other, file) == (0, f"{rref}\n", "3 realizations, 493 B\n")
    assert run("import", "--root", other, file)[2] == "no realizations, 0 B; 3 realizations there already\n"
    _, out, _ = run("import", "--root", other, file, "--json")
    assert json.loads(out)["present"][-1] == rref
    code, out, err = run("copy", "--root", root, rref, "--to", str(tmp_path / "third"))
    assert (code, out) == (0, f"{rref}\n")
    assert err.startswith("3 realizations, ")
    check(opened(tmp_path / "third"))


def test_what_cannot_be_is_said_and_leaves_no_file(
    filled: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, rref = filled
    file, other = tmp_path / "archive.tar", str(tmp_path / "other")

    def fails(code: int, problem: str, *arguments: str) -> None:
        assert main(arguments) == code
        assert problem in capsys.readouterr().err

    fails(EXIT_USAGE, "No such file or directory", "import", "--root", other, str(file))
    fails(EXIT_USAGE, "cannot be written", "export", "--root", root, rref, "-o", str(tmp_path / "no" / "folder"))
    fails(EXIT_FAILED, "/dev/full: No space left", "export", "--root", root, rref, "-o", "/dev/full")
    fails(EXIT_FAILED, "beginning", "import", "--root", other, __file__)
    folder = Store.open(read_settings({}, root=root)).path(parse_rref(rref))
    altered(folder / "result" / "counts.json", flip)
    file.write_text("what was there before")
    fails(EXIT_FAILED, "verify --repair", "export", "--root", root, rref, "-o", str(file))
    fails(EXIT_FAILED, "verify --repair", "copy", "--root", root, rref, "--to", other)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["archive.tar"]
    assert file.read_text() == "what was there before"


def test_an_export_that_is_killed_leaves_no_file_of_the_name(filled: tuple[str, str], tmp_path: Path) -> None:
    root, rref = filled
    arguments = ["export", "--root", root, rref, "-o"]
    calls = count_calls(lambda: main([*arguments, str(tmp_path / "reference")]))
    (named,) = (number for number, call in enumerate(calls) if call.startswith("replace"))
    for number in range(named + 1):
        file = tmp_path / f"{number}.tar"
        assert with_fault(lambda file=file: main([*arguments, str(file)]), number, Fault.KILL_BEFORE).killed  # type: ignore[misc]
        assert not file.exists()


def test_an_archive_is_not_for_a_terminal(filled: tuple[str, str], tmp_path: Path) -> None:
    root, rref = filled
    terminal, inner = os.openpty()
    for arguments in (["export", "--root", root, rref], ["import", "--root", str(tmp_path / "other")]):
        done = subprocess.run(
            [sys.executable, "-m", "stagedml.cli.main", *arguments],
            stdin=inner,
            stdout=inner,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert done.returncode == EXIT_USAGE
        assert "pipe" in done.stderr
    os.close(terminal)
    os.close(inner)
