"""Two PNGs are compared by their filtered rows: what is said holds for the pixels, whatever encoded them."""

from __future__ import annotations

import io
import random
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops

from rxpipe.backends.http.pictures import same_pixels
from rxpipe.pictures.rows import same_rows

_MODES = {"L": (0, 1), "RGB": (2, 3)}


def picture(seed, size=(9, 40), mode="RGB"):
    """Noise below, a gradient above, so that encoders choose different filters."""
    width, height = size
    noise = random.Random(seed).randbytes(width * height * len(mode))  # noqa: S311  # keeps no secret
    smooth = bytes((row * 5 + channel) % 256 for row in range(height // 2) for channel in range(width * len(mode)))
    return Image.frombytes(mode, size, smooth + noise[len(smooth) :])


def png(image, **settings):
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **settings)
    return buffer.getvalue()


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def plain_png(image, *, pieces=1, level=1):
    """Written by hand: no filter, and the pixel data in several chunks."""
    kind, channels = _MODES[image.mode]
    raw, stride = image.tobytes(), image.width * channels
    data = zlib.compress(b"".join(b"\0" + raw[at : at + stride] for at in range(0, len(raw), stride)), level)
    step = -(-len(data) // pieces)
    header = struct.pack(">IIBBBBB", image.width, image.height, 8, kind, 0, 0, 0)
    body = b"".join(chunk(b"IDAT", data[at : at + step]) for at in range(0, len(data), step))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def pixels_agree(one, other):
    opened = [Image.open(io.BytesIO(data)).convert("RGB") for data in (one, other)]
    return opened[0].size == opened[1].size and ImageChops.difference(*opened).getbbox() is None


encodings = st.sampled_from(
    [png, lambda i: png(i, compress_level=9), plain_png, lambda i: plain_png(i, pieces=7, level=9)]
)


@given(
    st.sampled_from(["L", "RGB"]),
    st.sampled_from([(1, 1), (9, 40), (300, 300)]),
    st.none() | st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
    encodings,
    encodings,
)
def test_what_is_said_of_two_pictures_holds_for_their_pixels(mode, size, changed, encode, encode_other):
    """One pixel differs, or none; decoding decides where nothing is said."""
    one = picture(1, size, mode)
    other = one.copy()
    if changed is not None:
        at = int(changed[0] * size[0]), int(changed[1] * size[1])
        pixel = one.getpixel(at)
        other.putpixel(at, pixel ^ 1 if mode == "L" else (pixel[0] ^ 1, *pixel[1:]))
    before, after = encode(one), encode_other(other)
    truth = pixels_agree(before, after)
    assert truth == (changed is None)
    assert same_rows(before, after) in {truth, None}
    assert same_pixels(before, after) is truth
    if encode is encode_other and changed is None:
        assert same_rows(before, after) is True
    if encode is encode_other and encode is plain_png:
        assert same_rows(before, after) is truth


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(png(picture(1).convert("RGBA")), id="alpha"),
        pytest.param(png(picture(1).convert("P")), id="palette"),
        pytest.param(png(picture(1), transparency=(0, 0, 0)), id="a transparent colour"),
        pytest.param(png(picture(1, (40, 9))), id="another size"),
        pytest.param(
            png(picture(1), exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"), id="EXIF"
        ),
        pytest.param(b"\xff\xd8\xff\xe0 no PNG", id="no PNG"),
    ],
)
def test_of_other_kinds_of_pictures_nothing_is_said(other):
    """They are decoded."""
    assert same_rows(png(picture(1)), other) is None


def test_pixel_data_that_ends_early_says_nothing():
    """Rows that are not there are no equal rows; damaged ones neither."""
    short = plain_png(picture(1, (9, 20)))
    claims_more = short[:20] + struct.pack(">I", 40) + short[24:29]
    claims_more += struct.pack(">I", zlib.crc32(claims_more[12:29])) + short[33:]
    assert same_rows(claims_more, claims_more) is None
    torn = short.replace(short[short.index(b"IDAT") + 12 : short.index(b"IDAT") + 20], b"\0" * 8)
    assert same_rows(torn, torn) is None
