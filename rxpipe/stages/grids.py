"""The stage grid: all images pass, and a contact sheet of them follows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rxpipe.errors import ConfigError
from rxpipe.pictures.sheets import Sheet, draw_sheet
from rxpipe.stages.choosing import each
from rxpipe.stages.operators import OperatorStage, operator_stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from PIL import Image
    from reactivex import Observable

    from rxpipe.artifact import Artifact

_LEAST_CELL, _MOST_CELL = 16, 4096


def grid(
    columns: int | None = None, *, cell: int = 512, label: Callable[[Artifact], str] | None = None
) -> OperatorStage:
    """Return a stage that passes all images on, and after them a contact sheet, which is one more image.

    Args:
        columns: how many stand side by side; None: about as many as there are rows.
        cell: longest side of each picture on the sheet in px, 16 to 4096.
        label: what stands over each picture; None: nothing. `lambda image: f"seed {image.seed}"` is one.

    Raises:
        ConfigError: a number is out of range.
    """
    if columns is not None and columns < 1:
        raise ConfigError([f"grid.columns: got {columns}; at least 1"])
    if not _LEAST_CELL <= cell <= _MOST_CELL:
        raise ConfigError([f"grid.cell: got {cell}; {_LEAST_CELL} to {_MOST_CELL} px"])

    def with_sheet(images: list[Artifact]) -> Iterator[Artifact]:
        yield from images
        if images:
            yield _sheet(images, columns or math.ceil(math.sqrt(len(images))), cell, label)

    def operator(source: Observable[Artifact]) -> Observable[Artifact]:
        return source.to_list().flat_map(lambda images: each(with_sheet(images)))

    return operator_stage("grid", operator, columns=columns, cell=cell)


def _sheet(images: list[Artifact], columns: int, cell: int, label: Callable[[Artifact], str] | None) -> Artifact:
    rows = [images[first : first + columns] for first in range(0, len(images), columns)]
    sheets = [
        Sheet([[_small(image, cell) for image in row]], [label(image) for image in row] if label else ())
        for row in rows
    ]
    return images[0].derive("grid").with_image(draw_sheet(sheets, cell=cell))


def _small(image: Artifact, cell: int) -> Image.Image:
    picture = image.to_image()
    picture.thumbnail((cell, cell))
    return picture
