"""Fine-tuning BERT on SQuAD. Devlin et al. 2018, BERT, sections 4.2 and 4.3."""

from __future__ import annotations

from typing import Literal

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import Exec, output, stage
from stagedml.stages import agreement
from stagedml.stages.parameters import Count, Natural, NotNegative, Positive, Share, ShareBelowOne, ShareBetween
from stagedml.types import BertCP, BertSquad, SquadTFR


@stage(BertSquad, name="bert-finetune-{task}", check=agreement.of_squad_finetuning)
def bert_finetune_squad(
    build: Build,
    *,
    data: SquadTFR,
    bert: BertCP,
    task: str = "squad11",
    learning_rate: Positive = 3e-5,
    batch_size: Count = 12,
    batch_tokens: Count | None = None,
    accumulate: Count = 1,
    epochs: Count = 2,
    steps_per_epoch: Count | None = None,
    warmup_share: Share = 0.1,
    weight_decay: NotNegative = 0.01,
    clip_norm: NotNegative = 1.0,
    algorithm: Literal["adamw", "lamb"] = "adamw",
    average_decay: ShareBelowOne | None = None,
    keep_best: str | None = None,
    patience: Count | None = None,
    plateau_factor: ShareBetween | None = None,
    dropout: ShareBelowOne | None = None,
    n_best: Count = 20,
    max_answer_length: Count = 30,
    null_threshold: float | None = None,
    precision: Literal["float32", "bfloat16", "float16"] = "float32",
    devices: Literal["one", "mirrored"] = "one",
    compilation: Literal["open", "shapes", "xla"] = "open",
    deterministic: bool = True,
    seed: int = 0,
    checkpoint_every_s: Exec[NotNegative] = 60.0,
    histograms: Exec[bool] = False,
    profile_steps: Exec[Natural] = 0,
    checkpoint: RefPath = output("model.ckpt", prefix=True),
    metrics: RefPath = output("metrics.json"),
    protocol: RefPath = output("protocol.json"),
    predictions: RefPath = output("predictions"),
) -> None:
    """Train BERT and a span labeler on SQuAD; measure on the articles held out after each epoch, and on SQuAD's dev at
    the end: exact match and F1, in percent, as SQuAD's own evaluation has them.

    An answer is one of the `n_best` best candidates, `max_answer_length` word pieces long at most. In version 2.0 there
    is none where that one's score exceeds the best candidate's by more than `null_threshold`; None stands for what
    gives the best F1 on the articles held out. `predictions/<split>/` has `predictions.json`,
    `nbest_predictions.json` and, in version 2.0, `null_odds.json`. All else is as of `bert_finetune_glue`; see
    `stagedml.ml.models.bert.span` and `stagedml.ml.squad_answers`.
    """
    from stagedml.ml.models.bert.finetuning import FinetuneSettings
    from stagedml.ml.models.bert.span import Splits, finetune_span
    from stagedml.ml.squad import edition_of
    from stagedml.ml.squad_answers import AnswerSettings
    from stagedml.ml.squad_metrics import METRICS
    from stagedml.ml.train.callbacks import shown, watching
    from stagedml.ml.train.loop import TrainSettings
    from stagedml.ml.train.optimizer import OptimizerSettings
    from stagedml.ml.train.resume import Checkpoints

    build.message(f"to watch: tensorboard --logdir {build.log_dir}")
    finetune_span(
        bert_config=build.path(bert.bert_config),
        bert_ckpt=build.path(bert.bert_ckpt),
        splits=Splits(*(build.path(path) for path in (data.train, data.valid, data.test, data.texts))),
        edition=edition_of(task),
        training=TrainSettings(
            OptimizerSettings(
                learning_rate=learning_rate,
                warmup_share=warmup_share,
                weight_decay=weight_decay,
                clip_norm=clip_norm,
                algorithm=algorithm,
            ),
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            accumulate=accumulate,
            average_decay=average_decay,
            precision=precision,
            devices=devices,
            compilation=compilation,
            deterministic=deterministic,
        ),
        settings=FinetuneSettings(
            batch_size=batch_size,
            batch_tokens=batch_tokens,
            dropout=dropout,
            callbacks=(
                *watching(METRICS, keep_best, patience, plateau_factor),
                *shown(histograms=histograms, profile_steps=profile_steps),
            ),
        ),
        answering=AnswerSettings(n_best=n_best, max_length=max_answer_length),
        null_threshold=null_threshold,
        seed=build.seed,
        output=build.outpath,
        log_dir=build.log_dir,
        progress=build.progress,
        checkpoints=Checkpoints(build.checkpoint_dir, every_s=checkpoint_every_s),
    )
