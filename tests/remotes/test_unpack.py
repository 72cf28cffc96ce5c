"""Archives made here, honest and hostile, and what unpacking makes of them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedml.remotes.unpack import (
    DEFAULT_LIMITS,
    ArchiveError,
    DamagedArchive,
    DestinationNotEmpty,
    UnknownArchive,
    UnpackLimits,
    UnsafeArchive,
    unpack,
)

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda body: body,
    ".gz": lambda body: gzip.compress(body, mtime=0),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member, body in members:
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return buffer.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode = kind, target, mode
    return member


def file(name: str, body: bytes = b"x", mode: int = 0o644) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, mode=mode), body


def folder(name: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, tarfile.DIRTYPE, mode=0o755), b""


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, tarfile.SYMTYPE, target), b""


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, tarfile.LNKTYPE, target), b""


def zip_of(*members: tuple[str, bytes, int]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, body, mode in members:
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            bundle.writestr(info, body)
    return buffer.getvalue()


def unpacked(
    tmp_path: Path, body: bytes, name: str = "archive", limits: UnpackLimits = DEFAULT_LIMITS
) -> dict[str, bytes | str | None]:
    """What an archive unpacks to: contents of files, targets of links, None for folders."""
    archive = tmp_path / name
    archive.write_bytes(body)
    return tree_of(unpack(archive, tmp_path / "out", limits=limits))


def tree_of(root: Path) -> dict[str, bytes | str | None]:
    tree: dict[str, bytes | str | None] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        tree[name] = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return tree


@pytest.mark.parametrize("ending", COMPRESSORS)
def test_a_tar_unpacks_however_it_is_compressed_and_whatever_it_is_called(tmp_path: Path, ending: str) -> None:
    body = COMPRESSORS[ending](tar_of(folder("top"), file("top/a", b"A"), file("./b/c", b""), link("top/l", "../b/c")))
    expected = {"b": None, "b/c": b"", "top": None, "top/a": b"A", "top/l": "../b/c"}
    assert unpacked(tmp_path, body, "0123abcd") == expected


def test_a_zip_unpacks_with_folders_links_and_exec_bits(tmp_path: Path) -> None:
    body = zip_of(
        ("top/", b"", 0o40755),
        ("top/run", b"#!", 0o100755),
        ("top/data", b"D" * 100_000, 0o100600),
        ("link", b"top/run", 0o120777),
        ("plain", b"P", 0),
    )
    tree = unpacked(tmp_path, body)
    assert tree == {"link": "top/run", "plain": b"P", "top": None, "top/data": b"D" * 100_000, "top/run": b"#!"}
    modes = {name: stat.S_IMODE((tmp_path / "out" / name).stat().st_mode) for name in ("top/run", "top/data", "plain")}
    umask = os.umask(0)
    os.umask(umask)
    assert modes == {"top/run": 0o777 & ~umask, "top/data": 0o666 & ~umask, "plain": 0o666 & ~umask}


@pytest.mark.parametrize("ending", COMPRESSORS)
def test_an_empty_tar_is_an_empty_folder(tmp_path: Path, ending: str) -> None:
    assert unpacked(tmp_path, COMPRESSORS[ending](tar_of()), f"empty.tar{ending}") == {}


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz"])
def test_a_single_packed_file_loses_its_ending(tmp_path: Path, ending: str) -> None:
    body = COMPRESSORS[ending](b"image" * 1000)
    assert unpacked(tmp_path, body, f"train-images-idx3-ubyte{ending}") == {"train-images-idx3-ubyte": b"image" * 1000}


def test_the_name_of_a_file_kept_under_its_sum_can_be_given(tmp_path: Path) -> None:
    archive = tmp_path / "0123abcd"
    archive.write_bytes(gzip.compress(b"body"))
    assert tree_of(unpack(archive, tmp_path / "out", name="labels.gz")) == {"labels": b"body"}


def test_several_gzip_members_are_one_file(tmp_path: Path) -> None:
    assert unpacked(tmp_path, gzip.compress(b"one") + gzip.compress(b"two"), "x.gz") == {"x": b"onetwo"}


def test_hard_links_and_exec_bits_of_a_tar_are_kept(tmp_path: Path) -> None:
    body = tar_of(file("bin/run", b"#!", 0o4755), hard_link("again", "bin/run"), hard_link("third", "again"))
    assert unpacked(tmp_path, body)["third"] == b"#!"
    status = (tmp_path / "out" / "again").stat()
    assert status.st_mode & 0o7100 == 0o100


def test_the_same_archive_gives_the_same_tree_twice(tmp_path: Path) -> None:
    body = tar_of(file("a", b"A"), link("l", "a"))
    first = unpacked(tmp_path, body)
    assert tree_of(unpack(tmp_path / "archive", tmp_path / "again")) == first


def test_an_empty_folder_may_be_there_but_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    unpacked(tmp_path, tar_of(file("a")))
    with pytest.raises(DestinationNotEmpty):
        unpack(tmp_path / "archive", tmp_path / "out")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DestinationNotEmpty):
        unpack(tmp_path / "archive", tmp_path / "link")


HOSTILE_TARS = {
    "a path upwards": [file("../evil")],
    "a path upwards in the middle": [file("a/../../evil")],
    "an absolute path": [file("/tmp/evil")],
    "the folder itself as a file": [file("./")],
    "an absolute link": [link("l", "/etc/passwd")],
    "a link outside": [link("a/l", "../../evil")],
    "a link outside through another link": [folder("a/b"), link("a/b/up", "../.."), link("l", "a/b/up/../evil")],
    "a link outside through a link that comes later": [link("l", "d/up/x"), folder("d"), link("d/up", "../..")],
    "links in a circle": [link("a", "b"), link("b", "a")],
    "a file through a link": [link("l", "."), file("l/evil")],
    "a file through a link outside": [link("l", "../.."), file("l/evil")],
    "a file over a link": [link("l", "target"), file("l")],
    "a link over a file": [file("l"), link("l", "target")],
    "a link over a folder": [folder("l"), link("l", ".")],
    "a folder over a link": [link("l", "."), folder("l")],
    "a hard link outside": [hard_link("h", "../secret")],
    "an absolute hard link": [hard_link("h", "/etc/passwd")],
    "a hard link to a link": [link("l", "."), hard_link("h", "l")],
    "a hard link to nothing": [hard_link("h", "later"), file("later")],
    "a hard link through a link": [link("l", ".."), hard_link("h", "l/secret")],
    "a hard link over a file": [file("a"), file("b"), hard_link("b", "a")],
    "a fifo": [(entry("f", tarfile.FIFOTYPE), b"")],
    "a device": [(entry("d", tarfile.CHRTYPE), b"")],
    "a block device": [(entry("d", tarfile.BLKTYPE), b"")],
    "a name twice": [file("a", b"1"), file("a", b"2")],
    "a name twice in two spellings": [file("a/b"), file("./a//b")],
    "a file below a file": [file("a"), file("a/b")],
    "a file over a folder": [file("a/b"), file("a")],
}


@pytest.mark.parametrize("members", HOSTILE_TARS.values(), ids=HOSTILE_TARS)
def test_a_hostile_tar_is_refused_and_leaves_nothing(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    inner = tmp_path / "inner"
    inner.mkdir()
    with pytest.raises(UnsafeArchive) as caught:
        unpacked(inner, tar_of(file("honest"), *members))
    assert caught.value.member in {member.name for member, _ in members}
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["archive", "inner", "secret"]
    assert (tmp_path / "secret").read_bytes() == b"secret"


@pytest.mark.parametrize(
    "members",
    [
        [("../evil", b"", 0)],
        [("/tmp/evil", b"", 0)],
        [("a", b"", 0), ("./a", b"", 0)],
        [("l", b"/etc/passwd", 0o120777)],
        [("l", b"../x", 0o120777)],
        [("l", b".", 0o120777), ("l/x", b"", 0)],
        [("l", b"x" * 5000, 0o120777)],
        [("f", b"", 0o010644)],
    ],
)
def test_a_hostile_zip_is_refused_and_leaves_nothing(tmp_path: Path, members: list[tuple[str, bytes, int]]) -> None:
    with pytest.raises(UnsafeArchive):
        unpacked(tmp_path, zip_of(("honest", b"x", 0), *members))
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    body = bytearray(zip_of(("secret", b"x", 0)))
    body[6] |= 1  # the flag in the local header
    body[body.index(b"PK\x01\x02") + 8] |= 1  # and in the directory
    with pytest.raises(UnsafeArchive, match="encrypted"):
        unpacked(tmp_path, bytes(body))


@pytest.mark.parametrize("ending", COMPRESSORS)
def test_a_tar_cut_anywhere_is_damaged(tmp_path: Path, ending: str) -> None:
    tar = tar_of(*(file(f"member-{number}", os.urandom(700)) for number in range(3)))
    body = COMPRESSORS[ending](tar)
    end = 3 * 1536 if not ending else len(body)  # where the end mark begins, or the compressed bytes end
    for size in (1, 100, 511, 512, 513, 1536, 1600, end - 700, end - 4, end - 1, end if not ending else end - 1):
        with pytest.raises(DamagedArchive) as caught:
            unpacked(tmp_path, body[:size], f"archive.tar{ending}")
        assert f"archive.tar{ending}" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_header_damaged_in_the_middle_is_no_silent_end(tmp_path: Path) -> None:
    body = bytearray(tar_of(file("first"), file("second"), file("third")))
    body[1024] ^= 0xFF
    with pytest.raises(DamagedArchive, match="after member 'first'"):
        unpacked(tmp_path, bytes(body))


def test_a_damaged_zip_names_the_member(tmp_path: Path) -> None:
    body = bytearray(zip_of(("first", b"x", 0), ("second", os.urandom(1000), 0)))
    body[body.index(b"second") + 100] ^= 0xFF
    with pytest.raises(DamagedArchive, match="member 'second'"):
        unpacked(tmp_path, bytes(body), "file.zip")
    with pytest.raises(DamagedArchive, match=r"file\.zip"):
        unpacked(tmp_path, bytes(body[:-30]), "file.zip")


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz"])
def test_a_single_packed_file_that_is_cut_is_damaged(tmp_path: Path, ending: str) -> None:
    with pytest.raises(DamagedArchive):
        unpacked(tmp_path, COMPRESSORS[ending](os.urandom(5000))[:-20], f"file{ending}")


def test_a_gzip_sum_after_the_end_of_a_tar_is_checked(tmp_path: Path) -> None:
    body = bytearray(gzip.compress(tar_of(file("a"))))
    body[-6] ^= 0xFF
    with pytest.raises(DamagedArchive):
        unpacked(tmp_path, bytes(body), "a.tar.gz")


@pytest.mark.parametrize(
    ("body", "name"), [(b"<html>log in</html>", "data.zip"), (b"plain text", "x"), (b"", "y.zip"), (b"\0" * 512, "z")]
)
def test_what_is_no_archive_is_told_apart(tmp_path: Path, body: bytes, name: str) -> None:
    with pytest.raises(UnknownArchive):
        unpacked(tmp_path, body, name)


def test_a_bomb_is_stopped_before_it_goes_off(tmp_path: Path) -> None:
    limits = UnpackLimits(free_bytes=1 << 20, ratio=10.0)
    for body, name in (
        (gzip.compress(bytes(1 << 22)), "bomb.gz"),
        (zip_of(("bomb", bytes(1 << 22), 0)), "bomb.zip"),
        (gzip.compress(tar_of(file("bomb", bytes(1 << 22)))), "bomb.tgz"),
    ):
        with pytest.raises(UnsafeArchive, match="UnpackLimits"):
            unpacked(tmp_path, body, name, limits=limits)
    with pytest.raises(UnsafeArchive, match="more than 2 members"):
        unpacked(tmp_path, tar_of(file("a"), folder("b"), file("c")), limits=UnpackLimits(members=2))
    assert not (tmp_path / "out").exists()


def test_what_the_disk_refuses_is_not_called_damage(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long") as caught:
        unpacked(tmp_path, zip_of(("n" * 300, b"x", 0)))
    assert not isinstance(caught.value, ArchiveError)


PARTS = st.sampled_from(["a", "b", "..", ".", "", "c"])
NAMES = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
MEMBERS = st.one_of(
    st.builds(file, NAMES),
    st.builds(folder, NAMES),
    st.builds(link, NAMES, NAMES),
    st.builds(hard_link, NAMES, NAMES),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(MEMBERS, min_size=1, max_size=6))
def test_whatever_a_tar_says_nothing_leaves_the_destination(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch).resolve()
        (root / "a.tar").write_bytes(tar_of(*members))
        (root / "box").mkdir()
        try:
            out = unpack(root / "a.tar", root / "box" / "out")
        except UnsafeArchive:
            assert [*(root / "box").iterdir()] == []
        else:
            for path in out.rglob("*"):
                assert os.path.realpath(path).startswith(str(out))
                assert "evil" not in path.name
        assert sorted(path.name for path in root.iterdir()) == ["a.tar", "box"]


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.text("abcxyz é_-.", min_size=1, max_size=8).filter(lambda name: name not in (".", "..")), st.binary()
    ),
    st.sampled_from(sorted(COMPRESSORS)),
)
def test_files_packed_and_unpacked_are_the_same(files: dict[str, bytes], ending: str) -> None:
    tar = COMPRESSORS[ending](tar_of(*(file(name, body) for name, body in files.items())))
    bundle = zip_of(*((name, body, 0) for name, body in files.items()))
    for name, body in ((f"x.tar{ending}", tar), ("x.zip", bundle)):
        with tempfile.TemporaryDirectory() as scratch:
            Path(scratch, name).write_bytes(body)
            assert tree_of(unpack(Path(scratch, name), Path(scratch, "out"))) == files
