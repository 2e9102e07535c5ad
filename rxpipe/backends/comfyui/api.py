"""The calls of a ComfyUI server that a render needs. Each raises BackendError as `Connection.send` does."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

from rxpipe.backends.comfyui.failures import refused_graph
from rxpipe.errors import BadResponse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rxpipe.backends.comfyui.graph import Nodes
    from rxpipe.backends.comfyui.server import Server
    from rxpipe.backends.http.connection import Connection
    from rxpipe.backends.http.limits import AnswerLimit
    from rxpipe.errors import BackendRejected

Place = Literal["waiting", "running", "done", "unknown"]
"""Where a job is on its server; unknown: it has never heard of it, or has forgotten it."""

PROMPT = "/prompt"
FOLDER = "rxpipe"
MARK = "rxpipe_job"
"""Where our own id of a job stands, for servers that give it another one."""
_NO_SUCH_CALL = {404, 405}
_DONE = {"completed", "failed", "cancelled"}
_LATEST = 64
_OK = range(200, 300)


@dataclass(frozen=True, slots=True)
class QueueView:
    """The queue at one moment, in the order in which it runs.

    strangers: jobs of others that wait or run. marked: the ids of jobs by the `MARK` that they were posted with.
    """

    running: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    strangers: int = 0
    marked: Mapping[str, str] = field(default_factory=dict)

    def place(self, job: str) -> Place:
        """Return where a job is; "unknown" may be done as well."""
        return "running" if job in self.running else "waiting" if job in self.waiting else "unknown"

    def ahead(self, job: str) -> int | None:
        """Return how many jobs are before one that waits; None if it does not wait."""
        return len(self.running) + self.waiting.index(job) if job in self.waiting else None


@dataclass(frozen=True, slots=True)
class PostedJob:
    """A graph as it is posted. mark: our id of it, the server's too where it takes it."""

    nodes: Nodes
    mark: str
    client_id: str
    previews: bool = False

    def body(self) -> bytes:
        """Return the request."""
        extra: dict[str, Any] = {MARK: self.mark, "preview_method": "latent2rgb" if self.previews else "none"}
        value = {"prompt": self.nodes, "prompt_id": self.mark, "client_id": self.client_id, "extra_data": extra}
        return json.dumps(value).encode()


def post_job(connection: Connection, job: PostedJob, *, timeout_s: float) -> tuple[str, BackendRejected | None]:
    """Put a job into the queue; return its id, and an error where the server runs only a part of the graph.

    Raises:
        BackendRejected: the server refuses the graph; names node, value and what is allowed.
    """
    answer = connection.exchange("POST", PROMPT, job.body(), timeout_s=timeout_s)
    value = _json_or_none(answer.body)
    refused = refused_graph(value, job.nodes) if answer.status in (*_OK, 400) else None
    if refused is not None and answer.status not in _OK:
        raise refused
    connection.accepted("POST", PROMPT, answer)
    found = value.get("prompt_id") if isinstance(value, dict) else None
    if not isinstance(found, str):
        raise BadResponse(f"the answer names no job (POST {PROMPT}).")
    return found, refused


def _json_or_none(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


# -- where a job is ---------------------------------------------------------------------------------------------------


def place_of(connection: Connection, server: Server, job: str, *, timeout_s: float) -> Place:
    """Ask where a job is. Done is asked again after the queue: it may have ended in between."""
    if server.lists_jobs:
        answer = connection.exchange("GET", f"/api/jobs/{job}", timeout_s=timeout_s)
        if answer.status not in _NO_SUCH_CALL:
            value = connection.accepted("GET", f"/api/jobs/{job}", answer).json()
            status = value.get("status") if isinstance(value, dict) else None
            return "done" if status in _DONE else "running" if status == "in_progress" else "waiting"
        return "unknown"
    if history_of(connection, job, timeout_s=timeout_s) is not None:
        return "done"
    place = read_queue(connection, frozenset(), timeout_s=timeout_s).place(job)
    if place == "unknown" and history_of(connection, job, timeout_s=timeout_s) is not None:
        return "done"
    return place


def read_queue(connection: Connection, ours: frozenset[str], *, timeout_s: float) -> QueueView:
    """Return the queue; *ours*: ids of our own jobs, the server's or those that they are marked with."""
    value = connection.get("/queue", timeout_s=timeout_s).json()
    rows = {
        key: [row for row in value.get(key) or () if isinstance(row, list) and len(row) > 1]
        for key in ("queue_running", "queue_pending")
    }
    running, waiting = rows["queue_running"], sorted(rows["queue_pending"], key=lambda row: row[0])
    known = [(str(row[1]), _mark_of(row)) for row in (*running, *waiting)]
    return QueueView(
        tuple(str(row[1]) for row in running),
        tuple(str(row[1]) for row in waiting),
        sum(job not in ours and mark not in ours for job, mark in known),
        {mark: job for job, mark in known if mark is not None},
    )


def _mark_of(row: Sequence[Any]) -> str | None:
    """Return what a job was marked with, by its row in the queue or the history: number, id, graph, extra_data."""
    extra = row[3] if len(row) > 3 and isinstance(row[3], dict) else {}  # noqa: PLR2004  # see above
    mark = extra.get(MARK)
    return mark if isinstance(mark, str) else None


def find_job(connection: Connection, mark: str, *, timeout_s: float) -> str | None:
    """Return the id of a job whose POST had no answer; None where the server does not know it.

    Raises:
        BackendError: the server does not answer either.
    """
    value = connection.get("/queue", timeout_s=timeout_s).json()
    rows = [row for key in ("queue_running", "queue_pending") for row in value.get(key) or ()]
    listed = connection.get(f"/history?max_items={_LATEST}", timeout_s=timeout_s).json()
    rows += [entry.get("prompt") for entry in listed.values() if isinstance(entry, dict)]
    for row in rows:
        if isinstance(row, list) and len(row) > 1 and mark in {row[1], _mark_of(row)}:
            return str(row[1])
    return None


def history_of(connection: Connection, job: str, *, timeout_s: float) -> Mapping[str, Any] | None:
    """Return what the server keeps of a job that has ended; None where it keeps nothing."""
    value = connection.get(f"/history/{job}", timeout_s=timeout_s).json()
    entry = value.get(job) if isinstance(value, dict) else None
    return entry if isinstance(entry, dict) else None


def delete_history(connection: Connection, job: str, *, timeout_s: float) -> None:
    """Let the server forget a job that has ended; the graph and any error are kept otherwise."""
    connection.post("/history", json.dumps({"delete": [job]}).encode(), timeout_s=timeout_s)


# -- stopping ---------------------------------------------------------------------------------------------------------


def cancel_job(connection: Connection, job: str, *, timeout_s: float) -> bool | None:
    """Cancel a job that waits or runs (0.26 and later); return whether it did, None where the server has no such call.

    False: it has ended, or has not come yet.
    """
    path = f"/api/jobs/{job}/cancel"
    answer = connection.exchange("POST", path, b"{}", timeout_s=timeout_s)
    if answer.status in _NO_SUCH_CALL:
        return None
    value = _json_or_none(connection.accepted("POST", path, answer).body)
    return not (isinstance(value, dict) and value.get("cancelled") is False)


def delete_waiting(connection: Connection, jobs: Sequence[str], *, timeout_s: float) -> None:
    """Take jobs that wait out of the queue; a running one is not touched."""
    connection.post("/queue", json.dumps({"delete": list(jobs)}).encode(), timeout_s=timeout_s)


def interrupt(connection: Connection, job: str | None, *, timeout_s: float) -> None:
    """Interrupt a running job (0.3.57 and later); None: whatever runs."""
    body = {} if job is None else {"prompt_id": job}
    connection.post("/interrupt", json.dumps(body).encode(), timeout_s=timeout_s)


# -- pictures ---------------------------------------------------------------------------------------------------------


def file_name(data: bytes, ending: str) -> str:
    """Return the name under which a picture is uploaded: the same for the same bytes."""
    return f"{hashlib.sha256(data).hexdigest()[:32]}{ending}"


def upload(connection: Connection, name: str, data: bytes, *, timeout_s: float) -> str:
    """Upload a picture into the server's temporary folder; return its name as LoadImage takes it."""
    boundary = f"rxpipe{hashlib.sha256(data[:4096] + name.encode()).hexdigest()[:24]}"
    fields = {"type": "temp", "subfolder": FOLDER}
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = b"".join([*parts, head.encode(), data, f"\r\n--{boundary}--\r\n".encode()])
    path = "/upload/image"
    answer = connection.exchange(
        "POST", path, body, timeout_s=timeout_s, content_type=f"multipart/form-data; boundary={boundary}"
    )
    value = connection.accepted("POST", path, answer).json()
    given = value.get("name") if isinstance(value, dict) else None
    if not isinstance(given, str):
        raise BadResponse(f"the answer names no file (POST {path}).")
    return load_name(given, str(value.get("subfolder") or ""), str(value.get("type") or "input"))


def load_name(name: str, folder: str = FOLDER, kind: str = "temp") -> str:
    """Return a file's name as LoadImage takes it."""
    path = f"{folder}/{name}" if folder else name
    return path if kind == "input" else f"{path} [{kind}]"


def view(connection: Connection, image: Mapping[str, Any], *, limit: AnswerLimit, timeout_s: float) -> bytes | None:
    """Return a picture that a job has made; None where its file is gone."""
    query = urlencode({key: str(image.get(key) or "") for key in ("filename", "subfolder", "type")})
    answer = connection.exchange("GET", f"/view?{query}", timeout_s=timeout_s, limit=limit)
    if answer.status == 404:  # noqa: PLR2004  # HTTP's own
        return None
    return connection.accepted("GET", "/view", answer).body
