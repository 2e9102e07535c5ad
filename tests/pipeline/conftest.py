"""What the run-level tests share: a full chain, and the events of one stage."""

from __future__ import annotations

import pytest

import rxpipe as rxp


def _full_chain(images: int = 3, *, out=None, order="stage", **settings):
    return rxp.chain(
        rxp.txt2img(prompt="a lighthouse", images=images, seed=100),
        rxp.img2img(),
        rxp.adetailer(),
        rxp.upscale(),
        out=out,
        order=order,
        **settings,
    )


@pytest.fixture
def full_chain():
    """Makes a chain of all four stages, in stage order unless *order* says otherwise; settings as of `chain`."""
    return _full_chain
