"""Pictures of handwritten digits: the files of MNIST, one file of ours, and how its rows are split.

LeCun, Cortes and Burges, The MNIST database of handwritten digits. Rules this module keeps:
- A file of ours is laid out as Keras's `mnist.npz` is, and the same pictures give the same bytes: nothing in it is
  compressed, so it does not matter by which version of which library.
- *train* and *valid* are MNIST's train with 5 % held out (`held_out`), *test* is MNIST's test. Choices are made on
  valid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stagedml.errors import UsageError
from stagedml.ml.held_out import is_held_out
from stagedml.ml.idx import read_idx
from stagedml.ml.metrics import cross_entropy, measure
from stagedml.ml.tensors import Tensor, open_npz

SIDE = 28
CLASSES = 10
NPZ_FILE = "mnist.npz"
#: The arrays of the file, and what MNIST's own files with them are called; perhaps with `.gz` at the end.
IDX_FILES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}

Arrays = Mapping[str, NDArray[np.uint8]]
"""x_train and x_test (rows, 28, 28), 0 for paper and 255 for ink; y_train and y_test (rows,), which digit it is."""


class NotMnist(UsageError):
    """Files do not hold pictures of digits in MNIST's layout."""

    def __init__(self, source: str, problems: tuple[str, ...]) -> None:
        super().__init__(source, problems)
        self.source, self.problems = source, problems

    def __str__(self) -> str:
        return f"{self.source}: {'; '.join(self.problems)}; give MNIST's four idx files, or Keras's {NPZ_FILE}"


@dataclass(frozen=True)
class Digits:
    """Some pictures.

    Attributes:
        images: (rows, 28, 28) uint8.
        labels: (rows,) int32.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def columns(self) -> dict[str, NDArray[np.generic]]:
        """As `batching` takes them."""
        return {"image": self.images, "label": self.labels}

    def measure(self, logits: NDArray[np.float32]) -> dict[str, float]:
        """How well they are told apart by logits, (rows, 10)."""
        return {
            "loss": cross_entropy(logits, self.labels),
            **measure(("accuracy",), logits.argmax(axis=1), self.labels),
        }


@dataclass(frozen=True)
class Splits:
    """What to train on, to choose by, and to report."""

    train: Digits
    valid: Digits
    test: Digits


def read_mnist_idx(paths: Mapping[str, Path]) -> Arrays:
    """Read MNIST's own files, by the names of the arrays.

    Raises:
        UnreadableIdx, NotMnist: they are none.
    """
    arrays = {name: read_idx(paths[name], axes=3 if name.startswith("x") else 1) for name in IDX_FILES}
    _check(", ".join(str(paths[name]) for name in IDX_FILES), arrays)
    return arrays


def read_mnist(path: Path) -> Arrays:
    """Read a file that is laid out as Keras's.

    Raises:
        UnreadableTensors, NotMnist: it is none.
    """
    with open_npz(path) as tensors:
        found = {name: tensors.by_name[name] for name in IDX_FILES if name in tensors.by_name}
        problems = [f"there is no {name}" for name in IDX_FILES if name not in found]
        problems += [
            f"{name} is {tensor}"
            for name, tensor in found.items()
            if tensor.dtype != "uint8" or len(tensor.shape) != (3 if name.startswith("x") else 1)
        ]
        if problems:
            raise NotMnist(str(path), tuple(problems))
        arrays = {name: _read(tensor) for name, tensor in found.items()}
    _check(str(path), arrays)
    return arrays


def _read(tensor: Tensor) -> NDArray[np.uint8]:
    flat = np.concatenate([np.zeros(0, np.uint8), *tensor.pieces()])
    return np.ascontiguousarray(flat.reshape(tensor.shape, order=tensor.order))


def _check(source: str, arrays: Arrays) -> None:
    problems = []
    for split in ("train", "test"):
        images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
        if images.shape[1:] != (SIDE, SIDE):
            problems.append(
                f"the pictures of {split} have {' x '.join(map(str, images.shape[1:]))} points, not 28 x 28"
            )
        if len(images) != len(labels):
            problems.append(f"{split} has {len(images)} pictures and {len(labels)} labels")
        if not len(labels):
            problems.append(f"{split} has no rows")
        elif labels.max() >= CLASSES:
            problems.append(f"{split} has a label {labels.max()}")
    if problems:
        raise NotMnist(source, tuple(problems))


def write_mnist(path: Path, arrays: Arrays) -> None:
    """Write a file that is laid out as Keras's."""
    ordered: dict[str, Any] = {name: np.ascontiguousarray(arrays[name]) for name in IDX_FILES}
    with path.open("wb") as file:
        np.savez(file, **ordered)


def read_splits(path: Path) -> Splits:
    """The pictures of a file of ours, 5 % of those of its train held out.

    Raises:
        NotMnist: there are too few of them.
    """
    arrays = read_mnist(path)
    images, labels = arrays["x_train"], arrays["y_train"].astype(np.int32)
    chosen = np.array([is_held_out(row) for row in range(len(labels))])
    if chosen.all() or not chosen.any():
        raise NotMnist(str(path), (f"of {len(labels)} rows of train none can be held out",))
    return Splits(
        train=Digits(images[~chosen], labels[~chosen]),
        valid=Digits(images[chosen], labels[chosen]),
        test=Digits(arrays["x_test"], arrays["y_test"].astype(np.int32)),
    )
