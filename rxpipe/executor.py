"""The executor: one run at a time, its events hot, its cancel exact.

Each run has a worker thread of its own (or the scheduler that a test gave), so that a function that never returns can
be left behind. Cancel does not wait for that thread: whoever asks closes the timeline.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import threading
import time
import weakref
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import reactivex as rx
from loguru import logger
from reactivex import abc
from reactivex.disposable import SingleAssignmentDisposable

from rxpipe.chains import Chain, build_chain, sources, with_settings
from rxpipe.config import PipelineConfig
from rxpipe.errors import RunActive
from rxpipe.events import ErrorInfo, RunEnd, RunStart, StagePreview
from rxpipe.result import PipelineRunResult
from rxpipe.rx.subject import EventSubject
from rxpipe.rx.worker import WorkerScheduler
from rxpipe.sinks.images import ImageWriter
from rxpipe.sinks.log import log_events
from rxpipe.stages import RunContext, StageAborted, Timeline
from rxpipe.stages.cell import as_rxpipe_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reactivex import Observable

    from rxpipe.artifact import Artifact
    from rxpipe.backends.base import Backend
    from rxpipe.events import RunOutcome, StageEvent
    from rxpipe.plan import StageExecution, StageExecutionPlan

GRACE_S = 0.5
"""Longest time a cancel waits for a picture that is just being written."""

_MAX_SEED = 2**32


class PipelineExecutor:
    """Runs chains on a backend, one at a time.

    events: all runs' StageEvents, hot: a late subscriber gets only what comes later. It never completes or fails.
    previews: pictures of the image in work, hot.

    Args:
        backend: what draws.
        scheduler: runs everything and tells the time; None for a daemon thread of each run's own.
    """

    def __init__(self, backend: Backend, *, scheduler: abc.SchedulerBase | None = None) -> None:
        self.backend = backend
        self._scheduler = scheduler
        self._subject: EventSubject[StageEvent] = EventSubject()
        self._previews: EventSubject[StagePreview] = EventSubject()
        self._start_lock = threading.Lock()
        self._active: Run | None = None
        self._runs: weakref.WeakValueDictionary[str, Run] = weakref.WeakValueDictionary()
        self.events: Observable[StageEvent] = self._subject.observable
        self.previews: Observable[StagePreview] = self._previews.observable
        log_events(self.events)

    @property
    def active(self) -> Run | None:
        """The run that is going on, None if none is."""
        return self._active

    def find(self, run_id: str) -> Run | None:
        """The run of that id, at least until everybody was told of its end."""
        return self._runs.get(run_id)

    def start(self, job: PipelineConfig | Chain, *, inputs: Sequence[Path | str] = ()) -> Run:
        """Begin a run; returns at once, everything else happens on the run's scheduler.

        Args:
            job: a config, or a chain made in code.
            inputs: pictures to start from, instead of those that the job names.

        Raises:
            PlanError: no stage is enabled, or the stages cannot work as composed.
            BadImage: an input picture does not exist, or is none.
            RunActive: another run is going on.
        """
        chain = build_chain(_with_inputs(job, inputs))
        chain.plan.check()
        with self._start_lock:
            if self._active is not None:
                raise RunActive(
                    f"run {self._active.run_id} is still going on, and an executor runs one at a time.",
                    hint="Wait for it, cancel it, or use another executor.",
                )
            run = Run(
                chain,
                self.backend,
                scheduler=self._scheduler,
                subject=self._subject,
                previews=self._previews.on_next,
                ended=self._on_run_ended,
            )
            self._active = self._runs[run.run_id] = run
        run.begin()
        return run

    def _on_run_ended(self, put_end: Callable[[], None]) -> None:
        with self._start_lock:  # who hears of the end may start the next run, and no RunStart comes before the end
            self._active = None
            put_end()


def _with_inputs(job: PipelineConfig | Chain, inputs: Sequence[Path | str]) -> PipelineConfig | Chain:
    if not inputs:
        return job
    paths = tuple(Path(path) for path in inputs)
    if isinstance(job, Chain):
        return with_settings(job, input=paths)
    return PipelineConfig.model_validate({**dict(job), "input": paths})


class Run(abc.DisposableBase):
    """A run that was started. Disposing it, `cancel()` and a controller's cancel are the same thing.

    run_id: its name in every event. plan: what was decided. seed: of the first image.
    """

    def __init__(
        self,
        chain: Chain,
        backend: Backend,
        *,
        scheduler: abc.SchedulerBase | None,
        subject: EventSubject[StageEvent],
        previews: Callable[[StagePreview], None],
        ended: Callable[[Callable[[], None]], None],
    ) -> None:
        # The thread of either starts only if it is used.
        self._worker = WorkerScheduler("rxpipe-run", failed=self._on_worker_error)
        self._saver = WorkerScheduler("rxpipe-saver", failed=self._on_worker_error)
        self._scheduler: abc.SchedulerBase = scheduler or self._worker
        self._chain, self._subject, self._on_ended = chain, subject, ended
        self.plan: StageExecutionPlan = chain.plan
        self.run_id = self.plan.run_id or f"{self._now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        self.seed = secrets.randbelow(_MAX_SEED) if self.plan.seed is None else self.plan.seed
        self._sources = list(sources(self.plan, self.run_id, self.seed))
        self._timeline = Timeline(self.run_id, self._now, subject)
        self._subscription = SingleAssignmentDisposable()
        self._state_lock = threading.Lock()
        self._begun = self._cancelled = self._closed = self._stopping = False
        self._done = threading.Event()
        self._warnings: tuple[str, ...] = ()
        self.artifacts: dict[tuple[str, int], Artifact] = {}
        self._result_lock = threading.RLock()  # a signal's handler may ask while the thread it interrupts is asking
        self._folded = PipelineRunResult(self.plan, self.artifacts), 0  # and of how many events
        self._written: list[Path] = []
        self._writer = ImageWriter(self.plan.settings.out) if self.plan.settings.out is not None else None
        saver = (scheduler or self._saver) if backend.overlap_saves or backend.queue_ahead else None
        self._context = self._shared(backend, previews, saver)

    def _shared(
        self, backend: Backend, previews: Callable[[StagePreview], None], saver: abc.SchedulerBase | None
    ) -> RunContext:
        """What the stages of this run share."""
        return RunContext(
            backend=backend,
            timeline=self._timeline,
            previews=previews,
            now=self._now,
            settings=self.plan.settings,
            stage_count=len(self.plan.stages),
            write=self._write,
            saver=saver,
            stopped=lambda: self._cancelled or self._closed,
            finished=self._remember_artifact,
            image_left=self._image_left,
            gave_up=self._failed,
        )

    # -- for users ------------------------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether the run has ended and everybody was told."""
        return self._done.is_set()

    @property
    def result(self) -> PipelineRunResult:
        """What the run amounts to by now. Asked for often, each event is folded once."""
        with self._result_lock:
            folded, count = self._folded
            news = self._timeline.events[count:]
            folded = folded.extended(news)
            self._folded = folded, count + len(news)
            return folded

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the run has ended and all subscribers were told; False if it has not within *timeout_s* seconds.

        Waits in slices, so that Ctrl+C gets through.

        Raises:
            RuntimeError: inside a subscriber or a stage's function, where it would wait for itself.
        """
        if not self.done and (self._subject.is_delivering_here or self._worker.thread is threading.current_thread()):
            raise RuntimeError(
                f"run {self.run_id}: wait() inside a subscriber or a stage would wait for itself; "
                "use start(), and listen for RunEnd"
            )
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._done.wait(0.1 if end is None else min(0.1, max(0.0, end - time.monotonic()))):
            if end is not None and time.monotonic() >= end:
                return False
        return True

    def cancel(self) -> None:
        """End the run at once, from any thread: no further backend call, the running one interrupted, RunEnd told.

        Finished images are kept. Returns when the timeline is closed, in at most 0.5 s and as a rule in no time.
        Harmless twice, and after the end.
        """
        with self._state_lock:
            if self._cancelled or self._closed:
                return
            self._cancelled = True
        self._disconnect()
        committed = self._context.commit.acquire(timeout=GRACE_S)  # a picture being written is finished and told
        try:
            self._warn_if_blocking()
            self._close("cancelled")
        finally:
            if committed:
                self._context.commit.release()

    def dispose(self) -> None:
        """The same as `cancel()`."""
        self.cancel()

    def skip_image(self) -> bool:
        """Give up the image in work and go on with the next; it counts as cancelled.

        False if none is in work: one whose picture is there and only being written is done.
        """
        stage = self._context.current
        if stage is None or self._closed:
            return False
        return any(cell.skip() for cell in tuple(stage.in_flight))

    def stop_after_image(self) -> None:
        """Cancel once the image in work has left its stage; at once if none is in work."""
        self._stopping = True
        stage = self._context.current
        if self._begun and (stage is None or not stage.in_flight):
            self.cancel()

    # -- the course of a run --------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Schedule the run; called by the executor, once."""
        self._scheduler.schedule(self._begin)

    def _begin(self, *_: object) -> None:
        try:
            self._connect()
        except Exception as error:  # noqa: BLE001  # the backend's word, or a bug of somebody's; it ends the run, told
            self._failed(error)

    def _connect(self) -> None:
        self._emit_run_start()
        if self._cancelled or self._stopping:
            self.cancel()
            return
        if self._writer is not None:
            self._writer.prepare()
        self._warnings = tuple(self._context.backend.check(self.plan))
        if self._cancelled:
            return
        images = self._chain.connect(self._context, rx.from_iterable(self._sources))
        self._subscription.disposable = images.subscribe(
            on_error=self._failed, on_completed=self._completed, scheduler=self._scheduler
        )

    def _emit_run_start(self) -> None:
        """RunStart, unless it was told: a run that is cancelled before it begins has one too."""
        self._begun = True
        fields = {"stages": self.plan.stage_types, "images": self.plan.images, "config": self._digest}
        self._timeline.emit(RunStart, fields)

    @cached_property
    def _digest(self) -> str:
        """Of what was wished; asked for wherever a run may have to be announced, made once."""
        return hashlib.sha256(repr(self.plan).encode(errors="surrogatepass")).hexdigest()[:16]

    def _completed(self) -> None:
        for stage in self._context.stages:  # one that is still open: an operator behind it wanted no more of its images
            stage.end(filtered=stage.unaccounted)
        tally = self.result.tally
        if not tally.failed and not tally.cancelled:
            self._close("completed")
        elif tally.done:
            self._close("partial", self._last_error())
        else:
            self._close("failed" if tally.failed else "cancelled", self._last_error())

    def _failed(self, error: BaseException) -> None:
        self._close("failed", None if isinstance(error, StageAborted) else ErrorInfo.of(error))

    def _on_worker_error(self, error: BaseException) -> None:
        """End the run over what an action of its own threads raised, which no observable will tell."""
        stage = self._context.current
        self._failed(stage.fail(as_rxpipe_error(error, stage)) if stage and isinstance(error, Exception) else error)

    def _last_error(self) -> ErrorInfo | None:
        failed = [record for record in self.result.records if record.outcome == "failed"]
        last = failed[-1] if failed else None
        if last is None or last.error is None:
            return None
        stage = self._context.stages[last.stage_index]
        return _with_stage(f"{stage.where}, image {last.image_index}", last.error)

    def _close(self, status: RunOutcome, error: ErrorInfo | None = None) -> None:
        with self._state_lock:
            if self._closed:
                return
            self._closed = True
        self._emit_run_start()
        self._disconnect()
        self._timeline.end_stages()
        if (failure := self._context.failure) is not None:  # a stage that failed decides, whoever ends the run
            failure.stage.fail(failure.error)  # heard only where its own thread has not come to it yet
            status, error = "failed", _with_stage(failure.stage.where, ErrorInfo.of(failure.error))
        for stage in self._context.stages:
            in_work = status == "cancelled" and stage is self._context.current
            stage.cancel(stage.next_index if in_work else None)
        self._delete_intermediate_files()
        end = {"status": status, "error": error, "warnings": self._warnings}
        self._on_ended(lambda: self._timeline.put(RunEnd, end))
        self._subject.call_when_drained(self._mark_done)
        self._worker.close()
        self._saver.close()

    def _mark_done(self) -> None:
        self._done.set()  # through a method of the run, by which the queue keeps it known until then

    def _disconnect(self) -> None:
        self._context.lane.close()
        self._subscription.dispose()

    def _warn_if_blocking(self) -> None:
        stage = self._context.current
        thread = self._worker.thread
        if stage and stage.in_flight and stage.blocking and thread and thread is not threading.current_thread():
            logger.bind(run=self.run_id, stage=stage.execution.stage_type).warning(
                "{} is still inside its function; its thread is left behind and its result will be dropped", stage.where
            )

    def _image_left(self) -> None:
        if self._stopping:
            self.cancel()

    # -- pictures -------------------------------------------------------------------------------------------------

    def _now(self) -> datetime:
        return self._scheduler.now.astimezone(UTC)

    def _write(self, artifact: Artifact, execution: StageExecution) -> Artifact:
        if self._writer is None:
            return artifact
        written = self._writer.write(artifact, execution, self._now().astimezone())
        if written.path is not None:
            self._written.append(written.path)
        return written

    def _remember_artifact(self, artifact: Artifact, stage_index: int) -> None:
        self.artifacts[artifact.id, stage_index] = artifact

    def _delete_intermediate_files(self) -> None:
        """With save="final": each image keeps the last of its files, one that was filtered out keeps none."""
        if self.plan.settings.save != "final":
            return
        filtered = {variant.artifact_id for variant in self.result.variants if variant.outcome == "filtered"}
        wanted = {record.path for record in self.result.images if record.artifact_id not in filtered}
        for path in self._written:
            if path not in wanted:
                with contextlib.suppress(OSError):  # a viewer holds it: better a file too many than an error now
                    path.unlink()
                    path.parent.rmdir()  # only if nothing else is in it
                    path.parent.parent.rmdir()


def _with_stage(where: str, error: ErrorInfo) -> ErrorInfo:
    return error.model_copy(update={"message": f"{where}: {error.message}"})
