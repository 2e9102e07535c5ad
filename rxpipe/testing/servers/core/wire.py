"""HTTP/1.1 as bytes: read a request from a socket, write an answer, or end in the middle of one.

Written out by hand because faults need the socket itself: a reset is SO_LINGER 0, and a half-sent body is a half-sent
body.
"""

from __future__ import annotations

import gzip
import json
import socket
import struct
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from io import BufferedIOBase

HTML = "text/html; charset=utf-8"

_GZIP_FROM = 1000  # bytes; below that servers send bodies as they are
_LINE_LIMIT = 65536
_NO_LINGER = struct.pack("ii", 1, 0)
_REASONS = {
    101: "Switching Protocols",
    200: "OK",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Request Entity Too Large",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it was received. `headers` have lower-case names, `path` has no query."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    keep_alive: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What is to be sent. `headers` are sent in addition to server, date, content-length and content-type.

    content_type: "" sends none.
    last: the server ends the connection afterwards without saying so; the next request on it meets a reset.
    """

    status: int
    body: bytes = field(repr=False)
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    last: bool = False

    @property
    def closes(self) -> bool:
        """Whether the answer says itself that the connection ends with it."""
        return self.headers.get("connection") == "close"


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The end of HTTP on a connection: a 101, then the socket belongs to `serve` until it returns.

    protocol: of the `upgrade` header, such as websocket.
    serve: reads from the stream (the client may have sent bytes together with its request) and writes to the socket,
        on the connection's thread. When the server goes down, reads end and writes raise OSError.
    headers: what the protocol's handshake needs in addition.
    """

    protocol: str
    serve: Callable[[BufferedIOBase, socket.socket], None] = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Return `value` as compact JSON: no spaces, not escaped to ASCII."""
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    return Answer(status, body, headers=headers or {})


# -- reading ----------------------------------------------------------------------------------------------------------


def read_request(stream: BufferedIOBase, connection: socket.socket) -> Request | None:
    """Return the next request of a connection, None where the client has closed it or does not speak HTTP."""
    words = stream.readline(_LINE_LIMIT).split()
    if len(words) != 3:  # noqa: PLR2004 - method, target, version
        return None
    method, target, version = (word.decode("latin-1") for word in words)
    headers = _read_headers(stream)
    if headers.get("expect", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    parts = urlsplit(target)
    connection_header = headers.get("connection", "").lower()
    keep_alive = connection_header != "close" if version == "HTTP/1.1" else connection_header == "keep-alive"
    return Request(method, parts.path, dict(parse_qsl(parts.query)), headers, _read_body(stream, headers), keep_alive)


def _read_headers(stream: BufferedIOBase) -> dict[str, str]:
    headers: dict[str, str] = {}
    while (line := stream.readline(_LINE_LIMIT)) not in (b"\r\n", b"\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return headers


def _read_body(stream: BufferedIOBase, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return _read_chunked(stream)
    return stream.read(int(headers.get("content-length") or 0))


def _read_chunked(stream: BufferedIOBase) -> bytes:
    pieces = []
    while size := int(stream.readline(_LINE_LIMIT).split(b";")[0] or b"0", 16):
        pieces.append(stream.read(size))
        stream.readline(_LINE_LIMIT)
    stream.readline(_LINE_LIMIT)
    return b"".join(pieces)


# -- writing ----------------------------------------------------------------------------------------------------------


def encode(answer: Answer, request: Request, gzip_level: int | None, software: str) -> tuple[bytes, bytes]:
    """Return head and body of an answer as they go over the wire.

    Args:
        answer: what to send.
        request: its `accept-encoding` and `connection` are obeyed.
        gzip_level: 1..9 for bodies of 1000 bytes or more where the request accepts gzip, None for never.
        software: the `server` header.
    """
    body, headers = answer.body, dict(answer.headers)
    if gzip_level and len(body) >= _GZIP_FROM and "gzip" in request.headers.get("accept-encoding", ""):
        body = gzip.compress(body, gzip_level, mtime=0)
        headers |= {"content-encoding": "gzip", "vary": "Accept-Encoding"}
    length = {"content-length": str(len(body))}
    length |= {"content-type": answer.content_type} if answer.content_type else {}
    closing = {} if request.keep_alive else {"connection": "close"}
    head = _head(answer.status, software, {**length, **headers, **closing})
    return head, b"" if request.method == "HEAD" or answer.status == HTTPStatus.NOT_MODIFIED else body


def encode_upgrade(upgrade: Upgrade, software: str) -> bytes:
    """Return the head of the 101 with which an upgrade begins."""
    return _head(101, software, {"connection": "Upgrade", "upgrade": upgrade.protocol, **upgrade.headers})


def _head(status: int, software: str, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}",
        f"date: {time.strftime('%a, %d %b %Y %H:%M:%S GMT', time.gmtime())}",
        f"server: {software}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def endless_head(status: int, software: str) -> bytes:
    """Return the head of an answer in chunks."""
    return _head(status, software, {"transfer-encoding": "chunked", "content-type": "application/json"})


def bomb(status: int, software: str) -> tuple[bytes, bytes]:
    """Return head and body of an answer of a few MB, gzipped, that unpack to 4 GiB of blanks."""
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    blanks = b" " * (1 << 20)
    head = packer.compress(blanks) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(blanks) + packer.flush(zlib.Z_FULL_FLUSH)  # refers to nothing before it: can be repeated
    body = head + block * 4095
    headers = {"content-length": str(len(body)), "content-type": "application/json", "content-encoding": "gzip"}
    return _head(status, software, headers), body


def reset(connection: socket.socket) -> None:
    """Reset a connection: the client reads "connection reset by peer", not an end."""
    with suppress(OSError):  # the client may have been faster
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        connection.shutdown(socket.SHUT_RD)  # wakes a thread that is reading from it
    if (descriptor := connection.detach()) >= 0:
        socket.close(descriptor)  # immediately; close() would wait for the file object that reads from it
