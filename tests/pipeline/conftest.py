"""What the run-level tests share: a full chain, and the events of one stage."""

from __future__ import annotations

import pytest

import rxpipe as rxp


def _full_chain(images: int = 3, *, out=None, **settings):
    return rxp.chain(
        rxp.txt2img(prompt="a lighthouse", images=images, seed=100),
        rxp.img2img(),
        rxp.adetailer(),
        rxp.upscale(),
        out=out,
        **settings,
    )


@pytest.fixture
def full_chain():
    """Makes a chain of all four stages; settings as of `chain`."""
    return _full_chain
