"""Wheels from mirrors and through pip, with an index on this machine."""

from __future__ import annotations

import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from remotes.web import Answer, Web, refused_url, sha256_of, silent_url, whole
from stagedml.remotes.checksum import ChecksumNotUsable
from stagedml.remotes.download import FetchFailed, WrongChecksum
from stagedml.remotes.mirrors import parse_mirrors
from stagedml.remotes.unpack import unpack
from stagedml.remotes.wheel import RequirementNotUsable, fetch_wheel

WHEEL_NAME = "toy_data-1.0-py3-none-any.whl"


@pytest.fixture
def wheel(tmp_path: Path) -> bytes:
    """The bytes of a wheel that holds one file of data."""
    path = tmp_path / WHEEL_NAME
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr("toy_data/data.txt", "data")
        bundle.writestr("toy_data-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy-data\nVersion: 1.0\n")
        bundle.writestr(
            "toy_data-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        bundle.writestr("toy_data-1.0.dist-info/RECORD", "")
    body = path.read_bytes()
    path.unlink()
    return body


@pytest.fixture(autouse=True)
def _pip_knows_no_index_but(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the configuration of the machine out of pip; a test sets the index."""
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "pip-cache"))
    monkeypatch.setenv("PIP_INDEX_URL", refused_url("/simple"))


def serve_index(web: Web, wheel: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    page = f'<!DOCTYPE html><a href="/files/{WHEEL_NAME}">{WHEEL_NAME}</a>'
    web.serve("/simple/toy-data/", lambda _: Answer(page.encode(), headers={"Content-Type": "text/html"}))
    web.serve(f"/files/{WHEEL_NAME}", whole(wheel))
    monkeypatch.setenv("PIP_INDEX_URL", f"{web.url}/simple")


def test_pip_fetches_from_the_index_it_is_configured_for(
    web: Web, wheel: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_index(web, wheel, monkeypatch)
    reports: list[tuple[str, int, int | None, str, str]] = []
    path = fetch_wheel(
        "Toy.Data",
        "1.0",
        tmp_path / "toy.whl",
        sha256=sha256_of(wheel).digits,
        progress=lambda *report: reports.append(report),
    )
    assert path.read_bytes() == wheel
    assert [entry.name for entry in tmp_path.iterdir() if not entry.name.startswith("pip-cache")] == ["toy.whl"]
    assert reports[0][4] == "through pip"
    assert (unpack(path, tmp_path / "out") / "toy_data" / "data.txt").read_text() == "data"


def test_other_bytes_in_the_index_are_a_wrong_sum(
    web: Web, wheel: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_index(web, wheel, monkeypatch)
    with pytest.raises(WrongChecksum) as caught:
        fetch_wheel("toy-data", "1.0", tmp_path / "toy.whl", sha256="0" * 64)
    assert "0" * 64 in str(caught.value)
    assert sha256_of(wheel).digits in str(caught.value)


def test_a_version_that_the_index_lacks_is_told(
    web: Web, wheel: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_index(web, wheel, monkeypatch)
    with pytest.raises(FetchFailed, match=r"from versions: 1\.0"):
        fetch_wheel("toy-data", "2.0", tmp_path / "toy.whl", sha256="0" * 64)


@pytest.mark.parametrize("name", [WHEEL_NAME, "Toy.Data-1.0-2-cp311-cp311-linux_x86_64.whl", "sum"])
def test_a_folder_mirror_may_hold_the_wheel_under_any_of_its_names(name: str, wheel: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "mirror" / "wheels"
    folder.mkdir(parents=True)
    (folder / "toy_data-1.0.1-py3-none-any.whl").write_bytes(b"another version")
    (folder / (sha256_of(wheel).digits if name == "sum" else name)).write_bytes(wheel)
    mirrors = parse_mirrors(str(tmp_path / "mirror"))
    path = fetch_wheel("toy_data", "1.0", tmp_path / "x", sha256=sha256_of(wheel).digits, mirrors=mirrors, offline=True)
    assert path.read_bytes() == wheel


def test_a_url_mirror_is_asked_for_the_usual_name(web: Web, wheel: bytes, tmp_path: Path) -> None:
    web.serve(f"/mirror/{WHEEL_NAME}", whole(wheel))
    mirrors = parse_mirrors(f"{web.url}/mirror")
    fetch_wheel("toy-data", "1.0", tmp_path / "x", sha256=sha256_of(wheel).digits, mirrors=mirrors)
    assert len(web.requests) == 1


def test_an_index_that_refuses_connections_fails_within_five_seconds(tmp_path: Path) -> None:
    started_s = time.monotonic()
    with pytest.raises(FetchFailed) as caught:
        fetch_wheel("toy-data", "1.0", tmp_path / "x", sha256="0" * 64)
    assert time.monotonic() - started_s < 5
    for part in ("toy-data==1.0", "0" * 64, "STAGEDML_MIRRORS", WHEEL_NAME, "refused"):
        assert part in str(caught.value)


def test_an_index_that_never_answers_fails_within_the_time_to_connect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with silent_url("/simple") as url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        started_s = time.monotonic()
        with pytest.raises(FetchFailed, match=r"no answer within|timed out"):
            fetch_wheel("toy-data", "1.0", tmp_path / "x", sha256="0" * 64)
        assert time.monotonic() - started_s < 10  # 4 s and the start of pip, which a busy machine makes long


def test_offline_pip_is_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(FetchFailed, match="not tried: offline"):
        fetch_wheel("toy-data", "1.0", tmp_path / "x", sha256="0" * 64, offline=True)


def test_a_python_without_pip_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FetchFailed, match="ensurepip"):
        fetch_wheel("toy-data", "1.0", tmp_path / "x", sha256="0" * 64)


@pytest.mark.parametrize(
    ("name", "version"), [("-r x", "1.0"), ("x", "1.0 --hash"), ("x\ny", "1"), ("x", ">=1"), ("", "1")]
)
def test_what_is_not_one_package_and_version_is_refused(name: str, version: str, tmp_path: Path) -> None:
    with pytest.raises(RequirementNotUsable):
        fetch_wheel(name, version, tmp_path / "x", sha256="0" * 64)


def test_a_wheel_needs_a_sha256(tmp_path: Path) -> None:
    with pytest.raises(ChecksumNotUsable):
        fetch_wheel("toy-data", "1.0", tmp_path / "x", sha256="0" * 40)


def test_importing_the_layer_imports_no_http_library() -> None:
    code = (
        "import sys, stagedml.remotes.download, stagedml.remotes.unpack, stagedml.remotes.wheel;"
        "print([name for name in ('urllib3', 'ssl', 'lzma', 'tarfile') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
