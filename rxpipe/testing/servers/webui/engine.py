"""Engine: what the jobs of a WebUI share: its models, options and queue, the pictures, the faults inside a job."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from rxpipe.testing.servers.core.jobs import Job
from rxpipe.testing.servers.core.site import ServerGone
from rxpipe.testing.servers.drawing import noise_png, parameters_of
from rxpipe.testing.servers.webui.jobs import JobError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rxpipe.testing.servers.core.faults import Fault
    from rxpipe.testing.servers.core.requests import RecordedRequest
    from rxpipe.testing.servers.drawing import Draw, DrawRequest
    from rxpipe.testing.servers.webui.flavour import Flavour, FlavourName
    from rxpipe.testing.servers.webui.jobs import JobQueue

_RECORDED_SHA256 = {
    "random-sd15": "ff6c6152c85a51f326f5bf9e8fb05359972da4f6b7d8dd1b6185ae495a6d4c63",
    "tiny-sd15": "f6d99fa539d05d0da5475bcc4ad4168e4522a423b08863d725ad3e83440d6f1c",
}


@dataclass(slots=True)
class Checkpoint:
    """A model file. Its hash is unknown to the server until it was loaded once, unless `hashed`.

    name: the path below the model folder, without its ending.
    """

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
        """Return whether an option's value means this file: letter by letter, and with its folder."""
        file = f"{self.name}.safetensors"
        return name in (self.name, self.model_name, self.stem, file, self.title, self.short, self.sha256)

    @property
    def stem(self) -> str:
        """The name without its folder, as infotexts have it."""
        return self.name.rpartition("/")[2]

    @property
    def model_name(self) -> str:
        """The name with its folder as a prefix, as lists have it."""
        return self.name.replace("/", "_")

    def listed(self, flavour: FlavourName) -> dict[str, Any]:
        """Return its entry in /sd-models; only A1111 names a config file."""
        folder = "/models/Stable-diffusion"
        return {
            "title": self.title,
            "model_name": self.model_name,
            "hash": self.short if self.hashed else None,
            "sha256": self.sha256 if self.hashed else None,
            "filename": f"{folder}/{self.name}.safetensors",
            "config": f"{folder}/{self.name}.yaml" if flavour == "a1111" else None,
        }


@dataclass(slots=True)
class Setup:
    """How a server is started; read at every request, so that a test may change it while the server runs.

    draw: where pictures come from.
    latency_s: seconds for a picture, by stage; a stage that is not named takes none.
    switch_s: seconds a change of checkpoint takes.
    encode_s_per_mp: seconds of the machine to encode a megapixel, while the next job runs.
    auth: user and password for HTTP Basic, None for an open server.
    nowebui: as started with --nowebui: no page, no /internal/progress.
    api: False: as started without --api: the page is there, every /sdapi path is a 404.
    adetailer: whether the extension is installed.
    adetailer_late: so many requests to /adetailer are a 404 at first, as in the first second of a real one.
    extensions: titles of further scripts that run with every request, such as controlnet.
    modules: file names of VAEs and text encoders: Forge's modules, A1111's VAEs.
    loras: names. styles: name to prompt and negative prompt, in addition to the recorded ones.
    missing: upscalers and face restorers that are listed and whose weights are not there.
    saved_options: the options in the server's file, kept over a restart. Only these, and the checkpoint, are restored
        after a request that overrides them.
    """

    draw: Draw
    latency_s: dict[str, float] = field(default_factory=dict)
    switch_s: float = 0.0
    auth: tuple[str, str] | None = None
    nowebui: bool = False
    api: bool = True
    adetailer: bool = True
    adetailer_late: int = 0
    extensions: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    loras: tuple[str, ...] = ()
    styles: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    missing: frozenset[str] = frozenset()
    saved_options: dict[str, Any] = field(default_factory=dict)
    encode_s_per_mp: float = 0.0


class Engine:
    """One run of the program without its HTTP. Any thread may call any method.

    on_death: called when a job meets a fault that ends the whole server.
    """

    def __init__(self, flavour: Flavour, setup: Setup, queue: JobQueue, checkpoints: Sequence[Checkpoint]) -> None:
        self.flavour = flavour
        self.setup = setup
        self.queue = queue
        self.job_log = queue.job_log
        self.options: dict[str, Any] = deepcopy(flavour.answers["/sdapi/v1/options"])
        self.options |= {"sd_model_checkpoint": checkpoints[0].title, **setup.saved_options}
        self.held = {"sd_model_checkpoint", *setup.saved_options}
        self.checkpoints = checkpoints
        self.loaded = self.find_checkpoint(self.options["sd_model_checkpoint"]) or checkpoints[0]
        self.random = Random(1)  # noqa: S311 - seeds that a test can repeat
        self.unstuck = False
        self.on_death: Callable[[Fault], None] = lambda _fault: None
        self._tasks = 0

    def new_job(self, call: RecordedRequest, name: str, task_id: str | None) -> Job:
        """Return a new job for a request, recorded in the log."""
        with self.job_log.noting():
            number = len(self.job_log.jobs) + 1
            job = Job(number, call.stage or "", name, task_id, call, self.job_log.clock.now(), fault=call.fault)
            self.job_log.jobs.append(job)
            return job

    def scripts(self) -> dict[str, list[str]]:
        """Return the scripts of each tab, as /scripts lists them."""
        listed: dict[str, list[str]] = self.flavour.answers["/sdapi/v1/scripts"]
        installed = self.setup.adetailer and "detail endpoint" not in self.flavour.traits
        hidden = set() if installed else {"adetailer"}
        return {
            tab: [*(name for name in names if name not in hidden), *self.setup.extensions]
            for tab, names in listed.items()
        }

    def styles(self) -> list[dict[str, Any]]:
        """Return the prompt styles, as /prompt-styles lists them."""
        own = [
            {"name": name, "prompt": prompt, "negative_prompt": negative}
            for name, (prompt, negative) in self.setup.styles.items()
        ]
        return [*self.flavour.answers["/sdapi/v1/prompt-styles"], *own]

    def modules(self) -> list[dict[str, str]]:
        """Return Forge's modules, or A1111's VAEs."""
        return [{"model_name": name, "filename": f"/models/VAE/{name}"} for name in self.setup.modules]

    def new_task(self, kind: str) -> str:
        """Return an id for a request that has none."""
        with self.job_log.changed:
            self._tasks += 1
            return f"task({kind}-{self._tasks})"

    def latency_of(self, job: Job, stage: str) -> float:
        """Return the seconds that one picture of a stage takes in this job."""
        if job.fault is not None and job.fault.kind == "slow":
            return job.fault.seconds
        return self.setup.latency_s.get(stage, 0.0)

    def draw(self, request: DrawRequest) -> bytes:
        """Return a picture, counted as a rendering."""
        with self.job_log.drawing():
            try:
                return self.setup.draw(request)
            except Exception as error:  # the drawing function is user code
                raise JobError(type(error).__name__, str(error)) from error

    def draw_preview(self, width: int, height: int, seed: int) -> bytes:
        """Return what `current_image` shows: noise, whatever draws the pictures."""
        return noise_png(width, height, seed)

    def text_of(self, picture: bytes) -> str | None:
        """Return the infotext of a PNG, None where it has none."""
        return parameters_of(picture)

    def meet_fault(self, job: Job, fraction: float) -> None:
        """Fail if the job's fault is due at this fraction of its work."""
        fault = job.fault
        if fault is None or fault.kind not in ("raises", "stuck", "dies") or fraction < fault.fraction:
            return
        if fault.kind == "raises":
            raise JobError(fault.error, fault.message)
        if fault.kind == "dies":
            self.on_death(fault)
            raise ServerGone
        self.queue.life.wait_until(lambda: self.unstuck)

    @property
    def ignores_overrides(self) -> bool:
        """Whether requests override nothing: the AMD fork with its option onnx_enable."""
        return "onnx ignores overrides" in self.flavour.traits and bool(self.options["onnx_enable"])

    def load_checkpoint(self, values: dict[str, Any]) -> tuple[Checkpoint, dict[str, Any]]:
        """Return the checkpoint for a job, loaded, and the options in force for it.

        An unknown name in override_settings is removed from them and the current checkpoint used. Only a real change
        costs time; the option itself is restored unless the request says otherwise.
        """
        given: dict[str, Any] = values["override_settings"] or {}
        if self.ignores_overrides:
            given = {}
        if self.flavour.base == "a1111":
            given = dict(given)  # the echo in `parameters` keeps what was sent; Forge's lacks what was removed
        wanted = self.find_checkpoint(given.get("sd_model_checkpoint"))
        if wanted is None:
            given.pop("sd_model_checkpoint", None)
            wanted = self.find_checkpoint(self.options["sd_model_checkpoint"]) or self.loaded
        if wanted is not self.loaded:
            with self.job_log.noting():
                self.job_log.switches.append(wanted.name)
            self.queue.work(self.setup.switch_s)
            self.loaded = wanted
            wanted.hashed = True
        return wanted, {**self.options, **given}

    @contextmanager
    def overridden(self, values: dict[str, Any]) -> Iterator[None]:
        """Apply a request's override_settings as the servers do: an option that is not in their file stays changed."""
        given = {} if self.ignores_overrides else values["override_settings"] or {}
        restored = "options are restored" in self.flavour.traits
        names = [name for name in given if name in self.options and (restored or name in self.held)]
        stored = {name: self.options[name] for name in names}
        try:
            for name, value in given.items():
                if name not in self.options:
                    if restored:
                        continue
                    raise JobError("KeyError", f"'{name}'")
                if name == "sd_model_checkpoint" and self.find_checkpoint(value) is None:
                    continue
                with self.job_log.changed:
                    self.options[name] = value
                    self.held.add(name)
            yield
        finally:
            if values["override_settings_restore_afterwards"]:
                with self.job_log.changed:
                    self.options |= stored

    def set_options(self, given: Mapping[str, Any]) -> None:
        """Set options for good and write the server's file; one that has its value already is left alone."""
        with self.job_log.changed:
            for name, value in given.items():
                unset: Any = [] if name == "forge_additional_modules" else None
                if value != (self.options[name] if name in self.held else unset):
                    self.options[name] = value
                    self.held.add(name)
            self.setup.saved_options |= {name: self.options[name] for name in self.held}

    def find_checkpoint(self, name: Any) -> Checkpoint | None:
        """Return the model that an option's value means, None for an unknown one."""
        return next((entry for entry in self.checkpoints if entry.answers_to(name)), None)
