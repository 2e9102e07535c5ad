"""Faces are found without a backend: where they are, how surely, and in pauses."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data

from rxpipe.pictures.faces import Face, find_faces


def found(pixels):
    """The faces, and how often the search paused."""
    pauses, search = 0, find_faces(pixels)
    while True:
        try:
            next(search)
        except StopIteration as end:
            return end.value, pauses
        pauses += 1


def test_the_astronauts_face_is_found_after_seven_pauses():
    """One, in the upper left; every look agrees. A pause after loading, then one a look."""
    faces, pauses = found(skimage.data.astronaut())
    [face] = faces
    assert face == Face(173, 68, 270, 164, confidence=1.0)
    assert face.area == 97 * 96
    assert pauses == 7


@pytest.mark.parametrize("size", [(512, 512), (8, 8), (1, 300)])
def test_where_there_is_no_face_none_is_found(size):
    """Nor in a picture too small to hold one."""
    faces, _ = found(np.full((*size, 3), 128, np.uint8))
    assert faces == []
