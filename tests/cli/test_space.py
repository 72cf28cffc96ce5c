"""`du` and `dedup`: what they print, as text and as JSON, and what they say where little can be done."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from compat.plain import plain_storage, plx
from stagedml import Build, RefPath, instantiate, output, realize, stage, using_store
from stagedml.authoring.artifact import Artifact
from stagedml.cli.main import EXIT_FAILED, EXIT_USAGE, main
from stagedml.core.refs import parse_rref
from stagedml.inspection import du
from stagedml.settings import read_settings
from stagedml.store.objects import Store

SIZE = 8192


class Blob(Artifact):
    """Some bytes."""

    blob: RefPath


@stage(Blob, name="blob-{label}")
def blob(build: Build, *, label: str, byte: int = 0, blob: RefPath = output("blob")) -> None:
    """Write one byte, many times."""
    build.path(blob).write_bytes(bytes([byte]) * SIZE)


@stage(Blob, name="big")
def big(build: Build, *, blob: RefPath = output("blob")) -> None:
    """Write a lot."""
    build.path(blob).write_bytes(bytes(100_000))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=tmp_path / "root"))


@pytest.fixture
def root(store: Store) -> str:
    with using_store(store):
        for label in ("one", "two", "three"):
            realize(instantiate(blob, label=label))
        realize(instantiate(blob, label="else", byte=1))
    return str(store.layout.root)


def lines(text: str) -> list[list[str]]:
    """The words of each line."""
    return [line.split() for line in text.splitlines()]


# -- du ---------------------------------------------------------------------------------------------------------------


def test_du_tells_apparent_real_and_shared_bytes(capsys: pytest.CaptureFixture[str], root: str) -> None:
    _, before, _ = run(capsys, "du", "--root", root, "--json")
    assert run(capsys, "dedup", "--root", root)[:2] == (0, "2 files linked, 16.0 KiB saved\n")
    code, after, _ = run(capsys, "du", "--root", root, "--json")
    assert code == 0
    old, new = json.loads(before), json.loads(after)
    assert old["apparent_bytes"] == new["apparent_bytes"] >= 4 * SIZE
    assert old["real_bytes"] - new["real_bytes"] == 2 * SIZE
    assert [row["shared_bytes"] for row in old["realizations"]] == [0] * 4
    assert {row["name"]: row["shared_bytes"] for row in new["realizations"]} == {
        "blob-one": SIZE,
        "blob-two": SIZE,
        "blob-three": SIZE,
        "blob-else": 0,
    }
    assert all(row["real_bytes"] > SIZE and row["files"] == 4 for row in new["realizations"])
    assert sum(row["real_bytes"] for row in new["realizations"]) == old["real_bytes"]
    assert [other["kind"] for other in new["others"]] == ["derivations", "metadata", "code", "runs"]


def test_du_prints_the_largest_first_and_totals(capsys: pytest.CaptureFixture[str], root: str, store: Store) -> None:
    with using_store(store):
        realize(instantiate(big))
    run(capsys, "dedup", "--root", root)
    code, out, err = run(capsys, "du", "--root", root)
    assert (code, err) == (0, "")
    header, first, *rest = lines(out)
    assert header == ["NAME", "HASH", "SIZE", "ON", "DISK", "SHARED"]
    assert first[0] == "big"
    total = next(index for index, line in enumerate(rest) if line[0] == "TOTAL")
    # Below the total, what the store says of itself is as large as it happens to be.
    assert sum("8.0" in line and "KiB" in line for line in rest[:total]) == 3
    assert [line[0] for line in rest[total + 1 :]] == ["5", "derivations", "metadata", "code", "runs"]


def test_du_of_some_realizations_leaves_out_the_others(capsys: pytest.CaptureFixture[str], root: str) -> None:
    run(capsys, "dedup", "--root", root)
    _, out, _ = run(capsys, "du", "--root", root, "--json", "blob-one", "blob-two", "blob-one")
    found = json.loads(out)
    assert {row["name"] for row in found["realizations"]} == {"blob-one", "blob-two"}
    assert found["others"] == []
    assert found["real_bytes"] == sum(row["real_bytes"] for row in found["realizations"]) - SIZE
    _, out, _ = run(capsys, "du", "--root", root, "blob-one")
    assert [line[0] for line in lines(out)] == ["NAME", "blob-one", "TOTAL", "1"]
    code, _, err = run(capsys, "du", "--root", root, "nothing")
    assert code == EXIT_FAILED
    assert "nothing is not in the store" in err


@pytest.mark.skipif(shutil.which("du") is None, reason="there is no du")
def test_du_counts_as_the_one_of_the_system_does(capsys: pytest.CaptureFixture[str], root: str, store: Store) -> None:
    left = store.layout.storage / "left.tmp"
    left.mkdir()
    (left / "file").write_bytes(bytes(SIZE))
    for _ in range(2):
        usage = du.usage(store)
        said = subprocess.run(
            ["du", "-s", "--block-size=1", str(store.layout.storage)], capture_output=True, text=True, check=True
        )
        others = {other.kind: other.real_bytes for other in usage.others}
        assert int(said.stdout.split()[0]) == usage.real_bytes + others["derivations"] + others["interrupted"]
        assert others["interrupted"] > SIZE
        assert run(capsys, "dedup", "--root", root)[0] == 0


def test_du_knows_sparse_files_links_and_what_lies_beside(capsys: pytest.CaptureFixture[str], store: Store) -> None:
    @stage(Blob, name="sparse")
    def sparse(build: Build, *, blob: RefPath = output("blob")) -> None:
        build.path(blob).touch()
        os.truncate(build.path(blob), 1 << 24)
        (build.outpath / "link").symlink_to("blob")

    with using_store(store):
        realize(instantiate(sparse))
    for folder in (store.layout.quarantine, store.layout.all_downloads, store.layout.scratch / "key"):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(bytes(SIZE))
    found = du.usage(store)
    (row,) = found.realizations
    assert row.apparent_bytes > 1 << 24 > row.real_bytes
    others = {other.kind: other.apparent_bytes for other in found.others}
    assert others["quarantine"] == others["downloads"] == others["scratch"] == SIZE


def test_shared_bytes_do_not_count_names_within_a_realization(store: Store) -> None:
    @stage(Blob, name="twice")
    def twice(build: Build, *, blob: RefPath = output("blob")) -> None:
        build.path(blob).write_bytes(bytes(SIZE))
        os.link(build.path(blob), build.outpath / "again")

    with using_store(store):
        ref = parse_rref(realize(instantiate(twice)))
    (row,) = du.usage(store, [ref]).realizations
    assert row.apparent_bytes > 2 * SIZE
    assert row.shared_bytes == 0
    assert row.real_bytes == du.usage(store).real_bytes


def test_du_counts_realizations_of_pylightnix(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    S = plain_storage(tmp_path)
    rref = plx.realize1(
        plx.instantiate(lambda r: plx.mknode(r, {"a": 1}, artifacts={"one": bytes(SIZE)}, name="node"), S=S)
    )
    code, out, _ = run(capsys, "du", "--root", str(tmp_path), "--json")
    (row,) = json.loads(out)["realizations"]
    assert (code, row["rref"]) == (0, str(rref))
    assert row["real_bytes"] > SIZE
    assert run(capsys, "dedup", "--root", str(tmp_path))[:2] == (0, "no files linked, 0 B saved\n")


def test_neither_loads_pylightnix_nor_anything_heavy(root: str) -> None:
    program = (
        "import sys\nfrom stagedml.cli.main import main\n"
        f"for verb in ('du', 'dedup'):\n    assert main([verb, '--root', {root!r}]) == 0\n"
        "assert not {'pylightnix', 'numpy', 'rich', 'IPython'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


# -- dedup ------------------------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_be_linked_and_changes_nothing(capsys: pytest.CaptureFixture[str], root: str) -> None:
    _, before, _ = run(capsys, "du", "--root", root)
    code, out, err = run(capsys, "dedup", "--root", root, "--dry-run")
    assert (code, err) == (0, "")
    header, row, last = out.splitlines()
    assert header.split() == ["COPIES", "SIZE", "OF"]
    assert row.split()[:3] == ["2", "8.0", "KiB"]
    assert row.endswith("/blob")
    assert last == "2 files would be linked, 16.0 KiB saved"
    _, out, _ = run(capsys, "dedup", "--root", root, "--dry-run", "--json")
    found = json.loads(out)
    assert found["saves_bytes"] == 2 * SIZE
    assert {link["to"]["rref"] for link in found["links"]} == {row["to"]["rref"] for row in found["links"][:1]}
    assert found["skipped"] == []
    assert run(capsys, "du", "--root", root)[1] == before


def test_dedup_prints_json_and_has_nothing_to_do_twice(capsys: pytest.CaptureFixture[str], root: str) -> None:
    found = [json.loads(run(capsys, "dedup", "--root", root, "--json")[1]) for _ in range(2)]
    assert found == [
        {"files": 2, "saved_bytes": 2 * SIZE, "skipped": [], "refused": ""},
        {"files": 0, "saved_bytes": 0, "skipped": [], "refused": ""},
    ]


def test_dedup_takes_a_size_below_which_files_are_left_alone(capsys: pytest.CaptureFixture[str], root: str) -> None:
    assert run(capsys, "dedup", "--root", root, "--smallest", "9K")[1] == "no files linked, 0 B saved\n"
    code, _, err = run(capsys, "dedup", "--root", root, "--smallest", "many")
    assert code == EXIT_USAGE
    assert "'many' is no size" in err
    assert run(capsys, "dedup", "--root", root, "--smallest", "8K")[1].startswith("2 files linked")


def test_dedup_names_what_is_damaged(capsys: pytest.CaptureFixture[str], root: str, store: Store) -> None:
    ref = next(ref for dref in store.derivations() if dref.name == "blob-two" for ref in store.realizations(dref))
    path = store.path(ref) / "blob"
    path.chmod(0o644)
    path.write_bytes(bytes(SIZE - 1) + b"x")
    path.chmod(0o444)
    code, out, err = run(capsys, "dedup", "--root", root)
    assert (code, out) == (0, "1 file linked, 8.0 KiB saved, 1 file skipped\n")
    assert err.splitlines() == [
        f"skipped  {ref.folder}/{ref.rhash}/blob: has other bytes than were published",
        "`stagedml verify` says what is damaged",
    ]
    assert path.read_bytes()[-1:] == b"x"
    assert run(capsys, "verify", "--root", root)[1].startswith(f"damaged   {path}: ")


def test_dedup_says_that_a_file_system_makes_no_links(
    capsys: pytest.CaptureFixture[str], root: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "link", refuse)
    why = f"the file system of {store.layout.storage} makes no hard links (Operation not supported)"
    assert run(capsys, "dedup", "--root", root) == (0, f"nothing was changed: {why}\n", "")
    found = json.loads(run(capsys, "dedup", "--root", root, "--json")[1])
    assert (found["files"], found["refused"]) == (0, "Operation not supported")


def test_both_refuse_a_store_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for verb in ("du", "dedup"):
        code, _, err = run(capsys, verb, "--root", str(tmp_path / "nowhere"))
        assert code == EXIT_FAILED
        assert "nowhere" in err
        assert not (tmp_path / "nowhere").exists()
