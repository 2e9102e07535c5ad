"""The metadata of a picture of any tool: rxpipe, A1111, ComfyUI, SwarmUI, InvokeAI, NovelAI, Fooocus.

One file reads one dialect. Settings come out under A1111's names in every dialect, so that a picture of any tool can be
compared with another's, and rendered again.
"""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, Field

from rxpipe.errors import BadImage
from rxpipe.pictures import a1111, comfyui, fooocus, invokeai, novelai, png, swarmui
from rxpipe.pictures.dialect import Dialect, Parsed
from rxpipe.pictures.exif import read_texts
from rxpipe.pictures.lineage import LINEAGE_KEY, Lineage, parse_lineage
from rxpipe.pictures.opening import opened

__all__ = ["DECODED_BYTES", "DECODED_PIXELS", "Dialect", "ImageInfo", "read_info", "read_open"]

DECODED_PIXELS = 20_000_000
"""Pixels of a picture that is decoded whole, to find out whether it is: 200 MB in the hungriest format. Of a larger one
only the header and the metadata are read."""

DECODED_BYTES = 64 << 20
"""Bytes of a file that is decoded whole: three for each of those pixels, uncompressed."""

_DECODED_SCANS = 100  # of a JPEG; each goes over all pixels, and honest ones have ten
_HEAD = 1 << 20  # bytes at the begin of a file, behind any thumbnail in which its size stands
_PIPE_BYTES = DECODED_BYTES  # of what cannot be sought in, and must be in memory

_READERS = (swarmui.read, fooocus.read, invokeai.read, novelai.read, comfyui.read, a1111.read)
"""A reader for each dialect; the first that understands the texts decides. A1111's accepts almost any."""


class ImageInfo(BaseModel):
    """A picture's format, size and all that is written in it.

    format: Pillow's name, such as PNG. width, height: pixels as stored, before any EXIF rotation.
    dialect: the program whose metadata it is; None where none was recognised.
    settings: A1111's names (Steps, Sampler, CFG scale, Seed, Size, Model, ...) to values as text, in the file's order.
    lineage: rxpipe's own record; None for pictures of other programs.
    texts: everything as found, by key; EXIF under `UserComment`, `Software` and the like, a GIF's or JPEG's under
        `comment`.
    problems: metadata that is there but could not be read.
    """

    model_config = ConfigDict(frozen=True)
    format: str
    width: int
    height: int
    dialect: Dialect | None = None
    prompt: str = ""
    negative_prompt: str = ""
    settings: dict[str, str] = Field(default_factory=dict)
    lineage: Lineage | None = None
    texts: dict[str, str] = Field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def seed(self) -> int | None:
        """The seed it was rendered from; None where the metadata has none."""
        seed = self.settings.get("Seed", "")
        if re.fullmatch(r"-?\d{1,20}", seed):
            return int(seed)
        return self.lineage.seed if self.lineage else None


def read_info(source: Path | str | bytes) -> ImageInfo:
    """Read format, size and all metadata of a picture.

    Args:
        source: a file, or the encoded picture. PNG is read without Pillow, all else with it.

    Raises:
        BadImage: no such file, no picture, or a damaged one; names the file and the place in it.
    """
    if isinstance(source, bytes):
        return read_open(io.BytesIO(source))
    path = Path(source)
    try:
        with path.open("rb") as file:
            return read_open(file if file.seekable() else io.BytesIO(file.read(_PIPE_BYTES)))
    except FileNotFoundError as error:
        raise BadImage(f"{path}: no such file.", hint="Give the path of a picture.") from error
    except OSError as error:
        raise BadImage(f"{path}: cannot be read: {error.strerror}.", hint="Give the path of a picture.") from error
    except BadImage as error:
        raise BadImage(f"{path}: {error.message}", hint=error.hint) from error


def read_open(file: BinaryIO) -> ImageInfo:
    """Read as `read_info` does from an open file that can be sought in; no more of it than is needed.

    Raises:
        BadImage: no picture, or a damaged one; names the place in the file.
    """
    file.seek(0)
    size = png.pixel_size(file.read(_HEAD))
    if size is not None and size.format == "PNG":
        header, texts = png.read_file(file)
        return _parse("PNG", header.width, header.height, texts)
    return _read_with_pillow(file)


def _parse(kind: str, width: int, height: int, texts: dict[str, str]) -> ImageInfo:
    parsed = next((found for read in _READERS if (found := read(texts)) is not None), Parsed())
    lineage, problem = parse_lineage(texts.get(LINEAGE_KEY))
    return ImageInfo(
        format=kind,
        width=width,
        height=height,
        dialect="rxpipe" if lineage else parsed.dialect,
        prompt=_utf8_safe(parsed.prompt),
        negative_prompt=_utf8_safe(parsed.negative_prompt),
        settings={_utf8_safe(key): _utf8_safe(value) for key, value in parsed.settings.items()},
        lineage=lineage,
        texts={_utf8_safe(key): _utf8_safe(value) for key, value in texts.items()},
        problems=(problem,) if problem else (),
    )


def _utf8_safe(text: str) -> str:
    """Return *text* with "?" for lone surrogates, which JSON can hold and nothing else can."""
    return text.encode("utf-8", "replace").decode()


# -- other formats than PNG -------------------------------------------------------------------------------------------


def _read_with_pillow(file: BinaryIO) -> ImageInfo:
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters is raised as an error
        with opened(file) as image:
            if _may_be_decoded(file, image.width * image.height):
                image.load()
            return _parse(image.format or "unknown", *image.size, read_texts(image))


def _may_be_decoded(file: BinaryIO, pixels: int) -> bool:
    """Return whether that takes bounded time and memory."""
    position = file.tell()
    scans = 0
    size = file.seek(0, io.SEEK_END)
    if pixels <= DECODED_PIXELS and size <= DECODED_BYTES:
        file.seek(0)
        while piece := file.read(_HEAD):
            scans += piece.count(b"\xff\xda")
    file.seek(position)
    return pixels <= DECODED_PIXELS and size <= DECODED_BYTES and scans <= _DECODED_SCANS
