"""Artifact: one image and where it came from.

The value that flows through the chain. Its picture is bytes in memory or a file on disk, never both at once in a run;
pixels are decoded only for who asks. Before the first stage has drawn there is no picture yet, only a seed.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from rxpipe.errors import BadImage, require

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

_NOTHING: Mapping[str, object] = MappingProxyType({})

_AS_PNG = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA", "I": "I;16"}
_IN_PNG = {"1", "L", "LA", "I;16", "P", "RGB", "RGBA"}


def image_id(run_id: str, number: int) -> str:
    """The id of the planned image *number* (1..) of a run."""
    return f"{run_id}-{number}"


class _PicklableRecord:
    """A frozen record that can be copied and sent to another process; read-only mappings alone cannot."""

    __slots__ = ()

    def __reduce__(self) -> tuple[object, ...]:
        values = ((each.name, getattr(self, each.name)) for each in fields(self))  # type: ignore[arg-type]  # a dataclass
        return _unpickled, (type(self), {name: dict(v) if isinstance(v, Mapping) else v for name, v in values})


def _unpickled(kind: type[_PicklableRecord], values: dict[str, object]) -> _PicklableRecord:
    return kind(**{name: MappingProxyType(v) if isinstance(v, dict) else v for name, v in values.items()})


@dataclass(frozen=True, slots=True)
class LineageEntry(_PicklableRecord):
    """One stage that an image went through.

    settings: what the stage was told, as plain JSON values; the seed really used is among them where there is one.
    """

    stage: str
    backend: str
    settings: Mapping[str, object] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact(_PicklableRecord):
    """One image on its way through the chain. Immutable; every change gives a new one with the same `id`.

    id: who this image is, the same across all stages of a run.
    number: which planned image it is, 1..; an image that an operator added has the number of the one it came from.
    seed: what it is drawn from, >= 0; None for a given photo that no stage has drawn on.
    data: the encoded picture (PNG as a rule, whatever was given otherwise); None if it is in `path` or not drawn.
    path: the file that holds the picture; None while it is only in memory.
    parent: id of the image this one was derived from by an operator, None for a planned one.
    lineage: the stages it went through, oldest first.
    metadata: what stages and users noted about it; written into the file beside the lineage. Plain JSON values.
    """

    id: str
    number: int = 1
    seed: int | None = None
    data: bytes | None = field(default=None, repr=False)
    path: Path | None = None
    parent: str | None = None
    lineage: tuple[LineageEntry, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=lambda: _NOTHING)

    @classmethod
    def open(cls, path: Path | str, *, seed: int | None = None, number: int = 1) -> Artifact:
        """An artifact over a picture on disk, of any format that Pillow reads. Nothing is read until it is needed.

        Raises:
            BadImage: no such file.
        """
        path = Path(path)
        if not path.is_file():
            raise BadImage(f"input {path}: no such file.", hint="Give the path of a picture.")
        return cls(id=f"{path.stem}-{number}", number=number, seed=seed, path=path)

    @property
    def has_picture(self) -> bool:
        """False only before the first stage has drawn."""
        return self.data is not None or self.path is not None

    def read(self) -> bytes:
        """The encoded picture.

        Raises:
            BadImage: there is no picture yet, or its file cannot be read.
        """
        if self.data is not None:
            return self.data
        if self.path is None:
            raise BadImage(f"image {self.id} has no picture yet.", hint="Put a drawing stage before this one.")
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise BadImage(f"image {self.id}: {self.path} cannot be read: {error.strerror}.") from error

    def to_image(self) -> Image.Image:
        """The picture decoded by Pillow, upright (EXIF orientation applied), in the mode it was stored in.

        Raises:
            BadImage: the bytes are not a picture that Pillow reads, or are torn.
        """
        from PIL import Image, ImageOps, UnidentifiedImageError  # noqa: PLC0415  # importing rxpipe loads no Pillow

        data = self.read()
        try:
            image = Image.open(io.BytesIO(data))
            image.load()
            return ImageOps.exif_transpose(image)
        except UnidentifiedImageError as error:
            raise BadImage(f"image {self.id}: its {len(data)} bytes are no picture of a known format.") from error
        except (OSError, SyntaxError, ValueError, RuntimeError, Image.DecompressionBombError) as error:
            raise BadImage(f"image {self.id} is not a picture that can be decoded: {error}.") from error

    def to_array(self) -> NDArray[np.uint8]:
        """The picture as RGB, height x width x 3, 8 bit; a copy of your own.

        Raises:
            MissingPackage: numpy is not installed.
            BadImage: as of `to_image`.
        """
        require("Artifact.to_array()", "numpy")
        import numpy as np  # noqa: PLC0415  # importing rxpipe loads no numpy

        return np.array(self.to_image().convert("RGB"))

    def with_image(self, image: Image.Image | NDArray[np.uint8]) -> Artifact:
        """The same artifact with another picture, encoded as PNG.

        Args:
            image: a Pillow image (converted to RGB or RGBA if PNG cannot hold its mode), or an array of height x width
                (x 3 or 4), 8 bit.

        Raises:
            BadImage: an array of another kind or shape; nothing is scaled or clipped in silence.
        """
        from PIL import Image  # noqa: PLC0415  # importing rxpipe loads no Pillow

        picture = image if isinstance(image, Image.Image) else Image.fromarray(_checked(image))
        if picture.mode not in _IN_PNG:
            picture = picture.convert(_AS_PNG.get(picture.mode, "RGB"))
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", compress_level=1)
        return self.with_data(buffer.getvalue())

    def with_data(self, data: bytes) -> Artifact:
        """The same artifact with another encoded picture, in memory."""
        return replace(self, data=data, path=None)

    def with_path(self, path: Path) -> Artifact:
        """The same artifact with its picture in *path* and no longer in memory."""
        return replace(self, data=None, path=path)

    def derive(self, name: str) -> Artifact:
        """A further image made from this one: `id` becomes "<id>.<name>", `parent` names this one."""
        return replace(self, id=f"{self.id}.{name}", parent=self.id)

    def with_metadata(self, **metadata: object) -> Artifact:
        """The same artifact with more *metadata* (plain JSON values), which travels on into its files."""
        return replace(self, metadata=MappingProxyType({**self.metadata, **metadata}))

    def with_lineage(self, entry: LineageEntry) -> Artifact:
        """The same artifact with one more stage in its lineage."""
        return replace(self, lineage=(*self.lineage, entry))


def _checked(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    sizes, channels = array.shape[:2], array.shape[2:]
    if array.dtype.name != "uint8" or len(sizes) != 2 or not all(sizes) or channels not in {(), (3,), (4,)}:  # noqa: PLR2004  # two axes
        raise BadImage(
            f"an array of {array.dtype.name} with the shape {array.shape} is no picture.",
            hint="Allowed: uint8, height x width or height x width x 3 or 4; scale values of 0..1 by 255 before.",
        )
    return array
