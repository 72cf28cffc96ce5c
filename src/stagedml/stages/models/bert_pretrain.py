"""Pre-training a BERT with hidden words and next sentences. Devlin et al. 2018, BERT, section 3.1."""

from __future__ import annotations

import json
from typing import Literal

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import Exec, output, stage
from stagedml.errors import UsageError
from stagedml.stages.parameters import Count, Natural, NotNegative, Positive, Share, ShareBelowOne
from stagedml.types import BertCP, BertPretrained, PretrainTFR


@stage(BertPretrained, name="bert-pretrain")
def bert_pretrain(
    build: Build,
    *,
    data: PretrainTFR,
    start: BertCP | None = None,
    cased: bool = False,
    hidden_size: Count = 128,
    layers: Count = 2,
    heads: Count = 2,
    intermediate_size: Count = 512,
    max_position_embeddings: Count = 128,
    dropout: ShareBelowOne = 0.1,
    initializer_range: Positive = 0.02,
    learning_rate: Positive = 1e-4,
    batch_size: Count = 32,
    accumulate: Count = 1,
    train_epoches: Count = 1,
    steps_per_epoch: Count | None = None,
    warmup_share: Share = 0.1,
    algorithm: Literal["adamw", "lamb"] = "adamw",
    precision: Literal["float32", "bfloat16", "float16"] = "float32",
    devices: Literal["one", "mirrored"] = "one",
    seed: int = 0,
    checkpoint_every_s: Exec[NotNegative] = 60.0,
    histograms: Exec[bool] = False,
    profile_steps: Exec[Natural] = 0,
    bert_config: RefPath = output("bert_config.json"),
    bert_vocab: RefPath = output("vocab.txt"),
    bert_ckpt: RefPath = output("bert_model.ckpt", prefix=True),
    metrics: RefPath = output("metrics.json"),
    protocol: RefPath = output("protocol.json"),
) -> None:
    """Train a BERT to name hidden word pieces and, if its rows ask for it, to tell whether sentences follow each other.

    Without `start`, weights begin at random, with a spread of `initializer_range`. With it, a model of the same shape
    and vocabulary is trained further: one that was fetched, or the one before in a chain, whose links can be added one
    by one since each warms up, and lets its rate fall, by itself. `cased` is as that of the rows. The held-out rows are
    measured with after each epoch: all rows once or, if `steps_per_epoch` is given, so many steps, where the rows take
    days. See `stagedml.ml.models.bert.pretraining`.
    """
    from stagedml.ml.models.bert.pretraining import PretrainRows, PretrainSettings, Start, pretrain
    from stagedml.ml.pretrain_records import shard_path
    from stagedml.ml.train.callbacks import shown
    from stagedml.ml.train.loop import TrainSettings
    from stagedml.ml.train.optimizer import OptimizerSettings
    from stagedml.ml.train.resume import Checkpoints

    if cased != data.cased:
        raise UsageError(f"bert_pretrain: cased is {cased}, that of the rows {data.cased}; give cased={data.cased}")
    build.message(f"to watch: tensorboard --logdir {build.log_dir}")
    begin = None
    if start is not None:
        begin = Start(build.path(start.bert_config), build.path(start.bert_vocab), build.path(start.bert_ckpt))
    counts = json.loads(build.path(data.rows).read_text())["train"]
    pretrain(
        PretrainRows(
            [(count, shard_path(build.path(data.train), number)) for number, count in enumerate(counts)],
            build.path(data.valid),
            build.path(data.vocab),
        ),
        start=begin,
        training=TrainSettings(
            OptimizerSettings(learning_rate=learning_rate, warmup_share=warmup_share, algorithm=algorithm),
            epochs=train_epoches,
            steps_per_epoch=steps_per_epoch,
            accumulate=accumulate,
            precision=precision,
            devices=devices,
        ),
        settings=PretrainSettings(
            hidden_size=hidden_size,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=intermediate_size,
            max_position_embeddings=max_position_embeddings,
            dropout=dropout,
            initializer_range=initializer_range,
            batch_size=batch_size,
        ),
        seed=build.seed,
        output=build.outpath,
        callbacks=shown(histograms=histograms, profile_steps=profile_steps),
        log_dir=build.log_dir,
        progress=build.progress,
        checkpoints=Checkpoints(build.checkpoint_dir, every_s=checkpoint_every_s),
    )
