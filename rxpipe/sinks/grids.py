"""Sheets of the variants of a run: its pictures in rows and columns of up to three axes, with labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rxpipe.errors import BadImage, ConfigError, suggestion
from rxpipe.pictures.opening import upright
from rxpipe.pictures.sheets import Sheet, draw_sheet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from PIL import Image

    from rxpipe.result import PipelineRunResult

__all__ = ["GridCell", "cells_of", "draw_grid", "save_grid", "values_of", "variant_grid"]

_MOST_AXES = 3
_SEED = "seed"


class GridCell(NamedTuple):
    """One picture of a grid. values: what it has on each axis, as text; the seed is one. picture: encoded."""

    values: Mapping[str, str]
    picture: bytes


def cells_of(result: PipelineRunResult) -> list[GridCell]:
    """Return the pictures of a run that came through, in order; images that were derived from others are left out.

    Raises:
        BadImage: a picture's file is gone.
    """
    artifacts = [(record, result.artifact(record)) for record in result.finished]
    return [
        GridCell(values_of(record.variant, record.seed), artifact.read())
        for record, artifact in artifacts
        if artifact.parent is None
    ]


def values_of(variant: Mapping[str, Any], seed: int | None) -> dict[str, str]:
    """Return the axes of a picture as text: those of its variant, and its seed."""
    named = {name: _said(value) for name, value in variant.items() if name != "number"}
    return {**named, _SEED: str(seed)}


def _said(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def variant_grid(result: PipelineRunResult, *axes: str, cell: int | None = None) -> Image.Image:
    """Return a labelled sheet of the variants of a run; arguments and errors are those of `draw_grid`."""
    return draw_grid(cells_of(result), axes, cell=cell)


def draw_grid(cells: Sequence[GridCell], axes: Sequence[str] = (), *, cell: int | None = None) -> Image.Image:
    """Return one picture of all cells: the last axis from left to right, the one before downwards, a third in sheets.

    Args:
        cells: at least one. axes: up to three, by their full names or the last part of them; none: all that vary.
        cell: longest side of each picture in px; None: as large as they are.

    Raises:
        BadImage: there is no picture.
        ConfigError: more than three axes vary, or there is none of a name.
    """
    if not cells:
        raise BadImage("a grid was asked for without a picture.", hint="Of the run no image came through.")
    chosen = _chosen(cells, axes)
    values = {axis: list(dict.fromkeys(each.values.get(axis, "") for each in cells)) for axis in chosen}
    placed: dict[tuple[str, ...], GridCell] = {}
    for each in cells:
        placed.setdefault(tuple(each.values.get(axis, "") for axis in chosen), each)
    *outer, across = chosen or [""]
    down = outer[-1] if outer else ""
    titles = values[outer[0]] if len(outer) > 1 else [""]
    sheets = []
    for title in titles:
        head = (title,) if len(outer) > 1 else ()
        rows = [
            [
                placed.get((*head, *((row,) if down else ()), *((column,) if across else ())))
                for column in values.get(across, [""])
            ]
            for row in values.get(down, [""])
        ]
        sheets.append(
            Sheet(
                [[_decoded(found) for found in row] for row in rows],
                [_label(across, value) for value in values.get(across, ())],
                [_label(down, value) for value in values.get(down, ())],
                _label(outer[0], title) if len(outer) > 1 else "",
            )
        )
    return draw_sheet(sheets, cell=cell)


def _chosen(cells: Sequence[GridCell], axes: Sequence[str]) -> list[str]:
    names = list(dict.fromkeys(name for each in cells for name in each.values))
    if axes:
        by_short = {name.rpartition(".")[2]: name for name in reversed(names)}
        wrong = [axis for axis in axes if axis not in names and axis not in by_short]
        if wrong:
            known = [name.rpartition(".")[2] for name in names]
            raise ConfigError([f"--axes: there is no axis {axis!r}; {suggestion(axis, known)}" for axis in wrong])
        chosen = [axis if axis in names else by_short[axis] for axis in axes]
    else:
        varying = [name for name in names if len({each.values.get(name, "") for each in cells}) > 1]
        chosen = _without_followers(varying, cells)
    if len(chosen) > _MOST_AXES:
        listed = ", ".join(name.rpartition(".")[2] for name in chosen)
        raise ConfigError(
            [f"--axes: {len(chosen)} axes vary ({listed}), and a grid shows up to three"], hint="Name three of them."
        )
    return chosen


def _without_followers(varying: list[str], cells: Sequence[GridCell]) -> list[str]:
    """Leave out what another axis decides: a prompt that differs only by its slots, seeds that count with variants."""
    kept: list[str] = []
    for name in varying:
        others = [each for each in varying if each != name and (each in kept or name == _SEED or _is_prompt(name))]
        others = [each for each in others if not _is_prompt(each) or name == _SEED]
        seen: dict[tuple[str, ...], set[str]] = {}
        for each in cells:
            seen.setdefault(tuple(each.values.get(other, "") for other in others), set()).add(each.values.get(name, ""))
        if (name != _SEED and not _is_prompt(name)) or any(len(found) > 1 for found in seen.values()):
            kept.append(name)
    return kept


def _is_prompt(name: str) -> bool:
    return name.endswith("prompt")


def _label(axis: str, value: str) -> str:
    short = axis.rpartition(".")[2]
    return value if _is_prompt(short) or not short else f"{short} {value}"


def _decoded(cell: GridCell | None) -> Image.Image | None:
    return None if cell is None else upright(cell.picture, "a picture of the grid")


def save_grid(image: Image.Image, out: Path, now: datetime) -> Path:
    """Write a grid as A1111 does, below `txt2img-grids`, under the next free number; return its path."""
    folder = out / "txt2img-grids" / f"{now:%Y-%m-%d}"
    folder.mkdir(parents=True, exist_ok=True)
    taken = [int(path.stem[5:]) for path in folder.glob("grid-*.png") if path.stem[5:].isdecimal()]
    number = max(taken, default=-1) + 1
    while True:
        target = folder / f"grid-{number:04}.png"
        try:
            with target.open("xb") as file:
                image.save(file, "PNG")
        except FileExistsError:
            number += 1
        else:
            return target
