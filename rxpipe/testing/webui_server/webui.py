"""The simulated WebUI without its sockets: a call in, an answer out.

A new one is made when the server comes back after its death; what is counted lives in the request log and stays.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from rxpipe.testing.webui_server.drawing import DrawRequest, noise_png, parameters_of
from rxpipe.testing.webui_server.generate import Generation, HttpError, decode, upscale
from rxpipe.testing.webui_server.infotext import read_infotext
from rxpipe.testing.webui_server.jobs import JobError, JobGate, JobQueue, ServerGone
from rxpipe.testing.webui_server.request_log import Job
from rxpipe.testing.webui_server.validation import Invalid, parse_json, validate
from rxpipe.testing.webui_server.wire import Answer, Request, json_answer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rxpipe.testing.webui_server.drawing import Draw
    from rxpipe.testing.webui_server.faults import Fault
    from rxpipe.testing.webui_server.flavour import Flavour, FlavourName
    from rxpipe.testing.webui_server.request_log import RecordedRequest, RequestLog

Handler = Callable[["RecordedRequest", Any], Answer]
"""Answers a call; gets its parsed body, None without one."""

_GUARDED = "/sdapi/"
_HTML = "text/html; charset=utf-8"
_RECORDED_SHA256 = {
    "random-sd15": "ff6c6152c85a51f326f5bf9e8fb05359972da4f6b7d8dd1b6185ae495a6d4c63",
    "tiny-sd15": "f6d99fa539d05d0da5475bcc4ad4168e4522a423b08863d725ad3e83440d6f1c",
}


@dataclass(slots=True)
class Checkpoint:
    """A model file. Its hash is unknown to the server until it was loaded once, unless `hashed`."""

    name: str
    hashed: bool = True

    @property
    def sha256(self) -> str:
        """64 hexadecimal digits, made from the name."""
        return _RECORDED_SHA256.get(self.name) or hashlib.sha256(self.name.encode()).hexdigest()

    @property
    def short(self) -> str:
        """The ten digits that infotexts show."""
        return self.sha256[:10]

    @property
    def title(self) -> str:
        """File name, and the hash once it is known."""
        return f"{self.name}.safetensors [{self.short}]" if self.hashed else f"{self.name}.safetensors"

    def answers_to(self, name: Any) -> bool:
        """Return whether an option's value means this file."""
        return name in (self.name, f"{self.name}.safetensors", self.title, self.short, self.sha256)

    def listed(self, flavour: FlavourName) -> dict[str, Any]:
        """Its entry in /sd-models; only A1111 names a config file."""
        folder = "/models/Stable-diffusion"
        return {
            "title": self.title,
            "model_name": self.name,
            "hash": self.short if self.hashed else None,
            "sha256": self.sha256 if self.hashed else None,
            "filename": f"{folder}/{self.name}.safetensors",
            "config": f"{folder}/{self.name}.yaml" if flavour == "a1111" else None,
        }


@dataclass(slots=True)
class Setup:
    """The configuration of a server; read at every call, so that a test may change it while it runs.

    draw: where pictures come from.
    latency_s: seconds a picture by stage; a stage that is not named takes none.
    switch_s: seconds a change of checkpoint takes.
    auth: user and password for HTTP Basic, None for an open server.
    nowebui: as started with --nowebui: no page, no /internal/progress.
    api: False: as started without --api: the page is there, every /sdapi path is a 404.
    adetailer: whether the extension is installed.
    saved_options: what POST /options has set; kept over a restart, as the real ones keep it in a file.
    """

    draw: Draw
    latency_s: dict[str, float] = field(default_factory=dict)
    switch_s: float = 0.0
    auth: tuple[str, str] | None = None
    nowebui: bool = False
    api: bool = True
    adetailer: bool = True
    saved_options: dict[str, Any] = field(default_factory=dict)


class WebUI:
    """One run of the program behind the port, from its start to its death. Every method may be called by any thread."""

    def __init__(
        self,
        flavour: Flavour,
        setup: Setup,
        request_log: RequestLog,
        holds: list[JobGate],
        checkpoints: Sequence[Checkpoint],
    ) -> None:
        self.flavour = flavour
        self.setup = setup
        self.request_log = request_log
        self.queue = JobQueue(request_log, holds)
        self.options: dict[str, Any] = deepcopy(flavour.answers["/sdapi/v1/options"])
        self.options |= {"sd_model_checkpoint": checkpoints[0].title, **setup.saved_options}
        self.checkpoints = checkpoints
        self.loaded = self.find_checkpoint(self.options["sd_model_checkpoint"]) or checkpoints[0]
        self.random = Random(1)  # noqa: S311 - seeds that a test can repeat
        self.unstuck = False
        self.on_death: Callable[[Fault], None] = lambda _fault: None
        self._tasks = 0
        self._posts = self._post_routes()
        self._gets = self._get_routes()

    def _post_routes(self) -> dict[str, Handler]:
        return {
            "/sdapi/v1/txt2img": self._txt2img,
            "/sdapi/v1/img2img": self._img2img,
            "/sdapi/v1/extra-single-image": self._extras,
            "/sdapi/v1/png-info": self._png_info,
            "/sdapi/v1/interrogate": self._interrogate,
            "/sdapi/v1/options": self._set_options,
            "/sdapi/v1/interrupt": self._interrupt,
            "/sdapi/v1/skip": self._skip,
            "/sdapi/v1/refresh-checkpoints": self._nothing,
            "/sdapi/v1/refresh-vae": self._nothing,
            "/sdapi/v1/refresh-embeddings": self._nothing,
            "/sdapi/v1/refresh-loras": self._nothing,
            "/sdapi/v1/unload-checkpoint": self._empty,
            "/sdapi/v1/reload-checkpoint": self._empty,
            "/internal/progress": self._internal_progress,
        }

    def _get_routes(self) -> dict[str, Handler]:
        return {
            "/sdapi/v1/progress": self._progress,
            "/sdapi/v1/sd-models": self._sd_models,
            "/sdapi/v1/options": self._get_options,
            "/sdapi/v1/cmd-flags": self._cmd_flags,
            "/sdapi/v1/scripts": self._scripts,
            "/openapi.json": lambda _call, _body: json_answer(self.flavour.openapi),
            "/docs": lambda _call, _body: _page("Stable Diffusion API"),
            "/": lambda _call, _body: _page("Stable Diffusion"),
            "/internal/ping": self._empty,
            "/internal/pending-tasks": self._pending_tasks,
        }

    # -- the way in ---------------------------------------------------------------------------------------------------

    def handle(self, call: RecordedRequest, request: Request, body: Any) -> Answer:
        """Return the answer to a call; blocks as long as its job takes.

        Args:
            call: as the request log knows it; its body may be shortened.
            request: as it came.
            body: its parsed JSON, None where there is none or it is malformed.

        Raises:
            ServerGone: the server died meanwhile.
        """
        if call.fault is not None and call.fault.kind == "instead":
            return self._answer_instead(call.fault)
        try:
            return self._route(call, request, body)
        except Invalid as refused:
            return refused.answer
        except HttpError as error:
            return self.flavour.http_error(error.status, error.detail)
        except JobError as error:
            return self.flavour.failure(error.error, error.message)

    def _route(self, call: RecordedRequest, request: Request, body: Any) -> Answer:
        path = call.path
        handlers = {
            method: table[path]
            for method, table in (("GET", self._gets), ("POST", self._posts))
            if path in table and self._exists(path)
        }
        if path in self.flavour.answers and self._exists(path):
            handlers.setdefault("GET", lambda call, _body: json_answer(self.flavour.answers[call.path]))
        if not handlers:
            return json_answer({"detail": "Not Found"}, 404)
        if call.method not in handlers:
            return json_answer({"detail": "Method Not Allowed"}, 405, {"allow": ", ".join(sorted(handlers))})
        if call.method == "POST" and request.body and body is None:
            body = parse_json(self.flavour, request.body)  # says what is wrong with it
        if refusal := self._refuse(request):
            return refusal
        return handlers[call.method](call, body)

    def _exists(self, path: str) -> bool:
        if path.startswith("/adetailer/"):
            return self.setup.adetailer and self.setup.api
        if path == "/" or path.startswith("/internal/"):
            return not self.setup.nowebui
        return self.setup.api

    def _refuse(self, request: Request) -> Answer | None:
        """Return the 401 of a request that may not come in, None where it may."""
        if self.setup.auth is None or not request.path.startswith(_GUARDED):
            return None
        scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return self._unauthorized("Not authenticated")
        try:
            user, colon, password = base64.b64decode(credentials).decode("ascii").partition(":")
        except (binascii.Error, UnicodeDecodeError):
            colon = user = password = ""
        if not colon:
            return self._unauthorized("Invalid authentication credentials")
        return None if (user, password) == self.setup.auth else self._unauthorized("Incorrect username or password")

    def _unauthorized(self, detail: str) -> Answer:
        return self.flavour.http_error(401, detail, {"www-authenticate": "Basic"})

    def _answer_instead(self, fault: Fault) -> Answer:
        headers = {} if fault.retry_after_s is None else {"retry-after": str(fault.retry_after_s)}
        if fault.html:
            return Answer(fault.status, fault.message.encode(), _HTML, headers)
        if fault.status == 401:  # noqa: PLR2004  # HTTP's own
            return self._unauthorized(fault.message)
        if fault.status == 422:  # noqa: PLR2004  # HTTP's own
            return self.flavour.http_error(422, fault.message)
        return json_answer({"detail": fault.message}, fault.status, headers)

    # -- what jobs need -----------------------------------------------------------------------------------------------

    def new_job(self, call: RecordedRequest, name: str, task_id: str | None) -> Job:
        """Return a job for a call, known to the request log."""
        with self.request_log.noting():
            number = len(self.request_log.jobs) + 1
            job = Job(number, call.stage or "", name, task_id, call, self.request_log.clock.now(), fault=call.fault)
            self.request_log.jobs.append(job)
            return job

    def scripts(self) -> dict[str, list[str]]:
        """Return the scripts of each tab, as /scripts lists them."""
        listed: dict[str, list[str]] = self.flavour.answers["/sdapi/v1/scripts"]
        hidden = set() if self.setup.adetailer else {"adetailer"}
        return {tab: [name for name in names if name not in hidden] for tab, names in listed.items()}

    def new_task(self, kind: str) -> str:
        """Return an id for a request without one."""
        with self.request_log.changed:
            self._tasks += 1
            return f"task({kind}-{self._tasks})"

    def latency_of(self, job: Job, stage: str) -> float:
        """Return the seconds one picture of a stage takes in this job."""
        if job.fault is not None and job.fault.kind == "slow":
            return job.fault.seconds
        return self.setup.latency_s.get(stage, 0.0)

    def draw(self, request: DrawRequest) -> bytes:
        """Return a picture, counted."""
        with self.request_log.drawing():
            try:
                return self.setup.draw(request)
            except Exception as error:  # the drawing function is user code
                raise JobError(type(error).__name__, str(error)) from error

    def draw_preview(self, width: int, height: int, seed: int) -> bytes:
        """Return what `current_image` shows: noise, whatever draws the pictures."""
        return noise_png(width, height, seed)

    def text_of(self, picture: bytes) -> str | None:
        """Return the infotext of a PNG."""
        return parameters_of(picture)

    def meet_fault(self, job: Job, fraction: float) -> None:
        """Fail here if the job's fault is due at this fraction of its work."""
        fault = job.fault
        if fault is None or fault.kind not in ("raises", "stuck", "dies") or fraction < fault.fraction:
            return
        if fault.kind == "raises":
            raise JobError(fault.error, fault.message)
        if fault.kind == "dies":
            self.on_death(fault)
            raise ServerGone
        self.queue.wait_until(lambda: self.unstuck)

    def load_checkpoint(self, values: dict[str, Any]) -> tuple[Checkpoint, dict[str, Any]]:
        """Return the checkpoint for a job, loaded, and the options in force for it.

        An unknown name in override_settings is taken out of them and the current checkpoint used. Only a real change
        costs time; the option itself is restored unless the request says otherwise.
        """
        given: dict[str, Any] = values["override_settings"] or {}
        if self.flavour.name == "a1111":
            given = dict(given)  # the echo in `parameters` keeps what was sent; Forge's shows what was taken out
        wanted = self.find_checkpoint(given.get("sd_model_checkpoint"))
        if wanted is None:
            given.pop("sd_model_checkpoint", None)
            wanted = self.find_checkpoint(self.options["sd_model_checkpoint"]) or self.loaded
        for name in given:
            if name not in self.options:
                raise JobError("KeyError", f"'{name}'")
        if wanted is not self.loaded:
            with self.request_log.noting():
                self.request_log.switches.append(wanted.name)
            self.queue.work(self.setup.switch_s)
            self.loaded = wanted
            wanted.hashed = True
        if not values["override_settings_restore_afterwards"]:
            self.options |= given
        return wanted, {**self.options, **given}

    def find_checkpoint(self, name: Any) -> Checkpoint | None:
        """Return the model an option's value means, None for an unknown one."""
        return next((entry for entry in self.checkpoints if entry.answers_to(name)), None)

    # -- POST ---------------------------------------------------------------------------------------------------------

    def _valid(self, model: str, body: Any) -> dict[str, Any]:
        return validate(self.flavour, model, {} if body is None else body)

    def _txt2img(self, call: RecordedRequest, body: Any) -> Answer:
        return Generation(self, call, self._valid("StableDiffusionProcessingTxt2Img", body)).run()

    def _img2img(self, call: RecordedRequest, body: Any) -> Answer:
        return Generation(self, call, self._valid("StableDiffusionProcessingImg2Img", body)).run()

    def _extras(self, call: RecordedRequest, body: Any) -> Answer:
        return upscale(self, call, self._valid("ExtrasSingleImageRequest", body))

    def _png_info(self, call: RecordedRequest, body: Any) -> Answer:
        del call
        text = parameters_of(decode(self._valid("PNGInfoRequest", body)["image"])) or ""
        fields = read_infotext(text)
        if self.flavour.name == "forge":
            fields.pop("Model", None)
        defaults = self.flavour.png_info_defaults
        return json_answer({"info": text, "items": {}, "parameters": {**defaults, **fields} if fields else {}})

    def _interrogate(self, call: RecordedRequest, body: Any) -> Answer:
        del call
        values = self._valid("InterrogateRequest", body)
        decode(values["image"])
        return self.flavour.http_error(404, "Model not found")

    def _set_options(self, call: RecordedRequest, body: Any) -> Answer:
        del call
        for name, value in (body or {}).items():
            if name not in self.options:
                raise JobError("KeyError", f"'{name}'")
            if name == "sd_model_checkpoint" and self.find_checkpoint(value) is None:
                raise JobError("RuntimeError", f"model '{value}' not found")
        with self.request_log.changed:
            self.options |= body or {}
            self.setup.saved_options |= body or {}
        return json_answer(None)

    def _interrupt(self, call: RecordedRequest, body: Any) -> Answer:
        self.queue.interrupt(call)
        return self._empty(call, body)

    def _skip(self, call: RecordedRequest, body: Any) -> Answer:
        self.queue.skip(call)
        return self._nothing(call, body)

    def _nothing(self, call: RecordedRequest, body: Any) -> Answer:
        del call, body
        return json_answer(None)

    def _empty(self, call: RecordedRequest, body: Any) -> Answer:
        del call, body
        return json_answer({})

    # -- GET ----------------------------------------------------------------------------------------------------------

    def _get_options(self, call: RecordedRequest, body: Any) -> Answer:
        del call, body
        with self.request_log.changed:
            return json_answer(self.options)

    def _scripts(self, call: RecordedRequest, body: Any) -> Answer:
        del call, body
        return json_answer(self.scripts())

    def _sd_models(self, call: RecordedRequest, body: Any) -> Answer:
        del call, body
        return json_answer([checkpoint.listed(self.flavour.name) for checkpoint in self.checkpoints])

    def _cmd_flags(self, call: RecordedRequest, body: Any) -> Answer:
        """Forge started with --port fails here: its response model wants a string."""
        del call, body
        recorded = self.flavour.answers["/sdapi/v1/cmd-flags"]
        return json_answer(recorded, 500 if self.flavour.name == "forge" else 200)

    def _pending_tasks(self, call: RecordedRequest, body: Any) -> Answer:
        del call, body
        with self.request_log.changed:
            tasks = list(self.queue.pending_tasks)
        return json_answer({"size": len(tasks), "tasks": tasks})

    # -- progress -----------------------------------------------------------------------------------------------------

    def _progress(self, call: RecordedRequest, body: Any) -> Answer:
        """Return the global progress, of the running job; leftovers of the last one while idle."""
        del body
        with self.request_log.changed:
            state, progress, eta = self.queue.state, 0.0, 0.0
            if state.job_count != 0:
                progress = 0.01 + self._done()
                elapsed = self.request_log.clock.now() - state.time_start_s
                eta, progress = elapsed / progress - elapsed, min(progress, 1.0)
            shows = state.job_count != 0 and call.query.get("skip_current_image", "false").lower() not in ("true", "1")
            image = base64.b64encode(state.preview).decode() if shows and state.preview else None
            return json_answer(
                {
                    "progress": progress,
                    "eta_relative": eta,
                    "state": state.shown(),
                    "current_image": image,
                    "textinfo": None,
                }
            )

    def _done(self) -> float:
        state = self.queue.state
        done = state.job_no / state.job_count if state.job_count > 0 else 0.0
        if state.sampling_steps > 0:
            done += state.sampling_step / state.sampling_steps / state.job_count
        return done

    def _internal_progress(self, call: RecordedRequest, body: Any) -> Answer:
        """Return the page's own progress, per task; a task that raised stays active until the next one starts."""
        del call
        wanted = body if isinstance(body, dict) else {}
        with self.request_log.changed:
            task, queue = wanted.get("id_task"), self.queue
            known: dict[str, Any] = {
                "active": task is not None and task == queue.current_task,
                "queued": task in queue.pending_tasks,
                "completed": task in queue.finished_tasks,
            }
            if not known["active"]:
                return json_answer(known | self._not_active(task))
            return json_answer(known | self._active(wanted))

    def _not_active(self, task: Any) -> dict[str, Any]:
        pending = self.queue.pending_tasks
        order = sorted(pending, key=lambda name: pending[name])
        text = f"In queue: {order.index(task) + 1}/{len(order)}" if task in pending else "Waiting..."
        nothing: Mapping[str, Any] = dict.fromkeys(("progress", "eta", "live_preview"))
        return {**nothing, "id_live_preview": -1, "textinfo": text}

    def _active(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        state, last = self.queue.state, wanted.get("id_live_preview", -1)
        progress = min(self._done(), 1.0) if state.job_count > 0 else 0.0
        elapsed = self.request_log.clock.now() - state.time_start_s
        preview = state.preview if wanted.get("live_preview", True) and last != state.preview_id else None
        picture = f"data:image/png;base64,{base64.b64encode(preview).decode()}" if preview else None
        return {
            "progress": progress,
            "eta": elapsed / progress - elapsed if progress else None,
            "live_preview": picture,
            "id_live_preview": state.preview_id if preview else last,
            "textinfo": None,
        }


def _page(title: str) -> Answer:
    return Answer(200, f"<!doctype html><html><head><title>{title}</title></head></html>".encode(), _HTML)
