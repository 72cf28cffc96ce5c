"""The catalogue as a whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ALL = """
import sys
from stagedml.stages import all as catalogue
from stagedml import instantiate, store_initialize

store_initialize(sys.argv[1])
names = [name for name in catalogue.__all__ if name.startswith(("all_", "dryrun_")) and name != "all_fetchglue"]
for name in names:
    instantiate(getattr(catalogue, name))
assert not {"tensorflow", "torch"} & set(sys.modules)
print(len(names))
"""


def test_everything_instantiates_offline_without_tensorflow_and_is_covered_by_fingerprints(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ALL, str(tmp_path / "root")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10
    assert "no fingerprint covers" not in done.stderr
