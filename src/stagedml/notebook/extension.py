"""`%load_ext stagedml`: views, magics, completion, and, in a kernel, progress below the cell.

A reference at a plain prompt stays the quoted text that it is, with or without the extension.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display

from stagedml.authoring.instantiate import Instantiated
from stagedml.authoring.lens import Lens
from stagedml.authoring.pylightnix import DRef, RRef
from stagedml.authoring.stage import Stage
from stagedml.core.plan import Plan
from stagedml.engine.check import Check
from stagedml.engine.console import show_with
from stagedml.engine.events import Observer
from stagedml.inspection.compare import Comparison
from stagedml.inspection.why import Why
from stagedml.notebook import magics, texts, views
from stagedml.notebook.completion import matcher_for
from stagedml.notebook.html import Markup
from stagedml.notebook.progress import NotebookObserver

_HTML: dict[type, Callable[[Any], Markup | None]] = {
    Check: views.of_check,
    Comparison: views.of_comparison,
    DRef: views.of_dref,
    Instantiated: views.of_instantiated,
    Lens: views.of_lens,
    Plan: views.of_plan,
    RRef: views.of_rref,
    Stage: views.of_stage,
    Why: views.of_why,
    list: views.of_list,
}
_TEXT: dict[type, Callable[[Any], str]] = {
    Check: texts.of_check,
    Comparison: texts.of_comparison,
    Instantiated: texts.of_instantiated,
    Plan: texts.of_plan,
    Stage: texts.of_stage,
    Why: texts.of_why,
}


def load(shell: InteractiveShell) -> None:
    """Install everything in a session."""
    formatters = _formatters(shell)
    for kind, view in _HTML.items():
        formatters["text/html"].for_type(kind, view)
    for kind, told in _TEXT.items():
        formatters["text/plain"].for_type(kind, _printed(told))
    ours = magics.Magics(shell.user_ns)
    for name in magics.NAMES:
        shell.magics_manager.register_function(getattr(ours, name), magic_kind="line", magic_name=name)
    shell.Completer.custom_matchers.append(matcher_for(shell.user_ns))
    if getattr(shell, "kernel", None) is not None:
        show_with(_observer)


def unload(shell: InteractiveShell) -> None:
    """Take everything out again."""
    formatters = _formatters(shell)
    for kind in _HTML:
        formatters["text/html"].pop(kind, None)
    for kind in _TEXT:
        formatters["text/plain"].pop(kind, None)
    for name in magics.NAMES:
        shell.magics_manager.magics["line"].pop(name, None)
    matchers = shell.Completer.custom_matchers
    matchers[:] = [matcher for matcher in matchers if getattr(matcher, "matcher_identifier", "") != "stagedml"]
    show_with(None)


def _formatters(shell: Any) -> Any:
    return shell.display_formatter.formatters


def _printed(told: Callable[[Any], str]) -> Callable[[Any, Any, bool], None]:
    """As IPython's printer takes it; what cannot be told is shown as Python does."""

    def show(value: Any, printer: Any, cycle: bool) -> None:
        try:
            text = told(value)
        except Exception:
            text = object.__repr__(value)
        printer.text(text)

    return show


def _observer() -> Observer:
    """An observer that shows a realize in an output of its own."""
    shown: list[Any] = []

    def show(drawing: Markup, text: str) -> None:
        data = {"text/html": str(drawing), "text/plain": text}
        if shown:
            shown[0].update(data, raw=True)
        else:
            shown.append(display(data, raw=True, display_id=True))  # type: ignore[no-untyped-call]

    return NotebookObserver(show)
