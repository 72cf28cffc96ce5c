"""Downloads from a server on this machine: mirrors, verification, resuming, and no network."""

from __future__ import annotations

import hashlib
import logging
import pickle
import time
from pathlib import Path

import pytest

from remotes.web import Answer, Web, refused_url, sha256_of, silent_url, whole, with_ranges
from stagedml.errors import RemoteError, UsageError
from stagedml.remotes.checksum import Checksum, ChecksumNotUsable
from stagedml.remotes.download import FetchFailed, WrongChecksum, download
from stagedml.remotes.mirrors import parse_mirrors
from stagedml.remotes.transfer import Patience
from stagedml.remotes.urls import UrlNotUsable

BODY = bytes(range(256)) * 4096  # 1 MiB
QUICK = Patience(connect_s=2.0, read_s=2.0, attempts=3, backoff_s=0.01)


def test_a_file_is_fetched_whole_and_alone(web: Web, tmp_path: Path) -> None:
    url = web.serve("/data/file.bin?token=x", whole(BODY))
    path = download(url, tmp_path / "out", checksum=sha256_of(BODY), patience=QUICK)
    assert path.read_bytes() == BODY
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    assert web.requests[0].path == "/data/file.bin?token=x"


def test_a_sha1_is_as_good_as_a_sha256(web: Web, tmp_path: Path) -> None:
    checksum = Checksum.given(sha1=hashlib.sha1(BODY).hexdigest().upper())
    download(web.serve("/file", whole(BODY)), tmp_path / "out", checksum=checksum, patience=QUICK)
    with pytest.raises(WrongChecksum, match="expected sha1 "):
        download(web.serve("/file", whole(b"other")), tmp_path / "two", checksum=checksum, patience=QUICK)


@pytest.mark.parametrize("sums", [{}, {"sha256": "0" * 64, "sha1": "0" * 40}, {"sha256": "0" * 40}, {"sha1": "g" * 40}])
def test_a_sum_that_is_none_is_refused(sums: dict[str, str]) -> None:
    with pytest.raises(ChecksumNotUsable, match="exactly one of sha256="):
        Checksum.given(**sums)


def test_a_destination_that_holds_the_bytes_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(BODY)
    download("http://unused.invalid/x", tmp_path / "out", checksum=sha256_of(BODY), offline=True)
    (tmp_path / "out").write_bytes(b"other")
    with pytest.raises(FetchFailed):
        download("http://unused.invalid/x", tmp_path / "out", checksum=sha256_of(BODY), offline=True)


def test_a_wrong_sum_names_both_and_keeps_nothing(web: Web, tmp_path: Path) -> None:
    url = web.serve("/file", whole(b"<!DOCTYPE html>log in"))
    with pytest.raises(WrongChecksum) as caught:
        download(url, tmp_path / "out", checksum=sha256_of(BODY), patience=QUICK)
    message = str(caught.value)
    for part in (sha256_of(BODY).digits, sha256_of(b"<!DOCTYPE html>log in").digits, url, "21 bytes", "a web page"):
        assert part in message
    assert "removed" in message
    assert list(tmp_path.iterdir()) == []
    assert isinstance(caught.value, RemoteError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == message


def test_a_busy_server_is_asked_again(web: Web, tmp_path: Path) -> None:
    busy = Answer(b"busy", 503)
    url = web.serve("/file", lambda _: busy, lambda _: busy, whole(BODY))
    assert download(url, tmp_path / "out", checksum=sha256_of(BODY), patience=QUICK).read_bytes() == BODY
    assert len(web.requests) == 3


def test_a_server_that_stays_busy_is_given_up(web: Web, tmp_path: Path) -> None:
    url = web.serve("/file", lambda _: Answer(status=503))
    with pytest.raises(FetchFailed, match=r"HTTP 503.*given up after 3 attempts"):
        download(url, tmp_path / "out", checksum=sha256_of(BODY), patience=QUICK)


def test_a_server_that_asks_for_a_long_pause_is_not_waited_for(web: Web, tmp_path: Path) -> None:
    url = web.serve("/file", lambda _: Answer(status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(FetchFailed, match="come back in 3600 s"):
        download(url, tmp_path / "out", checksum=sha256_of(BODY), patience=QUICK)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_not_tried_again(web: Web, tmp_path: Path, status: int) -> None:
    url = web.serve("/file", lambda _: Answer(b"no", status))
    with pytest.raises(FetchFailed, match=f"HTTP {status}"):
        download(url, tmp_path / "out", checksum=sha256_of(BODY), patience=QUICK)
    assert len(web.requests) == 1


def test_a_cut_body_is_resumed_where_it_was_cut(web: Web, tmp_path: Path) -> None:
    url = web.serve("/file", with_ranges(BODY, version='"1"', cut_at=500_000))
    assert download(url, tmp_path / "out", checksum=sha256_of(BODY), patience=QUICK).read_bytes() == BODY
    assert [request.range_start() for request in web.requests] == [None, 500_000]
    assert web.requests[1].headers["if-range"] == '"1"'


def test_progress_with_every_attempt_outlives_any_number_of_cuts(web: Web, tmp_path: Path) -> None:
    cuts = [with_ranges(BODY, version='"1"', cut_at=100_000 * (count + 1)) for count in range(8)]
    url = web.serve("/file", *cuts, with_ranges(BODY, version='"1"'))
    assert download(url, tmp_path / "out", checksum=sha256_of(BODY), patience=QUICK).read_bytes() == BODY


def test_a_body_that_is_always_cut_is_given_up(web: Web, tmp_path: Path) -> None:
    url = web.serve("/file", lambda _: Answer(BODY[:1000], claimed_bytes=len(BODY)))
    with pytest.raises(FetchFailed, match="given up after 3 attempts"):
        download(url, tmp_path / "out", checksum=sha256_of(BODY), patience=QUICK)
    assert len(web.requests) == 3


def test_a_file_that_changed_between_attempts_is_fetched_anew(web: Web, tmp_path: Path) -> None:
    changed = b"new" * 300_000
    url = web.serve("/file", with_ranges(BODY, version='"1"', cut_at=500_000), with_ranges(changed, version='"2"'))
    assert download(url, tmp_path / "out", checksum=sha256_of(changed), patience=QUICK).read_bytes() == changed
    assert web.requests[1].range_start() == 500_000


def test_a_server_that_joins_two_versions_is_caught_by_the_sum(web: Web, tmp_path: Path) -> None:
    changed = BODY[::-1]
    url = web.serve(
        "/file",
        with_ranges(BODY, version='"same"', cut_at=500_000),
        with_ranges(changed, version='"same"'),
    )
    assert download(url, tmp_path / "out", checksum=sha256_of(changed), patience=QUICK).read_bytes() == changed
    assert [request.range_start() for request in web.requests] == [None, 500_000, None]


def test_a_range_nobody_asked_for_is_not_appended(web: Web, tmp_path: Path) -> None:
    def wrong_range(_: object) -> Answer:
        return Answer(BODY[7:], 206, {"ETag": '"1"', "Content-Range": f"bytes 7-{len(BODY) - 1}/{len(BODY)}"})

    url = web.serve("/file", with_ranges(BODY, version='"1"', cut_at=500_000), wrong_range, whole(BODY))
    assert download(url, tmp_path / "out", checksum=sha256_of(BODY), patience=QUICK).read_bytes() == BODY


def test_without_a_version_a_cut_download_begins_anew(web: Web, tmp_path: Path) -> None:
    url = web.serve("/file", lambda _: Answer(BODY[:1000], claimed_bytes=len(BODY)), whole(BODY))
    assert download(url, tmp_path / "out", checksum=sha256_of(BODY), patience=QUICK).read_bytes() == BODY
    assert [request.range_start() for request in web.requests] == [None, None]


def test_a_later_call_goes_on_with_the_parts_of_an_earlier_one(web: Web, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    parts.mkdir()
    url = web.serve("/file", with_ranges(BODY, version='"1"', cut_at=700_000), lambda _: Answer(status=404))
    with pytest.raises(FetchFailed):
        download(url, tmp_path / "out", checksum=sha256_of(BODY), patience=QUICK, parts=parts)
    web.serve("/file", with_ranges(BODY, version='"1"'))
    download(url, tmp_path / "out", checksum=sha256_of(BODY), patience=QUICK, parts=parts)
    assert web.requests[-1].range_start() == 700_000
    assert (tmp_path / "out").read_bytes() == BODY
    assert list(parts.iterdir()) == []


def test_parts_of_another_url_are_not_gone_on_with(web: Web, tmp_path: Path) -> None:
    mirror = web.serve("/mirror/file", with_ranges(b"bad" * 100_000, version='"1"', cut_at=1000), whole(b""))
    web.serve("/mirror/file", with_ranges(b"bad" * 100_000, version='"1"', cut_at=1000), lambda _: Answer(status=404))
    url = web.serve("/file", with_ranges(BODY, version='"1"'))
    mirrors = parse_mirrors(mirror.removesuffix("/file"))
    download(url, tmp_path / "out", checksum=sha256_of(BODY), mirrors=mirrors, patience=QUICK)
    assert web.asked("/file")[0].range_start() is None


def test_redirects_are_followed_relative_ones_too(web: Web, tmp_path: Path) -> None:
    web.serve("/two", whole(BODY))
    web.serve("/one", lambda _: Answer(status=302, headers={"Location": "two"}))
    url = web.serve("/short", lambda _: Answer(status=301, headers={"Location": web.url + "/one"}))
    assert download(url, tmp_path / "out", checksum=sha256_of(BODY), patience=QUICK).read_bytes() == BODY


def test_a_circle_of_redirects_ends(web: Web, tmp_path: Path) -> None:
    url = web.serve("/round", lambda _: Answer(status=302, headers={"Location": "/round"}))
    with pytest.raises(FetchFailed, match="redirected more than 10 times"):
        download(url, tmp_path / "out", checksum=sha256_of(BODY), patience=QUICK)


def test_a_redirect_cannot_reach_files_of_this_machine(web: Web, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(BODY)
    url = web.serve("/file", lambda _: Answer(status=302, headers={"Location": secret.as_uri()}))
    with pytest.raises(FetchFailed, match=r"no http\(s\) URL"):
        download(url, tmp_path / "out", checksum=sha256_of(BODY), patience=QUICK)


def test_a_password_is_sent_and_never_shown(web: Web, tmp_path: Path) -> None:
    url = web.serve("/file", whole(b"other")).replace("//", "//user:se%3Acret@")
    with pytest.raises(WrongChecksum) as caught:
        download(url, tmp_path / "out", checksum=sha256_of(BODY), patience=QUICK)
    assert web.requests[0].headers["authorization"] == "Basic dXNlcjpzZTpjcmV0"
    assert "cret" not in str(caught.value)


def test_packed_bytes_are_kept_as_they_are_sent(web: Web, tmp_path: Path) -> None:
    url = web.serve("/file.gz", whole(BODY, Content_Encoding="gzip"))
    assert download(url, tmp_path / "out", checksum=sha256_of(BODY), patience=QUICK).read_bytes() == BODY


def test_progress_tells_how_far_it_is(web: Web, tmp_path: Path) -> None:
    reports: list[tuple[str, int, int | None, str, str]] = []
    url = web.serve("/file.bin", with_ranges(BODY, version='"1"', cut_at=500_000))
    download(
        url,
        tmp_path / "out",
        checksum=sha256_of(BODY),
        patience=QUICK,
        progress=lambda *report: reports.append(report),
    )
    assert {(label, unit) for label, _, _, unit, _ in reports} == {("file.bin", "bytes")}
    assert reports[-1][1:3] == (len(BODY), len(BODY))
    assert any("trying again" in note for *_, note in reports)


def test_a_proxy_of_the_environment_is_used(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web.serve("http://nowhere.invalid/file", whole(BODY))
    monkeypatch.setenv("http_proxy", web.url)
    path = download("http://nowhere.invalid/file", tmp_path / "out", checksum=sha256_of(BODY), patience=QUICK)
    assert path.read_bytes() == BODY
    monkeypatch.setenv("no_proxy", "nowhere.invalid")
    with pytest.raises(FetchFailed, match="cannot connect"):
        download("http://nowhere.invalid/file", tmp_path / "two", checksum=sha256_of(BODY), patience=QUICK)


def test_a_file_url_is_copied_and_left_alone(tmp_path: Path) -> None:
    original = tmp_path / "with space.bin"
    original.write_bytes(BODY)
    path = download(original.as_uri(), tmp_path / "out", checksum=sha256_of(BODY), offline=True)
    assert path.read_bytes() == original.read_bytes()
    assert path.stat().st_ino != original.stat().st_ino
    with pytest.raises(WrongChecksum, match="left where it is"):
        download(original.as_uri(), tmp_path / "two", checksum=sha256_of(b"other"))
    assert original.exists()


@pytest.mark.parametrize("url", ["ftp://host/file", "file", "http://host/", "https://host/a/%2e%2e", "s3://x/y"])
def test_a_url_that_cannot_be_fetched_is_the_callers_error(url: str, tmp_path: Path) -> None:
    with pytest.raises(UrlNotUsable) as caught:
        download(url, tmp_path / "out", checksum=sha256_of(BODY), offline=True)
    assert isinstance(caught.value, UsageError)


# Mirrors


def test_a_mirrors_folder_is_asked_first_by_name_at_any_depth(tmp_path: Path) -> None:
    folder = tmp_path / "mirror" / "deep" / "er"
    folder.mkdir(parents=True)
    (folder / "mrpc_dev_ids.tsv").write_bytes(BODY)
    url = refused_url("/v0/o/data%2Fmrpc_dev_ids.tsv?alt=media&token=ec5c")
    mirrors = parse_mirrors(str(tmp_path / "mirror"))
    assert download(url, tmp_path / "out", checksum=sha256_of(BODY), mirrors=mirrors).read_bytes() == BODY


def test_a_mirrors_file_may_be_named_by_its_sum_or_by_a_given_name(web: Web, tmp_path: Path) -> None:
    for name, filename in ((sha256_of(BODY).digits, None), ("diagnostic.tsv", "diagnostic.tsv")):
        folder = tmp_path / name[:10]
        folder.mkdir()
        (folder / name).write_bytes(BODY)
        download(
            refused_url("/2BOtOJ7"),
            tmp_path / f"{name}.out",
            checksum=sha256_of(BODY),
            filename=filename,
            mirrors=parse_mirrors(str(folder)),
        )


def test_a_url_mirror_is_asked_by_name_and_by_sum(web: Web, tmp_path: Path) -> None:
    web.serve(f"/mirror/{sha256_of(BODY).digits}", whole(BODY))
    mirrors = parse_mirrors(web.url + "/mirror/")
    download(refused_url("/some file"), tmp_path / "out", checksum=sha256_of(BODY), mirrors=mirrors, patience=QUICK)
    assert [request.path for request in web.requests] == ["/mirror/some%20file", f"/mirror/{sha256_of(BODY).digits}"]


def test_a_mirrors_wrong_file_is_reported_and_passed_over(
    web: Web, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, body in ((first, b"wrong"), (second / "a", b"also wrong"), (second / "b", BODY)):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(body)
    mirrors = parse_mirrors(f"{first}:{second}")
    with caplog.at_level(logging.WARNING):
        download(refused_url("/file"), tmp_path / "out", checksum=sha256_of(BODY), mirrors=mirrors)
    assert (tmp_path / "out").read_bytes() == BODY
    assert [sha256_of(b"wrong").digits in caplog.text, sha256_of(b"also wrong").digits in caplog.text] == [True, True]
    assert (first / "file").read_bytes() == b"wrong"


def test_the_url_itself_comes_last(web: Web, tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "file").write_bytes(b"wrong")
    url = web.serve("/file", whole(BODY))
    mirrors = parse_mirrors(f"{tmp_path / 'absent'}:{tmp_path / 'mirror'}:{web.url}/none")
    download(url, tmp_path / "out", checksum=sha256_of(BODY), mirrors=mirrors, patience=QUICK)
    assert [request.path for request in web.requests] == ["/none/file", f"/none/{sha256_of(BODY).digits}", "/file"]


def test_a_mirrors_file_that_cannot_be_read_is_passed_over(web: Web, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    mirrors = parse_mirrors(str(mirror))
    (mirror / "file").write_bytes(BODY)
    (mirror / "file").chmod(0)
    url = web.serve("/file", whole(BODY))
    assert download(url, tmp_path / "out", checksum=sha256_of(BODY), mirrors=mirrors).read_bytes() == BODY


# No network


def test_without_a_network_the_error_says_what_to_put_where(tmp_path: Path) -> None:
    url = refused_url("/glue/CoLA.zip")
    mirrors = parse_mirrors(f"{tmp_path}:{refused_url('/mirror')}")
    started_s = time.monotonic()
    with pytest.raises(FetchFailed) as caught:
        download(url, tmp_path / "out", checksum=sha256_of(BODY), mirrors=mirrors)
    assert time.monotonic() - started_s < 5
    message = str(caught.value)
    for part in (url, sha256_of(BODY).digits, "STAGEDML_MIRRORS", "named CoLA.zip", str(tmp_path), "refused"):
        assert part in message
    assert len(caught.value.failures) == 3


def test_hosts_that_never_answer_are_given_up_within_five_seconds_in_all(tmp_path: Path) -> None:
    with silent_url("/file") as url, silent_url("/mirror") as mirror:
        started_s = time.monotonic()
        with pytest.raises(FetchFailed, match=r"no answer within|timed out"):
            download(url, tmp_path / "out", checksum=sha256_of(BODY), mirrors=parse_mirrors(mirror))
        assert time.monotonic() - started_s < 5


def test_offline_no_connection_is_attempted(web: Web, tmp_path: Path) -> None:
    url = web.serve("/file", whole(BODY))
    with pytest.raises(FetchFailed, match="not tried: offline"):
        download(url, tmp_path / "out", checksum=sha256_of(BODY), mirrors=parse_mirrors(web.url), offline=True)
    assert web.requests == []
