"""The word pieces of a text, and those of a pretrained model."""

from __future__ import annotations

import shutil

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import output, stage
from stagedml.stages.parameters import Count
from stagedml.types import BertCP, Text, Vocabulary


@stage(Vocabulary, name="vocabulary")
def vocabulary(
    build: Build, *, corpus: Text, size: Count = 30522, cased: bool = False, vocab: RefPath = output("vocab.txt")
) -> None:
    """Learn them by counting words; see `stagedml.ml.vocabulary`."""
    from stagedml.ml.vocabulary import build_vocabulary

    build_vocabulary(build.path(corpus.text), build.path(vocab), size=size, lower_case=not cased)


@stage(Vocabulary, name="vocabulary")
def vocabulary_of(build: Build, *, bert: BertCP, cased: bool = False, vocab: RefPath = output("vocab.txt")) -> None:
    """Take over those of a pretrained model, to train it further; `cased` as it is."""
    from stagedml.errors import UsageError

    if cased != bert.cased:
        raise UsageError(f"vocabulary_of: cased is {cased}, the model's is {bert.cased}; give cased={bert.cased}")
    shutil.copy(build.path(bert.bert_vocab), build.path(vocab))
