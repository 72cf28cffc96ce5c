"""The GLUE benchmark: its tasks, the layouts of their files, and how their rows are split.

Wang et al. 2018, GLUE: A Multi-Task Benchmark and Analysis Platform for Natural Language Understanding. Rules this
module keeps:
- What is known of a task stands once, in `TASKS`.
- Labelled splits: *train* and *valid* are GLUE's train with 5 % held out (`ml.held_out`), *test* is GLUE's dev, since
  the labels of GLUE's test were never published. Choices are made on valid; test is only reported.
- Further splits, of some tasks: *test_mismatched* is MNLI's second dev, of other genres than train; *unlabelled* and
  *unlabelled_mismatched* are GLUE's test; *test_labelled* is SNLI's, whose labels are public.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stagedml.errors import UsageError

# The splits that every task has from which a model can learn.
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class GlueFile:
    """One file of a task.

    Attributes:
        name: in the task's folder.
        columns: of its rows; the names are ours where the file has no header.
        rows: how many well-formed rows its publishers count, if they do; user's files may have more or fewer.
        label: the column with the label; None in files without labels.
        header: whether the first line names the columns.
        wider: the columns of rows that have more of them than the header names; none in most files.
    """

    name: str
    columns: tuple[str, ...]
    rows: int | None = None
    label: str | None = None
    header: bool = True
    wider: tuple[str, ...] = ()


@dataclass(frozen=True)
class GlueTask:
    """One task: what its files look like and how it is scored.

    Attributes:
        name: as GLUE spells it.
        first: the column with the sentence, or with the first of two.
        second: the column with the second sentence; None for tasks on single sentences.
        labels: how the files spell the classes; the place of a spelling is the class's number. None for tasks whose
            labels are scores.
        scores: the lowest and the highest score; None for tasks whose labels are classes.
        metrics: names from `metrics.METRICS`, the task's own, in the order in which GLUE reports them.
        files: by split; that of train holds valid, too.
        leaderboard: what GLUE's site calls the file with the predictions, by split.
        folder: the task's folder in GLUE's own download.
        malformed_share: the share of a split's rows that are known to be malformed in the published files, rounded up:
            so many are no error.
    """

    name: str
    first: str
    second: str | None
    metrics: tuple[str, ...]
    files: Mapping[str, GlueFile]
    labels: tuple[str, ...] = ()
    scores: tuple[float, float] | None = None
    leaderboard: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""
    malformed_share: float = 0.0

    def file(self, split: str) -> GlueFile:
        """The file that holds a split.

        Raises:
            UnknownGlueSplit: the task has no such split.
        """
        if file := self.files.get("train" if split == "valid" else split):
            return file
        raise UnknownGlueSplit(self.name, split, self.splits)

    @property
    def is_learnt(self) -> bool:
        """Whether there are rows to learn from."""
        return "train" in self.files

    @property
    def outputs(self) -> int:
        """How many numbers a model gives of a row: one of each class, or a score."""
        return len(self.labels) or 1

    @property
    def labelled(self) -> tuple[str, ...]:
        """The further splits with labels, which a model is measured on as on `test`."""
        return tuple(split for split, file in self.files.items() if file.label and split not in SPLITS)

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of all splits, valid after train."""
        return tuple(name for split in self.files for name in ((split, "valid") if split == "train" else (split,)))

    @property
    def needed(self) -> tuple[str, ...]:
        """The files without which a folder does not hold the task."""
        splits = ("train", "test") if self.is_learnt else self.splits
        return tuple(self.file(split).name for split in splits)


def _plain(columns: tuple[str, ...], train: int, dev: int, test: int) -> dict[str, GlueFile]:
    """The files of most tasks: train.tsv and dev.tsv with a column `label` at their end, test.tsv without it."""
    unlabelled = columns if columns[0] == "index" else ("index", *columns)
    return {
        "train": GlueFile("train.tsv", (*columns, "label"), train, label="label"),
        "test": GlueFile("dev.tsv", (*columns, "label"), dev, label="label"),
        "unlabelled": GlueFile("test.tsv", unlabelled, test),
    }


_PAIR = ("index", "sentence1", "sentence2")
_INFERENCE = ("contradiction", "entailment", "neutral")
_ANNOTATORS = ("label1", "label2", "label3", "label4", "label5")
_PARSES = ("sentence1_binary_parse", "sentence2_binary_parse", "sentence1_parse", "sentence2_parse")
_COLA = ("source", "label", "author's mark", "sentence")
_MRPC = ("#1 ID", "#2 ID", "#1 String", "#2 String")
_STS_B = (*("index", "genre", "filename", "year", "old_index", "source1", "source2"), "sentence1", "sentence2")
_QQP = ("id", "qid1", "qid2", "question1", "question2", "is_duplicate")
_MNLI = ("index", "promptID", "pairID", "genre", *_PARSES, "sentence1", "sentence2")
_SNLI = ("index", "captionID", "pairID", *_PARSES, "sentence1", "sentence2")
_SNLI_JUDGED = (*_SNLI, *_ANNOTATORS, "gold_label")

# In GLUE's order; SNLI was in its download, and is in no score. Numbers of rows: the dataset card of nyu-mll/glue, and
# of SNLI those of its rows that have a gold label (Bowman et al. 2015, and Camburu et al. 2018 who count them).
TASKS = {
    task.name: task
    for task in (
        GlueTask(
            name="CoLA",
            first="sentence",
            second=None,
            labels=("0", "1"),
            metrics=("matthews",),
            files={
                "train": GlueFile("train.tsv", _COLA, 8551, label="label", header=False),
                "test": GlueFile("dev.tsv", _COLA, 1043, label="label", header=False),
                "unlabelled": GlueFile("test.tsv", ("index", "sentence"), 1063),
            },
            leaderboard={"unlabelled": "CoLA.tsv"},
        ),
        GlueTask(
            name="SST-2",
            first="sentence",
            second=None,
            labels=("0", "1"),
            metrics=("accuracy",),
            files=_plain(("sentence",), 67349, 872, 1821),
            leaderboard={"unlabelled": "SST-2.tsv"},
        ),
        GlueTask(
            name="MRPC",
            first="#1 String",
            second="#2 String",
            labels=("0", "1"),
            metrics=("accuracy", "f1"),
            files={
                "train": GlueFile("train.tsv", ("Quality", *_MRPC), 3668, label="Quality"),
                "test": GlueFile("dev.tsv", ("Quality", *_MRPC), 408, label="Quality"),
                "unlabelled": GlueFile("test.tsv", ("index", *_MRPC), 1725),
            },
            leaderboard={"unlabelled": "MRPC.tsv"},
        ),
        GlueTask(
            name="STS-B",
            first="sentence1",
            second="sentence2",
            scores=(0.0, 5.0),
            metrics=("pearson", "spearman"),
            files={
                "train": GlueFile("train.tsv", (*_STS_B, "score"), 5749, label="score"),
                "test": GlueFile("dev.tsv", (*_STS_B, "score"), 1500, label="score"),
                "unlabelled": GlueFile("test.tsv", _STS_B, 1379),
            },
            leaderboard={"unlabelled": "STS-B.tsv"},
        ),
        # Line breaks within questions tear rows of QQP's train apart (nyu-mll/GLUE-baselines, issue 5), and a few
        # questions are empty: one row in thousands.
        GlueTask(
            name="QQP",
            first="question1",
            second="question2",
            labels=("0", "1"),
            metrics=("accuracy", "f1"),
            files={
                "train": GlueFile("train.tsv", _QQP, 363_846, label="is_duplicate"),
                "test": GlueFile("dev.tsv", _QQP, 40_430, label="is_duplicate"),
                "unlabelled": GlueFile("test.tsv", ("id", "question1", "question2"), 390_965),
            },
            leaderboard={"unlabelled": "QQP.tsv"},
            malformed_share=0.001,
        ),
        GlueTask(
            name="MNLI",
            first="sentence1",
            second="sentence2",
            labels=_INFERENCE,
            metrics=("accuracy",),
            files={
                "train": GlueFile("train.tsv", (*_MNLI, "label1", "gold_label"), 392_702, label="gold_label"),
                "test": GlueFile("dev_matched.tsv", (*_MNLI, *_ANNOTATORS, "gold_label"), 9815, label="gold_label"),
                "test_mismatched": GlueFile(
                    "dev_mismatched.tsv", (*_MNLI, *_ANNOTATORS, "gold_label"), 9832, label="gold_label"
                ),
                "unlabelled": GlueFile("test_matched.tsv", _MNLI, 9796),
                "unlabelled_mismatched": GlueFile("test_mismatched.tsv", _MNLI, 9847),
            },
            leaderboard={"unlabelled": "MNLI-m.tsv", "unlabelled_mismatched": "MNLI-mm.tsv"},
        ),
        GlueTask(
            name="QNLI",
            first="question",
            second="sentence",
            labels=("entailment", "not_entailment"),
            metrics=("accuracy",),
            files=_plain(("index", "question", "sentence"), 104_743, 5463, 5463),
            leaderboard={"unlabelled": "QNLI.tsv"},
        ),
        GlueTask(
            name="RTE",
            first="sentence1",
            second="sentence2",
            labels=("entailment", "not_entailment"),
            metrics=("accuracy",),
            files=_plain(_PAIR, 2490, 277, 3000),
            leaderboard={"unlabelled": "RTE.tsv"},
        ),
        GlueTask(
            name="WNLI",
            first="sentence1",
            second="sentence2",
            labels=("0", "1"),
            metrics=("accuracy",),
            files=_plain(_PAIR, 635, 71, 146),
            leaderboard={"unlabelled": "WNLI.tsv"},
        ),
        # The diagnostic: nothing to learn from, to be answered by a model of MNLI.
        GlueTask(
            name="AX",
            first="sentence1",
            second="sentence2",
            labels=_INFERENCE,
            metrics=("matthews",),
            files={"unlabelled": GlueFile("diagnostic.tsv", _PAIR, 1104)},
            leaderboard={"unlabelled": "AX.tsv"},
            folder="diagnostic",
        ),
        # A row whose annotators did not agree has the gold label "-": 1.8 % of test. The header of train names one
        # annotator, but some of its rows have five (nyu-mll/jiant, issue 1073).
        GlueTask(
            name="SNLI",
            first="sentence1",
            second="sentence2",
            labels=_INFERENCE,
            metrics=("accuracy",),
            files={
                "train": GlueFile(
                    "train.tsv", (*_SNLI, "label1", "gold_label"), 549_367, label="gold_label", wider=_SNLI_JUDGED
                ),
                "test": GlueFile("dev.tsv", _SNLI_JUDGED, 9842, label="gold_label"),
                "test_labelled": GlueFile("test.tsv", _SNLI_JUDGED, 9824, label="gold_label"),
            },
            malformed_share=0.02,
        ),
    )
}


class UnknownGlueTask(UsageError):
    """No task of that name is in the table."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"no GLUE task {self.name!r}; there are {', '.join(TASKS)}"


class UnknownGlueSplit(UsageError):
    """A task does not have that split."""

    def __init__(self, task: str, split: str, splits: tuple[str, ...]) -> None:
        super().__init__(task, split, splits)
        self.task, self.split, self.splits = task, split, splits

    def __str__(self) -> str:
        return f"{self.task} has no split {self.split!r}; it has {', '.join(self.splits)}"


def glue_task(name: str) -> GlueTask:
    """The task of that name, however it is capitalised.

    Raises:
        UnknownGlueTask: there is none.
    """
    for task in TASKS.values():
        if task.name.lower() == str(name).lower():  # whoever checks no types gives other things, too
            return task
    raise UnknownGlueTask(name)
