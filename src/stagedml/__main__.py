"""`python -m stagedml`, and the command `stagedml`."""

import gc
import sys


def run() -> int:
    """The command line, in a process that does nothing else."""
    gc.disable()  # nothing that is imported becomes garbage; `main` enables it before a verb begins
    from stagedml.cli.main import main

    try:
        return main()
    finally:
        gc.freeze()  # the interpreter need not look for garbage when it ends


if __name__ == "__main__":
    sys.exit(run())
