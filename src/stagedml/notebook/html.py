"""Writing HTML: text is escaped unless it is markup, and nothing grows without bound.

What is written needs nothing from elsewhere and runs nothing. Colours are those around it, thinned, so that it reads on
a light and on a dark background; without its style it still is a page of headings and tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import TypeVar

T = TypeVar("T")

LONGEST_TEXT = 300
MOST_ROWS = 40
_NO_CHARACTER = "\N{REPLACEMENT CHARACTER}"

# The class stands twice, to weigh more than what the page says of all tables.
_STYLE = """
.stagedml.stagedml { line-height: 1.45; overflow-x: auto; }
.stagedml.stagedml table { border-collapse: collapse; border: 0; color: inherit; font-size: inherit;
    margin: .2em 0 .6em 0; table-layout: auto; }
.stagedml.stagedml tr, .stagedml.stagedml tbody tr:nth-child(n) { background: none; border: 0; }
.stagedml.stagedml th, .stagedml.stagedml td { background: none; border: 0; color: inherit; text-align: left;
    border-bottom: 1px solid rgba(128, 128, 128, .25); max-width: 44em; overflow-wrap: anywhere;
    font-variant-numeric: tabular-nums; padding: .12em 1.4em .12em 0; vertical-align: top; white-space: pre-wrap; }
.stagedml.stagedml th { font-weight: 600; opacity: .7; white-space: nowrap; }
.stagedml.stagedml td:first-child { white-space: nowrap; }
.stagedml.stagedml code { background: none; color: inherit; font-size: .92em; padding: 0; }
.stagedml.stagedml pre { background: none; color: inherit; margin: .2em 0 .6em 0; overflow-x: auto; padding: 0; }
.stagedml.stagedml .aside { opacity: .65; }
.stagedml.stagedml .title { margin-top: .5em; opacity: .65; }
.stagedml.stagedml summary { cursor: pointer; opacity: .8; }
.stagedml.stagedml progress { height: .8em; vertical-align: middle; width: 14em; }
.stagedml.stagedml figure { display: inline-block; margin: .2em 1.6em .4em 0; }
.stagedml.stagedml figcaption { font-size: .9em; opacity: .7; }
"""


class Markup(str):
    """HTML, which is not escaped any more. Joined or cut it is a `str` again, and would be escaped."""

    __slots__ = ()


def text(value: object, most: int = LONGEST_TEXT) -> Markup:
    """Anything as HTML: markup as it is, other text escaped, and cut where it is longer than `most` characters."""
    if isinstance(value, Markup):
        return value
    shown = cut(str(value), most).encode("utf-8", "backslashreplace").decode()  # names of files may be no proper text
    return Markup(escape("".join(char if char.isprintable() or char in "\n\t" else _NO_CHARACTER for char in shown)))


def cut(value: str, most: int = LONGEST_TEXT) -> str:
    """The beginning of a text that is too long, and how much more there is."""
    return value if len(value) <= most else f"{value[:most]}... ({len(value) - most:,} characters more)"


def element(name: str, *inside: object, **attributes: str) -> Markup:
    """An element with what is inside; attributes are escaped, `class_` is written `class`."""
    given = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{given}>{joined(inside)}</{name}>")


def joined(parts: Iterable[object]) -> Markup:
    """Pieces, one after the other."""
    return Markup("".join(map(text, parts)))


def page(*inside: object) -> Markup:
    """A whole output, with its style."""
    return element("div", Markup(f"<style>{_STYLE}</style>"), *inside, class_="stagedml")


def aside(value: object) -> Markup:
    """Text of less weight."""
    return element("span", value, class_="aside")


def code(value: object) -> Markup:
    """A reference, a path, or something else to be copied."""
    return element("code", value)


def table(head: Sequence[str], items: Sequence[T], row_of: Callable[[T], Sequence[object]]) -> Markup:
    """A table of the first items, and how many more there are; nothing where there are none.

    Args:
        head: titles of the columns; no head where all are empty.
        items: one for each row.
        row_of: its cells; numbers are written as measures.
    """
    if not items:
        return Markup()
    rows = [element("tr", joined(map(_cell, row_of(item)))) for item in items[:MOST_ROWS]]
    if len(items) > MOST_ROWS:
        more = aside(f"... and {len(items) - MOST_ROWS:,} more")
        rows.append(element("tr", element("td", more, colspan=str(len(head)))))
    titles = element("thead", element("tr", joined(element("th", title) for title in head))) if any(head) else ""
    return element("table", titles, element("tbody", joined(rows)))


def _cell(value: object) -> Markup:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return element("td", number(value))
    return element("td", value)


def number(value: float) -> str:
    """A measure as one reads it: a few digits."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def section(title: str, content: Markup, *, folded: bool = False) -> Markup:
    """Something with a title, which may be folded away; nothing where there is nothing."""
    if not content:
        return content
    if folded:
        return element("details", element("summary", title), content)
    return joined((element("div", title, class_="title"), content))
