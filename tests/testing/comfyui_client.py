"""A websocket client of the ComfyUI test server, which keeps what it received."""

import io
import json
import struct
import threading
from contextlib import ExitStack, suppress

from PIL import Image
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


class Client:
    """One websocket, and what it received."""

    def __init__(self, server, query="?clientId=me", *, flags=False):
        self.received = []
        self.code = None
        self._changed = threading.Condition()
        self._held = ExitStack()
        address = f"{server.url}/ws{query}".replace("http", "ws", 1)
        self.socket = self._held.enter_context(connect(address, max_size=None, compression=None, proxy=None))
        if flags:
            self.send({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        try:
            while True:
                message = self.socket.recv()
                with self._changed:
                    self.received.append(message)
                    self._changed.notify_all()
        except ConnectionClosed as closed:
            self.code = closed.rcvd.code if closed.rcvd else 1006

    def __enter__(self):
        self.wait(1)
        return self

    def __exit__(self, *exc_info):
        self.close()

    @property
    def events(self):
        """The names of the messages so far; a picture is its event's number."""
        with self._changed:
            read_all = [read(message) for message in self.received]
        return [message.get("type", message.get("event")) for message in read_all]

    def data(self, kind):
        """What the messages of one kind carried so far."""
        with self._changed:
            texts = [json.loads(message) for message in self.received if isinstance(message, str)]
        return [message["data"] for message in texts if message["type"] == kind]

    def until_done(self):
        """Wait for the end of a job, and return the names of the messages so far."""
        self.wait_for(lambda message: '"node": null' in str(message))
        return self.events

    def wait_for_events(self, names):
        """Wait until a message of each kind has come."""
        with self._changed:
            assert self._changed.wait_for(lambda: names <= {*self.events}, 30), self.events

    def send(self, message):
        """Send JSON, or a text as it is."""
        self.socket.send(message if isinstance(message, str) else json.dumps(message))

    def wait(self, count):
        """Wait for so many messages."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.received) >= count, 30), [str(m)[:90] for m in self.received]

    def wait_for(self, predicate):
        """Wait for such a message."""
        with self._changed:
            assert self._changed.wait_for(lambda: any(map(predicate, self.received)), 30)

    def close(self):
        """Close in order."""
        with suppress(ConnectionClosed, OSError):
            self._held.close()
        self._reader.join(5)

    def abort(self):
        """Cut the connection off."""
        self.socket.socket.close()


def read(message):
    """A received message in the form in which sessions are recorded; a picture must be one."""
    if isinstance(message, str):
        return json.loads(message)
    (event,) = struct.unpack_from(">I", message)
    if event == 3:
        return {"event": 3, "text": message[4:].hex()}
    (second,) = struct.unpack_from(">I", message, 4)
    start = 8 if event == 1 else 8 + second
    picture = Image.open(io.BytesIO(message[start:]))
    picture.load()
    kind = {"JPEG": 1, "PNG": 2}[picture.format]
    if event == 1:
        assert second == kind
        return {"event": 1, "picture": kind}
    metadata = json.loads(message[8:start])
    assert metadata["image_type"] == {1: "image/jpeg", 2: "image/png"}[kind]
    return {"event": 4, "metadata": metadata}
