"""The base of all stages: a description that, bound to a run, is an ordinary Rx operator on artifacts.

What a stage does to one image is a function of (execution, artifact, backend), `render`. Lane, retry, time limit and
events are the same for all stages.
"""

from __future__ import annotations

import functools
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import reactivex as rx
from reactivex import Observable
from reactivex.disposable import Disposable
from reactivex.observer import Observer

from rxpipe.artifact import Artifact
from rxpipe.backends.base import require_observable
from rxpipe.config import CustomConfig, RunSettings, StageConfig, Txt2ImgConfig
from rxpipe.config.models import RenderingConfig
from rxpipe.errors import BackendTimeout, ConfigError, PlanError, RxPipeError
from rxpipe.plan import plan_stages
from rxpipe.rx.operators import Operator, deadline, observe, retry_backoff
from rxpipe.rx.subject import EventSubject
from rxpipe.rx.worker import WorkerScheduler
from rxpipe.shown import shown
from rxpipe.stages.recorded import recorded_settings
from rxpipe.stages.session import Session
from rxpipe.stages.timeline import new_run_id
from rxpipe.stages.tracker import StageAborted, StageTracker

if TYPE_CHECKING:
    from reactivex import abc

    from rxpipe.backends.base import Backend
    from rxpipe.config import RetryConfig
    from rxpipe.events import StageEvent
    from rxpipe.plan import SectionConfig, StageExecution
    from rxpipe.result import RunUpdate
    from rxpipe.rx.lane import Slot
    from rxpipe.stages.cell import Cell, StageOutput
    from rxpipe.stages.control import RunControl

_C = TypeVar("_C", bound=StageConfig)

StageOperator = Callable[[Observable[Artifact]], Observable[Artifact]]


class Stage(ABC):
    """A description of a stage; immutable. Bound to a run it is an Rx operator on artifacts.

    blocking: it holds the run's thread and cannot be cancelled while it works on an image.
    """

    blocking = False

    def __init__(self, config: SectionConfig) -> None:
        self.config = config

    @property
    def identity(self) -> Mapping[str, object]:
        """What the stage is beyond its settings, as plain values: of one of your own its function and source."""
        return {}

    @property
    def parts(self) -> tuple[Stage, ...]:
        """The stages that stand in the plan for this one, in order, itself the last."""
        return (self,)

    @abstractmethod
    def bind(self, tracker: StageTracker) -> StageOperator:
        """Return the stage as an Rx operator within a run."""

    def on(self, backend: Backend, events: Callable[[StageEvent], None] | None = None) -> StageOperator:
        """Return the stage alone, as an Rx operator for any `pipe(...)`.

        It writes no file. Disposing the subscription cancels it and interrupts the backend. An image that fails is
        dropped or passed on as its `on_error` says; what stops the stage is the observable's error. What comes and is
        no artifact is a PlanError.

        Args:
            backend: renders.
            events: called with each event of the stage, on the thread where it occurs.

        Emissions come on the scheduler given to subscribe, or on a worker thread of the subscription's own.
        """

        def operator(source: Observable[Artifact]) -> Observable[Artifact]:
            artifacts = source.map(functools.partial(_require_artifact, self))
            return Observable(_StandaloneRun(self, backend, events, artifacts).subscribe)

        return operator

    def __repr__(self) -> str:
        name = self.config.name if isinstance(self.config, CustomConfig) else self.config.section
        settings = ", ".join(f"{key}={value!r}" for key, value in self.config.model_dump(exclude_unset=True).items())
        return f"<stage {name}({settings})>"


def section_of(kind: type[_C], given: _C | None, settings: Mapping[str, object]) -> _C:
    """Return the section that a stage was given, or one made of its settings.

    Raises:
        ConfigError: a setting is wrong, or *given* is of another type, or there are settings too.
    """
    if given is None:
        return kind.model_validate(dict(settings))
    if not isinstance(given, kind) or settings:
        came = repr(given) if not settings else f"{given!r} and settings"
        own = [name for name in kind.model_fields if name not in RenderingConfig.model_fields]
        names = ", ".join(own[:3])
        message = f"{kind.section}(...): got {came}; allowed: settings by name ({names}, ...), or one {kind.__name__}"
        raise ConfigError([message])
    return given


class ImageStage(Stage):
    """A stage that makes one picture out of one image: all but operators.

    uses_backend: whether the backend renders it.
    """

    uses_backend = True

    @abstractmethod
    def render(self, execution: StageExecution, artifact: Artifact, backend: Backend) -> Observable[StageOutput]:
        """Return the rendering of one image: progress, one picture, completion; or an error of `rxpipe.errors`."""

    def bind(self, tracker: StageTracker) -> StageOperator:
        """Return the stage as an Rx operator whose images take the slots of the run's lane.

        Of all images that wait, the first by `StageTracker.priority` begins first. The images of a batch begin
        together. A stage that needs no backend takes a slot only where the backend has no more than one.
        """
        scope = tracker.scope

        def image(artifact: Artifact, slot: Slot) -> Observable[Artifact]:
            return self._image(tracker, artifact, slot)

        def operator(source: Observable[Artifact]) -> Observable[Artifact]:
            on_lane = scope.lane.concat_map(
                image,
                key=tracker.priority,
                batch=batch_size(tracker.execution, scope.backend),
                occupies=self.uses_backend or scope.lane.slots == 1,
            )
            return emit_stage_end(tracker, on_lane(count_inputs(tracker, source)))

        return operator

    def _image(self, tracker: StageTracker, artifact: Artifact, slot: Slot) -> Observable[Artifact]:
        cell = tracker.begin_image(artifact, slot)
        kind = tracker.scope.backend.kind if self.uses_backend else "function"
        one = getattr(cell.execution.config, "kind", "") != "generator"  # whose pictures are recalled one by one
        recalled = tracker.scope.journal.recall(cell.execution, artifact, recorded_settings, kind) if one else None
        if recalled is not None:
            return cell.run(rx.just(recalled))
        attempt = rx.defer(lambda _: self._attempt(cell.execution, artifact, tracker.scope.backend))
        return cell.run(_with_retry_and_timeout(cell, _unless_over(tracker.scope.control, attempt)))

    def _attempt(self, execution: StageExecution, artifact: Artifact, backend: Backend) -> Observable[StageOutput]:
        return require_observable(self.render(execution, artifact, backend), backend)


def _unless_over(control: RunControl, attempt: Observable[StageOutput]) -> Observable[StageOutput]:
    """Return the attempt; it never begins once the run is over, whose end waits for one that is just beginning."""

    def subscribe(
        observer: abc.ObserverBase[StageOutput], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        with control.committing() as allowed:
            return attempt.subscribe(observer, scheduler=scheduler) if allowed else Disposable()

    return Observable(subscribe)


def batch_size(execution: StageExecution, backend: Backend) -> int:
    """Return how many consecutive images go into one request to the backend."""
    return execution.config.batch_size if backend.batches and isinstance(execution.config, Txt2ImgConfig) else 1


def _with_retry_and_timeout(cell: Cell, attempt: Observable[StageOutput]) -> Observable[StageOutput]:
    """Return the attempt with the time limit and the retries of the run."""
    settings, backend = cell.tracker.scope.settings, cell.tracker.scope.backend
    if settings.timeout_s is not None:
        late = BackendTimeout(f"no picture within {settings.timeout_s:g} s.", hint="Raise timeout_s, or ask for less.")
        in_time: Operator[StageOutput, StageOutput] = deadline(settings.timeout_s, lambda: late)
        attempt = in_time(attempt)

    def settled(error: Exception) -> Observable[None]:
        # what is sent next, a retry or the next image, must not stand behind what timed out
        return backend.wait_idle() if isinstance(error, BackendTimeout) else rx.empty()

    again: Operator[StageOutput, StageOutput] = retry_backoff(
        delay_policy(settings.retry, random.Random()),  # noqa: S311  # spreads retries, guards nothing
        on_retry=lambda _, delay_s, error: cell.tracker.retry(cell, delay_s, error),
        before_retry=settled,
    )
    return again(attempt).pipe(rx.operators.catch(lambda error, _: _failing(error, settled(error))))


def _failing(error: Exception, settled: Observable[None]) -> Observable[StageOutput]:
    """Return the failure of *error* once the backend has settled; one that does not settle concerns what is next."""

    def hangs(cause: Exception, _: object) -> Observable[None]:
        if isinstance(error, RxPipeError) and isinstance(cause, RxPipeError):
            error.scope, error.hint = cause.scope, str(cause)
        return rx.empty()

    return rx.concat(settled.pipe(rx.operators.catch(hangs), rx.operators.ignore_elements()), rx.throw(error))


def delay_policy(retry: RetryConfig, jitter: random.Random) -> Callable[[int, Exception], float | None]:
    """Return the delays of one image's retries: seconds by exponential backoff with jitter, None if there is none left.

    A time that the backend asked to wait (`retry_after_s`) takes precedence if it is longer, up to `max_delay_s`. What
    is retryable once is retried once, however many attempts there are.
    """
    once_retried = False

    def delay_s(attempt: int, error: Exception) -> float | None:
        nonlocal once_retried
        once = getattr(error, "once", False)
        if attempt >= retry.attempts or not getattr(error, "retryable", False) or (once and once_retried):
            return None
        once_retried |= once
        pause_s = _backoff_s(retry, attempt)
        pause_s *= 1 + retry.jitter * jitter.random()
        return max(pause_s, min(retry.max_delay_s, getattr(error, "retry_after_s", None) or 0.0))

    return delay_s


def _backoff_s(retry: RetryConfig, attempt: int) -> float:
    try:
        return min(retry.max_delay_s, retry.first_delay_s * retry.factor ** (attempt - 1))
    except OverflowError:
        return retry.max_delay_s


def count_inputs(tracker: StageTracker, source: Observable[Artifact]) -> Observable[Artifact]:
    """Return the source; count its images as they arrive."""

    def received(_: Artifact) -> None:
        tracker.received += 1

    def ended() -> None:
        tracker.source_ended = True

    counting: Operator[Artifact, Artifact] = observe(received, ended)
    return counting(source)


def emit_stage_end(tracker: StageTracker, source: Observable[Artifact]) -> Observable[Artifact]:
    """Return the source; emit the end of the stage before its completion."""
    ending: Operator[Artifact, Artifact] = observe(on_completed=tracker.end)
    return ending(source)


def _require_artifact(stage: Stage, given: object) -> Artifact:
    if isinstance(given, Artifact):
        return given
    raise PlanError(
        f"{stage!r} takes artifacts; what came is of type {type(given).__name__}: {shown(given)}.",
        hint="Artifact.open(path) makes one of a picture file, rxp.seeds(7, images=2) makes a stream of new ones.",
    )


class _StandaloneRun:
    """A stage by itself: a session of one stage, and a worker where no scheduler was given."""

    def __init__(
        self,
        stage: Stage,
        backend: Backend,
        events: Callable[[StageEvent], None] | None,
        source: Observable[Artifact],
    ) -> None:
        self._stage = stage
        self._backend = backend
        self._events = events
        self._source = source

    def subscribe(
        self, observer: abc.ObserverBase[Artifact], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        worker = WorkerScheduler(f"rxpipe-{self._stage.config.section}")  # its thread starts only if it is used
        settings = RunSettings(input=(Path("given"),))  # the pictures come from the source
        session = Session(
            run_id=new_run_id((scheduler or worker).now.astimezone(UTC)),
            backend=self._backend,
            settings=settings,
            clock=scheduler or worker,
            updates=self._updates(),
            ends_on_failure=False,  # the error passes to the observer, which may subscribe again
        )
        session.control.on_over(worker.close)
        session.control.start()
        execution = plan_stages([self._stage.config], settings).stages[0]
        tracker = StageTracker(execution, session.scope, planned=None, blocking=self._stage.blocking)

        def failed(error: Exception) -> None:
            observer.on_error(error.error if isinstance(error, StageAborted) else error)

        images = self._stage.bind(tracker)(self._source)
        session.connect(images, [tracker], Observer(observer.on_next, failed, observer.on_completed))
        return Disposable(session.control.cancel)

    def _updates(self) -> EventSubject[RunUpdate]:
        updates: EventSubject[RunUpdate] = EventSubject()
        if self._events is not None:
            events = self._events
            updates.observable.subscribe(lambda update: events(update.event))
        return updates
