"""Inpainting masks: what of a picture is redrawn, from a file, from a file per input picture, or from transparency.

A mask is grey, of the picture's size: white is redrawn. One file for all pictures is read once.
"""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import TYPE_CHECKING

from rxpipe.backends.sizes import Size
from rxpipe.config import Img2ImgConfig
from rxpipe.errors import BackendRejected, BadImage
from rxpipe.pictures.opening import opened, upright

if TYPE_CHECKING:
    from PIL import Image

    from rxpipe.artifact import Artifact
    from rxpipe.plan import StageExecutionPlan

ALPHA = Path("alpha")
"""The mask that is the transparency of the picture itself."""

_STEM = "{stem}"
_KEPT = 4  # masks; a run has one, or another for each picture
_SAME_SHAPE = 0.02  # relative difference of two aspect ratios that is rounding
_PLAIN_MODES = ("1", "L", "RGB")


def check_masks(plan: StageExecutionPlan) -> None:
    """Raise unless every mask file of a plan is there, and is a picture as far as its first bytes tell.

    Raises:
        BackendRejected: one is not there, or masks are named by input pictures and there are none.
        BadImage: one is no picture.
    """
    for stage in plan.stages:
        config = stage.config
        if not isinstance(config, Img2ImgConfig) or config.mask is None or config.mask == ALPHA:
            continue
        named = _STEM in str(config.mask)
        if named and not plan.settings.input:
            raise BackendRejected(
                f"{stage.stage_type}.mask: {config.mask} is named by the input picture, and there is none.",
                hint="Give the path of one mask, or input pictures.",
            )
        paths = [_path(config.mask, origin) for origin in plan.settings.input] if named else [config.mask]
        missing = [str(path) for path in dict.fromkeys(paths) if not path.is_file()]
        if missing:
            raise BackendRejected(f"{stage.stage_type}.mask: no such file: {', '.join(missing)}.")
        for path in dict.fromkeys(paths):
            with opened(path, f"{stage.stage_type}.mask: {path}"):
                pass


def mask_of(config: Img2ImgConfig, source: Artifact, picture: Image.Image) -> Image.Image:
    """Return the mask for a picture: grey, of its size, white where it is redrawn.

    Args:
        config: of the stage; it has a mask.
        source: whose picture it is.
        picture: decoded, upright.

    Raises:
        BadImage: the mask is no picture, has another shape, or the picture has no transparency.
    """
    if config.mask == ALPHA:
        mask = _transparency(source, picture)
    else:
        mask = _read(*_identity(_file_of(config, source)), Size(*picture.size))
    return _inverted(mask) if config.inpainting_mask_invert else mask


def encoded_mask(config: Img2ImgConfig, source: Artifact, size: Size) -> bytes:
    """Return the mask as an encoded picture, not inverted; the bytes of its file where they will do.

    Args:
        config: of the stage; it has a mask.
        source: whose picture it is for.
        size: of the picture, upright.

    Raises:
        BadImage: as of `mask_of`.
    """
    if config.mask == ALPHA:
        return _png(_transparency(source, source.to_image()))
    return _encoded(*_identity(_file_of(config, source)), size)


def _file_of(config: Img2ImgConfig, source: Artifact) -> Path:
    pattern = config.mask or ALPHA
    origin = source.origin or source.path
    if _STEM in str(pattern) and origin is None:
        raise BadImage(f"image {source.id}: mask {pattern} is named by the input picture, and it has none.")
    return _path(pattern, origin or Path())


def _path(pattern: Path, origin: Path) -> Path:
    """The mask's file: a relative pattern begins at the picture's folder, any other path where the program runs."""
    if _STEM not in str(pattern):
        return pattern
    return origin.parent / str(pattern).replace(_STEM, origin.stem)


def _identity(path: Path) -> tuple[Path, int]:
    try:
        return path, path.stat().st_mtime_ns
    except OSError as error:
        raise BadImage(f"mask {path}: cannot be read: {error.strerror}.") from error


@functools.lru_cache(maxsize=_KEPT)
def _read(path: Path, changed: int, size: Size) -> Image.Image:
    """The mask in a file, upright, grey, of *size*; shared, so not to be changed."""
    from PIL import Image  # noqa: PLC0415  # importing rxpipe loads no Pillow

    del changed
    grey = _grey(upright(path, f"mask {path}"))
    if grey.size == tuple(size):
        return grey
    if abs(grey.width * size.height / (grey.height * size.width) - 1) > _SAME_SHAPE:
        raise BadImage(
            f"mask {path}: {Size(*grey.size)} px, and the picture has {size}.", hint="Give a mask of the same shape."
        )
    return grey.resize(size, Image.Resampling.BILINEAR)


def _grey(image: Image.Image) -> Image.Image:
    """White where a mask says so: by its alpha where that says anything, as WebUI servers do, else by its light."""
    if "A" in image.getbands() or "transparency" in image.info:
        alpha = image.convert("RGBA").getchannel("A")
        if alpha.getextrema() != (255, 255):
            return alpha
    return image.convert("RGB").convert("L") if image.mode not in _PLAIN_MODES else image.convert("L")


@functools.lru_cache(maxsize=_KEPT)
def _encoded(path: Path, changed: int, size: Size) -> bytes:
    with opened(path, f"mask {path}") as image:
        plain = image.mode in _PLAIN_MODES and image.format == "PNG" and not image.getexif()
        if plain and image.size == tuple(size) and "transparency" not in image.info:
            return path.read_bytes()
    return _png(_read(path, changed, size))


def _transparency(source: Artifact, picture: Image.Image) -> Image.Image:
    transparent = "A" in picture.getbands() or "transparency" in picture.info
    alpha = picture.convert("RGBA").getchannel("A") if transparent else None
    if alpha is None or alpha.getextrema() == (255, 255):
        raise BadImage(
            f"image {source.id} is transparent nowhere, and its mask is its transparency.",
            hint="Give the path of a mask, or erase in the picture what is to be redrawn.",
        )
    return _inverted(alpha)


def _inverted(mask: Image.Image) -> Image.Image:
    from PIL import ImageChops  # noqa: PLC0415  # importing rxpipe loads no Pillow

    return ImageChops.invert(mask)


def _png(mask: Image.Image) -> bytes:
    buffer = io.BytesIO()
    mask.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
