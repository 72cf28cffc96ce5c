"""The quickstart: the main job on a small generated world, through the same recipes as the real thing.

A storyteller writes plain text and a paraphrase task in the layout of MRPC; a small BERT is pre-trained on the text
with masked words and fine-tuned on the task. The same again, so small that it takes seconds and learns next to nothing,
shows how experiments work.
"""

from __future__ import annotations

from typing import Any

from stagedml.ml.tasks import task_named
from stagedml.stages.datasets.glue import glue_mrpc
from stagedml.stages.datasets.stories import glue_stories, paraphrases, squad_stories, stories
from stagedml.stages.models.bert_glue import bert_finetune_glue
from stagedml.stages.models.bert_pretrain import bert_pretrain
from stagedml.stages.models.bert_squad import bert_finetune_squad
from stagedml.stages.preprocess.glue import glue_tfrecords
from stagedml.stages.preprocess.pretrain import bert_pretrain_tfrecords
from stagedml.stages.preprocess.squad import squad_tfrecords
from stagedml.stages.preprocess.vocabulary import vocabulary
from stagedml.types import BertGlue, BertPretrained, BertSquad, Glue


def quickstart_glue() -> Glue:
    """The generated paraphrase task, as GLUE's recipe for MRPC makes it."""
    corpus = paraphrases(train=12_000, dev=600, test=100)
    return glue_mrpc(train_text=corpus.train_text, test_text=corpus.test_text, dev_ids=corpus.dev_ids)


def quickstart_bert() -> BertPretrained:
    """A small BERT, pre-trained on generated stories.

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


def quickstart_finetune() -> BertGlue:
    """The small BERT, fine-tuned on the generated task."""
    bert = quickstart_bert()
    data = glue_tfrecords(glue=quickstart_glue(), bert=bert)
    return bert_finetune_glue(data=data, bert=bert, learning_rate=1e-3, dropout=0.0, epochs=5)


def tiny_bert() -> BertPretrained:
    """The quickstart's BERT, tiny."""
    corpus = stories(documents=40)
    data = bert_pretrain_tfrecords(corpus=corpus, vocabulary=vocabulary(corpus=corpus), dupe_factor=1)
    return bert_pretrain(data=data, hidden_size=16, layers=1, heads=2, intermediate_size=32)


def tiny_finetune(task_name: str = "MRPC", **settings: Any) -> BertGlue:
    """The tiny BERT, fine-tuned on a generated task in a layout of GLUE's.

    Args:
        task_name: one of GLUE's that can be learnt, SNLI or RuSentiment, however capitalised.
        settings: parameters of `bert_finetune_glue`.
    """
    bert, task = tiny_bert(), task_named(task_name).name
    data = glue_tfrecords(glue=glue_stories(task=task, train=150, dev=40), bert=bert, task=task)
    return bert_finetune_glue(data=data, bert=bert, task=task, **{"epochs": 2, **settings})


def tiny_squad(task: str, **settings: Any) -> BertSquad:
    """The tiny BERT, fine-tuned on generated questions in the layout of an edition of SQuAD.

    Args:
        task: "squad11" or "squad20".
        settings: parameters of `bert_finetune_squad`.
    """
    bert, squad = tiny_bert(), squad_stories(task=task, train_articles=12, dev_articles=3)
    data = squad_tfrecords(squad=squad, bert=bert, task=task, max_seq_length=96, doc_stride=32, max_query_length=32)
    return bert_finetune_squad(data=data, bert=bert, task=task, **{"epochs": 1, **settings})
