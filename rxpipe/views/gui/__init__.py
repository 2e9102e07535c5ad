"""`rxpipe gui`: a window to run pipelines from, in Tk.

```text
form_values.py  what the form means, pure        window.py   the window over one controller
form.py         prompt and stage cards
state.py        what is remembered               gallery.py  finished pictures, decoded on a thread
connection.py   the way to a backend             viewer.py   one picture with its metadata
file_manager.py folders, in the file manager     theme.py, widgets.py    how it looks
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
