"""All functions of the catalogue: they are declared anywhere, and say what they miss where it is not to be had."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stagedml import instantiate, plan, realize, store_initialize
from stagedml.errors import StagedmlError
from stagedml.inspection.stages import stages
from stagedml.stages import all as catalogue

COMPOSED = [view.name for view in stages(catalogue.__name__) if view.name.startswith(("all_", "dryrun_"))]
FETCHING = [name for name in COMPOSED if name.startswith("all_") and "quickstart" not in name]

_DECLARE = """
import json, socket, sys
from stagedml import instantiate, plan, store_initialize
from stagedml.stages import all as catalogue

def refused(*arguments, **more):
    raise AssertionError("a socket is opened")

socket.socket.connect = socket.getaddrinfo = refused
store_initialize(sys.argv[1])
print(json.dumps({name: len(plan(instantiate(getattr(catalogue, name))).steps) for name in sys.argv[2:]}))
assert not {"tensorflow", "torch", "sentencepiece"} & set(sys.modules)
"""


def test_each_is_declared_without_a_network_and_without_a_framework(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _DECLARE, str(tmp_path / "root"), *COMPOSED], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    steps = json.loads(done.stdout)
    assert steps.keys() == set(COMPOSED)
    assert all(steps.values())


@pytest.mark.parametrize("name", FETCHING)
def test_each_says_offline_what_to_provide(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("STAGEDML_MIRRORS", "STAGEDML_RUSENTIMENT"):
        monkeypatch.delenv(variable, raising=False)
    store_initialize(tmp_path / "root")
    one = ["MRPC"] if name == "all_fetchglue" else []  # of all tasks, which it gives otherwise
    declared = instantiate(getattr(catalogue, name), *one)
    assert plan(declared).builds
    with pytest.raises(StagedmlError, match=r"STAGEDML_MIRRORS|STAGEDML_RUSENTIMENT"):
        realize(declared, offline=True)
