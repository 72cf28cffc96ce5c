"""Tokenizing a task into records and reading them back: rows a second, what a second process brings, and memory.

    python benchmarks/bench_records.py [--vocab FILE] [--rows 390000] [--few 100000] [--rounds 5]

The task is QQP in its exact layout, generated: questions of random words with QQP's lengths, a malformed row in ten
thousand. Every measurement is a process of its own, which tells its time and its peak memory, that of its workers
apart. One worker and two take turns; what counts is the ratio within a round. Two processes are no faster than one on a
machine that does something else with its second processor: rounds in which others took more than a twentieth of the
machine are told, and left out where there are better ones. Without `--vocab`, the vocabulary is made up, too.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from stagedml.ml.glue import SPLITS, TASKS
from stagedml.ml.glue_records import tokenize_task
from stagedml.ml.glue_rows import SplitReader
from stagedml.ml.records import read_examples
from stagedml.ml.tfrecord import read_records
from stagedml.ml.tokenizers import SPECIAL_TOKENS, BertTokenizer, read_vocabulary

QQP = TASKS["QQP"]
# Words of a question of QQP: minimum, deciles, maximum.
LENGTHS = (2, 6, 7, 8, 9, 10, 11, 12, 14, 18, 50)
MAX_LENGTH = 128


# -- the task ---------------------------------------------------------------------------------------------------------


def write_vocabulary(path: Path) -> None:
    """A vocabulary of random words."""
    chance = random.Random(0)
    words = ("".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9))) for _ in range(20_000))
    pieces = sorted({*words, "?"})
    lines = [*SPECIAL_TOKENS, *pieces, *(f"##{piece}" for piece in pieces)]
    path.write_text("".join(f"{line}\n" for line in lines))


def write_task(folder: Path, rows: int, vocabulary: Path) -> None:
    """QQP with so many rows in train.tsv and a thousand in dev.tsv.

    Words are as frequent as Zipf says; every fifth is two of the vocabulary's in one, so that it has more pieces.
    """
    chance = random.Random(rows)
    known = [piece for piece in read_vocabulary(vocabulary) if piece.isalpha() and len(piece) > 1]
    known += [one + other for one, other in zip(known[::4], known[1::4], strict=False)]
    chance.shuffle(known)
    weights = [1 / (rank + 10) for rank in range(len(known))]

    def endless() -> Iterator[str]:
        while True:
            yield from chance.choices(known, weights, k=1 << 16)

    stock = endless()

    def question() -> str:
        decile = chance.randrange(len(LENGTHS) - 1)
        return f"{' '.join(islice(stock, chance.randint(*LENGTHS[decile : decile + 2]))).capitalize()}?"

    folder.mkdir()
    for file, count in ((QQP.file("train"), rows), (QQP.file("test"), 1000)):
        with (folder / file.name).open("w", encoding="utf-8") as lines:
            lines.write("\t".join(file.columns) + "\n")
            for row in range(count):
                cells = [str(row), str(2 * row), str(2 * row + 1), question(), question(), str(row % 3 // 2)]
                lines.write("\t".join(cells if row % 10_000 != 9_999 else cells[4:]) + "\n")


# -- what is measured, each in a process of its own -------------------------------------------------------------------


def write(folder: Path, vocabulary: Path, workers: int) -> int:
    """Tokenize all splits."""
    with tempfile.TemporaryDirectory(dir=folder) as output:
        splits = {split: Path(output, split) for split in SPLITS}
        tokenizer = BertTokenizer(vocabulary, lower_case=True)
        found = tokenize_task(
            QQP, folder, splits, Path(output, "more"), tokenizer, max_length=MAX_LENGTH, workers=workers
        )
        os.replace(splits["train"], folder / "train.tfrecord")
    return sum(split.written for split in found.values())


def tokenize(folder: Path, vocabulary: Path) -> int:
    """Tokenize train, and do nothing with it."""
    tokenizer = BertTokenizer(vocabulary, lower_case=True)
    rows = 0
    for piece in SplitReader(QQP, folder / "train.tsv", "train").pieces():
        for example in piece.read()[0]:
            tokenizer.encode(tokenizer.ids(example.first), tokenizer.ids(example.second or ""), MAX_LENGTH)
            rows += 1
    return rows


def read(folder: Path) -> int:
    """Read train as training does."""
    return len(read_examples(folder / "train.tfrecord"))


def read_by_row(folder: Path) -> int:
    """Read train row by row, as any record can be read."""
    return sum(1 for _ in read_records(folder / "train.tfrecord"))


WORK: dict[str, Callable[..., int]] = {"write": write, "tokenize": tokenize, "read": read, "read by row": read_by_row}


def measured(what: str, *arguments: object) -> dict[str, Any]:
    """What a piece of work takes in a fresh process.

    Returns:
        rows; seconds by the wall clock, and of processors; peak MiB of itself and of a worker; the share of the
        machine that others took meanwhile.
    """
    command = [sys.executable, __file__, "--measure", json.dumps([what, *map(str, arguments)])]
    before, begin = busy_s(), time.perf_counter()
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    passed = (time.perf_counter() - begin) * (os.cpu_count() or 1)
    return found | {"others": max(0.0, busy_s() - before - found["all_cpu_s"]) / passed}


def busy_s() -> float:
    """How long all processors together have worked since the machine started; 0 where nobody tells."""
    try:
        user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    except OSError:
        return 0.0
    return (user + nice + system + sum(interrupts[:2])) / os.sysconf("SC_CLK_TCK")


def measure(what: str, folder: str, *arguments: str) -> None:
    """The other side of `measured`."""
    logging.disable()  # of malformed rows
    before, begin = cpu_s(), time.perf_counter()
    rows = WORK[what](Path(folder), *(int(text) if text.isdecimal() else Path(text) for text in arguments))
    seconds = time.perf_counter() - begin
    own, workers = (
        resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    told = {"rows": rows, "seconds": seconds, "cpu_s": cpu_s() - before, "all_cpu_s": cpu_s()}
    print(json.dumps(told | {"own_mib": own, "workers_mib": workers}))


def cpu_s() -> float:
    """What this process and its workers that ended took of processors."""
    return sum(os.times()[:4])


# -- the report -------------------------------------------------------------------------------------------------------


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab", type=Path, help="a BERT's vocab.txt")
    parser.add_argument("--rows", type=int, default=390_000)
    parser.add_argument("--few", type=int, default=100_000, help="the smaller task, for memory")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*json.loads(arguments.measure))
        return
    with tempfile.TemporaryDirectory() as where:
        many, few, vocabulary = Path(where, "many"), Path(where, "few"), arguments.vocab or Path(where, "vocab.txt")
        if not arguments.vocab:
            write_vocabulary(vocabulary)
        write_task(many, arguments.rows, vocabulary)
        write_task(few, arguments.few, vocabulary)
        report(many, few, vocabulary, arguments.rounds)


def report(many: Path, few: Path, vocabulary: Path, rounds: int) -> None:
    """All measurements."""
    one, two, small = [], [], []
    for _ in range(rounds):
        one.append(measured("write", many, vocabulary, 1))
        two.append(measured("write", many, vocabulary, 2))
        small.append(measured("write", few, vocabulary, 2))
    lines = {
        "written by one process": one,
        "written by two": two,
        "written by two, fewer rows": small,
        "tokenized only": [measured("tokenize", many, vocabulary) for _ in range(rounds)],
        "read": [measured("read", many) for _ in range(rounds)],
        "read row by row": [measured("read by row", many)],
    }
    print(f"train.tfrecord: {(many / 'train.tfrecord').stat().st_size >> 20} MiB; {os.cpu_count()} processors")
    heads = ("rows", "seconds", "rows/s", "cpu s", "peak MiB", "a worker", "others")
    print(f"{'':<28}" + "".join(f"{head:>10}" for head in heads))
    for name, runs in lines.items():
        seconds, cpu, others = (statistics.median(run[what] for run in runs) for what in ("seconds", "cpu_s", "others"))
        own, workers = (max(run[what] for run in runs) for what in ("own_mib", "workers_mib"))
        rows = runs[0]["rows"]
        print(
            f"{name:<28}{rows:>10}{seconds:>10.1f}{rows / seconds:>10.0f}{cpu:>10.1f}{own:>10.0f}{workers:>10.0f}"
            f"{others:>10.0%}"
        )
    pairs = [
        (max(alone["others"], together["others"]), alone["seconds"] / together["seconds"])
        for alone, together in zip(one, two, strict=True)
    ]
    quiet = [ratio for others, ratio in pairs if others < 0.05]
    ratios = quiet or [ratio for _, ratio in pairs]
    print(
        f"two processes against one: {statistics.median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f}; "
        f"{len(quiet)} of {rounds} rounds were quiet); target 1.7"
    )
    cpu = statistics.median(alone["cpu_s"] / together["cpu_s"] for alone, together in zip(one, two, strict=True))
    print(f"what two processors would bring by the processor time that both take: {2 * cpu:.2f} times")
    all_of_it = [max(run["own_mib"] + 2 * run["workers_mib"] for run in runs) for runs in (two, small)]
    print(f"memory of {two[0]['rows']} rows: {all_of_it[0]:.0f} MiB, of {small[0]['rows']}: {all_of_it[1]:.0f} MiB")


if __name__ == "__main__":
    main()
