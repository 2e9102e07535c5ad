"""Pictures of ill will are refused by their header, wherever they are opened."""

import io
import struct
import zlib

import pytest
from PIL import Image

import rxpipe as rxp
from rxpipe.artifact import Artifact
from rxpipe.backends.http.pictures import read_picture, same_pixels
from rxpipe.backends.masks import encoded_mask
from rxpipe.backends.sizes import Size
from rxpipe.chains import sources
from rxpipe.errors import BadImage, BadResponse
from rxpipe.pictures.opening import FORMATS, opened, upright
from rxpipe.plan import build_stage_execution_plan


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def claiming(width, height, *, of=b""):
    """A PNG that says it is larger than its bytes can be."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(of)) + chunk(b"IEND", b"")


def encoded(kind="PNG", size=(8, 8), **extra):
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, kind, **extra)
    return buffer.getvalue()


POSTSCRIPT = encoded("EPS")
BOMBS = [
    pytest.param(POSTSCRIPT, "none of a known format", id="PostScript, for Ghostscript"),
    pytest.param(claiming(13_000, 13_000), "cannot be in", id="a claim of 169 million pixels in 70 bytes"),
    pytest.param(claiming(2**31 - 1, 2**31 - 1), "too large", id="a claim beyond Pillow's own limit"),
    pytest.param(encoded(exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 99)[:-30], "a broken PNG", id="torn"),
]


@pytest.mark.filterwarnings("ignore:Image size")  # Pillow's, of a picture below its limit
@pytest.mark.parametrize(("data", "message"), BOMBS)
def test_each_place_that_opens_a_picture_refuses_it(tmp_path, data, message):
    """The artifact, the gallery's and the mask's opener, the input of a run; each in words and as a BadImage."""
    path = tmp_path / "given.png"
    path.write_bytes(data)
    plan = build_stage_execution_plan(
        rxp.PipelineConfig(input=[path], img2img=rxp.Img2ImgConfig(mask=path), upscale=rxp.UpscaleConfig())
    )
    openers = [
        lambda: Artifact(id="a", data=data).to_image(),
        lambda: Artifact.open(path).to_image(),
        lambda: upright(path),
        lambda: encoded_mask(plan.stages[0].config, Artifact(id="a", data=encoded()), Size(8, 8)),
        lambda: [one.to_image() for one in sources(plan, "r", 1)],
    ]
    for opener in openers:
        with pytest.raises(BadImage, match=message):
            opener()
    with pytest.raises(BadResponse):
        same_pixels(encoded(), data)


def test_a_stream_is_opened_and_stays_open():
    """As `info` does, which reads on in it."""
    stream = io.BytesIO(encoded("JPEG"))
    with opened(stream) as image:
        assert image.format == "JPEG"
    assert not stream.closed
    assert "EPS" not in FORMATS


def test_an_error_of_the_block_that_is_no_decoders_passes():
    """Such as the one that stops a decoder midway."""

    class StopError(Exception):
        pass

    with pytest.raises(StopError), opened(encoded()):
        raise StopError


def test_a_server_that_sends_another_programs_format_is_told():
    with pytest.raises(BadResponse):
        read_picture(POSTSCRIPT)


def test_a_file_larger_than_any_picture_is_not_read(tmp_path):
    """It begins as one."""
    path = tmp_path / "a.png"
    path.write_bytes(encoded())
    with path.open("ab") as file:
        file.truncate(100 << 30)
    with pytest.raises(BadImage, match="has 107374182400 bytes; at most"):
        Artifact.open(path).read()
