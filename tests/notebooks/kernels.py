"""Notebooks run in a kernel of the interpreter that runs the tests."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient


def executed(notebook: Any, folder: Path, timeout_s: int = 120) -> Any:
    """A notebook with the outputs that its cells give, in order. Raises what a cell raises.

    Args:
        notebook: as `nbformat` reads it.
        folder: where the kernel works, and what it needs is kept.
        timeout_s: for each cell.
    """
    spec = folder / "kernels" / "tests"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    environment = {
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent.parent / "src"),
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
    }
    (spec / "kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": "tests", "language": "python", "env": environment})
    )
    specs = KernelSpecManager(kernel_dirs=[str(spec.parent)], ensure_native_kernel=False)
    manager = AsyncKernelManager(kernel_name="tests", kernel_spec_manager=specs)
    client = NotebookClient(
        notebook, km=manager, timeout=timeout_s, resources={"metadata": {"path": str(folder)}}, kernel_name="tests"
    )
    return client.execute()


def notebook_of(*cells: str) -> Any:
    """A notebook of code cells."""
    return nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))  # type: ignore[no-untyped-call]


def outputs(cell: Any, kind: str) -> list[str]:
    """The outputs of a cell of one kind, such as `text/html`."""
    found = [output["data"].get(kind) for output in cell.outputs if "data" in output]
    return [text for text in found if text is not None]
