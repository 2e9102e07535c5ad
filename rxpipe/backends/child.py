"""The child of a ProcessBackend: renders what its parent asks for, and ends with it.

`python -m rxpipe.backends.child`, with the parent at both ends of standard input and output.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import IO, TYPE_CHECKING, Any

from reactivex.disposable import SerialDisposable

from rxpipe.backends.process import portable, receive, send

if TYPE_CHECKING:
    from reactivex import Observable

    from rxpipe.backends.base import Backend


class _Service:
    """Answers a parent's messages. The parent's thread is the only one that reads."""

    def __init__(self, out: IO[bytes], backend: Backend) -> None:
        self._out, self._backend = out, backend
        self._lock = threading.Lock()
        self._calls: dict[int, SerialDisposable] = {}

    def take(self, what: str, number: int, *given: Any) -> None:
        """Do what a message asks for."""
        if what == "dispose":
            self._calls.pop(number, SerialDisposable()).dispose()
        elif what == "render":
            self._subscribe(number, self._backend.render(*given))
        else:
            self._subscribe(number, self._backend.wait_idle())

    def _subscribe(self, number: int, observable: Observable[Any]) -> None:
        self._calls[number] = call = SerialDisposable()

        def over(error: Exception | None) -> None:
            self._calls.pop(number, None)
            self._say(number, "end", None if error is None else portable(error))

        call.disposable = observable.subscribe(lambda value: self._say(number, "next", value), over, lambda: over(None))

    def _say(self, number: int, what: str, value: object) -> None:
        try:
            send(self._out, self._lock, (number, what, value))
        except (OSError, ValueError):  # the parent is gone
            os._exit(1)


def main() -> None:
    """Serve until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle
    into, out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what is printed here must not lie between the messages
    try:
        service = _Service(out, receive(into)())
        while True:
            service.take(*receive(into))
    except EOFError:
        os._exit(0)


if __name__ == "__main__":
    main()
