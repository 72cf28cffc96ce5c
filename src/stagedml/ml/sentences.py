"""Prose cut into sentences.

Where they end, sentencex knows, which Wikimedia made for the languages of its wikis. One rule is added: none begins
with a lower-case letter, so that what follows an abbreviation which sentencex does not know stays with it.
"""

from __future__ import annotations

import re

_ENDS = re.compile(r"""[.!?…。！？]["'”’»)\]]*$""")


def sentences_of(paragraph: str, language: str) -> list[str]:
    """The sentences of a paragraph, in order, without the space around them.

    Args:
        paragraph: one line.
        language: a code, such as "en" or "ru"; of one that sentencex does not know, the rules of similar ones hold.
    """
    from sentencex import segment

    sentences: list[str] = []
    for part in segment(language, paragraph):
        sentence = part.strip()
        if sentences and sentence[:1].islower():
            sentences[-1] += f" {sentence}"
        elif sentence:
            sentences.append(sentence)
    return sentences


def is_whole(sentence: str) -> bool:
    """Whether it has words and ends as sentences do, unlike a caption, or the words before a list or a quotation."""
    return bool(_ENDS.search(sentence)) and any(character.isalpha() for character in sentence)
