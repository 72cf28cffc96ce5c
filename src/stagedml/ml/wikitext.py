"""The prose of a wiki page, without its markup.

mwparserfromhell parses; what is rendered is decided here. Rules this module keeps:

- Kept: paragraphs, with the labels of their links, and the contents of the few templates that are part of a sentence
  (`_INLINE`). Left out: all other templates, tables, references, files, categories, links to other languages, formulas,
  galleries, code, headings, and lists, whose items are rarely sentences.
- What a left-out template leaves behind is mended: empty brackets, doubled commas, a space before a full stop.
- A formula has no words; `GAP` marks the sentence that it was in.
- Markup that its author did not close cannot be told from text. A paragraph that still holds markup is left out and
  counted, never handed on.
- Lines that follow each other are one paragraph, as the wiki shows them.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stagedml.errors import BuildError

GAP = "\ue003"
"""Stands in a paragraph where something was that cannot be said in words: of a private area of Unicode."""

FILES_AND_CATEGORIES = frozenset({"file", "image", "media", "category", "файл", "изображение", "медиа", "категория"})
"""Namespaces, in lower case, of links that are no part of a sentence; dumps name those of their wiki beside them."""

# Elements whose contents are no prose, whoever wrote them.
_DROPPED = frozenset({
    "gallery", "graph", "imagemap", "indicator", "inputbox", "mapframe", "maplink", "pre", "ref", "references", "score",
    "section", "source", "syntaxhighlight", "table", "templatedata", "timeline",
})  # fmt: skip
_FORMULAS = frozenset({"ce", "chem", "hiero", "math"})
_BLOCKS = frozenset({"blockquote", "center", "div", "dl", "ol", "p", "poem", "ul"})

# Private, too: where a paragraph ends; what makes its line an item of a list; where something was left out.
_BREAK, _ITEM, _HOLE = "\ue000", "\ue001", "\ue002"

_LANGUAGE_LINK = re.compile(r"(?:[a-z]{2,3}(?:-[a-z-]+)?|simple):\S.*", re.DOTALL)

_PRIVATE = re.compile("[\ue000-\ue003]")
_MAGIC_WORD = re.compile(r"__[A-ZА-ЯЁ]+__")
_QUOTES = re.compile(r"'{2,}")
_URL = re.compile(r"(?:https?|ftp)://\S+")

# What only markup has: braces, brackets and bars in twos, tags, attributes of tables and files.
_MARKUP = re.compile(
    r"""\{\||\|\}|\{\{|\}\}|\[\[|\]\]|</?[a-zA-Z][^<>]*>|<!--|-->|\|\||={2,}|^[|!]|\|[-+]|https?://"""
    r"""|\b(?:align|valign|bgcolor|style|class|colspan|rowspan|width)\s*=|\|\s*(?:thumb|right|left|мини)\b"""
)


@dataclass(frozen=True)
class Prose:
    """What is left of a page.

    Attributes:
        paragraphs: in order, each one line, none of them empty.
        dropped: how many paragraphs are left out because markup in them was not closed.
    """

    paragraphs: tuple[str, ...]
    dropped: int


class UnparsableWikitext(BuildError):
    """The parser gave up on a page."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"a page cannot be parsed as wikitext: {self.problem}"


def prose_of(wikitext: str, namespaces: Collection[str] = ()) -> Prose:
    """Render a page.

    Args:
        wikitext: of the page.
        namespaces: the names, in lower case, of the wiki's namespaces other than that of articles.

    Raises:
        UnparsableWikitext: the parser cannot cope with it.
    """
    import mwparserfromhell
    from mwparserfromhell.parser import ParserError

    try:
        parsed = mwparserfromhell.parse(_PRIVATE.sub("", wikitext), skip_style_tags=True)
        text = _Renderer(FILES_AND_CATEGORIES.union(namespaces)).render(parsed)
    except (ParserError, RecursionError) as error:
        raise UnparsableWikitext(str(error)) from error
    text = _URL.sub(_HOLE, _MAGIC_WORD.sub("", _QUOTES.sub("", text)))
    kept, dropped = [], 0
    text = "\n".join(_BREAK if _ITEM in line else line for line in text.split("\n"))
    for block in re.split(rf"\n\s*\n|{_BREAK}", text):
        paragraph = _mended(html.unescape(block.replace("\n", " ")))  # some authors escape twice
        if _MARKUP.search(paragraph):
            dropped += 1
        elif any(character.isalpha() for character in paragraph):
            kept.append(paragraph)
    return Prose(tuple(kept), dropped)


class _Renderer:
    """Walks over the nodes of a parsed page."""

    def __init__(self, namespaces: Collection[str]) -> None:
        self._namespaces = namespaces

    def render(self, code: Any) -> str:
        """The text of a piece of parsed wikitext."""
        return "".join(map(self._node, code.nodes))

    def _node(self, node: Any) -> str:
        render: Callable[[Any], str] | None = getattr(self, f"_{type(node).__name__.lower()}", None)
        return render(node) if render else ""

    def _text(self, node: Any) -> str:
        return str(node.value)

    def _htmlentity(self, node: Any) -> str:
        return html.unescape(str(node))

    def _heading(self, node: Any) -> str:
        return _BREAK

    def _template(self, node: Any) -> str:
        name, colon, value = str(node.name).strip().lower().replace("_", " ").partition(":")
        inline = _INLINE.get(name)
        if inline is None:
            return _HOLE
        if colon:  # a function of the parser's own, such as {{formatnum:1000}}
            return inline([value])
        given = [self.render(parameter.value).strip() for parameter in node.params if not parameter.showkey]
        return inline(given)

    def _wikilink(self, node: Any) -> str:
        title = str(node.title).strip()
        space = title.partition(":")[0].strip().lower().replace("_", " ")
        if ":" in title and (space in self._namespaces or _LANGUAGE_LINK.fullmatch(title)):
            return ""
        return title.lstrip(":").replace("_", " ") if node.text is None else self.render(node.text)

    def _externallink(self, node: Any) -> str:
        return _HOLE if node.title is None else self.render(node.title)

    def _tag(self, node: Any) -> str:
        name = str(node.tag).strip().lower()
        if name in _DROPPED:
            return _BREAK if name == "table" else _HOLE
        if name in _FORMULAS:
            return GAP
        if name in ("li", "dt", "dd"):
            return _ITEM
        if name == "hr":
            return _BREAK
        if name == "br":
            return " "
        contents = self.render(node.contents) if node.contents is not None else ""
        return f"{_BREAK}{contents}{_BREAK}" if name in _BLOCKS else contents


def _part(number: int) -> Callable[[Sequence[str]], str]:
    return lambda given: given[number] if len(given) > number else _HOLE


def _measure(given: Sequence[str]) -> str:
    return " ".join(given[:2]) if given else _HOLE


_LANGUAGES = "ar de el en es fr grc he it ja la pl pt ru uk zh"

# Templates that stand for words of their sentence, by name in lower case, and what they say, of their unnamed
# parameters. Each is among the most used ones of its wiki.
_INLINE: Mapping[str, Callable[[Sequence[str]], str]] = {
    **dict.fromkeys(("convert", "cvt"), _measure),
    **dict.fromkeys(("lang", "transl", "transliteration", "wikt-lang"), _part(1)),
    **dict.fromkeys((f"lang-{code}" for code in _LANGUAGES.split()), _part(0)),
    **dict.fromkeys(("nowrap", "nobr", "nobreak", "s", "smallcaps", "abbr", "nihongo"), _part(0)),
    **dict.fromkeys(("circa", "c."), lambda given: " ".join(("c.", *given[:1]))),
    **dict.fromkeys(("ndash", "–", "spaced ndash", "snd"), lambda given: " – "),
    **dict.fromkeys(("mdash", "—", "spaced mdash"), lambda given: " — "),
    **dict.fromkeys(("formatnum", "число", "num", "val"), _part(0)),
    **dict.fromkeys(("math", "mvar", "angbr", "ipa notation"), _part(0)),
    **dict.fromkeys(("chem", "chem2"), "".join),
    "as of": lambda given: " ".join(("As of", *given[:1])),
}

# -- mending ---------------------------------------------------------------------------------------------------------

_MENDS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # Brackets that held nothing but what was left out, and commas in brackets beside it.
        (rf"\(\s*{_HOLE}[\s,;:{_HOLE}]*", "("),
        (rf"[\s,;:{_HOLE}]*{_HOLE}\s*\)", ")"),
        (_HOLE, ""),
        (r"[\u00ad\u200b\u200e\u200f\u2060\ufeff]", ""),  # hyphens and marks that nobody sees
        (r"\s+", " "),
        (r"\(\s*[,;:]?\s*", "("),
        (r"\s*[,;:]?\s*\)", ")"),
        (r"\s?\(\)", ""),
        (r"\s?\[\s*\]", ""),
        (r"\s+([.,;:!?])(?=\s|$)", r"\1"),
        (r"([,;:])(?:\s*[,;:])+", r"\1"),
        (r"[,;:]+\.", "."),
    )
)


def _mended(text: str) -> str:
    for pattern, replacement in _MENDS:
        text = pattern.sub(replacement, text)
    return text.strip()
