"""The arguments of every verb."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from stagedml.cli import output
from stagedml.core import words

#: What stands for a realization; `inspection.selectors` has all of it.
REF = (
    "an rref, the start of its hash, a path or link into the store, or a stage's name, or the start of it, for the "
    "latest; NAME~1 for the one before, NAME@best, NAME@best:METRIC, NAME@lowest:METRIC"
)
#: Where a verb that takes any number of words has them.
_WORDS = ("arguments", "refs", "command_line")
_LIKE_AN_OPTION = re.compile(r"-(?![\d.])")  # a negative number is none
_HELP = "`stagedml help VERB` tells more of one, `stagedml completion SHELL` completes them."
_EXIT_CODES = """Exit codes
  0   done
  1   a build or the store failed, or something was found wrong or not found
  2   wrong usage
  3   something could not be fetched
  130 interrupted, 143 terminated; the same command goes on from there"""


def parser(verb: str = "") -> Top:
    """The command line of `stagedml`; of a verb's own arguments no more than that and its like, if it is one."""
    top = Top(allow_abbrev=False, prog="stagedml")
    for group, names in _GROUPS.items():
        if verb in names or verb not in VERBS:
            top.verbs.title = (group.__doc__ or "").rstrip(".")
            group(top.verbs)
    return top


class _Help(argparse.HelpFormatter):
    """A formatter that knows how wide it is: argparse would import `shutil` to ask, at each start of the command."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=output.columns() - 2)


class _Parser(argparse.ArgumentParser):
    """A parser that repeats what it does not understand as a terminal can show it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=_Help, **options)

    def error(self, message: str) -> NoReturn:
        super().error(words.brief(message))


class Top(_Parser):
    """The parser of all; its help lists the verbs by what they are for."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        _add_common(self)
        self.set_defaults(root=None, json=False, verbose=False)
        package = sys.modules["stagedml"]  # which is above this layer
        self.add_argument(
            "--version", action="version", version=f"stagedml {package.__version__}", help="print the version"
        )
        self.verbs = _Verbs(self)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As of argparse, but words may follow options; a parameter given like an option is told how it is written."""
        found, extra = self.parse_known_args(args, namespace)
        if extra and not _taken(found, extra):
            told = f"unrecognized arguments: {' '.join(extra)}"
            meant = _assignments(extra) if hasattr(found, "arguments") else ""
            self.error(f"{told}; a parameter of a stage is written {meant}" if meant else told)
        return found

    def format_summary(self) -> str:
        """The verbs alone, for who gave none."""
        rows = [(f"  {title}", ", ".join(verbs)) for title, verbs in self.verbs.listed.items()]
        lines = [self.format_usage(), *words.table(("", ""), rows)[1:], "", _HELP]
        return "\n".join(lines)

    def format_help(self) -> str:
        parts = [self.format_usage(), "Datasets, preprocessors and models as content-addressed stages."]
        for title, verbs in self.verbs.listed.items():
            parts.append("\n".join([title, *(f"  {verb:<12}{text}" for verb, text in verbs.items())]))
        parts.append(f"--root ROOT and -v may stand before VERB, too. {_HELP}")
        parts.append(_EXIT_CODES)
        return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _taken(found: argparse.Namespace, extra: Sequence[str]) -> bool:
    """Give a verb that takes any number of words those that argparse left over, since they follow an option."""
    name = next((name for name in _WORDS if hasattr(found, name)), None)
    before, after = (extra[: extra.index("--")], extra[extra.index("--") + 1 :]) if "--" in extra else (extra, [])
    if name is None or any(map(_LIKE_AN_OPTION.match, before)):
        return False
    setattr(found, name, [*getattr(found, name), *before, *after])
    return True


def _assignments(extra: Sequence[str]) -> str:
    """The NAME=VALUE that may be meant by `--NAME VALUE` and `--NAME=VALUE`."""
    found = []
    for place, text in enumerate(extra):
        if text.startswith("--"):
            name, equals, value = text[2:].partition("=")
            after = "".join(extra[place + 1 : place + 2])
            found.append(f"{name.replace('-', '_')}={value if equals else after if after[:2] != '--' else ''}")
    return " ".join(one for one in found if not one.endswith("="))


def _common(*, json: bool = True) -> _Parser:
    """The arguments that all verbs have, before the verb or after it; `--json` only those with a view."""
    common = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    _add_common(common)
    if json:
        common.add_argument("--json", action="store_true", help="print JSON, of the form that `schema VERB` tells")
    return common


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", help="the folder that holds the store (default: STAGEDML_ROOT or ~/_pylightnix)")
    parser.add_argument("-v", "--verbose", action="store_true", help="log more; show tracebacks")


class _Verbs:
    """The verbs of a command line, each with the arguments that all have."""

    def __init__(self, top: argparse.ArgumentParser) -> None:
        self._verbs = top.add_subparsers(dest="verb", metavar="VERB", prog="stagedml", parser_class=_Parser)
        self._common = {json: _common(json=json) for json in (True, False)}
        self.title = ""
        self.listed: dict[str, dict[str, str]] = {}

    def add(self, verb: str, text: str, more: str = "", *, json: bool = True) -> argparse.ArgumentParser:
        """A verb; `text` says what it does in a list of verbs, and `more` follows where there is room for it."""
        self.listed.setdefault(self.title, {})[verb] = text
        description = f"{text[0].upper()}{text[1:]}. {more}".strip()
        return self._verbs.add_parser(
            verb, parents=[self._common[json]], allow_abbrev=False, help=text, description=description
        )


def _realizing(verbs: _Verbs) -> None:
    """Build, or say what would be built."""
    for verb, text in (
        ("realize", "make sure that a stage is in the store, building what is not"),
        ("plan", "say what realize would do, and why"),
    ):
        sub = verbs.add(verb, text)
        sub.add_argument("stage", metavar="STAGE", help="a name of the catalogue, or enough of it; or MODULE:FUNCTION")
        sub.add_argument(
            "arguments",
            nargs="*",
            default=[],
            metavar="ARGUMENT",
            help="VALUE or NAME=VALUE; NAME may be a parameter of the stage that comes out, STAGE.NAME of one inside, "
            "by the name that plan shows",
        )
        sub.add_argument("--force", action="store_true", help="rebuild the target even if it is there")
        sub.add_argument("--instances", type=int, metavar="N", help="build N instances of the target")
        sub.add_argument(
            "--exec",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            dest="exec_values",
            help="how to run: a parameter that is in no hash; STAGE.NAME is that of one stage",
        )
        if verb == "plan":
            continue
        sub.add_argument("--dry-run", action="store_true", help="as the verb plan")
        sub.add_argument("--offline", action="store_true", default=None, help="never try the network")
        sub.add_argument("--out-link", metavar="NAME", help="keep the result by a link, as of roots add")
        sub.add_argument(
            "-j", "--jobs", type=int, metavar="N", help="build up to N stages at once, each in a process of its own"
        )
        sub.add_argument(
            "--keep-going", action="store_true", help="after a failure, go on with what does not rest on it"
        )
    sub = verbs.add(
        "check",
        "build a stage again, apart, and say whether the result is the same",
        "It is realized first if need be. The exit code is 1 if it is different. The verdict is kept, as show tells.",
    )
    sub.add_argument("stage", metavar="STAGE", help="as of realize")
    sub.add_argument("arguments", nargs="*", default=[], metavar="ARGUMENT", help="as of realize")
    sub.add_argument("--times", type=int, default=1, metavar="N", help="build it N times (default 1)")
    sub.add_argument("--rtol", type=float, metavar="X", help="relative tolerance of floating point numbers")
    sub.add_argument("--atol", type=float, metavar="X", help="absolute tolerance of floating point numbers")
    sub.add_argument("--offline", action="store_true", default=None, help="never try the network")
    verbs.add(
        "retry",
        "run again the last realize that did not end well",
        "What was finished then is reused, and trainings go on from their checkpoints.",
        json=False,
    )


def _looking(verbs: _Verbs) -> None:
    """Look at what there is."""
    sub = verbs.add("stages", "list the catalogue, or tell what one stage takes")
    sub.add_argument("stage", nargs="?", metavar="STAGE", help="as of realize; default all")
    sub = verbs.add(
        "ls", "list realizations", "SIZE is that of what the builder wrote, without its logs; du counts all."
    )
    sub.add_argument("name", nargs="?", help="only stages whose name contains this, or matches it, as 'fit-*' does")
    sub.add_argument(
        "--sort",
        default="time",
        metavar="BY",
        help="time (default), size, or a number in metrics.json, the highest last",
    )
    sub = verbs.add("show", "show one realization")
    sub.add_argument("ref", metavar="REF", help=REF)
    sub = verbs.add("path", "print a realization's folder, or the place of a file in it")
    sub.add_argument("ref", metavar="REF", help="as of show")
    sub.add_argument("file", nargs="?", metavar="FILE", help="a path in it, or a field of its config that is one")
    sub = verbs.add("cat", "print a file of a realization", json=False)
    sub.add_argument("ref", metavar="REF", help="as of show")
    sub.add_argument("file", metavar="FILE", help="as of path")
    sub = verbs.add(
        "log",
        "say what a build printed, or what happened in the last run",
        "Of a stage whose last build failed or still runs, that build is meant. Without --jobs, `realize` builds in "
        "the session's process, and what is printed there is not kept.",
    )
    sub.add_argument("ref", nargs="?", metavar="REF", help="as of show; default the last run")
    sub.add_argument(
        "-f",
        "--follow",
        action="store_true",
        help="go on while it runs; of REF, its newest build, which a run that goes on may have yet to begin",
    )
    sub.add_argument("--runs", action="store_true", help="list the runs there were, or those that were to build REF")
    sub = verbs.add(
        "shell",
        "open a shell in a realization's folder, or run a command there",
        "Of a stage whose last build failed, in what its builder left. The exit code is the shell's.",
        json=False,
    )
    sub.add_argument("ref", metavar="REF", help="as of show")
    sub.add_argument(
        "command_line", nargs="*", default=[], metavar="COMMAND", help="instead of the shell; put -- before it"
    )
    sub = verbs.add(
        "verify",
        "read what is in the store and say what is damaged",
        "The exit code is 1 if anything is.",
    )
    sub.add_argument("refs", nargs="*", metavar="REF", help="as of show; default everything")
    sub.add_argument("--repair", action="store_true", help="move what is damaged to quarantine, to be built anew")


def _asking(verbs: _Verbs) -> None:
    """Ask why, and what differs."""
    sub = verbs.add(
        "why",
        "say why a realization was built, or why a stage would be",
        "Of a reference, or the name of a stage as ls shows it, it tells the past; of a stage and its arguments, as "
        "of realize, what would happen. A line for each event, causes first.",
    )
    sub.add_argument("what", metavar="REF|STAGE", help="as of show, or as of realize")
    sub.add_argument("arguments", nargs="*", default=[], metavar="ARGUMENT", help="as of realize")
    sub = verbs.add(
        "diff", "say what differs between two realizations", "Config, code, packages, inputs, metrics, files."
    )
    sub.add_argument("old", metavar="OLD", help="as of show")
    sub.add_argument("new", metavar="NEW", help="as of show")
    sub = verbs.add(
        "bless",
        "declare that a stage makes what an older realization holds",
        "The next realize adopts it, where its inputs hold the same contents, and why always says so.",
    )
    sub.add_argument("old", metavar="REF", help="as of show, or a dref")
    sub.add_argument("stage", metavar="STAGE", help="as of realize")
    sub.add_argument("arguments", nargs="*", default=[], metavar="ARGUMENT", help="as of realize")
    sub.add_argument("--reason", required=True, metavar="TEXT", help="what makes you sure")


def _drawing(verbs: _Verbs) -> None:
    """Draw."""
    sub = verbs.add(
        "tree",
        "show what a realization rests on, or what a stage would",
        "Its inputs stand below it, each with its own below; of a stage and its arguments, with what realize would do.",
    )
    sub.add_argument("what", metavar="REF|STAGE", help="as of show, or as of realize")
    sub.add_argument("arguments", nargs="*", default=[], metavar="ARGUMENT", help="as of realize")
    sub.add_argument("--depth", type=int, metavar="N", help="show N levels of inputs")
    sub.add_argument("--svg", metavar="FILE", help="draw it to a file instead: .svg, .png, or .dot for Graphviz")
    sub.add_argument("--force", action="store_true", help="replace FILE if it is there")
    sub = verbs.add(
        "plot",
        "draw learning curves, or how results compare",
        "Without -o, SVG goes to standard output; on a terminal, to a file in the working directory. Prints its path.",
    )
    sub.add_argument("refs", nargs="+", metavar="REF", help="as of show; or a log's folder, with a / in it")
    sub.add_argument("-o", "--output", metavar="FILE", help="where to: .svg, .png or .pdf")
    sub.add_argument("--force", action="store_true", help="replace FILE if it is there")
    sub.add_argument("--metric", metavar="METRIC", help="one curve, such as loss; of results, a number in metrics.json")
    sub.add_argument("--results", action="store_true", help="compare what is in metrics.json, by bars")
    sub.add_argument("--by", metavar="PARAMETER", help="results over a parameter that is a number")
    sub = verbs.add(
        "tensorboard",
        "serve TensorBoard on the logs of realizations and of builds that run",
        "Prints where; Ctrl-C ends it, and that is no failure. Of a stage that is named, what is built later comes in.",
    )
    sub.add_argument(
        "refs",
        nargs="*",
        metavar="REF",
        help="as of show; a stage's name, also with * and ?, for all of it; a log's folder, with a / in it",
    )
    sub.add_argument("--port", type=int, metavar="N", help="the port to serve on (default: one that is free)")
    sub.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="the address to serve on (default: 127.0.0.1, this machine alone)",
    )
    sub.add_argument("--once", action="store_true", help="show what is there now, and nothing that comes later")


def _collection(verbs: _Verbs) -> None:
    """Keep and collect."""
    sub = verbs.add(
        "gc",
        "say what nothing keeps; with --delete, delete it",
        "Kept is, with all that it rests on, what links below the experiments folder lead to, what --keep and "
        "STAGEDML_KEEP name, what running processes use, and what is young. TIME is a number of seconds, or "
        "15m, 24h, 30d, 2w.",
    )
    sub.add_argument("--delete", action="store_true", help="delete it")
    sub.add_argument("--keep", action="append", default=[], metavar="STAGE", help="a reference, or 'STAGE ARGUMENT...'")
    sub.add_argument("--grace", metavar="TIME", help="keep what was published less than so long ago (default 24h)")
    sub.add_argument("--older-than", metavar="TIME", help="delete only what was published longer ago")
    sub.add_argument("--max-size", metavar="SIZE", help="keep the latest of the rest, up to this size of all: 20G")
    sub.add_argument("--keep-latest", type=int, default=0, metavar="N", help="of each derivation, keep the N latest")
    sub.add_argument("--keep-best", metavar="METRIC[:N]", help="of each derivation, keep the N best (default 1)")
    sub.add_argument("--scratch-age", metavar="TIME", help="sweep what failed builds left after (default 3d)")
    sub.add_argument(
        "--resumable-age",
        metavar="TIME",
        help="sweep unfinished downloads, and checkpoints of failed builds, after (default 14d)",
    )
    sub.add_argument("--quarantine-age", metavar="TIME", help="sweep what was damaged after (default 30d)")

    sub = verbs.add("roots", "list, add and remove links that keep realizations")
    actions = sub.add_subparsers(dest="action", metavar="ACTION")
    again = [_common()]
    action = actions.add_parser("add", parents=again, help="link to a realization", description="Link to it.")
    action.add_argument("name", help="the link's path below the experiments folder, or /PATH or ./PATH anywhere")
    action.add_argument("ref", metavar="REF", help="as of show")
    action = actions.add_parser("rm", parents=again, help="remove a link", description="Remove a link.")
    action.add_argument("name", metavar="LINK", help="the link's path below the experiments folder")
    action.add_argument("--force", action="store_true", help="remove it even if it is none of this store's")
    text = "no longer look for links in a folder"
    action = actions.add_parser("forget", parents=again, help=text, description=f"{text.capitalize()}.")
    action.add_argument("name", metavar="FOLDER", help="an experiments folder that is no more")

    sub = verbs.add(
        "why-alive",
        "say what keeps a realization",
        "Says by way of which others, too.",
    )
    sub.add_argument("ref", metavar="REF", help="as of show")


def _space(verbs: _Verbs) -> None:
    """Save space."""
    sub = verbs.add(
        "du",
        "say how much space is taken, and by what",
        "SIZE adds up the sizes of files, also of those that ls leaves out: context, times and logs; ON DISK is what "
        "is taken there, files with several names counted once; SHARED is the part of it that other realizations "
        "take, too.",
    )
    sub.add_argument("refs", nargs="*", metavar="REF", help="as of show; default everything")
    sub = verbs.add(
        "dedup",
        "let equal files share their bytes",
        "They become hard links of each other, after they were compared byte by byte.",
    )
    sub.add_argument("--dry-run", action="store_true", help="say what would be linked")
    sub.add_argument("--smallest", metavar="SIZE", help="leave smaller files alone (default 4K)")


def _archives(verbs: _Verbs) -> None:
    """Move from store to store."""
    sub = verbs.add(
        "export",
        "write realizations, and all that they rest on, as one archive",
        "An archive is a tar stream, and the same bytes for the same content. Every file is checked on the way.",
    )
    sub.add_argument("refs", nargs="+", metavar="REF", help="as of show")
    sub.add_argument("-o", "--output", metavar="FILE", default="-", help="where to (default: standard output)")
    sub.add_argument("--records", action="store_true", help="add when, where and by whom it was built, and logs")
    sub = verbs.add(
        "import",
        "publish what an archive holds",
        "All of it is checked first; if anything in it is not as it should be, nothing is published.",
    )
    sub.add_argument("file", nargs="?", metavar="FILE", default="-", help="the archive (default: standard input)")
    sub = verbs.add(
        "copy",
        "publish realizations, and all that they rest on, in another store",
        "Every file is checked.",
    )
    sub.add_argument("refs", nargs="+", metavar="REF", help="as of show")
    sub.add_argument("--to", required=True, metavar="ROOT", help="the folder that holds the other store")


def _machine(verbs: _Verbs) -> None:
    """Set up."""
    sub = verbs.add("init", "make a store", "Others make it, too, when they need it.")
    sub.add_argument("folder", nargs="?", metavar="FOLDER", help="as of --root")
    verbs.add("config", "list the settings, and where each comes from")
    verbs.add(
        "doctor",
        "look whether Python, packages, store, disk, links and mirrors are in order",
        "The exit code is 1 if there is a problem.",
    )
    sub = verbs.add(
        "completion",
        "print what makes a shell complete verbs, stages and references",
        'For bash and zsh: eval "$(stagedml completion bash)"; for fish: stagedml completion fish | source.',
        json=False,
    )
    sub.add_argument("shell", choices=("bash", "zsh", "fish"))
    sub = verbs.add("help", "tell how a verb is used", json=False)
    sub.add_argument("of", nargs="*", metavar="VERB", help="default all in short")
    sub = verbs.add("schema", "print the JSON schema of what a verb prints with --json", json=False)
    sub.add_argument("of", nargs="?", metavar="VERB", help="default all")


#: The verbs that are declared together, in the order in which they are listed.
_GROUPS = {
    _realizing: ("realize", "plan", "check", "retry"),
    _looking: ("stages", "ls", "show", "path", "cat", "log", "shell", "verify"),
    _asking: ("why", "diff", "bless"),
    _drawing: ("tree", "plot", "tensorboard"),
    _collection: ("gc", "roots", "why-alive"),
    _space: ("du", "dedup"),
    _archives: ("export", "import", "copy"),
    _machine: ("init", "config", "doctor", "completion", "help", "schema"),
}
VERBS = tuple(verb for names in _GROUPS.values() for verb in names)
