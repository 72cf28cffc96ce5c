"""Writes the pages of docs/reference/ that say what the code says: `make reference`.

tests/test_docs.py holds the pages to what this makes.
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stagedml.cli.arguments import parser
from stagedml.cli.schema import schema, views
from stagedml.inspection import selectors
from stagedml.settings import VARIABLES

FOLDER = Path(__file__).resolve().parent / "reference"
_COMMON = ("--root", "--json", "--verbose", "--help")
_NOTE = "<!-- Made by docs/make_reference.py of what the code says; `make reference` renews it. -->"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plain(text: object) -> str:
    """A text in which no letter means anything to Markdown, but for what stands between backticks."""
    parts = str(text or "").split("`")
    return "`".join(
        re.sub(r"([*_<~])", r"\\\1", part) if number % 2 == 0 else part for number, part in enumerate(parts)
    )


def page(title: str, *parts: str) -> str:
    """The text of a page."""
    return "\n\n".join([f"# {title}", _NOTE, *(part for part in parts if part)]) + "\n"


# -- the command line -------------------------------------------------------------------------------------------------


def verbs_of(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    """The parsers of a parser's verbs; none where it has none."""
    found = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return found[0].choices if found else {}


def own_actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The arguments that not all verbs have."""
    return [
        action
        for action in parser._actions
        if not isinstance(action, argparse._SubParsersAction) and not set(_COMMON) & set(action.option_strings)
    ]


def written(action: argparse.Action) -> str:
    """An argument as it is written."""
    if not action.option_strings:
        name = str(action.metavar or "|".join(action.choices or ()) or action.dest.upper())
        return {"*": f"[{name}...]", "+": f"{name}...", "?": f"[{name}]"}.get(str(action.nargs), name)
    value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
    return ", ".join(f"{option}{value}" for option in action.option_strings)


def usage(name: str, parser: argparse.ArgumentParser) -> str:
    """How a verb is called."""
    actions = own_actions(parser)
    words = [written(action) for action in actions if not action.option_strings]
    required = [written(action) for action in actions if action.option_strings and action.required]
    optional = ["[OPTION...]"] if any(action.option_strings and not action.required for action in actions) else []
    return " ".join(["stagedml", name, *required, *optional, *words])


def arguments(parser: argparse.ArgumentParser) -> str:
    """A table of a verb's own arguments."""
    rows = [(f"`{written(action)}`", plain(action.help)) for action in own_actions(parser)]
    return table(("argument", ""), rows) if rows else ""


def verb_parts(name: str, parser: argparse.ArgumentParser, level: str = "##") -> Iterator[str]:
    """What is said of a verb, and of the verbs below it."""
    yield f"{level} {name}"
    yield f"```text\n{usage(name, parser)}\n```"
    yield plain(parser.description)
    yield arguments(parser)
    if name in views():
        yield f"`--json` prints {type_of(schema(name), 'json.md')}."
    for below, sub in verbs_of(parser).items():
        yield from verb_parts(f"{name} {below}", sub, level + "#")


def command_line() -> str:
    """The page about the command line."""
    top: Any = parser()
    verbs = verbs_of(top)
    common = [action for action in verbs["ls"]._actions if set(_COMMON) & set(action.option_strings)]
    rows = [
        (group, ", ".join(f"[{name}](#{name})" for name in names))
        for group, names in ((title.rstrip("."), listed) for title, listed in top.verbs.listed.items())
    ]
    return page(
        "Command line",
        "`stagedml VERB --help` tells the same. Results go to standard output, progress and errors to standard error. "
        "REF is one of many ways to [name a realization](selectors.md). STAGE is a name of the catalogue, the start of "
        "one, or MODULE:FUNCTION, whose module is found through `PYTHONPATH`. How a command ended is told by its "
        "[exit code](exit-codes.md).",
        table(("to", "verbs"), rows),
        "All verbs take these options, `--root` and `-v` also before the verb, but for `--json`, which those take that "
        "say so.",
        table(("option", ""), [(f"`{written(action)}`", plain(action.help)) for action in common]),
        *(part for name, sub in verbs.items() for part in verb_parts(name, sub)),
    )


def exit_codes() -> str:
    """The page about exit codes."""
    listed = parser().format_help().partition("\nExit codes\n")[2]
    codes = [code.strip() for line in listed.splitlines() for code in re.split(r", (?=\d)", line)]
    return page(
        "Exit codes",
        table(("code", ""), [code.split(maxsplit=1) for code in codes]),
        "A failed build ends like its cause: a builder that could not fetch something ends with 3. `stagedml shell` "
        "ends as the shell does that it opened. `check`, `verify` and `doctor` end with 1 if they "
        "found something wrong, and every verb does if REF stands for nothing in the store. A REF that stands for "
        "several, or STAGE that is none, is wrong usage.",
    )


# -- JSON -------------------------------------------------------------------------------------------------------------


def type_of(schema: Mapping[str, Any], page: str = "") -> str:
    """What a value is, in a few words, with links to what the page tells of it."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f"[{name}]({page}#{name.lower()})"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        kinds = [type_of(option, page) for option in schema["anyOf"]]
        return " or ".join(dict.fromkeys(kind for kind in kinds if kind != "`NaN`, `Infinity`, `-Infinity`"))
    if schema.get("type") == "array":
        if "prefixItems" in schema:
            return f"array: {', '.join(type_of(item, page) for item in schema['prefixItems'])}"
        return f"array of {type_of(schema['items'], page)}" if schema.get("items") else "array"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        return f"object of {type_of(values, page)}" if values else "object"
    return str(schema.get("type", "anything"))


def described(text: str) -> tuple[str, dict[str, str]]:
    """What a docstring says of a class, and of its attributes."""
    said, _, listed = inspect.cleandoc(text).partition("\nAttributes:\n")
    found: dict[str, str] = {}
    for match in re.finditer(r"^ {4}(\w[\w, ]*): (.+(?:\n {8}.+)*)", listed, re.MULTILINE):
        found |= dict.fromkeys(match[1].split(", "), plain(" ".join(match[2].split())))
    return plain(" ".join(said.split("\n\n")[0].split())), found


def json_page() -> str:
    """The page about what `--json` prints."""
    definitions: dict[str, Any] = {}
    for verb in views():
        definitions |= schema(verb)["$defs"]
    parts = []
    for name, definition in sorted(definitions.items()):
        said, meanings = described(definition.get("description", ""))
        parts += [f"## {name}", said]
        if "enum" in definition:
            parts.append(f"One of {type_of(definition)}.")
        else:
            fields = definition.get("properties", {}).items()
            rows = [(f"`{field}`", type_of(kind), meanings.get(field, "")) for field, kind in fields]
            parts.append(table(("field", "", ""), rows))
    return page(
        "JSON",
        "What verbs print with `--json`. `stagedml schema VERB` prints the JSON schema of one. All fields are always "
        "there. Numbers that JSON has not are the texts `NaN`, `Infinity` and `-Infinity`.",
        table(("verb", "prints"), [(f"`{verb}`", type_of(schema(verb))) for verb in views()]),
        *parts,
    )


# -- the rest ---------------------------------------------------------------------------------------------------------


def environment() -> str:
    """The page about environment variables."""
    rows = [(", ".join(f"`{name}`" for name in names), plain(told)) for names, told in VARIABLES.values()]
    return page(
        "Environment variables",
        table(("variable", "what it is for"), rows),
        "Where a row names several, the first one that is set counts. One that is empty counts as not set; "
        "`config` and `doctor` say where there is one. An argument, such as `--root`, counts before any, and is never "
        "empty. `stagedml config` prints what holds here, and where each comes from.",
    )


def selectors_page() -> str:
    """The page about references as a person writes them."""
    rules = inspect.cleandoc(str(selectors.__doc__)).partition("\n\n")[2]
    return page("References as you write them", "What REF may be, on the command line.", rules)


#: The pages, by their names in `reference/`.
PAGES: Mapping[str, Callable[[], str]] = {
    "command-line.md": command_line,
    "environment.md": environment,
    "exit-codes.md": exit_codes,
    "json.md": json_page,
    "selectors.md": selectors_page,
}


if __name__ == "__main__":
    for name, make in PAGES.items():
        (FOLDER / name).write_text(make(), encoding="utf-8")
