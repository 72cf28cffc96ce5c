"""A Python that is started once and forked for every experiment with source code; see `experiment`.

Run as a program it reads requests from standard input, one JSON object a line: a folder to work in and the steps to do
there. It answers with what the steps that ask for something gave.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Step = Sequence[Any]


class Workshop:
    """The other side of the program below."""

    def __init__(self, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-B", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **environment},
        )

    def experiment(self, folder: Path, *steps: Step) -> list[str]:
        """Do these steps in a fresh process whose modules are in `folder`; returns the answers.

        ("fingerprint", module, stage)   answers with the fingerprint, or with the error
        ("dref", module, stage)          answers with the reference, or with the error
        ("write", file, text)            changes a file
        ("import", module), ("reload", module), ("run", code), ("chdir", folder)
        ("cell", text)                   runs a cell in IPython
        ("cell fingerprint", stage)      answers for a stage in IPython's namespace
        ("answer", expression)           answers with its value
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(folder), steps]) + "\n")
        self._process.stdin.flush()
        answers = json.loads(self._process.stdout.readline())
        assert isinstance(answers, list), answers
        return answers

    def close(self) -> None:
        """End the program."""
        self._process.communicate()


def _serve() -> None:
    import IPython.core.interactiveshell  # noqa: F401 - the children start quicker

    import stagedml

    for name in stagedml.__all__:
        getattr(stagedml, name)
    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            os.dup2(2, 1)  # what the experiment prints is no answer
            with os.fdopen(writing, "w") as answers:
                try:
                    folder, steps = json.loads(line)
                    answers.write(json.dumps(_work(folder, steps)))
                except BaseException:
                    answers.write(json.dumps({"failed": traceback.format_exc()}))
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as answers:
            answer = answers.read()
        os.waitpid(child, 0)
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


def _work(folder: str, steps: Sequence[Step]) -> list[str]:
    from stagedml.errors import StagedmlError

    os.chdir(folder)
    sys.path.insert(0, folder)
    answers = []
    namespace: dict[str, Any] = {}
    for step, *arguments in steps:
        try:
            answer = _do(step, arguments, namespace)
        except StagedmlError as error:
            answer = f"{type(error).__name__}: {error}"
        if answer is not None:
            answers.append(answer)
    return answers


def _do(step: str, arguments: list[str], namespace: dict[str, Any]) -> str | None:
    from stagedml import instantiate, store_initialize
    from stagedml.authoring.fingerprinted import fingerprint_of

    if step == "write":
        Path(arguments[0]).write_text(arguments[1], encoding="utf-8")
    elif step == "chdir":
        os.chdir(arguments[0])
    elif step == "import":
        importlib.import_module(arguments[0])
    elif step == "reload":
        importlib.reload(sys.modules[arguments[0]])
    elif step == "run":
        exec(compile(arguments[0], "<string>", "exec", dont_inherit=True), namespace)
    elif step == "answer":
        return str(eval(arguments[0], {**namespace, "sys": sys}))
    elif step == "fingerprint":
        return fingerprint_of(getattr(importlib.import_module(arguments[0]), arguments[1]).builder)
    elif step == "dref":
        store_initialize(Path("store").absolute())
        return str(instantiate(getattr(importlib.import_module(arguments[0]), arguments[1])).result)
    elif step == "cell":
        result = _shell().run_cell(arguments[0], store_history=True)
        result.raise_error()
    elif step == "cell fingerprint":
        return fingerprint_of(_shell().user_ns[arguments[0]].builder)
    else:
        raise ValueError(step)
    return None


def _shell() -> Any:
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    if not InteractiveShell.initialized():
        import __main__

        if hasattr(__main__, "__file__"):
            del __main__.__file__  # a notebook's is no file
        config = Config()
        config.HistoryManager.enabled = False
        InteractiveShell.instance(config=config, user_module=__main__)
    return InteractiveShell.instance()


if __name__ == "__main__":
    _serve()
