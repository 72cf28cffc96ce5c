"""The word pieces of a text."""

from __future__ import annotations

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import output, stage
from stagedml.types import Text, Vocabulary


@stage(Vocabulary, name="vocabulary")
def vocabulary(
    build: Build, *, corpus: Text, size: int = 30522, cased: bool = False, vocab: RefPath = output("vocab.txt")
) -> None:
    """Count words; see `stagedml.ml.vocabulary`."""
    from stagedml.ml.vocabulary import build_vocabulary

    build_vocabulary(build.path(corpus.text), build.path(vocab), size=size, lower_case=not cased)
