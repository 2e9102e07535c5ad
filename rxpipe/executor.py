"""The executor: one run at a time, with hot events and a cancel that does not wait for the running stage.

Each run has a worker thread of its own (or the scheduler it was given), so that a function that never returns can be
left behind: the thread that cancels closes the timeline.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import threading
import time
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from reactivex import Observable, abc
from reactivex.observer import Observer

from rxpipe.backends.base import Backend
from rxpipe.chains import Chain, build_chain, sources, with_settings
from rxpipe.config import PipelineConfig
from rxpipe.continuing import continued, journal_of, needed
from rxpipe.errors import ConfigError, RunActive
from rxpipe.events import ErrorInfo, RunEnd, RunStart, StagePreview
from rxpipe.logs import logger
from rxpipe.pictures.folders import pictures_at
from rxpipe.rx.aio import iterate
from rxpipe.rx.subject import EventSubject
from rxpipe.rx.worker import WorkerScheduler
from rxpipe.sinks.images import ImageWriter
from rxpipe.sinks.log import log_events
from rxpipe.sinks.names import pattern_of
from rxpipe.sinks.output import FileStore
from rxpipe.stages.cell import as_rxpipe_error
from rxpipe.stages.scope import InMemory
from rxpipe.stages.session import Session
from rxpipe.stages.tracker import StageAborted
from rxpipe.store.reading import Store
from rxpipe.store.resuming import taken_over

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Generator, Iterator, Sequence

    from rxpipe.events import StageEvent
    from rxpipe.plan import StageExecutionPlan
    from rxpipe.result import PipelineRunResult, RunUpdate
    from rxpipe.sinks.files import Files
    from rxpipe.store.resuming import Resumption

_MAX_SEED = 2**32
_SLICE_S = 0.1


class PipelineExecutor:
    """Runs chains on a backend, one at a time.

    updates: all runs' events, each with the result that includes it. Hot, as are the other two: a late subscriber gets
        only what comes later. They never complete or fail.
    events: the events alone.
    previews: pictures of the image in progress.

    Args:
        backend: renders.
        scheduler: runs everything and is the clock; None for a daemon thread per run.
        files: the calls to the file system, for tests with faults (`rxpipe.testing.FaultyFiles`); None: the real ones.
        store: keeps every run, so that it can be resumed; or the path of one. None: nothing is kept.

    Raises:
        ConfigError: what was given as a backend is none.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        scheduler: abc.SchedulerBase | None = None,
        files: Files | None = None,
        store: Store | Path | str | None = None,
    ) -> None:
        if not isinstance(backend, Backend):
            raise ConfigError(
                [f"a backend is expected, and came: {type(backend).__name__}"],
                hint="Give what rxpipe.open_backend(address) returns, or a subclass of rxpipe.Backend.",
            )
        self.backend = backend
        self.store = Store(store) if isinstance(store, Path | str) else store
        self._files = files
        self._scheduler = scheduler
        self._updates: EventSubject[RunUpdate] = EventSubject()
        self._previews: EventSubject[StagePreview] = EventSubject()
        self._start_lock = threading.RLock()
        self._active: Run | None = None
        self._session: _RunSession | None = None
        self.updates: Observable[RunUpdate] = self._updates.observable
        self.events: Observable[StageEvent] = self._updates.select(attrgetter("event"))
        self.previews: Observable[StagePreview] = self._previews.observable
        log_events(self.events)

    @property
    def active(self) -> Run | None:
        """The run in progress, None if there is none."""
        return self._active

    @property
    def subscribers(self) -> int:
        """How many subscribers the events and updates have, the log included."""
        return self._updates.subscribers

    def start(self, job: PipelineConfig | Chain, *, inputs: Sequence[Path | str] = (), reuse: str | None = None) -> Run:
        """Start a run and return immediately; everything else happens on the run's scheduler.

        Args:
            job: a config, or a chain made in code.
            inputs: pictures to start from, folders of them or patterns, instead of those that the job names.
            reuse: id of a run in the store: an image that it drew in the same way is taken over, and a random seed is
                the one that it had. None: everything is drawn.

        Raises:
            PlanError: no stage is enabled, or the stages cannot work as composed.
            ConfigError: a setting cannot be recorded.
            BadImage: an input file does not exist, or is not a picture.
            RunActive: another run is in progress.
            StoreError: the store has no run of the id in *reuse*, or cannot be read.
        """
        chain = build_chain(_with_inputs(job, inputs))
        return self._start(chain, None if reuse is None else taken_over(needed(self.store), reuse))

    def resume(self, run_id: str, job: Chain | None = None, *, redraw: Collection[str] | bool = ()) -> Run:
        """Continue a run of the store where it stood, and return immediately.

        An image that a stage has finished is taken from its file, if that is intact; the others are drawn, with the
        same seeds. The events are those of a whole run; what was taken over has `resumed`.

        Args:
            run_id: as in its events.
            job: the chain of a run with stages of your own, whose functions no store holds. None: the stages as they
                were recorded.
            redraw: names of stages of your own whose code changed, to draw their images anew; True for all.

        Raises:
            ResumeError: it kept its pictures in memory, another process runs it, or its stages changed; the message
                says which, and what can be done.
            StoreError: the store has no such run, or cannot be read.
            BadImage, RunActive: as of `start`.
        """
        chain, resumed = continued(needed(self.store), run_id, job, redraw)
        try:
            return self._start(chain, resumed)
        except BaseException:
            resumed.release()
            raise

    def _start(self, chain: Chain, resumed: Resumption | None) -> Run:
        chain.plan.check(chain.images)
        if (active := self._active) is not None and active.pid == os.getpid():
            active.finish()  # completes a cancel that was interrupted; else does nothing
        with self._start_lock:
            if self._active is not None and self._active.pid == os.getpid():  # else a fork left it with its parent
                raise RunActive(
                    f"run {self._active.run_id} is still in progress, and an executor runs one at a time.",
                    hint="Wait for it, cancel it, or use another executor.",
                )
            session = _RunSession(
                chain,
                self.backend,
                scheduler=self._scheduler,
                files=self._files,
                updates=self._updates,
                previews=self._previews.on_next,
                on_end=self._end_run,
                store=self.store,
                resumed=resumed,
            )
            run = self._active = Run(session)
            self._session = session
        try:
            session.begin()
        except BaseException:  # an interrupt between the two: a run that never begins must not block the next
            run.cancel()
            raise
        return run

    def _end_run(self, session: _RunSession, put_end: Callable[[], None]) -> None:
        with self._start_lock:  # a subscriber to the end may start the next run, and no RunStart comes before the end
            if session is self._session:  # a step that is run again after an interrupt must not end the next run
                self._session = self._active = None
            put_end()


def _with_inputs(job: PipelineConfig | Chain, inputs: Sequence[Path | str]) -> PipelineConfig | Chain:
    if not inputs:
        return job
    paths = tuple(pictures_at(inputs))
    if isinstance(job, Chain):
        return with_settings(job, input=paths)
    return PipelineConfig.model_validate({**dict(job), "input": paths})


class Run(abc.DisposableBase):
    """A run that was started. Disposing it, `cancel()` and a controller's cancel are the same.

    run_id: its name in every event. plan: of its stages. seed: of the first image. pid: of the process it runs in.
    """

    def __init__(self, session: _RunSession) -> None:
        self._session = session
        self.plan: StageExecutionPlan = session.plan
        self.run_id = session.timeline.run_id
        self.seed = session.seed
        self.pid = os.getpid()

    @property
    def done(self) -> bool:
        """Whether the run has ended and all subscribers were notified."""
        return self._session.done.is_set()

    @property
    def result(self) -> PipelineRunResult:
        """The result so far."""
        return self._session.timeline.result

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the run has ended and all subscribers were notified; return False after *timeout_s* seconds.

        Waits in slices, so that Ctrl+C gets through.

        Raises:
            RuntimeError: inside a subscriber or a stage's function, where it would wait for itself, or in another
                process, where it does not run.
        """
        if not self.done and self.pid != os.getpid():
            raise RuntimeError(
                f"run {self.run_id}: it runs in process {self.pid}, which was forked; start another here"
            )
        if not self.done and self._session.is_calling:
            raise RuntimeError(
                f"run {self.run_id}: wait() inside a subscriber or a stage would wait for itself; "
                "use start(), and listen for RunEnd"
            )
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            self.finish()
            slice_s = _SLICE_S if end is None else min(_SLICE_S, max(0.0, end - time.monotonic()))
            if self._session.done.wait(slice_s):
                return True
            if end is not None and time.monotonic() >= end:
                return False

    def __await__(self) -> Generator[Any, None, PipelineRunResult]:
        """Wait for the end on an asyncio loop, and return the result; cancelling the task cancels the run."""
        return self._awaited().__await__()

    async def _awaited(self) -> PipelineRunResult:
        async with contextlib.aclosing(self.events_async()) as events:
            async for _ in events:
                pass
        return self.result

    async def events_async(self) -> AsyncGenerator[StageEvent, None]:
        """Yield the events of the run on an asyncio loop: those that it has had, then each as it comes, to its RunEnd.

        Cancelling the task cancels the run; leaving the loop, with `break`, does not.
        """
        early: dict[int, StageEvent] = {}  # what is live may come before what was
        try:
            async with contextlib.aclosing(iterate(Observable(self._replay))) as events:
                seq = 0
                async for came in events:
                    early[came.seq] = came
                    while (event := early.pop(seq, None)) is not None:
                        seq += 1
                        yield event
                        if isinstance(event, RunEnd):
                            return
        except asyncio.CancelledError:
            await asyncio.get_running_loop().run_in_executor(None, self.cancel)
            raise

    def _replay(self, observer: abc.ObserverBase[StageEvent], _: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        """Send the events of this attempt, some of them twice."""

        def on_next(event: StageEvent) -> None:
            if event.run_id == self.run_id:
                observer.on_next(event)

        listening = self._session.events.subscribe(on_next, observer.on_error)
        begun = self.result.events
        first = max((n for n, event in enumerate(begun) if isinstance(event, RunStart)), default=len(begun))
        for event in begun[first:]:
            observer.on_next(event)
        return listening

    def cancel(self) -> None:
        """End the run from any thread: make no further backend call, interrupt the running one, emit RunEnd.

        Finished images are kept. Returns when the timeline is closed: immediately, or within 0.5 s while a picture is
        being written. Harmless twice, and after the end.
        """
        self._session.control.cancel()

    def dispose(self) -> None:
        """Cancel, as `cancel()` does."""
        self.cancel()

    def finish(self) -> None:
        """Complete a cancel that an interrupt (a second Ctrl+C) cut short; do nothing in any other case.

        `wait()` and the next `start()` do so by themselves.
        """
        self._session.control.finish()

    def skip_image(self, image_index: int | None = None) -> bool:
        """Skip an image in progress and continue with the next; it counts as cancelled.

        Args:
            image_index: its index in its stage; None for the image that has been in progress for longest.

        Returns:
            False if there is no such image; one whose picture is being written is done.
        """
        return self._session.control.skip(image_index)

    def stop_after_image(self) -> None:
        """Begin no further image, and cancel once those in progress have finished their stage (now, if none is)."""
        self._session.control.stop_after_image()


class _RunSession(Session):
    """The course of a run: from RunStart over the chain to RunEnd."""

    def __init__(
        self,
        chain: Chain,
        backend: Backend,
        *,
        scheduler: abc.SchedulerBase | None,
        files: Files | None,
        updates: EventSubject[RunUpdate],
        previews: Callable[[StagePreview], None],
        on_end: Callable[[_RunSession, Callable[[], None]], None],
        store: Store | None = None,
        resumed: Resumption | None = None,
    ) -> None:
        # The thread of either starts only if it is used.
        self.events: Observable[StageEvent] = updates.select(attrgetter("event"))
        self._worker = WorkerScheduler("rxpipe-run", failed=self._on_worker_error)
        self._saver = WorkerScheduler("rxpipe-saver", failed=self._on_worker_error)
        clock: abc.SchedulerBase = scheduler or self._worker
        now = clock.now.astimezone(UTC)
        self.plan: StageExecutionPlan = chain.plan
        drawn = resumed.seed if resumed else secrets.randbelow(_MAX_SEED)
        self.seed = drawn if self.plan.seed is None else self.plan.seed
        self.done = threading.Event()
        self._digest = (resumed.config if resumed else "") or _digest(self.plan)
        self._chain, self._updates, self._on_end = chain, updates, on_end
        run_id = self.plan.run_id or f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(6)}"
        run_id = (resumed.run_id if resumed else None) or run_id
        self._images = chain.images.seeded(self.seed)
        self._sources = sources(self.plan, run_id, self.seed, self._images)
        self._warnings: tuple[str, ...] = ()
        saver = (scheduler or self._saver) if backend.capacity + backend.queue_ahead > 1 else None
        out, owner = self.plan.settings.out, run_id if store else ""
        self._files = None if out is None else FileStore(_writer(out, self.plan, files, owner), self._now, saver)
        self._resumed = resumed
        self._journal = journal_of(
            store,
            chain,
            resumed,
            run_id=run_id,
            seed=self.seed,
            config=self._digest,
            backend=backend,
            clock=clock,
        )
        self._recording = self._journal.attach(updates.observable)
        super().__init__(
            run_id=run_id,
            backend=backend,
            settings=self.plan.settings,
            clock=clock,
            updates=updates,
            previews=previews,
            output=self._files or InMemory(saver),
            plan=self.plan,
            journal=self._journal,
            earlier=resumed.earlier if resumed else (),
            rescue=self._on_saver if scheduler is None else None,
        )
        self.control.on_over(
            self._warn_if_blocking,
            self._emit_run_start,
            self._close_files,
            self._end,
            self._end_once_delivered,
            self._worker.close,
            self._saver.close,
        )

    @property
    def is_calling(self) -> bool:
        """Whether the current thread is inside a subscriber or a stage of this run."""
        return self._updates.is_delivering_here or self._worker.thread is threading.current_thread()

    def begin(self) -> None:
        """Schedule the run; called by the executor, once."""
        self.scope.clock.schedule(self._begin)

    def _begin(self, *_: object) -> None:
        try:
            self._start()
        except Exception as error:  # noqa: BLE001  # what `check` refuses, or a bug of the backend; it ends the run
            self.control.end("failed", ErrorInfo.of(error))

    def _start(self) -> None:
        self._emit_run_start()
        if not self.control.start():
            self.control.cancel()
            return
        self._journal.begin()
        if self._files is not None:
            self._files.prepare()
            if self._resumed is not None and self._resumed.run_id is not None:
                self._files.resume(self._resumed.files)
        self._warnings = tuple(self.scope.backend.check(self.plan))
        if self.control.over:
            return
        images, trackers = self._chain.connect(self.scope, self._sources, self._images)
        self.connect(images, trackers, Observer(lambda _: None, self._failed, self._completed))

    def _emit_run_start(self) -> None:
        """Emit RunStart once; a run that is cancelled before it begins has one too."""
        fields = {"stages": self.plan.stage_types, "images": self.plan.images, "config": self._digest}
        self.timeline.emit(RunStart, {**fields, "attempt": self._journal.attempt})

    def _completed(self) -> None:
        for tracker in self.trackers:  # still open if an operator after it took no more of its images
            tracker.end(filtered=tracker.unaccounted)
        tally = self.timeline.result.tally
        if not tally.failed and not tally.cancelled:
            self.control.end("completed")
        elif tally.done:
            self.control.end("partial", self._last_error())
        else:
            self.control.end("failed" if tally.failed else "cancelled", self._last_error())

    def _failed(self, error: BaseException) -> None:
        self.control.end("failed", None if isinstance(error, StageAborted) else ErrorInfo.of(error))

    def _on_worker_error(self, error: BaseException) -> None:
        """End the run with an error raised by an action on one of its threads, which no observable reports."""
        latest = self.control.latest
        if latest is not None and isinstance(error, Exception):
            latest.tracker.fail(as_rxpipe_error(error, latest.tracker))
        else:
            self._failed(error)

    def _last_error(self) -> ErrorInfo | None:
        failed = [record for record in self.timeline.result.records if record.outcome == "failed"]
        last = failed[-1] if failed else None
        if last is None or last.error is None:
            return None
        tracker = self.trackers[last.stage_index]
        return _with_stage(f"{tracker.where}, image {last.image_index}", last.error)

    def _on_saver(self, action: Callable[[], None]) -> None:
        self._saver.schedule(lambda *_: action())

    def _now(self) -> datetime:
        return self.scope.now()

    # -- steps of the end -----------------------------------------------------------------------------------------

    def _warn_if_blocking(self) -> None:
        thread = self._worker.thread
        if thread is None or thread is threading.current_thread():
            return
        for tracker in {cell.tracker for cell in self.control.in_flight if cell.tracker.blocking}:
            logger.bind(run=self.timeline.run_id, stage=tracker.execution.stage_type).warning(
                "{} is still inside its function; its thread is left behind and its result will be dropped",
                tracker.where,
            )

    def _close_files(self) -> None:
        if self._files is None:
            return
        self._files.close()
        left = self._journal.resumes and self.control.outcome != "completed"  # what a resumed run begins from
        if self.plan.settings.save == "final" and not left:
            self._files.keep_final(self.timeline.result)

    def _end(self) -> None:
        outcome, error, failure = self.control.outcome, self.control.error, self.control.failure
        if failure is not None:  # a stage that failed decides, whatever ended the run
            outcome, error = "failed", _with_stage(failure.stage.where, ErrorInfo.of(failure.error))
        warnings = (*self._warnings, *self._journal.warnings)
        fields = {"status": outcome, "error": error, "warnings": warnings}
        self._on_end(self, lambda: self.timeline.put(RunEnd, fields))

    def _end_once_delivered(self) -> None:
        self._updates.call_when_drained(self._delivered)

    def _delivered(self) -> None:
        self._recording.dispose()
        self._journal.close()
        self.done.set()


def _writer(out: Path, plan: StageExecutionPlan, files: Files | None, owner: str) -> ImageWriter:
    settings = plan.settings
    return ImageWriter(
        out,
        pattern=pattern_of(plan),
        format=settings.format,
        quality=settings.quality,
        embed=settings.embed,
        files=files,
        owner=owner,
    )


def _with_stage(where: str, error: ErrorInfo) -> ErrorInfo:
    return error.model_copy(update={"message": f"{where}: {error.message}"})


def _digest(plan: StageExecutionPlan) -> str:
    """Return the digest of a plan, 16 hex digits.

    Raises:
        ConfigError: a value has no text, such as an integer of thousands of digits.
    """
    try:
        text = repr(plan)
    except Exception as error:
        where = next(_unprintable(plan.settings), "a setting")
        raise ConfigError([f"{where}: the value cannot be recorded ({type(error).__name__}: {error})"]) from error
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def _unprintable(value: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of the values whose repr raises."""
    items = dict(value) if isinstance(value, BaseModel) else value if isinstance(value, dict) else {}
    for name, item in items.items():
        inner = f"{path}.{name}" if path else str(name)
        try:
            repr(item)
        except Exception:  # noqa: BLE001  # whatever a value's own repr raises
            yield from _unprintable(item, inner)
            yield inner
