"""The gallery notebook: its cells run, and what it stores is what they give."""

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


def test_the_gallery_passes_and_shows_five_failures_with_their_pictures(capsys):
    """Ten tests of other people's documentation, five wrong expectations, a run, a replay, a counter-example."""
    cells = [cell for cell in nbformat.read(NOTEBOOK, 4).cells if cell.cell_type == "code"]
    pictures = []
    names = {"display": lambda shown: pictures.append(shown._repr_svg_())}
    for number, cell in enumerate(cells):
        run_cell(cell, names, number)
    printed = capsys.readouterr().out
    assert len(pictures) == printed.count("actual as text") == 5
    for reason in ("b came 2 ms late", "c came at 5 ms", '["seed"] is 8, not 7', "the error is", "the end is missing"):
        assert reason in printed
    outputs = [output for cell in cells for output in cell.outputs]
    assert [output for output in outputs if output.output_type == "error"] == []
    assert [output.data["image/svg+xml"] for output in outputs if output.output_type == "display_data"] == pictures
    assert [output.text for output in outputs if output.output_type == "stream" and output.text not in printed] == []
