"""Equal files share their bytes, and nobody notices but `du`: not a reader, not a crash, not another process."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from compat.plain import plain_storage, plx
from faulting import faults
from format import independent_reader as reader
from stagedml.core.config import canonical, reference
from stagedml.core.refs import RealizationRef, parse_rref
from stagedml.settings import read_settings
from stagedml.store import atomic
from stagedml.store.collect import collect, remove
from stagedml.store.dedup import SMALLEST_BYTES, Deduped, Reason, Skipped, StoredFile, dedup, plan_dedup
from stagedml.store.gc import Policy, plan_gc
from stagedml.store.metadata import BuildRecord
from stagedml.store.objects import Store
from stagedml.store.publish import begin_build, building, publish
from stagedml.store.roots import add_link
from stagedml.store.verify import Kind, verify
from stagedml.testing.faults import Fault, count_calls, with_fault
from unprivileged import as_nobody

SEED = 243964722  # of the first instance, as docs/reference/store-format.md has it
SAME = bytes(range(256)) * 20
OTHER = SAME[::-1]


def opened(root: Path) -> Store:
    return Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=root))


def put(store: Store, name: str, files: Mapping[str, bytes], *, mode: int = 0o644) -> RealizationRef:
    """Publish files as the only realization of a derivation."""
    config = {"name": name}
    ref = reference(config)
    store.add_config(canonical(config), ref)
    with building(store, ref, {}, 0) as (scratch, _):
        out = begin_build(store, scratch)
        for path, data in files.items():
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            (out / path).write_bytes(data)
            (out / path).chmod(mode)
        rref = publish(store, ref, out, context={}, inputs={}, build=BuildRecord(0, SEED, 0.0, 1.0, "here", "me"))
        atomic.remove_tree(scratch)
    return rref


def place(store: Store, ref: RealizationRef, path: str) -> Path:
    return store.layout.realization(ref) / path


def inode(store: Store, ref: RealizationRef, path: str) -> int:
    return os.lstat(place(store, ref, path)).st_ino


def contents(store: Store) -> dict[str, tuple[int, bytes]]:
    """Modes and bytes of everything in a storage."""
    found = {}
    for folder, others in atomic.folders_below(store.layout.storage):
        found[folder] = stat.S_IMODE(os.lstat(folder).st_mode), b""
        for item in others:
            found[item.path] = stat.S_IMODE(os.lstat(item.path).st_mode), Path(item.path).read_bytes()
    return found


def linked(store: Store, *, smallest_bytes: int = SMALLEST_BYTES) -> Deduped:
    return dedup(store, plan_dedup(store, smallest_bytes=smallest_bytes))


def is_quiet(store: Store) -> bool:
    return not [*store.layout.scratch.iterdir(), *store.layout.locks.iterdir()]


def check_whole(store: Store, before: Mapping[str, tuple[int, bytes]]) -> None:
    """Names, bytes and modes are as they were, and all hashes hold."""
    assert contents(store) == before
    assert verify(store).findings == ()
    assert reader.read_store(store.layout.storage).findings == []


def real_bytes(store: Store) -> int:
    statuses = {
        (status.st_dev, status.st_ino): status.st_blocks * 512
        for folder, others in atomic.folders_below(store.layout.storage)
        for status in (os.lstat(folder), *(item.stat(follow_symlinks=False) for item in others))
    }
    return sum(statuses.values())


# -- what is shared ---------------------------------------------------------------------------------------------------


def test_equal_files_become_one_and_nothing_else_changes(store: Store) -> None:
    first = put(store, "first", {"a": SAME, "deep/er/b": SAME, "c": OTHER})
    second = put(store, "second", {"x/y": SAME, "z": b"unique" * 1000})
    before, size = contents(store), real_bytes(store)

    plan = plan_dedup(store)
    assert contents(store) == before
    assert real_bytes(store) == size
    done = dedup(store, plan)
    names = [(first, "a"), (first, "deep/er/b"), (second, "x/y")]
    assert len({inode(store, ref, path) for ref, path in names}) == 1
    assert len({inode(store, *name) for name in (names[0], (first, "c"), (second, "z"))}) == 3
    assert done == Deduped(2, plan.saves_bytes, (), "")
    assert size - real_bytes(store) == plan.saves_bytes > len(SAME)
    check_whole(store, before)
    assert is_quiet(store)

    again = plan_dedup(store)
    assert again.links == ()
    assert dedup(store, again) == Deduped(0, 0, (), "")


def test_one_more_equal_file_joins_those_that_share_already(store: Store) -> None:
    first, second = put(store, "first", {"a": SAME}), put(store, "second", {"a": SAME})
    linked(store)
    shared = inode(store, first, "a")
    newest = [put(store, name, {"a": SAME}) for name in ("aaa", "zzz")]
    assert linked(store).files == 2
    assert {inode(store, ref, "a") for ref in (first, second, *newest)} == {shared}


def test_files_of_other_modes_do_not_mix(store: Store) -> None:
    refs = {
        (mode, name): put(store, f"{name}-{mode}", {"file": SAME}, mode=mode)
        for mode in (0o644, 0o755, 0o600)
        for name in ("first", "second")
    }
    before = contents(store)
    assert linked(store).files == 3
    check_whole(store, before)
    for mode in (0o644, 0o755, 0o600):
        assert inode(store, refs[mode, "first"], "file") == inode(store, refs[mode, "second"], "file")
    assert len({inode(store, ref, "file") for ref in refs.values()}) == 3


def test_small_files_are_left_alone_unless_told_otherwise_and_empty_ones_always(store: Store) -> None:
    files = {"empty": b"", "small": b"x", "almost": bytes(SMALLEST_BYTES - 1), "enough": bytes(SMALLEST_BYTES)}
    first, second = put(store, "first", files), put(store, "second", files)

    def shared() -> list[str]:
        return [path for path in files if inode(store, first, path) == inode(store, second, path)]

    linked(store)
    assert shared() == ["enough"]
    linked(store, smallest_bytes=0)
    assert shared() == ["small", "almost", "enough"]


def test_logs_contexts_and_realizations_of_pylightnix_are_left_alone(store: Store) -> None:
    S = plain_storage(store.layout.root)

    def node(r: Any) -> Any:
        return plx.mknode(r, {"a": 1}, artifacts={"one": SAME}, name="node")

    theirs = parse_rref(str(plx.realize1(plx.instantiate(node, S=S))))
    refs = [put(store, name, {"a": SAME, "__log__/events": SAME, "__buildstart__.txt": SAME}) for name in "xy"]
    names = [(theirs, "one"), *((ref, path) for ref in refs for path in ("__log__/events", "context.json"))]
    before = [inode(store, *name) for name in names]
    assert linked(store, smallest_bytes=1).files == 1
    assert [inode(store, *name) for name in names] == before
    assert os.lstat(place(store, refs[0], "__buildstart__.txt")).st_nlink == 1


def test_of_two_that_share_one_may_be_collected(store: Store) -> None:
    first, second = put(store, "first", {"a": SAME}), put(store, "second", {"a": SAME})
    linked(store)
    before = {path: what for path, what in contents(store).items() if first.folder not in path}
    remove(store, first, force=True)
    found = {path: what for path, what in contents(store).items() if first.folder not in path}
    assert found == before
    assert os.lstat(place(store, second, "a")).st_nlink == 1
    assert {finding.kind for finding in verify(store).findings} == set()


# -- what is left alone -----------------------------------------------------------------------------------------------


def unlocked(path: Path, act: Callable[[Path], object]) -> None:
    """Do something to a published file, as its owner might."""
    path.parent.chmod(0o755)
    path.chmod(0o644)
    act(path)
    if not path.is_symlink() and path.is_file():
        path.chmod(0o444)
    path.parent.chmod(0o555)


def flip(path: Path) -> None:
    """Change a byte and keep the time stamp, as a disk does that forgets."""
    status, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("damaged", range(4))
def test_damage_in_either_file_is_named_and_never_spreads(store: Store, damaged: int) -> None:
    refs = [put(store, f"stage-{number}", {"a": SAME}) for number in range(4)]
    unlocked(place(store, refs[damaged], "a"), flip)
    before = contents(store)
    done = linked(store)
    name = StoredFile(str(refs[damaged]), "a")
    assert done.skipped == (Skipped(name, Reason.DAMAGED, "has other bytes than were published"),)
    assert contents(store) == before
    assert [(finding.kind, finding.ref) for finding in verify(store).findings] == [(Kind.DAMAGED, name.rref)]
    assert os.lstat(place(store, refs[damaged], "a")).st_nlink == 1
    assert sum(inode(store, ref, "a") == inode(store, refs[(damaged + 1) % 4], "a") for ref in refs) >= 2
    linked(store)
    assert len({inode(store, ref, "a") for ref in refs}) == 2
    assert contents(store) == before


def _truncate(path: Path) -> None:
    os.truncate(path, 4500)


def _replace_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("b")


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("act", [_truncate, _replace_by_link, _replace_by_folder, Path.unlink, None])
@pytest.mark.parametrize("planned", [True, False])
@pytest.mark.parametrize("changed", [0, 2])
def test_what_is_no_longer_as_it_was_published_is_left_alone(
    store: Store, act: Callable[[Path], object] | None, planned: bool, changed: int
) -> None:
    refs = [put(store, f"stage-{number}", {"a": SAME}) for number in range(3)]
    plan = plan_dedup(store)
    changed = next(number for number, ref in enumerate(refs) if (str(ref) == plan.links[0].to.rref) == (changed == 0))
    path = place(store, refs[changed], "a")
    if act is None:
        path.chmod(0o644)
    else:
        unlocked(path, act)
    before = {path: os.lstat(path) for path in store.layout.storage.rglob("*")}
    done = dedup(store, plan if planned else plan_dedup(store))
    assert {path: (status.st_mode, status.st_size) for path, status in before.items()} == {
        path: (os.lstat(path).st_mode, os.lstat(path).st_size) for path in store.layout.storage.rglob("*")
    }
    others = [ref for ref in refs if ref != refs[changed]]
    assert done.files == len({inode(store, ref, "a") for ref in others}) == 1
    assert {one.file for one in done.skipped} <= {StoredFile(str(refs[changed]), "a")}
    assert done.refused == ""
    if path.is_file():
        assert os.lstat(path).st_nlink == 1


def test_other_permissions_since_the_plan_was_made_stay(store: Store) -> None:
    for name in ("first", "second"):
        put(store, name, {"a": SAME})
    plan = plan_dedup(store)
    Path(store.layout.realization(parse_rref(plan.links[0].file.rref)) / "a").chmod(0o400)
    before = contents(store)
    assert [one.reason for one in dedup(store, plan).skipped] == [Reason.CHANGED]
    assert contents(store) == before


def test_what_is_published_anew_before_the_rename_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        put(store, name, {"a": SAME})
    plan = plan_dedup(store)
    path = place(store, parse_rref(plan.links[0].file.rref), "a")
    symlink = os.symlink

    def replace_first(*arguments: Any) -> None:
        path.parent.chmod(0o755)
        path.unlink()
        path.write_bytes(OTHER)
        path.parent.chmod(0o555)
        symlink(*arguments)

    monkeypatch.setattr(os, "symlink", replace_first)
    assert dedup(store, plan).files == 0
    assert path.read_bytes() == OTHER
    assert is_quiet(store)


def test_a_folder_that_was_replaced_by_a_link_leads_nowhere(store: Store, tmp_path: Path) -> None:
    refs = [put(store, f"stage-{number}", {"folder/a": SAME}) for number in range(2)]
    outside = tmp_path / "outside"
    outside.mkdir()
    for ref in refs:
        folder = place(store, ref, "folder")
        folder.parent.chmod(0o755)
        folder.rename(outside / ref.name)
        folder.symlink_to(outside / ref.name)
        folder.parent.chmod(0o555)
    before = [os.lstat(outside / ref.name / "a").st_ino for ref in refs]
    assert linked(store).files == 0
    assert [os.lstat(outside / ref.name / "a").st_ino for ref in refs] == before
    assert is_quiet(store)


def test_unreadable_metadata_hides_one_realization_only(store: Store) -> None:
    refs = [put(store, f"stage-{number}", {"a": SAME}) for number in range(3)]
    store.layout.metadata_of(refs[1]).write_text("{")
    done = linked(store)
    assert done.files == 1
    assert [(one.file.rref, one.reason) for one in done.skipped] == [(str(refs[1]), Reason.UNREADABLE)]


@pytest.mark.unprivileged
@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_files_of_another_user_are_left_alone(nobody_path: Path) -> None:
    def publish_four() -> list[str]:
        store = opened(nobody_path)
        return [str(put(store, f"stage-{number}", {"a": SAME, "b": SAME})) for number in range(4)]

    refs = [parse_rref(rref) for rref in as_nobody(publish_four)]
    store = Store.open(read_settings({}, root=nobody_path), create=False)
    for path in ("a", "b"):
        os.chown(place(store, refs[0], path), 0, 0)
    os.chown(place(store, refs[1], ""), 0, 0)
    before = contents(store)
    done = as_nobody(lambda: linked(opened(nobody_path)))
    assert {(one.file.rref, one.reason) for one in done.skipped} <= {(str(ref), Reason.FOREIGN) for ref in refs[:2]}
    assert str(refs[0]) in {one.file.rref for one in done.skipped}
    assert contents(store) == before
    assert len({inode(store, ref, path) for ref in refs[2:] for path in ("a", "b")}) == 1
    assert os.lstat(place(store, refs[0], "a")).st_nlink == 1
    assert linked(store).files > 0  # root may
    assert os.lstat(place(store, refs[0], "a")).st_nlink == 2  # but no file gets another owner
    assert contents(store) == before


# -- file systems -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV, errno.ENOSYS])
def test_a_file_system_that_cannot_link_is_said_to_be_and_left_as_it_is(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    for name in ("first", "second"):
        put(store, name, {"a": SAME, "b": OTHER})
    before = {path: os.lstat(path) for path in (store.layout.storage, *store.layout.storage.rglob("*"))}

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    assert linked(store) == Deduped(0, 0, (), os.strerror(number))
    assert {path: os.lstat(path) for path in before} == before
    assert is_quiet(store)


def test_a_file_with_as_many_names_as_it_can_have_is_followed_by_another(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = [put(store, f"stage-{number}", {"a": SAME}) for number in range(10)]
    before = contents(store)
    link = os.link

    def link_up_to_four(source: str, destination: str, **keywords: bool) -> None:
        if os.lstat(source).st_nlink >= 4:
            raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))
        link(source, destination, **keywords)

    monkeypatch.setattr(os, "link", link_up_to_four)
    assert linked(store).files == 7
    inodes = [inode(store, ref, "a") for ref in refs]
    assert sorted(inodes.count(one) for one in set(inodes)) == [2, 4, 4]
    check_whole(store, before)
    assert linked(store) == Deduped(0, 0, (), "")
    assert [inode(store, ref, "a") for ref in refs] == inodes


def test_names_do_not_go_round_in_circles_where_files_are_full(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    refs = sorted((put(store, f"stage-{number}", {"a": SAME}) for number in range(9)), key=str)
    for first, *others in ((0, 3, 5, 7), (1, 4, 6, 8)):
        for other in others:
            path = place(store, refs[other], "a")
            path.parent.chmod(0o755)
            path.unlink()
            path.hardlink_to(place(store, refs[first], "a"))
            path.parent.chmod(0o555)
    before = [inode(store, ref, "a") for ref in refs]
    assert len(set(before)) == 3

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))

    link = os.link
    monkeypatch.setattr(
        os, "link", lambda source, to, **_: (refuse if os.lstat(source).st_nlink > 3 else link)(source, to)
    )
    assert linked(store) == Deduped(0, 0, (), "")
    assert [inode(store, ref, "a") for ref in refs] == before


# -- others at the same time ------------------------------------------------------------------------------------------


def test_a_reader_never_misses_a_file_and_never_sees_other_bytes(store: Store) -> None:
    for number in range(40):
        put(store, f"stage-{number}", {"a": SAME, "folder/b": SAME, "folder/c": OTHER})
    expected = {path: data for path, (_, data) in contents(store).items() if data}
    done = threading.Event()
    wrong: list[str] = []
    rounds: list[int] = []

    def read() -> None:
        while not done.is_set() or len(rounds) < 2:
            for path, data in expected.items():
                try:
                    if Path(path).read_bytes() != data:
                        wrong.append(f"{path}: other bytes")
                except OSError as error:
                    wrong.append(str(error))
            rounds.append(1)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        assert linked(store).files == 39 * 3 + 1
    finally:
        done.set()
        thread.join()
    assert wrong == []


def in_processes(*works: Callable[[], object]) -> None:
    """Run functions at once, each in a forked process; all must return."""
    children = []
    for work in works:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                work()
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)


def check_many_at_once(root: Path) -> None:
    store = opened(root)
    refs = [put(store, f"stage-{number}", {"a": SAME, "folder/b": SAME}) for number in range(30)]
    before = contents(store)
    in_processes(*[lambda: linked(opened(root))] * 3)
    check_whole(store, before)
    linked(store)  # what one found changed by the others
    check_whole(store, before)
    assert len({inode(store, ref, path) for ref in refs for path in ("a", "folder/b")}) == 1
    assert plan_dedup(store).links == ()
    assert is_quiet(store)


def test_several_processes_may_do_it_at_once(tmp_path: Path) -> None:
    check_many_at_once(tmp_path)


@pytest.mark.unprivileged
def test_several_unprivileged_processes_may_do_it_at_once(nobody_path: Path) -> None:
    as_nobody(check_many_at_once, nobody_path)


def test_others_publish_and_collect_meanwhile(store: Store, tmp_path: Path) -> None:
    kept = [put(store, f"kept-{number}", {"a": SAME, "b": OTHER}) for number in range(3)]
    for ref in kept:
        add_link(store, ref.name, ref)
    root, stop = store.layout.root, tmp_path / "stop"

    def publish_and_collect() -> None:
        try:
            own = opened(root)
            for number in range(25):
                put(own, f"passing-{number % 4}", {"a": SAME, "folder/b": OTHER, "c": bytes([number]) * 5000})
                own = opened(root)  # claims nothing any more
                if number % 3 == 2:
                    collect(own, plan_gc(own, Policy(grace_s=0)))
        finally:
            stop.touch()

    def link() -> None:
        while not stop.exists():
            assert linked(opened(root)).refused == ""
            time.sleep(0.001)

    in_processes(publish_and_collect, link, link)
    linked(store)
    assert verify(store).findings == ()
    assert reader.read_store(store.layout.storage).findings == []
    assert len({inode(store, ref, "a") for ref in kept}) == len({inode(store, ref, "b") for ref in kept}) == 1
    assert is_quiet(store)


# -- crashes ----------------------------------------------------------------------------------------------------------


def filled(root: Path) -> Store:
    store = opened(root)
    put(store, "first", {"a": SAME, "folder/b": SAME})
    put(store, "second", {"a": SAME, "folder/c": OTHER, "folder/d": OTHER})
    return store


def check_interrupted(root: Path, fault: Fault) -> None:
    store = filled(root / "reference")
    calls = count_calls(lambda: linked(store))
    assert {"fchmod", "link", "mkdir", "rename", "rmdir", "symlink", "unlink"} <= {call.split()[0] for call in calls}
    writable = set()
    for number, call in enumerate(calls):
        store = filled(root / str(number))
        before = contents(store)
        outcome = with_fault(lambda store=store: linked(store), number, fault)  # type: ignore[misc]
        assert outcome.killed == (fault in (Fault.KILL_BEFORE, Fault.KILL_AFTER)), call
        if outcome.error is not None:
            assert "StoreError" in outcome.family, (call, outcome.error)
        assert {path: data for path, (_, data) in contents(store).items()} == {
            path: data for path, (_, data) in before.items()
        }, call
        writable.add(contents(store) != before)
        store = opened(root / str(number))
        check_whole(store, before)
        assert list(store.layout.scratch.iterdir()) == [], call
        linked(store)
        check_whole(store, before)
        assert plan_dedup(store).links == (), call
    assert writable == {True, False}  # both were seen, and mended


@pytest.mark.parametrize("fault", Fault)
def test_what_an_interruption_leaves_is_whole_once_the_store_is_opened(tmp_path: Path, fault: Fault) -> None:
    check_interrupted(tmp_path, fault)


def test_a_durable_store_is_synced_before_anything_is_replaced(tmp_path: Path) -> None:
    filled(tmp_path)
    store = Store.open(read_settings({"STAGEDML_DURABLE": "1"}, root=tmp_path))
    calls = [call.split()[0] for call in count_calls(lambda: linked(store))]
    assert calls.index("syncfs") < calls.index("rename")
    assert calls.count("syncfs") == 1


@pytest.mark.unprivileged
@pytest.mark.parametrize("fault", faults(Fault.KILL_AFTER))
def test_what_an_interruption_leaves_to_an_unprivileged_user_is_whole(nobody_path: Path, fault: Fault) -> None:
    as_nobody(check_interrupted, nobody_path, fault)


def check_interrupted_opening(root: Path, fault: Fault) -> None:
    number = -1
    done = False
    while not done:
        number += 1
        store = filled(root / str(number))
        before = contents(store)
        renames = [index for index, call in enumerate(count_calls_of_a_copy(root)) if call.startswith("rename")]
        assert with_fault(lambda store=store: linked(store), renames[0], Fault.KILL_AFTER).killed  # type: ignore[misc]
        assert contents(store) != before
        outcome = with_fault(lambda number=number: opened(root / str(number)), number, fault)  # type: ignore[misc]
        done = not outcome.killed and outcome.error is None and len(outcome.calls) <= number
        check_whole(opened(root / str(number)), before)
        assert list(store.layout.scratch.iterdir()) == []
    assert number > 5


def count_calls_of_a_copy(root: Path) -> tuple[str, ...]:
    store = filled(root / "copy")
    calls = count_calls(lambda: linked(store))
    atomic.remove_tree(root / "copy")
    return calls


@pytest.mark.parametrize("fault", [Fault.KILL_BEFORE, Fault.EIO])
def test_an_interrupted_opening_is_followed_by_another(tmp_path: Path, fault: Fault) -> None:
    check_interrupted_opening(tmp_path, fault)


def test_what_another_process_is_linking_is_left_to_it(tmp_path: Path) -> None:
    store = filled(tmp_path)
    before = contents(store)
    here, go = tmp_path / "here", tmp_path / "go"

    def link_slowly() -> None:
        rename = os.rename

        def slow(*arguments: Any, **keywords: Any) -> None:
            here.touch()
            deadline = time.monotonic() + 30
            while not go.exists() and time.monotonic() < deadline:
                time.sleep(0.001)
            rename(*arguments, **keywords)

        os.rename = slow
        assert linked(store).files == 3

    def open_meanwhile() -> None:
        while not here.exists():
            time.sleep(0.001)
        modes = [mode for mode, _ in contents(opened(tmp_path)).values()]
        assert modes != [mode for mode, _ in before.values()]
        go.touch()

    in_processes(link_slowly, open_meanwhile)
    check_whole(store, before)
    assert is_quiet(store)
