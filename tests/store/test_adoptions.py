"""What may be adopted: links that are hints, and the search for references in files."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedml import Artifact, Build, RefPath, instantiate, output, realize, rmref, rref2path, stage
from stagedml.core.refs import parse_rref
from stagedml.engine.events import Observer
from stagedml.store import adoptions
from stagedml.store.objects import Store

PIECE = 1 << 20  # files are searched in pieces of so many bytes


class Bytes(Artifact):
    """A file."""

    file: RefPath


@stage(Bytes, name="same")
def same(build: Build, *, note: str, file: RefPath = output("file.bin")) -> None:
    build.path(file).write_bytes(b"same")


@stage(Bytes, name="behind")
def behind(build: Build, *, number: int, source: Bytes, file: RefPath = output("file.bin")) -> None:
    build.path(file).write_bytes(b"behind")


@stage(Bytes, name="spelling")
def spelling(
    build: Build, *, source: Bytes, before: int, after: int, part: int = 32, file: RefPath = output("file.bin")
) -> None:
    build.path(file).write_bytes(b"a" * before + source[5 : 5 + part].encode() + b"0" * after)


class Made(Observer):
    """What was adopted, by name."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def adopted(self, dref: str, rref: str, source: str) -> None:
        self.names.append(dref[38:])


def spelt(note: str, depth: int, before: int, after: int, part: int = 32) -> Bytes:
    """A file that spells its input, behind which are so many others."""
    source = same(note=note)
    for number in range(depth):
        source = behind(number=number, source=source)
    return spelling(source=source, before=before, after=after, part=part)


@pytest.mark.parametrize("depth", [0, 12], ids=["few", "many"])
@pytest.mark.parametrize("after", [0, 7])
@pytest.mark.parametrize("before", [0, 1, 24, 25, PIECE - 32, PIECE - 31, PIECE - 16, PIECE - 1, PIECE, 2 * PIECE - 3])
def test_a_reference_is_found_wherever_it_stands(store: Store, before: int, after: int, depth: int) -> None:
    for note in ("one", "two"):
        made = Made()
        rref = realize(instantiate(spelt, note, depth, before, after), observer=made)
        assert "spelling" not in made.names
    context = store.context(parse_rref(rref))
    (written,) = [dref for dref in context if dref[5:37].encode() in (Path(rref2path(rref)) / "file.bin").read_bytes()]
    assert written.endswith("behind" if depth else "same")


def test_less_than_a_hash_is_no_reference(store: Store) -> None:
    """It cannot be told from other digits, and a builder that writes less is adopted all the same."""
    realize(instantiate(spelt, "one", 0, 5, 5, part=31))
    made = Made()
    realize(instantiate(spelt, "two", 0, 5, 5, part=31), observer=made)
    assert made.names == ["spelling"]


@given(
    seed=st.integers(0, 1 << 30),
    count=st.sampled_from([1, 8, 9, 200]),
    spelt_at=st.lists(st.integers(0, 2000), max_size=2),
    alphabet=st.sampled_from([b"0123456789abcdef", b"0123456789abcdef\n", bytes(range(256)), b"0", b"ag"]),
    is_cut=st.booleans(),
)
def test_many_are_searched_for_as_one_by_one(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    count: int,
    spelt_at: list[int],
    alphabet: bytes,
    is_cut: bool,
) -> None:
    generator = random.Random(seed)
    wanted = [generator.randbytes(16).hex() for _ in range(count)]
    data = bytearray(generator.choices(alphabet, k=2000))
    for at in spelt_at:
        text = generator.choice(wanted).encode()[: 31 if is_cut else 32]
        data[at : at + len(text)] = text
    path = tmp_path_factory.mktemp("search") / "file"
    path.write_bytes(data)
    assert adoptions.holds(path, wanted) is any(text.encode() in data for text in wanted)


@pytest.mark.slow
@pytest.mark.parametrize("count", [4, 200])
@pytest.mark.parametrize("kind", ["bytes", "text"])
def test_half_a_gigabyte_is_searched_in_seconds(tmp_path: Path, count: int, kind: str) -> None:
    wanted = [os.urandom(16).hex() for _ in range(count)]
    path = tmp_path / "file"
    with open(path, "wb") as file:
        for number in range(64):
            line = f"{number:09} {number / 7:.12f}, the quick brown fox\n".encode()
            file.write(os.urandom(1 << 23) if kind == "bytes" else (line * ((1 << 23) // len(line))))
    began = time.monotonic()
    assert not adoptions.holds(path, wanted)
    assert time.monotonic() - began < 10  # about one second where nothing else runs


# -- links ------------------------------------------------------------------------------------------------------------


def links(store: Store) -> dict[str, str]:
    return {path.name: os.readlink(path) for path in store.layout.adoptable.iterdir()}


def test_what_was_built_is_offered_until_it_is_withdrawn(store: Store) -> None:
    rref = realize(instantiate(same, note="one"))
    ((name, text),) = links(store).items()
    key, _, instance = name.partition("-")
    assert (text, instance) == (str(rref), "0")
    assert str(adoptions.offered(store, key, 0)) == rref
    assert adoptions.offered(store, key, 1) is None
    adoptions.withdraw(store, key, 0)
    assert adoptions.offered(store, key, 0) is None
    adoptions.withdraw(store, key, 0)  # what is not there can be withdrawn


def test_what_was_offered_first_stays_offered_as_long_as_it_is_there(store: Store) -> None:
    def following(note: str) -> Bytes:
        return behind(number=0, source=same(note=note))

    rrefs = [realize(instantiate(following, note)) for note in ("one", "two")]
    assert str(rrefs[0]) in links(store).values()
    assert str(rrefs[1]) not in links(store).values()
    rmref(rrefs[0], force=True)
    rebuilt = realize(instantiate(following, "three"))
    assert str(rebuilt) in links(store).values()
    assert str(rrefs[0]) not in links(store).values()


def test_a_sweep_leaves_what_can_be_adopted(store: Store) -> None:
    kept, gone = (realize(instantiate(same, note=note)) for note in ("kept", "gone"))
    rmref(gone, force=True)
    place = store.layout.adoptable
    (place / f"{'0' * 32}-0").symlink_to("nonsense")
    (place / f"{'0' * 32}-1.0123abcd.tmp").symlink_to(kept)  # of a process that was killed
    (place / "file").write_text("")
    adoptions.sweep(store)
    (place / "file").unlink()
    assert [*links(store).values()] == [str(kept)]
