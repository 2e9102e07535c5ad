"""QtScheduler: the queue of a thread that runs Qt, over PySide6 or PyQt6."""

from __future__ import annotations

import contextlib
import functools
import importlib
from typing import TYPE_CHECKING, Any

from rxpipe.rx.mainloop.base import BUDGET_S, FRAME_S, REARM_S, MainLoopScheduler, milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable


class QtScheduler(MainLoopScheduler):
    """For Qt: one queued signal wakes the GUI thread per batch; it costs nothing while idle.

    Make it on the GUI thread. The binding, PySide6 or PyQt6, is that of the object given.

    Args:
        anchor: the application, or any `QObject` (a window) whose destruction closes the scheduler.
        budget_s, on_error: as for `MainLoopScheduler`.

    Raises:
        TypeError: *anchor* is no QObject of PySide6 or PyQt6.
        RuntimeError: made on another thread than the GUI's, or before the application.
    """

    def __init__(
        self, anchor: Any, *, budget_s: float = BUDGET_S, on_error: Callable[[Exception], object] | None = None
    ) -> None:
        super().__init__(budget_s=budget_s, on_error=on_error)
        binding = _qt_binding(anchor)
        core = importlib.import_module(f"{binding}.QtCore")
        application = core.QCoreApplication.instance()
        if application is None or application.thread() != core.QThread.currentThread():
            raise RuntimeError("QtScheduler must be made on the GUI thread, after the QApplication")
        # The application owns the port. Not Python, whose garbage collector may run on a worker, where Qt objects must
        # not die; and not the anchor, which may go while a worker emits.
        self._port = _qt_port(binding)(application, self._tick)
        self._timer = core.QTimer(self._port)  # a repeating one: a modal dialog opened by an action gets its turns too
        self._interval_ms = 0  # of the timer; 0 while it rests
        self._timer.setTimerType(core.Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._port.tick)
        anchor.destroyed.connect(self._destroyed)
        self._application = application
        application.aboutToQuit.connect(self._pause)

    def _destroyed(self, *_anchor: object) -> None:
        self.close()
        with contextlib.suppress(RuntimeError):  # at the interpreter's end the binding may have deleted it already
            self._run_timer(0)
            self._application.aboutToQuit.disconnect(self._pause)
            self._port.deleteLater()

    def _pause(self) -> None:
        """Stop using Qt while the event loop ends, as no worker may touch it then; a later exec() continues."""
        if not self._closed:
            self._armed = True
            self._run_timer(1)

    def _wake(self) -> None:
        try:
            self._port.woken.emit()
        except RuntimeError:  # the binding has deleted the C++ object: the interpreter is on its way out
            self.close()

    def _tick(self) -> None:
        if self._interval_ms == 0:
            self._run_timer(milliseconds(FRAME_S))
        idle_s = self._turn()
        self._run_timer(0 if idle_s is None or self._closed else milliseconds(max(idle_s, REARM_S)))

    def _run_timer(self, interval_ms: int) -> None:
        if interval_ms == self._interval_ms:
            return
        self._interval_ms = interval_ms
        if interval_ms:
            self._timer.start(interval_ms)
        else:
            self._timer.stop()


def _qt_binding(anchor: object) -> str:
    for base in type(anchor).__mro__:
        binding = base.__module__.partition(".")[0]
        if binding in {"PySide6", "PyQt6"}:
            return binding
    raise TypeError(f"QtScheduler needs a QApplication or another QObject of PySide6 or PyQt6, got {anchor!r}")


@functools.cache
def _qt_port(binding: str) -> Any:
    """The class of the object that carries a wake from any thread to the GUI thread."""
    core = importlib.import_module(f"{binding}.QtCore")
    signal = getattr(core, "Signal", None) or core.pyqtSignal

    class WakePort(core.QObject):  # type: ignore[name-defined,misc]  # the binding is known at run time only
        woken = signal()

        def __init__(self, parent: Any, tick: Callable[[], None]) -> None:
            super().__init__(parent)
            self._tick = tick
            self.woken.connect(self.tick, core.Qt.ConnectionType.QueuedConnection)

        def tick(self) -> None:
            self._tick()

    return WakePort
