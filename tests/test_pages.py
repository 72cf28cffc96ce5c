"""README.md and docs/ do what they say: their code runs, and their links lead somewhere. `pages.py` has the rules."""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

import pages
from pages import DATA, REPOSITORY, RUN, Block, is_as_printed

#: Why blocks are not run, and how many of each page.
NOT_RUN = {
    ("README.md", "sets up an environment, takes minutes"): 1,
    ("README.md", "fetches data, trains for 11 CPU-minutes; see tests/test_front_door.py, test_bert_on_glue.py"): 1,
    ("docs/explanation/performance.md", "takes minutes and installs other tools"): 1,
    ("docs/how-to/dev-shell.md", "sets up an environment; see tests/test_shell.py"): 1,
    ("docs/how-to/dev-shell.md", "needs an engine for containers; see tests/test_rundocker.py"): 1,
    ("docs/how-to/dev-shell.md", "takes hours; see tests/test_build_tensorflow.py"): 1,
    ("docs/how-to/export-a-model.md", "trains; see tests/ml/test_bert_export.py"): 1,
    ("docs/how-to/export-a-model.md", "needs transformers and torch; see tests/ml/reference/make_toy_reference.py"): 1,
    ("docs/how-to/export-a-model.md", "needs a checkpoint of yours; see tests/stages/test_bert_export.py"): 1,
    ("docs/how-to/export-a-model.md", "needs a checkpoint of yours; see tests/ml/test_bert_pretrained.py"): 1,
    ("docs/how-to/mnist.md", "trains for 25 CPU-minutes; see tests/stages/test_mnist.py"): 1,
    ("docs/how-to/mnist.md", "installs several GB"): 1,
    ("docs/how-to/pretrain.md", "trains for days; see tests/stages/test_wiki.py"): 1,
    ("docs/how-to/report.md", "trains for a minute; see tests/test_examples.py"): 1,
    ("docs/how-to/rusentiment.md", "needs data of yours; see tests/stages/test_rusentiment.py"): 1,
    ("docs/how-to/rusentiment.md", "trains for half a minute; see tests/stages/test_rusentiment.py"): 1,
    ("docs/how-to/share-results.md", "needs a second machine"): 1,
    ("docs/how-to/squad.md", "trains; see tests/stages/test_squad.py"): 1,
    ("docs/how-to/translate.md", "needs what takes minutes to train; see tests/ml/test_translator.py"): 1,
    ("docs/how-to/tensorboard.md", "serves until it is ended; see tests/cli/test_tensorboard.py"): 1,
}
ALL = {str(page.relative_to(REPOSITORY)): page for page in pages.pages()}
WITH_CODE = [name for name, page in ALL.items() if any(b.language in RUN and not b.marker for b in pages.blocks(page))]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for folder, _, _ in os.walk(tmp_path):
        os.chmod(folder, 0o755)  # what is published is read-only, and pytest deletes old folders


@pytest.mark.parametrize("name", WITH_CODE)
def test_a_page_does_what_it_says(name: str, home: Path) -> None:
    for answer in pages.run(ALL[name], home):
        assert answer.complaint is None, answer.complaint


@pytest.mark.parametrize("name", ALL)
def test_every_block_of_code_has_a_language_that_can_be_run_or_is_data(name: str) -> None:
    odd = [f"{block.where}: {block.language!r}" for block in pages.blocks(ALL[name]) if not is_known(block)]
    assert not odd, f"fence it as one of {RUN + DATA}, or say what it is in a comment before it (see pages.py)"


def is_known(block: Block) -> bool:
    return block.language in RUN + DATA and not (block.marker == "not run" and not block.told)


def test_what_is_not_run_is_listed_here_with_its_reason() -> None:
    found = Counter(
        (name, block.told) for name, page in ALL.items() for block in pages.blocks(page) if block.marker == "not run"
    )
    assert found == NOT_RUN


@pytest.mark.parametrize("name", ALL)
def test_every_link_leads_to_a_file_or_heading_that_exists(name: str) -> None:
    page = ALL[name]
    astray = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        goal = (page.parent / path).resolve() if path else page
        if not goal.exists() or (anchor and goal.suffix == ".md" and anchor not in anchors(goal)):
            astray.append(link)
    assert not astray


def links(page: Path) -> Iterator[str]:
    """Where the links and pictures of a page lead."""
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
        for child in token.children or ():
            target = child.attrGet("href") or child.attrGet("src")
            if target is not None:
                yield str(target)


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub and MyST make them."""
    tokens = MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8"))
    headings = [after.content for token, after in itertools.pairwise(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# -- the rules themselves ---------------------------------------------------------------------------------------------


def written(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(text)
    return page


def complaints(home: Path, text: str) -> list[str]:
    folder = home / "home"
    folder.mkdir()
    return [answer.complaint for answer in pages.run(written(home, text), folder) if answer.complaint is not None]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("a\nb", "a\nb\n"),
        ("a\n...\nd", "a\nb\nc\nd\n"),
        ("a\n...\nd", "a\nd\n"),
        ("done in ... s", "done in 0.3 s\n"),
        ("", ""),
        ("a", "\n\x1b[31ma\x1b[0m  \n"),
        ("...", ""),
    ],
)
def test_dots_stand_for_any_text(wanted: str, found: str) -> None:
    assert is_as_printed(wanted, found)


@pytest.mark.parametrize(
    ("wanted", "found"), [("a", "b\n"), ("a", ""), ("", "a\n"), ("a\n...", "b\na\n"), ("a...c", "a\nc\n")]
)
def test_what_is_printed_otherwise_is_noticed(wanted: str, found: str) -> None:
    assert not is_as_printed(wanted, found)


@pytest.mark.parametrize(
    "text",
    [
        "```console\n$ echo a\nb\n```\n",
        "```console\n$ echo a\n```\n",
        "```console\n$ false\n```\n",
        "```python\n1 / 0\n```\n",
        "```python\nprint('a')\n```\n<!-- output -->\n```text\nb\n```\n",
        "```python\nIn [1]: 1 + 1\nOut[1]: 3\n```\n",
    ],
)
def test_a_page_that_is_wrong_fails(home: Path, text: str) -> None:
    assert len(complaints(home, text)) == 1


def test_a_page_that_is_right_passes(home: Path) -> None:
    text = """
<!-- file: a/name.txt -->
```text
from a file
```

```console
$ cat a/name.txt; echo ~
from a file
/home/me
$ export SAID=before; cd a
$ echo $SAID, $(basename $PWD)
before, a
$ cat <<END
> first
> END
first
```

```python
import os
print(os.environ["SAID"], os.path.basename(os.getcwd()))
```
<!-- output -->
```text
before a
```

```python
In [5]: def one():
   ...:     return 1
In [6]: one()
Out[6]: 1
```

<!-- not run: it ends badly -->
```console
$ false
```
"""
    assert complaints(home, text) == []


def test_a_page_is_renewed_with_what_is_printed(home: Path) -> None:
    folder = home / "home"
    folder.mkdir()
    page = written(home, "```console\n$ echo a\nb\n$ echo c\n$ echo d e\nd ...\n```\n")
    assert pages.renewed(page, folder) == "```console\n$ echo a\na\n$ echo c\nc\n$ echo d e\nd ...\n```\n"
