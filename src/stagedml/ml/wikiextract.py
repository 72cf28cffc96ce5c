"""From a MediaWiki dump to plain text: a sentence a line, an empty line between articles.

Rules this module keeps:
- Articles alone: pages of other namespaces, redirects and disambiguations are left out, and counted.
- What is written follows from the dump, not from the number of workers; articles stand in the dump's order.
- Some pages for each worker are in memory, however large the dump is.
- Nothing is lost in silence: `Extracted` counts what was left out, by reason, and names the pages that could not be
  parsed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path

from stagedml.errors import UsageError
from stagedml.ml.processes import map_in_order
from stagedml.ml.progress import Progress, silent
from stagedml.ml.sentences import is_whole, sentences_of
from stagedml.ml.wikidump import ARTICLES, Page, Wiki, WikiDump, is_disambiguation
from stagedml.ml.wikitext import GAP, UnparsableWikitext, prose_of

# About a tenth of a second's work.
_PIECE_CHARACTERS = 1 << 16
_PIECES_WORTH_A_PROCESS = 4
_NAMED = 20


class NoArticles(UsageError):
    """A dump holds no article with a sentence in it."""

    def __init__(self, path: str, pages: int) -> None:
        super().__init__(path, pages)
        self.path, self.pages = path, pages

    def __str__(self) -> str:
        return f"{self.path}: none of its {self.pages} pages is an article with sentences; is it the dump you meant?"


@dataclass
class Extracted:
    """What became of a dump.

    Attributes:
        pages: all of them. Each is either of another namespace, a redirect, a disambiguation, or one of `articles`.
        other_namespaces, redirects, disambiguations, articles: how many there are.
        empty_articles: how many articles are not in the text, since they have no sentence or cannot be parsed.
        unparsable: how many of those cannot be parsed.
        unparsable_titles: the first of those.
        unclosed_paragraphs: how many were left out because of markup that is not closed.
        fragments: how many pieces were left out because they are no whole sentences.
        formulas: how many sentences were left out because of a formula in them.
    """

    pages: int = 0
    other_namespaces: int = 0
    redirects: int = 0
    disambiguations: int = 0
    articles: int = 0
    empty_articles: int = 0
    unparsable: int = 0
    unparsable_titles: list[str] = field(default_factory=list)
    unclosed_paragraphs: int = 0
    fragments: int = 0
    formulas: int = 0

    def add(self, other: Extracted) -> None:
        """Count those of another part, too."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)
        del self.unparsable_titles[_NAMED:]


def extract(dump: Path, text: Path, *, workers: int = 1, progress: Progress = silent) -> Extracted:
    """Write the sentences of a dump's articles.

    Args:
        dump: MediaWiki XML, plain or as .bz2.
        text: the file to write, UTF-8.
        workers: processes that parse; no part of the result.
        progress: told now and then.

    Raises:
        UnreadableDump: it is no dump, is cut off or damaged.
        NoArticles: nothing is left of it.
    """
    found = Extracted()
    with WikiDump(dump) as pages, text.open("wb") as file:
        pieces = _pieces(pages.pages())
        results = map_in_order(functools.partial(_extract, pages.wiki), pieces, workers, worth=_PIECES_WORTH_A_PROCESS)
        with closing(results):
            for articles, part in results:
                for article in articles:
                    file.write((b"\n" if file.tell() else b"") + article)
                found.add(part)
                progress("extract", found.pages, None, "pages", f"{found.articles} articles")
    if found.articles == found.empty_articles:
        raise NoArticles(str(dump), found.pages)
    return found


def _pieces(pages: Iterator[Page]) -> Iterator[list[Page]]:
    """Pages, some at a time. Those whose text nobody looks at travel without it."""
    piece: list[Page] = []
    characters = 0
    for page in pages:
        if page.namespace != ARTICLES or page.is_redirect:
            page = Page(page.title, page.namespace, page.is_redirect, "")
        piece.append(page)
        characters += len(page.text) + 100
        if characters >= _PIECE_CHARACTERS:
            yield piece
            piece, characters = [], 0
    if piece:
        yield piece


def _extract(wiki: Wiki, piece: list[Page]) -> tuple[list[bytes], Extracted]:
    """The articles of some pages that have sentences, each a few lines."""
    articles, found = [], Extracted(pages=len(piece))
    for page in piece:
        if page.namespace != ARTICLES:
            found.other_namespaces += 1
        elif page.is_redirect:
            found.redirects += 1
        elif is_disambiguation(page):
            found.disambiguations += 1
        else:
            found.articles += 1
            sentences = _sentences(page, wiki, found)
            if sentences:
                articles.append("".join(f"{sentence}\n" for sentence in sentences).encode())
            else:
                found.empty_articles += 1
    return articles, found


def _sentences(page: Page, wiki: Wiki, found: Extracted) -> list[str]:
    """The sentences of an article; notes what is left out."""
    try:
        prose = prose_of(page.text, wiki.namespaces)
    except UnparsableWikitext:
        found.unparsable += 1
        found.unparsable_titles.append(page.title)
        return []
    found.unclosed_paragraphs += prose.dropped
    kept = []
    for paragraph in prose.paragraphs:
        for sentence in sentences_of(paragraph, wiki.language):
            if GAP in sentence:
                found.formulas += 1
            elif is_whole(sentence):
                kept.append(sentence)
            else:
                found.fragments += 1
    return kept
