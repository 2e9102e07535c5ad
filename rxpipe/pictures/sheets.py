"""Contact sheets: pictures side by side in rows, with labels over the columns and beside the rows. Pillow only."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from rxpipe.errors import BadImage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image, ImageDraw, ImageFont

__all__ = ["MOST_PIXELS", "Sheet", "draw_sheet", "font"]

MOST_PIXELS = 200_000_000
"""Pixels of the largest sheet; larger ones are drawn with smaller pictures."""

_GAP = 4  # px between pictures
_PAPER, _INK = "white", "black"


class Sheet(NamedTuple):
    """What a sheet shows. cells: rows of pictures, None where there is none. title: above it all, "" for none.

    columns, rows: labels, as many as there are columns and rows; empty for none.
    """

    cells: Sequence[Sequence[Image.Image | None]]
    columns: Sequence[str] = ()
    rows: Sequence[str] = ()
    title: str = ""


def draw_sheet(sheets: Sequence[Sheet], *, cell: int | None = None) -> Image.Image:
    """Return one picture of all sheets, one below the other.

    Args:
        sheets: at least one with a picture. cell: longest side of each picture in px; None: as large as they are, or
            as the largest sheet allows.

    Raises:
        BadImage: there is no picture.
    """
    from PIL import Image  # importing rxpipe loads no Pillow  # noqa: PLC0415

    pictures = [picture for sheet in sheets for row in sheet.cells for picture in row if picture is not None]
    if not pictures:
        raise BadImage("a sheet was asked for without a picture.")
    width, height = max(each.width for each in pictures), max(each.height for each in pictures)
    places = sum(len(sheet.cells) * max(len(row) for row in sheet.cells) for sheet in sheets)
    shrink = min(1.0, math.sqrt(MOST_PIXELS / (places * width * height)))
    if cell is not None:
        shrink = min(shrink, cell / max(width, height))
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    drawn = [_drawn(sheet, size) for sheet in sheets]
    whole = Image.new("RGB", (max(each.width for each in drawn), sum(each.height for each in drawn)), _PAPER)
    top = 0
    for each in drawn:
        whole.paste(each, (0, top))
        top += each.height
    return whole


def font(px: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Return Pillow's own font in about that height."""
    from PIL import ImageFont  # as above  # noqa: PLC0415

    return ImageFont.load_default(max(8, px))


def _drawn(sheet: Sheet, size: tuple[int, int]) -> Image.Image:
    from PIL import Image, ImageDraw  # as above  # noqa: PLC0415

    count = max(len(row) for row in sheet.cells)
    letters = font(min(28, max(10, size[1] // 14)))
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    columns = [_wrapped(measure, text, letters, size[0]) for text in sheet.columns]
    rows = [_wrapped(measure, text, letters, max(size[0] // 2, 60)) for text in sheet.rows]
    left = max((_extent(measure, text, letters)[0] for text in rows), default=0) + (2 * _GAP if rows else 0)
    title = _wrapped(measure, sheet.title, letters, left + count * (size[0] + _GAP)) if sheet.title else ""
    above = _extent(measure, title, letters)[1] + 2 * _GAP if title else 0
    top = above + (
        max((_extent(measure, text, letters)[1] for text in columns), default=0) + 2 * _GAP if columns else 0
    )
    page = Image.new(
        "RGB", (left + count * (size[0] + _GAP) + _GAP, top + len(sheet.cells) * (size[1] + _GAP) + _GAP), _PAPER
    )
    pen = ImageDraw.Draw(page)
    if title:
        pen.multiline_text((_GAP, _GAP), title, fill=_INK, font=letters)
    for number, text in enumerate(columns):
        middle = left + _GAP + number * (size[0] + _GAP) + size[0] // 2
        pen.multiline_text((middle, top - _GAP), text, fill=_INK, font=letters, anchor="md", align="center")
    for number, text in enumerate(rows):
        middle = top + _GAP + number * (size[1] + _GAP) + size[1] // 2
        pen.multiline_text((left - _GAP, middle), text, fill=_INK, font=letters, anchor="rm", align="right")
    for y, row in enumerate(sheet.cells):
        for x, picture in enumerate(row):
            if picture is not None:
                _place(page, picture, size, (left + _GAP + x * (size[0] + _GAP), top + _GAP + y * (size[1] + _GAP)))
    return page


def _place(page: Image.Image, picture: Image.Image, size: tuple[int, int], at: tuple[int, int]) -> None:
    from PIL import Image  # as above  # noqa: PLC0415

    scale = min(size[0] / picture.width, size[1] / picture.height)
    fitted = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    shown = picture.convert("RGB")
    shown = shown if fitted == picture.size else shown.resize(fitted, Image.Resampling.LANCZOS)
    page.paste(shown, (at[0] + (size[0] - fitted[0]) // 2, at[1] + (size[1] - fitted[1]) // 2))


def _extent(
    measure: ImageDraw.ImageDraw, text: str, letters: ImageFont.ImageFont | ImageFont.FreeTypeFont
) -> tuple[int, int]:
    if not text:
        return 0, 0
    box = measure.multiline_textbbox((0, 0), text, font=letters)
    return math.ceil(box[2]), math.ceil(box[3])


def _wrapped(
    measure: ImageDraw.ImageDraw, text: str, letters: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int
) -> str:
    """Return the text in lines of at most so many px; at most four lines."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and measure.textlength(longer, font=letters) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(line if len(line) < _LONGEST else line[: _LONGEST - 3] + "..." for line in lines[:_MOST_LINES])


_LONGEST = 60
_MOST_LINES = 4
