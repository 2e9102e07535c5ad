"""LoopbackServer: a site on a loopback port, and what a test may do to its connections and read from it.

One thread accepts, and each connection has a thread; all are daemons. The port is kept while the server plays dead: a
bound socket that does not listen refuses connections, and no other process can take the number.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from rxpipe.testing.servers.core.fault_plan import FaultPlan
from rxpipe.testing.servers.core.gates import CallGates
from rxpipe.testing.servers.core.request_log import WAIT_S
from rxpipe.testing.servers.core.requests import shorten
from rxpipe.testing.servers.core.site import ServerGone, Site
from rxpipe.testing.servers.core.wire import (
    Answer,
    Upgrade,
    bomb,
    encode,
    encode_upgrade,
    endless_head,
    read_request,
    reset,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from io import BufferedIOBase

    from rxpipe.testing.servers.core.faults import Fault
    from rxpipe.testing.servers.core.gates import CallGate
    from rxpipe.testing.servers.core.request_log import RequestLog
    from rxpipe.testing.servers.core.requests import RecordedRequest
    from rxpipe.testing.servers.core.wire import Request

_HANDLERS = 40  # requests handled at the same time, as a server's thread pool has it
_ACCEPT_S = 0.05
_JOIN_S = 2.0
_DRIPS = 50
_JOINED_BELOW = 65536  # bytes of body that go out in one piece with the head
_BEFORE_ANY_ANSWER = ("reset", "never", "refused")
_KNOWS_NO_END = ("endless", "bomb", "byte_by_byte")
_CHUNK = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
_BREAKS_THE_BODY = ("reset_mid_body", "short_body")

SiteT = TypeVar("SiteT", bound=Site)


class LoopbackServer(Generic[SiteT]):
    """A site behind a port of 127.0.0.1.

    ```python
    with LoopbackServer(lambda: MySite(log), log) as server:
        server.fault("models", Fault.RESET, on_call=2)
        requests.get(f"{server.url}/models")
    ```

    Args:
        new_site: makes the site, and another one each time the server has died.
        request_log: what the sites and the server write.
        port: 0 for a free one.
        gzip_level: 1..9 for bodies of 1000 bytes and more where the client accepts gzip, None for never.
        keep_alive_s: seconds an idle connection stays open; None for ever.
        keep_bodies: False: long strings of bodies are remembered only by length.

    Any thread may call any method. Times are of the log's clock unless they are called timeout.
    """

    thread_name: ClassVar[str] = "test-server"

    def __init__(
        self,
        new_site: Callable[[], SiteT],
        request_log: RequestLog,
        *,
        port: int = 0,
        gzip_level: int | None = None,
        keep_alive_s: float | None = 30.0,
        keep_bodies: bool = True,
    ) -> None:
        self.request_log = request_log
        self._new_site = new_site
        self._port = port
        self._gzip_level = gzip_level
        self._keep_alive_s = keep_alive_s
        self._keep_bodies = keep_bodies
        self._plan = FaultPlan()
        self._gates = CallGates(request_log)
        self._frozen = False
        self._handlers = threading.BoundedSemaphore(_HANDLERS)
        self._open: dict[int, socket.socket] = {}
        self._serving: set[threading.Thread] = set()
        self._listener: socket.socket | None = None
        self._accepting: threading.Thread | None = None
        self._down = threading.Event()
        self._stopped = threading.Event()
        self._switching = threading.RLock()  # one thread at a time takes the server up or down
        self.site = new_site()

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Listen. `with` does it. Raises OSError where the port is in use."""
        self._bind()
        self._listen()
        return self

    def stop(self) -> None:
        """Stop for good, immediately: jobs are lost, connections reset, threads end. A second call does nothing."""
        self._stopped.set()
        self.site.life.end()
        self.go_down()
        self._close_connections(None)  # the one that was spared when the server went down earlier
        with self._switching:
            if self._listener is not None:
                self._listener.close()
                self._listener = None
        deadline = time.monotonic() + _JOIN_S
        for thread in tuple(self._serving):
            thread.join(max(0.0, deadline - time.monotonic()))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1; the same for the server's whole life."""
        return self._port

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self._port}"

    def _bind(self) -> None:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if os.name == "posix":  # elsewhere the option would let a second server take the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        self._port, self._listener = listener.getsockname()[1], listener

    def _listen(self) -> None:
        if self._listener is None:
            return
        self._listener.listen(128)
        self._listener.settimeout(_ACCEPT_S)
        self._down.clear()
        self._accepting = threading.Thread(
            target=self._accept, args=(self._listener,), name=f"{self.thread_name}-{self._port}", daemon=True
        )
        self._accepting.start()

    def go_down(self, *, back_after_s: float | None = None, spare: int | None = None) -> None:
        """Refuse connections and reset the open ones. Jobs continue, their answers are lost.

        Args:
            back_after_s: real seconds until it listens again; None: until `come_back`.
            spare: number of a connection that is left open.
        """
        with self._switching:
            if self._down.is_set() or self._listener is None:
                return
            self._down.set()
            with suppress(OSError):  # not every system lets a listening socket be shut down; accept ends anyway
                self._listener.shutdown(socket.SHUT_RDWR)  # immediate, though a thread is in accept
            if self._accepting is not None and self._accepting is not threading.current_thread():
                self._accepting.join(_JOIN_S)
            self._listener.close()
            self._listener = None
            if not self._stopped.is_set():
                self._bind()
            self._close_connections(spare)
        if back_after_s is not None and not self._stopped.is_set():
            timer = threading.Timer(back_after_s, self.come_back)
            timer.daemon = True
            timer.start()

    def come_back(self) -> None:
        """Listen on the same port again. Does nothing while the server listens."""
        with self._switching:
            if self._down.is_set() and not self._stopped.is_set():
                self._listen()
        with self.request_log.noting():
            pass  # wakes the threads that wait for it

    def die(self, *, back_after_s: float | None = None) -> None:
        """Die as a process does: all jobs and the site's state are lost. Comes back as one freshly started."""
        with self._switching:
            self.site.life.end()
            self.request_log.note_death()
            self.site = self._new_site()
            self.go_down(back_after_s=back_after_s)

    def freeze(self) -> None:
        """Accept connections and read requests, but answer none of them, on no path, until `thaw`."""
        with self.request_log.noting():
            self._frozen = True

    def thaw(self) -> None:
        """Answer again, the requests that came in while frozen included."""
        with self.request_log.noting():
            self._frozen = False

    def _close_connections(self, spare: int | None) -> None:
        with self.request_log.changed:
            connections = [connection for number, connection in self._open.items() if number != spare]
        for connection in connections:
            reset(connection)

    # -- what a test may do -------------------------------------------------------------------------------------------

    def fault(
        self,
        target: str,
        fault: Fault,
        *,
        on_call: int | Iterable[int] = 1,
        times: int | None = 1,
        where: Callable[[RecordedRequest], bool] | None = None,
    ) -> None:
        """Let coming requests to `target` fail.

        Args:
            target: a stage, the last part of a path ("progress", "interrupt"), a whole path, or "*".
            fault: how.
            on_call: which of the coming requests, counted from 1; several may be named.
            times: how many in a row from there on; None: all.
            where: counts only requests for which it is true.
        """
        calls = [on_call] if isinstance(on_call, int) else sorted(on_call)
        if not calls or calls[0] < 1 or (times is not None and times < 1):
            raise ValueError(f"on_call and times count from 1: on_call={on_call!r}, times={times!r}")
        plan: list[Fault | None] = [None] * (calls[-1] - 1 + (times or 1))
        for call in calls:
            plan[call - 1 : call - 1 + (times or 1)] = [fault] * (times or 1)
        self._add_faults(target, plan, where=where, forever=times is None)

    def faults(self, target: str, plan: Iterable[Fault | None]) -> None:
        """Let the coming requests to `target` meet these in order, None for a healthy one."""
        self._add_faults(target, list(plan))

    def _add_faults(
        self,
        target: str,
        plan: list[Fault | None],
        *,
        where: Callable[[RecordedRequest], bool] | None = None,
        forever: bool = False,
    ) -> None:
        if plan and plan[0] is not None and plan[0].kind == "refused":
            self.go_down(back_after_s=plan.pop(0).back_after_s)  # type: ignore[union-attr]  # a fault stands first
        if plan:
            self._plan.add(target, plan, where=where, forever=forever)

    def hold_calls(
        self, target: str, *, answers: bool = True, where: Callable[[RecordedRequest], bool] | None = None
    ) -> CallGate:
        """Keep the coming requests to `target` back until `release`; see CallGate and `fault`.

        Args:
            target: as for a fault.
            answers: whether a request has its effect and its answer is kept back; False keeps the request itself back.
            where: keeps only requests for which it is true.
        """
        return self._gates.add(target, answers=answers, where=where)

    def heal(self) -> None:
        """Forget every fault that has not struck yet."""
        self._plan.clear()

    # -- what a test may read -----------------------------------------------------------------------------------------

    @property
    def calls(self) -> tuple[RecordedRequest, ...]:
        """Every request so far, in order."""
        with self.request_log.changed:
            return tuple(self.request_log.calls)

    def calls_to(self, target: str) -> tuple[RecordedRequest, ...]:
        """Return the requests to a stage, a path, or the last part of a path."""
        return tuple(call for call in self.calls if call.matches(target))

    def posts_after(self, at_monotonic_s: float) -> tuple[RecordedRequest, ...]:
        """Return the requests that render and came in after a moment of `time.monotonic`."""
        return tuple(call for call in self.calls if call.stage and call.at_monotonic_s > at_monotonic_s)

    @property
    def connections(self) -> int:
        """Connections that were opened so far."""
        return self.request_log.connections

    @property
    def max_in_flight(self) -> int:
        """The most requests that render and were in progress or in the queue at the same time."""
        return self.request_log.max_in_flight

    @property
    def down(self) -> bool:
        """Whether connections are refused at the moment."""
        return self._down.is_set()

    def wait_for(self, predicate: Callable[[], bool], timeout_s: float = WAIT_S) -> bool:
        """Return whether `predicate` came true within `timeout_s` real seconds; called again after every change."""
        return self.request_log.wait_for(predicate, timeout_s)

    def wait_calls(self, target: str, count: int = 1, timeout_s: float = WAIT_S) -> bool:
        """Return whether `count` requests to `target` came in within `timeout_s` real seconds."""
        return self.wait_for(lambda: len(self.calls_to(target)) >= count, timeout_s)

    def summary(self) -> str:
        """Return what `serve_forever` announces at the end: how much was served."""
        return f"{len(self.calls)} calls"

    # -- connections --------------------------------------------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        while not self._down.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return  # the listener is gone
            with self.request_log.noting():
                self.request_log.connections += 1
                number = self.request_log.connections
                self._open[number] = connection
            name = f"{self.thread_name}-{self._port}-{number}"
            thread = threading.Thread(target=self._serve, args=(connection, number), name=name, daemon=True)
            self._serving.add(thread)
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        """Answer the requests of one connection until one side closes it."""
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection, connection.makefile("rb") as stream:
                while not self._down.is_set():
                    connection.settimeout(self._keep_alive_s)
                    request = read_request(stream, connection)
                    if request is None or not self._answer(connection, stream, number, request):
                        return
        except (OSError, ValueError):
            pass  # closed by the client, or reset by this server
        finally:
            with self.request_log.noting():
                self._open.pop(number, None)
                self._serving.discard(threading.current_thread())

    def _answer(self, connection: socket.socket, stream: BufferedIOBase, number: int, request: Request) -> bool:
        """Answer one request; return whether the connection can be used for another."""
        call, body = self._note(request, number)
        site = self.site
        try:
            if call.fault is not None and call.fault.kind in _BEFORE_ANY_ANSWER:
                self._go_down_if_due(call, number)
                self._break_off(connection, call.fault)
                return False
            self._gates.stand(call, site.life, answers=False)
            with self._handlers, self.request_log.in_progress(call):
                began = time.perf_counter()
                answer = _ask(site, call, request, body)
            self._gates.stand(call, site.life, answers=True)
            site.life.wait_until(lambda: not self._frozen)
            going_down = self._go_down_if_due(call, number)
            if isinstance(answer, Upgrade):
                self._hand_over(connection, stream, call, answer)
                return False
            answer = site.finish(answer, time.perf_counter() - began)
            if going_down or answer.closes:
                request = replace(request, keep_alive=False)
            sent = self._send(connection, call, answer, request)
        except ServerGone:
            reset(connection)
            return False
        if sent and answer.last:
            self._reset_next(connection, stream)
        return sent and request.keep_alive and not answer.last

    def _reset_next(self, connection: socket.socket, stream: BufferedIOBase) -> None:
        """Reset the connection when the client sends on it again: its request and our end crossed on the way."""
        connection.settimeout(self._keep_alive_s)
        if read_request(stream, connection) is not None:
            reset(connection)

    def _go_down_if_due(self, call: RecordedRequest, number: int) -> bool:
        """Go down if the next request of this kind is to be refused; only this connection stays, for its answer."""
        due = self._plan.due(call, "refused")
        if due is not None:
            self.go_down(back_after_s=due.back_after_s, spare=number)
        return due is not None

    def _note(self, request: Request, number: int) -> tuple[RecordedRequest, Any]:
        """Return the request as it is recorded, and its body's JSON, None where there is none or it is malformed."""
        try:
            body = json.loads(request.body) if request.body else None
        except ValueError:
            body = None
        stage = self.site.stage_of(request, body)
        call = self.request_log.new_call(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            body=body if self._keep_bodies else shorten(body),
            connection=number,
            headers={name: value for name, value in request.headers.items() if name != "authorization"},
            stage=stage,
            names=self.site.names_of(request, stage),
        )
        call.fault = self._plan.take(call)
        return call, body

    def _break_off(self, connection: socket.socket, fault: Fault) -> None:
        """Answer nothing: reset immediately, or keep the client waiting until it or the server goes away."""
        if fault.kind == "never":
            connection.settimeout(None)
            connection.recv(1)
        if fault.kind == "refused":  # two refusals in a row were planned
            self.go_down(back_after_s=fault.back_after_s)
        reset(connection)

    def _send(self, connection: socket.socket, call: RecordedRequest, answer: Answer, request: Request) -> bool:
        """Send an answer as the request's fault allows; return whether the connection can be used for another."""
        fault = call.fault
        if fault is not None and fault.kind in ("truncated_json", "empty_body"):
            keep = int(len(answer.body) * fault.fraction) if fault.kind == "truncated_json" else 0
            answer = Answer(answer.status, answer.body[:keep], answer.content_type, answer.headers)
        head, body = encode(answer, request, self._gzip_level, self.site.software)
        call.status = answer.status
        connection.settimeout(None)
        if fault is not None and fault.kind in _KNOWS_NO_END:
            self._send_on_and_on(connection, answer, fault)
            return False
        if fault is not None and fault.kind in _BREAKS_THE_BODY:
            connection.sendall(head + body[: int(len(body) * fault.fraction)])
            if fault.kind == "reset_mid_body":
                reset(connection)
            return False
        if fault is not None and fault.kind == "slow_drip":
            self._drip(connection, head, body, fault.seconds)
        else:
            connection.sendall(head + body if len(body) < _JOINED_BELOW else head)
            if len(body) >= _JOINED_BELOW:
                connection.sendall(body)
        return True

    def _send_on_and_on(self, connection: socket.socket, answer: Answer, fault: Fault) -> None:
        """Send more than any client wants, until it closes the connection."""
        if fault.kind == "bomb":
            connection.sendall(b"".join(bomb(answer.status, self.site.software)))
            return
        connection.sendall(endless_head(answer.status, self.site.software))
        if fault.kind == "endless":
            while not self._down.is_set():
                connection.sendall(_CHUNK)
        while not self._down.wait(fault.seconds):
            connection.sendall(b"1\r\n \r\n")

    def _hand_over(
        self, connection: socket.socket, stream: BufferedIOBase, call: RecordedRequest, upgrade: Upgrade
    ) -> None:
        """Leave a connection to an upgrade until that returns; a fault of the body ends it right after the head."""
        call.status = 101
        connection.settimeout(None)
        connection.sendall(encode_upgrade(upgrade, self.site.software))
        if call.fault is None or call.fault.kind not in _BREAKS_THE_BODY:
            upgrade.serve(stream, connection)
        elif call.fault.kind == "reset_mid_body":
            reset(connection)

    def _drip(self, connection: socket.socket, head: bytes, body: bytes, seconds: float) -> None:
        connection.sendall(head)
        size = max(1, -(-len(body) // _DRIPS))
        for start in range(0, len(body), size):
            if self._down.wait(seconds / _DRIPS):
                raise ServerGone
            connection.sendall(body[start : start + size])


def _ask(site: Site, call: RecordedRequest, request: Request, body: Any) -> Answer | Upgrade:
    if call.fault is not None and call.fault.kind == "instead":
        return site.answer_instead(call.fault)
    return site.handle(call, request, body)


def serve_forever(server: LoopbackServer[Any], announce: Callable[[str], None] = print) -> None:
    """Run a server in the foreground until Ctrl+C; what `rxpipe testserver` does.

    Args:
        server: not started yet.
        announce: gets one line with the URL once it listens.
    """
    with server:
        try:
            announce(f"listening on {server.url}")  # its reader may press Ctrl+C before the next line
            while True:
                threading.Event().wait(0.5)  # in slices: a wait without end cannot be interrupted on Windows
        except KeyboardInterrupt:
            announce(f"stopped after {server.summary()}")
