"""Artifact: one image and where it came from.

The value that flows through the chain. Its picture is bytes in memory or a file on disk, never both at once in a run;
pixels are decoded only on request. Before the first stage has rendered there is no picture yet, only a seed.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from rxpipe.errors import BadImage, require
from rxpipe.pictures.lineage import NO_VALUES, LineageEntry, PicklableRecord
from rxpipe.pictures.opening import MOST_BYTES, upright

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

_AS_PNG = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA", "I": "I;16"}
_IN_PNG = {"1", "L", "LA", "I;16", "P", "RGB", "RGBA"}


SCORES = "scores"
"""The key of the metadata under which stages record what they measured."""


VARIANT = "variant"
"""The key of the metadata that says which variant an image is: its number, and what it has on each axis."""


def image_id(run_id: str, number: int) -> str:
    """Return the id of the planned image *number* (1..) of a run."""
    return f"{run_id}-{number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact(PicklableRecord):
    """One image on its way through the chain. Immutable; every change gives a new one with the same `id`.

    id: who this image is, the same across all stages of a run.
    number: which planned image it is, 1..; an image that an operator added has the number of the one it came from.
    seed: what it is rendered from, >= 0; None for a given photo that no stage has rendered.
    data: the encoded picture (usually PNG, an input keeps its format); None if it is in `path` or not rendered yet.
    path: the file that holds the picture; None while it is only in memory.
    parent: id of the image this one was derived from by an operator, None for a planned one.
    origin: the picture file that it began as; None for one from a prompt.
    lineage: the stages it went through, oldest first.
    metadata: what stages and users recorded about it; written into the file beside the lineage. Plain JSON values.
    """

    id: str
    number: int = 1
    seed: int | None = None
    data: bytes | None = field(default=None, repr=False)
    path: Path | None = None
    parent: str | None = None
    origin: Path | None = None
    lineage: tuple[LineageEntry, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=lambda: NO_VALUES)

    @classmethod
    def open(cls, path: Path | str, *, seed: int | None = None, number: int = 1) -> Artifact:
        """Return an artifact over a picture file of any format that Pillow reads; nothing is read until it is needed.

        Raises:
            BadImage: no such file.
        """
        path = Path(path)
        if not path.is_file():
            raise BadImage(f"input {path}: no such file.", hint="Give the path of a picture.")
        return cls(id=f"{path.stem}-{number}", number=number, seed=seed, path=path, origin=path)

    @property
    def has_picture(self) -> bool:
        """False only before the first stage has rendered."""
        return self.data is not None or self.path is not None

    @property
    def scores(self) -> dict[str, float]:
        """What stages such as keep_best measured, by the name of the measure."""
        found = self.metadata.get(SCORES)
        named = found.items() if isinstance(found, Mapping) else ()
        return {str(name): v for name, v in named if isinstance(v, int | float) and math.isfinite(v)}

    @property
    def variant(self) -> Mapping[str, object]:
        """Which variant of a run it is: "number", 1.., and its value on each axis by the axis's name; else empty."""
        found = self.metadata.get(VARIANT)
        return found if isinstance(found, Mapping) else NO_VALUES

    def read(self) -> bytes:
        """Return the encoded picture.

        Raises:
            BadImage: there is no picture yet, or its file cannot be read or is larger than any picture.
        """
        if self.data is not None:
            return self.data
        if self.path is None:
            raise BadImage(f"image {self.id} has no picture yet.", hint="Put a stage that renders before this one.")
        try:
            size = self.path.stat().st_size
            if size > MOST_BYTES:
                raise BadImage(f"image {self.id}: {self.path} has {size} bytes; at most {MOST_BYTES} are read.")
            return self.path.read_bytes()
        except OSError as error:
            raise BadImage(f"image {self.id}: {self.path} cannot be read: {error.strerror}.") from error

    def to_image(self) -> Image.Image:
        """Decode the picture with Pillow: upright (EXIF orientation applied), in the mode it was stored in.

        Raises:
            BadImage: the bytes are not a picture of one of `rxpipe.pictures.opening.FORMATS`, or are torn.
        """
        return upright(self.read(), f"image {self.id}")

    def to_array(self) -> NDArray[np.uint8]:
        """Decode the picture as RGB, height x width x 3, 8 bit; each call returns a copy of its own.

        Raises:
            MissingPackage: numpy is not installed.
            BadImage: as of `to_image`.
        """
        require("Artifact.to_array()", "numpy")
        import numpy as np  # noqa: PLC0415  # importing rxpipe loads no numpy

        return np.array(self.to_image().convert("RGB"))

    def with_image(self, image: Image.Image | NDArray[np.uint8]) -> Artifact:
        """Return the same artifact with another picture, encoded as PNG.

        Args:
            image: a Pillow image (converted to RGB or RGBA if PNG cannot hold its mode), or an array of height x width
                (x 3 or 4), 8 bit.

        Raises:
            BadImage: an array of another kind or shape; nothing is scaled or clipped silently.
        """
        from PIL import Image  # noqa: PLC0415  # importing rxpipe loads no Pillow

        picture = image if isinstance(image, Image.Image) else Image.fromarray(_checked(image))
        if picture.mode not in _IN_PNG:
            picture = picture.convert(_AS_PNG.get(picture.mode, "RGB"))
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", compress_level=1)
        return self.with_data(buffer.getvalue())

    def with_data(self, data: bytes) -> Artifact:
        """Return the same artifact with another encoded picture, in memory."""
        return replace(self, data=data, path=None)

    def with_path(self, path: Path) -> Artifact:
        """Return the same artifact with its picture in *path* and no longer in memory."""
        return replace(self, data=None, path=path)

    def derive(self, name: str) -> Artifact:
        """Return a further image made from this one: `id` becomes "<id>.<name>", `parent` names this one."""
        return replace(self, id=f"{self.id}.{name}", parent=self.id)

    def with_metadata(self, **metadata: object) -> Artifact:
        """Return the same artifact with more *metadata* (plain JSON values), which travels on into its files."""
        return replace(self, metadata=MappingProxyType({**self.metadata, **metadata}))

    def with_lineage(self, entry: LineageEntry) -> Artifact:
        """Return the same artifact with one more stage in its lineage."""
        return replace(self, lineage=(*self.lineage, entry))


def _checked(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    sizes, channels = array.shape[:2], array.shape[2:]
    if array.dtype.name != "uint8" or len(sizes) != 2 or not all(sizes) or channels not in {(), (3,), (4,)}:  # noqa: PLR2004  # two axes
        raise BadImage(
            f"an array of {array.dtype.name} with the shape {array.shape} is no picture.",
            hint="Allowed: uint8, height x width or height x width x 3 or 4; scale values of 0..1 by 255 before.",
        )
    return array
