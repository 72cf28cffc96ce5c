"""What goes wrong during an adoption costs a build at most: nothing half made, nothing harmed, nothing wrong.

Every call that changes the file system is a point at which the process dies or is refused; the source of an adoption
goes away, is damaged, or is not what a link says.
"""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import stat
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faulting import faults
from stagedml import (
    Artifact,
    Build,
    RefPath,
    instantiate,
    mklens,
    output,
    realize,
    realize_many,
    rmref,
    rref2path,
    stage,
    using_store,
)
from stagedml.core.plan import Plan
from stagedml.core.refs import parse_rref
from stagedml.engine.events import Observer
from stagedml.settings import read_settings
from stagedml.store.archive import export, import_archive
from stagedml.store.dedup import dedup, plan_dedup
from stagedml.store.objects import Store
from stagedml.store.verify import Kind, verify
from stagedml.testing.faults import Fault, count_calls, with_fault
from unprivileged import as_nobody


class Rows(Artifact):
    """Some rows."""

    rows: RefPath


class Table(Artifact):
    """A folder."""

    folder: RefPath


@stage(Rows, name="rows")
def rows(build: Build, *, note: str, rows: RefPath = output("rows.txt")) -> None:
    build.path(rows).write_text("1 2 3")


@stage(Table, name="table")
def table(build: Build, *, source: Rows, folder: RefPath = output("folder")) -> None:
    inner = build.path(folder) / "inner"
    inner.mkdir(parents=True)
    (inner / "table.txt").write_text(build.path(source.rows).read_text() * 20)
    (inner / "link").symlink_to("table.txt")
    (build.log_dir / "log").write_text("logged")


TEXT = "1 2 3" * 20


def tabled(note: str) -> Table:
    return table(source=rows(note=note))


class Made(Observer):
    """What was built and adopted, by name."""

    def __init__(self) -> None:
        self.built: list[str] = []
        self.adopted_: list[str] = []

    def started(self, dref: str, instance: int, outpath: Path) -> None:
        self.built.append(dref[38:])

    def adopted(self, dref: str, rref: str, source: str) -> None:
        self.adopted_.append(dref[38:])


def opened(root: Path) -> Store:
    return Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=root))


@pytest.fixture(scope="module", autouse=True)
def _modules_are_loaded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Load what a build loads when it runs: the interpreter's folder may be out of reach for an unprivileged user."""
    with using_store(opened(tmp_path_factory.mktemp("warm"))) as store:
        for note in ("one", "two"):
            realize(instantiate(tabled, note))
        verify(store)


def prepared() -> str:
    """Make the current store one in which `tabled("two")` has nothing left to do but to adopt; returns the source."""
    source = realize(instantiate(tabled, "one"))
    realize(instantiate(rows, note="two"))
    return str(source)


def realized() -> Made:
    """Realize `tabled("two")`, which must come out right."""
    made = Made()
    rref = realize(instantiate(tabled, "two"), observer=made)
    assert text_of(rref) == TEXT
    return made


def text_of(rref: str) -> str:
    return (Path(rref2path(rref)) / "folder" / "inner" / "table.txt").read_text()


def check_unharmed(source: str) -> None:
    folder = Path(rref2path(source))
    assert text_of(source) == TEXT
    for place in (folder, *folder.rglob("*")):
        assert place.is_symlink() or not stat.S_IMODE(place.stat().st_mode) & 0o222, place


# -- interrupted ------------------------------------------------------------------------------------------------------


def interrupted(root: Path, fault: Fault) -> None:
    with using_store(opened(root / "reference")):
        prepared()
        target = instantiate(tabled, "two")
        calls = count_calls(lambda: realize(target))
        expected = str(realize(target))
        assert any(call.startswith("link") for call in calls)
    seen = set()
    for number, call in enumerate(calls):
        with using_store(opened(root / str(number))) as store:
            source = prepared()
            target = instantiate(tabled, "two")
            outcome = with_fault(lambda target=target: realize(target), number, fault)  # type: ignore[misc]
            assert outcome.killed == (fault in (Fault.KILL_BEFORE, Fault.KILL_AFTER)), call
            if outcome.error is not None:
                assert {"StoreError", "BuildError"} & set(outcome.family), (call, outcome.error)
            there = [str(rref) for rref in store.realizations(parse_rref(expected).derivation)]
            assert there in ([], [expected]), call
            seen.add(bool(there))
            assert {finding.kind for finding in verify(store).findings} <= {Kind.ORPHAN}, call
            check_unharmed(source)
            made = realized()
            assert made.built == [], call
            assert made.adopted_ == ([] if there else ["table"]), call
            assert str(realize(target)) == expected
            assert verify(store).findings == (), call
            check_unharmed(source)
            if not there:
                assert list(store.layout.scratch.iterdir()) == []
                assert list(store.layout.storage.glob("*/*.tmp")) == []
    if fault is Fault.KILL_AFTER:
        assert seen == {True, False}


@pytest.mark.parametrize("fault", Fault)
def test_an_interrupted_adoption_leaves_nothing_or_the_whole(tmp_path: Path, fault: Fault) -> None:
    interrupted(tmp_path, fault)


@pytest.mark.unprivileged
@pytest.mark.parametrize("fault", faults(Fault.KILL_AFTER))
def test_an_interrupted_adoption_is_in_no_unprivileged_users_way(nobody_path: Path, fault: Fault) -> None:
    as_nobody(interrupted, nobody_path, fault)


# -- at the same time -------------------------------------------------------------------------------------------------


def in_processes(count: int, work: Callable[[], object]) -> None:
    """Run a piece of work in several processes at once; each must end well."""
    ready, go = os.pipe()
    children = []
    for _ in range(count):
        child = os.fork()
        if child == 0:
            os.close(go)
            code = 1
            try:
                os.read(ready, 1)  # until the parent lets all go
                work()
                code = 0
            except BaseException:
                traceback.print_exc()
            os._exit(code)
        children.append(child)
    os.close(ready)
    os.close(go)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * count


def test_processes_that_adopt_the_same_at_once_get_the_same(store: Store) -> None:
    source = prepared()
    target = instantiate(tabled, "two")
    in_processes(4, lambda: realize(target, observer=Made()))
    (there,) = store.realizations(parse_rref(str(realize(target))).derivation)
    known = store.metadata(there)
    assert known is not None
    (build,) = known.builds
    assert build.adopted == source
    assert verify(store).findings == ()
    check_unharmed(source)


def test_processes_that_adopt_from_the_same_source_are_in_nobodys_way(store: Store) -> None:
    source = realize(instantiate(tabled, "one"))
    for number in range(4):
        target = instantiate(tabled, f"many {number}")
        in_processes(2, lambda target=target: realize(target))  # type: ignore[misc]
        made = Made()
        realize(target, observer=made)
        assert made.built == made.adopted_ == []
    assert verify(store).findings == ()
    check_unharmed(source)


# -- a source that goes away, or is not what it was -------------------------------------------------------------------


class Remover(Made):
    """Removes a realization once the plan is drawn."""

    def __init__(self, rref: str) -> None:
        super().__init__()
        self.rref = rref

    def planned(self, plan: Plan) -> None:
        rmref(self.rref, force=True)


def test_what_is_collected_after_the_plan_is_built(store: Store) -> None:
    made = Remover(prepared())
    assert text_of(realize(instantiate(tabled, "two"), observer=made)) == TEXT
    assert (made.built, made.adopted_) == (["table"], [])
    assert verify(store).findings == ()


@pytest.mark.parametrize("call", ["mkdir", "link", "symlink"])
def test_what_is_collected_while_it_is_linked_is_built(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    source = prepared()
    target = instantiate(tabled, "two")
    original = getattr(os, call)
    done: list[str] = []

    def removing(*arguments: Any, **keywords: Any) -> Any:
        if "/scratch/" in f"{arguments} " and not done:
            done.append(source)
            rmref(source, force=True)
        return original(*arguments, **keywords)

    monkeypatch.setattr(os, call, removing)
    made = Made()
    assert text_of(realize(target, observer=made)) == TEXT
    assert done == [source]
    assert made.built + made.adopted_ == ["table"]
    if made.built:
        assert f"{source} cannot be adopted" in caplog.text
    assert verify(store).findings == ()
    assert list(store.layout.scratch.iterdir()) == []


def _other_bytes(file: Path) -> None:
    file.chmod(0o644)
    file.write_text("x" * len(TEXT))


def _truncated(file: Path) -> None:
    file.chmod(0o644)
    file.write_text("")


def _gone(file: Path) -> None:
    file.unlink()


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _link_outside(file: Path) -> None:
    file.unlink()
    file.symlink_to("/etc/passwd")


def _unreadable(file: Path) -> None:
    file.chmod(0)


def damaged(root: Path, damage: Callable[[Path], None]) -> None:
    with using_store(opened(root)) as store:
        source = prepared()
        file = Path(rref2path(source)) / "folder" / "inner" / "table.txt"
        file.parent.chmod(0o755)
        damage(file)
        made = realized()
        assert (made.built, made.adopted_) == (["table"], [])
        assert {finding.ref for finding in verify(store).findings} == {source}
        made = Made()
        assert text_of(realize(instantiate(tabled, "three"), observer=made)) == TEXT  # now the whole one is offered
        assert verify(store, [parse_rref(str(realize(instantiate(tabled, "three"))))]).findings == ()


DAMAGES = [_other_bytes, _truncated, _gone, _folder, _fifo, _link_outside]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_built_and_a_warning_tells(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    damaged(tmp_path / "root", damage)
    (warning, *_) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "cannot be adopted" in warning.getMessage()
    assert "is built" in warning.getMessage()


@pytest.mark.unprivileged
@pytest.mark.parametrize("damage", [*DAMAGES, _unreadable])
def test_what_is_damaged_is_built_for_an_unprivileged_user(nobody_path: Path, damage: Callable[[Path], None]) -> None:
    as_nobody(damaged, nobody_path / "root", damage)


# -- links and metadata that say what is not so -----------------------------------------------------------------------


def offer_of(store: Store, source: str) -> Path:
    (place,) = [path for path in store.layout.adoptable.iterdir() if os.readlink(path) == source]
    return place


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "/etc/passwd",
        "../../..",
        "rref:" + "0" * 32 + "-" + "1" * 32 + "-table",
        "rref:" + "0" * 32 + "-" + "1" * 32 + "-../../table",
    ],
)
def test_a_link_to_what_is_not_there_is_replaced_by_what_is_built(store: Store, text: str) -> None:
    place = offer_of(store, prepared())
    place.unlink()
    place.symlink_to(text)
    assert realized().built == ["table"]
    assert os.readlink(place) == str(realize(instantiate(tabled, "two")))
    made = Made()
    realize(instantiate(tabled, "three"), observer=made)
    assert made.adopted_ == ["table"]
    assert verify(store).findings == ()


def test_a_link_to_the_realization_of_another_key_is_not_followed(store: Store) -> None:
    place = offer_of(store, prepared())
    place.unlink()
    place.symlink_to(str(realize(instantiate(rows, note="one"))))
    assert realized().built == ["table"]


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_what_is_no_link_among_the_links_is_in_nobodys_way(
    store: Store, make: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    place = offer_of(store, prepared())
    place.unlink()
    make(place)
    assert realized().built == ["table"]
    assert place.is_symlink() or "will not be adopted" in caplog.text
    assert not list(store.layout.adoptable.glob("*.tmp"))


@pytest.mark.parametrize("key", ["../../../forged", "", None, 7, ["x"], {"a": 1}, "0" * 32, "A" * 32])
def test_metadata_with_a_forged_key_makes_nobody_adopt_it(store: Store, key: object) -> None:
    source = parse_rref(prepared())
    path = store.layout.metadata_of(source)
    document = json.loads(path.read_text())
    document["builds"][0]["key"] = key
    path.chmod(0o644)
    path.write_text(json.dumps(document))
    assert realized().built == ["table"]


# -- archives, shared files, file systems without links ---------------------------------------------------------------


def archive_of(store: Store, rref: str, *, records: bool) -> io.BytesIO:
    stream = io.BytesIO()
    export(store, [parse_rref(rref)], stream, records=records)
    stream.seek(0)
    return stream


@pytest.mark.parametrize("records", [True, False])
def test_what_came_with_its_records_can_be_adopted(store: Store, tmp_path: Path, records: bool) -> None:
    source = prepared()
    with using_store(opened(tmp_path / "other")) as other:
        import_archive(other, archive_of(store, source, records=records))
        made = realized()
        assert (made.built, made.adopted_) == ((["rows"], ["table"]) if records else (["rows", "table"], []))
        assert verify(other).findings == ()
        check_unharmed(source)


def test_an_archive_with_a_forged_key_writes_nothing_elsewhere(store: Store, tmp_path: Path) -> None:
    source = parse_rref(prepared())
    path = store.layout.metadata_of(source)
    document = json.loads(path.read_text())
    document["builds"][0]["key"] = "../../../../forged"
    path.chmod(0o644)
    path.write_text(json.dumps(document))
    other = opened(tmp_path / "a" / "b" / "other")
    import_archive(other, archive_of(store, str(source), records=True))
    assert not any(name.startswith("forged") for _, *names in os.walk(tmp_path) for more in names for name in more)
    with using_store(other):
        assert realized().built == ["rows", "table"]


def test_files_that_many_share_are_adopted_and_stay_shared(store: Store) -> None:
    source = prepared()
    realize(instantiate(tabled, "three"), force=True)
    dedup(store, plan_dedup(store, smallest_bytes=1))
    assert realized().adopted_ == ["table"]
    dedup(store, plan_dedup(store, smallest_bytes=1))
    rrefs = [realize(instantiate(tabled, note)) for note in ("one", "two", "three")]
    inodes = {(Path(rref2path(rref)) / "folder/inner/table.txt").stat().st_ino for rref in rrefs}
    assert len(inodes) == 1
    rmref(source, force=True)
    assert text_of(rrefs[1]) == text_of(rrefs[2]) == TEXT
    assert {finding.kind for finding in verify(store).findings} <= {Kind.CONTEXT}


@pytest.fixture
def _no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that makes no hard links."""

    def refuse(source: str, *arguments: object, **keywords: object) -> None:
        os.stat(source)
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), source)

    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.usefixtures("_no_links")
def test_files_are_copied_where_the_file_system_makes_no_links(store: Store) -> None:
    source = prepared()
    made = realized()
    assert (made.built, made.adopted_) == ([], ["table"])
    rref = realize(instantiate(tabled, "two"))
    places = [Path(rref2path(one)) / "folder/inner/table.txt" for one in (source, rref)]
    assert len({place.stat().st_ino for place in places}) == 2
    assert store.code(parse_rref(str(rref)).derivation) is not None
    assert verify(store).findings == ()
    check_unharmed(source)


def test_each_instance_is_adopted_though_one_of_them_is_damaged(store: Store) -> None:
    first = realize_many(instantiate(drawn_of, "one"), instances=3)
    file = Path(rref2path(first[1])) / "rows.txt"
    file.chmod(0o644)
    file.write_text("x" * len(file.read_text()))
    made = Made()
    second = realize_many(instantiate(drawn_of, "two"), instances=3, observer=made)
    assert (made.built, made.adopted_) == (["rows", "drawn"], ["drawn", "drawn"])
    texts = [mklens(rref).rows.contents for rref in second]
    assert len(set(texts)) == 3
    assert "x" not in "".join(texts)


@stage(Rows, name="drawn")
def drawn(build: Build, *, source: Rows, rows: RefPath = output("rows.txt")) -> None:
    build.path(rows).write_text(f"{build.seed:040}")


def drawn_of(note: str) -> Rows:
    return drawn(source=rows(note=note))
