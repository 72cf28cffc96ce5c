"""TensorFlow is imported once, on request, with the Keras that tf-models-official needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def _run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_importing_the_module_imports_no_tensorflow() -> None:
    done = _run("import stagedml.ml.framework, sys; sys.exit('tensorflow' in sys.modules)")
    assert done.returncode == 0, done.stderr


def test_a_tensorflow_with_the_wrong_keras_is_an_error_that_says_what_to_do() -> None:
    # TensorFlow need not be installed to be imported too early: the test's own empty module does.
    done = _run(
        "import os, sys, types; os.environ.pop('TF_USE_LEGACY_KERAS', None)\n"
        "sys.modules['tensorflow'] = types.ModuleType('tensorflow')\n"
        "from stagedml.ml.framework import tf"
    )
    assert "WrongKeras" in done.stderr
    assert "export TF_USE_LEGACY_KERAS=1" in done.stderr


def test_a_missing_tensorflow_is_an_error_that_says_what_to_install() -> None:
    done = _run("import sys; sys.modules['tensorflow'] = None\nfrom stagedml.ml.framework import tf")
    assert "FrameworkMissing" in done.stderr
    assert "pip install 'stagedml[tf]'" in done.stderr


@pytest.mark.tensorflow
def test_triton_is_loaded_before_tensorflow_since_after_it_the_process_would_end(tmp_path: Path) -> None:
    (tmp_path / "triton.py").write_text("import sys\nis_first = 'tensorflow' not in sys.modules\n")
    done = _run(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from stagedml.ml.framework import tf\n"
        "assert sys.modules['triton'].is_first"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.tensorflow
def test_tensorflow_comes_with_keras_2_and_keeps_quiet() -> None:
    done = _run(
        "from stagedml.ml.framework import tf, tf_keras\n"
        "assert tf.keras.Model is tf_keras.Model\n"
        "assert tf.constant(1).numpy() == 1"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
