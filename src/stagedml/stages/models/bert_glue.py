"""Fine-tuning BERT on GLUE. Devlin et al. 2018, BERT, section 4.1."""

from __future__ import annotations

from typing import Literal

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import Exec, output, stage
from stagedml.stages import agreement
from stagedml.stages.parameters import Count, Natural, NotNegative, Positive, Share, ShareBelowOne, ShareBetween
from stagedml.types import BertCP, BertGlue, GluePredictions, GlueTFR, GlueUnlabelledTFR


@stage(BertGlue, name="bert-finetune-{task:lower}", check=agreement.of_finetuning)
def bert_finetune_glue(
    build: Build,
    *,
    data: GlueTFR,
    bert: BertCP,
    task: str = "MRPC",
    learning_rate: Positive = 2e-5,
    batch_size: Count = 32,
    batch_tokens: Count | None = None,
    accumulate: Count = 1,
    epochs: Count = 3,
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
    confusion: RefPath = output("confusion.json"),
) -> None:
    """Train BERT and a classifier on one GLUE task; measure after each epoch, and on GLUE's dev at the end, which MNLI
    has two of.

    `learning_rate` is reached after a share of `warmup_share` of all steps and falls linearly to 0. A batch has
    `batch_size` rows at most and, if `batch_tokens` is given, so many word pieces at most, padding counted; a step
    has `accumulate` batches, and an epoch all rows once or, if it is given, `steps_per_epoch`. With
    `average_decay`, a moving average of the weights is measured and kept, the raw ones beside it. `keep_best` names
    the metric whose best epoch is kept ("accuracy", ...; measured on the held-out rows), instead of the last one,
    and `patience` ends the training after so many epochs without a better one; `plateau_factor` lowers the rate
    after each epoch without. `dropout` None stands for what the checkpoint's configuration says. A crash costs
    about `checkpoint_every_s` seconds of work. See `stagedml.ml.models.bert.classifier` and
    `stagedml.ml.train.loop`.
    """
    from stagedml.ml.models.bert.classifier import Splits, finetune
    from stagedml.ml.models.bert.finetuning import FinetuneSettings
    from stagedml.ml.tasks import task_named
    from stagedml.ml.train.callbacks import shown, watching
    from stagedml.ml.train.loop import TrainSettings
    from stagedml.ml.train.optimizer import OptimizerSettings
    from stagedml.ml.train.resume import Checkpoints

    description = task_named(task)
    further = {split: build.path(data.more) / f"{split}.tfrecord" for split in description.labelled}
    others = {"test": build.path(data.test), **{split: path for split, path in further.items() if path.is_file()}}
    build.message(f"to watch: tensorboard --logdir {build.log_dir}")
    finetune(
        bert_config=build.path(bert.bert_config),
        bert_ckpt=build.path(bert.bert_ckpt),
        splits=Splits(build.path(data.train), build.path(data.valid), others),
        labels=description.labels,
        metrics=description.metrics,
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
                *watching(description.metrics, keep_best, patience, plateau_factor),
                *shown(histograms=histograms, profile_steps=profile_steps),
            ),
        ),
        seed=build.seed,
        output=build.outpath,
        log_dir=build.log_dir,
        progress=build.progress,
        checkpoints=Checkpoints(build.checkpoint_dir, every_s=checkpoint_every_s),
    )


@stage(GluePredictions, name="bert-predict-{task:lower}")
def bert_predict_glue(
    build: Build,
    *,
    model: BertGlue,
    bert: BertCP,
    data: GlueUnlabelledTFR,
    task: str = "MRPC",
    submission: RefPath = output("submission"),
) -> None:
    """Predict the rows of a GLUE task whose labels nobody knows, in files as GLUE's leaderboard takes them.

    `model` was fine-tuned from `bert`, on this task; AX is answered by a model of MNLI.
    """
    from stagedml.ml.glue_submission import write_submission
    from stagedml.ml.models.bert.classifier import load_classifier, predicted, read_fitting
    from stagedml.ml.tasks import task_named

    description = task_named(task)
    classifier = load_classifier(build.path(bert.bert_config), build.path(model.checkpoint))
    build.path(submission).mkdir()
    for split in description.leaderboard:
        path = build.path(data.more) / f"{split}.tfrecord"
        if path.is_file():
            rows = read_fitting(path, classifier.config, classifier.classes, labelled=False)
            logits = classifier.predict(rows)
            write_submission(build.path(submission), description, split, rows.index, predicted(logits))
