"""RuSentiment's files, made up: posts of a few words, from which the sentiment can be told, and what is hostile."""

from __future__ import annotations

import csv
from pathlib import Path
from random import Random

from stagedml.ml.rusentiment import PUBLISHED, RUSENTIMENT

_WORDS = {
    "negative": ("плохо", "грустно", "ужас"),
    "neutral": ("поезд", "вторник", "магазин"),
    "positive": ("хорошо", "радость", "ура"),
    "skip": ("лайк", "репост", "ссылка"),
    "speech": ("привет", "спасибо", "поздравляю"),
}
HOSTILE = (
    'он сказал "так"',
    "одна строка\nдругая",
    "раз\tдва",
    "а,б,в",
    "NA",
    "слово\u2028слово",
    "конец\r\nначало",
    " - ",
)


def write_rusentiment(folder: Path, *, train: int = 120, test: int = 40) -> dict[str, list[tuple[str, str]]]:
    """Write the three files; gives the label and the text of each row by file."""
    folder.mkdir(parents=True, exist_ok=True)
    random, written = Random(0), {}
    for split, names in PUBLISHED.items():
        for name in names:
            rows = [_post(random, number) for number in range(train if split == "train" else test)]
            with (folder / name).open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([("label", "text"), *rows])
            written[name] = rows
    return written


def _post(random: Random, number: int) -> tuple[str, str]:
    label = RUSENTIMENT.labels[int(random.random() * len(RUSENTIMENT.labels))]
    words = [_WORDS[label][int(random.random() * 3)] for _ in range(1 + int(random.random() * 4))]
    return label, " ".join([*words, HOSTILE[number % len(HOSTILE)]])
