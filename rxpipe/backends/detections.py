"""adetailer on our side: the faces of a picture, and the parts of it that a unit redraws."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.backends.regions import Box, Region, blurred, box_mask, encoded, region_of
from rxpipe.backends.sizes import Size, drawable
from rxpipe.errors import require
from rxpipe.pictures.faces import Face, find_faces

if TYPE_CHECKING:
    from PIL import Image

    from rxpipe.artifact import Artifact
    from rxpipe.config import AdetailerUnit


def faces_of(artifact: Artifact) -> list[Face]:
    """Return the faces of an artifact's picture, the largest first.

    Raises:
        BadImage: the picture cannot be read.
        MissingPackage: what finds faces is not installed.
    """
    require("Finding faces", "numpy", "skimage")
    looking = find_faces(artifact.to_array())
    while True:
        try:
            next(looking)
        except StopIteration as done:
            return list(done.value)


def face_regions(unit: AdetailerUnit, faces: list[Face], size: Size) -> tuple[Region, ...]:
    """Return the parts of a picture of *size* that a unit redraws, for the *faces* in it."""
    chosen = [
        face
        for face in faces
        if face.confidence >= unit.confidence
        and unit.mask_min_ratio <= face.area / (size.width * size.height) <= unit.mask_max_ratio
    ]
    if unit.mask_filter_method == "Confidence":
        chosen.sort(key=lambda face: -face.confidence)
    boxes = [Box(face.left, face.top, face.right, face.bottom) for face in chosen[: unit.mask_k_largest or None]]
    if not boxes:
        return ()
    if unit.mask_merge_invert == "None":
        masks = [box_mask(size, [box], grow=unit.dilate_erode) for box in boxes]
    else:
        invert = unit.mask_merge_invert == "Merge and Invert"
        masks = [box_mask(size, boxes, grow=unit.dilate_erode, invert=invert)]
    drawn = drawable(Size(unit.inpaint_width or size.width, unit.inpaint_height or size.height))
    found = [_region(mask, unit, size, drawn, index) for index, mask in enumerate(masks)]
    return tuple(region for region in found if region is not None)


def _region(mask: Image.Image, unit: AdetailerUnit, size: Size, drawn: Size, index: int) -> Region | None:
    soft = blurred(mask, unit.mask_blur)
    if unit.inpaint_only_masked:
        return region_of(soft, padding=unit.padding, drawn=drawn, seed_offset=index)
    return Region(Box(0, 0, *size), drawable(size), encoded(soft), index)
