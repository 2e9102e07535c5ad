"""SketchBackend: the drawing program behind the port, one slice of work an action on the caller's scheduler.

Nothing here draws; it drives the engine's generators, so that disposing takes effect between two slices and virtual
time works.
"""

from __future__ import annotations

import contextlib
import io
import math
import threading
import time
from typing import TYPE_CHECKING

from PIL import Image
from reactivex import Observable, abc
from reactivex.disposable import SerialDisposable
from reactivex.scheduler import CurrentThreadScheduler, ImmediateScheduler

from rxpipe import threads
from rxpipe.backends.base import Backend, Output, Preview, RenderEvent, StepProgress
from rxpipe.backends.masks import check_masks
from rxpipe.backends.picture import Stopped
from rxpipe.backends.sketch.encode import encode_png
from rxpipe.backends.sketch.frame import relay
from rxpipe.backends.sketch.jobs import job, takes_faces
from rxpipe.config import AdetailerConfig, UpscaleConfig
from rxpipe.errors import BackendFailed, RxPipeError
from rxpipe.pictures.faces import load_detector
from rxpipe.rx.worker import WorkerScheduler, elapsed_s

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from rxpipe.artifact import Artifact
    from rxpipe.backends.sketch.frame import Frame
    from rxpipe.plan import StageExecution, StageExecutionPlan

    Slices = Generator[RenderEvent | None, None, None]

_PREVIEW_QUALITY, _PREVIEWS_APART_S = 85, 0.04
_FOR_SERVERS = ("payload", "override_settings", "alwayson_scripts")
_OWN_UPSCALERS = {"", "none", "lanczos"}


class SketchBackend(Backend):
    """A drawing program, not a model: it needs no GPU, no download and no network.

    txt2img composes a picture from the words of the prompt that it knows, and from the seed; img2img paints over a
    photo; adetailer finds faces with scikit-image's LBP cascade and refines them; upscale is Lanczos. The same
    settings and seed give the same pixels.

    Args:
        pace_s: seconds that each step takes at least, as a model's would; 0 is as fast as it can.

    A drawing works in slices of some milliseconds, each an action of its own on the scheduler given to subscribe (a
    worker thread of the drawing's own where none is given), and stops at the next one when disposed.
    """

    name = "sketch"
    description = "a drawing program that needs no GPU, model or network; not a model"

    def __init__(self, *, pace_s: float = 0.0) -> None:
        if not pace_s >= 0:
            raise ValueError(f"pace_s: got {pace_s!r}, must be 0 or more (seconds per step)")
        self._pace_s = float(pace_s)

    def __repr__(self) -> str:
        return f"SketchBackend(pace_s={self._pace_s:g})  # a drawing program, not a model"

    def render(self, stage: StageExecution, source: Artifact | None) -> Observable[RenderEvent]:
        """One picture, drawn when subscribed to; previews are JPEG of at most 512 px, the picture is PNG."""

        def subscribe(
            observer: abc.ObserverBase[RenderEvent], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            return _RenderTask(observer, scheduler, self._pace_s).begin(stage, source)

        return Observable(subscribe)

    def check(self, plan: StageExecutionPlan) -> Sequence[str]:
        """Warnings: settings that mean something to a model only, detectors and upscalers that are not here.

        Raises:
            BackendRejected: a mask is missing.
        """
        check_masks(plan)
        if any(isinstance(stage.config, AdetailerConfig) for stage in plan.stages):
            threads.submit(_load_detector)
        return [warning for stage in plan.stages for warning in _warnings(stage)]


def _load_detector() -> None:
    """Load what adetailer needs while the stages before it draw; what is missing is reported when it is needed."""
    with contextlib.suppress(ImportError):
        load_detector()


class _RenderTask(abc.DisposableBase):
    """One subscription: the engine's generator, driven one slice an action."""

    def __init__(
        self, observer: abc.ObserverBase[RenderEvent], scheduler: abc.SchedulerBase | None, pace_s: float
    ) -> None:
        self._observer, self._pace_s = observer, pace_s
        self._own = WorkerScheduler("rxpipe-sketch") if scheduler is None else None
        # Immediate would nest each slice in the one before; the trampoline runs them immediately too.
        nesting = isinstance(scheduler, ImmediateScheduler)
        self._clock = self._own or (CurrentThreadScheduler.singleton() if nesting or scheduler is None else scheduler)
        self._start_s = elapsed_s(self._clock)
        self._next = SerialDisposable()
        self._over = threading.Event()

    def begin(self, stage: StageExecution, source: Artifact | None) -> _RenderTask:
        self._slices = _renderings(stage, source, self._wanted, self._elapsed_s)
        self._next.disposable = self._clock.schedule(self._slice)
        return self

    def dispose(self) -> None:
        """Stop at the next slice. Harmless twice, and from any thread."""
        self._over.set()
        self._next.dispose()
        if self._own is not None:
            self._own.close()

    def _elapsed_s(self) -> float:
        return elapsed_s(self._clock) - self._start_s

    def _wanted(self) -> bool:
        return not self._over.is_set()

    def _slice(self, _: abc.SchedulerBase, state: object = None) -> None:
        """Do one slice of work, hand on what it gave, and plan the next."""
        del state
        if not self._wanted():
            return
        try:
            rendering = next(self._slices)
        except StopIteration:
            self._end(None)
        except Stopped:
            return
        except Exception as error:  # noqa: BLE001  # whatever drawing runs into (memory, most likely) is emitted as a typed error
            self._end(_typed(error))
        else:
            self._emit_later(rendering)

    def _emit_later(self, rendering: RenderEvent | None) -> None:
        if self._pace_s and isinstance(rendering, StepProgress):
            self._plan(self._pace_s, rendering)
        else:
            self._emit(rendering)

    def _emit(self, rendering: RenderEvent | None) -> None:
        if rendering is not None and self._wanted():
            self._observer.on_next(rendering)
        if self._wanted():
            self._next.disposable = self._clock.schedule(self._slice)

    def _plan(self, delay_s: float, rendering: RenderEvent) -> None:
        """Emit once the step has taken its time."""

        def emit(_: abc.SchedulerBase, state: object = None) -> None:
            del state
            self._emit(rendering)

        if self._wanted():
            self._next.disposable = self._clock.schedule_relative(delay_s, emit)

    def _end(self, error: RxPipeError | None) -> None:
        if self._wanted():
            self._over.set()
            if error is None:
                self._observer.on_completed()
            else:
                self._observer.on_error(error)
        if self._own is not None:
            self._own.close()


def _typed(error: Exception) -> RxPipeError:
    if isinstance(error, RxPipeError):
        return error
    failed = BackendFailed(f"the drawing failed: {type(error).__name__}: {error}.")
    failed.__cause__ = error
    return failed


def _renderings(
    stage: StageExecution, source: Artifact | None, wanted: Callable[[], bool], elapsed_s: Callable[[], float]
) -> Slices:
    """What a drawing emits: progress a step, previews, the picture at the end; None between slices."""
    previews = _Previews()
    result = yield from relay(job(stage, source, wanted), lambda frame: _events(frame, elapsed_s, previews))
    data = result.encoded
    if data is None and not result.unchanged:
        data = yield from encode_png(result.pixels)
    yield Output(data or b"", unchanged=result.unchanged, warnings=result.warnings, settings=result.facts)


def _events(frame: Frame, elapsed_s: Callable[[], float], previews: _Previews) -> Generator[RenderEvent, None, None]:
    yield _progress(frame, elapsed_s())
    if previews.due(frame):
        yield _preview(frame)


class _Previews:
    """Says which steps have a preview: the first, the last, and between them no more than an eye can tell apart."""

    def __init__(self) -> None:
        self._last_s = -math.inf

    def due(self, frame: Frame) -> bool:
        now_s = time.perf_counter()  # by the machine, whatever the scheduler's time is: encoding takes that
        if frame.step < frame.steps and now_s - self._last_s < _PREVIEWS_APART_S:
            return False
        self._last_s = now_s
        return True


def _progress(frame: Frame, elapsed_s: float) -> StepProgress:
    left = (frame.steps - frame.step) * elapsed_s / frame.step
    return StepProgress(fraction=frame.step / frame.steps, step=frame.step, steps=frame.steps, eta_s=left)


def _preview(frame: Frame) -> Preview:
    buffer = io.BytesIO()
    Image.fromarray(frame.preview()).save(buffer, "JPEG", quality=_PREVIEW_QUALITY)
    return Preview(buffer.getvalue())


def _warnings(stage: StageExecution) -> list[str]:
    where, config, warnings = stage.stage_type, stage.config, []
    ignored = [name for name in ("model", "vae", "sampler_name", "scheduler") if getattr(config, name, None)]
    switches = ("tiling", "restore_faces", "subseed_strength", "styles", "refiner", *_FOR_SERVERS)
    ignored += [name for name in switches if getattr(config, name, None)]
    if ignored:
        warnings.append(f"{where}: {', '.join(ignored)} mean nothing to a drawing program and are not used")
    if isinstance(config, AdetailerConfig):
        unknown = [unit.detector for unit in (config, *config.units) if not takes_faces(unit)]
        warnings += [f"{where}: {name} is not here, only faces are found" for name in unknown]
    if isinstance(config, UpscaleConfig):
        named = [name for name in (config.upscaler, config.upscaler_2) if (name or "").lower() not in _OWN_UPSCALERS]
        warnings += [f"{where}: upscaler {name!r} is not here, Lanczos is used" for name in named]
    return warnings
