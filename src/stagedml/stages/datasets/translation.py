"""Parallel text: WMT's, or two files of yours.

WMT 2017's training data, as the first StagedML took it: news commentary and common crawl, for German the proceedings of
the European Parliament (Koehn 2005, Europarl), too; newstest2013 to measure with on the way, and, between English and
German, newstest2014 at the end, as Vaswani et al. 2017 do. The sums are the first StagedML's.
"""

from __future__ import annotations

import os
from pathlib import Path

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import output, stage
from stagedml.errors import BuildError, UsageError
from stagedml.stages.fetch import fetchfolder, fetchurl, local_path
from stagedml.types import Folder, ParallelText

_NEWS_COMMENTARY = (
    "http://data.statmt.org/wmt17/translation-task/training-parallel-nc-v12.tgz",
    "2b45f30ef1d550d302fd17dd3a5cbe19134ccc4c2cf50c2dae534aee600101a2",
)
_COMMON_CRAWL = (
    "http://www.statmt.org/wmt13/training-parallel-commoncrawl.tgz",
    "c7a74e2ea01ac6c920123108627e35278d4ccb5701e15428ffa34de86fa3a9e5",
)
_EUROPARL = (
    "http://www.statmt.org/wmt13/training-parallel-europarl-v7.tgz",
    "0224c7c710c8a063dfd893b0cc0830202d61f4c75c17eb8e31836103d27d96e7",
)
_DEV = (
    "http://data.statmt.org/wmt17/translation-task/dev.tgz",
    "9d5ff04a28496b7796904ea65e50e3837bab14dbdca88b1e063105f17513dca9",
)
_TEST = (
    "https://storage.googleapis.com/tf-perf-public/official_transformer/test_data/newstest2014.tgz",
    "1d07bf20db2f4607bb5f3c228e24c1fa17bdfb66d650cc5e713353606fde0800",
)
_TRAIN = ["training/news-commentary-v12.{}", "commoncrawl.{}"]
#: By languages, as WMT spells them: the archives, and the files of each split in them, without the language at the end.
WMT = {
    "de-en": (
        (_NEWS_COMMENTARY, _COMMON_CRAWL, _EUROPARL, _DEV, _TEST),
        {
            "train": [*_TRAIN, "training/europarl-v7.{}"],
            "valid": ["dev/newstest2013"],
            "test": ["newstest2014/newstest2014"],
        },
    ),
    "ru-en": ((_NEWS_COMMENTARY, _COMMON_CRAWL, _DEV), {"train": _TRAIN, "valid": ["dev/newstest2013"]}),
}


class TextMissing(BuildError):
    """What was fetched does not hold a file of parallel text."""

    def __init__(self, name: str, folders: tuple[str, ...]) -> None:
        super().__init__(name, folders)
        self.name, self.folders = name, folders

    def __str__(self) -> str:
        return f"there is no file {self.name} in {', '.join(self.folders)}"


@stage(ParallelText, name="parallel-{languages}")
def parallel_text(
    build: Build,
    *,
    sources: list[Folder],
    languages: str,
    splits: dict[str, list[str]],
    folder: RefPath = output("text"),
    lines: RefPath = output("lines.json"),
) -> None:
    """Put the parallel text of each split together.

    `splits` names the files of each, without the dot and the language at the end; they are looked for in all `sources`.
    `lines.json` says how many lines each of them has.
    """
    from stagedml.ml.parallel_text import join_files
    from stagedml.ml.train.results import write_json

    places = [build.path(source.folder) for source in sources]

    def found(name: str) -> Path:
        for place in places:
            if (place / name).is_file():
                return place / name
        raise TextMissing(name, tuple(map(str, places)))

    build.path(folder).mkdir()
    both = languages.split("-")
    counts = {}
    for split, stems in splits.items():
        parts = [[found(f"{stem}.{language}") for language in both] for stem in stems]
        joined = join_files(parts, [build.path(folder) / f"{split}.{language}" for language in both])
        counts[split] = dict(zip(stems, joined, strict=True))
    write_json(build.path(lines), counts)


def fetch_wmt(languages: str, folder: str | os.PathLike[str] | None = None) -> ParallelText:
    """Parallel text to learn to translate from.

    Args:
        languages: "de-en" or "ru-en"; of a local folder, any two.
        folder: a local folder with `train.<language>` and `valid.<language>` for both, perhaps `test.<language>`;
            default WMT's archives.

    Raises:
        UsageError: WMT's data for these languages is not known, or the folder does not hold the files.
    """
    if folder is not None:
        return parallel_text(
            sources=[fetchfolder(folder)],
            languages=languages,
            splits={split: [split] for split in _local_splits(local_path("fetch_wmt", folder), languages)},
        )
    if languages not in WMT:
        raise UsageError(f"no data of WMT is known for {languages!r}, but for {' and '.join(WMT)}; or give `folder`")
    archives, stems = WMT[languages]
    return parallel_text(
        sources=[fetchurl(url, sha256=sha256, unpack=True) for url, sha256 in archives],
        languages=languages,
        splits={split: [stem.format(languages) for stem in own] for split, own in stems.items()},
    )


def _local_splits(folder: Path, languages: str) -> list[str]:
    both = languages.split("-")
    if len(both) != 2 or not all(both):
        raise UsageError(f"languages is {languages!r}; give two, such as de-en")
    wanted = [f"{split}.{language}" for split in ("train", "valid") for language in both]
    if missing := [name for name in wanted if not (folder / name).is_file()]:
        raise UsageError(f"{folder} holds no {', '.join(missing)}; parallel text is {', '.join(wanted)}")
    has_test = all((folder / f"test.{language}").is_file() for language in both)
    return ["train", "valid", *(["test"] if has_test else [])]
