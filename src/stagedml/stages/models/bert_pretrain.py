"""Pre-training a BERT on plain text with masked words. Devlin et al. 2018, BERT, section 3.1."""

from __future__ import annotations

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import Exec, output, stage
from stagedml.types import BertPretrained, Text, Vocabulary


@stage(BertPretrained, name="bert-pretrain")
def bert_pretrain(
    build: Build,
    *,
    corpus: Text,
    vocabulary: Vocabulary,
    cased: bool = False,
    hidden_size: int = 128,
    layers: int = 2,
    heads: int = 2,
    intermediate_size: int = 512,
    max_position_embeddings: int = 128,
    dropout: float = 0.1,
    learning_rate: float = 1e-4,
    batch_size: int = 32,
    epochs: int = 1,
    warmup_share: float = 0.1,
    mask_share: float = 0.15,
    mask_token_share: float = 0.8,
    random_token_share: float = 0.1,
    random_next_share: float = 0.0,
    initializer_range: float = 0.02,
    segment_sentences: int = 1,
    seed: int = 0,
    checkpoint_every_s: Exec[float] = 60.0,
    bert_config: RefPath = output("bert_config.json"),
    bert_vocab: RefPath = output("vocab.txt"),
    bert_ckpt: RefPath = output("bert_model.ckpt", prefix=True),
    metrics: RefPath = output("metrics.json"),
    protocol: RefPath = output("protocol.json"),
) -> None:
    """Train a BERT from nothing to name hidden word pieces and, if `random_next_share` is not 0, to tell whether
    sentences follow each other; see `stagedml.ml.models.bert.pretraining`.

    Weights begin with a spread of `initializer_range`; a row has `segment_sentences` sentences a segment at most.
    """
    from stagedml.ml.models.bert.pretraining import PretrainSettings, pretrain
    from stagedml.ml.train.loop import TrainSettings
    from stagedml.ml.train.optimizer import OptimizerSettings
    from stagedml.ml.train.resume import Checkpoints

    build.message(f"to watch: tensorboard --logdir {build.log_dir}")
    pretrain(
        corpus=build.path(corpus.text),
        vocab=build.path(vocabulary.vocab),
        lower_case=not cased,
        training=TrainSettings(
            OptimizerSettings(learning_rate=learning_rate, warmup_share=warmup_share), epochs=epochs
        ),
        settings=PretrainSettings(
            hidden_size=hidden_size,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=intermediate_size,
            max_position_embeddings=max_position_embeddings,
            dropout=dropout,
            batch_size=batch_size,
            mask_share=mask_share,
            mask_token_share=mask_token_share,
            random_token_share=random_token_share,
            random_next_share=random_next_share,
            initializer_range=initializer_range,
            segment_sentences=segment_sentences,
        ),
        seed=build.seed,
        output=build.outpath,
        log_dir=build.log_dir,
        progress=build.progress,
        checkpoints=Checkpoints(build.checkpoint_dir, every_s=checkpoint_every_s),
    )
