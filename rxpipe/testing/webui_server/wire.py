"""HTTP/1.1 as bytes: read a request from a socket, write an answer, or break off in the middle of one.

Knows nothing of WebUI. Written out by hand because faults need the socket itself: a reset is SO_LINGER 0, and a
half-sent body is a half-sent body.
"""

from __future__ import annotations

import gzip
import json
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from io import BufferedIOBase

_GZIP_FROM = 1000  # bytes; below that the recorded servers send bodies as they are
_LINE_LIMIT = 65536
_NO_LINGER = struct.pack("ii", 1, 0)
_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came. `headers` have lower-case names, `path` has no query."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    keep_alive: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What is to be sent. `headers` are sent next to server, date, content-length and content-type."""

    status: int
    body: bytes = field(repr=False)
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """`value` as the recorded servers write JSON: no spaces, not escaped to ASCII."""
    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    return Answer(status, body, headers=headers or {})


# -- reading ----------------------------------------------------------------------------------------------------------


def read_request(stream: BufferedIOBase, connection: socket.socket) -> Request | None:
    """Return the next request of a connection, None where the client has closed it or talks no HTTP."""
    words = stream.readline(_LINE_LIMIT).split()
    if len(words) != 3:  # noqa: PLR2004 - method, target, version
        return None
    method, target, version = (word.decode("latin-1") for word in words)
    headers = _read_headers(stream)
    if headers.get("expect", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    parts = urlsplit(target)
    wanted = headers.get("connection", "").lower()
    keep_alive = wanted != "close" if version == "HTTP/1.1" else wanted == "keep-alive"
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


def encode(answer: Answer, request: Request, gzip_level: int | None) -> tuple[bytes, bytes]:
    """Head and body of an answer as they go over the wire.

    Args:
        answer: what to send.
        request: its `accept-encoding` and `connection` are obeyed.
        gzip_level: 1..9 for bodies of 1000 bytes or more where the request accepts gzip, None for never.
    """
    body, headers = answer.body, dict(answer.headers)
    if gzip_level and len(body) >= _GZIP_FROM and "gzip" in request.headers.get("accept-encoding", ""):
        body = gzip.compress(body, gzip_level, mtime=0)
        headers |= {"content-encoding": "gzip", "vary": "Accept-Encoding"}
    return _head(answer, headers, len(body), keep_alive=request.keep_alive), body


def _head(answer: Answer, headers: Mapping[str, str], length: int, *, keep_alive: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Unknown')}",
        f"date: {time.strftime('%a, %d %b %Y %H:%M:%S GMT', time.gmtime())}",
        "server: uvicorn",
        f"content-length: {length}",
        f"content-type: {answer.content_type}",
        *(f"{name}: {value}" for name, value in headers.items()),
        *([] if keep_alive else ["connection: close"]),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def reset(connection: socket.socket) -> None:
    """Break a connection off: the client reads "connection reset by peer", not an end."""
    with suppress(OSError):  # the client may have been faster
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        connection.shutdown(socket.SHUT_RD)  # wakes a thread that is reading from it
    if (descriptor := connection.detach()) >= 0:
        socket.close(descriptor)  # immediately; close() would wait for the file object that reads from it
