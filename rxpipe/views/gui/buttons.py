"""The buttons of a run: Run, Stop and the like, how many runs wait, and the last message; none of it ever moves."""

from __future__ import annotations

from tkinter import ttk
from typing import TYPE_CHECKING

from rxpipe.views.gui.widgets import Notice, Tooltip

if TYPE_CHECKING:
    import tkinter as tk
    from collections.abc import Callable

    from rxpipe.status import RunStatus
    from rxpipe.views.gui.theme import Theme


class RunButtons(ttk.Frame):
    """Buttons in two rows, below them the queue and a message, each in a place that is kept for it.

    Args:
        run, stop, stop_after, skip, clear: what the buttons do.
    """

    def __init__(
        self,
        master: tk.Misc,
        theme: Theme,
        *,
        run: Callable[[], object],
        stop: Callable[[], object],
        stop_after: Callable[[], object],
        skip: Callable[[], object],
        clear: Callable[[], object],
    ) -> None:
        px = theme.px
        super().__init__(master, padding=(0, px(8), 0, px(4)))
        self.columnconfigure((0, 1), weight=1, uniform="buttons")
        self.run = ttk.Button(self, text="Run", style="Accent.TButton", command=run)
        self.stop = ttk.Button(self, text="Stop", command=stop)
        self.stop_after = ttk.Button(self, text="Stop after this image", command=stop_after)
        self.skip = ttk.Button(self, text="Skip this image", command=skip)
        for index, (button, tip) in enumerate(
            (
                (self.run, "Ctrl+Enter"),
                (self.stop, "Stop now; finished pictures are kept  (Esc)"),
                (self.stop_after, "Finish the image in progress, then stop  (F6)"),
                (self.skip, "Skip the image in progress, continue with the next  (F7)"),
            )
        ):
            row, column = divmod(index, 2)
            gap = (0, px(4)) if column == 0 else (px(4), 0)
            button.grid(row=row, column=column, sticky="nsew", padx=gap, pady=(0, px(6)))
            Tooltip(button, tip)
        queue = ttk.Frame(self)
        queue.grid(row=2, column=0, columnspan=2, sticky="ew")
        self.waiting = ttk.Label(queue, style="Muted.TLabel")
        self.waiting.pack(side="left", fill="x", expand=True)
        self.clear = ttk.Button(queue, text="Clear queue", style="Ghost.TButton", command=clear)
        self.clear.pack(side="right")
        self.notice = Notice(self, theme)
        self.notice.grid(row=3, column=0, columnspan=2, sticky="ew")
        self.show_waiting(0)

    def show(self, status: RunStatus) -> None:
        """Show what can be pressed in this state."""
        active, running = status.active, status.state == "running"
        self.run.configure(text="Add to queue" if active else "Run")
        self.stop.configure(state="normal" if active else "disabled")
        self.stop_after.configure(state="normal" if running else "disabled")
        self.skip.configure(state="normal" if running else "disabled")

    def show_waiting(self, count: int) -> None:
        """Show how many runs wait."""
        self.waiting.configure(text=f"{count} waiting" if count else "")
        self.clear.configure(state="normal" if count else "disabled")
