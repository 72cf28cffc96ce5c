"""The artifact types of the catalogue: what the stages of `stagedml.stages` make and take."""

from __future__ import annotations

from stagedml.authoring.artifact import Artifact
from stagedml.authoring.pylightnix import RefPath


class File(Artifact):
    """One file, as it was fetched."""

    file: RefPath


class Folder(Artifact):
    """A folder, fetched as such or unpacked from an archive."""

    folder: RefPath


class Glue(Artifact):
    """The files of one GLUE task, in the layout in which GLUE publishes them."""

    task: str  # as GLUE spells it: MRPC, CoLA, SST-2, ...
    folder: RefPath  # holds the files that `stagedml.ml.glue` names: train.tsv, dev.tsv, ...


class GlueUnlabelledTFR(Artifact):
    """Rows of one GLUE task, tokenized for one BERT, as TFRecord files of token ids; see `stagedml.ml.records`."""

    task: str
    more: RefPath  # a folder: <split>.tfrecord of unlabelled, unlabelled_mismatched, test_mismatched, ...


class GlueTFR(GlueUnlabelledTFR):
    """The same of a task to learn from."""

    train: RefPath  # GLUE's train but for the held-out rows
    valid: RefPath  # 5 % of GLUE's train, held out by a fixed rule
    test: RefPath  # GLUE's dev, whose labels are public
    max_seq_length: int  # word pieces a row at most, special tokens included


class Squad(Artifact):
    """An edition of SQuAD, in the files in which it is published; see `stagedml.ml.squad`."""

    task: str  # squad11 or squad20
    train: RefPath
    dev: RefPath


class SquadTFR(Artifact):
    """An edition of SQuAD, tokenized for one BERT, as TFRecord files of windows; see `stagedml.ml.squad_records`."""

    task: str
    train: RefPath  # SQuAD's train but for the articles held out
    valid: RefPath  # of one article of SQuAD's train in twenty, held out by a fixed rule
    test: RefPath  # SQuAD's dev
    texts: RefPath  # a folder: valid.json and test.json, the questions of both in SQuAD's layout
    max_seq_length: int  # word pieces a row at most, special tokens included


class BertCP(Artifact):
    """A pretrained BERT checkpoint."""

    bert_config: RefPath  # bert_config.json, Google's layout
    bert_vocab: RefPath  # vocab.txt, one WordPiece a line
    bert_ckpt: RefPath  # prefix of a TensorFlow checkpoint with Google's variable names
    cased: bool


class Vocabulary(Artifact):
    """The word pieces of a text."""

    vocab: RefPath  # one a line
    cased: bool


class PretrainTFR(Artifact):
    """Rows to pre-train a BERT on, as TFRecord files of token ids; see `stagedml.ml.pretrain_records`."""

    train: RefPath  # a folder of shards
    valid: RefPath  # the rows of documents that are held out
    rows: RefPath  # rows.json: how many documents and rows there are
    vocab: RefPath  # what the ids stand for, one word piece a line
    cased: bool


class Trained(Artifact):
    """A model that was trained here, as reports take it."""

    metrics: RefPath  # metrics.json: numbers, eval_* measured on what was held out for choosing
    protocol: RefPath  # protocol.json: the operations of the training with what they measured


class BertPretrained(BertCP, Trained):
    """A BERT that was pre-trained here; it fine-tunes like any other checkpoint."""


class BertGlue(Trained):
    """A BERT that was fine-tuned on one GLUE task; its metrics have test_* measured on GLUE's dev."""

    task: str
    checkpoint: RefPath  # prefix of a TensorFlow checkpoint: the encoder under Google's names, and the classifier
    predictions: RefPath  # a folder: <split>.tsv with index, label, prediction and logits of each row measured
    confusion: RefPath  # confusion.json: by split, the labels, and how many rows of each class were taken for each
    learning_rate: float


class Mnist(Artifact):
    """Pictures of digits, and which they are; see `stagedml.ml.mnist`."""

    mnist: RefPath  # mnist.npz, laid out as Keras's: x_train, y_train, x_test, y_test


class ConvnnMnist(Trained):
    """A network that tells digits apart; its metrics have test_* measured on MNIST's test."""

    weights: RefPath  # weights.safetensors: `stagedml.ml.models.convnn.Convnn` loads them


class LenetMnist(Trained):
    """The same in PyTorch."""

    weights: RefPath  # weights.safetensors, the state dict of `stagedml.ml.models.lenet.build_lenet`


class BertSquad(Trained):
    """A BERT that was fine-tuned on SQuAD; its metrics have test_* measured on SQuAD's dev."""

    task: str
    checkpoint: RefPath  # prefix of a TensorFlow checkpoint: the encoder and the span labeler under Google's names
    predictions: RefPath  # a folder: <split>/predictions.json and others, as SQuAD's evaluation takes them
    learning_rate: float


class BertExported(Artifact):
    """A fine-tuned BERT for others to load; see `stagedml.ml.models.bert.export`."""

    task: str
    saved_model: RefPath  # a SavedModel that takes sentences
    safetensors: RefPath  # a folder as Hugging Face's transformers loads it: config.json, model.safetensors, vocab.txt


class GluePredictions(Artifact):
    """What a model says of the rows of one GLUE task whose labels were not published."""

    task: str
    submission: RefPath  # a folder with files as GLUE's leaderboard takes them: MRPC.tsv, ...


class ParallelText(Artifact):
    """The same text in two languages, a sentence a line."""

    languages: str  # "de-en"
    folder: RefPath  # <split>.<language> of train, valid and perhaps test


class SubwordModel(Artifact):
    """Subwords to write texts with."""

    model: RefPath  # of SentencePiece; see stagedml.ml.subwords


class TranslationTFR(Artifact):
    """Pairs of texts as ids of subwords; see `stagedml.ml.translation_records`."""

    source: str  # a language
    target: str  # another
    records: RefPath  # a folder: <split>.tfrecord of train, valid and perhaps test
    references: RefPath  # a folder: <split>.txt of valid and test, what translations are compared with
    subwords: RefPath  # of SentencePiece


class Transformer(Trained):
    """A Transformer that was trained to translate; `stagedml.ml.models.transformer.translator.load_translator` loads
    its folder. Its metrics have eval_bleu, and test_bleu where there is a test split."""

    source: str
    target: str
    shape: RefPath  # model.json
    subwords: RefPath
    checkpoint: RefPath  # prefix of a TensorFlow checkpoint
    translations: RefPath  # a folder: <split>.txt, a translation a line


class Report(Artifact):
    """Trained models compared."""

    markdown: RefPath  # report.md, which shows the pictures
    html: RefPath  # report.html, one file with all in it
    table: RefPath  # report.json: the numbers
    pictures: RefPath  # a folder of SVG


class Text(Artifact):
    """Plain text to pretrain on: a sentence a line, an empty line between documents."""

    text: RefPath


class WikiText(Text):
    """The sentences of a wiki's articles."""

    counts: RefPath  # counts.json: what became of the dump's pages


class WikiStat(Artifact):
    """How much text a wiki has."""

    statistics: RefPath  # statistics.json: pages by kind, sentences, words, characters


class ParaphraseCorpus(Artifact):
    """A paraphrase task in the files that MRPC is made from."""

    train_text: RefPath  # msr_paraphrase_train.txt
    test_text: RefPath  # msr_paraphrase_test.txt
    dev_ids: RefPath  # mrpc_dev_ids.tsv
