"""The end of the program in the middle of a run: the run is cancelled, so that its server does not work for nobody."""

from __future__ import annotations

import atexit
import os
import signal
import threading
from typing import TYPE_CHECKING, Self
from weakref import WeakSet

from rxpipe.store.writing import flush_all

if TYPE_CHECKING:
    from rxpipe.stages.session import Session

_FLUSH_S = 30.0  # a store that another program holds
_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]

_sessions: WeakSet[Session] = WeakSet()


def watch(session: Session) -> None:
    """Cancel the session at the end of the program unless it is over before."""
    _sessions.add(session)


@atexit.register
def _cancel_all() -> None:
    """Cancel what still runs; wait for the interrupts that this sends, as closing a backend does, and for journals."""
    running = [session for session in _sessions if not session.control.over]
    for session in running:
        session.control.cancel()
    for backend in {id(backend): backend for backend in (session.scope.backend for session in running)}.values():
        backend.close()
    flush_all(_FLUSH_S)


class EndSignals:
    """SIGTERM and SIGHUP while the context lasts: those that would end the process at once are put off to its end.

    Then the runs in progress are cancelled, and the process ends by that signal as it would have. A program that has a
    handler of its own, or is not on the main thread, is left alone.

    received: the first that came, None for none. Wait in slices, and leave the context where one has come.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._taken: list[int] = []

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # other threads may set no handler
            self._taken = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
            for number in self._taken:
                signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number in self._taken:
            signal.signal(number, signal.SIG_DFL)
        if self.received is not None:
            _cancel_all()
            os.kill(os.getpid(), self.received)

    def _on_signal(self, number: int, _: object) -> None:
        self.received = self.received or number
