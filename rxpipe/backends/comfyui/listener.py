"""The websocket of one backend: opened before the first job, read by a thread that does nothing else.

A socket that is lost is replaced by one with a new client id: the old id may have gone deaf for good. Jobs of the lost
one are followed by questions. Nothing here is trusted to say that a job ended: who waits asks as well.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections import deque
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from rxpipe.backends.comfyui.messages import Message, PreviewMessage, read_binary, read_text
from rxpipe.errors import BackendRejected
from rxpipe.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from websockets.sync.client import ClientConnection

    from rxpipe.backends.comfyui.progress import JobTracker
    from rxpipe.backends.http.address import Address

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0
_CLOSE_S = 0.5
_REPEATS = '{"type": "progress_state"'  # all that the other messages say, at each of them
_UNCLAIMED = 256  # messages of jobs that have no tracker yet: an old server names a job only in its answer
_FLAGS = json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}})


class Listener:
    """Hands each message to the job that it is about. Safe from any thread; its own is a daemon.

    Args:
        address: of the server.
        connect_timeout_s: longest wait for a connection.
        on_queue: called with how many jobs run and wait on the server, everybody's, whenever that changes.
    """

    def __init__(self, address: Address, *, connect_timeout_s: float, on_queue: Callable[[int], None]) -> None:
        self._on_queue = on_queue
        self._address = address
        self._connect_timeout_s = connect_timeout_s
        self._changed = threading.Condition()
        self._jobs: dict[str, JobTracker] = {}
        self._unclaimed: deque[Message] = deque(maxlen=_UNCLAIMED)
        self._client_id = str(uuid.uuid4())
        self._socket: ClientConnection | None = None
        self._thread: threading.Thread | None = None
        self._tries = 0
        self._losses = 0
        self._wanted = 0
        self._names_previews = False
        self._closed = threading.Event()

    @property
    def client_id(self) -> str:
        """The id that a job is posted with now."""
        with self._changed:
            return self._client_id

    @property
    def connected(self) -> bool:
        """Whether messages can come."""
        with self._changed:
            return self._socket is not None

    @property
    def losses(self) -> int:
        """How often a connection was lost."""
        with self._changed:
            return self._losses

    def open(self) -> bool:
        """Connect if there is no connection; return whether there is one after at most the connect timeout."""
        with self._changed:
            if self._socket is not None or self._closed.is_set():
                return self._socket is not None
            tries = self._tries
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="rxpipe-comfyui-socket", daemon=True)
                self._thread.start()
            self._changed.wait_for(
                lambda: self._socket is not None or self._tries > tries or self._closed.is_set(),
                timeout=self._connect_timeout_s,
            )
            return self._socket is not None

    def follow(self, job: str, tracker: JobTracker) -> None:
        """Hand the messages of a job to its tracker, those that came already too."""
        with self._changed:
            self._jobs[job] = tracker
            missed = [message for message in self._unclaimed if message.job == job]
        for message in missed:
            tracker.receive(message)

    def forget(self, job: str) -> None:
        """Hand on no message of a job any more."""
        with self._changed:
            self._jobs.pop(job, None)

    def close(self) -> None:
        """Close the connection and let the thread end; jobs that are waited for end with an error."""
        self._closed.set()
        with self._changed:
            socket, waiting = self._socket, list(self._jobs.values())
            self._changed.notify_all()
        for tracker in waiting:
            tracker.fail(BackendRejected("the backend was closed.", hint="Open another one."))
        if socket is not None:
            socket.close()

    # -- on its thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._closed.is_set():
            if self._listen():
                pause_s = _FIRST_PAUSE_S
            with self._changed:
                if not self._jobs:  # the next job opens another one
                    self._thread = None
                    return
            if self._closed.wait(pause_s):
                return
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _listen(self) -> bool:
        """Connect and read until the connection ends; whether there was one."""
        from websockets.exceptions import WebSocketException  # noqa: PLC0415  # an extra, loaded where it is used

        connected = False
        try:
            with self._connection() as socket:
                connected = True
                self._note_connected(socket)
                socket.send(_FLAGS)
                for received in socket:
                    self._receive(received)
        except (OSError, WebSocketException, ValueError) as failure:
            logger.debug("the websocket at {} ended: {}", self._address.base, type(failure).__name__)
        finally:
            self._note_lost(was_connected=connected)
        return connected

    def _connection(self) -> AbstractContextManager[ClientConnection]:
        from websockets.sync.client import connect  # noqa: PLC0415  # see above

        headers = dict(self._address.headers)
        if self._address.credentials is not None:
            headers["Authorization"] = self._address.credentials.header()
        return connect(
            _socket_url(self._address.base, self._client_id),
            additional_headers=headers,
            user_agent_header="rxpipe",
            compression=None,  # pictures do not shrink
            max_size=None,  # a picture may have many megabytes
            proxy=None if self._address.is_loopback else True,
            open_timeout=self._connect_timeout_s,
            close_timeout=_CLOSE_S,
        )

    def _note_connected(self, socket: ClientConnection) -> None:
        with self._changed:
            self._socket, self._names_previews = socket, False
            self._tries += 1
            self._changed.notify_all()
            closed = self._closed.is_set()
        if closed:
            socket.close()

    def _note_lost(self, *, was_connected: bool) -> None:
        with self._changed:
            self._tries += 1
            self._losses += was_connected
            self._socket, self._client_id = None, str(uuid.uuid4())
            self._unclaimed.clear()
            waiting = list(self._jobs.values())
            self._changed.notify_all()
        for tracker in waiting:
            tracker.notify()

    def _receive(self, received: str | bytes) -> None:
        if isinstance(received, bytes):
            preview = read_binary(received)
            tracker = None if preview is None else self._tracker_of(preview)
            if tracker is not None and preview is not None:
                tracker.receive_preview(preview)
            return
        message = None if received.startswith(_REPEATS) else read_text(received)
        if message is None:
            return
        if message.kind == "status":
            self._note_status(message)
        with self._changed:
            self._names_previews |= message.kind == "feature_flags"
            tracker = self._jobs.get(message.job) if message.job is not None else None
            if tracker is None and message.job is not None:
                self._unclaimed.append(message)
        if tracker is not None:
            tracker.receive(message)

    def _note_status(self, message: Message) -> None:
        status = message.data.get("status")
        info = status.get("exec_info") if isinstance(status, dict) else None
        count = info.get("queue_remaining") if isinstance(info, dict) else None
        if isinstance(count, int):
            self._on_queue(count)

    def _tracker_of(self, preview: PreviewMessage) -> JobTracker | None:
        """Return the job of ours that a preview is of; one that names none is ours only on a server that never does."""
        with self._changed:
            if preview.job is not None:
                return self._jobs.get(preview.job)
            if self._names_previews:
                return None
            return next((tracker for tracker in self._jobs.values() if tracker.is_executing()), None)


def _socket_url(base: str, client_id: str) -> str:
    parts = urlsplit(base)
    scheme = "wss" if parts.scheme == "https" else "ws"
    return urlunsplit((scheme, parts.netloc, f"{parts.path}/ws", f"clientId={client_id}", ""))
