"""The notebooks in `examples/` run, and show what they promise."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from notebooks.kernels import executed, outputs

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent.parent / "examples").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    assert notebook.metadata.keys() == {"kernelspec", "language_info"}
    for cell in notebook.cells:
        assert not cell.metadata, cell.id
        assert not cell.get("outputs"), cell.id
        assert cell.get("execution_count") is None, cell.id


def test_the_session_runs_from_beginning_to_end(tmp_path: Path, repository: Path) -> None:
    notebook = nbformat.read(repository / "examples" / "session.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    cells = {cell.id: cell for cell in executed(notebook, tmp_path).cells}
    progress, realization = outputs(cells["realize"], "text/html")
    assert "built in" in progress
    assert "<polyline" in realization
    assert "eval_accuracy" in realization
    assert outputs(cells["realize"], "text/plain")[1].startswith("'rref:")
    assert "rate 0.05 -&gt; 0.001" in outputs(cells["change"], "text/html")[1]
    (plan,) = outputs(cells["code"], "text/plain")
    assert "(probabilities)" in plan
    assert plan.endswith("1 to make, 1 reused")
    assert outputs(cells["instances"], "text/plain")[1].count("rref:") == 5
    assert "eval_accuracy" in outputs(cells["best"], "text/html")[0]
    assert "session/best" in cells["keep"].outputs[0]["text"]
    assert "no realizations would go" in outputs(cells["keep"], "text/plain")[0]
    assert not [cell.id for cell in notebook.cells for output in cell.get("outputs", ()) if "stderr" in str(output)]
