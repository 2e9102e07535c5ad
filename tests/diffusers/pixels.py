"""Pictures and drawings that the tests of local models share."""

import functools
import io

import numpy as np
import skimage.data
from PIL import Image
from stages import Watched, stage_of

import rxpipe as rxp

TXT2IMG = {"prompt": "a cat", "width": 64, "height": 64, "steps": 6, "cfg_scale": 5.0}


def output(backend, section, source=None, *, before=None, seed=7):
    """The Output of a section; raises what it failed with."""
    watched = Watched(backend.render(stage_of(section, before=before, seed=seed), source))
    assert watched.wait_for(
        lambda seen: seen.completed or seen.error is not None, 300.0
    )  # a new process imports torch first
    return watched.output


def pixels(data):
    """A picture's pixels, whole numbers that may fall below 0 in a difference."""
    return np.asarray(Image.open(io.BytesIO(data)), np.int16)


def drawn(backend, **settings):
    """The pixels of txt2img with settings."""
    return pixels(output(backend, rxp.Txt2ImgConfig(**{**TXT2IMG, **settings})).data)


def given(image):
    """A picture as an artifact."""
    return rxp.Artifact(id="given-1", seed=7).with_image(image)


def grain(width, height, mode="RGB", seed=0):
    """A picture of noise."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(seed).integers(0, 256, (height, width, bands), "u1")
    return Image.fromarray(values if bands > 1 else values[:, :, 0])


@functools.cache
def astronaut(side=256):
    """A photo with one face."""
    return Image.fromarray(skimage.data.astronaut()).resize((side, side), Image.Resampling.LANCZOS)
