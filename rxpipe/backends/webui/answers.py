"""What came back, checked and not believed: the JSON taken apart, pictures decoded once, `info` read.

Megabytes of base64 are cut out before the JSON is parsed. Whatever bytes come in, the only error out is BadResponse.
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rxpipe.backends.webui import base64s
from rxpipe.errors import BadImage, BadResponse
from rxpipe.pictures import png

_KEYS = re.compile(rb'"(images|image)"\s*:\s*([\["])')
_CUT = "\x00cut"
_LOOK_FOR_KEY = 1 << 16  # bytes; `images` comes first and `html_info` is short
_SHOWN = 120


class Info(BaseModel):
    """The `info` string of txt2img and img2img, as far as it is looked at."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    seed: int
    all_seeds: tuple[int, ...] = ()
    index_of_first_image: Annotated[int, Field(ge=0)] = 0
    infotexts: tuple[str, ...] = ()
    sampler_name: str | None = None
    sd_model_name: str | None = None
    sd_model_hash: str | None = None
    sd_vae_name: str | None = None
    clip_skip: int | None = None
    version: str | None = None

    def seed_of(self, index: int) -> int:
        """The seed of the picture at *index*, 0.. without the grid."""
        return self.all_seeds[index] if index < len(self.all_seeds) else self.seed + index

    def text_of(self, index: int) -> str:
        """The infotext of the picture at *index*, 0.. without the grid; empty where there is none."""
        index += self.index_of_first_image
        return self.infotexts[index] if index < len(self.infotexts) else ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request: base64 of each picture in order, without any grid. info: None for extra-single-image."""

    pictures: tuple[bytes | memoryview, ...] = field(repr=False)
    info: Info | None = None


def read_generation(body: bytes, *, expected: int) -> Answer:
    """The answer of txt2img or img2img.

    Args:
        body: the response's bytes.
        expected: how many pictures were asked for.

    Raises:
        BadResponse: torn or other JSON, no or fewer or more pictures, an `info` that cannot be read.
    """
    pictures, rest = _taken_apart(body, "images")
    info = _read_info(rest.get("info"))
    if info.index_of_first_image:
        pictures = pictures[info.index_of_first_image :]
    if len(pictures) != expected:
        raise BadResponse(
            f"{len(pictures)} pictures came where {expected} was asked for."
            if expected == 1
            else f"{len(pictures)} pictures came where {expected} were asked for.",
            hint="The job was interrupted from elsewhere, or a script changed how many there are.",
        )
    return Answer(tuple(pictures), info)


def read_single(body: bytes) -> Answer:
    """The answer of extra-single-image.

    Raises:
        BadResponse: torn or other JSON, or no picture.
    """
    pictures, _ = _taken_apart(body, "image")
    if len(pictures) != 1 or not len(pictures[0]):
        raise BadResponse("no picture came.")
    return Answer(tuple(pictures))


def read_json(body: bytes) -> Any:
    """Any other answer.

    Raises:
        BadResponse: not JSON; shows how it begins.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadResponse(f"no JSON came ({_why(error)}) but {_shown(body)}.", hint=_hint_for(body)) from error


def read_picture(text: bytes | memoryview) -> tuple[bytes, png.Header, tuple[str, ...]]:
    """One picture: its bytes, its header, and what was not as it should be.

    A PNG is kept byte for byte, every chunk checked. Another format, which a server with the option `samples_format`
    sends, is converted to PNG with a warning.

    Raises:
        BadResponse: not base64, not a picture, or a broken one.
    """
    data = base64s.decode(text)
    try:
        return data, png.check(data), ()
    except BadImage as error:
        size = png.pixel_size(data)
        if size is None or size.format == "PNG":
            raise BadResponse(f"the picture is broken: {error.message}") from error
    converted = _as_png(data)
    warning = f"the server sent {size.format}, not PNG; the picture was converted (its option samples_format says so)"
    return converted, png.check(converted), (warning,)


# -- taking the JSON apart --------------------------------------------------------------------------------------------


def _taken_apart(body: bytes, key: str) -> tuple[list[bytes | memoryview], dict[str, Any]]:
    """The pictures under *key*, and the other keys."""
    cut = _cut_out(body, key)
    if cut is not None:
        return cut
    whole = read_json(body)
    if not isinstance(whole, dict) or key not in whole:
        raise BadResponse(f"no {key!r} is in the answer but {_shown(body)}.", hint=_hint_for(body))
    found = whole.pop(key)
    pictures = found if isinstance(found, list) else [found]
    if not all(isinstance(picture, str) for picture in pictures) or isinstance(found, list) != (key == "images"):
        raise BadResponse(f"{key!r} holds no pictures but {json.dumps(found)[:_SHOWN]}.")
    return [picture.encode("utf-8", "replace") for picture in pictures], whole


def _cut_out(body: bytes, key: str) -> tuple[list[bytes | memoryview], dict[str, Any]] | None:
    """The fast way for answers laid out as servers lay them out; None where this one is not.

    Base64 holds neither quotes nor backslashes, so a picture ends at the next quote.
    """
    found = _KEYS.search(body, 0, _LOOK_FOR_KEY)
    if found is None or found[1].decode() != key or (found[2] == b"[") != (key == "images"):
        return None
    pictures, stop = _strings(body, found.end()) if key == "images" else _string(body, found.end())
    if stop < 0:
        return None
    head, tail = body[: found.start(2)], body[stop:]
    try:
        rest = json.loads(b'%b"%b"%b' % (head, json.dumps(_CUT)[1:-1].encode(), tail))
    except (ValueError, RecursionError):
        return None
    if not isinstance(rest, dict) or rest.pop(key, None) != _CUT:
        return None
    return pictures, rest


def _strings(body: bytes, start: int) -> tuple[list[bytes | memoryview], int]:
    """The strings of a list whose bracket ends before *start*, and where the list ends; -1 for anything unusual."""
    view, pictures = memoryview(body), list[bytes | memoryview]()
    while True:
        start = _skip_blanks(body, start)
        mark = body[start : start + 1]
        if mark == b"]":
            return pictures, start + 1
        if mark == b"," and pictures:
            start = _skip_blanks(body, start + 1)
            mark = body[start : start + 1]
        stop = body.find(b'"', start + 1)
        if mark != b'"' or stop < 0:
            return [], -1
        pictures.append(view[start + 1 : stop])
        start = stop + 1


def _string(body: bytes, start: int) -> tuple[list[bytes | memoryview], int]:
    stop = body.find(b'"', start)
    return ([], -1) if stop < 0 else ([memoryview(body)[start:stop]], stop + 1)


def _skip_blanks(body: bytes, start: int) -> int:
    while body[start : start + 1] in {b" ", b"\n", b"\r", b"\t"}:
        start += 1
    return start


def _read_info(text: object) -> Info:
    try:
        return Info.model_validate_json(text) if isinstance(text, str) else Info.model_validate(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(key) for key in first["loc"]) or "info"
        raise BadResponse(f"the answer's `info` cannot be read: {where}: {first['msg']}.") from error


def _as_png(data: bytes) -> bytes:
    from PIL import Image  # noqa: PLC0415  # only where a server sends something else than PNG

    buffer = io.BytesIO()
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.save(buffer, "PNG", compress_level=1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadResponse(f"the picture is broken: {error}.") from error
    return buffer.getvalue()


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, ValueError) else "nested too deeply"


def _shown(body: bytes) -> str:
    text = " ".join(body[:_SHOWN].decode("utf-8", "replace").split())
    return f"{len(body)} bytes that begin with {text!r}" if body else "an empty body"


def _hint_for(body: bytes) -> str | None:
    if b"<html" in body[:1000].lower():
        return "Something else than a WebUI answers there, or a proxy stands before it: check the URL."
    return None
