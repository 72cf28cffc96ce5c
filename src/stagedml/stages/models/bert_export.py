"""Exporting a BERT that was fine-tuned on GLUE."""

from __future__ import annotations

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import output, stage
from stagedml.stages import agreement
from stagedml.types import BertCP, BertExported, BertGlue, GlueTFR


@stage(BertExported, name="bert-export-{task:lower}", check=agreement.of_task)
def bert_export(
    build: Build,
    *,
    model: BertGlue,
    data: GlueTFR,
    bert: BertCP,
    task: str = "MRPC",
    saved_model: RefPath = output("saved_model"),
    safetensors: RefPath = output("safetensors"),
) -> None:
    """Write a fine-tuned BERT as a SavedModel that takes sentences, and for Hugging Face's transformers.

    `data` and `bert` are what `model` was fine-tuned with; nothing is trained again. See
    `stagedml.ml.models.bert.export`.
    """
    from stagedml.ml.models.bert.checkpoint import read_checkpoint
    from stagedml.ml.models.bert.config import read_bert_config
    from stagedml.ml.models.bert.export import write_saved_model
    from stagedml.ml.models.bert.huggingface import write_model
    from stagedml.ml.tasks import task_named

    description = task_named(task)
    config, vocab = build.path(bert.bert_config), build.path(bert.bert_vocab)
    checkpoint = build.path(model.checkpoint)
    write_saved_model(
        build.path(saved_model),
        bert_config=config,
        checkpoint=checkpoint,
        vocab=vocab,
        lower_case=not bert.cased,
        max_length=data.max_seq_length,
        pairs=description.second is not None,
    )
    build.path(safetensors).mkdir()
    write_model(
        build.path(safetensors),
        read_bert_config(config),
        vocab.read_bytes(),
        read_checkpoint(checkpoint),
        lower_case=not bert.cased,
        max_length=data.max_seq_length,
        labels=description.labels,
    )
