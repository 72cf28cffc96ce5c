"""A pretrained BERT in a folder, whichever way it was published.

| layout | configuration | weights |
| --- | --- | --- |
| Google's, TensorFlow 1 and 2 | bert_config.json | one TensorFlow checkpoint, see `checkpoint` |
| Hugging Face's | config.json | model.safetensors, see `huggingface` |

Both have a vocab.txt. Files lie in one folder, or in one folder somewhere inside of it, among whatever else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stagedml.errors import UsageError
from stagedml.ml.models.bert import huggingface
from stagedml.ml.models.bert.checkpoint import CONFIG_FILE, VOCAB_FILE, Arrays, read_checkpoint, write_pretrained
from stagedml.ml.models.bert.config import BertConfig, read_bert_config, read_huggingface_config

_INDEX = ".index"


class NoSinglePretrained(UsageError):
    """A folder holds no pretrained BERT, or several."""

    def __init__(self, folder: str, found: tuple[str, ...]) -> None:
        super().__init__(folder, found)
        self.folder, self.found = folder, found

    def __str__(self) -> str:
        wanted = (
            f"wanted is one folder with {VOCAB_FILE} and either {CONFIG_FILE} and a TensorFlow checkpoint "
            f"(bert_model.ckpt.*), or {huggingface.CONFIG_FILE} and {huggingface.TENSORS_FILE}"
        )
        if self.found:
            return f"{self.folder} holds several pretrained BERTs: {', '.join(self.found)}; {wanted}"
        return f"{self.folder} holds no pretrained BERT; {wanted}"


@dataclass(frozen=True)
class Pretrained:
    """A pretrained model.

    Attributes:
        config: its shape.
        vocab: the bytes of its vocab.txt.
        arrays: its weights by Google's names, those of heads included.
    """

    config: BertConfig
    vocab: bytes
    arrays: Arrays


def convert_pretrained(source: Path, folder: Path) -> None:
    """Make a pretrained model in the project's one format (`checkpoint.write_pretrained`) of one in any layout.

    Args:
        source: where it is.
        folder: where to write; it exists.

    Raises:
        CheckpointMismatch: the weights are not those of a BERT of this shape.
        UsageError: as of `read_pretrained`.
    """
    read = read_pretrained(source)
    write_pretrained(folder, read.config, read.vocab, read.arrays)


def read_pretrained(folder: Path) -> Pretrained:
    """Read a pretrained model.

    Raises:
        NoSinglePretrained: the folder's files are those of none, or of several.
        UnusableBertConfig: the configuration is not that of a BERT which the encoder implements.
        UnreadableCheckpoint: the weights are damaged, or not a BERT's.
        UnreadableTensors: likewise.
    """
    found = list(_found(folder))
    if len(found) != 1:
        raise NoSinglePretrained(str(folder), tuple(str(weights.relative_to(folder)) for weights, _ in found))
    ((weights, read),) = found
    return read(weights)


def _found(folder: Path) -> Iterator[tuple[Path, Callable[[Path], Pretrained]]]:
    """The weights in a folder that have their configuration and vocabulary beside them, and how to read them."""
    for vocab in sorted(folder.rglob(VOCAB_FILE)):
        if vocab.with_name(CONFIG_FILE).is_file():
            yield from ((index.with_suffix(""), _read_google) for index in sorted(vocab.parent.glob(f"*{_INDEX}")))
        tensors = vocab.with_name(huggingface.TENSORS_FILE)
        if vocab.with_name(huggingface.CONFIG_FILE).is_file() and tensors.is_file():
            yield tensors, _read_huggingface


def _read_google(prefix: Path) -> Pretrained:
    config, vocab = (prefix.with_name(name) for name in (CONFIG_FILE, VOCAB_FILE))
    return Pretrained(read_bert_config(config), vocab.read_bytes(), read_checkpoint(prefix))


def _read_huggingface(tensors: Path) -> Pretrained:
    config, vocab = (tensors.with_name(name) for name in (huggingface.CONFIG_FILE, VOCAB_FILE))
    return Pretrained(read_huggingface_config(config), vocab.read_bytes(), huggingface.read_tensors(tensors))
