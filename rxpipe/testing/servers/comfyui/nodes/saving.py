"""Outputs: files in `output` and `temp`, and pictures over the socket."""

from __future__ import annotations

import posixpath
import time
from typing import TYPE_CHECKING

from rxpipe.testing.servers.comfyui.files import OutsideFolder
from rxpipe.testing.servers.comfyui.nodes.registry import NodeError, Result, node
from rxpipe.testing.servers.comfyui.values import Pictures, png

if TYPE_CHECKING:
    from rxpipe.testing.servers.comfyui.nodes.registry import Values, Work


@node("SaveImage")
def _save(work: Work, values: Values) -> Result:
    return _saved(work, values["images"], "output", values["filename_prefix"], level=4)


@node("PreviewImage")
def _preview(work: Work, values: Values) -> Result:
    return _saved(work, values["images"], "temp", work.temp_prefix(), level=1)


def _saved(work: Work, pictures: Pictures, kind: str, prefix: str, *, level: int) -> Result:
    width, height = pictures[0].size
    subfolder, stem = posixpath.split(posixpath.normpath(_filled(prefix, width, height)))
    files = [png(picture, level, work.texts()) for picture in pictures]
    try:
        names = work.files.save(kind, subfolder, stem, files)
    except OutsideFolder as error:
        message = (
            "**** ERROR: Saving image outside the output folder is not allowed.\n"
            f" full_output_folder: {posixpath.normpath('<BASE>/output/' + subfolder)}\n"
            "         output_dir: <BASE>/output"
        )
        raise NodeError("Exception", message) from error
    images = [{"filename": name, "subfolder": subfolder, "type": kind} for name in names]
    return Result((pictures,), {"images": images})


def _filled(prefix: str, width: int, height: int) -> str:
    """Return the prefix with the variables that the server knows; the browser's stay as they are."""
    now = time.localtime()
    known = {
        "%width%": str(width),
        "%height%": str(height),
        "%year%": str(now.tm_year),
        "%month%": f"{now.tm_mon:02}",
        "%day%": f"{now.tm_mday:02}",
        "%hour%": f"{now.tm_hour:02}",
        "%minute%": f"{now.tm_min:02}",
        "%second%": f"{now.tm_sec:02}",
    }
    for name, value in known.items():
        prefix = prefix.replace(name, value)
    return prefix


@node("SaveImageWebsocket")
def _send(work: Work, values: Values) -> Result:
    pictures: Pictures = values["images"]
    for place, picture in enumerate(pictures):
        work.send_picture(place, len(pictures), png(picture, 4))
    return Result(())


@node("ETN_SendImageWebSocket")
def _send_plain(work: Work, values: Values) -> Result:
    pictures: Pictures = values["images"]
    for picture in pictures:
        work.send_plain_picture(png(picture, 1))
    shown = {"source": "websocket", "content-type": "image/png", "type": "output"}
    return Result((), {"images": [shown for _ in pictures]})
