"""The connection to a backend: opened and checked on its own thread, reported on the window's thread.

A server may take seconds to refuse a connection; the window shows a light meanwhile and never blocks.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from rxpipe.backends import open_backend
from rxpipe.backends.base import Backend
from rxpipe.backends.http.address import without_credentials
from rxpipe.config import PipelineConfig, Txt2ImgConfig
from rxpipe.errors import RxPipeError
from rxpipe.plan import build_stage_execution_plan
from rxpipe.rx.subject import EventSubject
from rxpipe.shown import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reactivex import Observable, abc

RETRY_S = 5.0
_SMALLEST = PipelineConfig(txt2img=Txt2ImgConfig(width=64, height=64, steps=1))


@dataclass(frozen=True)
class ConnectionState:
    """The state of the connection to a backend.

    status: "ready", "connecting" or "error". where: what was requested. text: the message shown. backend: None
    until one is opened; it may not answer yet, and a run on it then reports why. names: what the backend offers, by
    "stage.field"; empty if unknown.
    """

    status: Literal["connecting", "ready", "error"]
    where: str = field(repr=False)
    text: str
    backend: Backend | None = None
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class BackendConnection:
    """Opens backends; the latest requested one wins.

    states: the current state on subscribing, then every change, on *scheduler*.

    Args:
        scheduler: of the window.
        opener: opens the backend that a text names; blocking, called on a thread.
        retry_s: seconds until a server that does not answer is checked again.
    """

    def __init__(
        self,
        scheduler: abc.SchedulerBase,
        *,
        opener: Callable[[str], Backend] = open_backend,
        retry_s: float = RETRY_S,
    ) -> None:
        self._scheduler, self._open, self._retry_s = scheduler, opener, retry_s
        self._subject: EventSubject[ConnectionState] = EventSubject(replay_latest=True)
        self.states: Observable[ConnectionState] = self._subject.observable
        self.state = ConnectionState("connecting", "", "")
        self._number = 0
        self._closed = False

    def connect(self, where: str | Backend) -> None:
        """Connect to *where*, a text for `open_backend` or a backend; on the window's thread. Does not block."""
        self._number += 1
        self._release()
        name = where if isinstance(where, str) else where.name
        self._show(ConnectionState("connecting", name, f"Connecting to {cut(without_credentials(name))}"))
        self._start_thread(where, self._number)

    def recheck(self) -> None:
        """Check the current backend again."""
        if self.state.backend is not None:
            self._start_thread(self.state.backend, self._number, self.state.where)

    def close(self) -> None:
        """Close the backend and emit nothing more. Idempotent."""
        self._closed = True
        self._number += 1
        self._release()

    def _release(self) -> None:
        backend = self.state.backend
        if backend is not None:
            threading.Thread(target=backend.close, name="rxpipe-connection-close", daemon=True).start()

    def _start_thread(self, where: str | Backend, number: int, name: str = "") -> None:
        def report(state: ConnectionState) -> None:
            self._scheduler.schedule(lambda *_: self._on_state(state, number))

        threading.Thread(target=self._probe, args=(where, name, report), name="rxpipe-connection", daemon=True).start()

    def _probe(self, where: str | Backend, name: str, report: Callable[[ConnectionState], None]) -> None:
        """Open and check the backend, and report the result; on a thread."""
        backend = where if isinstance(where, Backend) else None
        name = name or (where if isinstance(where, str) else where.name)
        try:
            backend = backend or self._open(str(where))
            backend.check(build_stage_execution_plan(_SMALLEST))
        except RxPipeError as error:
            report(ConnectionState("error", name, str(error), backend))
        except Exception as error:  # noqa: BLE001  # a backend of user code may raise anything; it is shown
            report(ConnectionState("error", name, f"{type(error).__name__}: {error}", backend))
        else:
            text = backend.description or backend.name
            report(ConnectionState("ready", name, text, backend))
            if names := known_names(backend):
                report(ConnectionState("ready", name, text, backend, names))

    def _on_state(self, state: ConnectionState, number: int) -> None:
        if number != self._number:  # another backend was requested meanwhile
            if state.backend is not None and state.backend is not self.state.backend:
                state.backend.close()
            return
        self._show(state)
        if state.status == "error" and state.backend is not None:
            self._scheduler.schedule_relative(self._retry_s, lambda *_: self._again(number))

    def _again(self, number: int) -> None:
        if number == self._number:
            self.recheck()

    def _show(self, state: ConnectionState) -> None:
        self.state = state
        if not self._closed:
            self._subject.on_next(state)


def known_names(backend: Backend) -> dict[str, tuple[str, ...]]:
    """Return what a backend lists, for the fields of the form; blocking. Empty where it lists nothing."""
    try:
        catalog = backend.catalog()
    except RxPipeError:
        return {}
    names = {
        "txt2img.sampler_name": catalog.names("samplers"),
        "txt2img.model": catalog.names("models"),
        "upscale.upscaler": catalog.names("upscalers"),
        "adetailer.detector": catalog.names("detectors"),
    }
    return {key: values for key, values in names.items() if values}
