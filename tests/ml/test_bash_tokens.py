"""What Bash commands are made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagedml.ml.bash_tokens import reserved_tokens
from stagedml.ml.subwords import SPACE

COMMANDS = [
    "find . -name '*.c' -exec grep -l x {} \\;", "sort -u a|uniq -c", "echo $(wc --lines f) && ls", "sudo rm -rf b-c",
    "cat `which sh`; cut -d, -f1 | xargs -0 mv",
] * 5  # fmt: skip


def words(tokens: list[str]) -> set[str]:
    return {token.removeprefix(SPACE) for token in tokens}


def test_commands_stand_where_commands_can_stand() -> None:
    names = words(reserved_tokens(COMMANDS, flags=False, signs=False))
    assert names == {"find", "grep", "sort", "uniq", "echo", "wc", "ls", "sudo", "rm", "cat", "which", "cut", "xargs"}


def test_flags_begin_a_word() -> None:
    flags = words(reserved_tokens(COMMANDS, names=False, signs=False))
    assert flags == {"-name", "-exec", "-l", "-u", "-c", "--lines", "-rf", "-d", "-f1"}


def test_signs_are_all_but_letters_digits_and_spaces_or_all_outside_of_an_alphabet() -> None:
    signs = set(reserved_tokens(COMMANDS, names=False, flags=False))
    assert signs == set(".-'*{}\\;|$()&`,")
    outside = set(reserved_tokens(COMMANDS, names=False, flags=False, alphabet="-+,."))
    assert outside == signs - set("-+,.")
    assert reserved_tokens(COMMANDS, names=False, flags=False, signs=False) == []


def test_rare_words_are_left_to_be_learnt_and_the_rest_is_sorted() -> None:
    assert reserved_tokens(COMMANDS[:5], signs=False) == []
    tokens = reserved_tokens(COMMANDS)
    assert tokens == sorted(set(tokens))


def test_real_commands_use_hundreds(shared_data: Path) -> None:
    commands = (shared_data / "nl2bash" / "data" / "bash" / "all.cm").read_text(encoding="utf-8").split("\n")
    tokens = reserved_tokens(commands)
    assert {f"{SPACE}{word}" for word in ("find", "grep", "xargs", "-name", "-maxdepth")} <= set(tokens)
    assert {"|", "$", "'", '"'} <= set(tokens)
    assert len(tokens) == pytest.approx(430, abs=100)
