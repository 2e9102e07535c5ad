"""What flows between nodes: models by name, pictures as pixels, latents as pictures that are not decoded yet."""

from __future__ import annotations

import io
import weakref
import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageChops

from rxpipe.testing.servers.drawing import with_texts

if TYPE_CHECKING:
    from collections.abc import Mapping

Pictures = tuple[Image.Image, ...]
"""An IMAGE: a batch of RGB pictures of one size."""

_SOURCE = "rxpipe source"
"""Where a picture keeps the file that it was drawn as, and a reference to itself."""

_CELL = 8  # px along a side of a latent's cell
_GREY = (127, 127, 127)
_JPEG_QUALITY = 95
_LOST_BITS = 2  # of a channel, in the VAE


@dataclass(frozen=True, slots=True)
class Model:
    """A MODEL: a checkpoint's name and what changes it: LoRAs with a strength that is not 0, patches."""

    checkpoint: str
    changes: tuple[str, ...] = ()

    def changed(self, change: str) -> Model:
        """Return the same with one more change."""
        return replace(self, changes=(*self.changes, change))


@dataclass(frozen=True, slots=True)
class Clip:
    """A CLIP: a checkpoint's name, and what changes it."""

    checkpoint: str
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Vae:
    """A VAE: the name of its file, or of the checkpoint it is in."""

    name: str


@dataclass(frozen=True, slots=True)
class Conditioning:
    """A CONDITIONING: texts, what changed the CLIP that encoded them, and what else was applied."""

    text: str
    changes: tuple[str, ...] = ()

    def joined(self, other: Conditioning) -> Conditioning:
        """Return both together."""
        texts = [text for text in (self.text, other.text) if text]
        return Conditioning(", ".join(texts), (*self.changes, *other.changes))


@dataclass(frozen=True, slots=True)
class Latent:
    """A LATENT: a batch of pictures, or of the emptiness that a sampler draws on.

    width, height: px of the decoded pictures, multiples of 8.
    pictures: None where nothing is drawn yet.
    mask: white where a sampler may draw; None for everywhere.
    done: 0..1; below 1 where a sampler left noise in it: decoded, it is coarse.
    index: place of the first picture in the batch that it was taken from.
    """

    width: int
    height: int
    size: int = 1
    pictures: Pictures | None = field(default=None, repr=False)
    mask: Image.Image | None = field(default=None, repr=False)
    done: float = 1.0
    index: int = 0

    def drawn(self) -> Pictures:
        """Return the pictures, grey ones where there are none."""
        return self.pictures or (Image.new("RGB", (self.width, self.height), _GREY),) * self.size


@dataclass(frozen=True, slots=True)
class Sigmas:
    """SIGMAS: which of how many steps a sampler runs.

    steps: in all. first, last: those that run: first..last-1. denoise: 0..1, the share of the noise at `first`.
    """

    steps: int
    first: int
    last: int
    denoise: float = 1.0


@dataclass(frozen=True, slots=True)
class Guider:
    """A GUIDER: what a custom sampler is guided by."""

    model: Model
    positive: Conditioning
    negative: Conditioning
    cfg: float


@dataclass(frozen=True, slots=True)
class Named:
    """Anything else that only has a name: a sampler, an upscaler, a ControlNet, a detector."""

    kind: str
    name: str


def open_rgb(data: bytes) -> Image.Image:
    """Return a drawn PNG as RGB; it is decoded when a node looks at its pixels. Raises OSError if it is none."""
    picture = Image.open(io.BytesIO(data))
    if picture.mode != "RGB":
        return picture.convert("RGB")
    picture.info[_SOURCE] = (data, weakref.ref(picture))
    return picture


def png(picture: Image.Image, level: int = 1, texts: Mapping[str, str] | None = None) -> bytes:
    """Return a picture as PNG with text chunks; `level` 0..9 of zlib, unless it is still as it was drawn."""
    data, source = picture.info.get(_SOURCE, (None, lambda: None))
    if source() is not picture:  # a copy keeps `info`
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", compress_level=level)
        data = buffer.getvalue()
    return with_texts(data, texts or {})


def jpeg(picture: Image.Image) -> bytes:
    """Return a picture as JPEG."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def encoded(pictures: Pictures) -> Latent:
    """Return what a VAE makes of pictures: cropped to whole cells round the middle, and not quite the same."""
    width, height = (side // _CELL * _CELL for side in pictures[0].size)
    left, top = ((own - kept) // 2 for own, kept in zip(pictures[0].size, (width, height), strict=True))
    keep = 0xFF << _LOST_BITS & 0xFF
    lossy = tuple(
        picture.crop((left, top, left + width, top + height)).point(lambda level: level & keep | 1)
        for picture in pictures
    )
    return Latent(width, height, len(lossy), lossy)


def decoded(latent: Latent) -> Pictures:
    """Return the pictures of a latent; coarse ones where noise is left in it."""
    if latent.done >= 1:
        return latent.drawn()
    return tuple(coarse(picture, latent.done) for picture in latent.drawn())


def coarse(picture: Image.Image, done: float) -> Image.Image:
    """Return a picture as it looks `done` (0..1) of the way: large blocks that become fine."""
    share = max(0.05, done * done)
    width, height = (max(1, round(side * share)) for side in picture.size)
    small = picture.resize((width, height))
    return small.resize(picture.size, Image.Resampling.NEAREST)


def sized_mask(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return a mask in another size."""
    return mask if mask.size == size else mask.resize(size, Image.Resampling.BILINEAR)


def latent_mask(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return a mask as a sampler sees it: one value for each cell of the latent, so that its edge is soft."""
    width, height = (max(1, side // _CELL) for side in size)
    return mask.resize((width, height), Image.Resampling.BILINEAR).resize(size, Image.Resampling.BILINEAR)


def inverted(mask: Image.Image) -> Image.Image:
    """Return black for white."""
    return ImageChops.invert(mask)


def seed_of(seed: int, place: int, changes: tuple[str, ...]) -> int:
    """Return the seed that one picture of a batch is drawn with: the given one for the first, unless a LoRA changes it.

    The others of a batch are not seed + 1 and on, as on the real server, whose batch shares one noise generator.
    """
    if place:
        seed ^= zlib.crc32(f"picture {place} of a batch".encode())
    if changes:
        seed ^= zlib.crc32("\n".join(changes).encode())
    return seed


def printed(value: Any) -> Any:
    """Return a value as an `execution_error` shows it: numbers and texts, anything else as text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple) and value and isinstance(value[0], Image.Image):
        levels = [f"{level / 255:.4f}" for level in value[0].convert("L").resize((64, 64)).tobytes()]
        rows = ["[" + ", ".join(levels[row * 64 : row * 64 + 64]) + "]" for row in range(64)]
        return "tensor([[" + ",\n         ".join(rows) + "]])"
    return str(value)
