"""Answers of a WebUI: the JSON is split into pictures and `info`, each is validated.

Megabytes of base64 are cut out before the JSON is parsed. Whatever bytes come in, the only error is BadResponse.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rxpipe.backends.http import pictures
from rxpipe.backends.http.failures import hint_for, read_json, shown
from rxpipe.backends.http.limits import Body, most_pixels
from rxpipe.backends.webui import base64s
from rxpipe.errors import BadResponse
from rxpipe.pictures import png

_KEYS = re.compile(rb'"(images|image)"\s*:\s*([\["])')
_SMALL = 1 << 16  # bytes; an answer without a picture is no longer
_CUT = "\x00cut"
_LOOK_FOR_KEY = 1 << 16  # bytes; `images` comes first and `html_info` is short
_SHOWN = 120
_MOST_PICTURES = 1000


class Info(BaseModel):
    """The `info` string of txt2img and img2img, as far as it is read."""

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
        """Return the seed of the picture at *index*, 0.. without the grid."""
        return self.all_seeds[index] if index < len(self.all_seeds) else self.seed + index

    def text_of(self, index: int) -> str:
        """Return the infotext of the picture at *index*, 0.. without the grid; empty where there is none."""
        index += self.index_of_first_image
        return self.infotexts[index] if index < len(self.infotexts) else ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request: base64 of each picture that was asked for, in order, no grid.

    info: None for extra-single-image. surplus: how many more pictures came, from scripts.
    """

    pictures: list[bytes | memoryview] = field(repr=False)
    info: Info | None = None
    surplus: int = 0

    def take(self, index: int) -> bytes:
        """Return the bytes of a picture, once; its base64 is kept no longer, which is larger than all made of it.

        Raises:
            BadResponse: it is not base64.
        """
        text, self.pictures[index] = self.pictures[index], b""
        return base64s.decode(text)


def read_generation(body: Body, *, expected: int) -> Answer:
    """Return the answer of txt2img or img2img.

    Args:
        body: the response's bytes.
        expected: how many pictures were asked for.

    Raises:
        BadResponse: torn or other JSON, no or fewer pictures, an `info` that cannot be read.
    """
    pictures, rest = _split(body, "images")
    info = _read_info(rest.get("info"))
    if info.index_of_first_image:
        pictures = pictures[info.index_of_first_image :]
    if len(pictures) < expected:
        raise BadResponse(
            f"{len(pictures)} pictures came where {expected} was asked for."
            if expected == 1
            else f"{len(pictures)} pictures came where {expected} were asked for.",
            hint="Another client interrupted it, or a script changed how many there are.",
        )
    return Answer(pictures[:expected], info, len(pictures) - expected)


def drew_nothing(body: Body) -> bool:
    """Whether an answer has no picture, as SD.Next answers where its drawing fails."""
    try:
        answer = json.loads(body[:]) if len(body) < _SMALL else None
    except (ValueError, RecursionError):
        return False
    return isinstance(answer, dict) and answer.get("images") == []


def read_single(body: Body) -> Answer:
    """Return the answer of extra-single-image.

    Raises:
        BadResponse: torn or other JSON, or no picture.
    """
    pictures, _ = _split(body, "image")
    if len(pictures) != 1 or not len(pictures[0]):
        raise BadResponse("the answer has no picture.")
    return Answer(pictures)


def read_picture(data: bytes, *, asked: int | None = None) -> tuple[bytes, png.Header, tuple[str, ...]]:
    """Return one picture of an answer; see `http.pictures.read_picture`.

    Args:
        data: its bytes.
        asked: how many pixels were asked for, None where that is not known.

    Raises:
        BadResponse: not a picture, or a broken one.
    """
    hint = "its option samples_format says so"
    if asked is None:
        return pictures.read_picture(data, hint=hint)
    return pictures.read_picture(data, hint=hint, most_pixels=most_pixels(asked))


def with_text(data: bytes, text: str | None) -> bytes:
    """Return a PNG with *text* as its infotext where it has none: a server may leave it out of its files."""
    if not text or not data or "parameters" in png.read_text(data):
        return data
    return png.insert_text(data, {"parameters": text})


# -- splitting the JSON -----------------------------------------------------------------------------------------------


def _split(body: Body, key: str) -> tuple[list[bytes | memoryview], dict[str, Any]]:
    """Return the pictures under *key*, and the other keys."""
    cut = _cut_out(body, key)
    if cut is not None:
        return cut
    body = bytes(body)
    whole = read_json(body)
    if not isinstance(whole, dict) or key not in whole:
        raise BadResponse(f"the answer has no {key!r}: {shown(body)}.", hint=hint_for(body))
    found = whole.pop(key)
    pictures = found if isinstance(found, list) else [found]
    if not all(isinstance(picture, str) for picture in pictures) or isinstance(found, list) != (key == "images"):
        raise BadResponse(f"{key!r} holds no pictures: {json.dumps(found)[:_SHOWN]}.")
    return [picture.encode("utf-8", "replace") for picture in pictures], whole


def _cut_out(body: Body, key: str) -> tuple[list[bytes | memoryview], dict[str, Any]] | None:
    """Split an answer laid out as servers lay it out, quickly; None where this one is not.

    Base64 holds neither quotes nor backslashes, so a picture ends at the next quote.
    """
    found = _KEYS.search(body, 0, _LOOK_FOR_KEY)
    if found is None or found[1].decode() != key or (found[2] == b"[") != (key == "images"):
        return None
    pictures, stop = _strings(body, found.end()) if key == "images" else _string(body, found.end())
    if stop < 0:
        return None
    head, tail = bytes(body[: found.start(2)]), bytes(body[stop:])
    try:
        rest = json.loads(b'%b"%b"%b' % (head, json.dumps(_CUT)[1:-1].encode(), tail))
    except (ValueError, RecursionError):
        return None
    if not isinstance(rest, dict) or rest.pop(key, None) != _CUT:
        return None
    return pictures, rest


def _strings(body: Body, start: int) -> tuple[list[bytes | memoryview], int]:
    """Return the strings of a list whose bracket ends before *start*, and where it ends; -1 for anything unusual."""
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
        if len(pictures) > _MOST_PICTURES:
            raise BadResponse(f"the answer has more than {_MOST_PICTURES} pictures.", retryable=False)
        start = stop + 1


def _string(body: Body, start: int) -> tuple[list[bytes | memoryview], int]:
    stop = body.find(b'"', start)
    return ([], -1) if stop < 0 else ([memoryview(body)[start:stop]], stop + 1)


def _skip_blanks(body: Body, start: int) -> int:
    while body[start : start + 1] in (b" ", b"\n", b"\r", b"\t"):  # a bytearray has no hash
        start += 1
    return start


def _read_info(text: object) -> Info:
    try:
        return Info.model_validate_json(text) if isinstance(text, str) else Info.model_validate(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(key) for key in first["loc"]) or "info"
        raise BadResponse(f"the answer's `info` cannot be read: {where}: {first['msg']}.") from error
