"""`stagedml`: the verbs, their arguments, and how failures end.

Results go to standard output, progress and errors to standard error. Exit codes: 0 done; 1 a build or the store failed,
or verify found something; 2 wrong usage; 3 something could not be fetched; 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from stagedml.errors import BuildError, RemoteError, StagedmlError, UsageError

EXIT_FAILED, EXIT_USAGE, EXIT_REMOTE, EXIT_INTERRUPTED = 1, 2, 3, 130


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--root", help="the folder that holds the store (default: PYLIGHTNIX_ROOT or ~/_pylightnix)")
    common.add_argument("--json", action="store_true", help="print JSON")
    common.add_argument("-v", "--verbose", action="store_true", help="log more; show tracebacks")
    parser = argparse.ArgumentParser(
        prog="stagedml", description="Datasets, preprocessors and models as content-addressed stages."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    for verb, text in (
        ("realize", "make sure that a stage is in the store, building what is not"),
        ("plan", "say what realize would do, and why"),
    ):
        sub = verbs.add_parser(verb, parents=[common], help=text, description=f"{text[0].upper()}{text[1:]}.")
        sub.add_argument("stage", help="a name from stagedml.stages.all, or MODULE:FUNCTION")
        sub.add_argument("arguments", nargs="*", metavar="ARGUMENT", help="VALUE or NAME=VALUE, in the stage's order")
        sub.add_argument("--force", action="store_true", help="rebuild the target even if it is there")
        if verb == "realize":
            sub.add_argument("--dry-run", action="store_true", help="as the verb plan")
            sub.add_argument("--offline", action="store_true", default=None, help="never try the network")
            sub.add_argument("--instances", type=int, metavar="N", help="build N instances of the target")
            sub.add_argument(
                "--exec",
                action="append",
                default=[],
                metavar="NAME=VALUE",
                dest="exec_values",
                help="how to run: a parameter that is in no hash",
            )

    sub = verbs.add_parser("ls", parents=[common], help="list realizations", description="List realizations.")
    sub.add_argument("name", nargs="?", help="only stages whose name contains this")
    for verb, text in (("show", "show one realization"), ("path", "print a realization's folder")):
        sub = verbs.add_parser(verb, parents=[common], help=text, description=f"{text[0].upper()}{text[1:]}.")
        sub.add_argument("ref", help="an rref or the start of its hash, a dref, or a stage's name for the latest one")
    sub = verbs.add_parser(
        "verify",
        parents=[common],
        help="read what is in the store and say what is damaged",
        description="Read what is in the store and say what is damaged. The exit code is 1 if anything is.",
    )
    sub.add_argument("refs", nargs="*", metavar="REF", help="as of show; default everything")
    sub.add_argument("--repair", action="store_true", help="move what is damaged to quarantine, to be built anew")
    return parser


def _verb(name: str) -> Callable[[argparse.Namespace], int]:
    """The verb's function; what it needs is imported only now, so that `ls` stays quick."""
    if name in ("realize", "plan"):
        from stagedml.cli import realize

        return realize.run_plan if name == "plan" else realize.run
    if name == "verify":
        from stagedml.cli import verify

        return verify.run
    from stagedml.cli import inspect

    return {"ls": inspect.run_ls, "show": inspect.run_show, "path": inspect.run_path}[name]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    arguments = _parser().parse_args(argv)
    if arguments.verbose:
        import logging

        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        code = _verb(arguments.verb)(arguments)
        sys.stdout.flush()
        return code
    except StagedmlError as error:
        if arguments.verbose:
            raise
        print(f"stagedml: {error}", file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt:
        print("stagedml: interrupted; what was finished is kept, the same command goes on from there", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def exit_code(error: BaseException) -> int:
    """The exit code for an error; a failed build ends like its cause, if that is one of ours."""
    if isinstance(error, BuildError) and isinstance(error.__cause__, StagedmlError):
        return exit_code(error.__cause__)
    if isinstance(error, RemoteError):
        return EXIT_REMOTE
    return EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
