"""HTTP to one server: connections kept alive, bodies read raw, and every trouble told as a typed error at one point.

A `Connection` is used by one thread at a time and can be aborted from any other, which frees a thread that waits for an
answer. Credentials go up front into each request and appear nowhere else: the errors raised here carry no frames of the
HTTP library, whose locals hold the headers.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, ReadTimeoutError

from rxpipe.backends.webui.answers import read_json
from rxpipe.errors import (
    BackendError,
    BackendFailed,
    BackendRejected,
    BackendTimeout,
    BackendUnavailable,
    BadResponse,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from urllib3 import PoolManager

    from rxpipe.backends.http.address import Address

_PIECES = 32  # an answer is read in so many, each showing that it is still coming
_PIECE_BYTES = (1 << 12, 1 << 20)  # the smallest and the largest
_SHOWN = 300  # characters of a server's own message
_OK = range(200, 300)
_MOVED = range(300, 400)
_AUTH = {401, 403}
_LATER = {429, 502, 503, 504}


@dataclass(frozen=True, slots=True)
class Response:
    """An answer with its status 2xx and its whole body."""

    status: int
    body: bytes = field(repr=False)
    elapsed_s: float

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            BadResponse: it is none.
        """
        return read_json(self.body)


class Connection:
    """One connection to the server, kept alive. For one thread at a time; `abort` and `received` for any.

    Args:
        address: of the server.
        connect_timeout_s: until a connection stands, > 0.

    received: bytes of answers read so far.
    """

    def __init__(self, address: Address, *, connect_timeout_s: float = 5.0) -> None:
        self._address = address
        self._connect_timeout_s = connect_timeout_s
        self._connections: WeakSet[HTTPConnection] = WeakSet()
        self._aborted = threading.Event()
        self._session = self._open_session()
        self.received = 0

    @property
    def aborted(self) -> bool:
        """True once it was aborted and is of no more use."""
        return self._aborted.is_set()

    def get(self, path: str, *, timeout_s: float | None, what: str = "") -> Response:
        """Ask for *path*; see `send`."""
        return self.send("GET", path, timeout_s=timeout_s, what=what)

    def post(self, path: str, body: bytes = b"", *, timeout_s: float | None, what: str = "") -> Response:
        """Send *body* (JSON) to *path*; see `send`."""
        return self.send("POST", path, body, timeout_s=timeout_s, what=what)

    def send(
        self, method: str, path: str, body: bytes | None = None, *, timeout_s: float | None, what: str = ""
    ) -> Response:
        """The server's answer.

        Args:
            method: GET or POST.
            path: from the root, beginning with a slash.
            body: JSON, None for none.
            timeout_s: longest silence while waiting for bytes, and for the connection where that is shorter; None waits
                for ever.
            what: is asked, such as "upscale (stage 3, image 2)"; begins every message.

        Raises:
            BackendError: of the kind that fits, with what, where, what came and what to do.
        """
        begin = time.monotonic()
        request = _RequestInfo(what, method, path, self._address.base)
        error: BackendError
        cause: ConnectionError | None
        try:
            response = self._session.request(
                method,
                self._address.base + path,
                data=body,
                headers={"Content-Type": "application/json"} if body else None,
                timeout=(min(self._connect_timeout_s, timeout_s or self._connect_timeout_s), timeout_s),
                stream=True,
                allow_redirects=False,
            )
            content = self._read(response)
        except (requests.RequestException, HTTPError, HTTPException, OSError, AttributeError, ValueError) as trouble:
            # AttributeError, ValueError: what a library makes of a socket that was shut down under it
            error = self._as_backend_error(request, trouble, time.monotonic() - begin)
            cause = _without_frames(trouble)
        else:
            elapsed_s = time.monotonic() - begin
            if response.status_code in _OK:
                return Response(response.status_code, content, elapsed_s)
            error = _refusal(request, response.status_code, response.headers, content, elapsed_s)
            cause = None  # the server's own words are all there is
        raise error from cause  # outside the except block, so that no frame with headers hangs on it

    def abort(self) -> None:
        """Shut the sockets down: a waiting call gets an error, and nothing more is sent. Harmless twice."""
        self._aborted.set()
        for connection in list(self._connections):
            _shutdown_socket(connection.sock)

    def close(self) -> None:
        """Give the connection back."""
        self._session.close()

    def _read(self, response: requests.Response) -> bytes:
        raw, pieces = response.raw, list[bytes]()
        length = response.headers.get("Content-Length", "")
        size = min(max(int(length) // _PIECES if length.isdigit() else 0, _PIECE_BYTES[0]), _PIECE_BYTES[1])
        while piece := raw.read(size, decode_content=True):
            self.received += len(piece)
            pieces.append(piece)
        raw.release_conn()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _as_backend_error(self, request: _RequestInfo, trouble: Exception, elapsed_s: float) -> BackendError:
        """A failure of the connection as an error of ours."""
        if self.aborted:
            return BackendUnavailable(request.message("was aborted on our side."))
        text = _root_cause_text(trouble)
        if isinstance(trouble, requests.ConnectTimeout):
            limit = f"no connection within {self._connect_timeout_s:g} s."
            return BackendUnavailable(request.message(limit), hint="Is the address right, and is the machine on?")
        if isinstance(trouble, requests.Timeout | ReadTimeoutError | TimeoutError):
            return BackendTimeout(request.message(f"no answer in {elapsed_s:.1f} s."))
        if "refused" in text.lower():
            return BackendUnavailable(
                request.message(f"nobody answers ({text})."),
                hint="Start the WebUI with --api, or give the address it listens on, such as http://127.0.0.1:7860.",
            )
        return BackendUnavailable(
            request.message(f"the connection broke after {elapsed_s:.1f} s ({text})."),
            hint="The server may have crashed or restarted; see its console.",
        )

    def _open_session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = not self._address.is_loopback  # a proxy for our own machine only breaks things
        session.headers.clear()
        session.headers.update(_headers(self._address))
        session.auth = _Authorize(self._address)  # also keeps .netrc from putting in its own
        adapter = _Adapter(self._watch)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        return session

    def _watch(self, connection: HTTPConnection) -> None:
        """Told of each connection before and after it connects."""
        self._connections.add(connection)
        if self.aborted:
            _shutdown_socket(connection.sock)
            raise ConnectionAbortedError("aborted on our side")


class _Authorize(requests.auth.AuthBase):
    def __init__(self, address: Address) -> None:
        self._credentials = address.credentials

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._credentials is not None:
            request.headers["Authorization"] = self._credentials.header()
        return request


class _Adapter(HTTPAdapter):
    """An adapter that shows each connection to *watch* when it is made and when it stands."""

    def __init__(self, watch: Callable[[HTTPConnection], None]) -> None:
        self._watch = watch
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self._watched(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        self._watched(manager)
        return manager

    def _watched(self, manager: PoolManager) -> None:
        watch = self._watch

        class Http(HTTPConnection):
            def connect(self) -> None:
                watch(self)
                super().connect()
                watch(self)

        class Https(HTTPSConnection):
            def connect(self) -> None:
                watch(self)
                super().connect()
                watch(self)

        http = type("HttpPool", (HTTPConnectionPool,), {"ConnectionCls": Http})
        https = type("HttpsPool", (HTTPSConnectionPool,), {"ConnectionCls": Https})
        manager.pool_classes_by_scheme = cast("Any", {"http": http, "https": https})


class ConnectionPool:
    """Connections to one server, reused; one is made when none is free. Safe from any thread."""

    def __init__(self, address: Address, *, connect_timeout_s: float = 5.0) -> None:
        self._address = address
        self._connect_timeout_s = connect_timeout_s
        self._free: list[Connection] = []
        self._in_use: list[Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    def acquire(self) -> Connection:
        """Return a connection for the caller alone."""
        with self._lock:
            made = not self._free
            connection = (
                Connection(self._address, connect_timeout_s=self._connect_timeout_s) if made else self._free.pop()
            )
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


# -- errors -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _RequestInfo:
    what: str
    method: str
    path: str
    base: str

    def message(self, outcome: str) -> str:
        head = f"{self.what}: " if self.what else ""
        return f"{head}{self.method} {self.path} at {self.base}: {outcome}"


def _refusal(
    request: _RequestInfo, status: int, headers: Mapping[str, str], body: bytes, elapsed_s: float
) -> BackendError:
    """An answer that is no success as an error of ours."""
    text = message_of(body) or "(no message)"
    message = request.message(f"answered {status} after {elapsed_s:.1f} s: {text}")
    if status in _LATER:
        wait_s = retry_after_s(headers.get("Retry-After"))
        return BackendUnavailable(message, hint="It is busy or restarting.", retry_after_s=wait_s)
    if status in _AUTH:
        return BackendRejected(
            message,
            hint="Give user and password: http://user:password@host:port, or RXPIPE_BACKEND_AUTH=user:password.",
        )
    if status in _MOVED:
        location = headers.get("Location", "").partition("?")[0].rpartition("@")[2]
        return BackendRejected(message, hint=f"It has moved to {location}: give that address.")
    if status == 404 and request.path.startswith("/sdapi") and text == "Not Found":  # noqa: PLR2004  # HTTP's own
        return BackendRejected(message, hint="A WebUI without its API: start it with --api.")
    if status < 500:  # noqa: PLR2004  # HTTP's own
        return BackendRejected(message, hint=_SETTING if status == 422 else None)  # noqa: PLR2004  # HTTP's own
    for pattern, kind, hint in _KNOWN:
        if pattern.search(text):
            return kind(message, hint=hint)
    return BackendFailed(message, hint="The server's console says more.")


_SETTING = "A setting of this stage is not one that the server takes."
_KNOWN: tuple[tuple[re.Pattern[str], type[BackendFailed | BackendRejected], str], ...] = (
    (
        re.compile(r"out of memory|OutOfMemory|not enough memory|alloc\w* .*failed", re.IGNORECASE),
        BackendFailed,
        "Lower the size, the factor or the batch, or start the WebUI with --medvram.",
    ),
    (
        re.compile(r"all NaNs|NansException", re.IGNORECASE),
        BackendFailed,
        "Try another VAE or checkpoint, or start the WebUI with --no-half-vae.",
    ),
    (re.compile(r"Invalid encoded image"), BackendFailed, "The input picture is of a kind the server does not read."),
    (
        re.compile(r"could not find upscaler|model '.*' not found|Sampler not found", re.IGNORECASE),
        BackendRejected,
        "See `rxpipe doctor` for the names it has.",
    ),
)


def message_of(body: bytes) -> str:
    """What a server says of its failure: the first of detail, message, errors that says something; at most 300 long."""
    try:
        value = read_json(body)
    except BadResponse:
        value = None
    if isinstance(value, Mapping):
        said = next((value[key] for key in ("detail", "message", "errors") if value.get(key)), value.get("error"))
        text = _listed(said) if isinstance(said, list) else str(said or "")
        kind = value.get("error")
        if isinstance(kind, str) and kind != "HTTPException" and kind not in text:
            text = f"{kind}: {text}"
    else:
        text = re.sub(rb"<[^>]*>", b" ", body[:4000]).decode("utf-8", "replace")
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _listed(problems: list[Any]) -> str:
    """FastAPI's list of what is wrong with a request."""
    parts = []
    for problem in problems:
        if isinstance(problem, Mapping):
            loc = problem.get("loc")
            where = ".".join(str(key) for key in loc if key != "body") if isinstance(loc, list) else ""
            parts.append(f"{where}: {problem.get('msg')}" if where else str(problem.get("msg")))
        else:
            parts.append(str(problem))
    return "; ".join(parts)


def retry_after_s(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for, 0 or more; None where there is none that can be read."""
    if value is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}(\.\d+)?\s*", value):
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def _root_cause_text(trouble: BaseException) -> str:
    """The operating system's own words, out of the wrappings of two libraries."""
    seen: set[int] = set()
    while id(trouble) not in seen:
        seen.add(id(trouble))
        inner = [*trouble.args, getattr(trouble, "reason", None), trouble.__cause__, trouble.__context__]
        trouble = next((one for one in inner if isinstance(one, BaseException)), trouble)
    if isinstance(trouble, OSError) and trouble.strerror:
        return trouble.strerror
    text = str(trouble.args[-1]) if trouble.args else ""
    return text.partition("object at 0x")[2].partition(": ")[2] or text or type(trouble).__name__


def _without_frames(trouble: Exception) -> ConnectionError:
    """The trouble's words without its frames."""
    return ConnectionError(f"{type(trouble).__name__}: {_root_cause_text(trouble)}")


def _headers(address: Address) -> dict[str, str]:
    headers = {
        "User-Agent": "rxpipe",
        "Accept": "application/json",
        "Accept-Encoding": "identity",  # gzip of base64 costs the server more than the wire saves
        "Connection": "keep-alive",
    }
    if not address.is_loopback:  # tunnels that show a page to browsers first
        headers |= {"ngrok-skip-browser-warning": "1", "skip_zrok_interstitial": "1"}
    return headers


def _shutdown_socket(sock: socket.socket | None) -> None:
    if sock is not None:
        try:
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        except OSError:
            return  # already down
