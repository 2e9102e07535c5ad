"""Gates: what a test holds until it lets it go, such as two requests in an order of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rxpipe.testing.servers.core.request_log import WAIT_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxpipe.testing.servers.core.request_log import RequestLog
    from rxpipe.testing.servers.core.requests import RecordedRequest
    from rxpipe.testing.servers.core.site import Life


@dataclass(slots=True, kw_only=True)
class Gate:
    """Holds what comes until `release`. reached: how much came here while it was closed."""

    request_log: RequestLog
    reached: int = 0
    released: bool = False

    def wait_reached(self, timeout_s: float = WAIT_S, times: int = 1) -> bool:
        """Return whether it was reached `times` times within `timeout_s` seconds of real time."""
        return self.request_log.wait_for(lambda: self.reached >= times, timeout_s)

    def release(self) -> None:
        """Let what stands here continue, and what comes later pass."""
        with self.request_log.noting():
            self.released = True


@dataclass(slots=True)
class CallGate(Gate):
    """Keeps the requests to a target back until `release`. Made by the server's `hold_calls`.

    answers: whether what is kept back is the answer, the request having had its effect; else the request itself.
    """

    target: str
    answers: bool
    where: Callable[[RecordedRequest], bool] | None

    def keeps(self, call: RecordedRequest) -> bool:
        """Return whether a request stands here now."""
        return not self.released and call.matches(self.target) and (self.where is None or self.where(call))


@dataclass(slots=True)
class CallGates:
    """The gates of one server. Safe from any thread."""

    request_log: RequestLog
    _gates: list[CallGate] = field(default_factory=list)

    def add(self, target: str, *, answers: bool, where: Callable[[RecordedRequest], bool] | None) -> CallGate:
        """Return a new gate, closed."""
        gate = CallGate(target, answers, where, request_log=self.request_log)
        with self.request_log.noting():
            self._gates.append(gate)
        return gate

    def stand(self, call: RecordedRequest, life: Life, *, answers: bool) -> None:
        """Wait until every gate that keeps this request, or its answer, is open. Raises ServerGone."""
        with self.request_log.changed:
            for gate in [gate for gate in self._gates if gate.answers == answers and gate.keeps(call)]:
                gate.reached += 1
                self.request_log.changed.notify_all()
                life.wait_until(lambda gate=gate: gate.released)  # type: ignore[misc]  # a default binds the loop's value
