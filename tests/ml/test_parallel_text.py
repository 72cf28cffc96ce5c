"""Files that say the same line by line stay so, whatever is in their lines."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest

from stagedml.errors import UsageError
from stagedml.ml.parallel_text import (
    NotAligned,
    count_lines,
    join_files,
    parallel_pieces,
    read_lines,
    split_shuffled,
    write_lines,
)

ODD = ["plain", "next\u2028line", "a\x85b\x0cc\x1cd", "carriage\rreturn", "", " spaces ", "ünï 😀"]


def test_a_line_ends_in_a_line_feed_and_nowhere_else(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes("\r\n".join(ODD).encode())
    target.write_bytes("".join(f"{number}\n" for number in range(len(ODD))).encode())
    (piece,) = parallel_pieces(source, target)
    assert [line.decode() for line in piece.sources] == ODD
    assert [int(line) for line in piece.targets] == list(range(len(ODD)))
    write_lines(tmp_path / "lines", ODD)
    assert read_lines(tmp_path / "lines") == ODD


def test_pieces_say_where_they_begin_and_hold_each_line_once(tmp_path: Path) -> None:
    write_lines(tmp_path / "a", [str(number) for number in range(3000)])
    write_lines(tmp_path / "b", [str(-number) for number in range(3000)])
    pieces = list(parallel_pieces(tmp_path / "a", tmp_path / "b"))
    assert len(pieces) > 1
    assert all(int(piece.sources[0]) == piece.first for piece in pieces)
    pairs = chain.from_iterable(zip(piece.sources, piece.targets, strict=True) for piece in pieces)
    assert [(int(one), -int(other)) for one, other in pairs] == [(number, number) for number in range(3000)]


@pytest.mark.parametrize(("lines", "others"), [(3, 2), (0, 1), (2048, 2049), (5000, 10)])
def test_files_of_different_lengths_are_an_error_that_names_both(tmp_path: Path, lines: int, others: int) -> None:
    write_lines(tmp_path / "a", ["x"] * lines)
    write_lines(tmp_path / "b", ["y"] * others)
    with pytest.raises(NotAligned, match=rf"a has {lines} lines, .*b has {others} lines: line n of each"):
        list(parallel_pieces(tmp_path / "a", tmp_path / "b"))
    with pytest.raises(NotAligned):
        join_files([[tmp_path / "a", tmp_path / "b"]], [tmp_path / "c", tmp_path / "d"])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="absent cannot be read: No such file"):
        list(parallel_pieces(tmp_path / "absent", tmp_path / "absent"))


def test_joined_files_are_aligned_also_where_one_has_no_end_of_its_last_line(tmp_path: Path) -> None:
    parts = []
    for number, end in enumerate(["", "\n", "\r\n"]):
        for language in ("en", "de"):
            path = tmp_path / f"{number}.{language}"
            path.write_bytes(f"{language} {number} a\n{language} {number} b{end}".encode())
        parts.append([tmp_path / f"{number}.en", tmp_path / f"{number}.de"])
    assert join_files(parts, [tmp_path / "en", tmp_path / "de"]) == [2, 2, 2]
    for language in ("en", "de"):
        assert read_lines(tmp_path / language) == [
            f"{language} {number} {which}" for number in range(3) for which in "ab"
        ]
    assert count_lines(tmp_path / "0.en") == 2


def test_a_split_takes_each_pair_once_in_step_in_an_order_of_the_seed(tmp_path: Path) -> None:
    write_lines(tmp_path / "nl", [f"say {number}" for number in range(100)])
    write_lines(tmp_path / "cm", [f"echo {number}" for number in range(100)])

    def split(seed: int) -> list[list[str]]:
        names = [[f"{part}.{language}" for part in ("train", "valid")] for language in ("nl", "cm")]
        paths = [[tmp_path / name for name in own] for own in names]
        split_shuffled([tmp_path / "nl", tmp_path / "cm"], paths, share=0.9, seed=seed)
        return [read_lines(path) for path in chain.from_iterable(paths)]

    train_nl, valid_nl, train_cm, valid_cm = split(1)
    assert (len(train_nl), len(valid_nl)) == (90, 10)
    assert sorted(train_nl + valid_nl) == sorted(f"say {number}" for number in range(100))
    assert [line.replace("say", "echo") for line in train_nl + valid_nl] == train_cm + valid_cm
    assert split(1) == [train_nl, valid_nl, train_cm, valid_cm]
    assert split(2)[0] != train_nl
