"""What comes back is taken apart quickly and believed in nothing: recorded answers, broken ones, and any bytes."""

import base64
import json
import mmap
import struct
import time
import zlib
from pathlib import Path

import pytest
from hostile_answers import read_every_way
from hypothesis import given
from hypothesis import strategies as st
from stages import PICTURE

from rxpipe.backends.http.failures import message_of, read_json, retry_after_s
from rxpipe.backends.webui import base64s
from rxpipe.backends.webui.answers import Answer, read_generation, read_picture, read_single
from rxpipe.errors import BadResponse

TEXT = base64.b64encode(PICTURE).decode()
INFO = json.dumps({"seed": 5, "all_seeds": [5, 6], "infotexts": ["a cat\nSteps: 2, Sampler: Euler, Seed: 5"]})
RECORDED = sorted((Path(__file__).parents[2] / "data" / "webui").glob("*/*.json"))


def read_text(text, **asked):
    """A picture of an answer, from its base64."""
    return read_picture(Answer([text]).take(0), **asked)


def body(images=(TEXT,), info=INFO, **more):
    """An answer as servers send it."""
    return json.dumps({"images": list(images), "parameters": {}, "info": info, **more}).encode()


def test_pictures_and_info_are_read():
    """The text of each picture, and the seeds really used."""
    answer = read_generation(body([TEXT, TEXT]), expected=2)

    assert [bytes(picture).decode() for picture in answer.pictures] == [TEXT, TEXT]
    assert [answer.info.seed_of(0), answer.info.seed_of(1)] == [5, 6]
    assert answer.info.text_of(0).startswith("a cat")


def test_a_grid_is_cut_off():
    """It comes first, and `index_of_first_image` says so."""
    info = json.dumps({"seed": 5, "all_seeds": [5, 6], "index_of_first_image": 1, "infotexts": ["grid", "one", "two"]})
    answer = read_generation(body(["GRID", TEXT, TEXT], info), expected=2)

    assert [bytes(picture).decode() for picture in answer.pictures] == [TEXT, TEXT]
    assert answer.info.text_of(0) == "one"


def test_more_pictures_than_asked_for_are_counted():
    """Scripts append theirs behind ours; the seeds are those of ours."""
    answer = read_generation(body([TEXT] * 5), expected=2)

    assert (len(answer.pictures), answer.surplus) == (2, 3)


@pytest.mark.parametrize("images", [[], [TEXT]])
def test_fewer_pictures_than_asked_for_are_reported(images):
    """An interrupt from elsewhere looks like that."""
    with pytest.raises(BadResponse, match=f"{len(images)} pictures came where 2 were asked for"):
        read_generation(body(images), expected=2)


@pytest.mark.parametrize(
    "odd",
    [
        b' {\n "images" : [ "%b" , "%b" ],\n "info": INFO}',
        b'{"info": INFO, "images": ["%b","%b"]}',
        b'{"parameters": {"images": ["x"]}, "images": ["%b","%b"], "info": INFO}',
    ],
)
def test_any_layout_of_the_json_is_read(odd):
    """The fast way is only for what servers usually send; everything else goes the slow way to the same end."""
    text, info = TEXT.encode(), json.dumps(INFO).encode()
    sent = odd.replace(b"INFO", info) % (text, text)

    assert [bytes(picture) for picture in read_generation(sent, expected=2).pictures] == [text, text]


def test_a_single_picture_is_read_whatever_the_html_beside_it():
    """`html_info` may speak of an image too."""
    sent = json.dumps({"html_info": 'an "image":"none" <p>', "image": TEXT}).encode()

    assert bytes(read_single(sent).pictures[0]).decode() == TEXT


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"", "the answer is not JSON"),
        (b'{"images": ["AAAA"', "the answer is not JSON"),
        (b"<html><body>login</body></html>", "the answer is not JSON"),
        (b"null", "the answer has no 'images'"),
        (b'{"images": 3, "info": "{}"}', "holds no pictures: 3"),
        (b'{"images": [3], "info": "{}"}', "holds no pictures:"),
        (b'{"images": "AAAA", "info": "{}"}', "holds no pictures:"),
        (b'{"images": ["AAAA"]}', "`info` cannot be read"),
        (b'{"images": ["AAAA"], "info": "{}"}', "`info` cannot be read: seed"),
        (b'{"images": ["AAAA"], "info": "{torn"}', "`info` cannot be read"),
        (b'{"images": ["AAAA"], "info": "{\\"seed\\": 1, \\"index_of_first_image\\": -1}"}', "index_of_first_image"),
        (b"[" * 100_000, "the answer is not JSON"),
    ],
)
def test_what_is_no_answer_is_reported(sent, message):
    """What came is shown, shortened."""
    with pytest.raises(BadResponse, match=message):
        read_generation(sent, expected=1)


def test_a_page_of_html_hints_at_a_proxy():
    """A 200 that is no JSON is not the server's."""
    with pytest.raises(BadResponse) as caught:
        read_json(b"<!doctype html><html>login</html>")

    assert "proxy" in caught.value.hint


@pytest.mark.parametrize("head", ["", "data:image/png;base64,"])
def test_a_png_is_kept_byte_for_byte(head):
    """With or without a data-URL head."""
    data, header, warnings = read_text((head + TEXT).encode())

    assert data == PICTURE
    assert (header.width, header.height) == (64, 64)
    assert warnings == ()


def test_another_format_is_converted_with_a_warning(picture_of):
    """A server whose option samples_format is not png."""
    data, header, warnings = read_text(base64.b64encode(picture_of("JPEG")))

    assert data.startswith(b"\x89PNG")
    assert (header.width, header.height) == (64, 48)
    assert "samples_format" in warnings[0]


@pytest.fixture
def picture_of():
    """Makes a picture of 64x48 px in a format."""
    import io  # noqa: PLC0415  only here

    from PIL import Image  # noqa: PLC0415  only here

    def make(kind):
        buffer = io.BytesIO()
        Image.new("RGB", (64, 48), "teal").save(buffer, kind)
        return buffer.getvalue()

    return make


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"@*@", "not base64"),
        (b"AAA", "not base64"),
        (base64.b64encode(b"hello world"), "picture is broken"),
        (base64.b64encode(PICTURE[:-20]), "picture is broken"),
        (base64.b64encode(PICTURE[:60] + b"x" + PICTURE[61:]), "wrong checksum"),
        (base64.b64encode(b"\xff\xd8\xff\xc0\0\x11\x08\0\x10\0\x10" + b"\0" * 20), "picture is broken"),
        (b"", "picture is broken"),
    ],
)
def test_a_broken_picture_is_never_passed_on(text, message):
    """Strict base64, every chunk, the end marker."""
    with pytest.raises(BadResponse, match=message):
        read_text(text)


@pytest.mark.parametrize("fast", [True, False])
def test_base64_is_the_same_with_and_without_its_accelerator(fast, monkeypatch):
    """pybase64 is speed and nothing else."""
    if not fast:
        monkeypatch.setattr(base64s, "_fast_decode", None)
        monkeypatch.setattr(base64s, "_fast_encode", None)

    assert base64s.encode(PICTURE).decode() == TEXT
    assert base64s.decode(memoryview(TEXT.encode())) == PICTURE
    for wrong in (b"@@@@", b"AAAAA", b"AA==AAAA", b"AA\nAA"):
        with pytest.raises(BadResponse, match="not base64"):
            base64s.decode(wrong)


@pytest.mark.parametrize(
    "path", [path for path in RECORDED if "images" in (json.loads(path.read_bytes())["response"].get("json") or {})]
)
def test_recorded_answers_are_read(path):
    """Of both servers; their pictures are shortened in the tree, their `info` is whole."""
    exchange = json.loads(path.read_bytes())
    sent = exchange["response"]["json"]
    pictures = [picture if isinstance(picture, str) else TEXT for picture in sent["images"]]
    first = json.loads(sent["info"])["index_of_first_image"]
    answer = read_generation(json.dumps({**sent, "images": pictures}).encode(), expected=len(pictures) - first)

    assert answer.info.seed_of(0) >= 0
    assert answer.info.sd_model_name


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
ANSWERS = st.fixed_dictionaries(
    {},
    optional={
        "images": JSON | st.lists(st.just(TEXT) | st.text(max_size=6), max_size=3),
        "image": JSON | st.just(TEXT),
        "info": JSON | st.just(INFO) | JSON.map(json.dumps),
        "detail": JSON,
        "html_info": JSON,
    },
)


@given(sent=st.binary(max_size=200) | JSON.map(json.dumps).map(str.encode) | ANSWERS.map(json.dumps).map(str.encode))
def test_whatever_bytes_come_the_only_error_is_bad_response(sent):
    """No layout and no type of JSON gets past it as another error."""
    for read in (lambda: read_generation(sent, expected=1), lambda: read_single(sent)):
        try:
            pictures = read().pictures
        except BadResponse:
            continue
        for picture in pictures:
            try:
                read_text(picture)
            except BadResponse:
                continue
    assert isinstance(message_of(sent), str)


@given(sent=st.text(max_size=30) | st.none())
def test_any_retry_after_is_seconds_or_nothing(sent):
    """A header is text from outside too."""
    wait_s = retry_after_s(sent)

    assert wait_s is None or wait_s >= 0


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("0", 0.0), ("soon", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)]
)
def test_retry_after_is_seconds_or_a_date(header, seconds):
    """Both forms that HTTP knows."""
    assert retry_after_s(header) == seconds


def claiming(width, height, pixels=b"x" * 100):
    """A PNG whose every checksum is right and whose pixels are not there."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (claiming(40_000, 40_000), "claims 40000x40000 px, far more than was asked for"),
        (claiming(1000, 1000), "1000x1000 px cannot be in 157 bytes"),
    ],
)
def test_a_picture_that_claims_more_than_it_has_is_refused_by_its_header(picture, message):
    with pytest.raises(BadResponse, match=message):
        read_text(base64.b64encode(picture), asked=64 * 64)


def test_a_blank_picture_is_no_claim():
    """Nothing compresses better."""
    blank = claiming(2000, 2000, zlib.compress(bytes(2000 * 6001), 9))
    assert read_text(base64.b64encode(blank), asked=1)[1].width == 2000


def test_an_answer_of_countless_pictures_is_not_split():
    with pytest.raises(BadResponse, match="more than 1000 pictures"):
        read_generation(body([""] * 2000), expected=1)


@pytest.mark.parametrize("values", [b"[],", b"0,", b"{},", b'"",'])
def test_an_answer_of_countless_values_is_not_read(values):
    """Each would cost tens of bytes."""
    with pytest.raises(BadResponse, match="more than 1000000 values"):
        read_json(b"[" + values * 2_000_000 + b"0]")


@pytest.mark.parametrize(
    "text", ["Mon, 99 Foo 99999 99:99:99", "Thu, 01 Jan 0000 00:00:00 GMT", "9" * 400, "-1", "nan"]
)
def test_odd_dates_of_retry_after_are_seconds_or_nothing(text):
    assert retry_after_s(text) is None or retry_after_s(text) >= 0


@pytest.mark.slow
def test_hostile_answers_raise_no_error_but_ours():
    """2 % of those that `tests/benchmarks/bench_answers.py` reads; each in at most 5 s."""
    for number in range(0, 10_000, 50):
        begin = time.monotonic()
        read_every_way(number)
        assert time.monotonic() - begin < 5, number


@pytest.mark.parametrize("laid_out", ["as servers do", "otherwise"])
def test_a_mapped_answer_is_read_as_any_other(laid_out):
    """A large answer has pages of its own; what is made of it does not need them any more."""
    whole = body([TEXT, TEXT])
    whole = whole if laid_out == "as servers do" else whole.replace(b"images", b"\\u0069mages")
    mapped = _mapped(whole)
    answer = read_generation(mapped, expected=2)
    made = [answer.take(0), answer.take(1)]
    mapped.close()
    assert made == [read_generation(whole, expected=2).take(index) for index in (0, 1)]
    with pytest.raises(BadResponse, match="not JSON"):
        read_generation(_mapped(b"<html>"), expected=1)


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_an_answer_with_blanks_is_read_alike_of_whatever_bytes(kind):
    """One of 64 KiB or more is no bytes object."""
    spaced = json.dumps({"images": [TEXT, TEXT], "parameters": {}, "info": INFO}, indent=2).encode()
    answer = read_generation(kind(spaced), expected=2)
    assert [bytes(picture).decode() for picture in answer.pictures] == [TEXT, TEXT]
    with pytest.raises(BadResponse, match="not JSON"):
        read_generation(kind(b"<html>"), expected=1)


def _mapped(data):
    pages = mmap.mmap(-1, len(data))
    pages.write(data)
    return pages
