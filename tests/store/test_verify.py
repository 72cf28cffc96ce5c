"""Verify names exactly what is wrong, repair puts it away, and the next realize builds it anew."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stagedml import Build, RefPath, RRef, instantiate, output, plan, realize, stage, using_store
from stagedml.core.plan import Verdict
from stagedml.core.reasons import Cause
from stagedml.core.refs import parse_rref
from stagedml.errors import StoreError
from stagedml.settings import read_settings
from stagedml.store.objects import DamagedFile, Store
from stagedml.store.verify import Kind, Report, repair, verify
from stagedml.testing import toys
from unprivileged import as_nobody


@pytest.fixture
def rref(store: Store) -> RRef:
    return realize(instantiate(toys.all_counted))


def _folder(store: Store, rref: str) -> Path:
    return store.path(parse_rref(rref))


def _counts(store: Store, rref: str) -> Path:
    return _folder(store, rref) / "result" / "counts.json"


def _unlocked(path: Path) -> Path:
    path.parent.chmod(0o755)
    path.chmod(0o644)
    return path


def _locked(path: Path) -> None:
    if path.exists():
        path.chmod(0o444)
    path.parent.chmod(0o555)


def _flip(path: Path) -> None:
    """Change a byte and keep the time stamp, as a disk does that forgets."""
    times = path.stat()
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def _remove(path: Path) -> None:
    path.unlink()


def _grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


def _make_executable(path: Path) -> None:
    path.chmod(0o755)


def _replace_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("elsewhere")


def _add_another(path: Path) -> None:
    (path.parent / "more").write_text("more")
    (path.parent / "more").chmod(0o444)


def _kinds(report: Report) -> list[Kind]:
    return [finding.kind for finding in report.findings]


def test_a_store_that_nobody_touched_has_no_findings(store: Store, rref: RRef) -> None:
    seen: list[tuple[int, int]] = []
    report = verify(store, on_progress=lambda done, total: seen.append((done, total)))
    assert report.findings == ()
    assert (report.realizations, report.untracked) == (3, 0)
    assert report.size_bytes > 0
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (_flip, Kind.DAMAGED),
        (_grow, Kind.DAMAGED),
        (_make_executable, Kind.DAMAGED),
        (_replace_by_link, Kind.DAMAGED),
        (_remove, Kind.MISSING),
        (_add_another, Kind.EXTRA),
    ],
)
def test_each_damage_is_named_put_away_and_built_anew(
    store: Store, rref: RRef, damage: Callable[[Path], None], kind: Kind
) -> None:
    path = _unlocked(_counts(store, rref))
    before = path.read_bytes()
    damage(path)
    if damage is _make_executable:
        path.chmod(0o555)
        path.parent.chmod(0o555)
    elif damage is _replace_by_link:
        path.parent.chmod(0o555)
    else:
        _locked(path)

    report = verify(store)
    assert _kinds(report) == [kind]
    (finding,) = report.findings
    assert finding.ref == rref
    assert Path(finding.path) == (path.parent / "more" if damage is _add_another else path)
    assert verify(store, [parse_rref(rref)]).findings == report.findings

    assert len(repair(store, report)) == 2  # the realization and its metadata
    assert verify(store).findings == ()
    (step,) = [step for step in plan(instantiate(toys.all_counted)).steps if step.verdict is not Verdict.REUSE]
    assert (step.name, step.cause, step.detail) == ("count", Cause.BYTES_MISSING, "what there was is in quarantine")
    assert realize(instantiate(toys.all_counted)) == rref
    assert path.read_bytes() == before
    assert verify(store).findings == ()


def test_write_bits_are_found_and_taken_away(store: Store, rref: RRef) -> None:
    path = _unlocked(_counts(store, rref))
    report = verify(store)
    assert _kinds(report) == [Kind.WRITABLE, Kind.WRITABLE]
    assert {finding.path for finding in report.findings} == {str(path), str(path.parent)}
    repair(store, report)
    assert verify(store).findings == ()
    assert path.stat().st_mode & 0o222 == path.parent.stat().st_mode & 0o222 == 0


def test_a_changed_context_counts_as_damage(store: Store, rref: RRef) -> None:
    path = _unlocked(_folder(store, rref) / "context.json")
    context = json.loads(path.read_text())
    path.write_text(json.dumps(context))  # the same meaning, other bytes
    _locked(path)
    assert [(finding.kind, finding.path) for finding in verify(store).findings] == [(Kind.DAMAGED, str(path))]


def test_a_context_that_rests_on_what_is_gone_is_told_and_left_alone(store: Store, rref: RRef) -> None:
    text = next(ref for ref in map(str, _all(store)) if ref.endswith("-text"))
    os.rename(_folder(store, text), store.layout.root / "away")
    report = verify(store)
    assert sorted(kind.value for kind in _kinds(report)) == ["context", "context", "orphan"]
    assert all(text in finding.detail for finding in report.findings if finding.kind is Kind.CONTEXT)
    repair(store, report)
    assert realize(instantiate(toys.all_counted)) == rref
    assert verify(store).findings == ()


def _all(store: Store) -> list[object]:
    return [ref for derivation in store.derivations() for ref in store.realizations(derivation)]


def test_metadata_that_cannot_be_read_is_put_away_and_the_bytes_stay(store: Store, rref: RRef) -> None:
    path = store.layout.metadata_of(parse_rref(rref))
    path.write_text("{")
    report = verify(store)
    assert _kinds(report) == [Kind.METADATA]
    repair(store, report)
    assert not path.exists()
    assert _counts(store, rref).exists()
    assert verify(store).findings == ()
    assert realize(instantiate(toys.all_counted)) == rref


def test_metadata_that_was_mended_before_the_repair_stays(store: Store, rref: RRef) -> None:
    path = store.layout.metadata_of(parse_rref(rref))
    text = path.read_text()
    path.write_text("{")
    report = verify(store)
    path.write_text(text)
    assert repair(store, report) == []
    assert path.read_text() == text


def test_metadata_that_cannot_be_read_does_not_hide_damage(store: Store, rref: RRef) -> None:
    store.layout.metadata_of(parse_rref(rref)).write_text("{")
    path = _unlocked(_counts(store, rref))
    _flip(path)
    _locked(path)
    assert sorted(kind.value for kind in _kinds(verify(store))) == ["damaged", "metadata"]


def test_a_config_that_was_changed_or_is_gone_is_told(store: Store, rref: RRef) -> None:
    path = store.layout.config(parse_rref(rref).derivation)
    text = path.read_text()
    path.chmod(0o644)
    path.write_text(text + " ")
    (finding,) = verify(store).findings
    assert (finding.kind, finding.path) == (Kind.CONFIG, str(path))
    path.unlink()
    assert _kinds(verify(store)) == [Kind.CONFIG]


def test_what_a_crash_left_is_an_orphan_and_put_away(store: Store, rref: RRef) -> None:
    ref = parse_rref(rref)
    left = store.layout.derivation(ref.derivation) / ("0" * 32 + ".tmp")
    (left / "folder").mkdir(parents=True)
    unused = store.layout.metadata_of(ref).with_name("1" * 32 + ".json")
    unused.write_text("{}")
    report = verify(store)
    assert {(finding.kind, finding.path) for finding in report.findings} == {
        (Kind.ORPHAN, str(left)),
        (Kind.ORPHAN, str(unused)),
    }
    repair(store, report)
    assert verify(store).findings == ()
    assert not left.exists()
    assert not unused.exists()
    assert len(list(store.layout.quarantine.iterdir())) == 2


def test_a_realization_that_is_gone_is_missing_if_asked_for(store: Store, rref: RRef) -> None:
    ref = parse_rref(rref)
    os.rename(_folder(store, rref), store.layout.root / "away")
    assert _kinds(verify(store, [ref])) == [Kind.MISSING]


def test_an_unprivileged_user_repairs_a_store_of_its_own(nobody_path: Path) -> None:
    def damage_and_repair() -> None:
        with using_store(Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=nobody_path / "root"))) as store:
            rref = realize(instantiate(toys.all_counted))
            path = _unlocked(_counts(store, rref))
            _flip(path)
            _locked(path)
            report = verify(store)
            assert _kinds(report) == [Kind.DAMAGED]
            repair(store, report)
            assert realize(instantiate(toys.all_counted)) == rref
            assert verify(store).findings == ()

    as_nobody(damage_and_repair)


@pytest.mark.parametrize("text", ["{", None], ids=["damaged", "gone"])
def test_a_damaged_config_is_told_and_the_next_realize_writes_it_anew(
    store: Store, rref: RRef, text: str | None
) -> None:
    path = store.layout.config(parse_rref(rref).derivation)
    before = path.read_text()
    path.unlink()
    if text is not None:
        path.write_text(text)
    with using_store(Store(store.layout)) as fresh:
        with pytest.raises(StoreError):
            fresh.config(parse_rref(rref).derivation)
        assert realize(instantiate(toys.all_counted)) == rref
    assert path.read_text() == before
    assert verify(store).findings == ()


def test_a_config_that_says_something_else_is_not_believed(store: Store, rref: RRef) -> None:
    path = store.layout.config(parse_rref(rref).derivation)
    text = path.read_text()
    path.chmod(0o644)
    path.write_text(text.replace("count", "amount"))
    with pytest.raises(DamagedFile, match=r"stagedml verify --repair"):
        Store(store.layout).config(parse_rref(rref).derivation)


def test_a_damaged_context_is_an_error_that_names_the_file_and_the_remedy(store: Store, rref: RRef) -> None:
    text = next(ref for ref in map(str, _all(store)) if ref.endswith("-upper"))
    path = _unlocked(_folder(store, text) / "context.json")
    path.write_text("xx")
    _locked(path)
    store.path(parse_rref(rref)).rename(store.layout.root / "away")
    with pytest.raises(DamagedFile) as caught:
        realize(instantiate(toys.all_counted))
    assert str(path) in str(caught.value)
    repair(store, verify(store))
    assert realize(instantiate(toys.all_counted)) == rref


def test_a_folder_that_is_writable_for_a_moment_is_no_finding(store: Store, rref: RRef) -> None:
    folder = _folder(store, rref)
    folder.chmod(0o755)
    seen = threading.Event()

    def lock_again() -> None:
        with store.publishing(parse_rref(rref).folder):  # as who links equal files does
            seen.set()
            time.sleep(0.5)
            folder.chmod(0o555)

    thread = threading.Thread(target=lock_again)
    thread.start()
    assert seen.wait(60)
    assert verify(store).findings == ()
    thread.join()


# -- what is no realization any more ----------------------------------------------------------------------------------


def _by_a_file(place: Path) -> None:
    place.write_text("foo")


def _by_a_link(place: Path) -> None:
    place.symlink_to(place.parents[2] / "moved")


@pytest.mark.parametrize("replace", [_by_a_file, _by_a_link])
def test_what_took_a_realizations_place_is_put_away_and_it_is_built_anew(
    store: Store, rref: RRef, replace: Callable[[Path], None]
) -> None:
    place = _folder(store, rref)
    moved = store.layout.root / "moved"
    place.rename(moved)
    (moved / "result" / "counts.json").chmod(0o644)
    replace(place)
    report = verify(store)
    assert [(finding.kind, finding.path) for finding in report.findings] == [(Kind.DAMAGED, str(place))]
    repair(store, report)
    assert (moved / "result" / "counts.json").stat().st_mode & 0o200  # nothing outside of the store was touched
    assert realize(instantiate(toys.all_counted)) == rref
    assert verify(store).findings == ()


def test_a_file_in_a_realizations_place_is_set_aside_by_a_rebuild(store: Store, rref: RRef) -> None:
    place = _folder(store, rref)
    place.rename(store.layout.root / "moved")
    place.write_text("foo")
    assert realize(instantiate(toys.all_counted)) == rref
    assert verify(store).findings == ()


@stage(toys.Text, name="siblings")
def siblings(build: Build, *, text: RefPath = output("a/text.txt")) -> None:
    """Write two folders."""
    for name in ("a", "b"):
        (build.outpath / name).mkdir()
        (build.outpath / name / "text.txt").write_text(name)


def test_damage_is_found_where_metadata_is_lost_too(store: Store) -> None:
    rref = realize(instantiate(siblings))
    store.layout.metadata_of(parse_rref(rref)).unlink()
    assert verify(store).findings == ()
    path = _unlocked(_folder(store, rref) / "a" / "text.txt")
    _flip(path)
    _locked(path)
    assert _kinds(verify(store)) == [Kind.DAMAGED]


@pytest.mark.parametrize(
    "change",
    [{"builds": []}, {"digest": None}, {"digest": 5}, {"content": "x"}, {"rref": {}}, {"files": [["f", 1, 2, 3]]}],
    ids=str,
)
def test_metadata_of_other_types_is_told_and_put_away(store: Store, rref: RRef, change: dict[str, object]) -> None:
    path = store.layout.metadata_of(parse_rref(rref))
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    report = verify(store)
    assert _kinds(report) == [Kind.METADATA]
    repair(store, report)
    assert verify(store).findings == ()
    assert realize(instantiate(toys.all_counted)) == rref


@pytest.mark.unprivileged
def test_what_may_not_be_read_is_told(nobody_path: Path) -> None:
    def check() -> None:
        with using_store(Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=nobody_path / "root"))) as store:
            rref = realize(instantiate(toys.all_counted))
            folder = _folder(store, rref).parent
            folder.chmod(0)
            (finding, *_) = [finding for finding in verify(store).findings if finding.kind is Kind.CONFIG]
            assert "Permission denied" in finding.detail
            with pytest.raises(StoreError, match="Permission denied"):
                store.realizations(parse_rref(rref).derivation)
            folder.chmod(0o755)
            assert verify(store).findings == ()

    as_nobody(check)


def test_what_is_no_part_of_a_store_is_told_and_put_away(store: Store, rref: RRef) -> None:
    for name in ("junk", "store-v0"):
        (store.layout.storage / name).mkdir()
    report = verify(store)
    assert [(finding.kind, Path(finding.path).name) for finding in report.findings] == [
        (Kind.EXTRA, "junk"),
        (Kind.EXTRA, "store-v0"),
    ]
    assert len(repair(store, report)) == 2
    assert verify(store).findings == ()
