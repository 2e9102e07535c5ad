"""Given pictures: decoded upright to 8 bit RGB or RGBA, whatever they were stored as."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rxpipe.pictures.opening import opened

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from rxpipe.artifact import Artifact

    U8: TypeAlias = NDArray[np.uint8]


_MOST_8_BIT = 255


class Stopped(Exception):  # not an error: the subscription was disposed
    """Raised out of a decoder when the drawing was disposed meanwhile."""


class _Watched(io.BytesIO):
    """Bytes that cannot be read any further once the subscription is disposed, which stops Pillow's decoders midway."""

    def __init__(self, data: bytes, wanted: Callable[[], bool]) -> None:
        super().__init__(data)
        self._wanted = wanted

    def read(self, size: int | None = -1, /) -> bytes:
        if not self._wanted():
            raise Stopped
        return super().read(size)


@dataclass(frozen=True, slots=True)
class InputImage:
    """A picture to work on: RGB or RGBA.

    data: as it came, where its pixels are those of `image` (a PNG that needed no turning), else None.
    notes: what was lost in reading it.
    """

    image: Image.Image
    data: bytes | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()


def read_picture(source: Artifact, wanted: Callable[[], bool]) -> InputImage:
    """Decode an artifact's picture.

    Args:
        source: whose picture.
        wanted: asked while decoding; once it says no, `Stopped` is raised.

    Raises:
        BadImage: the bytes are not a picture that Pillow reads, or are torn.
    """
    from PIL import ImageOps  # noqa: PLC0415  # importing rxpipe loads no Pillow

    data = source.read()
    with opened(_Watched(data, wanted), f"image {source.id}") as image:
        form = image.format
        image.load()
        upright = ImageOps.exif_transpose(image)
    turned = upright.size != image.size or image.getexif().get(0x0112, 1) != 1
    picture, notes = as_rgb(upright)
    return InputImage(picture, None if turned or form != "PNG" else data, notes)


def as_rgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """The picture as 8 bit RGB, or RGBA where it is transparent somewhere, and what that cost."""
    if image.mode in {"RGB", "RGBA"} and not (image.mode == "RGB" and "transparency" in image.info):
        return image, ()
    if image.mode.startswith(("I", "F")):
        return _narrowed(image), (f"a {image.mode} picture was reduced to 8 bit a channel",)
    transparent = image.mode in {"LA", "La", "PA", "RGBa"} or "transparency" in image.info
    return image.convert("RGBA" if transparent else "RGB"), ()


def _narrowed(image: Image.Image) -> Image.Image:
    """Deep greys (16 or 32 bit, or real numbers) brought to 8 bit: 65535 becomes 255."""
    import numpy as np  # noqa: PLC0415  # importing rxpipe loads no numpy
    from PIL import Image  # noqa: PLC0415  # nor Pillow

    values = np.asarray(image, np.float64)
    deep = values.max(initial=0) > _MOST_8_BIT or image.mode.startswith("I;16")
    top = 65535.0 if deep else 255.0
    grey = np.clip(values / top * 255 + 0.5, 0, 255).astype(np.uint8)
    return Image.fromarray(np.repeat(grey[:, :, None], 3, axis=2))


def split(image: Image.Image) -> tuple[U8, U8 | None]:
    """Colours (height x width x 3) and alpha (height x width x 1), None where there is none."""
    import numpy as np  # noqa: PLC0415  # importing rxpipe loads no numpy

    pixels = np.asarray(image)
    return pixels[:, :, :3], pixels[:, :, 3:] if image.mode == "RGBA" else None


def joined(colours: U8, alpha: U8 | None) -> U8:
    """Colours and alpha put together again."""
    import numpy as np  # noqa: PLC0415  # importing rxpipe loads no numpy

    return colours if alpha is None else np.concatenate([colours, alpha], axis=2)
