"""The connection to a backend: opened and checked on its own thread, reported on the window's thread.

A server may take seconds to refuse a connection; the window shows a light meanwhile and never blocks. While nothing
runs the server is looked at every few seconds, since a light that stays green after the server has gone is worse than
none.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol

from rxpipe.backends import open_backend
from rxpipe.backends.base import Backend
from rxpipe.backends.http.address import Address, without_credentials
from rxpipe.config import PipelineConfig, Txt2ImgConfig
from rxpipe.errors import RxPipeError
from rxpipe.plan import build_stage_execution_plan
from rxpipe.rx.subject import EventSubject
from rxpipe.shown import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reactivex import Observable, abc

RETRY_S = 5.0
LOOK_S = 3.0
SLOW_S = 3.0
_GONE = frozenset({502, 503, 504})  # what a proxy answers in the place of a server
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


class _Report(Protocol):
    def __call__(self, state: ConnectionState, *, last: bool) -> None: ...


class BackendConnection:
    """Opens backends; the latest requested one wins.

    states: the current state on subscribing, then every change, on *scheduler*.
    paused: whether the backend is left alone, because a run shows how it is.

    Args:
        scheduler: of the window.
        opener: opens the backend that a text names; blocking, called on a thread.
        retry_s: seconds until a server that does not answer is checked again.
        look_s: seconds until one that answered is looked at again.
        slow_s: seconds after which one that has not answered a look is no longer shown as ready.
    """

    def __init__(
        self,
        scheduler: abc.SchedulerBase,
        *,
        opener: Callable[[str], Backend] = open_backend,
        retry_s: float = RETRY_S,
        look_s: float = LOOK_S,
        slow_s: float = SLOW_S,
    ) -> None:
        self._scheduler, self._open, self._retry_s = scheduler, opener, retry_s
        self._look_s, self._slow_s = look_s, slow_s
        self.paused = False
        self._subject: EventSubject[ConnectionState] = EventSubject(replay_latest=True)
        self.states: Observable[ConnectionState] = self._subject.observable
        self.state = ConnectionState("connecting", "", "")
        self._number = 0
        self._asking: object = None  # what stands for the check in progress
        self._closed = False

    def connect(self, where: str | Backend) -> None:
        """Connect to *where*, a text for `open_backend` or a backend; on the window's thread. Does not block."""
        self._number += 1
        self._release()
        name = where if isinstance(where, str) else where.where
        self._show(ConnectionState("connecting", name, f"Connecting to {cut(without_credentials(name))}"))
        self._start_thread(where, self._number)

    def recheck(self) -> None:
        """Check the current backend again, now, as after a failure; nothing while a check is in progress."""
        if self.state.backend is not None and self._asking is None:
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

    def _start_thread(self, where: str | Backend, number: int, name: str = "", *, look: bool = False) -> None:
        asking = self._asking = object()
        before = self.state if look else None

        def report(state: ConnectionState, *, last: bool) -> None:
            self._scheduler.schedule(lambda *_: self._on_state(state, number, last=last))

        def probe() -> None:
            if before is None or not still_there(before, report):
                self._probe(where, name, report)

        threading.Thread(target=probe, name="rxpipe-connection", daemon=True).start()
        self._scheduler.schedule_relative(self._slow_s, lambda *_: self._doubt(asking))

    def _probe(self, where: str | Backend, name: str, report: _Report) -> None:
        """Open and check the backend, and report the result; on a thread."""
        backend = where if isinstance(where, Backend) else None
        name = name or (where if isinstance(where, str) else where.where)
        try:
            backend = backend or self._open(str(where))
            backend.check(build_stage_execution_plan(_SMALLEST))
        except RxPipeError as error:
            report(ConnectionState("error", name, str(error), backend), last=True)
        except Exception as error:  # noqa: BLE001  # a backend of user code may raise anything; it is shown
            report(ConnectionState("error", name, f"{type(error).__name__}: {error}", backend), last=True)
        else:
            text = backend.description or backend.name
            report(ConnectionState("ready", name, text, backend), last=False)
            report(ConnectionState("ready", name, text, backend, known_names(backend)), last=True)

    def _on_state(self, state: ConnectionState, number: int, *, last: bool) -> None:
        if number != self._number:  # another backend was requested meanwhile
            if state.backend is not None and state.backend is not self.state.backend:
                state.backend.close()
            return
        if last:
            self._asking = None
            wait_s = self._look_s if state.status == "ready" else self._retry_s
            if state.backend is not None:
                self._scheduler.schedule_relative(wait_s, lambda *_: self._look(number))
        else:  # it still lists its names, and may stop to answer while it does
            asking = self._asking
            self._scheduler.schedule_relative(self._slow_s, lambda *_: self._doubt(asking))
        if state.status == "ready" and not state.names:
            state = replace(state, names=self.state.names)
        if state != self.state:
            self._show(state)

    def _look(self, number: int) -> None:
        """Look at the backend again; while it is left alone, only later."""
        if number != self._number or self._asking is not None or self.state.backend is None:
            return
        if self.paused:
            self._scheduler.schedule_relative(self._look_s, lambda *_: self._look(number))
        else:
            ready = self.state.status == "ready"
            self._start_thread(self.state.backend, number, self.state.where, look=ready)

    def _doubt(self, asking: object) -> None:
        """Show that a check has no answer yet, in place of what was true before it."""
        if self._asking is asking and self.state.status == "ready":
            self._show(replace(self.state, status="connecting", text=f"No answer for {self._slow_s:g} s"))

    def _show(self, state: ConnectionState) -> None:
        self.state = state
        if not self._closed:
            self._subject.on_next(state)


def still_there(before: ConnectionState, report: _Report) -> bool:
    """Look at a backend that was ready, and report that it still is; False if all of it has to be checked. Blocking.

    One small request where there is an address: to check everything every few seconds would be a load.
    """
    backend = before.backend
    if backend is None:
        return False
    if backend.url is None:
        try:
            backend.check(build_stage_execution_plan(_SMALLEST))
        except Exception:  # noqa: BLE001  # the full check that follows shows what it is
            return False
    elif not answers(backend.url):
        return False
    report(before, last=True)
    return True


def answers(url: str, timeout_s: float = SLOW_S) -> bool:
    """Return whether a server at *url* answers anything at all; blocking."""
    import requests  # noqa: PLC0415  # takes long, and the embedded backend needs none

    try:
        with requests.Session() as session:
            session.trust_env = not Address.parse(url).is_loopback  # no proxy for our own machine
            answer = session.head(url, timeout=timeout_s, allow_redirects=False)
            return answer.status_code not in _GONE
    except (requests.RequestException, ValueError, OSError):
        return False


def known_names(backend: Backend) -> dict[str, tuple[str, ...]]:
    """Return what a backend lists, for the fields of the form; blocking. Empty where it lists nothing."""
    try:
        catalog = backend.catalog()
    except RxPipeError:
        return {}
    upscalers = catalog.names("upscalers")
    names = {
        "txt2img.sampler_name": catalog.names("samplers"),
        "txt2img.scheduler": catalog.names("schedulers"),
        "txt2img.model": catalog.names("models"),
        "txt2img.vae": catalog.names("vaes"),
        "txt2img.styles": catalog.names("styles"),
        "txt2img.hires.upscaler": upscalers,
        "upscale.upscaler": upscalers,
        "adetailer.detector": catalog.names("detectors"),
        "loras": catalog.names("loras"),
    }
    return {key: values for key, values in names.items() if values}
