"""Subwords: pieces of words, learnt from a text, that any text can be written with. SentencePiece, by byte pairs.

Sennrich et al. 2016, Neural Machine Translation of Rare Words with Subword Units; Kudo and Richardson 2018,
SentencePiece. One vocabulary serves all languages that it was learnt from.

Rules this module keeps:
- The same lines and settings give the same bytes. Pairs are counted in integers, by one thread; of a long text, the
  lines that are learnt from lie evenly in it. No chance is involved.
- Text comes back as it was: nothing is normalised, and a character that is rare, or was never seen, is written as its
  bytes. (The one exception is U+2581, SentencePiece's own sign for a space, which comes back as one.)
- The ids 0, 1 and 2 are padding, the end of a text, and what never turns up.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from stagedml.errors import UsageError
from stagedml.ml.parallel_text import count_lines

PAD, END, _UNKNOWN = 0, 1, 2
#: What stands for a space within a subword; a word begins with it.
SPACE = "\u2581"

# Of all characters, so many are subwords; the others are written as bytes. There are thousands of rare ones in text
# from the web.
_CHARACTERS = 0.9999
_LONGEST_LINE_BYTES = 1 << 20


class SubwordsNotLearnt(UsageError):
    """A text and a size do not make a vocabulary."""

    def __init__(self, size: int, reason: str) -> None:
        super().__init__(size, reason)
        self.size, self.reason = size, reason

    def __str__(self) -> str:
        return f"no {self.size} subwords can be learnt: {self.reason}"


class UnreadableSubwords(UsageError):
    """A file holds no subwords."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return f"{self.path} is no SentencePiece model; build it again (realize with force)"


class Subwords:
    """Writes texts as ids of subwords, and back. Can be sent to another process."""

    def __init__(self, model: bytes) -> None:
        """Load a model, as `learn_subwords` writes it.

        Raises:
            RuntimeError: the bytes are none.
        """
        from sentencepiece import SentencePieceProcessor

        self._model = model
        self._processor: Any = SentencePieceProcessor()
        self._processor.LoadFromSerializedProto(model)

    @classmethod
    def read(cls, path: Path) -> Subwords:
        """Load a model from its file.

        Raises:
            UnreadableSubwords: there is none in it.
        """
        try:
            return cls(path.read_bytes())
        except RuntimeError as error:
            raise UnreadableSubwords(str(path)) from error

    def write(self, path: Path) -> None:
        """Write the model into a file."""
        path.write_bytes(self._model)

    def __reduce__(self) -> tuple[Any, ...]:
        return Subwords, (self._model,)

    @property
    def size(self) -> int:
        """How many there are; ids are below."""
        return len(self._processor)

    def pieces(self) -> list[str]:
        """All of them, by id."""
        return [self._processor.id_to_piece(number) for number in range(self.size)]

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without an end."""
        ids: list[list[int]] = self._processor.encode(list(texts))
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids, up to its end if there is one; a line feed, which a model can spell, is a space."""
        kept = [int(number) for number in takewhile(lambda number: number != END, ids) if number != PAD]
        text: str = self._processor.decode(kept)
        return text.replace("\n", " ")


def learn_subwords(
    paths: Sequence[Path], output: Path, *, size: int, reserved: Iterable[str] = (), most_lines: int = 2_000_000
) -> int:
    """Learn the subwords of texts and write them as a SentencePiece model.

    Args:
        paths: of texts, UTF-8; what is none is left out, byte by byte.
        output: the file to write.
        size: how many at most; a short text has fewer.
        reserved: strings that are subwords whatever the texts say, and part of no other; none of them has a space in
            it, one that begins a word may begin with `SPACE`.
        most_lines: learn from so many lines of each text at most, which lie evenly in it.

    Returns:
        How many there are.

    Raises:
        SubwordsNotLearnt: there is no text, or `size` does not hold its characters and what is reserved.
    """
    from sentencepiece import SentencePieceTrainer

    if size < 1:
        raise SubwordsNotLearnt(size, "size must be 1 at least")
    model = io.BytesIO()
    lines = (line for path in paths for line in _evenly(path, most_lines))
    try:
        SentencePieceTrainer.train(
            sentence_iterator=lines,
            model_writer=model,
            model_type="bpe",
            vocab_size=size,
            hard_vocab_limit=False,
            pad_id=PAD,
            eos_id=END,
            unk_id=_UNKNOWN,
            bos_id=-1,
            user_defined_symbols=list(reserved),
            byte_fallback=True,
            character_coverage=_CHARACTERS,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            max_sentence_length=_LONGEST_LINE_BYTES,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise SubwordsNotLearnt(size, _reason(str(error))) from error
    learnt = Subwords(model.getvalue())
    learnt.write(output)
    return learnt.size


def _reason(told: str) -> str:
    """Why SentencePiece learnt nothing, from what it says."""
    if least := re.search(r"smaller than required_chars\. \d+ vs (\d+)", told):
        return f"the characters of the text, all bytes and what is reserved take {least[1]} already; give a larger size"
    return f"{told.split('] ')[-1].strip() or 'there is no text'}; try another size, or more text"


def _evenly(path: Path, most: int) -> Iterator[str]:
    """So many lines of a file at most, as far apart from each other everywhere."""
    total = count_lines(path)
    with path.open("rb") as file:
        for number, line in enumerate(file):
            if total <= most or number * most // total != (number + 1) * most // total:
                yield line.decode("utf-8", errors="ignore").strip()
