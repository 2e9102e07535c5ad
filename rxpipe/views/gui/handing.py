"""Pictures and presets handed to the window: dropped on it, or pasted from the clipboard."""

from __future__ import annotations

import contextlib
import hashlib
import tkinter as tk
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from PIL import Image, ImageGrab

from rxpipe.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PICTURE_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif", ".bmp"})
PRESET_ENDINGS = frozenset({".toml", ".yaml", ".yml", ".json"})


def paths_in(text: str) -> tuple[Path, ...]:
    """Return the files that a clipboard's text names, a line each: paths, or `file://` URLs; none if one is no file."""
    lines = [line.strip().strip("'\"") for line in text.splitlines() if line.strip() and not line.startswith("#")]
    lines = [line for line in lines if line not in {"copy", "cut"}]  # GNOME's first line
    paths = tuple(_path(line) for line in lines)
    with contextlib.suppress(OSError, ValueError):
        return paths if all(path.is_file() for path in paths) else ()
    return ()


def _path(line: str) -> Path:
    if line.startswith("file:"):
        path = unquote(urlsplit(line).path)
        return Path(path[1:] if path[2:3] == ":" else path)  # file:///C:/...
    return Path(line).expanduser()


def clipboard_paths(root: tk.Misc) -> tuple[Path, ...]:
    """Return the files on the clipboard, copied in a file manager or as text; none if there are none."""
    for kind in ("text/uri-list", "UTF8_STRING", "STRING"):
        with contextlib.suppress(tk.TclError):
            if paths := paths_in(_text(root, kind)):
                return paths
    return ()


def _text(root: tk.Misc, kind: str) -> str:
    text = str(root.selection_get(selection="CLIPBOARD", type=kind))  # type: ignore[no-untyped-call]  # typeshed has no types for it
    return _bytes_of(text).decode("utf-8", "replace") if text.startswith("0x") else text


def _bytes_of(text: str) -> bytes:
    """Return the bytes of a selection of a kind that Tk does not know: numbers such as "0x89 0x50"."""
    return bytes(int(number, 16) & 0xFF for number in text.split())


def has_text(root: tk.Misc) -> bool:
    """Whether there is text on the clipboard, which a field takes."""
    with contextlib.suppress(tk.TclError):
        return bool(root.clipboard_get())
    return False


def clipboard_picture(root: tk.Misc, folder: Path) -> Path | None:
    """Return a file in *folder* with the picture that is on the clipboard; None if there is none.

    Raises:
        OSError: it cannot be written.
    """
    data = _clipboard_png(root)
    if data is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"pasted-{hashlib.sha256(data).hexdigest()[:12]}.png"
    if not path.exists():
        path.write_bytes(data)
    return path


def _clipboard_png(root: tk.Misc) -> bytes | None:
    if root.tk.call("tk", "windowingsystem") == "x11":
        with contextlib.suppress(tk.TclError, ValueError):
            data = _bytes_of(str(root.selection_get(selection="CLIPBOARD", type="image/png")))  # type: ignore[no-untyped-call]  # as above
            return data if data.startswith(b"\x89PNG") else None
        return None
    picture = ImageGrab.grabclipboard()
    if not isinstance(picture, Image.Image):
        return None
    import io  # noqa: PLC0415  # not on Linux

    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def accept_drops(root: tk.Tk, dropped: Callable[[Sequence[Path]], object]) -> bool:
    """Call *dropped* with the files that are dropped on the window; False where tkinterdnd2 is not installed."""
    try:
        from tkinterdnd2 import TkinterDnD  # type: ignore[import-untyped]  # noqa: PLC0415  # the extra gui
    except ImportError:
        return False
    try:
        TkinterDnD._require(root)  # noqa: SLF001  # its only way to a window that exists
    except (RuntimeError, tk.TclError) as error:
        logger.warning("nothing can be dropped on the window: {}", error)
        return False

    def handed(data: str) -> str:
        paths = tuple(Path(name) for name in root.tk.splitlist(data))
        root.after_idle(dropped, paths)
        return "copy"

    command = root.register(handed)
    root.tk.call("tkdnd::drop_target", "register", root, "DND_Files")
    root.tk.call("bind", root, "<<Drop:DND_Files>>", f"{command} %D")
    return True


def sorted_out(paths: Sequence[Path]) -> tuple[list[Path], list[Path], list[Path]]:
    """Return the pictures, the presets and the others among *paths*, by their endings."""
    kinds: dict[str, list[Any]] = {"picture": [], "preset": [], "other": []}
    for path in paths:
        ending = path.suffix.lower()
        kind = "picture" if ending in PICTURE_ENDINGS else "preset" if ending in PRESET_ENDINGS else "other"
        kinds[kind].append(path)
    return kinds["picture"], kinds["preset"], kinds["other"]
