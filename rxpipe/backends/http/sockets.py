"""Sockets that can be shut down from another thread: seen when they connect, and at the latest by a deadline."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any, Self, cast

import requests
from reactivex.disposable import SerialDisposable
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    from collections.abc import Callable

    from urllib3 import PoolManager

    from rxpipe.rx.worker import WorkerScheduler


class Deadline:
    """The time by which an answer must be complete; *shut_down* is called on another thread when it has passed."""

    def __init__(self, scheduler: WorkerScheduler, shut_down: Callable[[], None]) -> None:
        self._scheduler = scheduler
        self._shut_down = shut_down
        self._timer = SerialDisposable()
        self._lock = threading.Lock()
        self._over = False
        self.passed = False

    def end_after(self, seconds: float | None) -> None:
        """Set the time, from now on; None leaves it as it is."""
        if seconds is not None:
            self._timer.disposable = self._scheduler.schedule_relative(seconds, self._pass)

    def check(self) -> None:
        """Raise TimeoutError where the time has passed: a body without a length just ends when it is cut off."""
        if self.passed:
            raise TimeoutError("the deadline has passed")

    def _pass(self, *_: object) -> None:
        with self._lock:  # never in the next request on the same connection
            if not self._over:
                self.passed = True
                self._shut_down()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.dispose()
        with self._lock:
            self._over = True


class WatchedAdapter(HTTPAdapter):
    """An adapter for one server, that shows each connection to *watch* when it is made and when it stands.

    What requests looks up for each request and is the same for all of a server is looked up once, which saves a tenth
    of the time of a quick answer. sent: called when a request was written to its end.
    """

    def __init__(self, watch: Callable[[HTTPConnection], None], sent: Callable[[], None]) -> None:
        self._watch, self._sent = watch, sent
        self._pool: Any = None
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pool of direct connections, as requests does."""
        super().init_poolmanager(*args, **kwargs)
        self._watched(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Return the pool of connections through a proxy, as requests does."""
        manager = super().proxy_manager_for(proxy, **kwargs)
        self._watched(manager)
        return manager

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return the pool of the server's connections."""
        if self._pool is None:
            self._pool = super().get_connection_with_tls_context(*args, **kwargs)
        return self._pool

    def close(self) -> None:
        """Close the connections; the next request opens one."""
        self._pool = None
        super().close()

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        """Return what is asked for, as requests does."""
        return super().request_url(request, proxies) if proxies else request.path_url

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        """Return the answer's status, headers and body, and its cookies where it sets some."""
        if "Set-Cookie" in resp.headers:
            return super().build_response(req, resp)
        response = requests.Response()
        response.status_code, response.headers, response.raw = resp.status, resp.headers, resp
        return response

    def _watched(self, manager: PoolManager) -> None:
        watch, sent = self._watch, self._sent

        class Http(HTTPConnection):
            def connect(self) -> None:
                watch(self)
                super().connect()
                watch(self)

            def request(self, *args: Any, **kwargs: Any) -> None:
                super().request(*args, **kwargs)
                sent()

        class Https(Http, HTTPSConnection):
            """The same over TLS: what `Http` calls next is HTTPSConnection's."""

        http = type("HttpPool", (HTTPConnectionPool,), {"ConnectionCls": Http})
        https = type("HttpsPool", (HTTPSConnectionPool,), {"ConnectionCls": Https})
        manager.pool_classes_by_scheme = cast("Any", {"http": http, "https": https})


def shut_down_socket(sock: socket.socket | None) -> None:
    """End what waits on the socket, on any thread; harmless where there is none, or it is down."""
    if sock is not None:
        try:
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        except OSError:
            return  # already down
