"""MediaWiki dumps that tests make: small ones of given pages, and large ones of generated articles."""

from __future__ import annotations

import bz2
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from xml.sax.saxutils import escape

from stagedml.ml.wikidump import Page

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="{language}">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <namespaces>
      <namespace key="0" case="first-letter" />
      <namespace key="2" case="first-letter">User</namespace>
      <namespace key="6" case="first-letter">Bestand</namespace>
      <namespace key="14" case="first-letter">Category</namespace>
    </namespaces>
  </siteinfo>
"""


def article(title: str, text: str) -> Page:
    """A page of namespace 0 that is no redirect."""
    return Page(title, 0, False, text)


def page_xml(page: Page) -> str:
    """A page as dumps have it."""
    redirect = '    <redirect title="Elsewhere" />\n' if page.is_redirect else ""
    return (
        f"  <page>\n    <title>{escape(page.title)}</title>\n    <ns>{page.namespace}</ns>\n    <id>1</id>\n{redirect}"
        "    <revision>\n      <id>2</id>\n      <contributor><username>Somebody</username></contributor>\n"
        f'      <text xml:space="preserve">{escape(page.text)}</text>\n    </revision>\n  </page>\n'
    )


def dump_xml(pages: Iterable[Page], language: str = "en") -> str:
    """A whole dump."""
    return HEAD.format(language=language) + "".join(map(page_xml, pages)) + "</mediawiki>\n"


def write_dump(path: Path, pages: Iterable[Page], language: str = "en") -> None:
    """Write a dump, compressed if its name says so."""
    content = dump_xml(pages, language).encode()
    path.write_bytes(bz2.compress(content) if path.suffix == ".bz2" else content)


def write_large_dump(path: Path, size_bytes: int) -> int:
    """Write a dump of so much XML at least, piece by piece; gives the number of its articles."""
    written = 0
    with bz2.open(path, "wb", compresslevel=1) as file:
        written += file.write(HEAD.format(language="en").encode())
        for number in count():
            if written >= size_bytes:
                file.write(b"</mediawiki>\n")
                return number
            written += file.write(page_xml(generated_article(number)).encode())
    raise AssertionError("count() ends")


def generated_article(number: int, parts: int = 40) -> Page:
    """An article with a template, links, references, a table and a list; no two are the same."""
    paragraphs = "\n\n".join(
        f"'''Article {number}''' has a [[paragraph|part]] number {part}.<ref>A source, p. {part}.</ref> It was written "
        f"in {1900 + part}{{{{citation needed|date=May {part}}}}} by [[Author {number % 97}]], and is about thing "
        f"number {number * part % 1009}. Nobody has read it since."
        for part in range(parts)
    )
    return article(
        f"Article {number}",
        f"{{{{Infobox thing\n| number = {number}\n}}}}\n{paragraphs}\n\n== See also ==\n* [[Article {number + 1}]]\n"
        f'{{| class="wikitable"\n| a || b\n|}}\n[[Category:Things]]\n',
    )
