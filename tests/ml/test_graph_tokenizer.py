"""The tokenizer in the graph against `BertTokenizer`, token for token."""

from __future__ import annotations

import itertools
import random
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from ml.test_tokenizers import ODD_TEXTS, random_texts
from stagedml.ml.tokenizers import SPECIAL_TOKENS, BertTokenizer

pytestmark = pytest.mark.tensorflow

# All that are assigned, and some that are not; halves of surrogate pairs are no characters.
CODES = [*range(0xD800), *range(0xE000, 0x40000), *range(0xE0000, 0xE1000), 0x40000, 0xF0000, 0x100000, sys.maxunicode]

Ids = Callable[[Sequence[str | bytes]], list[list[int]]]


def write_vocabulary(path: Path, pieces: Sequence[str]) -> Path:
    path.write_bytes("".join(f"{piece}\n" for piece in dict.fromkeys([*SPECIAL_TOKENS, *pieces])).encode("utf-8"))
    return path


@pytest.fixture(scope="module")
def vocab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocabulary of single letters, marks and whatever else characters become, so that few words are unknown."""
    become = (unicodedata.normalize("NFD", chr(code).lower()) for code in CODES)
    changed = {letter for code, text in zip(CODES, become, strict=True) if text != chr(code) for letter in text}
    marks = {chr(code) for code in CODES if unicodedata.combining(chr(code))}
    others = map(chr, [*range(33, 0x600), *range(0x900, 0x980), *range(0x1D157, 0x1D173)])
    letters = sorted({*changed, *marks, *others, *"中文和日本語カタナ\u2028\ue000½№™€«»¿ﬁ☃"} - {"\xa0", "\x85"})
    words = ["hello", "world", "caf", "##fe", "##ing", "un", "##aff", "##able", "english", "English", "##lish", "##"]
    folder = tmp_path_factory.mktemp("vocab")
    return write_vocabulary(folder / "vocab.txt", [*words, *letters, *(f"##{letter}" for letter in letters)])


def in_graph(tokenizer: BertTokenizer, count: int = 1_000_000) -> Ids:
    from stagedml.ml.framework import tf
    from stagedml.ml.models.bert.graph_tokenizer import GraphTokenizer

    graph_tokenizer = GraphTokenizer(tokenizer, max_length=128)
    function = tf.function(
        lambda texts: graph_tokenizer.ids(texts, count), input_signature=[tf.TensorSpec([None], tf.string)]
    )

    def ids(texts: Sequence[str | bytes]) -> list[list[int]]:
        found: list[list[int]] = function(tf.constant(texts, tf.string)).to_list()
        return found

    return ids


def batches(texts: Sequence[str], size: int = 500) -> Iterator[Sequence[str]]:
    return (texts[start : start + size] for start in range(0, len(texts), size))


@pytest.fixture(scope="module", params=[True, False], ids=["uncased", "cased"])
def both(request: pytest.FixtureRequest, vocab: Path) -> tuple[BertTokenizer, Ids]:
    tokenizer = BertTokenizer(vocab, lower_case=request.param)
    return tokenizer, in_graph(tokenizer)


def test_odd_texts_give_the_same_tokens(both: tuple[BertTokenizer, Ids]) -> None:
    tokenizer, ids = both
    texts = [*ODD_TEXTS, *random_texts(2000)]
    assert list(itertools.chain(*map(ids, batches(texts)))) == tokenizer.batch_ids(texts)


def test_every_character_gives_the_same_words(both: tuple[BertTokenizer, Ids]) -> None:
    tokenizer, ids = both
    # Alone it would be an unknown word like many others; between known letters it is seen what becomes of it.
    words = [f"a{chr(code)}b" for code in CODES]
    texts = [" ".join(part) for part in batches(words, 4096)]
    for part in batches(texts, 16):
        assert ids(part) == tokenizer.batch_ids(part)


def test_capital_sigmas_are_lowered_by_what_stands_around_them(both: tuple[BertTokenizer, Ids]) -> None:
    tokenizer, ids = both
    # A letter, one that has no case, what is looked past (one of these has case, too), and what is dropped before.
    around = ["", "Α", "中", "'", "\u0301", "ʰ", " ", "\u200b", "Σ", ".", "1"]
    texts = ["".join(part) for part in itertools.product(around, around, ["Σ"], around, around)]
    for part in batches(texts, 4000):
        assert ids(part) == tokenizer.batch_ids(part)


def test_marks_in_a_row_are_put_in_order(both: tuple[BertTokenizer, Ids]) -> None:
    tokenizer, ids = both
    generator = random.Random(3)
    # Marks that stay have classes, too, and there are notes that become several of them.
    marks = [chr(code) for code in range(0x20000) if unicodedata.combining(chr(code))]
    stay = [mark for mark in marks if unicodedata.category(mark) != "Mn"]
    notes = [chr(code) for code in range(0x1D15E, 0x1D165)]
    assert len(stay) > 20
    texts = [
        "a" + "".join(generator.choice(generator.choice([marks, stay, stay, notes])) for _ in range(8)) + "b"
        for _ in range(2000)
    ]
    for part in batches(texts):
        assert ids(part) == tokenizer.batch_ids(part)


def test_long_words_end_where_pieces_do(both: tuple[BertTokenizer, Ids]) -> None:
    tokenizer, ids = both
    texts = ["a" * length + tail for length in (1, 399, 400, 401, 5000) for tail in ("", " b", "\u0378", "中")]
    texts += ["unaffable " * 300, "hellohello", "helloworl", "##ing", "un##aff", "hello" * 80, "hello" * 81]
    assert ids(texts) == tokenizer.batch_ids(texts)


def test_bytes_that_are_no_utf8_are_dropped(both: tuple[BertTokenizer, Ids]) -> None:
    tokenizer, ids = both
    texts = [b"hel\xfflo", b"\x80 world \xed\xa0\x80", b"hello \xe4\xb8", b"\xc0\x80a"]
    assert ids(texts) == tokenizer.batch_ids([text.decode("utf-8", "replace") for text in texts])


def test_no_text_and_empty_texts_have_no_tokens(both: tuple[BertTokenizer, Ids]) -> None:
    _, ids = both
    assert ids([]) == []
    assert ids(["", " \t", "\u200b"]) == [[], [], []]


@pytest.mark.parametrize(
    "pieces",
    [[], ["a"], ["##a"], ["a", "##", "##b"], ["a", "##a", "aaa", "##aaaa", "##b", "b", "ab", "##ab"]],
    ids=["nothing", "no rests", "rests alone", "an empty rest", "overlapping"],
)
def test_vocabularies_of_any_kind_give_the_same_tokens(pieces: list[str], tmp_path: Path) -> None:
    tokenizer = BertTokenizer(write_vocabulary(tmp_path / "vocab.txt", pieces), lower_case=True)
    texts = ["".join(part) for length in range(8) for part in itertools.product("ab", repeat=length)]
    assert in_graph(tokenizer)(texts) == tokenizer.batch_ids(texts)


def test_of_pieces_that_are_there_twice_the_same_one_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join([*SPECIAL_TOKENS, "a", "", "b", "a", "b", "a"]))
    tokenizer = BertTokenizer(path, lower_case=True)
    assert in_graph(tokenizer)(["a b"]) == tokenizer.batch_ids(["a b"]) == [[10, 9]]


@pytest.mark.parametrize("max_length", [3, 4, 5, 8, 13, 128])
def test_rows_are_those_that_models_are_trained_on(vocab: Path, max_length: int) -> None:
    from stagedml.ml.framework import tf
    from stagedml.ml.models.bert.graph_tokenizer import GraphTokenizer

    tokenizer = BertTokenizer(vocab, lower_case=True)
    graph_tokenizer = GraphTokenizer(tokenizer, max_length=max_length)
    lengths = list(itertools.product(range(0, 14), repeat=2))
    first, second = (["hello x" * length[side] for length in lengths] for side in (0, 1))
    spec = tf.TensorSpec([None], tf.string)
    rows = tf.function(graph_tokenizer, input_signature=[spec, spec])(tf.constant(first), tf.constant(second))
    singles = tf.function(graph_tokenizer, input_signature=[spec])(tf.constant(first))
    for found, others in ((rows, second), (singles, [None] * len(first))):
        found = {name: tensor.numpy() for name, tensor in found.items()}
        assert {array.dtype for array in found.values()} == {np.dtype(np.int32)}
        for number, texts in enumerate(zip(first, others, strict=True)):
            one, two = (None if text is None else tokenizer.ids(text) for text in texts)
            assert one is not None
            wanted = tokenizer.encode(one, two, max_length)
            count = len(wanted.input_ids)
            assert tuple(found["input_ids"][number][:count]) == wanted.input_ids
            assert tuple(found["segment_ids"][number][:count]) == wanted.segment_ids
            assert found["input_mask"][number].tolist() == [1] * count + [0] * (
                len(found["input_mask"][number]) - count
            )
            assert not found["input_ids"][number][count:].any()


def test_real_texts_give_the_same_tokens(shared_data: Path) -> None:
    tokenizer = BertTokenizer(shared_data / "bert" / "all-MiniLM-L6-v2" / "vocab.txt", lower_case=True)
    ids = in_graph(tokenizer)
    texts: list[str] = []
    for path in sorted((shared_data / "glue_data").rglob("*.*")):
        if path.suffix in (".tsv", ".txt"):
            texts += itertools.chain(*(line.split("\t") for line in path.read_text("utf-8").split("\n")[::10]))
    for name in ("nl2bash/data/bash/all.cm", "newstest2021/newstest2021.en-ru.ref.A.ru"):
        texts += (shared_data / name).read_text("utf-8").split("\n")[::10]
    texts = list(dict.fromkeys(texts))
    assert len(texts) > 5000
    for part in batches(texts):
        assert ids(part) == tokenizer.batch_ids(part)


def test_rows_too_short_for_special_tokens_are_refused(vocab: Path) -> None:
    from stagedml.ml.models.bert.graph_tokenizer import GraphTokenizer, LengthTooSmall

    with pytest.raises(LengthTooSmall, match="max_length is 2; special tokens alone take 3"):
        GraphTokenizer(BertTokenizer(vocab, lower_case=True), max_length=2)
