"""Translation from files to metrics, in small, and what is said where data is not there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from inspection.event_files import tags_of
from stagedml import DRef, instantiate, mklens, realize, redefine, rref2path, store_initialize
from stagedml.errors import StagedmlError, UsageError
from stagedml.ml.parallel_text import read_lines
from stagedml.ml.subwords import SPACE, Subwords
from stagedml.stages.all import (
    all_fetchnl2bash,
    all_fetchwmt,
    all_nl2bashsubtok,
    all_transformer_nl2bash,
    all_transformer_wmtende,
    all_wmtsubtok_ende,
    all_wmtsubtok_enru,
    all_wmtsubtok_ruen,
    dryrun_transformer,
    nl2bash,
    parallel_text,
    subwords,
    translation_tfrecords,
)
from stagedml.stages.datasets.stories import parallel_stories
from stagedml.stages.datasets.translation import WMT
from stagedml.types import ParallelText, TranslationTFR


def write(folder: Path, **files: str) -> Path:
    """Files by their names, with `_` for the dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8", newline="\n")
    return folder


def some_texts(folder: Path) -> Path:
    return write(
        folder,
        train_en="a red car\n\nan old boat\n" * 20,
        train_de="ein rotes Auto\nleer\nein altes Boot\n" * 20,
        valid_en="a red boat\n",
        valid_de="ein rotes Boot\n",
    )


@pytest.mark.tensorflow
def test_a_tiny_transformer_goes_from_generated_text_to_bleu(tmp_path: Path) -> None:
    store_initialize(tmp_path / "root")
    declared = instantiate(redefine(dryrun_transformer, lambda own: own.update(epochs=1)))
    folder = Path(rref2path(realize(declared, args={"histograms": True})))
    assert any("kernel" in tag for tag, _ in tags_of(folder))
    metrics = json.loads((folder / "metrics.json").read_text())
    scores = {f"{split}_{name}" for split in ("eval", "test") for name in ("loss", "accuracy", "bleu", "exact_match")}
    assert set(metrics) == {"train_loss", "bleu_signature", *scores}
    for split in ("valid", "test"):
        assert len(read_lines(folder / "translations" / f"{split}.txt")) == 20
    protocol = json.loads((folder / "protocol.json").read_text())
    assert [step["operation"] for step in protocol] == ["train", "evaluate", "keep", "evaluate"]
    assert protocol[1]["bleu"] == metrics["eval_bleu"]


def test_texts_of_a_local_folder_become_records(tmp_path: Path) -> None:
    store_initialize(tmp_path / "root")
    rref = realize(instantiate(all_wmtsubtok_ende, some_texts(tmp_path / "texts"), vocabulary_size=300))
    folder = Path(rref2path(rref))
    assert read_lines(folder / "references" / "valid.txt") == ["ein rotes Boot"]
    rows = json.loads((folder / "rows.json").read_text())
    assert {split: found["rows"] for split, found in rows.items()} == {"train": 40, "valid": 1}
    assert rows["train"]["problems"] == {"an empty side": 20}
    assert Subwords.read(folder / "subwords.model").size <= 300


def test_both_directions_share_texts_and_subwords(tmp_path: Path) -> None:
    store_initialize(tmp_path / "root")
    there, back = (mklens(instantiate(each)[0]) for each in (all_wmtsubtok_enru, all_wmtsubtok_ruen))
    assert there.vocabulary.dref == back.vocabulary.dref
    assert there.text.dref == back.text.dref
    assert (there.source.val, there.target.val) == (back.target.val, back.source.val) == ("en", "ru")


def all_joined(first: str, second: str) -> ParallelText:
    from stagedml.stages.all import fetchfolder

    sources = [fetchfolder(first), fetchfolder(second)]
    return parallel_text(sources=sources, languages="de-en", splits={"train": ["news", "more/crawl.de-en"]})


def test_the_files_of_several_archives_are_joined_in_order_and_counted(tmp_path: Path) -> None:
    store_initialize(tmp_path / "root")
    news = write(tmp_path / "news", news_de="a\nb", news_en="A\nB\n")
    write(tmp_path / "crawl" / "more", **{"crawl_de-en_de": "c\n", "crawl_de-en_en": "C\n"})
    folder = Path(rref2path(realize(instantiate(all_joined, str(news), str(tmp_path / "crawl")))))
    assert read_lines(folder / "text" / "train.de") == ["a", "b", "c"]
    assert read_lines(folder / "text" / "train.en") == ["A", "B", "C"]
    assert json.loads((folder / "lines.json").read_text()) == {"train": {"news": 2, "more/crawl.de-en": 1}}
    (tmp_path / "crawl" / "more" / "crawl.de-en.en").unlink()
    with pytest.raises(StagedmlError, match=r"no file more/crawl\.de-en\.en in "):
        realize(instantiate(all_joined, str(news), str(tmp_path / "crawl")))


def test_texts_that_are_not_aligned_are_an_error_that_names_them(tmp_path: Path) -> None:
    store_initialize(tmp_path / "root")
    folder = some_texts(tmp_path / "texts")
    (folder / "train.de").write_text("zu wenig\n")
    with pytest.raises(StagedmlError, match=r"train\.de has 1 lines, .*train\.en has 60 lines"):
        realize(instantiate(all_fetchwmt, "de-en", folder))


def all_between(source: str, target: str) -> TranslationTFR:
    text = parallel_stories(sizes={"train": 30, "valid": 3})
    vocabulary = subwords(text=text, size=400)
    return translation_tfrecords(text=text, vocabulary=vocabulary, source=source, target=target)


def test_languages_that_the_text_is_not_in_are_an_error(tmp_path: Path) -> None:
    store_initialize(tmp_path / "root")
    with pytest.raises(StagedmlError, match=r"the text is in en-ne; there are no .en. and .de. in it"):
        realize(instantiate(all_between, "en", "de"))
    realize(instantiate(all_between, "ne", "en"))


def test_what_a_local_folder_lacks_and_unknown_names_are_said_when_declared(tmp_path: Path) -> None:
    store_initialize(tmp_path / "root")
    write(tmp_path / "texts", train_en="a\n", train_de="b\n", valid_en="c\n")
    with pytest.raises(UsageError, match=r"holds no valid\.de; parallel text is train\.de, train\.en, valid"):
        instantiate(all_wmtsubtok_ende, tmp_path / "texts")
    with pytest.raises(UsageError, match=r"no data of WMT is known for 'fr-en', but for de-en and ru-en"):
        instantiate(all_fetchwmt, "fr-en")
    with pytest.raises(UsageError, match=r"languages is 'de'; give two"):
        instantiate(all_fetchwmt, "de", tmp_path)
    with pytest.raises(UsageError, match=r"no Transformer of size 'huge', but base and small"):
        instantiate(all_transformer_wmtende, size="huge")
    with pytest.raises(UsageError, match=r"holds no all\.nl and no all\.cm"):
        instantiate(all_fetchnl2bash, tmp_path)


@pytest.mark.parametrize("stage", [all_fetchwmt, all_transformer_wmtende, all_fetchnl2bash, all_transformer_nl2bash])
def test_without_a_network_it_is_said_what_to_provide(tmp_path: Path, stage: Callable[[], DRef]) -> None:
    store_initialize(tmp_path / "root")
    with pytest.raises(StagedmlError, match=r"STAGEDML_MIRRORS"):
        realize(instantiate(stage), offline=True)


def test_each_archive_of_wmt_has_a_sum_and_each_language_a_split_to_measure_with() -> None:
    for archives, splits in WMT.values():
        assert all(url.startswith("http") and len(sha256) == 64 for url, sha256 in archives)
        assert {"train", "valid"} <= set(splits)


def test_nl2bash_is_parted_in_step_and_its_subwords_know_commands(tmp_path: Path) -> None:
    store_initialize(tmp_path / "root")
    corpus = write(
        tmp_path / "corpus",
        all_nl="".join(f"list the {number} newest files\n" for number in range(60)),
        all_cm="".join(f"ls -t | head -n {number}\n" for number in range(60)),
    )
    texts = Path(rref2path(realize(instantiate(all_fetchnl2bash, corpus)))) / "text"
    parts = [read_lines(texts / f"{split}.{side}") for split in ("train", "valid") for side in ("nl", "cm")]
    assert [len(part) for part in parts] == [54, 54, 6, 6]
    for nl, cm in zip(parts[0] + parts[2], parts[1] + parts[3], strict=True):
        assert nl.split()[2] == cm.split()[-1]
    records = Path(rref2path(realize(instantiate(all_nl2bashsubtok, corpus, vocabulary_size=400))))
    pieces = Subwords.read(records / "subwords.model").pieces()
    assert {f"{SPACE}ls", f"{SPACE}head", f"{SPACE}-t", f"{SPACE}-n", "|"} <= set(pieces)
    dryrun = redefine(all_nl2bashsubtok, lambda own: own.update(train_share=0.5), at=nl2bash)
    others = instantiate(dryrun, corpus, vocabulary_size=400, reserve_flags=False, alphabet="-")
    halves = Path(rref2path(realize(others)))
    pieces = Subwords.read(halves / "subwords.model").pieces()
    assert f"{SPACE}-t" not in pieces
    assert json.loads((halves / "rows.json").read_text())["valid"]["rows"] == 30


def test_data_of_which_nothing_is_left_is_an_error_where_it_is_made(tmp_path: Path) -> None:
    store_initialize(tmp_path / "root")
    folder = some_texts(tmp_path / "texts")
    (folder / "train.de").write_text("\n" * 60)
    (folder / "train.en").write_text("a red car\n" * 60)
    with pytest.raises(StagedmlError, match=r"train: all of its 60 pairs are left out: 60 for an empty side"):
        realize(instantiate(all_wmtsubtok_ende, folder, vocabulary_size=300))
    some_texts(tmp_path / "texts")
    write(folder, valid_de="", valid_en="")
    with pytest.raises(StagedmlError, match="valid has no lines"):
        realize(instantiate(all_wmtsubtok_ende, folder, vocabulary_size=300))


def test_a_vocabulary_that_is_too_small_is_told_how_large_it_must_be(tmp_path: Path) -> None:
    store_initialize(tmp_path / "root")
    folder = some_texts(tmp_path / "texts")
    with pytest.raises(StagedmlError, match=r"no 100 subwords can be learnt: .* take \d+ already; give a larger size"):
        realize(instantiate(all_wmtsubtok_ende, folder, vocabulary_size=100))
    with pytest.raises(StagedmlError, match="size: wanted int >= 1, got 0"):
        realize(instantiate(all_wmtsubtok_ende, folder, vocabulary_size=0))


def test_a_mark_of_byte_order_is_no_text(tmp_path: Path) -> None:
    store_initialize(tmp_path / "root")
    folder = some_texts(tmp_path / "texts")
    (folder / "valid.de").write_bytes(b"\xef\xbb\xbfein rotes Boot\n")
    records = Path(rref2path(realize(instantiate(all_wmtsubtok_ende, folder, vocabulary_size=300))))
    assert read_lines(records / "references" / "valid.txt") == ["ein rotes Boot"]
