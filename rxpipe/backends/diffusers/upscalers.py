"""Enlarging: Lanczos, or a model of ESRGAN's kind in tiles, read by spandrel. On the model's thread."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from rxpipe.backends.diffusers.files import find_model
from rxpipe.backends.diffusers.loading import is_out_of_memory, out_of_memory
from rxpipe.errors import BackendRejected, MissingPackage
from rxpipe.shown import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from PIL import Image

    from rxpipe.backends.diffusers.files import ModelFile
    from rxpipe.backends.sizes import Size

LANCZOS = ("", "none", "lanczos", "nearest")
LATENT = {
    "latent": ("bilinear", False),
    "latent (antialiased)": ("bilinear", True),
    "latent (bicubic)": ("bicubic", False),
    "latent (bicubic antialiased)": ("bicubic", True),
    "latent (nearest)": ("nearest", False),
    "latent (nearest-exact)": ("nearest-exact", False),
}
"""A1111's names of what enlarges the latents of a first pass: how torch interpolates."""

TILE_PX, SMALL_TILE_PX, OVERLAP_PX = 192, 80, 16
"""Side of a tile on an accelerator and on the processor, where memory is the program's; what is seen around one.

16 px is where an RRDBNet of 23 blocks with random weights no longer differs from the whole picture.
"""


class Upscalers:
    """Enlarges pictures; keeps the model that was used last.

    Args:
        device: where models run, asked when one is needed.
    """

    def __init__(self, device: Callable[[], str]) -> None:
        self._device = device
        self._loaded: tuple[ModelFile, Any] | None = None

    def enlarged(
        self, picture: Image.Image, size: Size, name: str | None, done: Callable[[float], None] = lambda _: None
    ) -> Image.Image:
        """Return a picture, RGB, brought to *size*.

        Args:
            picture: RGB.
            size: of the result, px.
            name: of the upscaler; None: Lanczos.
            done: called with the share that is done, 0..1; it may raise to stop.

        Raises:
            BackendRejected: there is no upscaler of that name, or it is of a kind that is not known.
            MissingPackage: spandrel is not installed.
            BackendFailed: out of memory.
        """
        from PIL import Image  # noqa: PLC0415  # importing rxpipe loads no Pillow

        if (name or "").lower() == "nearest":
            return picture.resize(size, Image.Resampling.NEAREST)
        if (name or "").lower() in LANCZOS or name is None:
            return picture.resize(size, Image.Resampling.LANCZOS)
        model = self._model(find_model(name, "upscaler"))
        while picture.width < size.width or picture.height < size.height:
            before = picture.width
            picture = self._through(model, picture, done)
            if picture.width <= before:
                break
        return picture if picture.size == tuple(size) else picture.resize(size, Image.Resampling.LANCZOS)

    def _model(self, file: ModelFile) -> Any:
        if self._loaded is not None and self._loaded[0] == file:
            return self._loaded[1]
        self._loaded = None
        model = _read(file, self._device())
        self._loaded = (file, model)
        return model

    def _through(self, model: Any, picture: Image.Image, done: Callable[[float], None]) -> Image.Image:
        try:
            return tiled(model, picture, self._device(), done)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise out_of_memory(self._device(), "upscaling") from error
            raise


def _read(file: ModelFile, device: str) -> Any:
    try:
        from spandrel import ImageModelDescriptor, ModelLoader, UnsupportedModelError  # noqa: PLC0415  # when needed
    except (ImportError, RuntimeError) as error:
        raise MissingPackage(
            f"the upscaler {file.name} needs spandrel, which cannot be imported: {cut(str(error))}.",
            hint="Run: pip install spandrel (it needs the torchvision of your torch); upscaler Lanczos needs nothing.",
        ) from error
    try:
        model = ModelLoader(device).load_from_file(file.path)
    except (UnsupportedModelError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise BackendRejected(f"upscaler {file.path}: cannot be read: {cut(str(error))}.") from error
    except Exception as error:  # pickle.UnpicklingError among them: weights_only refuses code
        raise BackendRejected(f"upscaler {file.path}: refused: {cut(str(error))}.") from error
    if not isinstance(model, ImageModelDescriptor):
        raise BackendRejected(f"upscaler {file.path}: it is no model from picture to picture.")
    return model.eval()


def tiled(model: Any, picture: Image.Image, device: str, done: Callable[[float], None]) -> Image.Image:
    """Return a picture through a model, in tiles with their surroundings, so that memory does not grow with it."""
    import numpy as np  # noqa: PLC0415  # importing rxpipe loads no numpy
    import torch  # noqa: PLC0415  # on the model's thread only
    from PIL import Image  # noqa: PLC0415  # importing rxpipe loads no Pillow

    light = np.asarray(picture.convert("RGB"))
    scale = model.scale
    out = np.empty((light.shape[0] * scale, light.shape[1] * scale, 3), np.uint8)
    side = SMALL_TILE_PX if device == "cpu" else TILE_PX
    places = list(_tiles(light.shape[1], light.shape[0], side))
    with torch.no_grad():
        for number, (left, top, right, bottom) in enumerate(places, 1):
            x0, y0 = max(0, left - OVERLAP_PX), max(0, top - OVERLAP_PX)
            part = light[y0 : bottom + OVERLAP_PX, x0 : right + OVERLAP_PX]
            given = torch.from_numpy(part.copy()).to(device).permute(2, 0, 1)[None].float() / 255
            drawn = model(given)[0].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
            rows = slice((top - y0) * scale, (bottom - y0) * scale)
            columns = slice((left - x0) * scale, (right - x0) * scale)
            out[top * scale : bottom * scale, left * scale : right * scale] = drawn[rows, columns]
            done(number / len(places))
    return Image.fromarray(out)


def _tiles(width: int, height: int, side: int) -> Iterator[tuple[int, int, int, int]]:
    """The parts of a picture, at most *side* wide and high, as equal as they can be: few shapes take less memory."""
    for top, bottom in itertools.pairwise(_cuts(height, side)):
        for left, right in itertools.pairwise(_cuts(width, side)):
            yield left, top, right, bottom


def _cuts(length: int, most: int) -> list[int]:
    count = -(-length // most)
    return [length * at // count for at in range(count + 1)]
