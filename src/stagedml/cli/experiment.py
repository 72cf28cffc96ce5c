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
from stagedml.types import Report, Trained

#: Declares a training, from what an experiment varies.
Trains = Callable[..., Trained]


def run_experiment(
    experiment: Callable[[Trains], Report],
    trains: Trains,
    dryrun: Trains,
    description: str | None,
    argv: Sequence[str] | None = None,
) -> None:
    """Realize an experiment's report and print where it is; after a failure, the process ends as `stagedml` does.

    Args:
        experiment: composes runs and their report from what declares a training.
        trains: that, one that takes a `folder` with data, too.
        dryrun: the same in small, on generated data; it stands for `trains` with `--tiny`.
        description: what `--help` says.
        argv: default the command line.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    world = parser.add_mutually_exclusive_group()
    world.add_argument("--folder", metavar="DIR", help="where the data is; default the official sources")
    world.add_argument("--tiny", action="store_true", help="a tiny model on generated data: seconds, and no download")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="how many runs at once; default 1")
    arguments = parser.parse_args(argv)
    if arguments.tiny:
        trains = dryrun
    elif arguments.folder is not None:
        trains = functools.partial(trains, folder=arguments.folder)
    try:
        store_initialize()
        rref = realize(instantiate(experiment, trains), jobs=arguments.jobs, observer=shown(show_plan=True))
        print(rref)
        print(mklens(rref).html.syspath)
    except StagedmlError as error:
        complain(str(error))
        sys.exit(exit_code(error))
