"""The notebooks run from top to bottom on the embedded backend, and what is stored in them is small."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
SLOW = {"live_progress", "several_machines"}
LIMIT_BYTES = 400_000


@pytest.mark.sampled(1)
@pytest.mark.filterwarnings("default")  # of the notebook machinery; the kernel is another process
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.slow] if path.stem in SLOW else []) for path in NOTEBOOKS],
    ids=[path.stem for path in NOTEBOOKS],
)
@pytest.mark.slow
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    """Every cell, in a fresh kernel, in an empty folder; only a cell that says so may raise."""
    monkeypatch.setenv("RXPIPE_BACKEND", "embedded")
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(tmp_path)}}).execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_executed_and_small(path):
    """A reader sees its outputs without running it, and the repository stays small."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    assert any(cell.outputs for cell in code)
    assert path.stat().st_size < LIMIT_BYTES
    assert "/work/" not in path.read_text(encoding="utf-8")
