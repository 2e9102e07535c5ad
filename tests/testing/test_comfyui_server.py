"""The ComfyUI test server as its users drive it: jobs, sockets, files, faults, strangers."""

import json
from contextlib import contextmanager

import pytest
import requests
from websockets.sync.client import connect

from rxpipe.testing.servers.comfyui import small_graph


@contextmanager
def listening(server, client_id="me", *, flags=False):
    """A websocket of a client, with or without feature flags."""
    address = f"ws://127.0.0.1:{server.port}/ws?clientId={client_id}"
    with connect(address, max_size=None, compression=None, proxy=None) as socket:
        if flags:
            socket.send(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}))
        yield socket


def post(server, graph=None, **body):
    """The answer to a posted graph."""
    return requests.post(f"{server.url}/prompt", json={"prompt": graph or small_graph(), **body}, timeout=10)


def until_done(socket):
    """The messages up to the end of a job: texts as pairs, pictures as bytes."""
    messages = []
    while messages[-1:] != [("executing", None)]:
        message = socket.recv(timeout=10)
        if isinstance(message, str):
            read = json.loads(message)
            node = read["data"].get("node", "") if read["type"] == "executing" else ""
            messages.append((read["type"], node))
        else:
            messages.append(message)
    return messages


@pytest.mark.parametrize("comfyui_server", ["0.3.40", "0.3.64", "0.33.0"], indirect=True)
def test_a_job_is_posted_watched_and_fetched(comfyui_server):
    """The whole way of a picture, over each recorded release."""
    with listening(comfyui_server) as socket:
        answer = post(comfyui_server, client_id="me").json()
        messages = until_done(socket)
    history = requests.get(f"{comfyui_server.url}/history/{answer['prompt_id']}", timeout=10).json()
    image = history[answer["prompt_id"]]["outputs"]["out"]["images"][0]
    picture = requests.get(f"{comfyui_server.url}/view", params=image, timeout=10)

    assert [name for name, _ in messages[:4]] == ["status", "status", "status", "execution_start"]
    assert picture.content.startswith(b"\x89PNG")
    assert [job.outcome for job in comfyui_server.jobs] == ["done"]
