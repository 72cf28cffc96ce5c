"""MNIST: pictures of handwritten digits, from the published files, from a local folder, or drawn by program.

LeCun, Cortes and Burges, The MNIST database of handwritten digits. The sums are those that TensorFlow Datasets checks.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, get_args

from stagedml.authoring.build import Build
from stagedml.authoring.pylightnix import RefPath
from stagedml.authoring.stage import output, stage
from stagedml.errors import UsageError
from stagedml.ml.mnist import IDX_FILES, NPZ_FILE
from stagedml.stages.fetch import fetchlocal, fetchurl, local_path
from stagedml.types import Mnist

Layout = Literal["idx", "npz"]

_IDX = "https://storage.googleapis.com/cvdf-datasets/mnist/"
_IDX_SHA256 = {
    "x_train": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "y_train": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "x_test": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "y_test": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
_NPZ = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
_NPZ_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"


class NoMnistFiles(UsageError):
    """A local folder does not hold MNIST."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.folder = folder

    def __str__(self) -> str:
        wanted = ", ".join(f"{name}[.gz]" for name in IDX_FILES.values())
        return f"{self.folder} holds neither {NPZ_FILE} nor all of {wanted}"


@stage(Mnist, name="mnist")
def mnist_idx(
    build: Build,
    *,
    x_train: RefPath,
    y_train: RefPath,
    x_test: RefPath,
    y_test: RefPath,
    mnist: RefPath = output(NPZ_FILE),
) -> None:
    """Put MNIST's own four files, in the idx format, into one."""
    from stagedml.ml.mnist import read_mnist_idx, write_mnist

    files = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    write_mnist(build.path(mnist), read_mnist_idx({name: build.path(path) for name, path in files.items()}))


@stage(Mnist, name="mnist")
def mnist_npz(build: Build, *, source: RefPath, mnist: RefPath = output(NPZ_FILE)) -> None:
    """Check a file that is laid out as Keras's, and write it as `mnist_idx` writes its own."""
    from stagedml.ml.mnist import read_mnist, write_mnist

    write_mnist(build.path(mnist), read_mnist(build.path(source)))


@stage(Mnist, name="mnist-drawn")
def mnist_drawn(build: Build, *, train: int, test: int, seed: int = 0, mnist: RefPath = output(NPZ_FILE)) -> None:
    """Draw digits; see `stagedml.ml.drawn_digits`."""
    from stagedml.ml.drawn_digits import draw_mnist
    from stagedml.ml.mnist import write_mnist

    write_mnist(build.path(mnist), draw_mnist(train=train, test=test, seed=build.seed))


def fetch_mnist(folder: str | os.PathLike[str] | None = None, layout: Layout = "idx") -> Mnist:
    """MNIST.

    Args:
        folder: a local folder with the files of either layout, those of MNIST compressed or not; default the official
            sources.
        layout: which official files: "idx" for MNIST's own, "npz" for Keras's. What comes out is the same.

    Raises:
        NoMnistFiles: the folder does not hold them.
        UsageError: there is no such layout.
    """
    if layout not in get_args(Layout):
        raise UsageError(f"layout is {layout!r}, none of {', '.join(get_args(Layout))}")
    if folder is not None:
        return _local(local_path("fetch_mnist", folder))
    if layout == "npz":
        return mnist_npz(source=fetchurl(_NPZ, sha256=_NPZ_SHA256).file)
    return mnist_idx(
        **{name: fetchurl(f"{_IDX}{file}.gz", sha256=_IDX_SHA256[name]).file for name, file in IDX_FILES.items()}
    )


def _local(folder: Path) -> Mnist:
    places = {
        name: next((path for path in (folder / f"{file}.gz", folder / file) if path.is_file()), None)
        for name, file in IDX_FILES.items()
    }
    found = {name: path for name, path in places.items() if path is not None}
    if len(found) == len(places):
        return mnist_idx(**{name: fetchlocal(path).file for name, path in found.items()})
    if (folder / NPZ_FILE).is_file():
        return mnist_npz(source=fetchlocal(folder / NPZ_FILE).file)
    raise NoMnistFiles(str(folder))
