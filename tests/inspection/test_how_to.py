"""What docs/how-to says about looking at results works as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path


def printed_by(page: str, folder: Path) -> str:
    """What the Python on a page prints, run from top to bottom in a folder."""
    script = folder / "page.py"
    script.write_text("\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL)))
    environment = {**os.environ, "STAGEDML_ROOT": str(folder / "root")}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_about_tensorboard_runs_from_top_to_bottom(repository: Path, tmp_path: Path) -> None:
    page = (repository / "docs" / "how-to" / "tensorboard.md").read_text()
    printed = printed_by(page, tmp_path)
    url, *names = printed.splitlines()
    assert url.startswith("http://127.0.0.1:")
    assert names == ["train, learning_rate=0.1", "train, learning_rate=1.0"]
    assert all(name in page for name in names)


def test_the_page_about_pictures_runs_from_top_to_bottom(repository: Path, tmp_path: Path) -> None:
    page = (repository / "docs" / "how-to" / "pictures.md").read_text()
    assert "└─ words" in printed_by(page, tmp_path)
    for name in ("graph.svg", "curves.svg", "bars.svg", "grid.svg", "bars.png"):
        assert name in page
        assert (tmp_path / name).stat().st_size > 1000
