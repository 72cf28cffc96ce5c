"""Plain text to pre-train on: a sentence a line, an empty line between documents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def read_documents(text: Path) -> Iterator[list[str]]:
    """The documents of a text, one at a time, each a list of at least one sentence."""
    document: list[str] = []
    with text.open(encoding="utf-8") as lines:
        for line in lines:
            if sentence := line.strip():
                document.append(sentence)
            elif document:
                yield document
                document = []
    if document:
        yield document


def text_statistics(text: Path) -> dict[str, int]:
    """How many documents a text has, and sentences, words (which white space separates) and characters of those."""
    counts = dict.fromkeys(("documents", "sentences", "words", "characters"), 0)
    for document in read_documents(text):
        counts["documents"] += 1
        counts["sentences"] += len(document)
        counts["words"] += sum(len(sentence.split()) for sentence in document)
        counts["characters"] += sum(map(len, document))
    return counts
