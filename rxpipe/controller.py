"""The controller: a person's intents in, snapshots of the run out, on the scheduler of whoever shows them.

Above the runner, below the views. Any thread may call it. Its one surprise: an intent returns before it is carried
out, because a Stop may have to wait for a picture that is just being written, and a window must not.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rxpipe.chains import build_chain, with_settings
from rxpipe.errors import RunActive, RxPipeError
from rxpipe.events import RunEnd, RunStart, StageStep
from rxpipe.rx.mainloop import FRAME_S
from rxpipe.rx.operators import coalesce
from rxpipe.rx.subject import EventSubject, to_excepthook
from rxpipe.status import RunStatus, StageStatus, reduce_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from reactivex import Observable, abc

    from rxpipe.chains import Chain
    from rxpipe.config import PipelineConfig
    from rxpipe.events import StageEvent, StagePreview
    from rxpipe.executor import Run
    from rxpipe.plan import StageExecutionPlan
    from rxpipe.result import PipelineRunResult, RunUpdate
    from rxpipe.runner import PipelineRunner

_T = TypeVar("_T")


class RunRequest:
    """A run that was asked for.

    plan: what was decided. run: None while it waits for its turn. withdrawn: whether it was taken back before that.
    error: why it could not begin when its turn came, None otherwise.
    """

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.plan: StageExecutionPlan = chain.plan
        self.run: Run | None = None
        self.withdrawn = False
        self.error: RxPipeError | None = None

    @property
    def waiting(self) -> bool:
        """Whether its turn has yet to come."""
        return self.run is None and self.error is None and not self.withdrawn

    def __repr__(self) -> str:
        state = self.run.run_id if self.run else "waiting" if self.waiting else "not run"
        return f"<RunRequest {', '.join(self.plan.stage_types)}, {self.plan.images} images: {state}>"


@dataclass(frozen=True, slots=True)
class _EventSeen:
    event: StageEvent
    result: PipelineRunResult


@dataclass(frozen=True, slots=True)
class _PreviewSeen:
    preview: StagePreview


@dataclass(frozen=True, slots=True)
class _RunStarted:
    run: Run


@dataclass(frozen=True, slots=True)
class _StopRequested:
    """To stop; the message is what a person reads meanwhile."""

    run_id: str
    message: str


@dataclass(frozen=True, slots=True)
class _StartFailed:
    """A queued run could not begin."""

    error: RxPipeError


_Message = _EventSeen | _PreviewSeen | _RunStarted | _StopRequested | _StartFailed


class PipelineController:
    """Starts, queues and stops runs; tells what goes on, on *scheduler*, at most once a frame where that matters.

    events: lifecycle events all and in order; of steps the latest per run, stage and frame, sent before the event
        that ends their stage.
    previews: the latest picture per run, stage and frame; none of a run that has ended.
    status: a `RunStatus`; a late subscriber gets the current one at once. At most one update a frame, and one more
        where the state changes; the last is always told.
    results: the `PipelineRunResult` by now, as often as the status; a late subscriber gets the latest at once.
    queue: the runs that wait, in order; a late subscriber gets them at once.

    None of them ever completes or fails. A subscriber that raises is unsubscribed and reported; no other notices.

    Args:
        runner: runs the jobs. What others start on it is shown, and stopped, as well.
        scheduler: of the GUI, such as `TkScheduler(root)`; one that runs one action at a time. None: everything is
            told on the thread it happens on, nothing is held back; for scripts and tests.
        sinks: get every event, no step left out, on the thread it happens on; objects with `on_event(event)` or
            `on_result(result)` (called once a run has ended) or both, or functions of an event. A sink that raises is
            reported, gets nothing more of that run, and is tried again with the next.
        frame_s: seconds, > 0; the length of a frame.
        report: called with what a sink raised; by default the traceback goes to `sys.excepthook`.
        intents: carries out what may wait for a picture being written (cancel, skip); None for a daemon thread each.

    Raises:
        TypeError: a sink that can be told nothing.
        ValueError: frame_s <= 0.
    """

    def __init__(
        self,
        runner: PipelineRunner,
        *,
        scheduler: abc.SchedulerBase | None = None,
        sinks: Iterable[object] = (),
        frame_s: float = FRAME_S,
        report: Callable[[Exception], None] | None = None,
        intents: abc.SchedulerBase | None = None,
    ) -> None:
        self.runner = runner
        self._scheduler, self._intents = scheduler, intents
        self._events: EventSubject[StageEvent] = EventSubject()
        self._previews: EventSubject[StagePreview] = EventSubject()
        self._status = _Throttled[RunStatus](scheduler, frame_s)
        self._results = _Throttled["PipelineRunResult"](scheduler, frame_s)
        self._queue: EventSubject[tuple[RunRequest, ...]] = EventSubject(replay_latest=True)
        self.events: Observable[StageEvent] = self._events.observable
        self.previews: Observable[StagePreview] = self._previews.observable
        self.status: Observable[RunStatus] = self._status.observable
        self.results: Observable[PipelineRunResult] = self._results.observable
        self.queue: Observable[tuple[RunRequest, ...]] = self._queue.observable
        self._now = RunStatus()  # the newest status; only the scheduler's thread writes it
        self._stop: _StopRequested | None = None
        self._run: Run | None = None
        self._last_result: PipelineRunResult | None = None
        self._waiting: list[RunRequest] = []
        self._start_lock = threading.RLock()
        self._closed = False
        self._incoming: EventSubject[_Message] = EventSubject()
        self._status.show(self._now)
        self._queue.on_next(())
        self._subscriptions = self._listen([_Sink(sink, report or to_excepthook) for sink in sinks], frame_s)

    # -- state --------------------------------------------------------------------------------------------------------

    @property
    def active(self) -> Run | None:
        """The run that goes on, None if none does."""
        return self.runner.executor.active

    @property
    def last_plan(self) -> StageExecutionPlan | None:
        """The plan of the run that goes on or was last; None before the first."""
        return self._run.plan if self._run else self.runner.last_plan

    @property
    def last_result(self) -> PipelineRunResult | None:
        """The result of the run that was told last to have ended; None before the first."""
        return self._last_result

    @property
    def queued(self) -> tuple[RunRequest, ...]:
        """The runs that wait, the next one first."""
        return tuple(self._waiting)

    # -- intents ------------------------------------------------------------------------------------------------------

    def start(
        self, job: PipelineConfig | Chain, inputs: Sequence[Path | str] = (), *, queue: bool = False
    ) -> RunRequest:
        """Begin a run, or with *queue* have it wait for its turn. Returns at once.

        Args:
            job: a config, or a chain made in code.
            inputs: pictures to start from, instead of those that the job names.
            queue: behind what goes on and what waits already; runs follow each other whatever became of the one before.

        Raises:
            RunActive: another run goes on, and *queue* is not set; or the controller was closed.
            PlanError: no stage is enabled, or the stages cannot work as composed. Told at once for queued runs too.
            BadImage: an input picture does not exist. For a queued run found when its turn comes; the status tells it.
        """
        chain = build_chain(job)
        if inputs:
            chain = with_settings(chain, input=tuple(Path(path) for path in inputs))
        chain.plan.check()
        request = RunRequest(chain)
        with self._start_lock:
            if self._closed:
                raise RunActive("the controller was closed, and starts nothing any more.")
            if queue and (self.active or self._waiting):
                self._waiting.append(request)
            else:
                self._begin(request)
        self._emit_queue()
        return request

    def cancel(self) -> None:
        """Stop the run that goes on, now; what is queued follows. Nothing if none goes on. Harmless twice."""
        self._request_stop("Stopping", lambda run: run.cancel())

    def stop_after_image(self) -> None:
        """Stop once the image in work has left its stage. Nothing if no run goes on."""
        self._request_stop("Stopping after this image", lambda run: run.stop_after_image())

    def skip_image(self) -> None:
        """Give up the image in work and go on with the next. Nothing if none is in work."""
        run = self.active
        if run is not None:
            self._run_intent(run.skip_image)

    def withdraw(self, *requests: RunRequest) -> None:
        """Take queued runs back; all of them if none is named. Those that do not wait any more are left alone."""
        with self._start_lock:
            for request in requests or tuple(self._waiting):
                if request in self._waiting:
                    self._waiting.remove(request)
                    request.withdrawn = True
        self._emit_queue()

    def move(self, request: RunRequest, index: int) -> None:
        """Put a queued run at *index*, 0 being next; beyond the end means last. Nothing if it waits no more."""
        with self._start_lock:
            if request in self._waiting:
                self._waiting.remove(request)
                self._waiting.insert(max(0, index), request)
        self._emit_queue()

    def close(self) -> None:
        """Withdraw what waits, cancel the run that goes on, and tell nobody anything more. Harmless twice.

        Returns when the run is over: at once as a rule, in at most 0.5 s while a picture is being written.
        """
        with self._start_lock:
            self._closed = True
            self.withdraw()
            run = self.active
        self._status.close()
        self._results.close()
        for subscription in self._subscriptions[1:]:  # sinks hear of the end
            subscription.dispose()
        if run is not None:
            run.cancel()
        self._subscriptions[0].dispose()

    # -- from the run's threads ----------------------------------------------------------------------------------------

    def _listen(self, sinks: list[_Sink], frame_s: float) -> list[abc.DisposableBase]:
        """Subscribe to the executor, the sinks first in the list and last in turn, so that none delays a window."""
        incoming = self._incoming
        paced = coalesce(frame_s, key=_coalesce_key, passes=_passes, scheduler=self._scheduler)
        arriving = incoming.observable if self._scheduler is None else paced(incoming.observable)
        executor = self.runner.executor

        def push(update: RunUpdate) -> None:
            for sink in sinks:
                sink.push(update)

        shown = arriving.subscribe(self._post_to_scheduler, to_excepthook)
        live = executor.updates.subscribe(lambda update: incoming.on_next(_EventSeen(*update)), to_excepthook)
        pictures = executor.previews.subscribe(lambda preview: incoming.on_next(_PreviewSeen(preview)), to_excepthook)
        return [executor.updates.subscribe(push, to_excepthook), live, pictures, shown]

    def _post_to_scheduler(self, message: _Message) -> None:
        if self._scheduler is None:
            self._dispatch(message)
        else:
            self._scheduler.schedule(_action(lambda: self._dispatch(message)))

    def _request_stop(self, message: str, intent: Callable[[Run], object]) -> None:
        run = self.active
        if run is not None:
            self._incoming.on_next(_StopRequested(run.run_id, message))
            self._run_intent(lambda: intent(run))

    def _run_intent(self, intent: Callable[[], object]) -> None:
        if self._intents is not None:
            self._intents.schedule(_action(intent))
        elif self._scheduler is None:
            intent()
        else:
            threading.Thread(target=intent, name="rxpipe-intent", daemon=True).start()

    def _begin(self, request: RunRequest) -> None:
        try:
            request.run = self._run = self.runner.start(request.chain)
        except RunActive as error:
            hint = "Cancel it first, or start(..., queue=True) to have this one follow."
            raise RunActive(error.message, hint=hint) from error
        self._incoming.on_next(_RunStarted(request.run))

    def _begin_next(self) -> None:
        """The next of the queue that can begin; one that cannot is told and passed over."""
        with self._start_lock:
            while self._waiting and self.active is None:
                request = self._waiting.pop(0)
                try:
                    self._begin(request)
                except RunActive:  # someone else was faster on the same runner; its end brings us here again
                    self._waiting.insert(0, request)
                    break
                except RxPipeError as error:
                    request.error = error
                    self._incoming.on_next(_StartFailed(error))
        self._emit_queue()

    def _emit_queue(self) -> None:
        if self._scheduler is None:
            self._queue.on_next(self.queued)
        else:
            self._scheduler.schedule(_action(lambda: self._queue.on_next(self.queued)))

    # -- on the scheduler ---------------------------------------------------------------------------------------------

    def _dispatch(self, message: _Message) -> None:
        if self._closed:
            return
        match message:
            case _EventSeen(event, result):
                self._dispatch_event(event, result)
            case _PreviewSeen(preview):
                if preview.run_id == self._now.run_id and self._now.active:
                    self._previews.on_next(preview)
            case _RunStarted(run):
                if run.run_id != self._now.run_id:
                    self._show(_about_to_start(run, self._now))
            case _StopRequested():
                self._stop = message
                self._show(self._now)
            case _StartFailed(error):
                if not self._now.active:
                    self._show(replace(self._now.idle(), state="failed", message=f"Error: {error.message}"))

    def _dispatch_event(self, event: StageEvent, result: PipelineRunResult) -> None:
        if isinstance(event, RunStart) or event.run_id == self._now.run_id:
            self._show(reduce_status(self._now, event))
        self._last_result = result if isinstance(event, RunEnd) else self._last_result
        self._results.show(result, immediately=isinstance(event, RunEnd))
        self._events.on_next(event)
        if isinstance(event, RunEnd):
            self._begin_next()

    def _show(self, status: RunStatus) -> None:
        """Take *status* as the newest; a run that was asked to stop is stopping until it ends."""
        if self._stop and self._stop.run_id == status.run_id and status.active:
            status = replace(status.stopping(), message=self._stop.message)
        immediately = (status.state, status.run_id) != (self._now.state, self._now.run_id)
        self._now = status
        self._status.show(status, immediately=immediately)


class _Throttled(Generic[_T]):
    """Shows the first value at once, then at most one a frame, and always the last. On the scheduler's thread only."""

    def __init__(self, scheduler: abc.SchedulerBase | None, frame_s: float) -> None:
        self._scheduler, self._frame_s = scheduler, frame_s
        self._subject: EventSubject[_T] = EventSubject(replay_latest=True)
        self._pending: tuple[_T] | None = None
        self._in_frame = self._closed = False
        self.observable: Observable[_T] = self._subject.observable

    def show(self, value: _T, *, immediately: bool = False) -> None:
        if self._in_frame and not immediately:
            self._pending = (value,)
            return
        self._pending = None
        self._subject.on_next(value)
        if self._scheduler is not None and not self._in_frame:
            self._begin_frame(self._scheduler)

    def close(self) -> None:
        self._closed = True

    def _begin_frame(self, scheduler: abc.SchedulerBase) -> None:
        self._in_frame = True
        scheduler.schedule_relative(self._frame_s, lambda *_: self._end_frame(scheduler))

    def _end_frame(self, scheduler: abc.SchedulerBase) -> None:
        pending, self._pending, self._in_frame = self._pending, None, False
        if pending is not None and not self._closed:
            self._subject.on_next(pending[0])
            self._begin_frame(scheduler)


class _Sink:
    """One of the sinks, its failures kept from everybody else: reported once a run, then silent until the next."""

    def __init__(self, sink: object, report: Callable[[Exception], None]) -> None:
        on_event = getattr(sink, "on_event", None)
        self._on_result: Callable[[Any], object] | None = getattr(sink, "on_result", None)
        if on_event is None and self._on_result is None:
            on_event = sink
            if not callable(sink):
                raise TypeError(f"a sink needs on_event(event), on_result(result) or to be callable, got {sink!r}")
        self._on_event: Callable[[StageEvent], object] | None = on_event
        self._report = report
        self._failed_in: str | None = None

    def push(self, update: RunUpdate) -> None:
        event, result = update
        if event.run_id == self._failed_in:
            return
        try:
            if self._on_event is not None:
                self._on_event(event)
            if self._on_result is not None and isinstance(event, RunEnd):
                self._on_result(result)
        except Exception as error:  # noqa: BLE001  # a stranger's function; it is handed on
            self._failed_in = event.run_id
            with suppress(Exception):  # the reporter is a stranger's too, and the last resort
                self._report(error)


def _coalesce_key(message: _Message) -> object:
    """What a step or preview replaces: one of the same run, stage, image and kind."""
    if isinstance(message, _PreviewSeen):
        preview = message.preview
        return (preview.run_id, preview.stage_index, preview.image_index, "preview")
    if isinstance(message, _EventSeen) and isinstance(message.event, StageStep):
        event = message.event
        return (event.run_id, event.stage_index, event.image_index, "step")
    return message


def _passes(message: _Message) -> bool:
    return not isinstance(message, _PreviewSeen) and not (
        isinstance(message, _EventSeen) and isinstance(message.event, StageStep)
    )


def _about_to_start(run: Run, before: RunStatus) -> RunStatus:
    """Shown between the intent and the run's first event."""
    return RunStatus(
        state="running",
        message="Starting",
        run_id=run.run_id,
        stages=tuple(StageStatus(name) for name in run.plan.stage_types),
        images=run.plan.images,
        past=before.past,
    )


def _action(function: Callable[[], object]) -> abc.ScheduledAction[None]:
    """A function as what schedulers take."""

    def act(_scheduler: abc.SchedulerBase, _state: None = None) -> None:
        function()

    return act
