"""From parallel text to subwords, and to TFRecords of their ids."""

from __future__ import annotations

from pathlib import Path

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import Exec, output, stage
from stagedml.errors import UsageError
from stagedml.stages.parameters import Count
from stagedml.types import ParallelText, SubwordModel, TranslationTFR


@stage(SubwordModel, name="subwords-{size}")
def subwords(
    build: Build,
    *,
    text: ParallelText,
    size: Count = 32768,
    most_lines: Count = 2_000_000,
    model: RefPath = output("subwords.model"),
) -> None:
    """Learn subwords that both languages share from `train`; see `stagedml.ml.subwords`."""
    from stagedml.ml.subwords import learn_subwords

    learn_subwords(_train_files(build, text), build.path(model), size=size, most_lines=most_lines)


@stage(SubwordModel, name="subwords-bash-{size}")
def bash_subwords(
    build: Build,
    *,
    text: ParallelText,
    size: Count = 8192,
    reserve_names: bool = True,
    reserve_flags: bool = True,
    reserve_signs: bool = True,
    alphabet: str | None = None,
    model: RefPath = output("subwords.model"),
) -> None:
    """Learn subwords that know what Bash commands, the second language, are made of.

    Frequent names of commands, flags, and signs are one subword each; with `alphabet`, words are of word characters and
    these, and all else is a sign. See `stagedml.ml.bash_tokens`.
    """
    from stagedml.ml.bash_tokens import reserved_tokens
    from stagedml.ml.subwords import learn_subwords

    paths = _train_files(build, text)
    commands = paths[1].read_bytes().decode("utf-8", errors="ignore").split("\n")
    reserved = reserved_tokens(
        commands, names=reserve_names, flags=reserve_flags, signs=reserve_signs, alphabet=alphabet
    )
    learn_subwords(paths, build.path(model), size=size, reserved=reserved)


def _train_files(build: Build, text: ParallelText) -> list[Path]:
    return [build.path(text.folder) / f"train.{language}" for language in text.languages.split("-")]


@stage(TranslationTFR, name="translation-tfrecords-{source}-{target}")
def translation_tfrecords(
    build: Build,
    *,
    text: ParallelText,
    vocabulary: SubwordModel,
    source: str,
    target: str,
    max_length: Count = 256,
    records: RefPath = output("records"),
    references: RefPath = output("references"),
    subwords: RefPath = output("subwords.model"),
    rows: RefPath = output("rows.json"),
    workers: Exec[Count] = 2,
) -> None:
    """Write the pairs of each split as ids of subwords.

    Pairs to train on are left out where a side is empty, longer than `max_length` subwords, or no UTF-8; `rows.json`
    counts them, and names the first. See `stagedml.ml.translation_records`.
    """
    import shutil

    from stagedml.ml.subwords import Subwords
    from stagedml.ml.train.results import write_json
    from stagedml.ml.translation_records import TRAIN, write_pairs

    if sorted((source, target)) != sorted(text.languages.split("-")):
        raise UsageError(f"the text is in {text.languages}; there are no {source!r} and {target!r} in it")
    shutil.copyfile(build.path(vocabulary.model), build.path(subwords))
    for folder in (records, references):
        build.path(folder).mkdir()
    model, texts = Subwords.read(build.path(subwords)), build.path(text.folder)
    found = {
        split: write_pairs(
            split,
            texts / f"{split}.{source}",
            texts / f"{split}.{target}",
            build.path(records) / f"{split}.tfrecord",
            model,
            max_length=max_length,
            references=None if split == TRAIN else build.path(references) / f"{split}.txt",
            workers=workers,
            progress=build.progress,
        )
        for split in sorted(path.stem for path in texts.glob(f"*.{source}"))
    }
    for split, pairs in found.items():
        if pairs.problems:
            told = ", ".join(f"{count:,} for {problem}" for problem, count in pairs.problems.items())
            build.message(f"{split}: {pairs.written:,} pairs; left out or cut: {told}")
    write_json(build.path(rows), {split: pairs.to_json() for split, pairs in found.items()})
