"""GET /view and the uploads: files in, files out, with the real server's refusals."""

from __future__ import annotations

import io
import json
import mimetypes
import posixpath
from dataclasses import replace
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from PIL import Image

from rxpipe.testing.servers.comfyui.answers import TROUBLE, json_of
from rxpipe.testing.servers.comfyui.files import KINDS, FileStore, OutsideFolder, StoredFile, split_annotation
from rxpipe.testing.servers.comfyui.values import png
from rxpipe.testing.servers.core.multipart import parse_form
from rxpipe.testing.servers.core.wire import Answer

if TYPE_CHECKING:
    from rxpipe.testing.servers.core.faults import Fault
    from rxpipe.testing.servers.core.multipart import Part
    from rxpipe.testing.servers.core.wire import Request

_DEFAULT_QUALITY = 90
_SPOILT = ("not_an_image", "flipped_byte", "cut_png")
_RGBA = 4


def view(files: FileStore, request: Request) -> Answer:
    """Return a file, re-encoded where `preview` or `channel` say so."""
    query = request.query
    name = query.get("filename", "")
    if not name:
        return Answer(404, b"", "")
    annotated, name = split_annotation(name) if "[" in name else (query.get("type", "output"), name)
    if name.startswith("/") or ".." in name or annotated not in KINDS:
        return Answer(400, b"", "")
    try:
        file = files.read(annotated, query.get("subfolder", ""), posixpath.basename(name))
    except OutsideFolder:
        return Answer(403, b"", "")
    if file is None:
        return Answer(404, b"", "")
    shown = {"content-disposition": f'filename="{posixpath.basename(name)}"'}
    if "preview" in query:
        return _preview(file, query["preview"], shown)
    if query.get("channel") in ("rgb", "a"):
        return _channel(file, query["channel"], shown)
    return _whole(file, name, request, shown)


def _whole(file: StoredFile, name: str, request: Request, shown: dict[str, str]) -> Answer:
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    headers = {
        "x-content-type-options": "nosniff",
        **shown,
        "etag": file.etag,
        "last-modified": file.last_modified,
    }
    if _is_known(file, request):
        return Answer(304, b"", kind, headers)
    return Answer(200, file.data, kind, {**headers, "accept-ranges": "bytes"})


def _is_known(file: StoredFile, request: Request) -> bool:
    """Return whether the client has this version of a file already."""
    if "if-none-match" in request.headers:
        return request.headers["if-none-match"] in (file.etag, "*")
    since = request.headers.get("if-modified-since")
    try:
        return since is not None and file.written_ns / 1e9 < parsedate_to_datetime(since).timestamp() + 1
    except ValueError:
        return False


def _preview(file: StoredFile, wanted: str, shown: dict[str, str]) -> Answer:
    kind, _, quality = wanted.partition(";")
    kind = kind if kind in ("webp", "jpeg") else "webp"
    picture = _opened(file)
    return Answer(
        200,
        _encoded(picture.convert("RGB") if kind == "jpeg" else picture, kind, quality),
        f"image/{kind}",
        shown,
    )


def _encoded(picture: Image.Image, kind: str, quality: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, quality=int(quality) if quality.isdigit() else _DEFAULT_QUALITY)
    return buffer.getvalue()


def _channel(file: StoredFile, channel: str, shown: dict[str, str]) -> Answer:
    picture = _opened(file)
    if channel == "rgb":
        return Answer(200, png(picture.convert("RGB"), 6), "image/png", shown)
    alpha = Image.new("RGBA", picture.size)
    has_alpha = len(picture.getbands()) == _RGBA
    alpha.putalpha(picture.getchannel("A") if has_alpha else Image.new("L", picture.size, 255))
    return Answer(200, png(alpha, 6), "image/png", shown)


def _opened(file: StoredFile) -> Image.Image:
    picture = Image.open(io.BytesIO(file.data))
    picture.load()
    return picture


def spoilt(answer: Answer, fault: Fault | None) -> Answer:
    """Return the answer with a file that a fault has spoilt, unchanged where it has not."""
    if fault is None or fault.kind not in _SPOILT or answer.status != HTTPStatus.OK:
        return answer
    data = bytearray(answer.body)
    if fault.kind == "not_an_image":
        data = bytearray(b"This is no picture.")
    elif fault.kind == "cut_png":
        del data[int(len(data) * fault.fraction) :]
    else:
        data[len(data) // 2] ^= 0xFF
    return replace(answer, body=bytes(data))


# -- uploads ----------------------------------------------------------------------------------------------------------


def upload(files: FileStore, request: Request, *, mask: bool) -> Answer:
    """Store an uploaded file, or the alpha of one over another; return its name and folder."""
    try:
        form = parse_form(request.body, request.headers.get("content-type", ""))
    except ValueError:
        return TROUBLE
    file = form.get("image")
    if file is None or not file.filename:
        return EMPTY_REFUSAL
    kind, subfolder = _text(form, "type") or "input", _text(form, "subfolder")
    if kind not in KINDS or (mask and "original_ref" not in form):
        return TROUBLE
    overwrite = _text(form, "overwrite") in ("true", "1")
    try:
        data = _masked(files, form, file) if mask else file.data
        name = file.filename
        if data is not None:
            name = files.upload(kind, subfolder, name, data, overwrite=overwrite)
    except OutsideFolder:
        return EMPTY_REFUSAL
    return json_of({"name": name, "subfolder": subfolder, "type": kind})


def _text(form: dict[str, Part], name: str) -> str:
    return form[name].text if name in form else ""


def _masked(files: FileStore, form: dict[str, Part], file: Part) -> bytes | None:
    """Return the original with the upload's alpha, None where there is no original."""
    reference: dict[str, Any] = json.loads(form["original_ref"].data)
    original = files.read(reference.get("type", "output"), reference.get("subfolder", ""), reference["filename"])
    if original is None:
        return None
    below = _opened(original).convert("RGBA")
    alpha = _opened(StoredFile(file.data, 0)).convert("RGBA").getchannel("A")
    below.putalpha(alpha.resize(below.size))
    return png(below, 4)


EMPTY_REFUSAL = Answer(400, b"", "")
"""The 400 without a word."""
