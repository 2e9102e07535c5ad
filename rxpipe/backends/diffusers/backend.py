"""DiffusersBackend: a model in this process behind the port."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from reactivex import Observable
from reactivex.disposable import Disposable

from rxpipe.backends.base import Backend
from rxpipe.backends.diffusers.checks import catalog_of, check_plan
from rxpipe.backends.diffusers.engine import DTYPES, Engine, EngineOptions
from rxpipe.backends.diffusers.files import find_model
from rxpipe.backends.diffusers.loading import refuse_family
from rxpipe.backends.diffusers.previews import kind_of
from rxpipe.backends.diffusers.task import RenderTask
from rxpipe.errors import BackendRejected, suggestion
from rxpipe.rx.worker import WorkerScheduler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reactivex import abc

    from rxpipe.artifact import Artifact
    from rxpipe.backends.base import RenderEvent
    from rxpipe.backends.catalog import Catalog
    from rxpipe.backends.diagnosis import Diagnosis
    from rxpipe.plan import StageExecution, StageExecutionPlan


class DiffusersBackend(Backend):
    """Draws with a Stable Diffusion model in this process: no server, and no network.

    Args:
        model: a .safetensors file, a folder as diffusers saves it, or a name of either in the folders of RXPIPE_MODELS.
        device: "cuda:0", "mps", "cpu", ...; None for the best there is.
        dtype: "float32", "float16" or "bfloat16"; None: float16, on the processor float32.
        offload: whether parts of the model are moved to the device one by one; None where it is larger than the
            device's free memory.
        config: folder with the configs of a single file; None: what is beside it or carried by rxpipe.
        download: whether what is missing may be fetched from a hub.
        previews: how the picture is shown as it grows. "auto" or True: by TAESD on an accelerator, where the folders of
            RXPIPE_MODELS hold it, else roughly; "latent": roughly; "taesd": where they hold it; "none" or False: not.

    All drawing happens on one thread of the backend's own, one picture after another; the first imports torch and loads
    the model (phase "loading"). Disposing stops before the model's next operation.

    Raises:
        BackendRejected: there is no such model, or it is one that is not drawn here.
        ValueError: an option is not what is allowed.
    """

    name = "diffusers"

    def __init__(
        self,
        model: str,
        *,
        device: str | None = None,
        dtype: str | None = None,
        offload: bool | None = None,
        config: str | None = None,
        download: bool = False,
        previews: bool | str = True,
    ) -> None:
        if not model:
            raise ValueError("model: none is named; give a file, a folder, or a name in RXPIPE_MODELS")
        if dtype is not None and dtype not in DTYPES:
            raise ValueError(f"dtype: got {dtype!r}, {suggestion(dtype, DTYPES)}")
        self._file = find_model(model, "checkpoint")
        refuse_family(self._file)
        self._device = device
        self._options = {"device": device, "dtype": dtype, "offload": offload, "config": config}
        options = EngineOptions(
            device,
            dtype,
            offload,
            None if config is None else Path(config).expanduser(),
            download=download,
            previews=kind_of(previews),
        )
        self._engine = Engine(self._file, options)
        self._previews = options.previews != "none"
        self._worker = WorkerScheduler("rxpipe-diffusers")
        self._tasks: set[RenderTask] = set()
        self._lock = threading.Lock()
        self._closed = False
        self.description = f"{self._file.name} on {device or 'the best device'}, drawn in this process"

    def __repr__(self) -> str:
        return f"DiffusersBackend({str(self._file.path)!r})"

    @property
    def kind(self) -> str:
        """The backend's and the model's name: another model makes another picture."""
        return f"{self.name}:{self._file.name}"

    @property
    def where(self) -> str:
        """What `open_backend` opens it from, with the options that change a picture."""
        options = "&".join(f"{name}={value}" for name, value in self._options.items() if value is not None)
        return f"{self.name}:{self._file.path}{'?' if options else ''}{options}"

    @property
    def loads(self) -> int:
        """How many models were read from the disk so far."""
        return self._engine.loads

    def render(self, stage: StageExecution, source: Artifact | None) -> Observable[RenderEvent]:
        """One picture, drawn when subscribed to, after those before it; previews are JPEG, the picture is PNG."""

        def subscribe(
            observer: abc.ObserverBase[RenderEvent], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            task = RenderTask(observer, scheduler, previews=self._previews)
            if self._closed:
                task.fail(BackendRejected("the backend is closed.", hint="Open it again."))
                return Disposable()
            with self._lock:
                busy = bool(self._tasks)
                self._tasks.add(task)
            if busy:
                task.queued()

            def draw(_: abc.SchedulerBase, state: object = None) -> None:
                del state
                try:
                    task.run(self._engine, stage, source)
                finally:
                    with self._lock:
                        self._tasks.discard(task)

            self._worker.schedule(draw)
            return Disposable(task.dispose)

        return Observable(subscribe)

    def check(self, plan: StageExecutionPlan) -> Sequence[str]:
        """Warnings: what a sampler or a local model has no counterpart for. Imports neither torch nor diffusers.

        Raises:
            BackendRejected: a name or a file that is not there, or a stage that is not drawn here.
            MissingPackage: a stage needs a package that is not installed.
        """
        return check_plan(self._file, plan)

    def catalog(self) -> Catalog:
        """Samplers and schedules, and the models in the folders of RXPIPE_MODELS."""
        return catalog_of(self._file)

    def diagnose(self, *, trial: bool = False) -> Diagnosis:
        """What torch, diffusers and the device are, and what does not go together. Imports them: seconds."""
        from rxpipe.backends.diffusers.diagnosis import examine  # noqa: PLC0415  # only doctor asks

        return examine(self._file, self._device, self, trial=trial)

    def wait_idle(self) -> Observable[None]:
        """Complete once the drawings so far have left the model."""

        def subscribe(
            observer: abc.ObserverBase[None], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            def idle(_: abc.SchedulerBase, state: object = None) -> None:
                del state
                if scheduler is None:
                    observer.on_completed()
                else:
                    scheduler.schedule(lambda *_: observer.on_completed())

            with self._lock:
                busy = bool(self._tasks)
            if busy:
                return self._worker.schedule(idle)
            observer.on_completed()
            return Disposable()

        return Observable(subscribe)

    def close(self) -> None:
        """Stop what is being drawn and drop the models."""
        self._closed = True
        with self._lock:
            tasks = list(self._tasks)
        for task in tasks:
            task.dispose()
        self._worker.close()
