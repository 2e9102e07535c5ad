"""Site: the simulated program behind the port, from its start to its death; what a kind of server implements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from rxpipe.testing.servers.core.wire import HTML, Answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxpipe.testing.servers.core.faults import Fault
    from rxpipe.testing.servers.core.request_log import RequestLog
    from rxpipe.testing.servers.core.requests import RecordedRequest
    from rxpipe.testing.servers.core.wire import Request, Upgrade


class ServerGone(Exception):
    """The server died while a request was in progress; the connection is reset and no answer sent."""


class Life:
    """Whether a site is still alive, and a wait that ends with it. Safe from any thread."""

    def __init__(self, request_log: RequestLog) -> None:
        self.request_log = request_log
        self.gone = False

    def end(self) -> None:
        """End every wait with ServerGone, now."""
        with self.request_log.noting():
            self.gone = True

    def wait_until(self, predicate: Callable[[], bool]) -> None:
        """Block until `predicate`, called with the log's lock held, is true. Raises ServerGone."""
        with self.request_log.changed:
            self.request_log.changed.wait_for(lambda: self.gone or predicate())
            if self.gone:
                raise ServerGone


class Site(ABC):
    """Requests in, answers out, without sockets. Any thread may call any method.

    The server makes a new one when it comes back after its death; what is counted lives in the request log and stays.

    software: the `server` header of every answer.
    """

    software: ClassVar[str] = "test-server"

    def __init__(self, request_log: RequestLog) -> None:
        self.request_log = request_log
        self.life = Life(request_log)

    @abstractmethod
    def handle(self, call: RecordedRequest, request: Request, body: Any) -> Answer | Upgrade:
        """Return the answer to a request, or an Upgrade that takes over its connection; block as long as its job takes.

        Args:
            call: as the log has it; its body may be shortened.
            request: as it was received.
            body: its parsed JSON, None where there is none or it is malformed.

        Raises:
            ServerGone: the server died meanwhile.
        """

    def stage_of(self, request: Request, body: Any) -> str | None:
        """Return the pipeline stage that a request renders, None if it renders nothing."""
        del request, body
        return None

    def names_of(self, request: Request, stage: str | None) -> tuple[str, ...]:
        """Return what a fault may call a request beside its path: its stage, or the path's last part without one."""
        return (stage or request.path.rsplit("/", 1)[-1],)

    def answer_instead(self, fault: Fault) -> Answer:
        """Return the answer of a fault of kind `instead`, in the shape that this kind of server gives its errors."""
        content_type = HTML if fault.html else "text/plain; charset=utf-8"
        return Answer(fault.status, fault.message.encode(), content_type, retry_after(fault))

    def finish(self, answer: Answer, seconds: float) -> Answer:
        """Return the answer as it is sent, `seconds` of real time after its request; add headers here."""
        del seconds
        return answer


def retry_after(fault: Fault) -> dict[str, str]:
    """Return the `retry-after` header of a fault, empty where it has none."""
    return {} if fault.retry_after_s is None else {"retry-after": str(fault.retry_after_s)}
