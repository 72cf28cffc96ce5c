"""The quickstart: the main job on a small generated world, through the same stages as the real thing.

A storyteller writes plain text and a paraphrase task in the layout of MRPC; a small BERT is pre-trained on the text
with masked words and fine-tuned on the task.
"""

from __future__ import annotations

from stagedml.stages.datasets.glue import glue_mrpc
from stagedml.stages.datasets.stories import paraphrases, stories
from stagedml.stages.models.bert_export import bert_export
from stagedml.stages.models.bert_glue import bert_finetune_glue
from stagedml.stages.models.bert_pretrain import bert_pretrain
from stagedml.stages.preprocess.glue import glue_tfrecords
from stagedml.stages.preprocess.pretrain import bert_pretrain_tfrecords
from stagedml.stages.preprocess.vocabulary import vocabulary
from stagedml.types import BertExported, BertGlue, BertPretrained, Glue, GlueTFR


def _quickstart_glue() -> Glue:
    """The generated paraphrase task, as GLUE's recipe for MRPC makes it."""
    corpus = paraphrases(train=12_000, dev=600, test=100)
    return glue_mrpc(train_text=corpus.train_text, test_text=corpus.test_text, dev_ids=corpus.dev_ids)


def all_quickstart_pretrain() -> BertPretrained:
    """A small BERT, pre-trained on generated stories: nothing is fetched.

    It is so narrow that it needs larger weights to begin with, a higher learning rate and no dropout to learn, within a
    minute or two, to look for the words of one sentence in the other. Many of the words to name are wrong or left
    as they are rather than hidden, so it must look for those that it sees, too, as the task that follows asks for.
    """
    corpus = stories(documents=9000)
    data = bert_pretrain_tfrecords(
        corpus=corpus,
        vocabulary=vocabulary(corpus=corpus, size=1000),
        row_sentences=2,
        short_share=0.0,
        random_next_share=0.0,
        mask_share=0.25,
        mask_token_share=0.5,
        random_token_share=0.25,
        dupe_factor=5,
    )
    return bert_pretrain(
        data=data,
        hidden_size=64,
        layers=3,
        heads=4,
        intermediate_size=128,
        dropout=0.0,
        initializer_range=0.1,
        learning_rate=3e-3,
        batch_size=48,
    )


def _quickstart_tfrecords() -> GlueTFR:
    return glue_tfrecords(glue=_quickstart_glue(), bert=all_quickstart_pretrain())


def all_quickstart_finetune_glue() -> BertGlue:
    """The small BERT, fine-tuned on a generated task in MRPC's layout: nothing is fetched."""
    bert = all_quickstart_pretrain()
    return bert_finetune_glue(data=_quickstart_tfrecords(), bert=bert, learning_rate=1e-3, dropout=0.0, epochs=5)


def all_quickstart_export_glue() -> BertExported:
    """What `all_quickstart_finetune_glue` trains, for others to load; see `all_bert_export_glue`."""
    data = _quickstart_tfrecords()
    return bert_export(model=all_quickstart_finetune_glue(), data=data, bert=all_quickstart_pretrain(), task=data.task)
