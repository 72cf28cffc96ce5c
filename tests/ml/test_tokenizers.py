"""BERT's tokenizer against the official one, token for token."""

from __future__ import annotations

import random
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedml.ml.tokenizers import (
    SPECIAL_TOKENS,
    BertTokenizer,
    UnusableVocabulary,
    read_vocabulary,
    split_words,
    truncated_lengths,
)

ODD_TEXTS = (
    "",
    " \t\r\n ",
    "Hello, world!",
    "[CLS] [MASK] [SEP] [UNK] ##ing",
    "naïve café Ångström ÉCOLE İstanbul ıı ß ẞ ﬁ",
    "ΟΔΥΣΣΕΥΣ ΑΣ. ΑΣ, Σ",
    "中文和English混排 日本語カタカナ 한국어",
    "\U00020000\U0002f800\uf900 \u3400",
    "zero\u200bwidth\u200djoin \u00ad soft \ufeff bom",
    "control\x00\x01\x1f\x7f\x85\x9f chars\ufffd",
    "separators\u2028line\u2029paragraph\x0bvt\x0cff\x1cfs",
    "spaces\u00a0nbsp\u2003em\u3000ideographic\u1680ogham\u180emongolian",
    "private \ue000\uf8ff unassigned \u0378\U000e0fff noncharacter \ufffe\uffff",
    "e\u0301\u0323 combining \u0301alone \u094d \u0e33",
    "a" * 400 + " " + "a" * 401 + " " + "ab" * 300,
    "don't $5.00 ^_^ `tick` <tag/> a|b ~ + = 1/2 ½ №5 ™ € ¿qué? «»",
    "😀 👨‍👩‍👧 🇩🇪 ☃️",
    "العَرَبِيَّة עִבְרִית हिन्दी ไทย",
    "ǅ ǆ ŉ ΐ և ﬀ K Å",
)


def official(vocab: Path, *, lower_case: bool) -> Any:
    tokenization = pytest.importorskip("official.nlp.tools.tokenization")
    return tokenization.FullTokenizer(str(vocab), do_lower_case=lower_case)


@pytest.fixture(scope="module")
def vocab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small vocabulary that knows letters of many scripts, so that few words are unknown as a whole."""
    letters = [chr(code) for code in range(33, 0x600) if not unicodedata.category(chr(code)).startswith(("C", "Z"))]
    letters += list("中文和日本語한국어カタナ\u2028\ue000½№™€«»¿ﬁ☃")
    words = ["hello", "world", "caf", "##fe", "##ing", "un", "##aff", "##able", "english", "English", "##lish"]
    pieces = [*SPECIAL_TOKENS, *dict.fromkeys([*words, *letters, *(f"##{letter}" for letter in letters)])]
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_bytes("".join(f"{piece}\n" for piece in pieces).encode("utf-8"))
    return path


def random_texts(count: int) -> Iterator[str]:
    """Texts whose characters come from everywhere in Unicode, most of them from where its rules are odd."""
    generator = random.Random(7)
    pools = [
        range(0x20, 0x7F), range(0x20, 0x7F), range(0x00, 0x250), range(0x250, 0x600), range(0x900, 0xE80),
        range(0x1E00, 0x2100), range(0x2000, 0x2070), range(0x3000, 0x3100), range(0x4E00, 0x4F00),
        range(0xE000, 0xE010), range(0xF900, 0xFFFF), range(0x10000, 0x1FFFF), range(0x2A6D0, 0x2A710),
    ]  # fmt: skip
    for _ in range(count):
        length = generator.randrange(1, 40)
        yield "".join(
            " " if generator.random() < 0.15 else chr(generator.choice(generator.choice(pools))) for _ in range(length)
        )


@pytest.mark.tensorflow
@pytest.mark.parametrize("lower_case", [True, False], ids=["uncased", "cased"])
def test_odd_texts_give_the_official_tokens(vocab: Path, lower_case: bool) -> None:
    ours, theirs = BertTokenizer(vocab, lower_case=lower_case), official(vocab, lower_case=lower_case)
    texts = [*ODD_TEXTS, *random_texts(2000)]
    assert [ours.tokenize(text) for text in texts] == [theirs.tokenize(text) for text in texts]


@pytest.mark.tensorflow
@pytest.mark.parametrize("lower_case", [True, False], ids=["uncased", "cased"])
def test_every_single_character_gives_the_official_words(vocab: Path, lower_case: bool) -> None:
    theirs = official(vocab, lower_case=lower_case).basic_tokenizer
    codes = [code for code in range(0x30000) if not 0xD800 <= code < 0xE000]
    for start in range(0, len(codes), 4096):
        text = " ".join(f"a{chr(code)}b" for code in codes[start : start + 4096])
        assert split_words(text, lower_case=lower_case).split(" ") == theirs.tokenize(text)


@pytest.mark.tensorflow
def test_real_texts_give_the_official_tokens(shared_data: Path) -> None:
    vocab = shared_data / "bert" / "all-MiniLM-L6-v2" / "vocab.txt"
    ours, theirs = BertTokenizer(vocab, lower_case=True), official(vocab, lower_case=True)
    texts = (shared_data / "glue_data" / "CoLA" / "train.tsv").read_text("utf-8").split("\n")[:1500]
    texts += (shared_data / "glue_data" / "MRPC" / "msr_paraphrase_test.txt").read_text("utf-8").split("\n")[:500]
    texts += (shared_data / "nl2bash" / "data" / "bash" / "all.cm").read_text("utf-8").split("\n")[:500]
    texts += (shared_data / "newstest2021" / "newstest2021.en-ru.ref.A.ru").read_text("utf-8").split("\n")[:300]
    assert [ours.tokenize(text) for text in texts] == [theirs.tokenize(text) for text in texts]


@pytest.mark.parametrize("lower_case", [True, False], ids=["uncased", "cased"])
def test_every_word_piece_is_made_of_the_characters_where_it_is_said_to_stand(vocab: Path, lower_case: bool) -> None:
    tokenizer = BertTokenizer(vocab, lower_case=lower_case)
    for text in [*ODD_TEXTS, *random_texts(2000)]:
        located = tokenizer.locate(text)
        assert list(located.ids) == tokenizer.ids(text)
        assert sorted(located.begins) == list(located.begins)
        assert sorted(located.ends) == list(located.ends)
        for number, begin, end in zip(located.ids, located.begins, located.ends, strict=True):
            piece = tokenizer.pieces[number].removeprefix("##")
            # What stands there, on its own, holds the piece; the last sigma of a word looks like another one.
            there = "".join(split_words(text[begin:end], lower_case=lower_case).split()).replace("ς", "σ")
            assert piece == "[UNK]" or piece.replace("ς", "σ") in there


def test_a_piece_stands_where_the_text_says_whatever_happened_on_the_way(vocab: Path) -> None:
    text = "\ufeffZu: caf\u0301fe\u0301\u0323 unaffable,\x00x \uac00"
    located = BertTokenizer(vocab, lower_case=True).locate(text)
    places = zip(located.begins, located.ends, strict=True)
    assert [text[begin:end] for begin, end in places] == [
        *("Z", "u", ":", "caf\u0301", "fe\u0301\u0323", "un", "aff", "able", ",", "x", "\uac00"),
    ]


def test_half_a_surrogate_pair_is_an_unknown_word_and_no_crash(vocab: Path) -> None:
    assert BertTokenizer(vocab, lower_case=True).tokenize("a \ud800b c") == ["a", "[UNK]", "c"]


def test_words_are_split_alike_however_texts_are_batched(vocab: Path) -> None:
    tokenizer = BertTokenizer(vocab, lower_case=True)
    assert tokenizer.batch_ids(ODD_TEXTS) == [tokenizer.ids(text) for text in ODD_TEXTS]


def test_special_tokens_and_segments_stand_where_bert_expects_them(vocab: Path) -> None:
    tokenizer = BertTokenizer(vocab, lower_case=True)
    start, separator = tokenizer.id_of("[CLS]"), tokenizer.id_of("[SEP]")
    single = tokenizer.encode([7, 8], None, 128)
    assert (single.input_ids, single.segment_ids) == ((start, 7, 8, separator), (0, 0, 0, 0))
    pair = tokenizer.encode([7, 8], [9], 128)
    assert (pair.input_ids, pair.segment_ids) == ((start, 7, 8, separator, 9, separator), (0, 0, 0, 0, 1, 1))
    assert tokenizer.encode(range(10, 20), None, 5).input_ids == (start, 10, 11, 12, separator)


@given(first=st.integers(0, 60), second=st.integers(0, 60), total=st.integers(0, 100))
@settings(max_examples=500)
def test_pairs_are_truncated_as_bert_does_it(first: int, second: int, total: int) -> None:
    found = truncated_lengths(first, second, total)
    while first + second > total:
        if first > second:
            first -= 1
        else:
            second -= 1
    assert found == (first, second)


def test_a_vocabulary_without_special_tokens_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("[PAD]\n[UNK]\nword\n")
    with pytest.raises(UnusableVocabulary, match=r"no \[CLS\], \[SEP\], \[MASK\]"):
        BertTokenizer(path, lower_case=True)


def test_a_vocabulary_is_split_at_newlines_only(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes("[PAD]\r\na\u2028b\n\x85\nlast".encode())
    assert read_vocabulary(path) == ("[PAD]", "a\u2028b", "", "last")


def test_final_sigma_is_lowered_as_python_does_it() -> None:
    assert split_words("ΑΣ. ΑΣΑ", lower_case=True) == "ας . ασα"


def test_tokenizing_does_not_import_tensorflow(vocab: Path) -> None:
    import subprocess

    code = (
        "import sys; from pathlib import Path; from stagedml.ml.records import BertTokenizer;"
        "import stagedml.ml.glue;"
        "BertTokenizer(Path(sys.argv[1]), lower_case=True).ids('hello');"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(vocab)], check=False).returncode == 0
