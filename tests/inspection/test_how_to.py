"""docs/how-to/pictures.md does what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path


def test_the_page_about_pictures_runs_from_top_to_bottom(repository: Path, tmp_path: Path) -> None:
    page = (repository / "docs" / "how-to" / "pictures.md").read_text()
    script = tmp_path / "page.py"
    script.write_text("\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL)))
    environment = {**os.environ, "STAGEDML_ROOT": str(tmp_path / "root")}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "└─ words" in done.stdout
    for name in ("graph.svg", "curves.svg", "bars.svg", "grid.svg", "bars.png"):
        assert name in page
        assert (tmp_path / name).stat().st_size > 1000
