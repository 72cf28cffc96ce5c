"""From a dump to text: articles alone, in order, all of the rest counted, in memory that does not grow."""

from __future__ import annotations

import bz2
import inspect
import re
import subprocess
import sys
import xml.sax
from dataclasses import asdict
from pathlib import Path

import pytest

from ml.wiki_dumps import article, generated_article, write_dump, write_large_dump
from stagedml.ml.documents import read_documents, text_statistics
from stagedml.ml.wikidump import Page
from stagedml.ml.wikiextract import Extracted, NoArticles, extract

PAGES = [
    article("A", "The first. It is short.\n\nThey are:\n* one\n\nA formula <math>x</math> is one."),
    Page("B", 0, True, "#REDIRECT [[A]]"),
    Page("Talk:A", 1, False, "I say so."),
    article("C", "'''C''' may be:\n* one\n{{disambig}}"),
    article("D", "* a list\n* alone"),
    article("E", "Open {{template.\n\nThe second."),
    article("F", "The third. It has {{lang|fr|é}}."),
]


def test_articles_alone_come_out_and_the_rest_is_counted(tmp_path: Path) -> None:
    write_dump(tmp_path / "dump.xml.bz2", PAGES)
    found = extract(tmp_path / "dump.xml.bz2", tmp_path / "text.txt")
    assert (tmp_path / "text.txt").read_text() == "The first.\nIt is short.\n\nThe second.\n\nThe third.\nIt has é.\n"
    assert found == Extracted(
        pages=7,
        other_namespaces=1,
        redirects=1,
        disambiguations=1,
        articles=4,
        empty_articles=1,
        unclosed_paragraphs=1,
        fragments=1,
        formulas=1,
    )
    assert text_statistics(tmp_path / "text.txt") == {"documents": 3, "sentences": 5, "words": 12, "characters": 52}


def test_pages_that_cannot_be_parsed_are_named(tmp_path: Path) -> None:
    deep = "[[a|" * 38 + "so" + "]]" * 38
    write_dump(tmp_path / "dump.xml", [*PAGES, article("Deep", f"It goes {deep} on.")])
    assert extract(tmp_path / "dump.xml", tmp_path / "text.txt").unparsable == 0
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 90)
    try:
        found = extract(tmp_path / "dump.xml", tmp_path / "text.txt")
    finally:
        sys.setrecursionlimit(before)
    assert (found.articles, found.unparsable, found.unparsable_titles, found.empty_articles) == (5, 1, ["Deep"], 2)


def test_a_dump_without_articles_is_refused(tmp_path: Path) -> None:
    write_dump(tmp_path / "dump.xml", PAGES[1:5])
    with pytest.raises(NoArticles, match="none of its 4 pages"):
        extract(tmp_path / "dump.xml", tmp_path / "text.txt")


def test_the_number_of_workers_is_no_part_of_the_result(tmp_path: Path) -> None:
    write_dump(tmp_path / "dump.xml.bz2", [*PAGES, *map(generated_article, range(50))])
    found = [extract(tmp_path / "dump.xml.bz2", tmp_path / f"{workers}.txt", workers=workers) for workers in (1, 2)]
    assert found[0] == found[1]
    assert found[0].articles == 54
    assert (tmp_path / "1.txt").read_bytes() == (tmp_path / "2.txt").read_bytes()
    documents = list(read_documents(tmp_path / "1.txt"))
    assert len(documents) == 53
    assert documents[-1][0] == "Article 49 has a part number 0."
    assert documents[-1][3] == "Article 49 has a part number 1."


class _Counting(xml.sax.ContentHandler):
    """Counts pages, and those that are articles."""

    def __init__(self) -> None:
        super().__init__()
        self.pages = self.articles = 0
        self._parts: dict[str, list[str]] = {}
        self._inside = ""

    def startElement(self, name: str, attrs: object) -> None:  # noqa: N802
        if name == "page":
            self._parts = {}
        self._inside = name
        self._parts.setdefault(name, [])

    def characters(self, content: str) -> None:
        self._parts.setdefault(self._inside, []).append(content)

    def endElement(self, name: str) -> None:  # noqa: N802
        self._inside = ""
        if name == "page":
            lists_meanings = re.search(r"(?i){{(disambiguation|geodis)", "".join(self._parts["text"]))
            self.pages += 1
            self.articles += self._parts["ns"] == ["0"] and "redirect" not in self._parts and not lists_meanings


def test_of_the_real_dump_as_many_articles_come_out_as_another_reader_counts(shared_data: Path, tmp_path: Path) -> None:
    (dump,) = (shared_data / "wiki").glob("*.bz2")
    found = extract(dump, tmp_path / "text.txt", workers=2)

    # Another reader: no tree of elements at all; disambiguations by the names that this cut has.
    counted = _Counting()
    with bz2.open(dump) as file:
        xml.sax.parse(file, counted)
    pages, articles = counted.pages, counted.articles
    assert (found.pages, found.articles) == (pages, articles) == (206, 98)
    assert found.pages == found.articles + found.redirects + found.disambiguations + found.other_namespaces
    assert (found.empty_articles, found.unparsable, found.unclosed_paragraphs) == (1, 0, 1)  # a list of names
    assert text_statistics(tmp_path / "text.txt")["documents"] == 97

    text = (tmp_path / "text.txt").read_text()
    assert not re.search(r"{{|}}|\[\[|\]\]|'''|</|/>|<ref|&[a-z]+;|\|\||__[A-Z]+__|https?://|thumb\|", text)


_PEAK = """
import sys
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from stagedml.ml.wikiextract import extract
found = extract(Path(sys.argv[1]), Path(sys.argv[2]), workers=2)
print(found.articles, getrusage(RUSAGE_SELF).ru_maxrss, getrusage(RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_dump(tmp_path: Path) -> None:
    peaks = []
    for megabytes in (50, 200):
        dump = tmp_path / "dump.xml.bz2"
        articles = write_large_dump(dump, megabytes * 1_000_000)
        command = [sys.executable, "-c", _PEAK, str(dump), str(tmp_path / "text.txt")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found, *peak = map(int, done.stdout.split())
        assert found == articles
        peaks.append(peak)
    # Of the one that reads and of the one that parses, in KiB: equal but for what the allocators make of it.
    for small, large in zip(*peaks, strict=True):
        assert large < small * 1.1 + 4096, peaks


def test_counts_of_parts_add_up_and_name_a_few() -> None:
    total = Extracted(pages=1, unparsable_titles=["a"] * 15)
    total.add(Extracted(pages=2, articles=3, unparsable_titles=["b"] * 15))
    assert (total.pages, total.articles, len(total.unparsable_titles)) == (3, 3, 20)
    assert asdict(total)["unparsable_titles"][-1] == "b"
