"""An IPython that is told by lines of JSON what to run, and answers what was printed; see `pages.py`."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from typing import Any

from IPython.core.interactiveshell import InteractiveShell


def main() -> None:
    """Run what comes by standard input until it ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what programs print that a cell starts is no answer
    sys.path[0] = ""
    shell: Any = InteractiveShell.instance()
    shell.colors = "nocolor"
    shell.history_manager.enabled = False
    for line in sys.stdin:
        request = json.loads(line)
        shell.execution_count = request["number"] or shell.execution_count
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            done = shell.run_cell(request["code"], store_history=True)
        answers.write(json.dumps({"printed": printed.getvalue(), "failed": not done.success}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
