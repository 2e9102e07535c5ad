"""Pictures of requests and answers as base64, with the faults that a test asks for."""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING, Any

import pybase64 as base64

from rxpipe.testing.servers.drawing import decode_upload, open_picture, png_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rxpipe.testing.servers.core.faults import Fault
    from rxpipe.testing.servers.webui.engine import Engine

_NOT_IMAGE = "Invalid encoded image"


class HttpError(Exception):
    """What a handler raises to answer with a status and a text of its own."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.detail = detail


def decode(text: Any) -> bytes:
    """Return a picture of a request. Raises HttpError 500, as the servers do."""
    try:
        return decode_upload(text)
    except ValueError as error:
        raise HttpError(500, _NOT_IMAGE) from error


def encoded(engine: Engine, picture: bytes) -> bytes:
    """Return a PNG in the format of the option in force now, without its text where that is not PNG.

    The options are restored before a picture is encoded. Raises HttpError for a format that the servers do not write.
    """
    if engine.setup.encode_s_per_mp:
        width, height = png_size(picture)
        threading.Event().wait(engine.setup.encode_s_per_mp * width * height / 1e6)
    name = engine.options["samples_format"]
    if name == "png":
        return picture
    if name not in ("jpg", "jpeg", "webp"):
        raise HttpError(500, "Invalid image format")
    buffer = io.BytesIO()
    open_picture(picture).convert("RGB").save(buffer, "WEBP" if name == "webp" else "JPEG", quality=80)
    return buffer.getvalue()


def spoil(fault: Fault | None, pictures: Sequence[bytes]) -> list[bytes]:
    """Return the pictures as base64, broken by `fault`; it affects the last one, so that the others can be kept."""
    texts = [base64.b64encode(picture) for picture in pictures]
    if not texts or fault is None:
        return texts
    broken = _SPOILED[fault.kind](pictures[-1], texts[-1], fault) if fault.kind in _SPOILED else texts[-1]
    if fault.kind == "no_images":
        return []
    return [*texts[:-1], *([] if broken is None else [broken])]


def _flip(picture: bytes, text: bytes, fault: Fault) -> bytes:
    del text, fault
    index = picture.index(b"IDAT") + 8
    flipped = bytes([picture[index] ^ 0x10])
    return base64.b64encode(picture[:index] + flipped + picture[index + 1 :])


def _garble(picture: bytes, text: bytes, fault: Fault) -> bytes:
    del picture, fault
    half = len(text) // 2
    return text[:half] + b"@*@" + text[half:]


_SPOILED: dict[str, Callable[[bytes, bytes, Fault], bytes | None]] = {
    "bad_base64": _garble,
    "not_an_image": lambda _picture, _text, _fault: base64.b64encode(b"hello world"),
    "flipped_byte": _flip,
    "cut_png": lambda picture, _text, fault: base64.b64encode(picture[: int(len(picture) * fault.fraction)]),
    "fewer_images": lambda _picture, _text, _fault: None,
}
