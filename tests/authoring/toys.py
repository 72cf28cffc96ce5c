"""Small stages that the tests of authoring share."""

from __future__ import annotations

import json

from stagedml import Artifact, Build, Exec, RefPath, output, stage


class Text(Artifact):
    """A line of text."""

    text: RefPath
    word: str
    shout: bool


class Count(Artifact):
    """What was counted in a text."""

    counts: RefPath
    source: Text
    scale: float


class Bundle(Artifact):
    """Several texts at once."""

    first: Text | None
    many: list[Text]
    named: dict[str, Text]
    nested: dict[str, list[Text]]
    files: list[RefPath]
    note: str | None


@stage(Text, name="text-{word:lower}")
def make_text(
    build: Build,
    *,
    word: str = "Hello",
    shout: bool = False,
    text: RefPath = output("text.txt"),
    workers: Exec[int] = 2,
) -> None:
    """Write a word."""
    build.path(text).write_text(word.upper() if shout else word)


@stage(Count, name="count")
def count_text(
    build: Build, *, source: Text, scale: float = 1, counts: RefPath = output("sub/counts.json"), pace: Exec[str] = "x"
) -> None:
    """Count the letters of a text."""
    path = build.path(counts)
    path.parent.mkdir()
    letters = len(build.path(source.text).read_text())
    path.write_text(json.dumps({"letters": letters * scale, "word": source.word, "deep": {"pace": pace}}))


@stage(Bundle, name="bundle")
def bundle_texts(
    build: Build,
    *,
    first: Text | None = None,
    many: list[Text] = [],  # noqa: B006 - it is copied at declaration
    named: dict[str, Text] = {},  # noqa: B006
    nested: dict[str, list[Text]] = {},  # noqa: B006
    files: list[RefPath] = [],  # noqa: B006
    note: str | None = None,
) -> None:
    """Write down the words of all texts."""
    words = [text.word for text in [*([first] if first else []), *many, *named.values(), *nested.get("all", [])]]
    (build.outpath / "words.json").write_text(json.dumps([words, [build.path(path).read_text() for path in files]]))


def all_count(word: str = "Hello") -> Count:
    """Count a text."""
    return count_text(source=make_text(word=word))
