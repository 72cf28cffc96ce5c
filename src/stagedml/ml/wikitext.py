"""The prose of a wiki page, without its markup.

mwparserfromhell parses; what is rendered is decided here. Rules this module keeps:

- Kept: paragraphs, with the labels of their links, and the contents of the few templates that are part of a sentence
  (`_INLINE`). Left out: all other templates, tables, references, files, categories, links to other languages, formulas,
  galleries, code, headings, and lists, whose items are rarely sentences.
- What a left-out template leaves behind is mended: empty brackets, doubled commas, a space before a full stop.
- A formula has no words, nor has a measure in codes that nobody knows; `GAP` marks the sentence that it was in.
- Markup that its author did not close cannot be told from text. A paragraph that still holds markup is left out and
  counted, never handed on.
- Lines that follow each other are one paragraph, as the wiki shows them.
"""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from stagedml.errors import BuildError
from stagedml.ml.wiki_measures import measure

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

# Private, too: where a paragraph ends; what makes its line an item of a list; where something was left out, and where
# that is missed but in brackets.
_BREAK, _ITEM, _HOLE, _UNSAID = "\ue000", "\ue001", "\ue002", "\ue004"

_LANGUAGE_LINK = re.compile(r"(?:[a-z]{2,3}(?:-[a-z-]+)?|simple):\S.*", re.DOTALL)

_PRIVATE = re.compile("[\ue000-\ue004]")
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
        words = _words_of(name)
        if colon:  # a function of the parser's own, such as {{formatnum:1000}}
            return words({"1": value})
        return words({str(given.name).strip(): self.render(given.value).strip() for given in node.params})

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


_Words = Callable[[Mapping[str, str]], str]
"""What a template says, of its parameters as text, by name; those without one are named 1, 2 and so on."""


def _part(name: str) -> _Words:
    return lambda given: given.get(name) or _HOLE


def _always(words: str) -> _Words:
    return lambda given: words


def _in_order(given: Mapping[str, str]) -> list[str]:
    """The parameters without a name."""
    return [given[str(number)] for number in itertools.takewhile(lambda n: str(n) in given, itertools.count(1))]


def _measure(given: Mapping[str, str]) -> str:
    return measure(_in_order(given)) or GAP


def _value(given: Mapping[str, str]) -> str:
    return f"{given.get('1') or _HOLE} {given.get('u') or given.get('ul') or ''}".rstrip()


def _fraction(given: Mapping[str, str]) -> str:
    match _in_order(given):
        case [over]:
            return f"1/{over}"
        case [over, under]:
            return f"{over}/{under}"
        case [whole, over, under]:
            return f"{whole} {over}/{under}"
        case _:
            return GAP


def _accidental(given: Mapping[str, str]) -> str:
    return {"flat": "♭", "b": "♭", "sharp": "♯", "#": "♯", "natural": "♮"}.get(given.get("1", ""), GAP)


def _ship(*prefix: str) -> _Words:
    return lambda given: " ".join((*prefix, *_in_order(given)[: 2 - len(prefix)]))


def _translated(given: Mapping[str, str]) -> str:
    return given.get("2") or given.get("1") or _HOLE


# Templates that stand for words of their sentence, by name in lower case. Each is among the most used ones of its wiki.
_INLINE: Mapping[str, _Words] = {
    **dict.fromkeys(("convert", "cvt"), _measure),
    **dict.fromkeys(("lang", "transl", "transliteration", "wikt-lang"), _part("2")),
    **dict.fromkeys(
        ("nowrap", "nobr", "nobreak", "s", "small", "smallcaps", "sc", "abbr", "nihongo", "em"), _part("1")
    ),
    **dict.fromkeys(("sup", "sub", "flag", "flagcountry", "ill", "interlanguage link", "pslink"), _part("1")),
    **dict.fromkeys(("нп", "нп1", "нп2", "нп3", "нп4", "нп5", "не переведено", "не переведено 5"), _translated),
    **dict.fromkeys(("circa", "c."), lambda given: " ".join(("c.", *_in_order(given)[:1]))),
    **dict.fromkeys(("ndash", "–", "spaced ndash", "snd"), _always(" – ")),
    **dict.fromkeys(("mdash", "—", "spaced mdash"), _always(" — ")),
    **dict.fromkeys(("mdashb", "mdashdash"), _always("—")),
    **dict.fromkeys(("nbsp", "space", "thinsp"), _always(" ")),
    **{"'": _always("'"), "'s": _always("'s"), "=": _always("="), "pi": _always("π")},
    **dict.fromkeys(("formatnum", "число", "num"), _part("1")),
    **dict.fromkeys(("frac", "fraction", "sfrac"), _fraction),
    **dict.fromkeys(("math", "mvar", "angbr", "ipa notation"), _part("1")),
    **dict.fromkeys(("chem", "chem2"), lambda given: "".join(_in_order(given))),
    **{prefix.lower(): _ship(prefix) for prefix in ("HMS", "RMS", "SS", "USS")},
    "val": _value,
    "music": _accidental,
    "ship": _ship(),
    "as of": lambda given: " ".join(("As of", *_in_order(given)[:1])),
}
_UNSAYABLE = re.compile(
    r"ipac?\b.*|coord|railgauge|track gauge|inflation|currentyear|age|birth[ -]date.*|death[ -]date.*|vr"
)
"""Templates that stand for something in their sentence, too, which is not text: only in brackets nobody misses it."""


def _words_of(name: str) -> _Words:
    """What the template of that name, in lower case, says."""
    if name in _INLINE:
        return _INLINE[name]
    if re.fullmatch("lang-[a-z-]+", name):
        return _part("1")
    return _always(_UNSAID if _UNSAYABLE.fullmatch(name) else _HOLE)


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
    text = re.sub(r"\([^()]*\)", lambda brackets: brackets[0].replace(_UNSAID, _HOLE), text).replace(_UNSAID, GAP)
    for pattern, replacement in _MENDS:
        text = pattern.sub(replacement, text)
    return text.strip()
