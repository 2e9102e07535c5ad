"""What is missing is fetched from a hub only where that is allowed: against a server here that speaks its API."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from pixels import drawn

REPOSITORY = "stable-diffusion-v1-5/stable-diffusion-v1-5"
COMMIT = "0" * 40
MARK = "/between"
DRAW = f"""
import os, sys, urllib.error, urllib.request
import numpy as np
from pixels import drawn
from rxpipe.backends import open_backend
from rxpipe.errors import BackendRejected

with open_backend(sys.argv[1]) as backend:
    try:
        drawn(backend)
    except BackendRejected as error:
        print(error)
try:
    urllib.request.urlopen(os.environ["HF_ENDPOINT"] + "{MARK}")
except urllib.error.HTTPError:
    pass
with open_backend(sys.argv[1] + "&download=true") as backend:
    np.save(sys.argv[2], drawn(backend))
"""


class Hub(http.server.ThreadingHTTPServer):
    """A hub with one repository: the configs of a model, no weights. asked: the paths that were asked for."""

    def __init__(self, folder):
        self.files = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and path.suffix in {".json", ".txt"}
        }
        self.asked = []
        super().__init__(("127.0.0.1", 0), Answer)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Answer(http.server.BaseHTTPRequestHandler):
    """One request."""

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        self.server.asked.append(self.path)
        path = self.path.partition("?")[0]
        data = self.found(path)
        self.send_response(404 if data is None else 200)
        if data is not None:
            self.send_header("ETag", f'"{hashlib.sha1(data, usedforsecurity=False).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        if self.command == "GET" and data is not None:
            self.wfile.write(data)

    def found(self, path):
        files = self.server.files
        if path == f"/api/models/{REPOSITORY}/revision/main":
            listed = [{"rfilename": name} for name in files]
            return json.dumps({"id": REPOSITORY, "sha": COMMIT, "siblings": listed}).encode()
        if path.startswith(f"/api/models/{REPOSITORY}/tree/"):
            listed = [{"type": "file", "path": name, "size": len(data), "oid": "0"} for name, data in files.items()]
            return json.dumps(listed).encode()
        return files.get(path.removeprefix(f"/{REPOSITORY}/resolve/{COMMIT}/"))

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def hub(models):
    """The hub with the configs of the tiny model."""
    with Hub(models / "sd") as server:
        yield server


def test_configs_are_fetched_where_that_is_allowed_and_nothing_is_where_it_is_not(hub, models, shared, tmp_path):
    """A single file without configs beside it, no vocabulary on the machine: first refused without a request.

    Then configs alone are fetched, and the picture is that of the whole folder.
    """
    (tmp_path / "open_clip").mkdir()  # in place of the package that holds a vocabulary
    (tmp_path / "open_clip" / "__init__.py").write_text("")
    path = tmp_path / "lonely.safetensors"
    path.write_bytes((models / "onefile.safetensors").read_bytes())
    own = {
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1", "RXPIPE_MODELS": "", "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
    }  # fmt: skip
    done = subprocess.run(  # noqa: S603  our own words
        [sys.executable, "-c", DRAW, f"diffusers:{path}?device=cpu", str(tmp_path / "drawn.npy")],
        env={**os.environ, **own}, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert "download=True" in done.stdout
    assert hub.asked[0] == MARK
    assert len(hub.asked) > 1
    assert not [name for name in hub.asked if name.endswith((".safetensors", ".bin", ".ckpt"))]
    assert np.array_equal(np.load(tmp_path / "drawn.npy"), drawn(shared))
