"""`stagedml`: from a command line to a verb, and how failures end.

Results go to standard output, progress and errors to standard error. Exit codes: 0 done; 1 a build or the store failed,
verify found something, or a REF stands for nothing; 2 wrong usage; 3 something could not be fetched; 130 interrupted;
143 terminated.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import gc
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

from stagedml.cli.arguments import parser
from stagedml.cli.output import complain
from stagedml.errors import BuildError, RemoteError, StagedmlError, UsageError

#: How standard output says that it takes no more; what a store says has a file's name, or is an error of the store.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
EXIT_FAILED, EXIT_USAGE, EXIT_REMOTE, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 2, 3, 130, 143


#: verb -> module of this package, and the function in it. What that needs is imported when it is asked for.
_WHERE = {
    "bless": ("why", "run_bless"),
    "cat": ("files", "run_cat"),
    "check": ("check", "run"),
    "completion": ("complete", "run"),
    "config": ("machine", "run_config"),
    "copy": ("archive", "run_copy"),
    "dedup": ("space", "run_dedup"),
    "diff": ("why", "run_diff"),
    "doctor": ("machine", "run_doctor"),
    "du": ("space", "run_du"),
    "export": ("archive", "run_export"),
    "gc": ("gc", "run_gc"),
    "import": ("archive", "run_import"),
    "help": ("help", "run"),
    "init": ("machine", "run_init"),
    "log": ("log", "run"),
    "ls": ("ls", "run"),
    "path": ("files", "run_path"),
    "plan": ("realize", "run_plan"),
    "plot": ("pictures", "run_plot"),
    "realize": ("realize", "run"),
    "retry": ("retry", "run"),
    "roots": ("gc", "run_roots"),
    "schema": ("schema", "run"),
    "shell": ("files", "run_shell"),
    "show": ("show", "run"),
    "stages": ("stages", "run"),
    "tensorboard": ("tensorboard", "run"),
    "tree": ("pictures", "run_tree"),
    "verify": ("verify", "run"),
    "why": ("why", "run_why"),
    "why-alive": ("gc", "run_why_alive"),
}


class Terminated(KeyboardInterrupt):
    """SIGTERM: all builds end, with the programs that they started, as on Ctrl-C."""


@contextlib.contextmanager
def _terminating() -> Iterator[None]:
    """Let SIGTERM raise Terminated inside the block, unless somebody else handles it."""
    is_ours = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    )
    if is_ours:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        if is_ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, frame: object) -> None:
    raise Terminated


def _function(name: str) -> Callable[[argparse.Namespace], int]:
    """The verb's function."""
    module, function = _WHERE[name]
    found: Callable[[argparse.Namespace], int] = getattr(importlib.import_module(f"stagedml.cli.{module}"), function)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who called
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - as long as the process runs
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):  # what its encoding has no letter for is spelt out
            stream.reconfigure(errors="backslashreplace")
    argv = sys.argv[1:] if argv is None else argv
    verb = _verb_in(argv)
    if verb and verb not in _WHERE:
        import difflib

        close = difflib.get_close_matches(verb, _WHERE, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "`stagedml --help` lists all"
        complain(f"there is no verb {verb!r}; {hint}")
        return EXIT_USAGE
    top = parser(verb)
    if "_ARGCOMPLETE" in os.environ:
        from stagedml.cli.complete import complete

        complete(top)
    arguments = top.parse_args(argv)
    if arguments.verb is None:
        print(top.format_summary(), file=sys.stderr)
        return EXIT_USAGE
    arguments.command = ("stagedml", *argv)
    if arguments.verbose:
        import logging

        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        function = _function(arguments.verb)
        gc.enable()
        with _terminating():
            code = function(arguments)
        sys.stdout.flush()
        return code
    except StagedmlError as error:
        if arguments.verbose:
            raise
        complain(str(error))
        return exit_code(error)
    except Terminated:
        _end_programs()
        _stopped(arguments.verb, "terminated")
        return EXIT_TERMINATED
    except KeyboardInterrupt:
        _end_programs()
        _stopped(arguments.verb, "interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        _silence()
        return 0
    except OSError as error:  # standard output on a full disk, a working directory that is gone
        if arguments.verbose:
            raise
        is_output = error.filename is None and error.errno in _FULL
        where = f": {error.filename}" if error.filename else ""
        complain(f"{'standard output: ' if is_output else ''}{error.strerror or error}{where}")
        _silence()
        return EXIT_FAILED


def _verb_in(argv: Sequence[str]) -> str:
    """The verb of a command line: its first word that is no option, nor the value of one; "" if it has none."""
    is_value = False
    for word in argv:
        if not is_value and not word.startswith("-"):
            return word
        is_value = word == "--root"
    return ""


def _stopped(verb: str, how: str) -> None:
    if verb != "log":  # this is how following ends
        complain(f"{how}; what was finished is kept, the same command goes on from there")


def _end_programs() -> None:
    """End what builders in this process started; who was interrupted while starting one has no hold of it."""
    forkserver = sys.modules.get("stagedml.engine.forkserver")
    if forkserver is not None:
        forkserver.kill_all()


def _silence() -> None:
    """Let nobody complain at exit that what is left cannot be written."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def exit_code(error: BaseException) -> int:
    """The exit code for an error; a failed build ends like its cause, if that is one of ours."""
    if isinstance(error, BuildError) and isinstance(error.__cause__, StagedmlError):
        return exit_code(error.__cause__)
    if isinstance(error, RemoteError):
        return EXIT_REMOTE
    return EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
