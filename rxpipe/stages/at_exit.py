"""The end of the program in the middle of a run: the run is cancelled, so that its server does not work for nobody."""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING
from weakref import WeakSet

from rxpipe.store.writing import flush_all

if TYPE_CHECKING:
    from rxpipe.stages.session import Session

_FLUSH_S = 30.0  # a store that another program holds

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
