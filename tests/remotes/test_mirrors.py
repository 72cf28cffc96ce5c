"""How mirrors are written, and how their folders are looked through."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedml.remotes.mirrors import FolderMirror, MirrorsNotUsable, UrlMirror, Wanted, parse_mirrors
from stagedml.remotes.urls import filename_of


def test_colons_separate_but_not_within_a_url() -> None:
    text = "/data/a:https://me:pw@host:8443/x/y:~/b:http://[::1]:80:relative:http://host:file:///c%20d::http://h/p?k=v"
    entries = [mirror.folder if isinstance(mirror, FolderMirror) else mirror.base for mirror in parse_mirrors(text)]
    assert entries == [
        Path("/data/a"),
        "https://me:pw@host:8443/x/y",
        Path.home() / "b",
        "http://[::1]:80",
        Path.cwd() / "relative",
        "http://host",
        Path("/c d"),
        "http://h/p?k=v",
    ]


FOLDERS = st.text(alphabet="abc ,-./@", min_size=1, max_size=10).filter(str.strip).map(lambda text: f"/{text.strip()}")
HOSTS = st.sampled_from(["host", "host:80", "me@host", "me:pw@host:8080", "[::1]", "[::1]:443", "10.0.0.1"])
URLS = st.builds("{}://{}{}".format, st.sampled_from(["http", "https"]), HOSTS, st.sampled_from(["", "/", "/a/b"]))


@given(st.lists(FOLDERS.filter(lambda text: "://" not in text) | URLS, max_size=5))
def test_any_list_of_folders_and_urls_reads_back_as_written(entries: list[str]) -> None:
    read = [
        str(mirror.folder) if isinstance(mirror, FolderMirror) else mirror.base
        for mirror in parse_mirrors(":".join(entries), separator=":")
    ]
    assert read == [os.path.abspath(entry) if entry.startswith("/") else entry for entry in entries]


@pytest.mark.parametrize("text", ["s3://bucket/x", "/a:ftp://host/", "http:///nohost"])
def test_a_mirror_of_an_unknown_kind_is_refused(text: str) -> None:
    with pytest.raises(MirrorsNotUsable, match="STAGEDML_MIRRORS"):
        parse_mirrors(text)


def test_nothing_written_is_no_mirror() -> None:
    assert parse_mirrors("") == parse_mirrors(" : ") == ()


def test_a_password_of_a_mirror_is_not_shown() -> None:
    assert str(UrlMirror("https://me:pw@host/x")) == "https://host/x"


def test_a_url_mirror_keeps_its_query() -> None:
    assert list(UrlMirror("https://host/x/?sig=1").candidates(Wanted(("a b",)))) == ["https://host/x/a%20b?sig=1"]


def test_a_file_added_later_is_found_and_one_removed_is_not(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    mirror = FolderMirror(tmp_path)
    wanted = Wanted(("file",))
    assert list(mirror.candidates(wanted)) == []
    (tmp_path / "sub" / "file").touch()
    assert list(mirror.candidates(wanted)) == [tmp_path / "sub" / "file"]
    (tmp_path / "sub" / "file").rename(tmp_path / "file")
    assert list(mirror.candidates(wanted)) == [tmp_path / "file"]


def test_a_settled_folder_is_walked_once_and_again_after_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    os.utime(tmp_path, (1_000_000_000, 1_000_000_000))
    mirror = FolderMirror(tmp_path)
    wanted = Wanted(("file", "later"))
    walks: list[str] = []
    scandir = os.scandir

    def counted_scandir(folder: str) -> object:
        walks.append(folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", counted_scandir)
    for _ in range(3):
        assert len(list(mirror.candidates(wanted))) == 1
    assert len(walks) == 1
    (tmp_path / "later").touch()
    assert len(list(mirror.candidates(wanted))) == 2


def test_the_same_folder_is_one_mirror_for_the_whole_process(tmp_path: Path) -> None:
    assert parse_mirrors(str(tmp_path))[0] is parse_mirrors(f"/x:{tmp_path}")[1]


def test_links_to_folders_are_followed_and_circles_end(tmp_path: Path) -> None:
    (tmp_path / "real" / "inner").mkdir(parents=True)
    (tmp_path / "real" / "inner" / "file").touch()
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "back").symlink_to(tmp_path / "mirror")
    found = list(FolderMirror(tmp_path / "mirror").candidates(Wanted(("file",))))
    assert found == [tmp_path / "mirror" / "link" / "inner" / "file"]


def test_a_pattern_finds_further_names_after_the_exact_ones(tmp_path: Path) -> None:
    for name in ("b-1.whl", "a-1.whl", "exact", "c-2.whl"):
        (tmp_path / name).touch()
    wanted = Wanted(("exact",), re.compile(r"[abc]-1\.whl"))
    assert [path.name for path in FolderMirror(tmp_path).candidates(wanted)] == ["exact", "a-1.whl", "b-1.whl"]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://host/o/data%2Fmrpc_dev_ids.tsv?alt=media&token=1", "mrpc_dev_ids.tsv"),
        ("https://host/a/b.zip#part", "b.zip"),
        ("https://host/with%20space/", "with space"),
        ("https://bit.ly/2BOtOJ7", "2BOtOJ7"),
    ],
)
def test_a_urls_file_name_is_the_last_part_of_its_decoded_path(url: str, name: str) -> None:
    assert filename_of(url) == name
