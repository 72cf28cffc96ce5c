"""Pre-training on a wiki: from a dump to a model, in chains that go on, come out the same, and fetch nothing."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from ml.wiki_dumps import article, generated_article, write_dump
from stagedml import (
    BuildError,
    Instantiated,
    RRef,
    UsageError,
    instantiate,
    mklens,
    pinned,
    plan,
    realize,
    realize_recursive,
    redefine,
    store_initialize,
)
from stagedml.engine.events import Observer
from stagedml.ml.pretrain_records import read_pretrain_columns
from stagedml.stages.all import (
    BertPretrained,
    PretrainTFR,
    Vocabulary,
    WikiStat,
    all_basebert_pretrain,
    all_enwiki_tfrecords,
    all_extractenwiki,
    all_extractruwiki,
    all_fetch_rubert,
    all_fetchenwiki,
    all_fetchruwiki,
    all_minibert_pretrain,
    all_ruwiki_tfrecords,
    bert_pretrain,
    fetch_wiki,
    vocabulary,
    vocabulary_of,
    wikistat,
)


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty short articles and a page of another kind."""
    path = tmp_path_factory.mktemp("dump") / "wiki-pages-articles.xml.bz2"
    write_dump(path, [*(generated_article(number, parts=6) for number in range(40)), article("X", "{{disambig}}")])
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store for all tests."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(autouse=True)
def _store(root: Path) -> None:
    store_initialize(root)


def _tiny(parameters: dict[str, Any]) -> None:
    parameters.update(hidden_size=16, layers=1, heads=2, intermediate_size=32, max_position_embeddings=128)
    parameters.update(batch_size=16, learning_rate=1e-2, warmup_share=0.1)


dryrun_basebert_pretrain = redefine(all_basebert_pretrain, _tiny)
dryrun_minibert_pretrain = redefine(all_minibert_pretrain, _tiny)


def tiny_tfrecords(dump: Path) -> PretrainTFR:
    return all_enwiki_tfrecords(dump, held_out_every=10, dupe_factor=2, max_seq_length=64)


def chain(dump: Path, links: int) -> BertPretrained:
    """A training of several links, each a derivation that begins where the one before ended."""
    model: BertPretrained | None = None
    for _ in range(links):
        model = dryrun_minibert_pretrain(tiny_tfrecords(dump), start=model)
    assert model is not None
    return model


def test_a_dump_is_counted(dump: Path) -> None:
    def stat() -> WikiStat:
        return wikistat(corpus=all_extractenwiki(dump))

    found = json.loads(mklens(realize(instantiate(stat))).statistics.contents)
    assert (found["pages"], found["articles"], found["disambiguations"], found["documents"]) == (41, 40, 1, 40)
    assert found["sentences"] == 40 * 6 * 3
    assert found["words"] > 5 * found["sentences"]
    assert found["characters"] > 4 * found["words"]


@pytest.mark.tensorflow
def test_a_chain_of_trainings_learns_and_its_links_are_reused(dump: Path) -> None:
    first, second = (realize(instantiate(chain, dump, links)) for links in (1, 2))
    losses = [json.loads(mklens(rref).metrics.contents)["eval_loss"] for rref in (first, second)]
    assert losses[1] < losses[0]
    assert mklens(second).start.rref == first
    verdicts = {step.name: step.verdict.value for step in plan(instantiate(chain, dump, 3)).steps}
    assert verdicts == {"bert-pretrain": "build"} | dict.fromkeys(verdicts.keys() - {"bert-pretrain"}, "reuse")
    # Other rows have other words hidden; next sentences are there to be told.
    rows = read_pretrain_columns(Path(mklens(first).data.train.syspath, "00000.tfrecord"))
    assert set(rows["next_sentence_labels"].values.tolist()) == {0, 1}


class Interruption(Observer):
    """Ctrl-C in the middle of a training."""

    def __init__(self, at: int) -> None:
        self.at, self.seen = at, 0
        self.notes: list[str] = []

    def progress(self, dref: str, label: str, done: int, total: int | None, unit: str, note: str) -> None:
        self.seen += label == "pretrain"
        self.notes.append(note)
        if self.seen == self.at:
            raise KeyboardInterrupt


def _step(dump: Path, epochs: int, previous: RRef | None) -> Instantiated[BertPretrained]:
    def declared() -> BertPretrained:
        start = pinned(previous, BertPretrained) if previous else None
        return dryrun_minibert_pretrain(tiny_tfrecords(dump), start=start)

    return instantiate(declared)


@pytest.mark.tensorflow
def test_an_interrupted_chain_goes_on_to_the_same_references(dump: Path, tmp_path: Path) -> None:
    step, often = functools.partial(_step, dump), {"checkpoint_every_s": 0.0}
    whole = realize_recursive(step, 2)
    steps = json.loads(mklens(whole[1]).protocol.contents)[0]["steps"]
    store_initialize(tmp_path / "root")
    with pytest.raises(KeyboardInterrupt):  # in the second link
        realize_recursive(step, 2, observer=Interruption(steps + 4), args=often)
    again = Interruption(0)
    assert realize_recursive(step, 2, observer=again, args=often) == whole
    assert any(note.startswith("resumed at step ") for note in again.notes)


@pytest.mark.tensorflow
def test_a_vocabulary_that_was_learnt_elsewhere_is_gone_on_with(dump: Path) -> None:
    def further() -> BertPretrained:
        bert = chain(dump, 1)
        data = all_enwiki_tfrecords(dump, vocabulary_of(bert=bert), held_out_every=10, dupe_factor=1, max_seq_length=64)
        return dryrun_basebert_pretrain(data, bert)

    rref = realize(instantiate(further))
    assert mklens(rref).data.vocab.contents == mklens(realize(instantiate(chain, dump, 1))).bert_vocab.contents


def test_case_must_be_that_of_the_vocabulary(dump: Path) -> None:
    def wrong() -> BertPretrained:
        return bert_pretrain(data=tiny_tfrecords(dump), cased=True)

    with pytest.raises(BuildError, match="give cased=False"):
        realize(instantiate(wrong))


def test_russian_keeps_its_accents(tmp_path: Path) -> None:
    pages = [article(f"Статья {number}", f"Мой ёж № {number} живёт здесь. Ещё один — там.") for number in range(8)]
    write_dump(tmp_path / "ru.xml", pages, "ru")

    def pieces() -> Vocabulary:
        return vocabulary(corpus=all_extractruwiki(tmp_path / "ru.xml"), cased=True)

    found = mklens(realize(instantiate(pieces))).vocab.contents.split()
    assert {"Мой", "ёж", "живёт", "Ещё"} < set(found)
    rows = realize(instantiate(all_ruwiki_tfrecords, tmp_path / "ru.xml", held_out_every=4))
    assert json.loads(mklens(rows).rows.contents)["documents"] == {"train": 6, "valid": 2}
    assert mklens(rows).cased.val is True


@pytest.mark.parametrize("fetch", [all_fetchenwiki, all_fetchruwiki, all_fetch_rubert])
def test_offline_it_is_said_what_to_provide(fetch: Any) -> None:
    with pytest.raises(BuildError) as caught:
        realize(instantiate(fetch), offline=True)
    assert "STAGEDML_MIRRORS" in str(caught.value)
    assert "pages-articles.xml.bz2" in str(caught.value) or "rubert_cased_L-12_H-768_A-12_v2" in str(caught.value)


def test_a_wiki_that_nobody_knows_and_files_that_are_no_dumps_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"known are enwiki, ruwiki; of others, give a local file as dump="):
        fetch_wiki("frwiki")
    (tmp_path / "notes.txt").write_text("Not a dump.")
    with pytest.raises(
        BuildError, match=r"notes\.txt: after 0 pages: .* wanted is a whole MediaWiki XML dump"
    ) as caught:
        realize(instantiate(all_extractenwiki, tmp_path / "notes.txt"))
    told = str(caught.value).splitlines()
    assert told[1] == (f"  local-notes-txt was made with path={str(tmp_path / 'notes.txt')!r}")
    assert not any(line.lstrip().startswith(("File ", "at")) for line in told)
