"""`rxpipe grid RUN` and `rxpipe run --grid`: a labelled sheet of the variants of a run."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rxpipe.cli.history import store_at
from rxpipe.errors import BadImage, ConfigError
from rxpipe.pictures.folders import pictures_at
from rxpipe.pictures.metadata import read_info
from rxpipe.sinks.grids import GridCell, cells_of, draw_grid, save_grid, values_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rxpipe.result import PipelineRunResult

__all__ = ["grid_of_result", "grid_of_run"]


def grid_of_result(result: PipelineRunResult) -> Path:
    """Draw the sheet of a run that has just ended, beside its pictures; return its path.

    Raises:
        ConfigError: more than three axes vary.
        BadImage: no image came through.
    """
    out = result.plan.settings.out if result.plan else None
    return save_grid(draw_grid(cells_of(result)), (out or Path("outputs")).expanduser(), _now())


def grid_of_run(run_id: str, axes: Sequence[str], cell: int | None, out: Path | None, store: Path | None) -> Path:
    """Draw the sheet of a run of the store (a name as of `Store.find`), or of a folder of pictures; return its path.

    Raises:
        StoreError: there is no such run. BadImage: it has no picture. ConfigError: an axis is wrong.
    """
    if Path(run_id).is_dir():
        sheet = draw_grid(_cells_at(pictures_at([run_id])), axes, cell=cell)
        folder = Path(run_id)
    else:
        runs = store_at(store)
        result = runs.result(runs.find(run_id).run_id)
        paths = [record.path for record in result.finished if record.path is not None]
        sheet = draw_grid(_cells_at(paths), axes, cell=cell)
        folder = Path((result.plan.settings.out if result.plan else None) or "outputs").expanduser()
    if out is None:
        return save_grid(sheet, folder, _now())
    try:
        sheet.save(out)
    except ValueError as error:
        raise ConfigError([f"--out {out}: should end as a picture does, in .png, .jpg or .webp"]) from error
    except OSError as error:
        raise ConfigError([f"--out {out}: cannot be written: {error.strerror}"]) from error
    return out


def _cells_at(paths: Iterable[Path]) -> list[GridCell]:
    cells = []
    for path in paths:
        lineage = read_info(path).lineage
        variant = lineage.metadata.get("variant") if lineage else None
        if lineage is not None and lineage.parent is None and isinstance(variant, dict):
            cells.append(GridCell(values_of(variant, lineage.seed), path.read_bytes()))
        elif lineage is not None and lineage.parent is None:
            cells.append(GridCell(values_of({}, lineage.seed), path.read_bytes()))
    if not cells:
        raise BadImage("there is no picture of rxpipe's to draw a grid of.")
    return cells


def _now() -> datetime:
    return datetime.now(UTC).astimezone()
