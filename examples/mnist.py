"""A convolutional network on MNIST by learning rate, the best of some instances each, and the report.

python examples/mnist.py [--tiny | --folder FOLDER_WITH_THE_IDX_FILES]
"""

from __future__ import annotations

from collections.abc import Sequence

from stagedml.cli.experiment import Trains, run_experiment
from stagedml.stages.all import *


def all_mnist(
    trains: Trains = all_convnn_mnist, learning_rates: Sequence[float] = (3e-4, 1e-3, 3e-3), instances: int = 3
) -> Report:
    """For each learning rate, the instance that is best on what is held out."""
    return comparison(
        title="Learning rates on MNIST",
        text=f"Of {instances} instances each, the one with the highest accuracy on digits held out of train.",
        runs=[trains(instances=instances, learning_rate=rate) for rate in learning_rates],
        labels=[{"learning_rate": rate} for rate in learning_rates],
        metrics=["eval_accuracy", "test_accuracy"],
    )


if __name__ == "__main__":
    run_experiment(all_mnist, all_convnn_mnist, dryrun_convnn_mnist, __doc__)
