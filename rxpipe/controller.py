"""The controller: a person's intents in, snapshots of the run out, on the scheduler of the view.

Above the runner, below the views. Any thread may call it. Its one surprise: an intent returns before it is carried
out, because a cancel may have to wait for a picture that is being written, and a window must not.
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
    from rxpipe.plan import StageExecutionPlan
    from rxpipe.result import PipelineRunResult, RunUpdate
    from rxpipe.run import Run
    from rxpipe.runner import PipelineRunner

_T = TypeVar("_T")


class RunRequest:
    """A run that was requested.

    plan: of its stages. run: None while it is queued. withdrawn: whether it was removed from the queue.
    error: why it could not start when it was next, None otherwise.
    """

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.plan: StageExecutionPlan = chain.plan
        self.run: Run | None = None
        self.withdrawn = False
        self.error: RxPipeError | None = None

    @property
    def waiting(self) -> bool:
        """Whether it is still queued."""
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
    """A request to stop the run; views show *message* until it ends."""

    run_id: str
    message: str


@dataclass(frozen=True, slots=True)
class _StartFailed:
    """A queued run could not start."""

    error: RxPipeError


_Message = _EventSeen | _PreviewSeen | _RunStarted | _StopRequested | _StartFailed


class PipelineController:
    """Starts, queues and stops runs; emits their events, previews, status and results on *scheduler*.

    events: every lifecycle event, in order; of steps the latest per run, stage, image and frame, emitted before the
        event that ends their stage.
    previews: the latest picture per run, stage, image and frame; none of a run that has ended.
    status: a `RunStatus`; a late subscriber gets the current one immediately. At most one update per frame, and one
        more when the state changes; the last one is always emitted.
    results: the `PipelineRunResult` so far, as often as the status; a late subscriber gets the latest immediately.
    queue: the runs that wait, in order; a late subscriber gets them immediately.

    None of them ever completes or fails. A subscriber that raises is unsubscribed and its error reported; the others
    are unaffected.

    Args:
        runner: runs the jobs. Runs that other code starts on it are shown, and can be stopped, too.
        scheduler: of the GUI, such as `TkScheduler(root)`; one that runs one action at a time. None: everything is
            emitted on the thread of its event and nothing is throttled; for scripts and tests.
        sinks: get every event, steps included, on the thread of the event; objects with `on_event(event)` or
            `on_result(result)` (called once a run has ended) or both, or functions of an event. What a sink raises is
            reported; it gets nothing more of that run, and is called again for the next one.
        frame_s: length of a frame in seconds, > 0.
        report: called with what a sink raised; by default the traceback goes to `sys.excepthook`.
        intents: runs what may wait for a picture being written (cancel, skip); None for a daemon thread each.

    Raises:
        TypeError: a sink has no `on_event` or `on_result` and is not callable.
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
        """The run in progress, None if there is none."""
        return self.runner.executor.active

    @property
    def last_plan(self) -> StageExecutionPlan | None:
        """The plan of the run in progress or the last one; None before the first."""
        return self._run.plan if self._run else self.runner.last_plan

    @property
    def last_result(self) -> PipelineRunResult | None:
        """The result of the last run whose RunEnd was dispatched; None before the first."""
        return self._last_result

    @property
    def queued(self) -> tuple[RunRequest, ...]:
        """The runs that wait, the next one first."""
        return tuple(self._waiting)

    # -- intents ------------------------------------------------------------------------------------------------------

    def start(
        self, job: PipelineConfig | Chain, inputs: Sequence[Path | str] = (), *, queue: bool = False
    ) -> RunRequest:
        """Start a run, or queue it; return immediately.

        Args:
            job: a config, or a chain made in code.
            inputs: pictures to start from, instead of those that the job names.
            queue: whether to wait for the run in progress and those that are queued already, whatever their outcome.

        Raises:
            RunActive: another run is in progress, and *queue* is not set; or the controller was closed.
            PlanError: no stage is enabled, or the stages cannot work as composed; raised here for queued runs too.
            ConfigError: as of `PipelineExecutor.start`; of a queued run as the next.
            BadImage: an input picture does not exist; of a queued run the status shows it when the run is next.
        """
        chain = build_chain(job)
        if inputs:
            chain = with_settings(chain, input=tuple(Path(path) for path in inputs))
        chain.plan.check(chain.images)
        request = RunRequest(chain)
        with self._start_lock:
            if self._closed:
                raise RunActive("the controller was closed and starts no further run.")
            if queue and (self.active or self._waiting):
                self._waiting.append(request)
            else:
                self._begin(request)
        self._emit_queue()
        return request

    def cancel(self) -> None:
        """Cancel the run in progress, if there is one; queued runs follow. Harmless twice."""
        self._request_stop("Stopping", lambda run: run.cancel())

    def stop_after_image(self) -> None:
        """Stop the run in progress, if there is one, once the image in progress has finished its stage."""
        self._request_stop("Stopping after this image", lambda run: run.stop_after_image())

    def skip_image(self, image_index: int | None = None) -> None:
        """Skip an image in progress, if there is one, and continue with the next; *image_index*: as of `Run`."""
        run = self.active
        if run is not None:
            self._run_intent(lambda: run.skip_image(image_index))

    def withdraw(self, *requests: RunRequest) -> None:
        """Remove *requests* from the queue, or all if none is given; those that are not queued any more are ignored."""
        with self._start_lock:
            for request in requests or tuple(self._waiting):
                if request in self._waiting:
                    self._waiting.remove(request)
                    request.withdrawn = True
        self._emit_queue()

    def move(self, request: RunRequest, index: int) -> None:
        """Move a queued run to *index*, 0 being next; beyond the end means last; ignored if it is not queued."""
        with self._start_lock:
            if request in self._waiting:
                self._waiting.remove(request)
                self._waiting.insert(max(0, index), request)
        self._emit_queue()

    def close(self) -> None:
        """Withdraw what is queued, cancel the run in progress, and emit nothing more. Harmless twice.

        Returns when the run is over: immediately as a rule, within 0.5 s while a picture is being written.
        """
        with self._start_lock:
            self._closed = True
            self.withdraw()
            run = self.active
        self._status.close()
        self._results.close()
        for subscription in self._subscriptions[1:]:  # the sinks' own gets the end of the run too
            subscription.dispose()
        if run is not None:
            run.cancel()
        self._subscriptions[0].dispose()

    # -- from the run's threads ----------------------------------------------------------------------------------------

    def _listen(self, sinks: list[_Sink], frame_s: float) -> list[abc.DisposableBase]:
        """Subscribe to the executor, the sinks last so that none delays a window; theirs is the first of the list."""
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
        """Start the next queued run that can start; report those before it that cannot."""
        with self._start_lock:
            while self._waiting and self.active is None:
                request = self._waiting.pop(0)
                try:
                    self._begin(request)
                except RunActive:  # other code started a run on the same runner; its end leads here again
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
            self._stop = None  # a run that is resumed has the same id
            self._begin_next()

    def _show(self, status: RunStatus) -> None:
        """Publish *status* as the newest; a run that was asked to stop is "stopping" until it ends."""
        if self._stop and self._stop.run_id == status.run_id and status.active:
            status = replace(status.stopping(), message=self._stop.message)
        immediately = (status.state, status.run_id) != (self._now.state, self._now.run_id)
        self._now = status
        self._status.show(status, immediately=immediately)


class _Throttled(Generic[_T]):
    """Emits the first value immediately, then at most one per frame, and always the last; on the scheduler's thread."""

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
    """A sink whose errors reach no other: the first of a run is reported, and it gets nothing more until the next."""

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
        except Exception as error:  # noqa: BLE001  # user code; the error goes to the reporter
            self._failed_in = event.run_id
            with suppress(Exception):  # the reporter is user code too, and the last resort
                self._report(error)


def _coalesce_key(message: _Message) -> object:
    """Return the key under which a newer step or preview replaces an older one: run, stage, image and kind."""
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
    """Return the status shown between the intent and the run's first event."""
    return RunStatus(
        state="running",
        message="Starting",
        run_id=run.run_id,
        stages=tuple(StageStatus(name) for name in run.plan.stage_types),
        images=run.plan.images,
        past=before.past,
    )


def _action(function: Callable[[], object]) -> abc.ScheduledAction[None]:
    """Return *function* as an action for a scheduler."""

    def act(_scheduler: abc.SchedulerBase, _state: None = None) -> None:
        function()

    return act
