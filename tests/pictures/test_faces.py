"""Faces are found without a backend: where they are, how surely, and in pauses."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data

from rxpipe.pictures.faces import find_faces


def found(pixels):
    """The faces, and how far the search was at each pause."""
    shares, search = [], find_faces(pixels)
    while True:
        try:
            shares.append(next(search))
        except StopIteration as end:
            return end.value, shares


@pytest.mark.slow
def test_the_astronauts_face_is_found_after_six_looks():
    """One, in the upper left; every look agrees. How far it is is said after loading and after each look."""
    faces, shares = found(skimage.data.astronaut())
    [face] = faces
    assert face.confidence == 1.0
    assert (face.left, face.top, face.right, face.bottom) == pytest.approx((173, 68, 270, 164), abs=4)
    assert len(set(shares)) == 7
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)


def test_where_nothing_plain_is_found_there_are_no_further_looks():
    """Two looks at the whole picture; a mirrored one takes as long and could not make a face alone."""
    _, shares = found(np.full((512, 512, 3), 128, np.uint8))
    assert len(set(shares)) == 3


@pytest.mark.parametrize("size", [(512, 512), (8, 8), (1, 300)])
def test_where_there_is_no_face_none_is_found(size):
    """Nor in a picture too small to hold one."""
    faces, _ = found(np.full((*size, 3), 128, np.uint8))
    assert faces == []
