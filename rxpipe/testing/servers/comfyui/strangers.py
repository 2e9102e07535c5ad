"""Stranger: somebody else who uses the same server, by HTTP and websocket as any client."""

from __future__ import annotations

import json
import socket
import threading
import uuid
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

    from rxpipe.testing.servers.comfyui.sockets import Sockets
    from rxpipe.testing.servers.comfyui.validation import Graph

_TIMEOUT_S = 10.0
_JAM = bytes(16 * 1024 * 1024)  # more than the system keeps between two processes
_SMALL_BUFFER = 4096


class Stranger:
    """Another client. Any thread may call any method.

    client_id: its socket. events: the names of the messages that it received, in order; empty where it does not read.
    """

    def __init__(self, port: int, prefix: str, sockets: Sockets, *, reads: bool = True) -> None:
        self.client_id = str(uuid.uuid4())
        self.events: list[str] = []
        self._url = f"http://127.0.0.1:{port}{prefix}"
        self._sockets = sockets
        self._held = ExitStack()  # its socket
        if reads:
            address = f"ws://127.0.0.1:{port}{prefix}/ws?clientId={self.client_id}"
            connected = self._held.enter_context(connect(address, max_size=None, compression=None, proxy=None))
            threading.Thread(target=self._read, args=(connected,), name="comfyui-server-stranger", daemon=True).start()
        else:
            self._held.enter_context(self._handshake(port, prefix))
        sockets.wait_for(self.client_id)  # the handshake's answer comes before the server sends to this client

    def post(self, graph: Graph | None = None, *, anonymous: bool = False, **body: Any) -> str:
        """Post a graph, by default a small picture that is no other's, and return the id of its job.

        Args:
            graph: as it is posted.
            anonymous: without a client id, so that everybody gets its progress.
            body: what else is posted, such as `number` or `front`.
        """
        own = {} if anonymous else {"client_id": self.client_id}
        answer = self._call("/prompt", {"prompt": graph or small_graph(), **own, **body})
        return str(answer["prompt_id"])

    def interrupt(self) -> None:
        """Interrupt whatever runs."""
        self._call("/interrupt", {})

    def clear_queue(self) -> None:
        """Drop everybody's waiting jobs."""
        self._call("/queue", {"clear": True})

    def delete(self, prompt_id: str) -> None:
        """Remove one waiting job, whosever it is."""
        self._call("/queue", {"delete": [prompt_id]})

    def jam(self) -> None:
        """Let the server begin to send it more than fits on the way: from here on nobody gets an event."""
        self._sockets.jam(self.client_id, _JAM)

    def close(self) -> None:
        """Close its socket, which ends a jam. A second call does nothing."""
        with suppress(OSError, WebSocketException):
            self._held.close()

    def _call(self, path: str, body: Any) -> Any:
        request = Request(self._url + path, json.dumps(body).encode(), {"content-type": "application/json"})  # noqa: S310  # http, to this machine
        with urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310  # http, to this machine
            data = answer.read()
        return json.loads(data) if data else {}

    def _read(self, connected: ClientConnection) -> None:
        with suppress(OSError, WebSocketException):
            for message in connected:
                self.events.append(json.loads(message)["type"] if isinstance(message, str) else "binary")

    def _handshake(self, port: int, prefix: str) -> socket.socket:
        """Return a raw socket after the handshake, from which nothing more is read."""
        raw = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
        raw.settimeout(_TIMEOUT_S)
        raw.connect(("127.0.0.1", port))
        head = (
            f"GET {prefix}/ws?clientId={self.client_id} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        raw.sendall(head.encode())
        return raw


def small_graph(seed: int | None = None, *, steps: int = 4, size: int = 64) -> Graph:
    """Return a graph for one picture of `size` x `size` px; a seed that nobody has by default."""
    return {
        "ckpt": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "tiny-a.safetensors"}},
        "pos": {"class_type": "CLIPTextEncode", "inputs": {"text": "a lighthouse at dusk", "clip": ["ckpt", 1]}},
        "neg": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["ckpt", 1]}},
        "latent": {"class_type": "EmptyLatentImage", "inputs": {"width": size, "height": size, "batch_size": 1}},
        "sample": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["ckpt", 0],
                "positive": ["pos", 0],
                "negative": ["neg", 0],
                "latent_image": ["latent", 0],
                "seed": uuid.uuid4().int % 2**64 if seed is None else seed,
                "steps": steps,
                "cfg": 7.0,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
            },
        },
        "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["sample", 0], "vae": ["ckpt", 2]}},
        "out": {"class_type": "PreviewImage", "inputs": {"images": ["decode", 0]}},
    }
