"""The command line of a script that realizes the report of an experiment, such as those in `examples/`."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Sequence

from stagedml.authoring.instantiate import instantiate
from stagedml.authoring.lens import mklens
from stagedml.authoring.session import store_initialize
from stagedml.cli.main import exit_code
from stagedml.cli.output import complain
from stagedml.engine.console import shown
from stagedml.engine.realize import realize
from stagedml.errors import StagedmlError
from stagedml.stages.quickstart import tiny_finetune
from stagedml.types import BertGlue, Report

#: Fine-tunes on a task: its name, then parameters of `bert_finetune_glue`.
Finetune = Callable[..., BertGlue]


def run_experiment(
    experiment: Callable[[Finetune], Report],
    finetune: Finetune,
    description: str | None,
    argv: Sequence[str] | None = None,
) -> None:
    """Realize an experiment's report and print where it is; after a failure, the process ends as `stagedml` does.

    Args:
        experiment: composes runs and their report from a way to fine-tune.
        finetune: that way, one that takes a `folder`, too; with `--tiny` it is `tiny_finetune`.
        description: what `--help` says.
        argv: default the command line.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    world = parser.add_mutually_exclusive_group()
    world.add_argument("--folder", metavar="DIR", help="a local glue_data folder; default the official sources")
    world.add_argument("--tiny", action="store_true", help="a tiny model on generated data: seconds, and no download")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="how many runs at once; default 1")
    arguments = parser.parse_args(argv)
    if arguments.tiny:
        finetune = tiny_finetune
    elif arguments.folder is not None:
        finetune = functools.partial(finetune, folder=arguments.folder)
    try:
        store_initialize()
        rref = realize(instantiate(experiment, finetune), jobs=arguments.jobs, observer=shown(show_plan=True))
        print(rref)
        print(mklens(rref).html.syspath)
    except StagedmlError as error:
        complain(str(error))
        sys.exit(exit_code(error))
