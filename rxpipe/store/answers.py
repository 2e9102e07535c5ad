"""Answers: the cells of earlier attempts or runs that a run may take instead of drawing them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rxpipe.artifact import Artifact
    from rxpipe.plan import StageExecution
    from rxpipe.store.records import CellRecord

__all__ = ["Answers"]


class Answers:
    """Cells by what they were drawn from.

    Args:
        cells: of earlier attempts of the run, or of other runs.
        run_id: of the run, if it is resumed: a cell answers only the same image in the same stage, and one that was
            skipped stays so. None for cells of other runs, which answer any image with the same key.
    """

    def __init__(self, cells: Iterable[CellRecord], run_id: str | None) -> None:
        self.cells = tuple(cells)
        self._resumed = run_id is not None
        self._by_key: dict[str, list[CellRecord]] = {}
        allowed = {"done", "passed", "cancelled"} if self._resumed else {"done", "passed"}
        for cell in self.cells:
            if cell.key and cell.outcome in allowed:
                self._by_key.setdefault(cell.key, []).append(cell)

    def find(self, key: str, execution: StageExecution, artifact: Artifact) -> CellRecord | None:
        """Return the cell that answers one image in one stage; None if it has to be drawn."""
        found = self._by_key.get(key, ())
        if self._resumed:
            place = (artifact.id, execution.stage_index)
            return next((cell for cell in found if (cell.artifact_id, cell.stage_index) == place), None)
        same = (cell for cell in found if cell.image_number == artifact.number)
        return next(same, found[0] if found else None)
