"""Networks on MNIST. LeCun et al. 1998, Gradient-Based Learning Applied to Document Recognition.

The digits are the official four files, or Keras's `mnist.npz`, which holds the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from stagedml.authoring.matchers import best
from stagedml.authoring.redefine import redefine
from stagedml.stages.datasets.mnist import Layout, fetch_mnist
from stagedml.stages.fetch import Local
from stagedml.stages.models.mnist import convnn_mnist, lenet_mnist
from stagedml.types import ConvnnMnist, LenetMnist, Mnist

_P = ParamSpec("_P")
_R = TypeVar("_R")


def all_fetchmnist(folder: Local | None = None, layout: Layout = "idx") -> Mnist:
    """MNIST: 60,000 pictures of handwritten digits to learn from, 10,000 to be tested with.

    Args:
        folder: a local folder with MNIST's four idx files, or Keras's mnist.npz; default the official sources.
        layout: which official files: "idx" or "npz". What comes out is the same.
    """
    return fetch_mnist(folder, layout)


def all_convnn_mnist(folder: Local | None = None, instances: int = 1, **settings: Any) -> ConvnnMnist:
    """A convolutional network on MNIST: of some instances, the one that is best on what is held out of train.

    Args:
        folder: as of `all_fetchmnist`.
        instances: how many to train.
        settings: parameters of `convnn_mnist`.
    """
    return best_of(convnn_mnist, instances)(mnist=fetch_mnist(folder), **settings)


def all_lenet_mnist(folder: Local | None = None, instances: int = 1, **settings: Any) -> LenetMnist:
    """LeNet on MNIST, in PyTorch; arguments as of `all_convnn_mnist`, settings those of `lenet_mnist`."""
    return best_of(lenet_mnist, instances)(mnist=fetch_mnist(folder), **settings)


def best_of(trained: Callable[_P, _R], instances: int) -> Callable[_P, _R]:
    """The stage, of which the best of some instances stands for all."""
    return redefine(trained, new_matcher=best("eval_accuracy", of=instances))
