"""TkScheduler: the queue of a thread that runs Tk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rxpipe.rx.mainloop.base import BUDGET_S, FRAME_S, REARM_S, MainLoopScheduler, milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable

# Tcl aborts the process when an interpreter is freed by another thread than its own, and Python's garbage
# collector does so on whatever worker it runs. So the interpreters served are kept: one per Tk(), empty once destroyed.
_INTERPRETERS: dict[int, Any] = {}

# A turn in Tcl, since every call from Python into Tk lets another thread have the interpreter, and costs 5 ms each when
# that one is busy. The next turn is planned before the poll: an action may open a modal dialog, which turns the loop
# inside it, or leave the loop with an exception. `poll` answers the pause in milliseconds, below 0 for the end.
_TK_TURN = """
proc {name}_turn {{}} {{
    set ::{name} [after {frame} {name}_turn]
    set pause [{poll}]
    after cancel $::{name}
    if {{$pause >= 0}} {{ set ::{name} [after $pause {name}_turn] }}
}}
set ::{name} [after 1 {name}_turn]
"""


class TkScheduler(MainLoopScheduler):
    """For Tk: polls from the GUI thread with `after`, once a frame while idle, and closes when *root* is destroyed.

    Make it on the thread that made *root*. It works under `mainloop()` and under your own loop over `update()`.

    Args:
        root: the `Tk`, or any widget of it; when that one is destroyed, the scheduler is closed.
        budget_s, on_error: as for `MainLoopScheduler`.
    """

    def __init__(
        self, root: Any, *, budget_s: float = BUDGET_S, on_error: Callable[[Exception], object] | None = None
    ) -> None:
        super().__init__(budget_s=budget_s, on_error=on_error)
        self._armed = True  # always: it polls and needs no wake
        self._root = root
        self._name = f"rxpipe_{id(self):x}"
        _INTERPRETERS[id(root.tk)] = root.tk
        # A separate tag, because another root.bind("<Destroy>") would replace this one.
        root.bindtags((self._name, *root.bindtags()))
        root.bind_class(self._name, "<Destroy>", self._destroyed)
        root.tk.eval(_TK_TURN.format(name=self._name, poll=root.register(self._poll), frame=milliseconds(FRAME_S)))

    def _destroyed(self, _event: object) -> None:
        self.close()
        self._root.tk.eval(f"after cancel $::{self._name}")
        self._root = None

    def _poll(self) -> int:
        idle_s = self._turn()
        self._armed = True
        if self._closed:
            return -1
        return milliseconds(FRAME_S if idle_s is None else min(max(idle_s, REARM_S), FRAME_S))

    def _report_natively(self, error: Exception) -> None:
        if self._root is None:
            super()._report_natively(error)
        else:
            self._root.nametowidget(".").report_callback_exception(type(error), error, error.__traceback__)
