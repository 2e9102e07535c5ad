"""The way to a backend: opened and asked whether it is there on a thread of its own, told on the window's.

A server may take seconds to refuse a connection; the window shows a light meanwhile and never waits.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from rxpipe.backends import diagnose, open_backend
from rxpipe.backends.base import Backend
from rxpipe.config import PipelineConfig, Txt2ImgConfig
from rxpipe.errors import BackendUnavailable, RxPipeError
from rxpipe.plan import build_stage_execution_plan
from rxpipe.subject import EventSubject

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reactivex import Observable, abc

RETRY_S = 5.0
_SMALLEST = PipelineConfig(txt2img=Txt2ImgConfig(width=64, height=64, steps=1))


@dataclass(frozen=True)
class LinkState:
    """Whether there is a backend.

    light: "ready", "connecting" or "error". where: what was asked for. text: for a person. backend: to draw on, None
    while there is none; one that does not answer yet is there, and a run on it says what is wrong. names: what the
    backend has, by "stage.field"; empty where it does not tell.
    """

    light: Literal["connecting", "ready", "error"]
    where: str
    text: str
    backend: Backend | None = None
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class BackendLink:
    """Opens one backend after another; the latest that was asked for holds.

    states: the current one at once, then every change, on *scheduler*.

    Args:
        scheduler: of the window.
        opener: gives the backend that a word names; blocking, called on a thread.
        retry_s: seconds until a server that does not answer is tried again.
    """

    def __init__(
        self,
        scheduler: abc.SchedulerBase,
        *,
        opener: Callable[[str], Backend] = open_backend,
        retry_s: float = RETRY_S,
    ) -> None:
        self._scheduler, self._open, self._retry_s = scheduler, opener, retry_s
        self._subject: EventSubject[LinkState] = EventSubject(replay_latest=True)
        self.states: Observable[LinkState] = self._subject.observable
        self.state = LinkState("connecting", "", "")
        self._number = 0
        self._closed = False

    def connect(self, where: str | Backend) -> None:
        """Go to *where*, a word for `open_backend` or a backend; on the window's thread. Returns at once."""
        self._number += 1
        self._leave()
        name = where if isinstance(where, str) else where.name
        self._show(LinkState("connecting", name, f"Connecting to {name}"))
        self._work(where, self._number)

    def recheck(self) -> None:
        """Ask the current backend once more whether it is there."""
        if self.state.backend is not None:
            self._work(self.state.backend, self._number, self.state.where)

    def close(self) -> None:
        """Give the backend back and tell nothing more. Harmless twice."""
        self._closed = True
        self._number += 1
        self._leave()

    def _leave(self) -> None:
        backend = self.state.backend
        if backend is not None:
            threading.Thread(target=backend.close, name="rxpipe-link-close", daemon=True).start()

    def _work(self, where: str | Backend, number: int, name: str = "") -> None:
        def tell(state: LinkState) -> None:
            self._scheduler.schedule(lambda *_: self._arrived(state, number))

        threading.Thread(target=self._look, args=(where, name, tell), name="rxpipe-link", daemon=True).start()

    def _look(self, where: str | Backend, name: str, tell: Callable[[LinkState], None]) -> None:
        """On a thread: open, ask, and tell what was found."""
        backend = where if isinstance(where, Backend) else None
        name = name or (where if isinstance(where, str) else where.name)
        try:
            backend = backend or self._open(str(where))
            backend.check(build_stage_execution_plan(_SMALLEST))
        except RxPipeError as error:
            tell(LinkState("error", name, str(error), backend))
        except Exception as error:  # noqa: BLE001  # a stranger's backend; what it raised is shown
            tell(LinkState("error", name, f"{type(error).__name__}: {error}", backend))
        else:
            text = backend.description or backend.name
            tell(LinkState("ready", name, text, backend))
            if names := known_names(name, backend):
                tell(LinkState("ready", name, text, backend, names))

    def _arrived(self, state: LinkState, number: int) -> None:
        if number != self._number:  # somewhere else was asked for meanwhile
            if state.backend is not None and state.backend is not self.state.backend:
                state.backend.close()
            return
        self._show(state)
        if state.light == "error" and state.backend is not None:
            self._scheduler.schedule_relative(self._retry_s, lambda *_: self._again(number))

    def _again(self, number: int) -> None:
        if number == self._number:
            self.recheck()

    def _show(self, state: LinkState) -> None:
        self.state = state
        if not self._closed:
            self._subject.on_next(state)


def known_names(where: str, backend: Backend) -> dict[str, tuple[str, ...]]:
    """What a server says it has, for the lists of the form; blocking. Empty for a backend without an address."""
    url = getattr(backend, "url", None)
    if not url:
        return {}
    try:
        found = diagnose(where if "://" in where else url)
    except (BackendUnavailable, RxPipeError):
        return {}
    names = {
        "txt2img.sampler_name": found.samplers,
        "txt2img.model": found.models,
        "upscale.upscaler": found.upscalers,
        "adetailer.detector": found.detectors,
    }
    return {key: tuple(values) for key, values in names.items() if values}
