"""A store of one's own for each test, and an IPython with the extension."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from stagedml import using_store
from stagedml.settings import read_settings
from stagedml.store.objects import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with using_store(Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=tmp_path / "root"))) as store:
        yield store


class Session:
    """An IPython that a test types into."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell: Any = shell

    def run(self, cell: str) -> Any:
        """The value of a cell's last expression, or of its magic. Raises what the cell raises."""
        result = self.shell.run_cell(cell, store_history=True)
        result.raise_error()
        return result.result

    def shown(self, value: Any, kind: str = "text/plain") -> str | None:
        """How a value is shown; None if not in this way."""
        data, _ = self.shell.display_formatter.format(value)
        shown: str | None = data.get(kind)
        return shown

    def completed(self, line: str, *, jedi: bool) -> list[str]:
        """What the Tab key offers at the end of a line."""
        from IPython.core.completer import provisionalcompleter

        self.shell.Completer.use_jedi = jedi
        with provisionalcompleter():
            return [one.text.lstrip(".") for one in self.shell.Completer.completions(line, len(line))]


@pytest.fixture
def session(store: Store) -> Iterator[Session]:
    """IPython as a kernel has it, without a kernel: all kinds of output are asked for."""
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell(config=config)  # type: ignore[no-untyped-call]
    shell.run_line_magic("load_ext", "stagedml")
    try:
        yield Session(shell)
    finally:
        shell.run_line_magic("unload_ext", "stagedml")
