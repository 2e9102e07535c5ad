"""adetailer on our side: what was found in a picture, and the parts of it that a unit redraws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rxpipe.backends.regions import Box, Region, blurred, box_mask, encoded, outline_mask, region_of
from rxpipe.backends.sizes import Size, drawable
from rxpipe.errors import require
from rxpipe.pictures.faces import Face, find_faces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

    from rxpipe.artifact import Artifact
    from rxpipe.config import AdetailerUnit


@dataclass(frozen=True, slots=True)
class Detection:
    """A find of any detector.

    confidence: 0..1. label: what it was taken for. outline: its corners where they are known, px; none for the box.
    """

    box: Box
    confidence: float
    label: str = "face"
    outline: tuple[tuple[float, float], ...] = ()

    @property
    def area(self) -> int:
        """Of its box, px."""
        return self.box.size.width * self.box.size.height

    @property
    def facts(self) -> dict[str, object]:
        """What is recorded of it."""
        return {"box": list(self.box), "confidence": self.confidence}


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


def face_regions(unit: AdetailerUnit, faces: Sequence[Face], size: Size) -> tuple[Region, ...]:
    """Return the parts of a picture of *size* that a unit redraws, for the *faces* in it."""
    return regions(unit, [detection_of(face) for face in faces], size)


def detection_of(face: Face) -> Detection:
    """Return a face as a find of any detector."""
    return Detection(Box(face.left, face.top, face.right, face.bottom), face.confidence)


def regions(unit: AdetailerUnit, finds: Sequence[Detection], size: Size) -> tuple[Region, ...]:
    """Return the parts of a picture of *size* that a unit redraws.

    Args:
        unit: which finds it takes, and how far it goes beyond them.
        finds: the largest first.
        size: of the picture, px.
    """
    from PIL import ImageChops  # noqa: PLC0415  # importing rxpipe loads no Pillow

    chosen = [
        find
        for find in finds
        if find.confidence >= unit.confidence
        and unit.mask_min_ratio <= find.area / (size.width * size.height) <= unit.mask_max_ratio
    ]
    if unit.mask_filter_method == "Confidence":
        chosen.sort(key=lambda find: -find.confidence)
    chosen = chosen[: unit.mask_k_largest or None]
    if not chosen:
        return ()
    if unit.mask_merge_invert == "None":
        masks = [_mask(size, [find], unit.dilate_erode) for find in chosen]
    else:
        masks = [_mask(size, chosen, unit.dilate_erode)]
    if unit.mask_merge_invert == "Merge and Invert":
        masks = [ImageChops.invert(mask) for mask in masks]
    drawn = drawable(Size(unit.inpaint_width or size.width, unit.inpaint_height or size.height))
    found = [_region(mask, unit, size, drawn, index) for index, mask in enumerate(masks)]
    return tuple(region for region in found if region is not None)


def _mask(size: Size, finds: Sequence[Detection], grow: int) -> Image.Image:
    """The mask of some finds, by their outlines where they have them, each widened by *grow* px."""
    from PIL import ImageChops  # noqa: PLC0415  # importing rxpipe loads no Pillow

    mask = box_mask(size, [find.box for find in finds if not find.outline], grow=grow)
    for find in finds:
        if find.outline:
            mask = ImageChops.lighter(mask, outline_mask(size, find.outline, grow=grow))
    return mask


def _region(mask: Image.Image, unit: AdetailerUnit, size: Size, drawn: Size, index: int) -> Region | None:
    soft = blurred(mask, unit.mask_blur)
    if unit.inpaint_only_masked:
        return region_of(soft, padding=unit.padding, drawn=drawn, seed_offset=index)
    return Region(Box(0, 0, *size), drawable(size), encoded(soft), index)
