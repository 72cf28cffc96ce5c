"""Generated text, and tasks about it: a small world that needs nothing from elsewhere."""

from __future__ import annotations

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import output, stage
from stagedml.stages.parameters import Count
from stagedml.types import Glue, ParallelText, ParaphraseCorpus, Squad, Text


@stage(Text, name="stories")
def stories(build: Build, *, documents: int, seed: int = 0, text: RefPath = output("stories.txt")) -> None:
    """Text to pretrain on; see `stagedml.ml.storyteller`."""
    from stagedml.ml.storyteller import write_stories

    write_stories(build.path(text), documents=documents, seed=build.seed)


@stage(ParaphraseCorpus, name="paraphrases")
def paraphrases(
    build: Build,
    *,
    train: int,
    dev: int,
    test: int,
    seed: int = 0,
    train_text: RefPath = output("msr_paraphrase_train.txt"),
    test_text: RefPath = output("msr_paraphrase_test.txt"),
    dev_ids: RefPath = output("mrpc_dev_ids.tsv"),
) -> None:
    """Pairs of sentences that tell the same or do not, in the files that MRPC is made from."""
    from stagedml.ml.storyteller import write_paraphrases

    write_paraphrases(build.outpath, train=train, dev=dev, test=test, seed=build.seed)


@stage(Glue, name="glue-{task:lower}")
def glue_stories(
    build: Build, *, task: str, train: int, dev: int, seed: int = 0, folder: RefPath = output("{task}")
) -> None:
    """Any task of GLUE in its own layout, about sentences that tell the same or do not."""
    from stagedml.ml.glue_stories import write_glue
    from stagedml.ml.tasks import task_named

    build.path(folder).mkdir()
    write_glue(build.path(folder), task_named(task), train=train, dev=dev, seed=build.seed)


@stage(ParallelText, name="parallel-stories")
def parallel_stories(
    build: Build,
    *,
    sizes: dict[str, int],
    languages: str = "en-ne",
    seed: int = 0,
    folder: RefPath = output("text"),
) -> None:
    """Sentences and their translations, in "en-ne" or "nl-cm"; see `stagedml.ml.parallel_stories`."""
    from stagedml.ml.parallel_stories import write_parallel_stories

    build.path(folder).mkdir()
    write_parallel_stories(build.path(folder), languages, sizes, seed=build.seed)


@stage(Squad, name="{task}")
def squad_stories(
    build: Build,
    *,
    task: str,
    train_articles: Count,
    dev_articles: Count,
    seed: int = 0,
    train: RefPath = output("train.json"),
    dev: RefPath = output("dev.json"),
) -> None:
    """An edition of SQuAD in its own layout, about where and when a story's events happened."""
    from stagedml.ml.squad import edition_of
    from stagedml.ml.squad_stories import write_squad_stories

    write_squad_stories(build.path(train), edition_of(task), articles=train_articles, seed=2 * build.seed)
    write_squad_stories(build.path(dev), edition_of(task), articles=dev_articles, seed=2 * build.seed + 1)
