"""Pages of documentation that run: every block of code in README.md and docs/ does what the page says.

A page runs from top to bottom in an empty home folder, without network, with a store of its own. In it,

- a `python` block is a cell of one IPython; a block that begins with `In [1]: ` is a session with it, answers included;
- a `console` block is typed into bash: `$ ` begins a command, `> ` goes on with it, all else is what it prints.
  Settings (`export`, `cd`) last to the end of the page. A command that fails fails the page;
- `text`, `json` and `diff` blocks are data, and no other language is taken;
- in what is printed, `...` stands for any text of a line, alone on a line for any lines, `0.0 s` for any short time,
  and `/home/me` for the home.

A comment of HTML before a block says otherwise:

- `<!-- file: NAME -->`: the block is not run but written to that file;
- `<!-- output -->`: the block is what the `python` block before it prints;
- `<!-- not run: REASON -->`: it is not run. `test_pages.py` lists all of these.

    python tests/pages.py PAGE...

runs pages and writes into them what is printed now.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

REPOSITORY = Path(__file__).resolve().parent.parent
RUN, DATA = ("python", "console"), ("text", "json", "diff")
_TIME_LIMIT_S = 300
_HOME = "/home/me"
_MARKER = re.compile(r"<!-- (file|output|not run)(?:: (.+?))? -->\s*\Z")
_PROMPT = re.compile(r"In \[(\d+)\]: ")
_ANY = {"...": ".*?", "0.0 s": r"\d\.\d s"}
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def pages() -> list[Path]:
    """README.md and everything below docs/ but the fragments of the change log and what Sphinx built."""
    found = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
    return [page for page in found if not {"changes", "_build"} & set(page.relative_to(REPOSITORY).parts)]


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        line: of its first line in the page, from 0.
        language: what the page calls it; "" where it is indented, or nothing is said.
        text: without the fences.
        marker: `file`, `output`, `not run`, or "".
        told: what the marker says.
    """

    page: Path
    line: int
    language: str
    text: str
    marker: str = ""
    told: str = ""

    @property
    def where(self) -> str:
        return f"{os.path.relpath(self.page, REPOSITORY)}:{self.line + 1}"

    @property
    def is_session(self) -> bool:
        return self.language == "python" and _PROMPT.match(self.text) is not None


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, but for the directives of MyST."""
    found, marker = [], None
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        if token.type in ("fence", "code_block"):
            assert token.map is not None
            language = token.info.strip()
            if not language.startswith("{"):
                kind, told = marker.groups() if marker else ("", "")
                found.append(Block(page, token.map[0] + 1, language, token.content, kind, told or ""))
        if token.type == "html_block":
            marker = _MARKER.search(token.content)
        elif not token.type.endswith("_open"):
            marker = None
    return found


@dataclass(frozen=True)
class Exchange:
    """Something typed, and what the page says that it prints.

    Attributes:
        printed: None where the page does not say.
        first, end: the lines of the block that say so.
        number: of an IPython's prompt.
    """

    typed: str
    printed: str | None = None
    first: int = 0
    end: int = 0
    number: int | None = None


def exchanges(block: Block) -> list[Exchange]:
    """What is typed in a block, in its order."""
    if block.language == "python" and not block.is_session:
        return [Exchange(block.text)]
    begins, goes_on = (_PROMPT, "   ...: ") if block.is_session else (re.compile(r"\$ "), "> ")
    found: list[Exchange] = []
    lines = block.text.splitlines()
    place = 0
    while place < len(lines):
        prompt = begins.match(lines[place])
        assert prompt, f"{block.where}: begin with a prompt: {lines[place]}"
        typed = [lines[place][prompt.end() :]]
        place += 1
        while place < len(lines) and lines[place].startswith(goes_on.rstrip()):
            typed.append(lines[place][len(goes_on) :])
            place += 1
        first = place
        while place < len(lines) and not begins.match(lines[place]):
            place += 1
        number = int(prompt[1]) if block.is_session else None
        found.append(Exchange("\n".join(typed), "\n".join(lines[first:place]), first, place, number))
    return found


def is_as_printed(wanted: str, found: str) -> bool:
    """Whether what is printed is what a page says."""
    parts = []
    for line in wanted.strip("\n").splitlines():
        if line == "...":
            parts.append("(?:.*\n)*?")
        else:
            words = re.split(r"(\.\.\.|0\.0 s)", line.rstrip())
            parts.append("".join(_ANY.get(word) or re.escape(word) for word in words) + "\n")
    return re.fullmatch("".join(parts), _tidy(found)) is not None


def _tidy(text: str) -> str:
    lines = [line.rstrip() for line in _COLOURS.sub("", text).splitlines()]
    return "".join(f"{line}\n" for line in lines).lstrip("\n").rstrip("\n") + ("\n" if any(lines) else "")


@dataclass(frozen=True)
class Answer:
    """What came of an exchange."""

    block: Block
    exchange: Exchange
    printed: str
    failed: bool

    @property
    def complaint(self) -> str | None:
        """What is otherwise than the page says; None where nothing is."""
        typed = self.exchange.typed.strip()
        if self.failed:
            return f"{self.block.where} fails: {typed}\n{self.printed}"
        if self.exchange.printed is None or is_as_printed(self.exchange.printed, self.printed):
            return None
        return f"{self.block.where}: {typed}\nthe page says:\n{self.exchange.printed}\nit prints:\n{self.printed}"


def run(page: Path, home: Path) -> Iterator[Answer]:
    """Run a page in an empty home folder."""
    with _Machine(home) as machine:
        cell: Answer | None = None
        for block in blocks(page):
            if block.marker == "file":
                machine.write(block.told, block.text)
            elif block.marker == "output":
                assert cell is not None, f"{block.where}: there is no python block before this output"
                lines = len(block.text.splitlines())
                yield Answer(block, Exchange(cell.exchange.typed, block.text, 0, lines), cell.printed, False)
            elif block.marker != "not run" and block.language in RUN:
                for exchange in exchanges(block):
                    printed, failed = machine.type(block.language, exchange)
                    cell = Answer(block, exchange, printed, failed)
                    yield cell


class _Machine:
    """An empty home folder with a bash and an IPython in it."""

    def __init__(self, home: Path) -> None:
        self._home = home.resolve()
        self._settings, self._folder = self._home / ".settings", self._home / ".folder"
        self._settings.write_text("")
        self._folder.write_text(str(self._home))
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
        self._environment = {
            **kept,
            "HOME": str(self._home),
            "IPYTHONDIR": str(self._home / ".ipython"),
            "LANG": "C.UTF-8",
            "LOGNAME": "me",
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), kept.get("PATH", os.defpath))),
            "PYTHONUNBUFFERED": "1",  # what goes to both outputs comes in its order
            "STAGEDML_OFFLINE": "1",
            "TERM": "dumb",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "USER": "me",
        }
        self._ipython: subprocess.Popen[str] | None = None

    def __enter__(self) -> _Machine:
        return self

    def __exit__(self, *_: object) -> None:
        if self._ipython is not None:
            self._ipython.communicate()

    def write(self, name: str, text: str) -> None:
        path = Path(self._folder.read_text().strip(), name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def type(self, language: str, exchange: Exchange) -> tuple[str, bool]:
        """What is printed, and whether it fails."""
        printed, failed = self._in_bash(exchange) if language == "console" else self._in_ipython(exchange)
        return printed.replace(str(self._home), _HOME), failed

    def _script(self, command: str) -> list[str]:
        """A command after those before it. A page may set PYTHONPATH; the tree under test stays on it."""
        return [
            "bash",
            "-c",
            f". {self._settings}; export PYTHONPATH=${{PYTHONPATH:+$PYTHONPATH:}}{REPOSITORY / 'src'}\n"
            f'cd "$(<{self._folder})"\n{command}\n'
            f"status=$?; export -p > {self._settings}; pwd > {self._folder}; exit $status",
        ]

    def _in_bash(self, exchange: Exchange) -> tuple[str, bool]:
        done = subprocess.run(
            self._script(exchange.typed),
            env=self._environment,
            cwd=self._home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIME_LIMIT_S,
            check=False,
        )
        return done.stdout, done.returncode != 0

    def _in_ipython(self, exchange: Exchange) -> tuple[str, bool]:
        if self._ipython is None:
            command = [sys.executable, str(Path(__file__).with_name("page_session.py"))]
            self._ipython = subprocess.Popen(
                self._script(f"exec {shlex.join(command)}"),
                env=self._environment,
                cwd=self._home,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._ipython.stdin is not None
        assert self._ipython.stdout is not None
        self._ipython.stdin.write(json.dumps({"code": exchange.typed, "number": exchange.number}) + "\n")
        self._ipython.stdin.flush()
        answer: dict[str, Any] = json.loads(self._ipython.stdout.readline())
        return answer["printed"], answer["failed"]


def renewed(page: Path, home: Path) -> str:
    """The text of a page with what is printed now."""
    lines = page.read_text(encoding="utf-8").splitlines()
    answers = list(run(page, home))
    failures = [answer.complaint for answer in answers if answer.failed]
    if failures:
        raise SystemExit(failures[0])
    for answer in reversed(answers):
        if answer.complaint is not None:
            begin = answer.block.line
            lines[begin + answer.exchange.first : begin + answer.exchange.end] = _tidy(answer.printed).splitlines()
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory(prefix="stagedml-page-") as folder:
            Path(name).write_text(renewed(Path(name).resolve(), Path(folder)), encoding="utf-8")
            subprocess.run(["chmod", "-R", "u+w", folder], check=True)
