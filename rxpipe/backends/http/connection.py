"""HTTP to one server: connections are kept alive, bodies are read raw, every failure is a typed error.

A `Connection` is used by one thread at a time and can be aborted from any other, which frees a thread that waits for an
answer. Credentials are sent with each request and appear nowhere else: the errors raised here carry no frames of the
HTTP library, whose locals hold the headers.
"""

from __future__ import annotations

import functools
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException, IncompleteRead
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit
from weakref import WeakSet

import requests
from requests.cookies import RequestsCookieJar
from requests.utils import requote_uri
from urllib3.exceptions import HTTPError, ReadTimeoutError

from rxpipe.backends.http.failures import ErrorHints, RequestInfo, read_json, refusal, root_cause_text, without_frames
from rxpipe.backends.http.limits import AnswerLimit, Body, BodyReader
from rxpipe.backends.http.sockets import Deadline, WatchedAdapter, shut_down_socket
from rxpipe.errors import BackendError, BackendTimeout, BackendUnavailable, BadResponse
from rxpipe.rx.worker import WorkerScheduler

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping

    from urllib3.connection import HTTPConnection

    from rxpipe.backends.http.address import Address

_PIECE_BYTES = (1 << 14, 1 << 20)  # of an answer, the first and the largest; each shows that it is still coming
_QUICK_S = 0.01  # a piece that took no longer is followed by one twice as large
_DIGITS = 19  # of a length; a longer one is none
_OK = range(200, 300)
_MISSING = {404, 405}
_SERVER_FAILED = 500
_UNKNOWN_HOST = ("Name or service not known", "nodename nor servname", "getaddrinfo failed", "No address associated")
_NO_TLS = ("UNEXPECTED_EOF", "WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "handshake operation")


@dataclass(frozen=True, slots=True)
class Response:
    """An answer with its whole body. content: the body; of a large one `body` is a copy."""

    status: int
    content: Body = field(repr=False)
    elapsed_s: float
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def body(self) -> bytes:
        """The body as bytes."""
        return self.content if isinstance(self.content, bytes) else bytes(self.content)

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            BadResponse: the body is not JSON.
        """
        return read_json(self.body)


class Connection:
    """One connection to the server, kept alive. For one thread at a time; `abort` and `received` for any thread.

    Args:
        address: of the server.
        hints: what the errors advise.
        connect_timeout_s: longest wait for the connection, > 0.
        deadlines: ends answers that take too long; None for a thread of its own.

    received: bytes of answers read so far, as they came. sent: how many requests were written to their end.
    transfer_s: seconds that both took, waiting for the head of an answer not counted. answered_s: when the last answer
    was complete, as `time.monotonic` counts.
    """

    def __init__(
        self,
        address: Address,
        *,
        hints: ErrorHints | None = None,
        connect_timeout_s: float = 5.0,
        deadlines: WorkerScheduler | None = None,
    ) -> None:
        self._address = address
        self._hints = hints or ErrorHints()
        self._connect_timeout_s = connect_timeout_s
        self._connections: WeakSet[HTTPConnection] = WeakSet()
        self._sockets: WeakSet[socket.socket] = WeakSet()  # a connection drops its own while a last body is read
        self._aborted = threading.Event()
        self._own_deadlines = WorkerScheduler("rxpipe-http-deadline") if deadlines is None else None
        self._deadlines = deadlines or cast("WorkerScheduler", self._own_deadlines)
        self._adapter = WatchedAdapter(self._watch, self._note_sent)
        self._blank, self._send_settings = _prepared(address)
        self._cookies = RequestsCookieJar()
        self._opened = 0
        self.received = self.sent = 0
        self.transfer_s = self.answered_s = self._began_s = 0.0

    @property
    def aborted(self) -> bool:
        """True once the connection was aborted; it sends nothing any more."""
        return self._aborted.is_set()

    def get(self, path: str, *, timeout_s: float | None) -> Response:
        """Return the answer to a GET of *path*; see `send`."""
        return self.send("GET", path, timeout_s=timeout_s)

    def get_optional(self, path: str, *, timeout_s: float | None) -> Response | None:
        """Return the answer to a GET of a path that not every server has; None where it is missing. See `send`."""
        answer = self.exchange("GET", path, timeout_s=timeout_s)
        return None if answer.status in _MISSING else self.accepted("GET", path, answer)

    def post(
        self, path: str, body: bytes = b"", *, timeout_s: float | None, limit: AnswerLimit | None = None
    ) -> Response:
        """Return the answer to a POST of *body* (JSON) to *path*; see `send`."""
        return self.send("POST", path, body, timeout_s=timeout_s, limit=limit)

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        timeout_s: float | None,
        limit: AnswerLimit | None = None,
    ) -> Response:
        """Return the server's answer to one request.

        Args:
            method: GET or POST.
            path: from the root, beginning with a slash.
            body: JSON, None for none.
            timeout_s: longest silence while waiting for bytes, and for the connection where that is shorter; None waits
                for ever.
            limit: of the answer; None for that of a small one.

        Raises:
            BackendError: of the kind that fits; its message ends with method, path and address.
        """
        return self.accepted(method, path, self.exchange(method, path, body, timeout_s=timeout_s, limit=limit))

    def accepted(self, method: str, path: str, answer: Response) -> Response:
        """Return an answer whose status is a success.

        Raises:
            BackendError: of the kind that fits any other.
        """
        if answer.status in _OK:
            return answer
        raise refusal(self._hints, RequestInfo(method, path, self._address.base), answer)

    def exchange(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        timeout_s: float | None,
        limit: AnswerLimit | None = None,
        content_type: str = "application/json",
    ) -> Response:
        """Return the answer whatever its status; see `send`.

        A server may end its connection after a failure of its own without saying so, so nothing is sent on that one any
        more. A GET on a kept connection that breaks before a byte came is repeated once, on a new one.
        """
        begin, opened = time.monotonic(), self._opened
        self._began_s = begin
        limit = limit or AnswerLimit.small(timeout_s)
        request = RequestInfo(method, path, self._address.base)
        with Deadline(self._deadlines, self._shut_down) as deadline:
            deadline.end_after(limit.whole_s)
            try:
                try:
                    response = self._request(method, path, body, timeout_s, content_type)
                except requests.ConnectionError as failure:
                    kept = opened == self._opened and not isinstance(failure, requests.Timeout)
                    if method != "GET" or not kept or self.aborted or deadline.passed:
                        raise
                    self._adapter.close()
                    response = self._request(method, path, body, timeout_s, content_type)
                deadline.end_after(limit.body_s if limit.whole_s is None else None)
                content = self._read(response, limit)
                deadline.check()
            except BadResponse as refused:
                error: BackendError = BadResponse(
                    request.message(refused.message), hint=refused.hint, retryable=refused.retryable
                )
                cause = None
            except (
                requests.RequestException,
                HTTPError,
                HTTPException,
                OSError,
                AttributeError,
                ValueError,
            ) as failure:
                # AttributeError, ValueError: what a library makes of a socket that was shut down under it
                error = self._as_backend_error(request, failure, time.monotonic() - begin, late=deadline.passed)
                cause = without_frames(failure)
            else:
                if response.status_code >= _SERVER_FAILED:
                    self._adapter.close()
                return Response(response.status_code, content, time.monotonic() - begin, response.headers)
        raise error from cause  # outside the except block, so that no frame with headers hangs on it

    def _request(
        self, method: str, path: str, body: bytes | None, timeout_s: float | None, content_type: str
    ) -> requests.Response:
        """Send one request and return the answer's head; redirects are not followed.

        What a `requests.Session` works out anew for each request is fixed for a server and was worked out once.
        """
        request = self._blank.copy()
        request.method, request.url, request.body = method, f"{self._blank.url}{requote_uri(path)}", body
        if body is not None:
            request.headers["Content-Length"] = str(len(body))
        if body:
            request.headers["Content-Type"] = content_type
        if self._cookies:
            request.prepare_cookies(self._cookies)
        timeout: Any = (min(self._connect_timeout_s, timeout_s or self._connect_timeout_s), timeout_s)
        response = self._adapter.send(request, timeout=timeout, **self._send_settings)
        self._cookies.update(response.cookies)
        return response

    def abort(self) -> None:
        """Shut the sockets down: a waiting call raises an error, and nothing more is sent. Harmless twice."""
        self._aborted.set()
        self._shut_down()

    def close(self) -> None:
        """Close the connection."""
        self._adapter.close()
        if self._own_deadlines is not None:
            self._own_deadlines.close()

    def _shut_down(self) -> None:
        for sock in {*(connection.sock for connection in list(self._connections)), *self._sockets}:
            shut_down_socket(sock)

    def _read(self, response: requests.Response, limit: AnswerLimit) -> Body:
        raw, length = response.raw, _length_of(response)
        try:
            body = BodyReader(limit, response.headers.get("Content-Encoding", ""), length)
            size, begin = _PIECE_BYTES[0], time.monotonic()
            head_s = begin
            while count := _next_piece(raw, body, size):
                self.received += count
                begin, took_s = time.monotonic(), time.monotonic() - begin
                size = min(2 * size, _PIECE_BYTES[1]) if took_s < _QUICK_S else size
            content = body.finish()
            self.answered_s = time.monotonic()
            self.transfer_s += self.answered_s - head_s
        except Exception:
            response.close()  # what is left of it must not be read as the next answer
            raise
        if self.aborted:
            raise ConnectionAbortedError("aborted on our side")  # a body without a length just ends
        raw.release_conn()
        return content

    def _as_backend_error(
        self, request: RequestInfo, failure: Exception, elapsed_s: float, *, late: bool
    ) -> BackendError:
        """Return the typed error for a failure of the connection; *late*: because its deadline had passed."""
        if self.aborted:
            return BackendUnavailable(request.message("the request was aborted on our side"))
        if late:
            return BackendTimeout(
                request.message(f"the answer was not complete after {elapsed_s:.1f} s"),
                hint="The line to the server is very slow, or it sends without an end.",
            )
        text = root_cause_text(failure)
        if "BadStatusLine" in repr(failure) and "RemoteDisconnected" not in repr(failure):
            spoken = request.message(f"what answers at {self._address.base} does not speak HTTP: {text.strip()[:40]!r}")
            return BackendUnavailable(spoken, hint="Check host and port.")
        if (known := self._unreachable(text)) is not None:
            return BackendUnavailable(request.message(known[0]), hint=known[1])
        if isinstance(failure, requests.ConnectTimeout):
            limit = f"no connection within {self._connect_timeout_s:g} s"
            return BackendUnavailable(request.message(limit), hint="Is the address right, and is the machine on?")
        if isinstance(failure, requests.Timeout | ReadTimeoutError | TimeoutError):
            return BackendTimeout(request.message(f"no answer in {elapsed_s:.1f} s"))
        return BackendUnavailable(
            request.message(f"the connection broke after {elapsed_s:.1f} s: {text}"),
            hint="The server may have crashed or restarted; see its console.",
        )

    def _unreachable(self, text: str) -> tuple[str, str] | None:
        """Return what keeps the connection from being made and what to do about it; None where it is something else."""
        base = self._address.base
        if "refused" in text.lower():
            return f"no server answers at {base} ({text.lower()})", self._hints.refused
        if any(words in text for words in _UNKNOWN_HOST):
            return (
                f"the host {urlsplit(base).hostname!r} is unknown ({text.lower()})",
                "Is the name right, and is the network up?",
            )
        if base.startswith("https:") and any(words in text for words in _NO_TLS):
            plain = base.replace("https://", "http://", 1)
            return f"the server at {base} speaks http, not https", f"Give {plain} as its address."
        if "SSL" in text or "CERTIFICATE" in text:
            return f"the server at {base} is not trusted ({text})", "Its certificate must be known to this machine."
        return None

    def _note_sent(self) -> None:
        self.sent += 1
        self.transfer_s += time.monotonic() - self._began_s

    def _watch(self, connection: HTTPConnection) -> None:
        """Note each connection, before and after it connects."""
        self._opened += 1
        self._connections.add(connection)
        if connection.sock is not None:
            self._sockets.add(connection.sock)
        if self.aborted:
            shut_down_socket(connection.sock)
            raise ConnectionAbortedError("aborted on our side")


class ConnectionPool:
    """Connections to one server, reused; one is made when none is free. Safe from any thread."""

    def __init__(self, address: Address, *, hints: ErrorHints | None = None, connect_timeout_s: float = 5.0) -> None:
        self._deadlines = WorkerScheduler("rxpipe-http-deadline")
        self._make = functools.partial(
            Connection, address, hints=hints, connect_timeout_s=connect_timeout_s, deadlines=self._deadlines
        )
        self._free: list[Connection] = []
        self._in_use: list[Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    def acquire(self) -> Connection:
        """Return a connection for the caller alone."""
        with self._lock:
            connection = self._free.pop() if self._free else self._make()
            self._in_use.append(connection)
            return connection

    def release(self, connection: Connection) -> None:
        """Make the connection free again, or close it where it was aborted."""
        with self._lock:
            self._in_use.remove(connection)
            keep = not (connection.aborted or self._closed)
            if keep:
                self._free.append(connection)
        if not keep:
            connection.close()

    @contextmanager
    def borrowed(self) -> Iterator[Connection]:
        """Yield a connection for the caller alone and release it afterwards."""
        connection = self.acquire()
        try:
            yield connection
        finally:
            self.release(connection)

    def close(self) -> None:
        """Close what is free and abort what is in use, which is closed when it is released."""
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
            in_use = tuple(self._in_use)
        for connection in free:
            connection.close()
        for connection in in_use:
            connection.abort()
        self._deadlines.close()


def _length_of(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() and len(length) < _DIGITS and not response.raw.chunked else None


def _next_piece(raw: Any, body: BodyReader, size: int) -> int:
    """Read the next bytes of a body, at most *size*; return how many, 0 at the end.

    Those of a known length go from the socket to their place; urllib3's own `readinto` reads and then copies them.
    """
    if body.missing is None:
        piece = raw.read(size, decode_content=False)
        body.feed(piece)
        return len(piece)
    count = body.fill(raw._fp.readinto, size)  # noqa: SLF001
    if not count and body.missing:
        raise IncompleteRead(b"", body.missing)
    return count


def _prepared(address: Address) -> tuple[requests.PreparedRequest, dict[str, Any]]:
    """Return a request without path and body, and the settings with which each is sent: proxies, certificates."""
    with requests.Session() as session:
        session.trust_env = not address.is_loopback  # a proxy for our own machine only breaks things
        settings = session.merge_environment_settings(address.base, {}, True, None, None)
    blank = requests.PreparedRequest()
    blank.prepare("GET", address.base, headers=_headers(address), cookies=RequestsCookieJar())
    blank.url = (blank.url or "").rstrip("/")
    return blank, dict(settings)


def _headers(address: Address) -> dict[str, str]:
    headers = {
        "User-Agent": "rxpipe",
        "Accept": "application/json",
        "Accept-Encoding": "identity",  # gzip of base64 costs the server more than the wire saves
        "Connection": "keep-alive",
    }
    if address.credentials is not None:
        headers["Authorization"] = address.credentials.header()
    if not address.is_loopback:  # tunnels that show a page to browsers first
        headers |= {"ngrok-skip-browser-warning": "1", "skip_zrok_interstitial": "1"}
    return {**headers, **address.headers}
