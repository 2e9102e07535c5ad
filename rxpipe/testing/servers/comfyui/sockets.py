"""The websockets of the clients: who gets which event, in which form, sent one after the other by one thread.

Framing is the sans-IO `ServerProtocol` of the websockets package over the core's own sockets: the core's wire keeps
the connection, so a test can reset, hold or cut it in the middle of a frame. aiohttp would bring an event loop, and a
server of its own beside the core's.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import uuid
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from websockets.datastructures import Headers
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request as Handshake
from websockets.protocol import State
from websockets.server import ServerProtocol

from rxpipe.testing.servers.core.request_log import WAIT_S
from rxpipe.testing.servers.core.site import ServerGone
from rxpipe.testing.servers.core.wire import Answer, Upgrade

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from io import BufferedIOBase

    from rxpipe.testing.servers.core.request_log import RequestLog
    from rxpipe.testing.servers.core.site import Life
    from rxpipe.testing.servers.core.wire import Request

PREVIEW, TEXT, PREVIEW_WITH_METADATA = 1, 3, 4
"""The binary events."""
JPEG, PNG = 1, 2
"""The picture types of a PREVIEW."""

_MAX_MESSAGE = 4 * 1024 * 1024  # bytes that a client may send at once
_READ = 65536


class Connection:
    """One websocket. Its own thread reads; any thread may send."""

    def __init__(self, sid: str, protocol: ServerProtocol, *, mute: bool = False) -> None:
        self.sid = sid
        self.mute = mute
        self.lock = threading.RLock()
        self._protocol = protocol
        self._socket: socket.socket | None = None
        self._pieces: list[bytes] = []

    def send(self, message: str | bytes) -> None:
        """Send a message; block while the client does not read. Does nothing on a closed or mute connection."""
        with self.lock:
            if self.mute or self._socket is None or self._protocol.state is not State.OPEN:
                return
            if isinstance(message, str):
                self._protocol.send_text(message.encode())
            else:
                self._protocol.send_binary(message)
            self._flush()

    def open(self, connection: socket.socket) -> None:
        """Take the socket after the handshake."""
        self._socket = connection

    @property
    def is_open(self) -> bool:
        """Whether neither side has begun to close."""
        return self._protocol.state is State.OPEN

    def read(self, stream: BufferedIOBase) -> list[str]:
        """Return the texts that come in next; none at the end of the connection."""
        data = stream.read1(_READ)
        with self.lock:
            if data:
                self._protocol.receive_data(data)
            else:
                self._protocol.receive_eof()
            self._flush()
            return [text for event in self._protocol.events_received() if (text := self._whole(event)) is not None]

    def close(self, code: int | None) -> None:
        """Close the connection with a code, or cut it off without one."""
        with suppress(OSError):
            if code is not None:
                with self.lock:
                    if self._protocol.state is State.OPEN:
                        self._protocol.send_close(code)
                        self._flush()
            elif self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)

    def shrink_buffer(self) -> None:
        """Let little fit between the server and this client, so that a client that does not read is soon felt."""
        if self._socket is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    def _flush(self) -> None:
        if self._socket is None:
            return
        for piece in self._protocol.data_to_send():
            if piece:
                with suppress(OSError):  # the client is gone, which its reader notices
                    self._socket.sendall(piece)

    def _whole(self, event: Any) -> str | None:
        """Return the text that a frame completes, None for anything else."""
        if not isinstance(event, Frame) or event.opcode not in (Opcode.TEXT, Opcode.CONT, Opcode.BINARY):
            return None
        if event.opcode is Opcode.BINARY:
            return None
        self._pieces.append(bytes(event.data))
        if not event.fin:
            return None
        text = b"".join(self._pieces).decode("utf-8", "replace")
        self._pieces = []
        return text


class Sockets:
    """Every websocket of the server by its client id. Any thread may call any method.

    Args:
        features: what the server answers to a client's feature flags, None for a release without them.
        forgets: whether the end of an older socket makes a newer one with the same id deaf, as on the real servers.
        on_open: what a new socket is sent: returns the messages after its status.
    """

    def __init__(
        self,
        request_log: RequestLog,
        life: Life,
        *,
        features: Mapping[str, Any] | None,
        forgets: bool,
        queue_info: Callable[[], dict[str, Any]],
        on_open: Callable[[str], list[dict[str, Any]]],
    ) -> None:
        self._log = request_log
        self._life = life
        self._features = features
        self._forgets = forgets
        self._queue_info = queue_info
        self._on_open = on_open
        self._open: dict[str, Connection] = {}
        self._flags: dict[str, Mapping[str, Any]] = {}
        self._silenced: set[str] = set()
        self._outbox: deque[tuple[str | bytes, str | None]] = deque()
        self._publisher: threading.Thread | None = None
        self._sending = False

    # -- sending ------------------------------------------------------------------------------------------------------

    def send(self, event: str, data: Any, sid: str | None) -> None:
        """Queue an event for a client, None for all."""
        self._queue(json.dumps({"type": event, "data": data}), sid)

    def send_preview(self, kind: int, picture: bytes, sid: str | None) -> None:
        """Queue a picture as event 1."""
        self._queue(struct.pack(">II", PREVIEW, kind) + picture, sid)

    def send_preview_with_metadata(self, metadata: Mapping[str, Any], picture: bytes, sid: str | None) -> None:
        """Queue a picture as event 4."""
        head = json.dumps(metadata).encode()
        self._queue(struct.pack(">II", PREVIEW_WITH_METADATA, len(head)) + head + picture, sid)

    def send_text(self, node_id: str, text: str, sid: str | None) -> None:
        """Queue a node's text as event 3."""
        name = node_id.encode()
        self._queue(struct.pack(">II", TEXT, len(name)) + name + text.encode(), sid)

    def wants_metadata(self, sid: str | None) -> bool:
        """Return whether a client takes previews as event 4."""
        with self._log.changed:
            return sid is not None and self._flags.get(sid, {}).get("supports_preview_metadata") is True

    def _queue(self, message: str | bytes, sid: str | None) -> None:
        with self._log.noting():
            if sid is None or (sid in self._open and sid not in self._silenced):
                self._outbox.append((message, sid))
            if self._publisher is None and self._outbox:
                self._publisher = threading.Thread(target=self._publish, name="comfyui-server-events", daemon=True)
                self._publisher.start()

    def _publish(self) -> None:
        """Send what is queued, to one socket after the other: a client that does not read stops everybody's events."""
        with suppress(ServerGone):
            while True:
                with self._log.changed:
                    self._life.wait_until(lambda: bool(self._outbox))
                    message, sid = self._outbox.popleft()
                    self._sending = True
                    targets = [
                        connection
                        for one, connection in self._open.items()
                        if sid in (None, one) and one not in self._silenced
                    ]
                for connection in targets:
                    connection.send(message)
                with self._log.noting():
                    self._sending = False

    # -- what a test may do -------------------------------------------------------------------------------------------

    @property
    def sent(self) -> bool:
        """Whether every queued event is out."""
        with self._log.changed:
            return not self._outbox and not self._sending

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the open sockets that get events."""
        with self._log.changed:
            return tuple(self._open)

    def wait_for(self, sid: str) -> bool:
        """Return once a client's socket is open and gets events; False if it did not become so."""
        return self._log.wait_for(lambda: sid in self._open, WAIT_S)

    def silence(self, sid: str) -> None:
        """Send nothing more to a client, whose socket stays open."""
        with self._log.noting():
            self._silenced.add(sid)

    def hear_again(self, sid: str) -> None:
        """Send to a silenced client again; what was for it meanwhile is lost."""
        with self._log.noting():
            self._silenced.discard(sid)

    def close(self, sid: str | None = None, code: int | None = None) -> None:
        """Close a client's socket, None for all; without a code it is cut off."""
        with self._log.changed:
            closing = [connection for one, connection in self._open.items() if sid in (None, one)]
        for connection in closing:
            connection.close(code)

    def jam(self, sid: str, data: bytes) -> None:
        """Queue a message for a client that fills what fits between it and the server."""
        with self._log.changed:
            connection = self._open.get(sid)
        if connection is not None:
            connection.shrink_buffer()
            self.send_preview(PNG, data, sid)

    # -- a connection -------------------------------------------------------------------------------------------------

    def accept(self, request: Request, *, mute: bool = False) -> Answer | Upgrade:
        """Return the upgrade of a handshake, a 400 where it is none.

        mute: nothing is ever sent, as behind a proxy that keeps websocket messages.
        """
        handshake = ServerProtocol(extensions=[ServerPerMessageDeflateFactory()])
        response = handshake.accept(Handshake(request.path, Headers(list(request.headers.items()))))
        if response.status_code != 101:  # noqa: PLR2004  # HTTP's own
            shown = request.headers.get("upgrade")
            text = f'400: No WebSocket UPGRADE hdr: {shown}\n Can "Upgrade" only to "WebSocket".'
            return Answer(400, text.encode(), "text/plain; charset=utf-8")
        protocol = ServerProtocol(state=State.OPEN, max_size=_MAX_MESSAGE)  # the core has read and answers the request
        protocol.extensions = handshake.extensions
        sid = request.query.get("clientId") or uuid.uuid4().hex
        connection = Connection(sid, protocol, mute=mute)
        names = ("Sec-WebSocket-Accept", "Sec-WebSocket-Extensions")
        headers = {name: response.headers[name] for name in names if name in response.headers}
        return Upgrade("websocket", lambda stream, raw: self._serve(connection, stream, raw), headers)

    def _serve(self, connection: Connection, stream: BufferedIOBase, raw: socket.socket) -> None:
        connection.open(raw)
        sid = connection.sid
        with connection.lock:  # no event overtakes the first messages
            with self._log.noting():
                self._open[sid] = connection
                self._flags.pop(sid, None)
                self._silenced.discard(sid)
                first = [{"type": "status", "data": {"status": self._queue_info(), "sid": sid}}, *self._on_open(sid)]
            for message in first:
                connection.send(json.dumps(message))
        try:
            self._read(connection, stream)
        finally:
            with self._log.noting():
                if self._forgets or self._open.get(sid) is connection:
                    self._open.pop(sid, None)
                    self._flags.pop(sid, None)

    def _read(self, connection: Connection, stream: BufferedIOBase) -> None:
        is_first = True
        while connection.is_open:
            for text in connection.read(stream):
                try:
                    message = json.loads(text)
                except ValueError:
                    continue
                if is_first:
                    self._take_flags(connection, message)
                is_first = False

    def _take_flags(self, connection: Connection, message: Any) -> None:
        """Take the feature flags of a client's first message, and answer with the server's."""
        if self._features is None or not isinstance(message, dict) or message.get("type") != "feature_flags":
            return
        with self._log.noting():
            self._flags[connection.sid] = message.get("data", {})
        connection.send(json.dumps({"type": "feature_flags", "data": self._features}))
