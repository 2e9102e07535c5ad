"""The simulated WebUI without its sockets: its routes, their authorization, and the progress it reports."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rxpipe.testing.servers.core.job_server import JobSite
from rxpipe.testing.servers.core.site import retry_after
from rxpipe.testing.servers.core.wire import HTML, Answer, Request, json_answer
from rxpipe.testing.servers.drawing import parameters_of
from rxpipe.testing.servers.webui.adetailer import skips_img2img
from rxpipe.testing.servers.webui.engine import Engine
from rxpipe.testing.servers.webui.extras import detail, upscale
from rxpipe.testing.servers.webui.generate import Generation
from rxpipe.testing.servers.webui.infotext import read_infotext
from rxpipe.testing.servers.webui.jobs import JobError, JobQueue
from rxpipe.testing.servers.webui.limiting import RequestLimit
from rxpipe.testing.servers.webui.pictures import HttpError, decode
from rxpipe.testing.servers.webui.validation import Invalid, parse_json, validate, validate_against

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rxpipe.testing.servers.core.faults import Fault
    from rxpipe.testing.servers.core.jobs import JobGate, JobLog
    from rxpipe.testing.servers.core.requests import RecordedRequest
    from rxpipe.testing.servers.webui.engine import Checkpoint, Setup
    from rxpipe.testing.servers.webui.flavour import Flavour

Handler = Callable[["RecordedRequest", Any], Answer]
"""Answers a call; gets its parsed body, None without one."""

NO_CONTENT = Answer(204, b"")
_GUARDED = "/sdapi/"
_NEEDS_BODY = (
    "/sdapi/v1/txt2img",
    "/sdapi/v1/img2img",
    "/sdapi/v1/extra-single-image",
    "/sdapi/v1/extra-batch-images",
    "/sdapi/v1/png-info",
    "/sdapi/v1/interrogate",
    "/sdapi/v1/options",
    "/internal/progress",
)
_PROGRESS_REQUEST = {
    "properties": {
        "id_task": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "id_live_preview": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": -1},
        "live_preview": {"anyOf": [{"type": "boolean"}, {"type": "null"}], "default": True},
    }
}
_STAGE_OF_PATH = {
    "/sdapi/v1/txt2img": "txt2img",
    "/sdapi/v1/img2img": "img2img",
    "/sdapi/v1/extra-single-image": "upscale",
    "/sdapi/v1/extra-batch-images": "upscale",
    "/sdapi/v1/detail": "adetailer",
}


class WebUI(JobSite):
    """The routes of one run of the program behind the port."""

    software = "uvicorn"

    def __init__(
        self,
        flavour: Flavour,
        setup: Setup,
        job_log: JobLog,
        holds: list[JobGate],
        checkpoints: Sequence[Checkpoint],
    ) -> None:
        super().__init__(job_log)
        self.flavour = flavour
        self.setup = setup
        self.queue = JobQueue(job_log, self.life, holds)
        self.engine = Engine(flavour, setup, self.queue, checkpoints)
        self._limit = RequestLimit(self.engine)
        self._posts = self._post_routes()
        self._gets = self._get_routes()

    @property
    def waiting_jobs(self) -> int:
        """Jobs behind the running one."""
        return len(self.queue.waiting)

    def _post_routes(self) -> dict[str, Handler]:
        return {
            "/sdapi/v1/txt2img": self._txt2img,
            "/sdapi/v1/img2img": self._img2img,
            "/sdapi/v1/extra-single-image": self._extras,
            "/sdapi/v1/extra-batch-images": self._extras_batch,
            **({"/sdapi/v1/detail": self._detail} if "detail endpoint" in self.flavour.traits else {}),
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
            "/sdapi/v1/prompt-styles": self._styles,
            "/sdapi/v1/loras": self._loras,
            f"/sdapi/v1/{'sd-modules' if self.flavour.base == 'forge' else 'sd-vae'}": self._modules,
            "/queue/status": self._queue_status,
            "/openapi.json": lambda _call, _body: json_answer(self.flavour.openapi),
            **self._fork_routes(),
            "/docs": lambda _call, _body: _page("Stable Diffusion API"),
            "/": lambda _call, _body: _page("Stable Diffusion"),
            "/internal/ping": self._empty,
            "/internal/pending-tasks": self._pending_tasks,
        }

    def _fork_routes(self) -> dict[str, Handler]:
        if "schedulers fail" not in self.flavour.traits:
            return {}
        wrong = [{"type": "string_type", "loc": ["response", 0, "cls"], "msg": "Input should be a valid string"}]
        error = {"error": "ResponseValidationError", "code": 500, "detail": "", "body": wrong, "errors": ""}
        return {"/sdapi/v1/schedulers": lambda _call, _body: json_answer(error, 500)}

    # -- the way in ---------------------------------------------------------------------------------------------------

    def handle(self, call: RecordedRequest, request: Request, body: Any) -> Answer:
        """Return the answer to a request; block as long as its job takes. Raises ServerGone."""
        try:
            return self._limit.checked(call.path, self._route(call, request, body))
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
        if call.method == "POST" and body is None and (request.body or path in _NEEDS_BODY):
            body = parse_json(self.flavour, request.body)  # raises with what is wrong with it
        if refusal := self._refuse(request):
            return refusal
        return handlers[call.method](call, body)

    def _exists(self, path: str) -> bool:
        if path in self.flavour.without:
            return False
        if path.startswith("/adetailer/"):
            return self.setup.adetailer and self.setup.api and not self._is_late()
        if path in ("/", "/queue/status") or path.startswith("/internal/"):
            return not self.setup.nowebui
        return self.setup.api

    def _is_late(self) -> bool:
        """Return whether the extension's paths are still missing, counting this request."""
        with self.request_log.changed:
            late = self.setup.adetailer_late > 0
            self.setup.adetailer_late -= late
        return late

    def _refuse(self, request: Request) -> Answer | None:
        """Return the 401 of a request without valid credentials, None where it is allowed."""
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

    def stage_of(self, request: Request, body: Any) -> str | None:
        """Return the stage: an img2img that only runs ADetailer on the given picture is an adetailer."""
        stage = _STAGE_OF_PATH.get(request.path) if request.method == "POST" else None
        return "adetailer" if stage == "img2img" and skips_img2img(body) else stage

    def answer_instead(self, fault: Fault) -> Answer:
        """Return the answer of a fault of kind `instead`, in the words of this flavour."""
        if fault.html:
            return super().answer_instead(fault)
        if fault.status == 401:  # noqa: PLR2004  # HTTP's own
            return self._unauthorized(fault.message)
        if fault.status == 422:  # noqa: PLR2004  # HTTP's own
            return self.flavour.http_error(422, fault.message)
        return json_answer({"detail": fault.message}, fault.status, retry_after(fault))

    def finish(self, answer: Answer, seconds: float) -> Answer:
        """Return the answer as sent: A1111 adds its time to all but those of unhandled exceptions."""
        failed = b'"error":"HTTPException"' not in answer.body[:100] and answer.status == 500  # noqa: PLR2004  # HTTP's own
        if self.flavour.base == "forge" or failed:
            return answer
        headers = {**answer.headers, "x-process-time": str(round(seconds, 4))}
        return Answer(answer.status, answer.body, answer.content_type, headers)

    # -- POST ---------------------------------------------------------------------------------------------------------

    def _valid(self, model: str, body: Any) -> dict[str, Any]:
        return validate(self.flavour, model, {} if body is None else body)

    def _txt2img(self, call: RecordedRequest, body: Any) -> Answer:
        return Generation(self.engine, call, self._generation("StableDiffusionProcessingTxt2Img", body)).run()

    def _img2img(self, call: RecordedRequest, body: Any) -> Answer:
        return Generation(self.engine, call, self._generation("StableDiffusionProcessingImg2Img", body)).run()

    def _generation(self, model: str, body: Any) -> dict[str, Any]:
        return {**self.flavour.defaults(model), **self._valid(model, body)}

    def _detail(self, call: RecordedRequest, body: Any) -> Answer:
        """SD.Next's own detailer: one picture in, one out."""
        values = body if isinstance(body, dict) else {}
        return detail(self.engine, call, values)

    def _extras(self, call: RecordedRequest, body: Any) -> Answer:
        model = "ExtrasSingleImageRequest"
        return upscale(self.engine, call, {**self.flavour.defaults(model), **self._valid(model, body)})

    def _extras_batch(self, call: RecordedRequest, body: Any) -> Answer:
        values = self._valid("ExtrasBatchImagesRequest", body)
        entries = values.pop("imageList")
        if not all(isinstance(entry, dict) and {"data", "name"} <= entry.keys() for entry in entries):
            return self.flavour.http_error(422, "imageList holds data and name of each picture")
        parts = [json.loads(upscale(self.engine, call, {**values, "image": entry["data"]}).body) for entry in entries]
        html = parts[-1]["html_info"] if parts else ""
        return json_answer({"html_info": html, "images": [part["image"] for part in parts]})

    def _png_info(self, call: RecordedRequest, body: Any) -> Answer:
        del call
        text = parameters_of(decode(self._valid("PNGInfoRequest", body)["image"])) or ""
        fields = read_infotext(text)
        if self.flavour.base == "forge":
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
            if name not in self.engine.options:
                raise JobError("KeyError", f"'{name}'")
            if name == "sd_model_checkpoint" and self.engine.find_checkpoint(value) is None:
                raise JobError("RuntimeError", f"model '{value}' not found")
        self.engine.set_options(body or {})
        return json_answer(None)

    def _interrupt(self, call: RecordedRequest, body: Any) -> Answer:
        self.queue.interrupt(call)
        return NO_CONTENT if "interrupt is 204" in self.flavour.traits else self._empty(call, body)

    def _skip(self, call: RecordedRequest, body: Any) -> Answer:
        self.queue.skip(call)
        return NO_CONTENT if "interrupt is 204" in self.flavour.traits else self._nothing(call, body)

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
            return json_answer(self.engine.options)

    def _scripts(self, call: RecordedRequest, body: Any) -> Answer:
        del call, body
        return json_answer(self.engine.scripts())

    def _styles(self, call: RecordedRequest, body: Any) -> Answer:
        del call, body
        return json_answer(self.engine.styles())

    def _loras(self, call: RecordedRequest, body: Any) -> Answer:
        del call, body
        path = "/models/Lora"
        names = self.setup.loras
        return json_answer(
            [{"name": name, "alias": name, "path": f"{path}/{name}.safetensors", "metadata": {}} for name in names]
        )

    def _modules(self, call: RecordedRequest, body: Any) -> Answer:
        del call, body
        return json_answer(self.engine.modules())

    def _queue_status(self, call: RecordedRequest, body: Any) -> Answer:
        """Answer as Gradio does of its own queue, which API requests are not in."""
        del call, body
        empty: dict[str, Any] = {"rank": None, "queue_size": 0, "avg_event_process_time": None}
        empty |= {"avg_event_concurrent_process_time": None, "rank_eta": None, "queue_eta": 0}
        return json_answer({"msg": "estimation", **empty})

    def _sd_models(self, call: RecordedRequest, body: Any) -> Answer:
        del call, body
        return json_answer([checkpoint.listed(self.flavour.base) for checkpoint in self.engine.checkpoints])

    def _cmd_flags(self, call: RecordedRequest, body: Any) -> Answer:
        """Answer as Forge started with --port does: a 500, as its response model requires a string."""
        del call, body
        recorded = self.flavour.answers["/sdapi/v1/cmd-flags"]
        return json_answer(recorded, 500 if self.flavour.base == "forge" else 200)

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
        wanted = validate_against(self.flavour, _PROGRESS_REQUEST, body)
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
    return Answer(200, f"<!doctype html><html><head><title>{title}</title></head></html>".encode(), HTML)
