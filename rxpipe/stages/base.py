"""The shape all stages share: a description that, bound to a run, is an ordinary Rx operator on artifacts.

What a stage does to one image is a plain function of (execution, artifact, backend), `draw`; turns, retry, time limit
and events are the same for all of them.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import reactivex as rx
from reactivex import Observable
from reactivex.disposable import CompositeDisposable, Disposable

from rxpipe.artifact import Artifact
from rxpipe.config import CustomConfig, RunSettings, StageConfig
from rxpipe.errors import BackendFailed, BackendTimeout, ConfigError
from rxpipe.operators import Operator, Turn, deadline, retry_backoff
from rxpipe.plan import plan_stages
from rxpipe.stages.run import Entry, RunContext, StageRun, StageStopped
from rxpipe.stages.timeline import Timeline
from rxpipe.stages.work import ImageWork, Told
from rxpipe.subject import EventSubject
from rxpipe.worker import WorkerScheduler

if TYPE_CHECKING:
    import random

    from reactivex import abc

    from rxpipe.backends.base import Backend
    from rxpipe.config import RetryConfig
    from rxpipe.events import StageEvent
    from rxpipe.plan import SectionConfig, StageExecution

_C = TypeVar("_C", bound=StageConfig)

StageOperator = Callable[[Observable[Artifact]], Observable[Artifact]]


class Stage(ABC):
    """A description of a stage; immutable. Bound to a run it is an Rx operator on artifacts."""

    def __init__(self, config: SectionConfig) -> None:
        self.config = config

    @abstractmethod
    def bind(self, run: StageRun) -> StageOperator:
        """The stage as an Rx operator within a run."""

    def on(self, backend: Backend, events: Callable[[StageEvent], None] | None = None) -> StageOperator:
        """The stage alone, as an Rx operator that can stand in anybody's `pipe(...)`.

        It writes no file. Disposing the subscription cancels it and interrupts the backend. An image that fails is
        dropped or passed on as its `on_error` says; what stops the stage arrives as the observable's error.

        Args:
            backend: what draws.
            events: called with each event of the stage, on the thread it happens on.

        Emissions come on the scheduler given to subscribe, or on a worker thread of the subscription's own.
        """

        def operator(source: Observable[Artifact]) -> Observable[Artifact]:
            return Observable(_Alone(self, backend, events, source).subscribe)

        return operator

    def __repr__(self) -> str:
        name = self.config.name if isinstance(self.config, CustomConfig) else self.config.section
        told = ", ".join(f"{key}={value!r}" for key, value in self.config.model_dump(exclude_unset=True).items())
        return f"<stage {name}({told})>"


def section_of(kind: type[_C], given: _C | None, settings: Mapping[str, object]) -> _C:
    """The section that a stage was given, or made of settings.

    Raises:
        ConfigError: a setting is wrong, or what was given is neither.
    """
    if given is None:
        return kind.model_validate(dict(settings))
    if not isinstance(given, kind) or settings:
        came = repr(given) if not settings else f"{given!r} and settings"
        names = ", ".join(list(kind.model_fields)[2:5])
        told = f"{kind.section}(...): got {came}; allowed: settings by name ({names}, ...), or one {kind.__name__}"
        raise ConfigError([told])
    return given


class ImageStage(Stage):
    """A stage that makes one picture out of one: all but operators.

    blocking: its `draw` holds the run's thread and does not look whether it is still wanted.
    """

    blocking = False

    @abstractmethod
    def draw(self, execution: StageExecution, artifact: Artifact, backend: Backend) -> Observable[Told]:
        """What the stage does to one image: any progress, one picture, completion; or one of `rxpipe.errors`."""

    def bind(self, run: StageRun) -> StageOperator:
        """The stage as an Rx operator: one image at a time, each in its turn on the run's lane.

        Where the backend wants it and no later stage goes before, the next image is begun while one is being written.
        """
        backend, last_of_group = run.context.backend, run.last_of_group
        ahead = backend.queue_ahead if last_of_group else 0
        beside = 1 if last_of_group and run.context.saver is not None else 0

        def work(artifact: Artifact, turn: Turn) -> Observable[Artifact]:
            return self._work(run, artifact, turn)

        def operator(source: Observable[Artifact]) -> Observable[Artifact]:
            in_turn = run.context.lane.concat_map(
                work, key=-run.execution.stage_index, at_once=1 + ahead, in_hand=1 + ahead + beside
            )
            return ended(run, in_turn(counted(run, source)))

        return operator

    def _work(self, run: StageRun, artifact: Artifact, turn: Turn) -> Observable[Artifact]:
        entry = run.enter()
        run.blocking = self.blocking
        own = run.execution.seed
        seed = artifact.seed if own is None else own + artifact.number - 1
        execution = run.execution.narrowed(image_index=entry.index, seed=seed)
        attempt = rx.defer(lambda _: self._drawing(execution, artifact, run.context.backend))
        return ImageWork(run, entry, turn, execution, artifact).on(_persistent(run, entry, attempt))

    def _drawing(self, execution: StageExecution, artifact: Artifact, backend: Backend) -> Observable[Told]:
        made = self.draw(execution, artifact, backend)
        if not isinstance(made, Observable):
            raise BackendFailed(f"backend {backend.name}: render gave a {type(made).__name__}; allowed: an Observable.")
        return made


def _persistent(run: StageRun, entry: Entry, attempt: Observable[Told]) -> Observable[Told]:
    """The attempt with the run's time limit and retries on it."""
    settings, backend = run.context.settings, run.context.backend
    if settings.timeout_s is not None:
        late = BackendTimeout(f"no picture within {settings.timeout_s:g} s.", hint="Raise timeout_s, or ask for less.")
        in_time: Operator[Told, Told] = deadline(settings.timeout_s, lambda: late)
        attempt = in_time(attempt)
    again: Operator[Told, Told] = retry_backoff(
        delay_policy(settings.retry, run.context.jitter),
        on_retry=lambda number, delay_s, error: run.retry(entry, number, delay_s, error),
        settle=lambda error: backend.settle() if isinstance(error, BackendTimeout) else rx.empty(),
    )
    return again(attempt)


def delay_policy(retry: RetryConfig, jitter: random.Random) -> Callable[[int, Exception], float | None]:
    """Seconds before the next attempt by exponential backoff with jitter, None if it would not help or none is left.

    A backend that names a time to come back at (`retry_after_s`) is obeyed where that is longer.
    """

    def delay_s(attempt: int, error: Exception) -> float | None:
        if attempt >= retry.attempts or not getattr(error, "retryable", False):
            return None
        pause_s = min(retry.max_delay_s, retry.first_delay_s * retry.factor ** (attempt - 1))
        pause_s *= 1 + retry.jitter * jitter.random()
        return max(pause_s, getattr(error, "retry_after_s", None) or 0.0)

    return delay_s


def counted(run: StageRun, source: Observable[Artifact]) -> Observable[Artifact]:
    """The source, its images counted as they arrive."""

    def subscribe(
        observer: abc.ObserverBase[Artifact], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        def arrived(artifact: Artifact) -> None:
            run.arrived += 1
            observer.on_next(artifact)

        def completed() -> None:
            run.all_arrived = True
            observer.on_completed()

        return source.subscribe(arrived, observer.on_error, completed, scheduler=scheduler)

    return Observable(subscribe)


def ended(run: StageRun, source: Observable[Artifact]) -> Observable[Artifact]:
    """The source, its completion told as the stage's end before it passes."""

    def subscribe(
        observer: abc.ObserverBase[Artifact], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        def completed() -> None:
            run.end()
            observer.on_completed()

        return source.subscribe(observer.on_next, observer.on_error, completed, scheduler=scheduler)

    return Observable(subscribe)


class _Alone:
    """A stage by itself: a context of its own, and a worker where no scheduler was given."""

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
        clock = scheduler or worker
        run = self._run(lambda: clock.now.astimezone(UTC))

        def failed(error: Exception) -> None:
            observer.on_error(error.error if isinstance(error, StageStopped) else error)

        def disposed() -> None:
            run.context.lane.close()
            run.cancel(run.unfinished if run.in_hand else None)
            worker.close()

        operator = self._stage.bind(run)
        inner = operator(self._source).subscribe(observer.on_next, failed, observer.on_completed, scheduler=clock)
        return CompositeDisposable(inner, Disposable(disposed))

    def _run(self, now: Callable[[], datetime]) -> StageRun:
        subject: EventSubject[StageEvent] = EventSubject()
        if self._events is not None:
            subject.observable.subscribe(self._events)
        context = RunContext(
            backend=self._backend,
            timeline=Timeline(uuid.uuid4().hex[:8], now, subject),
            previews=lambda _: None,
            now=now,
        )
        given = RunSettings(input=(Path("given"),))  # the source gives the pictures
        return StageRun(plan_stages([self._stage.config], given).stages[0], context, planned=None)
