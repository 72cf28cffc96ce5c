"""Reading a MediaWiki XML dump, page by page.

Rules this module keeps:
- A dump streams: one page is in memory at a time, however large the file is.
- The format's version does not matter (0.3 to 0.11 were published): elements are known by their local names.
- What is no dump, is cut off or damaged, is an error that names the file and the place.
"""

from __future__ import annotations

import bz2
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from stagedml.errors import UsageError

ARTICLES = 0
"""The namespace of articles."""


class UnreadableDump(UsageError):
    """A file is no MediaWiki XML dump, or a damaged one."""

    def __init__(self, path: str, pages: int, problem: str) -> None:
        super().__init__(path, pages, problem)
        self.path, self.pages, self.problem = path, pages, problem

    def __str__(self) -> str:
        return (
            f"{self.path}: after {self.pages} pages: {self.problem}; wanted is a whole MediaWiki XML dump "
            "(<wiki>-<date>-pages-articles.xml, plain or as .bz2): fetch it again"
        )


@dataclass(frozen=True)
class Page:
    """A page of a wiki, in its latest revision.

    Attributes:
        title: with the name of its namespace before it, other than for articles.
        namespace: its number; 0 for articles.
        is_redirect: whether it only leads to another page.
        text: its wikitext.
    """

    title: str
    namespace: int
    is_redirect: bool
    text: str


@dataclass(frozen=True)
class Wiki:
    """What a dump says of its wiki.

    Attributes:
        language: its code, such as "en".
        namespaces: the names of all namespaces but that of articles, in lower case.
    """

    language: str
    namespaces: frozenset[str]


class WikiDump:
    """A dump, read from its beginning to its end, once."""

    def __init__(self, path: Path) -> None:
        """Open a dump and read what it says of its wiki.

        Args:
            path: of the XML, plain or compressed by bzip2, in one stream or several.

        Raises:
            UnreadableDump: it is no dump.
        """
        self.path = path
        self._pages = 0
        self._file = _opened(path)
        self._events = ElementTree.iterparse(self._file, events=("start", "end"))
        self.wiki = self._read_wiki()

    def __enter__(self) -> WikiDump:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def pages(self) -> Iterator[Page]:
        """The pages that are left, in order.

        Raises:
            UnreadableDump: the file is cut off or damaged, or a page lacks its title, namespace or text.
        """
        while (event := self._next()) is not None:
            kind, element = event
            if kind == "end" and _name(element) == "page":
                yield self._page(element)
                self._pages += 1
                self._root.clear()

    def _read_wiki(self) -> Wiki:
        event = self._next()
        if event is None or _name(event[1]) != "mediawiki":
            raise self._damage("its first element is not <mediawiki>")
        self._root = event[1]
        language = self._root.get("{http://www.w3.org/XML/1998/namespace}lang", "")
        while (event := self._next()) is not None:
            kind, element = event
            if kind == "end" and _name(element) == "siteinfo":
                names = (each.text for each in element.iterfind("{*}namespaces/{*}namespace"))
                return Wiki(language, frozenset(name.lower() for name in names if name))
        raise self._damage("it has no <siteinfo>")

    def _page(self, element: ElementTree.Element) -> Page:
        title, namespace = element.findtext("{*}title"), element.findtext("{*}ns")
        text = element.find("{*}revision/{*}text")
        missing = [name for name, value in (("title", title), ("ns", namespace), ("text", text)) if value is None]
        if title is None or namespace is None or text is None or not re.fullmatch(r"-?\d+", namespace):
            raise self._damage(f"a page ({title or 'without a title'}) lacks {', '.join(missing) or 'a number as ns'}")
        return Page(title, int(namespace), element.find("{*}redirect") is not None, text.text or "")

    def _next(self) -> tuple[str, ElementTree.Element] | None:
        """The next event of the parser; None at the end."""
        try:
            return next(self._events, None)
        except (ElementTree.ParseError, EOFError, OSError) as error:
            raise self._damage(str(error)) from error

    def _damage(self, problem: str) -> UnreadableDump:
        return UnreadableDump(str(self.path), self._pages, problem)


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        is_compressed = file.read(3) == b"BZh"
    if path.suffix == ".bz2" and not is_compressed:
        raise UnreadableDump(str(path), 0, "it does not begin as bz2 does")
    return cast(IO[bytes], bz2.open(path)) if is_compressed else path.open("rb")


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


# -- disambiguation --------------------------------------------------------------------------------------------------

_DISAMBIGUATION = re.compile(
    r"\{\{\s*(?:template:|шаблон:)?"
    r"(?:[^{}|\n]*disambig[^{}|\n]*|dab|disamb|disam|[a-z]*dis|неоднозначность|многозначность|значения|"
    r"список однофамильцев)\s*[|}]|__disambig__|__неоднозначность__"
)
_DISAMBIGUATION_TITLES = ("(disambiguation)", "(значения)")


def is_disambiguation(page: Page) -> bool:
    """Whether a page only lists what its title may mean, as its templates or its title say (English and Russian)."""
    return page.title.lower().endswith(_DISAMBIGUATION_TITLES) or bool(_DISAMBIGUATION.search(page.text.lower()))
