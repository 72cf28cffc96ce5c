"""What Bash commands are made of, for a vocabulary that knows it: names of commands, flags, and signs.

Commands are not parsed: many of a corpus are cut short, or hold an error. A word counts as a command's name where one
can stand: at the beginning, after a pipe, a list operator or an opening bracket, after `xargs`, `sudo` and `-exec`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from stagedml.ml.subwords import SPACE

# What is met less often is learnt like any other word.
_LEAST_COUNT = 5

_NAME = r"([A-Za-z][\w.+-]*)(?=[\s;)`|]|$)"
_COMMAND = re.compile(r"(?:^|[|;&(`])\s*" + _NAME)
_ARGUMENT = re.compile(r"(?<!\S)(?:xargs|sudo|-exec)\s+" + _NAME)
_FLAG = re.compile(r"(?<!\S)(--?[A-Za-z][\w-]*)")


def reserved_tokens(
    commands: Iterable[str], *, names: bool = True, flags: bool = True, signs: bool = True, alphabet: str | None = None
) -> list[str]:
    """Strings that are to be one subword each.

    Args:
        commands: those to train on.
        names: names of commands; at the beginning of a word alone.
        flags: such as `-name` and `--all`; at the beginning of a word alone.
        signs: all characters of the commands that are no letters, digits or spaces; so no other subword has any.
        alphabet: beside word characters, those that words are made of, such as "-+,."; all others are signs. It stands
            in the place of the rule for `signs`.

    Returns:
        Sorted, each once.
    """
    named, flagged, characters = Counter[str](), Counter[str](), set[str]()
    for command in commands:
        named.update(_COMMAND.findall(command) + _ARGUMENT.findall(command))
        flagged.update(_FLAG.findall(command))
        characters.update(command)
    tokens = _frequent(named) if names else set()
    if flags:
        tokens |= _frequent(flagged)
    if alphabet is not None:
        tokens |= {sign for sign in characters if not re.match(r"[\w\s]", sign) and sign not in alphabet}
    elif signs:
        tokens |= {sign for sign in characters if not sign.isalnum() and not sign.isspace()}
    return sorted(tokens)


def _frequent(counts: Counter[str]) -> set[str]:
    return {f"{SPACE}{word}" for word, count in counts.items() if count >= _LEAST_COUNT}
