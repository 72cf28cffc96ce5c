"""A mini BERT pre-trained on Wikipedia epoch by epoch, and the report.

python examples/pretraining.py [--tiny | --folder DUMP]
"""

from __future__ import annotations

from typing import Any

from stagedml.cli.experiment import Trains, run_experiment
from stagedml.stages.all import *


def pretrain(start: BertPretrained | None = None, folder: str | None = None, **settings: Any) -> BertPretrained:
    """On the English Wikipedia; `folder` is a local dump of it."""
    return all_minibert_pretrain(all_enwiki_tfrecords(folder), start, **settings)


def all_pretraining(trains: Trains = pretrain, epochs: int = 3) -> Report:
    """A run for each epoch, which goes on from the one before: with one epoch more, that one alone is trained."""
    links = [trains(train_epoches=1)]
    while len(links) < epochs:
        links.append(trains(start=links[-1], train_epoches=1))
    return comparison(
        title="A mini BERT, pre-trained on Wikipedia",
        text="Measured on articles that are held out: the loss of masked word pieces in nats, and the share that is "
        "named rightly. Each epoch warms up and decays by itself.",
        runs=[*links],
        labels=[{"epochs": number} for number in range(1, epochs + 1)],
    )


if __name__ == "__main__":
    run_experiment(all_pretraining, pretrain, dryrun_bert_pretrain, __doc__)
