"""Generated parallel text: what a small model can learn to translate in a minute.

Of `en-ne`, the second language is made up: sentences are written from their end to their beginning, letter by letter,
so that each word has a translation and the order of words is another. Of `nl-cm`, it is Bash: commands of a few kinds,
and what they do in plain English.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

from stagedml.errors import UsageError
from stagedml.ml.storyteller import draw_pair

_FOLDERS = ("Documents", "backup", "build", "logs", "pictures", "src")
_ENDINGS = ("c", "conf", "csv", "jpg", "log", "py", "sh", "txt")


def write_parallel_stories(folder: Path, languages: str, sizes: Mapping[str, int], *, seed: int) -> None:
    """Write `<split>.<language>` for each split and both languages.

    Args:
        folder: where; it exists.
        languages: "en-ne" or "nl-cm".
        sizes: how many pairs each split has; they are written in this order.
        seed: of all that is drawn.

    Raises:
        UsageError: nothing is generated in these languages.
    """
    if languages not in _DRAWN:
        raise UsageError(f"nothing is generated in {languages!r}, but in {' and '.join(_DRAWN)}")
    random = Random(seed)
    for split, size in sizes.items():
        pairs = [_DRAWN[languages](random) for _ in range(size)]
        for language, texts in zip(languages.split("-"), zip(*pairs, strict=True), strict=True):
            path = folder / f"{split}.{language}"
            path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8", newline="\n")


def _mirrored(random: Random) -> tuple[str, str]:
    sentence = draw_pair(random).first
    return sentence, sentence[::-1]


def _command(random: Random) -> tuple[str, str]:
    where, ending, count = random.choice(_FOLDERS), random.choice(_ENDINGS), random.randint(2, 50)
    return random.choice(
        [
            (f"find all {ending} files in {where}", f'find {where} -name "*.{ending}"'),
            (f"count the {ending} files in {where}", f'find {where} -name "*.{ending}" | wc -l'),
            (f"show the first {count} lines of each {ending} file in {where}", f"head -n {count} {where}/*.{ending}"),
            (f"list the {count} newest files in {where}", f"ls -t {where} | head -n {count}"),
            (f"remove what is older than {count} days in {where}", f"find {where} -mtime +{count} -delete"),
            (f"pack {where} into an archive", f"tar -czf {where}.tar.gz {where}"),
        ]
    )


_DRAWN: Mapping[str, Callable[[Random], tuple[str, str]]] = {"en-ne": _mirrored, "nl-cm": _command}
