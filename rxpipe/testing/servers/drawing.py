"""Where the server's pictures come from: a function of a `DrawRequest`, noise by default.

The PNG writer here is the standard library's zlib and nothing else, on purpose apart from the package's own PNG code,
so that a mistake in one is seen by the other.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Literal

import pybase64 as base64

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from PIL.Image import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_AFTER_IHDR = 33  # bytes: signature, and a chunk of 13
_RGB = 2


@dataclass(frozen=True, slots=True)
class DrawRequest:
    """One requested picture.

    kind: the stage it is for.
    width, height: px; of the result. adetailer: the size at which the detail is drawn, the picture keeps its own.
    fraction: 0..1, how much of the steps was done; below 1 after an interrupt or a skip.
    source: the picture to start from, None for txt2img.
    mask: the inpainting mask, None without one.
    options: what else the request said: denoising_strength, upscaler_1, the ADetailer unit's `ad_*`, ....
    """

    kind: Literal["txt2img", "img2img", "adetailer", "upscale"]
    width: int
    height: int
    prompt: str = ""
    negative_prompt: str = ""
    seed: int = 0
    steps: int = 20
    fraction: float = 1.0
    source: bytes | None = field(default=None, repr=False)
    mask: bytes | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)


Draw = Callable[[DrawRequest], bytes]
"""A PNG for a request. For adetailer, returning `source` itself means that nothing was found. On the job's thread."""


def noise(request: DrawRequest) -> bytes:
    """Return incompressible noise, the same for the same request. Adetailer repaints the middle of the picture."""
    seed = f"{request.kind} {request.width} {request.height} {request.prompt} {request.seed} {request.fraction}"
    digest = hashlib.sha256(seed.encode() + (request.source or b"")).digest()
    if request.kind == "adetailer" and request.source is not None:
        return _repaint_middle(request.source, digest)
    return noise_png(request.width, request.height, digest)


def noise_png(width: int, height: int, seed: bytes | int = 0) -> bytes:
    """Return an RGB picture of `width` x `height` px whose pixels come from `seed`."""
    pixels = Random(seed).randbytes(width * height * 3)  # noqa: S311 - a picture, not a secret
    row = width * 3
    rows = b"".join(b"\0" + pixels[start : start + row] for start in range(0, len(pixels), row))
    header = struct.pack(">IIBBBBB", width, height, 8, _RGB, 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows, 1)) + _chunk(b"IEND", b"")


def _repaint_middle(source: bytes, seed: bytes) -> bytes:
    picture = open_picture(source).convert("RGB")
    width, height = picture.size
    patch = open_picture(noise_png(max(1, width // 4), max(1, height // 4), seed))
    picture.paste(patch, (width * 3 // 8, height * 3 // 8))
    return save_png(picture)


class Prepared:
    """Pictures made beforehand, handed out in order: nothing is drawn while a benchmark runs.

    Args:
        sizes: width and height in px of every picture that will be requested.
        variants: pictures a size, so that two of a run are not the same.

    A size that was not prepared is drawn when it is first requested. Adetailer gives another picture of the
    source's size.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]] = (), variants: int = 4) -> None:
        self._variants = variants
        self._pictures = {size: self._make(*size) for size in sizes}

    def _make(self, width: int, height: int) -> list[bytes]:
        return [noise_png(width, height, number) for number in range(self._variants)]

    def __call__(self, request: DrawRequest) -> bytes:
        """Return a picture of the requested size."""
        whole = request.kind == "adetailer" and request.source is not None
        size = png_size(request.source) if whole and request.source else (request.width, request.height)
        pictures = self._pictures.get(size) or self._pictures.setdefault(size, self._make(*size))
        return pictures[request.seed % self._variants]


# -- PNG --------------------------------------------------------------------------------------------------------------


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_size(picture: bytes) -> tuple[int, int]:
    """Return width and height in px from the header. Raises struct.error below 24 bytes."""
    width, height = struct.unpack_from(">II", picture, 16)
    return width, height


def with_parameters(picture: bytes, text: str | None) -> bytes:
    """Return the PNG with its text chunks gone and `text` as `parameters`; None: no text at all."""
    return with_texts(picture, {} if text is None else {"parameters": text})


def with_texts(picture: bytes, texts: Mapping[str, str]) -> bytes:
    """Return the PNG with these text chunks instead of its own: tEXt if latin-1 can hold one, iTXt if not."""
    parts = [picture[:_AFTER_IHDR], *(_text_chunk(key, text) for key, text in texts.items())]
    parts += [picture[start:stop] for name, start, stop in _chunks(picture) if name not in (b"tEXt", b"iTXt", b"zTXt")]
    return b"".join(parts)


def _text_chunk(key: str, text: str) -> bytes:
    name = key.encode("latin-1", "replace")
    try:
        return _chunk(b"tEXt", name + b"\0" + text.encode("latin-1"))
    except UnicodeEncodeError:
        return _chunk(b"iTXt", name + b"\0\0\0\0\0" + text.encode())


def parameters_of(picture: bytes) -> str | None:
    """Return the `parameters` text of a PNG, None where it has none."""
    for name, start, stop in _chunks(picture):
        key, _, text = picture[start + 8 : stop - 4].partition(b"\0")
        if key == b"parameters" and name == b"tEXt":
            return text.decode("latin-1")
        if key == b"parameters" and name == b"iTXt" and text[:1] == b"\0":
            return text[2:].split(b"\0", 2)[2].decode()
    return None


def _chunks(picture: bytes) -> list[tuple[bytes, int, int]]:
    """Return name and extent of every chunk behind IHDR."""
    found, at = [], _AFTER_IHDR
    while at + 12 <= len(picture):
        stop = at + 12 + int.from_bytes(picture[at : at + 4], "big")
        found.append((picture[at + 4 : at + 8], at, stop))
        at = stop
    return found


def open_picture(data: bytes) -> Image:
    """Return any picture, decoded. Raises OSError if it is none."""
    from PIL import Image  # noqa: PLC0415 - a client that only reads our URL needs no Pillow

    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def save_png(picture: Image) -> bytes:
    """Return a picture as PNG bytes, without text."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def grid_of(pictures: Sequence[bytes], mode: Literal["RGB", "RGBA"]) -> bytes:
    """Return the contact sheet that WebUI puts first: as square as it goes, pictures of one size."""
    width, height = png_size(pictures[0])
    rows = round(len(pictures) ** 0.5)
    columns = -(-len(pictures) // rows)
    from PIL import Image  # noqa: PLC0415 - see open_picture

    sheet = Image.new(mode, (columns * width, rows * height), "black")
    for number, picture in enumerate(pictures):
        sheet.paste(open_picture(picture).convert(mode), (number % columns * width, number // columns * height))
    return save_png(sheet)


def laid_over(source: bytes, drawn: bytes, mask: bytes, *, keeps_size: bool, invert: bool) -> bytes:
    """Return the source with what was drawn where the mask is white: nothing else of it changes.

    Args:
        keeps_size: the result is as large as the source; otherwise as large as what was drawn.
        invert: black takes the place of white.
    """
    from PIL import Image, ImageChops  # noqa: PLC0415 - see open_picture

    below, above = open_picture(source).convert("RGB"), open_picture(drawn).convert("RGB")
    size = below.size if keeps_size else above.size
    shows = open_picture(mask).convert("L").resize(size)
    shows = ImageChops.invert(shows) if invert else shows
    return save_png(Image.composite(above.resize(size), below.resize(size), shows))


def decode_upload(text: Any) -> bytes:
    """Return the bytes of a base64 picture, with or without a data-URL head, as a PNG-loadable file.

    Raises:
        ValueError: no string, not base64, or not a picture.
    """
    if not isinstance(text, str):
        raise ValueError("not a string")  # noqa: TRY004 - one kind of error for one kind of trouble
    if text.startswith(("data:image/", "data:application/octet-stream")):
        text = text.partition(";")[2].partition(",")[2]
    data = base64.b64decode(text)
    if not data.startswith(_SIGNATURE):
        try:
            data = save_png(open_picture(data))
        except OSError as error:
            raise ValueError("not a picture") from error
    return data
