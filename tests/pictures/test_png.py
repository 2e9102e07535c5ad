"""PNG bytes: what is checked, which texts are read and written, and that Pillow and A1111 see the same."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from rxpipe.errors import BadImage
from rxpipe.pictures import png

DATA = Path(__file__).parents[1] / "data"
SERVER_PICTURES = sorted(DATA.glob("*.png"))


def picture(mode: str = "RGB", size: tuple[int, int] = (5, 3), **save: object) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert(mode).save(out, "PNG", **save)
    return out.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def before_pixels(data: bytes, *chunks: bytes) -> bytes:
    at = data.index(b"IDAT") - 4
    return data[:at] + b"".join(chunks) + data[at:]


def opened(data: bytes) -> PngImagePlugin.PngImageFile:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


# -- check --


@pytest.mark.parametrize(
    ("mode", "depth", "color"), [("1", 1, 0), ("L", 8, 0), ("RGB", 8, 2), ("P", 8, 3), ("LA", 8, 4), ("RGBA", 8, 6)]
)
def test_check_tells_size_and_colour_of_a_sound_picture(mode, depth, color):
    """Every mode that Pillow writes is accepted, and its header is told."""
    assert png.check(picture(mode)) == png.Header(5, 3, depth, color, interlaced=False)


@pytest.mark.parametrize("path", SERVER_PICTURES, ids=lambda path: path.stem)
def test_check_accepts_what_real_servers_send(path):
    """Recorded answers of A1111 and Forge are sound, and their size is as Pillow sees it."""
    header = png.check(path.read_bytes())
    with Image.open(path) as image:
        assert (header.width, header.height) == image.size


def test_check_finds_any_cut():
    """A picture cut off at any byte is refused."""
    data = picture(pnginfo=None)
    for end in range(len(data)):
        with pytest.raises(BadImage):
            png.check(data[:end])


@given(st.data())
def test_check_finds_any_flipped_bit(draw):
    """One flipped bit anywhere is refused."""
    data = bytearray(picture("P"))
    at = draw.draw(st.integers(0, len(data) - 1))
    data[at] ^= 1 << draw.draw(st.integers(0, 7))
    with pytest.raises(BadImage):
        png.check(bytes(data))


def test_check_names_the_chunk_and_the_byte_of_a_wrong_checksum():
    """The message says which chunk is damaged, and where."""
    data = bytearray(picture())
    at = data.index(b"IDAT")
    data[at + 6] ^= 1
    with pytest.raises(BadImage, match=f"IDAT at byte {at - 4} has a wrong checksum"):
        png.check(bytes(data))


def test_check_names_the_missing_end_marker():
    """A picture that ends at a chunk's border is told from a whole one."""
    data = picture()
    with pytest.raises(BadImage, match=f"cut off at byte {len(data) - 12}"):
        png.check(data[:-12])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "Not a PNG: it begins with b''"),
        (b"<!DOCTYPE html>", "Not a PNG: it begins with b'<!DOCTYPE ht'"),
        (b"GIF89a\x01\0\x01\0", "Not a PNG but a GIF"),
    ],
)
def test_check_says_what_came_instead_of_a_png(data, message):
    """What is no PNG at all is named as what it is."""
    with pytest.raises(BadImage, match=message):
        png.check(data)


def header_chunk(width: int = 1, height: int = 1, depth: int = 8, color: int = 0, methods: bytes = b"\0\0\0") -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBB", width, height, depth, color) + methods)


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([chunk(b"IEND", b"")], "the first chunk is IEND of 0 bytes"),
        ([header_chunk(), chunk(b"IEND", b"")], "no pixel data"),
        ([header_chunk(width=0), chunk(b"IDAT", b""), chunk(b"IEND", b"")], "0x1 px"),
        ([header_chunk(width=2**31), chunk(b"IDAT", b""), chunk(b"IEND", b"")], "2147483648x1 px"),
        ([header_chunk(depth=3), chunk(b"IDAT", b""), chunk(b"IEND", b"")], "colour type 0 with 3 bits"),
        ([header_chunk(methods=b"\0\0\2"), chunk(b"IDAT", b""), chunk(b"IEND", b"")], "unknown methods"),
        ([header_chunk(color=3), chunk(b"IDAT", b""), chunk(b"IEND", b"")], "without a palette"),
        ([header_chunk(), header_chunk(), chunk(b"IDAT", b""), chunk(b"IEND", b"")], "more than one header"),
        (
            [header_chunk(), chunk(b"IDAT", b""), chunk(b"tEXt", b"a\0b"), chunk(b"IDAT", b""), chunk(b"IEND", b"")],
            "interrupted",
        ),
        ([header_chunk(), b"\0\0\0\0\0\0\0\0\0\0\0\0"], "no chunk begins at byte 33"),
    ],
)
def test_check_refuses_what_no_reader_could_draw(chunks, message):
    """Chunks that are sound by themselves must also make a picture."""
    with pytest.raises(BadImage, match=message):
        png.check(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def test_check_leaves_bytes_behind_the_end_alone():
    """Some tools append data; every reader ignores it."""
    assert png.check(picture() + b"appended").width == 5


# -- reading --


def is_like_utf8(text: str) -> bool:
    """Whether the Latin-1 of a text, where it has one, would be read as UTF-8."""
    try:
        return not text.isascii() and bool(text.encode("latin-1").decode("utf-8"))
    except UnicodeError:
        return False


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60).filter(lambda text: not is_like_utf8(text))
KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=255), min_size=1, max_size=79)


@given(st.dictionaries(KEYS.filter(lambda key: key not in {"exif", "XML:com.adobe.xmp"}), TEXTS), st.booleans())
def test_every_text_that_pillow_writes_is_read(texts, packed):
    """TEXt, zTXt, iTXt and compressed iTXt, whatever stands in them."""
    info = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        info.add_text(key, text, zip=packed)
    assert png.read_text(picture(pnginfo=info)) == texts


@pytest.mark.parametrize("path", SERVER_PICTURES, ids=lambda path: path.stem)
def test_texts_of_real_servers_are_read_as_pillow_reads_them(path):
    """The recorded pictures carry `parameters`."""
    with Image.open(path) as image:
        image.load()
        assert png.read_text(path.read_bytes()) == image.text


def test_utf8_in_a_text_of_latin1_is_read_as_utf8():
    """Many programs write it there; Latin-1 that is no UTF-8 stays, and what is ambiguous is written as UTF-8."""
    data = picture()
    for body, text in ((b"k\0" + "größer 猫".encode(), "größer 猫"), (b"k\0gr\xf6\xdfer", "größer")):
        assert png.read_text(data[:-12] + chunk(b"tEXt", body) + data[-12:]) == {"k": text}
        packed = b"k\0\0" + zlib.compress(body[2:])
        assert png.read_text(data[:-12] + chunk(b"zTXt", packed) + data[-12:]) == {"k": text}
    assert png.read_text(png.insert_text(data, {"k": "Ã¼"})) == {"k": "Ã¼"}


def test_texts_behind_the_pixels_are_read():
    """PNG allows a text after the last IDAT."""
    data = picture()
    assert png.read_text(data[:-12] + chunk(b"tEXt", b"late\0yes") + data[-12:]) == {"late": "yes"}


def test_the_later_of_two_texts_wins():
    """As in Pillow."""
    data = before_pixels(picture(), chunk(b"tEXt", b"k\0old"), chunk(b"iTXt", b"k\0\0\0\0\0new"))
    assert png.read_text(data) == {"k": "new"} == opened(data).text


def test_an_itxt_with_language_and_translation_is_read():
    """Both stand between key and text, and are not taken for text."""
    assert png.read_text(before_pixels(picture(), chunk(b"iTXt", b"k\0\0\0de\0Titel\0x\0y"))) == {"k": "x\0y"}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", [b"zTXt", b"iTXt"])
@pytest.mark.slow
def test_a_text_bomb_is_refused_where_pillow_refuses_it(name):
    """What unpacks to more than 1 MiB is named and not unpacked further."""
    head = b"bomb\0\0" if name == b"zTXt" else b"bomb\0\1\0\0\0"
    data = before_pixels(picture(), chunk(name, head + zlib.compress(bytes(200 << 20), 9)))
    with pytest.raises(BadImage, match="'bomb' at byte 33 unpacks to more than 1 MiB"):
        png.read_text(data)
    with pytest.raises(ValueError, match="too large"):
        opened(data)


def test_many_small_bombs_are_refused_together():
    """Texts of just under 1 MiB each may not fill the memory by their number."""
    small = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes((1 << 20) - 1), 9))
    with pytest.raises(BadImage, match="more than 4 MiB of text"):
        png.read_text(before_pixels(picture(), *[small] * 5))


def test_a_damaged_compressed_text_is_named():
    """The message says which key, where."""
    with pytest.raises(BadImage, match="compressed text 'k' at byte 33 is damaged"):
        png.read_text(before_pixels(picture(), chunk(b"zTXt", b"k\0\0not zlib")))


# -- inserting --


@given(st.dictionaries(KEYS.filter(lambda key: key != "exif"), TEXTS, min_size=1), st.booleans())
def test_inserted_texts_are_read_by_pillow_and_the_pixels_stay(texts, packed):
    """Chunk by chunk the bytes that Pillow's own PngInfo writes, and the same picture."""
    plain = picture()
    data = png.insert_text(plain, texts, compressed=texts if packed else ())
    info = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        info.add_text(key, text, zip=packed)
    assert data == before_pixels(plain, *[chunk(name, body) for name, body, _ in info.chunks])
    image = opened(data)
    assert image.text == texts
    assert image.tobytes() == opened(plain).tobytes()
    png.check(data)


@pytest.mark.parametrize("path", SERVER_PICTURES, ids=lambda path: path.stem)
def test_inserting_twice_replaces(path):
    """A text is replaced, wherever it stood; other texts and every other byte stay."""
    data = path.read_bytes()
    once = png.insert_text(data, {"rxpipe": "1" * 999}, compressed=["rxpipe"])
    late = once[:-12] + chunk(b"iTXt", b"rxpipe\0\0\0\0\0old") + once[-12:]
    assert png.insert_text(late, {"rxpipe": "2"}) == png.insert_text(data, {"rxpipe": "2"})
    assert png.read_text(png.insert_text(late, {"rxpipe": "2"})) == png.read_text(data) | {"rxpipe": "2"}


def test_a_text_to_be_kept_is_kept():
    """`keep` inserts only where the picture has no such text."""
    had = png.insert_text(picture(), {"parameters": "server's"})
    texts = {"parameters": "ours", "rxpipe": "{}"}
    assert png.read_text(png.insert_text(had, texts, keep=["parameters"])) == texts | {"parameters": "server's"}
    assert png.read_text(png.insert_text(picture(), texts, keep=["parameters"])) == texts


def test_a_large_text_is_written_so_that_pillow_opens_it():
    """1 MiB or more is written plain, since Pillow refuses it compressed."""
    for size in ((1 << 20) - 1, 1 << 20, 2 << 20):
        data = png.insert_text(picture(), {"k": "a" * size}, compressed=["k"])
        assert len(opened(data).text["k"]) == size
        assert len(png.read_text(data)["k"]) == size


def test_a_lone_surrogate_does_not_stop_a_save():
    """It cannot be written; a question mark stands for it."""
    assert png.read_text(png.insert_text(picture(), {"k": "a\ud800"})) == {"k": "a?"}


@pytest.mark.parametrize("key", ["", "k" * 80, "ключ", "a\0b"])
def test_a_key_that_png_does_not_allow_is_refused(key):
    """Before anything is written."""
    with pytest.raises(ValueError, match="1 to 79 Latin-1 characters"):
        png.insert_text(picture(), {key: "x"})


def test_insert_refuses_a_torn_picture():
    """Cut off or no PNG at all."""
    for data in (b"", picture()[:-1], b"\x89PNG\r\n\x1a\n" + header_chunk() + chunk(b"IEND", b"")):
        with pytest.raises(BadImage):
            png.insert_text(data, {"k": "v"})


# -- sizes --


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("GIF", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "exif": b"Exif\0\0" + b"x" * 999}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0xx"}),
    ],
)
@pytest.mark.parametrize("size", [(1, 1), (17, 300), (1025, 8)])
def test_the_first_bytes_tell_format_and_size(kind, options, size):
    """As Pillow wrote them, and None for any beginning that is too short."""
    out = io.BytesIO()
    Image.new("RGB", size).save(out, kind, **options)
    assert png.pixel_size(out.getvalue()) == (kind, *size)
    sizes = {png.pixel_size(out.getvalue()[:end]) for end in range(0, 1200, 7)}
    assert sizes <= {None, (kind, *size)}


@given(st.binary(max_size=64), st.sampled_from([b"", b"\xff\xd8\xff", b"RIFF0000WEBPVP8 ", b"\x89PNG\r\n\x1a\n"]))
def test_no_bytes_make_the_size_raise(tail, head):
    """What cannot be told is None."""
    png.pixel_size(head + tail)
