"""The simulated ComfyUI without its sockets: its routes, and who may use them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from rxpipe.testing.servers.comfyui.access import refusal, with_cors
from rxpipe.testing.servers.comfyui.answers import (
    EMPTY,
    NOT_FOUND,
    TROUBLE,
    json_of,
    not_allowed,
    too_large,
)
from rxpipe.testing.servers.comfyui.catalog import Catalog
from rxpipe.testing.servers.comfyui.engine import Engine
from rxpipe.testing.servers.comfyui.jobs_api import list_jobs, one_job
from rxpipe.testing.servers.comfyui.posting import is_uuid, post_prompt, stage_of_graph
from rxpipe.testing.servers.comfyui.queueing import JobQueue
from rxpipe.testing.servers.comfyui.sockets import Sockets
from rxpipe.testing.servers.comfyui.versions import recorded_answers
from rxpipe.testing.servers.comfyui.views import spoilt, upload, view
from rxpipe.testing.servers.comfyui.worker import Worker
from rxpipe.testing.servers.core.job_server import JobSite
from rxpipe.testing.servers.core.site import ServerGone
from rxpipe.testing.servers.core.wire import Answer, Upgrade

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rxpipe.testing.servers.comfyui.engine import Setup
    from rxpipe.testing.servers.comfyui.files import FileStore
    from rxpipe.testing.servers.comfyui.versions import Version
    from rxpipe.testing.servers.core.faults import Fault
    from rxpipe.testing.servers.core.jobs import JobGate, JobLog
    from rxpipe.testing.servers.core.requests import RecordedRequest
    from rxpipe.testing.servers.core.wire import Request

Handler = Callable[["RecordedRequest", "Request", Any], Answer]
"""Answers a call; gets the request and its parsed body."""

_USUAL_PREVIEW = 512  # px


class BadBody(Exception):
    """A body that the handler did not expect: the real server's 500."""


class ComfyUI(JobSite):
    """The routes of one run of the program behind the port."""

    software = "Python/3.11 aiohttp/3.14.5"

    def __init__(
        self,
        version: Version,
        setup: Setup,
        job_log: JobLog,
        holds: list[JobGate],
        files: FileStore,
        *,
        models: Mapping[str, Sequence[str]],
        packs: Sequence[str],
        forgets: bool,
        on_death: Callable[[Fault], None],
    ) -> None:
        super().__init__(job_log)
        self.version = version
        self.setup = setup
        self.files = files
        self._packs = packs
        self.catalog = self.catalog_of(models)
        self.queue = JobQueue(job_log, self.life, holds)
        self.sockets = Sockets(
            job_log,
            self.life,
            features=version.recorded["features"] if version.has("feature flags") else None,
            forgets=forgets,
            queue_info=self._queue_info,
            on_open=self._on_open,
        )
        self.queue.on_change = lambda: self.sockets.send("status", {"status": self._queue_info()}, None)
        self.engine = Engine(version, setup, self.catalog, files, self.queue, self.sockets, job_log, on_death)
        self._worker = Worker(self.engine)
        self._gets = self._get_routes()
        self._posts = self._post_routes()
        files.empty_temp()

    def catalog_of(self, models: Mapping[str, Sequence[str]]) -> Catalog:
        """Return the classes of this server with other model files."""
        return Catalog(self.version, models, self._packs, self.files)

    @property
    def waiting_jobs(self) -> int:
        """Jobs behind the running one."""
        return len(self.queue.waiting)

    def _on_open(self, sid: str) -> list[dict[str, Any]]:
        return self.engine.on_open(sid)

    def _queue_info(self) -> dict[str, Any]:
        return {"exec_info": {"queue_remaining": self.queue.remaining}}

    def _get_routes(self) -> dict[str, Handler]:
        return {
            "/prompt": lambda _call, _request, _body: json_of(self._queue_info()),
            "/queue": self._queue,
            "/history": self._history,
            "/view": lambda _call, request, _body: view(self.files, request),
            "/object_info": self._object_info,
            "/system_stats": self._system_stats,
            "/models": lambda _call, _request, _body: json_of(self.version.recorded["folders"] or ["checkpoints"]),
            "/embeddings": self._embeddings,
            "/extensions": lambda _call, _request, _body: json_of(recorded_answers()["extensions"]),
            "/experiment/models": lambda _call, _request, _body: json_of(recorded_answers()["experiment_models"]),
            "/settings": lambda _call, _request, _body: json_of({}),
            "/users": lambda _call, _request, _body: json_of({"storage": "server", "migrated": True}),
            "/internal/logs": lambda _call, _request, _body: json_of("To see the GUI go to: http://127.0.0.1:8188\n"),
            **(
                {"/features": lambda _call, _request, _body: json_of(self.version.recorded["features"])}
                if self.version.has("feature flags")
                else {}
            ),
        }

    def _post_routes(self) -> dict[str, Handler]:
        return {
            "/prompt": self._post_prompt,
            "/queue": self._post_queue,
            "/history": self._post_history,
            "/interrupt": self._post_interrupt,
            "/free": self._post_free,
            "/upload/image": lambda _call, request, _body: upload(self.files, request, mask=False),
            "/upload/mask": lambda _call, request, _body: upload(self.files, request, mask=True),
        }

    # -- the way in ---------------------------------------------------------------------------------------------------

    def handle(self, call: RecordedRequest, request: Request, body: Any) -> Answer | Upgrade:
        """Return the answer to a request. Raises ServerGone."""
        if refused := refusal(self.setup, self.version, request):
            return refused
        if len(request.body) > self.setup.max_upload_size:
            return too_large(self.setup.max_upload_size)
        if not request.path.startswith(self.setup.prefix + "/"):
            return NOT_FOUND
        request = replace(request, path=request.path.removeprefix(self.setup.prefix))
        path = request.path.removeprefix("/api") if request.path.startswith("/api/") else request.path
        if path == "/ws" and request.method == "GET":
            return self.sockets.accept(request, mute=call.fault is not None and call.fault.kind == "mute")
        try:
            answer = self._route(call, request, path, body)
        except ServerGone:
            raise
        except Exception:  # noqa: BLE001  # the real server answers so to any exception of a handler
            return TROUBLE
        return with_cors(self.setup, spoilt(answer, call.fault))

    def _route(self, call: RecordedRequest, request: Request, path: str, body: Any) -> Answer:
        if request.method == "OPTIONS":
            return EMPTY if self.setup.cors is not None else not_allowed(["GET", "HEAD", "POST"])
        method = "GET" if request.method == "HEAD" else request.method
        handlers = {
            name: handler
            for name, table in (("GET", self._gets), ("POST", self._posts))
            if (handler := table.get(path) or self._by_part(name, path, request)) is not None
        }
        if method not in handlers:  # the real server looks for a file of its pages, which only GET may do
            return NOT_FOUND if method == "GET" else not_allowed([*handlers, "GET", "HEAD"])
        if method == "POST" and "/upload/" not in path and path != "/interrupt" and not _is_cancel(path):
            body = _object(request)
        return handlers[method](call, request, body)

    def _by_part(self, method: str, path: str, request: Request) -> Handler | None:
        """Return the handler of a path with a name in it, None where there is none."""
        parts = [unquote(part) for part in path.split("/")[1:]]
        if parts[:1] == ["jobs"] and request.path.startswith("/api/") and self.version.has("jobs"):
            return self._jobs_handler(method, parts[1:])
        if method != "GET" or len(parts) < 2:  # noqa: PLR2004  # a folder and a name
            return None
        name = "/".join(parts[1:])
        named: dict[str, Callable[[], Answer]] = {
            "history": lambda: self._history_of(name),
            "object_info": lambda: self._object_info_of(name),
            "models": lambda: self._folder(name),
            "view_metadata": lambda: self._metadata(name, request),
        }
        answer = named.get(parts[0])
        if parts[0] == "experiment" and parts[1] == "models":
            answer = lambda: self._sizes("/".join(parts[2:]))  # noqa: E731  # as the others
        return None if answer is None else lambda _call, _request, _body: answer()

    def _jobs_handler(self, method: str, parts: list[str]) -> Handler | None:
        if method == "GET" and not parts:
            return lambda _call, request, _body: list_jobs(self.queue, request.query)
        if method == "GET" and len(parts) == 1:
            return lambda _call, _request, _body: one_job(self.queue, parts[0])
        if method == "POST" and self.version.has("job cancel"):
            if parts == ["cancel"]:
                return self._cancel_many
            if len(parts) == 2 and parts[1] == "cancel":  # noqa: PLR2004  # an id and a word
                return lambda call, _request, _body: json_of({"cancelled": self.queue.cancel(call, parts[0])})
        return None

    def stage_of(self, request: Request, body: Any) -> str | None:
        """Return the stage that a posted graph renders."""
        if request.method != "POST" or not request.path.endswith("/prompt") or not isinstance(body, dict):
            return None
        graph = body.get("prompt")
        return stage_of_graph(graph) if isinstance(graph, dict) else None

    def names_of(self, request: Request, stage: str | None) -> tuple[str, ...]:
        """Return stage and last part of the path: "prompt" is every posted graph."""
        return (*super().names_of(request, None), *([stage] if stage else []))

    # -- GET ----------------------------------------------------------------------------------------------------------

    def _queue(self, call: RecordedRequest, request: Request, body: Any) -> Answer:
        del call, request, body
        with self.request_log.changed:
            running = [] if self.queue.running is None else [self.queue.running.shown()]
            pending = [item.shown() for item in self.queue.pending()]
        return json_of({"queue_running": running, "queue_pending": pending})

    def _history(self, call: RecordedRequest, request: Request, body: Any) -> Answer:
        del call, body
        items, offset = _whole_number(request, "max_items"), _whole_number(request, "offset")
        with self.request_log.changed:
            known = [name for name in self.queue.history if self.queue.find(name) is not None]
            first = len(known) - items if offset is None and items is not None else offset or 0
            first = max(0, first)
            names = known[first:] if items is None else known[first : first + items]
            return json_of({name: self.queue.history[name].shown() for name in names})

    def _history_of(self, prompt_id: str) -> Answer:
        entry = self.queue.find(prompt_id)
        return json_of({} if entry is None else {prompt_id: entry.shown()})

    def _object_info(self, call: RecordedRequest, request: Request, body: Any) -> Answer:
        del call, request, body
        return json_of({name: self.catalog.info(name) for name in self.catalog.names()})

    def _object_info_of(self, name: str) -> Answer:
        info = self.catalog.info(name)
        return json_of({} if info is None else {name: info})

    def _system_stats(self, call: RecordedRequest, request: Request, body: Any) -> Answer:
        del call, request, body
        recorded = self.version.recorded["system_stats"]
        own = {"comfyui_version": self.version.text, "argv": self._argv(recorded["system"]["argv"])}
        return json_of({**recorded, "system": {**recorded["system"], **own}})

    def _argv(self, recorded: list[str]) -> list[str]:
        """Return the command line: the recorded one, with this server's flags."""
        kept = [word for word in recorded if word not in ("--preview-size", "--preview-method")]
        kept = [word for word in kept if word not in ("64", "latent2rgb")]
        if self.setup.preview_size != _USUAL_PREVIEW:
            kept += ["--preview-size", str(self.setup.preview_size)]
        if self.setup.preview_method != "none":
            kept += ["--preview-method", self.setup.preview_method]
        if self.setup.cors is not None:
            kept += ["--enable-cors-header", self.setup.cors]
        return kept

    def _folder(self, name: str) -> Answer:
        names = self.catalog.folder(name)
        return Answer(404, b"", "") if names is None else json_of(names)

    def _sizes(self, name: str) -> Answer:
        names = self.catalog.folder(name)
        if names is None:
            return Answer(404, b"", "")
        size, at = 503290158, 1795629797.0
        return json_of([{"name": file, "pathIndex": 0, "modified": at, "created": at, "size": size} for file in names])

    def _embeddings(self, call: RecordedRequest, request: Request, body: Any) -> Answer:
        del call, request, body
        return json_of([name.rsplit(".", 1)[0] for name in self.catalog.models.get("embeddings", ())])

    def _metadata(self, folder: str, request: Request) -> Answer:
        name = request.query.get("filename", "")
        if folder != "loras" or name not in self.catalog.models.get("loras", ()):
            return Answer(404, b"", "")
        return json_of({"ss_output_name": name.rsplit(".", 1)[0]})

    # -- POST ---------------------------------------------------------------------------------------------------------

    def _post_prompt(self, call: RecordedRequest, request: Request, body: Any) -> Answer:
        self._worker.start()
        answer = post_prompt(self.engine, call, request, body)
        fault = call.fault
        if fault is not None and fault.kind == "answer_lost":
            raise ServerGone
        if fault is not None and fault.kind == "answer_late":
            self._wait(fault.seconds)
        return answer

    def _wait(self, seconds: float) -> None:
        clock, changed = self.queue.job_log.clock, self.request_log.changed
        until_s = clock.now() + seconds
        with changed:
            while not self.life.gone and (left := until_s - clock.now()) > 0:
                clock.sleep(changed, left)
            if self.life.gone:
                raise ServerGone

    def _post_queue(self, call: RecordedRequest, request: Request, body: Any) -> Answer:
        del call, request
        if body.get("clear"):
            self.queue.clear()
        for prompt_id in body.get("delete", ()):
            self.queue.delete(prompt_id)
        return EMPTY

    def _post_history(self, call: RecordedRequest, request: Request, body: Any) -> Answer:
        del call, request
        with self.request_log.noting():
            if body.get("clear"):
                self.queue.history.clear()
            for prompt_id in body.get("delete", ()):
                self.queue.history.pop(prompt_id, None)
        return EMPTY

    def _post_interrupt(self, call: RecordedRequest, request: Request, body: Any) -> Answer:
        del body
        if not self.version.has("targeted interrupt"):
            self.queue.interrupt(call)
            return EMPTY
        prompt_id = _object(request).get("prompt_id") if request.body else None
        self.queue.interrupt(call, prompt_id or None)
        return EMPTY

    def _post_free(self, call: RecordedRequest, request: Request, body: Any) -> Answer:
        del call, request
        if body.get("unload_models") or body.get("free_memory"):
            with self.request_log.noting():
                self.engine.loaded = None
                if body.get("free_memory") and self.queue.running is None:
                    self.engine.cache.clear()
                self.engine.free_requested = bool(body.get("free_memory")) and self.queue.running is not None
        return EMPTY

    def _cancel_many(self, call: RecordedRequest, request: Request, body: Any) -> Answer:
        del body
        ids = _object(request).get("job_ids", [])
        wrong = [name for name in ids if not is_uuid(name)]
        if wrong:
            return json_of({"error": "job_ids contains invalid id(s)", "invalid_ids": wrong}, 400)
        return json_of({"cancelled": any([self.queue.cancel(call, name) for name in ids])})  # noqa: C419  # each is cancelled


def _object(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request. Raises BadBody where it has none."""
    try:
        body = json.loads(request.body)
    except ValueError as error:
        raise BadBody from error
    if not isinstance(body, dict):
        raise BadBody
    return body


def _is_cancel(path: str) -> bool:
    return path.startswith("/jobs/")


def _whole_number(request: Request, name: str) -> int | None:
    text = request.query.get(name, "")
    if text and not text.removeprefix("-").isdigit():
        raise BadBody
    return int(text) if text else None
