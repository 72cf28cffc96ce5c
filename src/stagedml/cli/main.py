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
            sub.add_argument(
                "--out-link", metavar="NAME", help="keep the result by a link below the experiments folder"
            )
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
    _collection(verbs, common)
    _space(verbs, common)
    _archives(verbs, common)
    return parser


def _collection(verbs: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    """The verbs that tell what is kept, and delete what is not."""
    sub = verbs.add_parser(
        "gc",
        parents=[common],
        help="say what nothing keeps; with --delete, delete it",
        description=(
            "Say what nothing keeps; with --delete, delete it. Kept is, with all that it rests on, what links below "
            "the experiments folder lead to, what --keep and STAGEDML_KEEP name, what running processes use, and what "
            "is young. TIME is a number of seconds, or 15m, 24h, 30d, 2w."
        ),
    )
    sub.add_argument("--delete", action="store_true", help="delete it")
    sub.add_argument("--keep", action="append", default=[], metavar="STAGE", help="a reference, or 'STAGE ARGUMENT...'")
    sub.add_argument("--grace", metavar="TIME", help="keep what was published less than so long ago (default 24h)")
    sub.add_argument("--older-than", metavar="TIME", help="delete only what was published longer ago")
    sub.add_argument("--max-size", metavar="SIZE", help="keep the latest of the rest, up to this size of all: 20G")
    sub.add_argument("--keep-latest", type=int, default=0, metavar="N", help="of each derivation, keep the N latest")
    sub.add_argument("--keep-best", metavar="METRIC[:N]", help="of each derivation, keep the N best (default 1)")
    sub.add_argument("--scratch-age", metavar="TIME", help="sweep what failed builds left after (default 3d)")
    sub.add_argument("--resumable-age", metavar="TIME", help="sweep unfinished downloads after (default 14d)")
    sub.add_argument("--quarantine-age", metavar="TIME", help="sweep what was damaged after (default 30d)")

    sub = verbs.add_parser(
        "roots",
        parents=[common],
        help="list, add and remove links that keep realizations",
        description="List, add and remove links that keep realizations.",
    )
    actions = sub.add_subparsers(dest="action", metavar="ACTION")
    action = actions.add_parser("add", help="link to a realization", description="Link to a realization.")
    action.add_argument("name", help="the link's path below the experiments folder, or /PATH or ./PATH anywhere")
    action.add_argument("ref", help="as of show")
    action = actions.add_parser("rm", help="remove a link", description="Remove a link.")
    action.add_argument("name", help="the link's path below the experiments folder")
    action = actions.add_parser(
        "forget", help="no longer look for links in a folder", description="No longer look for links in a folder."
    )
    action.add_argument("name", metavar="FOLDER", help="an experiments folder that is no more")

    sub = verbs.add_parser(
        "why-alive",
        parents=[common],
        help="say what keeps a realization",
        description="Say what keeps a realization, and by way of which others.",
    )
    sub.add_argument("ref", help="as of show")


def _space(verbs: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    """The verbs about the space that a store takes."""
    sub = verbs.add_parser(
        "du",
        parents=[common],
        help="say how much space is taken, and by what",
        description=(
            "Say how much space is taken, and by what. SIZE adds up the sizes of files; ON DISK is what is taken "
            "there, files with several names counted once; SHARED is the part of it that other realizations take, too."
        ),
    )
    sub.add_argument("refs", nargs="*", metavar="REF", help="as of show; default everything")
    sub = verbs.add_parser(
        "dedup",
        parents=[common],
        help="let equal files share their bytes",
        description="Let equal files of all realizations share their bytes, by hard links.",
    )
    sub.add_argument("--dry-run", action="store_true", help="say what would be linked")
    sub.add_argument("--smallest", metavar="SIZE", help="leave smaller files alone (default 4K)")


def _archives(verbs: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser) -> None:
    """The verbs that move realizations from store to store."""
    sub = verbs.add_parser(
        "export",
        parents=[common],
        help="write realizations, and all that they rest on, as one archive",
        description=(
            "Write realizations, and all that they rest on, as one archive: a tar stream, the same bytes for the same "
            "content. Every file is checked on the way."
        ),
    )
    sub.add_argument("refs", nargs="+", metavar="REF", help="as of show")
    sub.add_argument("-o", "--output", metavar="FILE", default="-", help="where to (default: standard output)")
    sub.add_argument("--records", action="store_true", help="add when, where and by whom it was built, and logs")
    sub = verbs.add_parser(
        "import",
        parents=[common],
        help="publish what an archive holds",
        description="Publish what an archive holds: all of it, or nothing if anything in it is not as it should be.",
    )
    sub.add_argument("file", nargs="?", metavar="FILE", default="-", help="the archive (default: standard input)")
    sub = verbs.add_parser(
        "copy",
        parents=[common],
        help="publish realizations, and all that they rest on, in another store",
        description="Publish realizations, and all that they rest on, in another store. Every file is checked.",
    )
    sub.add_argument("refs", nargs="+", metavar="REF", help="as of show")
    sub.add_argument("--to", required=True, metavar="ROOT", help="the folder that holds the other store")


def _verb(name: str) -> Callable[[argparse.Namespace], int]:
    """The verb's function; what it needs is imported only now, so that `ls` stays quick."""
    if name in ("realize", "plan"):
        from stagedml.cli import realize

        return realize.run_plan if name == "plan" else realize.run
    if name in ("gc", "roots", "why-alive"):
        from stagedml.cli import gc

        return {"gc": gc.run_gc, "roots": gc.run_roots, "why-alive": gc.run_why_alive}[name]
    if name in ("du", "dedup"):
        from stagedml.cli import space

        return space.run_du if name == "du" else space.run_dedup
    if name in ("export", "import", "copy"):
        from stagedml.cli import archive

        return {"export": archive.run_export, "import": archive.run_import, "copy": archive.run_copy}[name]
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
