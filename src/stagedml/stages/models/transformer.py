"""Training a Transformer to translate. Vaswani et al. 2017, Attention Is All You Need."""

from __future__ import annotations

from typing import Literal

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import Exec, output, stage
from stagedml.stages.parameters import Count, Natural, NotNegative, Positive, ShareBelowOne
from stagedml.types import Transformer, TranslationTFR


@stage(Transformer, name="transformer-{source}-{target}")
def transformer(
    build: Build,
    *,
    data: TranslationTFR,
    source: str,
    target: str,
    layers: Count = 6,
    hidden_size: Count = 512,
    heads: Count = 8,
    intermediate_size: Count = 2048,
    dropout: ShareBelowOne = 0.1,
    label_smoothing: ShareBelowOne = 0.1,
    learning_rate: Positive = 7e-4,
    warmup_steps: Natural = 4000,
    batch_tokens: Count = 4096,
    accumulate: Count = 6,
    epochs: Count = 20,
    steps_per_epoch: Count | None = None,
    average_decay: ShareBelowOne | None = 0.999,
    beam_size: Count = 4,
    length_penalty: NotNegative = 0.6,
    precision: Literal["float32", "bfloat16", "float16"] = "float32",
    devices: Literal["one", "mirrored"] = "one",
    compilation: Literal["open", "shapes", "xla"] = "open",
    deterministic: bool = True,
    seed: int = 0,
    checkpoint_every_s: Exec[NotNegative] = 60.0,
    histograms: Exec[bool] = False,
    profile_steps: Exec[Natural] = 0,
    shape: RefPath = output("model.json"),
    subwords: RefPath = output("subwords.model"),
    checkpoint: RefPath = output("model.ckpt", prefix=True),
    translations: RefPath = output("translations"),
    metrics: RefPath = output("metrics.json"),
    protocol: RefPath = output("protocol.json"),
) -> None:
    """Train a Transformer from nothing, and measure BLEU.

    `learning_rate` is reached after `warmup_steps` and falls by the inverse square root of the step. A batch has
    `batch_tokens` subwords of the longer side at most, padding counted; a step has `accumulate` batches, and an
    epoch all pairs once or, if it is given, `steps_per_epoch`. With `average_decay`, a moving average of the
    weights is measured and kept, the raw ones beside it: the paper averages the last checkpoints instead.
    Translations are searched for with `beam_size` beginnings at once, their scores divided by a power,
    `length_penalty`, of their lengths. Defaults are the paper's base model. See `stagedml.ml.models.transformer`
    and `stagedml.ml.train.loop`.
    """
    from stagedml.ml.models.transformer.training import TranslationData, TranslatorSettings, train_translator
    from stagedml.ml.models.transformer.translator import Search, Shape
    from stagedml.ml.train.callbacks import shown
    from stagedml.ml.train.loop import TrainSettings
    from stagedml.ml.train.optimizer import OptimizerSettings
    from stagedml.ml.train.resume import Checkpoints

    build.message(f"to watch: tensorboard --logdir {build.log_dir}")
    train_translator(
        TranslationData(build.path(data.records), build.path(data.references), build.path(data.subwords)),
        TrainSettings(
            OptimizerSettings(
                learning_rate=learning_rate,
                warmup_steps=warmup_steps,
                schedule="inverse_sqrt",
                weight_decay=0.0,
                betas=(0.9, 0.98),
                epsilon=1e-9,
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
        TranslatorSettings(
            shape=Shape(layers, hidden_size, heads, intermediate_size, dropout),
            batch_tokens=batch_tokens,
            label_smoothing=label_smoothing,
            search=Search(beam_size, length_penalty),
        ),
        seed=build.seed,
        output=build.outpath,
        callbacks=shown(histograms=histograms, profile_steps=profile_steps),
        log_dir=build.log_dir,
        progress=build.progress,
        checkpoints=Checkpoints(build.checkpoint_dir, every_s=checkpoint_every_s),
    )
