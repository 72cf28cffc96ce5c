"""Training a translator on pairs of texts, and measuring it.

After each epoch, the loss and the share of right subwords are measured on `valid`; at the end, `valid` and the other
splits are translated and compared with their references.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from stagedml.errors import UsageError
from stagedml.ml.models.transformer.translator import Search, Shape, Translator
from stagedml.ml.parallel_text import read_lines, write_lines
from stagedml.ml.progress import Progress, silent
from stagedml.ml.subwords import Subwords
from stagedml.ml.train.batching import LengthBatches
from stagedml.ml.train.callbacks import Callback, EpochReport
from stagedml.ml.train.loop import TrainSettings, assign, train
from stagedml.ml.train.results import METRICS_FILE, Evaluation, log_scalars, write_json, write_results
from stagedml.ml.train.resume import Checkpoints, digest_of
from stagedml.ml.translation_metrics import score_translations
from stagedml.ml.translation_records import TRAIN, read_pairs

logger = logging.getLogger(__name__)

RAW_PREFIX = "raw.ckpt"
TRANSLATIONS_FOLDER = "translations"
VALID = "valid"


class SplitMissing(UsageError):
    """There are no pairs to train on, or none to measure with."""

    def __init__(self, folder: str, split: str) -> None:
        super().__init__(folder, split)
        self.folder, self.split = folder, split

    def __str__(self) -> str:
        return f"{self.folder} holds no {self.split}.tfrecord; write the records of {TRAIN} and {VALID}"


@dataclass(frozen=True)
class TranslationData:
    """Pairs of texts, as `translation_records` writes them.

    Attributes:
        records: a folder: `<split>.tfrecord` of train and valid, and of others to measure with at the end.
        references: a folder: `<split>.txt` of all that are measured with.
        subwords: the file of the subwords.
    """

    records: Path
    references: Path
    subwords: Path

    def splits(self) -> list[str]:
        """Those to measure with, `valid` first.

        Raises:
            SplitMissing: there is no train or no valid.
        """
        names = sorted(path.stem for path in self.records.glob("*.tfrecord"))
        for split in (TRAIN, VALID):
            if split not in names:
                raise SplitMissing(str(self.records), split)
        return [VALID, *(name for name in names if name not in (TRAIN, VALID))]

    def path(self, split: str) -> Path:
        """The records of a split."""
        return self.records / f"{split}.tfrecord"


@dataclass(frozen=True)
class TranslatorSettings:
    """What there is to say of a translator beside how it is trained.

    Attributes:
        shape: of the model.
        batch_tokens: a batch has so many subwords of the longer side at most, padding counted.
        label_smoothing: see `Translator.loss`.
        search: how translations are found when it is measured.
    """

    shape: Shape = field(default_factory=Shape)
    batch_tokens: int = 4096
    label_smoothing: float = 0.1
    search: Search = field(default_factory=Search)

    def __post_init__(self) -> None:
        if self.batch_tokens < 1 or not 0 <= self.label_smoothing < 1:
            raise UsageError(
                f"batch_tokens is {self.batch_tokens} and label_smoothing {self.label_smoothing}; they must be 1 at "
                "least, and lie in [0, 1)"
            )


def train_translator(
    data: TranslationData,
    training: TrainSettings,
    settings: TranslatorSettings,
    *,
    seed: int,
    output: Path,
    callbacks: Sequence[Callback] = (),
    log_dir: Path | None = None,
    progress: Progress = silent,
    checkpoints: Checkpoints | None = None,
) -> dict[str, float]:
    """Train a translator, and measure it.

    Writes into `output`: the translator, as `Translator.save` does, with averaged weights if the training asks for
    those, the raw ones as `raw.ckpt.*` beside it; `translations/<split>.txt`; `metrics.json`, what is returned, and the
    signature of BLEU; and `protocol.json`. All of them are the same, byte for byte, for the same arguments.

    Args:
        data: what to learn and to measure with.
        training: how the model is trained.
        settings: what else there is to say.
        seed: of the weights, the order of the data and the dropout.
        output: a folder that exists.
        callbacks: what may happen on the way.
        log_dir: for TensorBoard; holds clocks and rates.
        progress: told of training and translation.
        checkpoints: where to keep what is needed to go on after a crash; what comes out is the same.

    Returns:
        `train_loss`, with label smoothing; `eval_loss`, `eval_accuracy`, `eval_bleu` and `eval_exact_match`; the same
        of the other splits, `<split>_...`.

    Raises:
        SplitMissing, PairsDoNotFit, UnreadableSubwords: the data is not what it should be.
        LossNotFinite: the training diverged.
    """
    splits = data.splits()
    subwords = Subwords.read(data.subwords)
    pairs = {split: read_pairs(data.path(split), subwords.size) for split in (TRAIN, *splits)}
    with training.building(seed):
        translator = Translator(settings.shape, subwords)

    def after_epoch(report: EpochReport) -> dict[str, float]:
        measured = translator.evaluate(pairs[VALID])
        log_scalars(log_dir, VALID, report.epoch, measured)
        logger.info("epoch %d: %s", report.epoch, measured)
        return measured

    trained = train(
        translator.model,
        functools.partial(translator.loss, label_smoothing=settings.label_smoothing),
        LengthBatches(
            pairs[TRAIN].columns, {}, batch_size=settings.batch_tokens, batch_tokens=settings.batch_tokens, seed=seed
        ),
        training,
        seed=seed,
        weigh=translator.weigh,
        callbacks=callbacks,
        after_epoch=after_epoch,
        log_dir=log_dir,
        progress=progress,
        checkpoints=checkpoints,
        identity={"settings": settings, "data": [digest_of(data.path(split)) for split in (TRAIN, VALID)]},
    )
    if training.precision != "float32":  # in anything less, the search adds up too coarsely
        weights = [variable.numpy() for variable in translator.model.variables]
        translator = Translator(settings.shape, subwords)
        assign(translator.model.variables, weights)
    (output / TRANSLATIONS_FOLDER).mkdir()
    evaluations, signature = {}, ""
    for split in splits:
        found = translator.translate_ids(
            pairs[split].inputs, settings.search, label=f"translate {split}", progress=progress
        )
        write_lines(output / TRANSLATIONS_FOLDER / f"{split}.txt", found)
        scores = score_translations(found, read_lines(data.references / f"{split}.txt"))
        signature = scores.signature
        measured = {"bleu": scores.bleu, "exact_match": scores.exact_match}
        log_scalars(log_dir, split, trained.epoch, measured)
        logger.info("%s: %s", split, measured)
        losses = trained.reports[-1].measured if split == VALID else translator.evaluate(pairs[split])
        evaluations[split] = Evaluation(len(found), {**losses, **measured})

    last = replace(trained.reports[-1], measured=evaluations.pop(VALID).measured)
    results = write_results(
        output, [*trained.reports[:-1], last], trained.epoch, valid_rows=len(pairs[VALID]), others=evaluations
    )
    write_json(output / METRICS_FILE, {**results, "bleu_signature": signature})
    translator.save(output)
    if trained.raw:
        assign(translator.model.variables, trained.raw)
        translator.save(output, prefix=RAW_PREFIX)
    return results
