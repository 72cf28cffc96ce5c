"""Sphinx, for `make docs`. What is written stays Markdown; `make docs` takes every warning for an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import stagedml

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "StagedML"
version = release = stagedml.__version__
copyright = "the StagedML authors, Apache-2.0"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "changes"]
highlight_language = "text"
html_theme = "furo"
html_title = "StagedML"

myst_heading_anchors = 3  # so that #headings are links, as they are where Markdown is shown as it is
myst_enable_extensions = ["colon_fence"]

default_role = "literal"  # docstrings write `name`
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

linkcheck_timeout = 20


def setup(app: Sphinx) -> None:
    """Let Sphinx read our docstrings."""
    app.connect("autodoc-process-docstring", mark_examples, priority=400)  # before napoleon


def mark_examples(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Say of indented paragraphs that they are code, which our docstrings leave to the eye."""
    for place in range(len(lines) - 1, 0, -1):
        before = next((line for line in reversed(lines[:place]) if line), "")
        if lines[place].startswith("    ") and not lines[place - 1] and not before.startswith(" "):
            lines[place:place] = [".. code-block:: python", ""]
