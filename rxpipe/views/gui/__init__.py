"""`rxpipe gui`: a window to run pipelines from, in Tk.

```text
window.py       the window over one controller    form_values.py  what the form means, pure
topbar.py       presets, files, the backend       form.py         the prompt, and what is around the cards
buttons.py      Run, Stop, the queue, messages    cards.py        a card for each stage
keys.py         shortcuts, what Escape means      fields.py       fields that read and write text
connection.py   the way to a backend, its light   inputs.py       pictures to start from
files.py        from and to files, masks, drops   mask.py         a mask, painted
handing.py      drops and the clipboard           lora.py, tokens.py   LoRAs and the length of a prompt
shelf.py        presets by name                   dialogs.py      questions
wall.py         this session and earlier runs     viewer.py       one picture with its metadata
gallery.py      thumbnails, decoded on a thread   zoom.py         zoom, drag, before and after
history.py      the store, read on a thread       trash.py        deleting what can be brought back
state.py        what is remembered                placing.py, theme.py, widgets.py   how it looks
file_manager.py folders, in the file manager     variants.py, variant_values.py   sweeps, wildcards, their count
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.errors import RxPipeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rxpipe.backends.base import Backend

__all__ = ["main"]


def main(
    backend: str | Backend | None = None,
    *,
    dark: bool | None = None,
    scale: float | None = None,
    sinks: Iterable[object] = (),
) -> int:
    """Open the window and return when it is closed; on the main thread.

    Args:
        backend: a text for `open_backend`, or a backend; None for the one used last.
        dark: the dark theme or the light one; None for the one used last.
        scale: 2.0 for twice the size; None for what the screen asks for.
        sinks: get every event of every run, such as a `LearningRecordWriter`.

    Returns:
        0.

    Raises:
        RxPipeError: there is no Tk, or no screen.
    """
    try:
        import tkinter as tk  # noqa: PLC0415  # often a package of its own, and only this needs it
    except ImportError as error:
        raise RxPipeError(
            f"This Python has no Tk: {error}.", hint="Install it: python3-tk on Debian, python-tk on Homebrew."
        ) from error
    from rxpipe.views.gui.window import MainWindow  # noqa: PLC0415  # needs Tk

    _sharpen()
    try:
        root = tk.Tk(className="rxpipe")
    except tk.TclError as error:
        raise RxPipeError(f"No window can be opened: {error}.", hint="Run it where there is a screen.") from error
    MainWindow(root, backend=backend, dark=dark, scale=scale, sinks=sinks)
    root.mainloop()
    return 0


def _sharpen() -> None:
    """On Windows: draw at the screen's own resolution instead of being stretched."""
    import ctypes  # noqa: PLC0415  # for Windows only

    if hasattr(ctypes, "windll"):
        ctypes.windll.shcore.SetProcessDpiAwareness(1)
