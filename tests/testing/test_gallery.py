"""The notebook of the kit: its cells run, and what it stores is what they give."""

from __future__ import annotations

import linecache
from pathlib import Path

import nbformat

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "marbles.ipynb"


def run_cell(cell, names, number):
    """Run a cell as a notebook does: its lines can be quoted in failures."""
    code = cell.source.replace("from IPython.display import display\n", "")
    file = f"ipykernel-{number}"
    linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
    exec(compile(code, file, "exec"), names)  # noqa: S102 - the notebook is ours


REASONS = (
    "b came 2 ms late",
    "the end was expected at 4 ms; c came at 5 ms",
    '["size"][1] is 768, not 512',
    "the error is TimeoutError",
    "the end is missing",
    "the order is b a, not a b",
    "raised in halve",
    "a subscription was never disposed",
    "the value 'run 2', after the end",
    "an error is never lost",
    "The test waits for ever",
)


def test_the_notebook_passes_and_shows_what_failures_look_like(capsys):
    """Its three chapters run; seven wrong expectations with their pictures, and what else fails a test."""
    notebook = nbformat.read(NOTEBOOK, 4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    chapters = [line for cell in notebook.cells for line in cell.source.splitlines() if line.startswith("# ")]
    assert [title[2:] for title in chapters if title[2].isdigit()] == [
        "1. A first test",
        "2. Time and threads",
        "3. A pipeline",
    ]
    pictures = []
    names = {"display": lambda shown: pictures.append(shown._repr_svg_())}
    for number, cell in enumerate(cells):
        run_cell(cell, names, number)
    printed = capsys.readouterr().out
    assert len(pictures) == printed.count("actual as text") == 7
    assert [reason for reason in REASONS if reason not in " ".join(printed.split())] == []
    outputs = [output for cell in cells for output in cell.outputs]
    assert [output for output in outputs if output.output_type == "error"] == []
    assert [output.data["image/svg+xml"] for output in outputs if output.output_type == "display_data"] == pictures
    assert [output.text for output in outputs if output.output_type == "stream" and output.text not in printed] == []
