"""Who finds faces for the server's detectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in px."""

FindFaces = Callable[["Image"], list[Box]]
"""The faces in a picture. Called on the worker's thread."""


def finder_of(faces: FindFaces | Literal["found"]) -> FindFaces:
    """Return the function that `faces` names: rxpipe's own detector for "found".

    Raises, when called: MissingPackage, if numpy or scikit-image is not installed.
    """
    return _found if isinstance(faces, str) else faces


def _found(picture: Image) -> list[Box]:
    import numpy as np  # noqa: PLC0415 - a server that detects nothing needs no numpy

    from rxpipe.pictures.faces import find_faces  # noqa: PLC0415 - nor a detector

    looks = find_faces(np.asarray(picture.convert("RGB")))
    while True:
        try:
            next(looks)
        except StopIteration as done:
            return [(face.left, face.top, face.right, face.bottom) for face in done.value]
