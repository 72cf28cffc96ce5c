"""Vocabularies for writing Bash commands, and the report.

python examples/nl2bash.py [--tiny | --folder FOLDER_WITH_ALL_NL_AND_ALL_CM]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stagedml.cli.experiment import Trains, run_experiment
from stagedml.stages.all import *

VOCABULARIES: dict[str, dict[str, Any]] = {
    "names, flags and signs": {},
    "names and signs": {"reserve_flags": False},
    "signs": {"reserve_names": False, "reserve_flags": False},
    "as plain text": {"reserve_names": False, "reserve_flags": False, "reserve_signs": False},
}


def all_nl2bash(trains: Trains = all_transformer_nl2bash, vocabularies: Sequence[str] = tuple(VOCABULARIES)) -> Report:
    """A run for each vocabulary; the rest of each run is as `trains` has it."""

    def with_vocabulary(name: str) -> Trained:
        return redefine(trains, new_config=lambda own: own.update(VOCABULARIES[name]), at=bash_subwords)()

    return comparison(
        title="Vocabularies for Bash",
        text="What of a command is one subword whatever the texts say. An exact match is a command written letter by "
        "letter as in the reference; many others would do the same.",
        runs=[with_vocabulary(name) for name in vocabularies],
        labels=[{"vocabulary": name} for name in vocabularies],
        metrics=["eval_bleu", "eval_exact_match", "eval_loss"],
    )


if __name__ == "__main__":
    run_experiment(all_nl2bash, all_transformer_nl2bash, dryrun_transformer_nl2bash, __doc__)
