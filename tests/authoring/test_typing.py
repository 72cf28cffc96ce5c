"""What mypy says about code that uses stages: nothing where it is right, one clear error where it is wrong."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PREAMBLE = """
from typing import assert_type
from stagedml import *
from stagedml import (
    Artifact, Build, Exec, Instantiated, RefPath, RRef, instantiate, mklens, mknode, output, pinned, realize, realized,
    realize_recursive, redefine, stage
)

class Text(Artifact):
    text: RefPath
    shout: bool

class Count(Artifact):
    counts: RefPath
    source: Text

@stage(Text, name="text")
def make_text(
    build: Build, *, word: str, shout: bool = False, text: RefPath = output("text.txt"), workers: Exec[int] = 2
) -> None:
    assert_type(workers, int)
    assert_type(text, RefPath)
    build.path(text).write_text(word)

@stage(Count, name="count")
def count_text(build: Build, *, source: Text, scale: float = 1, counts: RefPath = output("counts.json")) -> None:
    build.path(source.text)

def all_count(word: str = "MRPC") -> Count:
    return count_text(source=make_text(word=word))
"""

RIGHT = {
    "the result of a stage": "assert_type(make_text(word='a'), Text)",
    "the result of instantiate": "assert_type(instantiate(all_count, 'MRPC').result, Count)",
    "instantiate of a stage": "assert_type(instantiate(make_text, word='a').result, Text)",
    "realize": "assert_type(realize(instantiate(all_count, 'MRPC')), RRef)",
    "redefine keeps the signature": "assert_type(redefine(all_count, lambda c: c.update(scale=2))('a'), Count)",
    "redefine in the lens style": "def change(c: dict[str, object]) -> None:\n    mklens(c).scale.val = 2\n"
    "assert_type(instantiate(redefine(all_count, change, at=count_text), 'a').result, Count)",
    "pinned": "def pin(rref: RRef) -> Count:\n    return count_text(source=pinned(rref, Text))",
    "mknode": "assert_type(mknode({}), Artifact)\nassert_type(mknode({}, {'a': b''}, artifact=Text), Text)\n"
    "assert_type(instantiate(mknode, {}, {'a': 'b'}, artifact=Text).result, Text)",
    "realized keeps the signature": "assert_type(instantiate(realized(make_text), word='a').result, Text)",
    "realize_recursive": "def step(epochs: int, previous: RRef | None) -> Instantiated[Text] | None:\n"
    "    return instantiate(make_text, word=str(epochs))\nassert_type(realize_recursive(step, 3), dict[int, RRef])",
    "Exec values": "make_text(word='a', workers=3)",
    "fields": "assert_type(make_text(word='a').shout, bool)\nassert_type(all_count().source.text, RefPath)",
    "an artifact is a str": "make_text(word='a').upper()",
    "an int for a float": "count_text(source=make_text(word='a'), scale=2)",
}

WRONG = {
    "wrong artifact": ("count_text(source=all_count())", '"source".*incompatible type "Count"; expected "Text"'),
    "unknown parameter": ("make_text(word='a', wrod='b')", 'Unexpected keyword argument "wrod"'),
    "wrong type": ("make_text(word=3)", '"word".*incompatible type "int"; expected "str"'),
    "missing parameter": ("make_text()", 'Missing named argument "word"'),
    "positional": ("make_text('a')", "Too many positional arguments|Missing named argument"),
    "undeclared field": ("make_text(word='a').lenght", '"Text" has no attribute "lenght"'),
    "undeclared nested field": ("all_count().source.counts", '"Text" has no attribute "counts"'),
    "result of a composed stage": (
        "def all_text() -> Count:\n    return make_text(word='a')",
        r'Incompatible return value type \(got "Text", expected "Count"\)',
    ),
    "type of a field": (
        "shout: str = make_text(word='a').shout",
        'expression has type "bool", variable has type "str"',
    ),
    "arguments of instantiate": ("instantiate(all_count, 3)", '"instantiate" has incompatible type "int"'),
    "arguments of a redefined stage": ("redefine(all_count)(3)", 'incompatible type "int"; expected "str"'),
    "type of an Exec value": ("make_text(word='a', workers='b')", '"workers".*incompatible type "str"'),
    "pinned as another artifact": ("count_text(source=pinned('rref:...', Count))", 'incompatible type "Count"'),
    "wrong result of instantiate": (
        "text: Text = instantiate(all_count).result",
        'expression has type "Count", variable has type "Text"',
    ),
    "a builder that does not take the build": (
        "@stage(Text, name='x')\ndef broken(*, word: str, shout: bool, text: RefPath) -> None: ...",
        "incompatible type",
    ),
}


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> dict[str, list[str]]:
    """The errors that mypy --strict has for each snippet; all of them in one run, for mypy starts slowly."""
    folder = tmp_path_factory.mktemp("typing")
    files: dict[str, str] = {}
    snippets = {**RIGHT, **{name: code for name, (code, _) in WRONG.items()}}
    for name, code in snippets.items():
        file = "snippet_" + re.sub(r"\W", "_", name) + ".py"
        files[file] = name
        (folder / file).write_text(PREAMBLE + textwrap.dedent(code) + "\n", encoding="utf-8")
    # Its own configuration, as a user of the package has none of ours; only 3.11 knows `assert_type`.
    (folder / "mypy.ini").write_text(f"[mypy]\nmypy_path = {repository / 'src'}\npython_version = 3.11\n")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", "--no-pretty"]
    run = subprocess.run(
        [*command, "--config-file", "mypy.ini", "--cache-dir", "cache", *sorted(files)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not run.stderr, run.stderr
    found: dict[str, list[str]] = {name: [] for name in snippets}
    for line in run.stdout.splitlines():
        file, _, message = line.partition(":")
        assert file in files, f"mypy complains about our own code: {line}"
        if " error: " in message:
            found[files[file]].append(message)
    return found


@pytest.mark.parametrize("snippet", RIGHT)
def test_mypy_accepts_right_code(snippet: str, verdicts: dict[str, list[str]]) -> None:
    assert verdicts[snippet] == []


@pytest.mark.parametrize("snippet", WRONG)
def test_mypy_has_exactly_one_clear_error_for_wrong_code(snippet: str, verdicts: dict[str, list[str]]) -> None:
    (error,) = verdicts[snippet]
    assert re.search(WRONG[snippet][1], error), error


def test_the_package_says_that_it_is_typed(repository: Path) -> None:
    assert (repository / "src" / "stagedml" / "py.typed").is_file()
