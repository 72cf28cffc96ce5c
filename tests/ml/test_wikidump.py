"""Reading dumps: every page once, whatever the dump's version, and damage told with its place."""

from __future__ import annotations

import bz2
from pathlib import Path

import pytest

from ml.wiki_dumps import article, dump_xml, write_dump
from stagedml.ml.wikidump import Page, UnreadableDump, WikiDump, is_disambiguation

PAGES = [
    article("Ampersand", "A & B < C > D, \"quoted\", 'so'.\n\nÜber Ёлка 漢字 😀"),
    Page("Elsewhere", 0, True, "#REDIRECT [[Ampersand]]"),
    Page("User:Somebody", 2, False, "Hello."),
    article("Empty", ""),
]


@pytest.mark.parametrize("name", ["dump.xml.bz2", "dump.xml"])
def test_pages_come_in_order_from_plain_and_compressed_dumps(tmp_path: Path, name: str) -> None:
    write_dump(tmp_path / name, PAGES, "ru")
    with WikiDump(tmp_path / name) as dump:
        assert dump.wiki.language == "ru"
        assert dump.wiki.namespaces == {"user", "bestand", "category"}
        assert list(dump.pages()) == PAGES


def test_several_streams_of_bzip2_and_other_versions_of_the_format_are_read(tmp_path: Path) -> None:
    content = dump_xml(PAGES).replace("export-0.10", "export-0.11").encode()
    middle = len(content) // 2
    (tmp_path / "dump.bz2").write_bytes(bz2.compress(content[:middle]) + bz2.compress(content[middle:]))
    with WikiDump(tmp_path / "dump.bz2") as dump:
        assert list(dump.pages()) == PAGES


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda whole: whole[: len(whole) // 2], "after 0 pages: Compressed file ended"),
        (lambda whole: whole[:-200] + bytes(200), "after 0 pages"),
        (lambda whole: b"no dump at all", "not well-formed|syntax error"),
        (lambda whole: b"", "no element found|first element"),
        (lambda whole: b"<html></html>", "first element is not <mediawiki>"),
        (lambda whole: b"<mediawiki><page></page></mediawiki>", "no <siteinfo>"),
    ],
    ids=["cut off", "zeros", "text", "empty", "html", "no siteinfo"],
)
def test_what_is_no_whole_dump_is_told(tmp_path: Path, damage: object, told: str) -> None:
    assert callable(damage)
    (tmp_path / "dump").write_bytes(damage(bz2.compress(dump_xml(PAGES).encode())))
    with pytest.raises(UnreadableDump, match=told) as caught, WikiDump(tmp_path / "dump") as dump:
        list(dump.pages())
    assert str(tmp_path / "dump") in str(caught.value)


def test_a_plain_dump_that_is_cut_off_says_after_how_many_pages(tmp_path: Path) -> None:
    whole = dump_xml(PAGES)
    (tmp_path / "dump.xml").write_text(whole[: whole.index("<title>Empty")])
    with pytest.raises(UnreadableDump, match="after 3 pages"), WikiDump(tmp_path / "dump.xml") as dump:
        list(dump.pages())


def test_a_file_that_is_called_bz2_is_read_as_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "dump.xml.bz2").write_text(dump_xml(PAGES))
    with pytest.raises(UnreadableDump, match="after 0 pages: it does not begin as bz2 does"):
        WikiDump(tmp_path / "dump.xml.bz2")


def test_a_page_without_a_namespace_is_told_by_its_title(tmp_path: Path) -> None:
    (tmp_path / "dump.xml").write_text(dump_xml(PAGES).replace("<ns>2</ns>", ""))
    with pytest.raises(UnreadableDump, match=r"after 2 pages: a page \(User:Somebody\) lacks ns"):
        list(WikiDump(tmp_path / "dump.xml").pages())


@pytest.mark.parametrize(
    ("title", "text", "is_one"),
    [
        ("Mercury", "'''Mercury''' may be:\n* a planet\n{{disambiguation}}", True),
        ("Aa River", "{{Geodis}}", True),
        ("Ann Lee", "{{ hndis |Lee, Ann}}", True),
        ("Mercury (disambiguation)", "Planets and metals.", True),
        ("Меркурий", "{{неоднозначность}}", True),
        ("Замок (значения)", "Замки.", True),
        ("Mercury (planet)", "{{about|the planet|other uses|Mercury (disambiguation)}} '''Mercury''' is hot.", False),
        ("Dystopia", "{{dablink|See also}} {{main|Paradise}} A bad place.", False),
    ],
)
def test_disambiguations_are_known_by_template_or_title(title: str, text: str, is_one: bool) -> None:
    assert is_disambiguation(article(title, text)) is is_one
