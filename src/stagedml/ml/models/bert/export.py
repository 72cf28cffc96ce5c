"""BERT models for others to load: TensorFlow 2's checkpoints, and SavedModels that read plain sentences.

(`checkpoint` writes Google's first layout, `huggingface` that of Hugging Face.) What is written is the same, byte for
byte, for the same arguments, whatever else the process did before.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagedml.errors import BuildError, UsageError
from stagedml.ml.framework import tf
from stagedml.ml.models.bert.checkpoint import check_encoder_arrays, load_encoder
from stagedml.ml.models.bert.classifier import load_classifier
from stagedml.ml.models.bert.config import BertConfig, read_bert_config
from stagedml.ml.models.bert.encoder import encoder_shape
from stagedml.ml.models.bert.graph_tokenizer import GraphTokenizer, check_max_length
from stagedml.ml.tokenizers import BertTokenizer

SIGNATURE = "serving_default"
_SHOWN_CHARACTERS = 2000


class TextsDoNotFit(UsageError):
    """A tokenizer gives what the model has no place for."""

    def __init__(self, config: str, problems: tuple[str, ...]) -> None:
        super().__init__(config, problems)
        self.config, self.problems = config, problems

    def __str__(self) -> str:
        return f"{self.config}: {'; '.join(self.problems)}; export with the vocabulary and length of the fine-tuning"


class NotSaved(BuildError):
    """The process that was to write a SavedModel failed."""

    def __init__(self, folder: str, said: str) -> None:
        super().__init__(folder, said)
        self.folder, self.said = folder, said

    def __str__(self) -> str:
        return f"{self.folder} was not written; the process that was to do so said last:\n{self.said}"


# -- checkpoints of objects ------------------------------------------------------------------------------------------


def write_object_checkpoint(prefix: Path, config: BertConfig, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Write a TensorFlow 2 checkpoint: `tf.train.Checkpoint(model=...)` of tf-models-official's BertEncoder, as
    Google's own are, or of its BertClassifier over one where there are weights of such a head.

    Args:
        prefix: what precedes ".index" and ".data-00000-of-00001".
        config: the model's shape.
        arrays: by Google's names; of heads, a classifier's alone is written.

    Raises:
        CheckpointMismatch: the weights are not those of an encoder of this shape; nothing was written.
    """
    from official.nlp.modeling.models import BertClassifier
    from official.nlp.modeling.networks import BertEncoder

    check_encoder_arrays(config, arrays)
    encoder = BertEncoder(**encoder_shape(config))
    load_encoder(encoder, config, arrays)
    model = encoder
    if "output_bias" in arrays:
        model = BertClassifier(encoder, num_classes=len(arrays["output_bias"]))
        model.classifier.out_proj.set_weights([arrays["output_weights"].T, arrays["output_bias"]])
    saved = tf.train.Checkpoint(model=model)
    saved.save_counter.assign(1)  # made when it is first asked for; whoever restores the checkpoint looks for it
    saved.write(str(prefix))


# -- SavedModels -----------------------------------------------------------------------------------------------------


def write_saved_model(
    folder: Path, *, bert_config: Path, checkpoint: Path, vocab: Path, lower_case: bool, max_length: int, pairs: bool
) -> None:
    """Write a fine-tuned classifier as a SavedModel with its tokenizer inside, which TensorFlow loads without us.

    Its one signature, `SIGNATURE`, takes `first` and, of models for pairs, `second`: (rows,) strings in UTF-8. It gives
    `logits` and `probabilities`, both (rows, classes) float32; models for a score give `score`, (rows,) float32.

    TensorFlow numbers what it makes, and the numbers are in the file; so a new process writes it, on the processor.

    Args:
        folder: where; made.
        bert_config: the `bert_config.json` of the model that was fine-tuned.
        checkpoint: prefix of the classifier's checkpoint, from `classifier.finetune`.
        vocab: the vocabulary that the model was fine-tuned with.
        lower_case: True for uncased models.
        max_length: as the model was fine-tuned, word pieces a row at most, special tokens included.
        pairs: whether the model reads pairs of texts.

    Raises:
        TextsDoNotFit: the model has no place for such a vocabulary, or for such rows.
        LengthTooSmall: nothing fits into such rows.
        UnusableVocabulary: the vocabulary lacks a special token.
        NotSaved: the process failed.
    """
    config, tokenizer = read_bert_config(bert_config), BertTokenizer(vocab, lower_case=lower_case)
    limits = (
        ("the number of word pieces in the vocabulary", tokenizer.vocab_size, config.vocab_size),
        ("max_length", max_length, config.max_position_embeddings),
    )
    if problems := tuple(f"{what} is {value}, above {limit}" for what, value, limit in limits if value > limit):
        raise TextsDoNotFit(str(bert_config), problems)
    check_max_length(max_length)
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input=pickle.dumps((sys.path, (folder, bert_config, checkpoint, vocab, lower_case, max_length, pairs))),
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        raise NotSaved(str(folder), done.stdout.decode(errors="replace")[-_SHOWN_CHARACTERS:])


_PROGRAM = """
import pickle, sys
sys.path[:], arguments = pickle.load(sys.stdin.buffer)
from stagedml.ml.models.bert.export import save
save(*arguments)
"""


def save(
    folder: Path, bert_config: Path, checkpoint: Path, vocab: Path, lower_case: bool, max_length: int, pairs: bool
) -> None:
    """What `write_saved_model` lets a new process do."""
    classifier = load_classifier(bert_config, checkpoint)
    tokenizer = GraphTokenizer(BertTokenizer(vocab, lower_case=lower_case), max_length=max_length)

    def serve(first: Any, second: Any | None = None) -> dict[str, Any]:
        logits = classifier.logits(tokenizer(first, second), training=False)
        if classifier.classes == 1:
            return {"score": logits[:, 0]}
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    texts = [tf.TensorSpec([None], tf.string, name) for name in ("first", "second")]
    module = tf.Module()
    module.weights = list(classifier.model.variables)
    module.serve = tf.function(serve, input_signature=texts if pairs else texts[:1])
    tf.saved_model.save(module, str(folder), signatures={SIGNATURE: module.serve})
    (folder / "fingerprint.pb").unlink()  # holds a random number, and nobody needs it to load
