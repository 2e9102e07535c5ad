"""WebUIServer: the simulated WebUI on a loopback port, with everything a test wants to do to it and know of it.

One thread accepts, one a connection serves; all are daemons. The port is kept while the server plays dead: a bound
socket that does not listen refuses connections, and no other process can take the port.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self

from rxpipe.testing.webui_server.clock import Clock, RealClock
from rxpipe.testing.webui_server.drawing import noise
from rxpipe.testing.webui_server.faults import Fault, FaultPlan
from rxpipe.testing.webui_server.flavour import FlavourName, load_flavour
from rxpipe.testing.webui_server.jobs import JobGate, ServerGone
from rxpipe.testing.webui_server.request_log import Interrupt, Job, RecordedRequest, RequestLog, shorten
from rxpipe.testing.webui_server.webui import Checkpoint, Setup, WebUI
from rxpipe.testing.webui_server.wire import Answer, Request, encode, read_request, reset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from rxpipe.testing.webui_server.drawing import Draw

_STAGES = ("txt2img", "img2img", "adetailer", "upscale")
_HANDLERS = 40  # calls in progress at the same time; the recorded servers' thread pool
_ACCEPT_S = 0.05
_JOIN_S = 2.0
_DRIPS = 50
_JOINED_BELOW = 65536  # bytes of body that go out in one piece with the head
_BEFORE_ANY_ANSWER = ("reset", "never", "refused")


class WebUIServer:
    """An AUTOMATIC1111 or Forge server that draws nothing a GPU would be needed for.

    ```python
    with WebUIServer() as server:
        server.fault("txt2img", Fault.OUT_OF_MEMORY, on_call=2)
        requests.post(f"{server.url}/sdapi/v1/txt2img", json={"prompt": "a cat"})
    assert [job.outcome for job in server.jobs] == ["done"]
    ```

    Args:
        flavour: "forge" or "a1111": whose bodies, lists and error words.
        draw: a PNG for a DrawRequest, or "noise" (fast), or "sketch": drawn by the embedded backend.
        latency_s: seconds a picture, for all stages or by stage (txt2img, img2img, adetailer, upscale).
        switch_s: seconds a change of checkpoint takes.
        clock: the machine's, or a ManualClock.
        auth: user and password; guards /sdapi only, as the real servers do.
        nowebui: no page and no /internal/progress.
        api: False for a server that was started without --api.
        adetailer: whether the extension is there.
        checkpoints: model names, the loaded one first; the recorded server's by default.
        hashed: False: a model's hash is unknown, and its title without it, until it was loaded.
        port: 0 for a free one.
        gzip_level: 1..9 for bodies of 1000 bytes and more where the client accepts gzip, None for never.
        keep_alive_s: seconds an idle connection stays open; None for ever.
        keep_bodies: False: calls remember long strings of their bodies only by length.

    Everything may be called from any thread. Times are of `clock` unless they are called timeout.
    """

    def __init__(
        self,
        flavour: FlavourName = "forge",
        *,
        draw: Draw | Literal["noise", "sketch"] = "noise",
        latency_s: float | Mapping[str, float] = 0.0,
        switch_s: float = 0.0,
        clock: Clock | None = None,
        auth: tuple[str, str] | None = None,
        nowebui: bool = False,
        api: bool = True,
        adetailer: bool = True,
        checkpoints: Sequence[str] | None = None,
        hashed: bool = True,
        port: int = 0,
        gzip_level: int | None = 1,
        keep_alive_s: float | None = 30.0,
        keep_bodies: bool = True,
    ) -> None:
        self.flavour = load_flavour(flavour)
        self.clock = clock or RealClock()
        self.request_log = RequestLog(self.clock)
        by_stage = latency_s if not isinstance(latency_s, int | float) else dict.fromkeys(_STAGES, float(latency_s))
        self.setup = Setup(_drawing(draw), dict(by_stage), switch_s, auth, nowebui, api, adetailer)
        names = checkpoints or self.flavour.checkpoints
        self._checkpoints = [Checkpoint(name, hashed or number == 0) for number, name in enumerate(names)]
        self._port = port
        self._gzip_level = gzip_level
        self._keep_alive_s = keep_alive_s
        self._keep_bodies = keep_bodies
        self._plan = FaultPlan()
        self._holds: list[JobGate] = []
        self._frozen = False
        self._handlers = threading.BoundedSemaphore(_HANDLERS)
        self._open: dict[int, socket.socket] = {}
        self._serving: set[threading.Thread] = set()
        self._listener: socket.socket | None = None
        self._accepting: threading.Thread | None = None
        self._down = threading.Event()
        self._stopped = threading.Event()
        self._switching = threading.RLock()  # one goes up or down at a time
        self.site = self._new_site()

    def _new_site(self) -> WebUI:
        site = WebUI(self.flavour, self.setup, self.request_log, self._holds, self._checkpoints)
        site.on_death = lambda fault: self.die(back_after_s=fault.back_after_s)
        return site

    # -- life ---------------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Listen. `with` does it. Raises OSError where the port is taken."""
        self._bind()
        self._listen()
        return self

    def stop(self) -> None:
        """Stop for good, immediately: jobs are lost, connections reset, threads end. Idempotent."""
        self._stopped.set()
        self.site.queue.die()
        self.go_down()
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
            target=self._accept, args=(self._listener,), name=f"webui-server-{self._port}", daemon=True
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
        """Listen on the same port again. Harmless while it does."""
        with self._switching:
            if self._down.is_set() and not self._stopped.is_set():
                self._listen()
        with self.request_log.noting():
            pass  # waiting threads check again

    def die(self, *, back_after_s: float | None = None) -> None:
        """Die as a process does: all jobs, the queue and the flags are lost. Comes back as one freshly started."""
        with self._switching:
            self.site.queue.die()
            self.site = self._new_site()
            self.go_down(back_after_s=back_after_s)

    def freeze(self) -> None:
        """Accept connections and read requests, but answer nothing any more, on no path, until `thaw`."""
        with self.request_log.noting():
            self._frozen = True

    def thaw(self) -> None:
        """Answer again, the calls that came in while frozen included."""
        with self.request_log.noting():
            self._frozen = False

    def unstick(self) -> None:
        """Let a job that met Fault.STUCK continue."""
        with self.request_log.noting():
            self.site.unstuck = True

    def _close_connections(self, spare: int | None) -> None:
        with self.request_log.changed:
            connections = [connection for number, connection in self._open.items() if number != spare]
        for connection in connections:
            reset(connection)

    # -- what a test does to it ---------------------------------------------------------------------------------------

    def fault(
        self,
        target: str,
        fault: Fault,
        *,
        on_call: int | Iterable[int] = 1,
        times: int | None = 1,
        where: Callable[[RecordedRequest], bool] | None = None,
    ) -> None:
        """Let coming calls to `target` fail.

        Args:
            target: a stage (txt2img, img2img, adetailer, upscale), "progress", "interrupt" or any other last part of
                a path, a whole path, or "*".
            fault: how.
            on_call: which of the coming calls, counted from 1 now; several may be named.
            times: how many in a row from there on; None: all.
            where: counts only calls for which it is true.
        """
        calls = [on_call] if isinstance(on_call, int) else sorted(on_call)
        if not calls or calls[0] < 1 or (times is not None and times < 1):
            raise ValueError(f"on_call and times count from 1: on_call={on_call!r}, times={times!r}")
        plan: list[Fault | None] = [None] * (calls[-1] - 1 + (times or 1))
        for call in calls:
            plan[call - 1 : call - 1 + (times or 1)] = [fault] * (times or 1)
        self._add_faults(target, plan, where=where, forever=times is None)

    def faults(self, target: str, plan: Iterable[Fault | None]) -> None:
        """Let the coming calls to `target` meet these in order, None for a healthy one."""
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

    def heal(self) -> None:
        """Forget every fault that has not struck yet."""
        self._plan.clear()

    def hold(self, stage: str, step: int = 0) -> JobGate:
        """Stop every job of `stage` ("*" for all) when it reaches `step`, until `release`; see JobGate."""
        hold = JobGate(stage, step, self.request_log)
        with self.request_log.noting():
            self._holds.append(hold)
        return hold

    # -- what a test wants to know ------------------------------------------------------------------------------------

    @property
    def calls(self) -> tuple[RecordedRequest, ...]:
        """Every request so far, in order."""
        with self.request_log.changed:
            return tuple(self.request_log.calls)

    def calls_to(self, target: str) -> tuple[RecordedRequest, ...]:
        """Return the calls of a stage, path, or last part of a path."""
        return tuple(call for call in self.calls if call.matches(target))

    def posts_after(self, at_monotonic_s: float) -> tuple[RecordedRequest, ...]:
        """Return the drawing calls that came in after a moment of `time.monotonic`."""
        return tuple(call for call in self.calls if call.stage and call.at_monotonic_s > at_monotonic_s)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Every call that reached the queue, in order, with how it ended."""
        with self.request_log.changed:
            return tuple(self.request_log.jobs)

    @property
    def interrupts(self) -> tuple[Interrupt, ...]:
        """Every interrupt, with the job it hit."""
        with self.request_log.changed:
            return tuple(self.request_log.interrupts)

    @property
    def skips(self) -> tuple[Interrupt, ...]:
        """Every skip, with the job it hit."""
        with self.request_log.changed:
            return tuple(self.request_log.skips)

    @property
    def switches(self) -> tuple[str, ...]:
        """The checkpoints loaded after the first, in order."""
        with self.request_log.changed:
            return tuple(self.request_log.switches)

    @property
    def busy_s(self) -> float:
        """Seconds during which a job held the queue."""
        return self.request_log.busy_s

    @property
    def connections(self) -> int:
        """Connections that were opened so far."""
        return self.request_log.connections

    @property
    def max_active_drawings(self) -> int:
        """The most drawings that ran at the same time; 1, or the queue is broken."""
        return self.request_log.max_active_drawings

    @property
    def max_in_flight(self) -> int:
        """The most rendering calls that were in progress or in the queue at the same time."""
        return self.request_log.max_in_flight

    @property
    def down(self) -> bool:
        """Whether connections are refused at the moment."""
        return self._down.is_set()

    @property
    def idle(self) -> bool:
        """Whether no job runs and none waits."""
        with self.request_log.changed:
            return self.request_log.running is None and not self.site.queue.waiting

    def wait_for(self, predicate: Callable[[], bool], timeout_s: float = 5.0) -> bool:
        """Return whether `predicate` came true within `timeout_s` real seconds; checked at every change."""
        return self.request_log.wait_for(predicate, timeout_s)

    def wait_running(self, stage: str = "*", timeout_s: float = 5.0) -> bool:
        """Return whether a job of `stage` ran within `timeout_s` real seconds."""
        running = lambda: (job := self.request_log.running) is not None and job.call.matches(stage)  # noqa: E731  # read where it stands
        return self.wait_for(running, timeout_s)

    def wait_queued(self, count: int, timeout_s: float = 5.0) -> bool:
        """Return whether `count` jobs waited behind the running one within `timeout_s` real seconds."""
        return self.wait_for(lambda: len(self.site.queue.waiting) >= count, timeout_s)

    def wait_calls(self, target: str, count: int = 1, timeout_s: float = 5.0) -> bool:
        """Return whether `count` calls to `target` came in within `timeout_s` real seconds."""
        return self.wait_for(lambda: len(self.calls_to(target)) >= count, timeout_s)

    def wait_idle(self, timeout_s: float = 5.0) -> bool:
        """Return whether the queue was empty within `timeout_s` real seconds."""
        return self.wait_for(lambda: self.idle, timeout_s)

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
            name = f"webui-server-{self._port}-{number}"
            thread = threading.Thread(target=self._serve, args=(connection, number), name=name, daemon=True)
            self._serving.add(thread)
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        """Answer the requests of one connection until one of the two has had enough."""
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection, connection.makefile("rb") as stream:
                while not self._down.is_set():
                    connection.settimeout(self._keep_alive_s)
                    request = read_request(stream, connection)
                    if request is None or not self._answer(connection, number, request):
                        return
        except (OSError, ValueError):
            pass  # the other side is gone, or it was reset from here
        finally:
            with self.request_log.noting():
                self._open.pop(number, None)
                self._serving.discard(threading.current_thread())

    def _answer(self, connection: socket.socket, number: int, request: Request) -> bool:
        """Deal with one request; return whether the connection stays open."""
        call, body = self._note(request, number)
        site = self.site
        try:
            if call.fault is not None and call.fault.kind in _BEFORE_ANY_ANSWER:
                self._go_down_if_due(call, number)
                self._break_off(connection, call.fault)
                return False
            with self._handlers, self.request_log.in_progress(call):
                began = time.perf_counter()
                answer = site.handle(call, request, body)
            self._wait_thawed(site)
            answer = self._timed(answer, time.perf_counter() - began)
            if self._go_down_if_due(call, number):
                request = replace(request, keep_alive=False)
            return self._send(connection, call, answer, request) and request.keep_alive
        except ServerGone:
            reset(connection)
            return False

    def _go_down_if_due(self, call: RecordedRequest, number: int) -> bool:
        """Go down where the next call of this kind is to be refused; only this connection is left to say goodbye."""
        due = self._plan.due(call, "refused")
        if due is not None:
            self.go_down(back_after_s=due.back_after_s, spare=number)
        return due is not None

    def _note(self, request: Request, number: int) -> tuple[RecordedRequest, Any]:
        """Return the call as it is remembered, and its body's JSON, None where there is none or it is malformed."""
        try:
            body = json.loads(request.body) if request.body else None
        except ValueError:
            body = None
        call = self.request_log.new_call(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            body=body if self._keep_bodies else shorten(body),
            connection=number,
            headers={name: value for name, value in request.headers.items() if name != "authorization"},
        )
        call.fault = self._plan.take(call)
        return call, body

    def _timed(self, answer: Answer, seconds: float) -> Answer:
        """A1111 reports its time with every answer but those of unhandled exceptions."""
        failed = b'"error":"HTTPException"' not in answer.body[:100] and answer.status == 500  # noqa: PLR2004  # HTTP's own
        if self.flavour.name == "forge" or failed:
            return answer
        headers = {**answer.headers, "x-process-time": str(round(seconds, 4))}
        return Answer(answer.status, answer.body, answer.content_type, headers)

    def _wait_thawed(self, site: WebUI) -> None:
        site.queue.wait_until(lambda: not self._frozen)

    def _break_off(self, connection: socket.socket, fault: Fault) -> None:
        """Answer nothing: reset immediately, or keep the client waiting until it or the server goes away."""
        if fault.kind == "never":
            connection.settimeout(None)
            connection.recv(1)
        if fault.kind == "refused":  # this one slipped through: two refusals in a row were planned
            self.go_down(back_after_s=fault.back_after_s)
        reset(connection)

    def _send(self, connection: socket.socket, call: RecordedRequest, answer: Answer, request: Request) -> bool:
        """Send an answer as the call's fault allows; return whether the connection stays open."""
        fault = call.fault
        if fault is not None and fault.kind in ("truncated_json", "empty_body"):
            keep = int(len(answer.body) * fault.fraction) if fault.kind == "truncated_json" else 0
            answer = Answer(answer.status, answer.body[:keep], answer.content_type, answer.headers)
        head, body = encode(answer, request, self._gzip_level)
        call.status = answer.status
        connection.settimeout(None)
        if fault is not None and fault.kind in ("reset_mid_body", "short_body"):
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

    def _drip(self, connection: socket.socket, head: bytes, body: bytes, seconds: float) -> None:
        connection.sendall(head)
        size = max(1, -(-len(body) // _DRIPS))
        for start in range(0, len(body), size):
            if self._down.wait(seconds / _DRIPS):
                raise ServerGone
            connection.sendall(body[start : start + size])


def _drawing(draw: Draw | Literal["noise", "sketch"]) -> Draw:
    if draw == "sketch":
        from rxpipe.testing.webui_server.drawn_by import sketched  # noqa: PLC0415 - noise needs no backend

        return sketched()
    if isinstance(draw, str) and draw != "noise":
        raise ValueError(f'draw must be "noise", "sketch" or a function, not {draw!r}')
    return noise if draw == "noise" else draw


def serve_forever(server: WebUIServer, announce: Callable[[str], None] = print) -> None:
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
            announce(f"stopped after {len(server.calls)} calls, {len(server.jobs)} jobs")
