"""The one place that imports TensorFlow; everybody else writes `from stagedml.ml.framework import tf, tf_keras`.

Asking for `tf` or `tf_keras` imports TensorFlow, which takes seconds: do it inside functions, or at the top of modules
that only builders import. Importing this module alone costs nothing.

Where PyTorch is installed, Triton came with it, which PyTorch loads late. Loaded after TensorFlow it ends the process
(https://github.com/tensorflow/tensorflow/issues/124205), so it is loaded first.

tf-models-official is written for Keras 2 (the package `tf_keras`). TensorFlow decides when it is first imported which
Keras it takes, by `TF_USE_LEGACY_KERAS`; so the variable must be set before, and cannot be mended afterwards.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
import sys
from typing import Any

from stagedml.errors import UsageError

_MODULES = ("tf", "tf_keras")


class WrongKeras(UsageError):
    """TensorFlow is in this process already, and was imported with Keras 3."""

    def __str__(self) -> str:
        return (
            "TensorFlow was imported in this process before StagedML needed it, without TF_USE_LEGACY_KERAS=1, and so "
            "with Keras 3, which tf-models-official cannot use; restart Python and `export TF_USE_LEGACY_KERAS=1` "
            "before, or let StagedML import TensorFlow first"
        )


class FrameworkMissing(UsageError):
    """TensorFlow, or a package that belongs to it, is not installed."""

    def __init__(self, package: str) -> None:
        super().__init__(package)
        self.package = package

    def __str__(self) -> str:
        return f"{self.package} is not installed; this builder needs it: pip install 'stagedml[tf]'"


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return dict(zip(_MODULES, _import(), strict=True))[name]


@functools.cache
def _import() -> tuple[Any, Any]:
    if "tensorflow" in sys.modules and os.environ.get("TF_USE_LEGACY_KERAS") not in ("1", "true", "True"):
        raise WrongKeras()
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    if "tensorflow" not in sys.modules:
        with contextlib.suppress(ImportError):
            importlib.import_module("triton")
    # The native part logs each absent GPU as an error; what really goes wrong comes up as a Python exception.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import tensorflow
        import tf_keras
    except ModuleNotFoundError as error:
        raise FrameworkMissing(error.name or "tensorflow") from error
    # Deprecations inside of tf_keras and tf-models, which nobody here can act upon.
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return tensorflow, tf_keras
