"""The metadata of a picture of any tool: its texts, wherever they stand, read by the dialect that they are of.

Settings come out under A1111's names in every dialect, so that a picture of any tool can be compared with another's,
and rendered again.
"""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from pydantic import BaseModel, ConfigDict, Field

from rxpipe.errors import BadImage
from rxpipe.pictures import png
from rxpipe.pictures.dialects import Dialect, Found, Parsed, parse
from rxpipe.pictures.exif import read_texts, texts_of_exif, unpacked
from rxpipe.pictures.hidden import hidden_text
from rxpipe.pictures.lineage import LINEAGE_KEY, Lineage, parse_lineage
from rxpipe.pictures.opening import DECODERS_RAISE, opened
from rxpipe.shown import cut

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["DECODED_BYTES", "DECODED_PIXELS", "Dialect", "ImageInfo", "read_info", "read_open"]

DECODED_PIXELS = 20_000_000
"""Pixels of a picture that is decoded whole, to find out whether it is: 200 MB in the hungriest format. Of a larger one
only the header and the metadata are read."""

DECODED_BYTES = 64 << 20
"""Bytes of a file that is decoded whole: three for each of those pixels, uncompressed."""

_DECODED_SCANS = 100  # of a JPEG; each goes over all pixels, and honest ones have ten
_HEAD = 1 << 20  # bytes at the begin of a file, behind any thumbnail in which its size stands
_PIPE_BYTES = DECODED_BYTES  # of what cannot be sought in, and must be in memory


class ImageInfo(BaseModel):
    """A picture's format, size and all that is written in it.

    format: Pillow's name, such as PNG. width, height: pixels as stored, before any EXIF rotation.
    dialect: the program whose metadata it is; None where none was recognised.
    settings: A1111's names (Steps, Sampler, CFG scale, Seed, Size, Model, ...) to values as text, in the file's order.
    loras: name and weight of those that stand outside the prompt. source: what the picture was drawn over, "" where it
        was drawn from nothing. unread: what took part in it and that no setting says.
    lineage: rxpipe's own record; None for pictures of other programs.
    texts: everything as found, by key; EXIF under `UserComment`, `Software` and the like, a GIF's or JPEG's under
        `comment`.
    problems: metadata that is there but could not be read.
    damage: what is wrong with the file, "" for nothing; the metadata is then what stands before it.
    """

    model_config = ConfigDict(frozen=True)
    format: str
    width: int
    height: int
    dialect: Dialect | None = None
    prompt: str = ""
    negative_prompt: str = ""
    settings: dict[str, str] = Field(default_factory=dict)
    loras: tuple[tuple[str, float], ...] = ()
    source: str = ""
    unread: tuple[str, ...] = ()
    lineage: Lineage | None = None
    texts: dict[str, str] = Field(default_factory=dict)
    problems: tuple[str, ...] = ()
    damage: str = ""

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
        BadImage: no such file, no picture, or a damaged one without texts before the damage; names the file and the
            place in it.
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
        if Path(path).is_dir():
            raise BadImage(f"{path}: is a folder.", hint="Give the path of a picture in it.") from error
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
    if size is None or size.format != "PNG":
        return _read_with_pillow(file)
    found = png.read_file(file)
    texts = found.texts if found.exif is None else {**texts_of_exif(found.exif), **found.texts}
    info = _info("PNG", (found.width, found.height), texts, damage=found.damage)
    return info if info.dialect or info.damage else _with_hidden(file, info)


def _info(kind: str, size: tuple[int, int], texts: dict[str, str], *, damage: str = "") -> ImageInfo:
    parsed = parse(Found(unpacked(texts), size))
    lineage, problem = parse_lineage(texts.get(LINEAGE_KEY))
    return _utf8_safe(
        ImageInfo.model_construct(
            format=kind,
            width=size[0],
            height=size[1],
            dialect="rxpipe" if lineage else parsed.dialect,
            **_said(parsed),
            lineage=lineage,
            texts=texts,
            problems=(*parsed.problems, *((problem,) if problem else ())),
            damage=damage,
        )
    )


def _said(parsed: Parsed) -> dict[str, Any]:
    names = ("prompt", "negative_prompt", "settings", "loras", "source", "unread")
    return {name: getattr(parsed, name) for name in names}


def _with_hidden(file: BinaryIO, info: ImageInfo) -> ImageInfo:
    """Return what is hidden in the pixels of a picture whose texts say nothing; *info* where nothing is."""
    if not _may_be_decoded(file, info.width * info.height):
        return info
    file.seek(0)
    try:
        with warnings.catch_warnings(), opened(file) as image:
            warnings.simplefilter("ignore")
            text = hidden_text(image)
    except BadImage:  # the chunks are whole and the pixels are not
        return info
    return info if text is None else _info(info.format, (info.width, info.height), _with_text(text, info.texts))


def _utf8_safe(info: ImageInfo) -> ImageInfo:
    """Return the same with "?" for lone surrogates, which JSON can hold and nothing else can."""
    return ImageInfo(**{name: _safe(getattr(info, name)) for name in ImageInfo.model_fields})


def _safe(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, tuple):
        return tuple(map(_safe, value))
    return {_safe(key): _safe(inner) for key, inner in value.items()} if isinstance(value, dict) else value


# -- other formats than PNG -------------------------------------------------------------------------------------------


def _read_with_pillow(file: BinaryIO) -> ImageInfo:
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters is raised as an error
        with opened(file) as image:
            return _read_opened(file, image)


def _read_opened(file: BinaryIO, image: Image.Image) -> ImageInfo:
    """Read the texts first, so that they are there where the pixels are damaged."""
    kind = image.format or "unknown"
    texts, damage = read_texts(image), ""
    try:
        if _may_be_decoded(file, image.width * image.height):
            image.load()
    except DECODERS_RAISE as error:
        if not texts:
            raise
        damage = f"The picture cannot be decoded: {cut(str(error))}."
    info = _info(kind, image.size, texts, damage=damage)
    if kind == "WEBP" and not info.dialect and not damage and (text := hidden_text(image)) is not None:
        return _info(kind, image.size, _with_text(text, texts))
    return info


def _with_text(text: str, texts: dict[str, str]) -> dict[str, str]:
    """Return *texts* and one that was hidden, under the key that it would have in the open."""
    return {"UserComment" if text.lstrip().startswith("{") else "parameters": text, **texts}


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
