"""The course of a run: its events, threads, files and journal, from RunStart over the chain to RunEnd."""

from __future__ import annotations

import hashlib
import secrets
import threading
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from reactivex.observer import Observer

from rxpipe.backends.base import check_slots
from rxpipe.chains import sources
from rxpipe.config import CustomConfig
from rxpipe.continuing import journal_of
from rxpipe.errors import ConfigError
from rxpipe.events import ErrorInfo, RunEnd, RunStart
from rxpipe.logs import logger
from rxpipe.rx.worker import WorkerScheduler
from rxpipe.sinks.images import ImageWriter
from rxpipe.sinks.names import pattern_of
from rxpipe.sinks.output import FileStore
from rxpipe.stages.cell import as_rxpipe_error
from rxpipe.stages.scope import InMemory
from rxpipe.stages.session import Session
from rxpipe.stages.timeline import new_run_id
from rxpipe.stages.tracker import StageAborted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reactivex import Observable, abc

    from rxpipe.backends.base import Backend
    from rxpipe.chains import Chain
    from rxpipe.events import StageEvent, StagePreview
    from rxpipe.plan import StageExecutionPlan
    from rxpipe.result import RunUpdate
    from rxpipe.rx.subject import EventSubject
    from rxpipe.sinks.files import Files
    from rxpipe.store.reading import Store
    from rxpipe.store.resuming import Resumption

_MAX_SEED = 2**32


class RunSession(Session):
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
        on_end: Callable[[RunSession, Callable[[], None]], None],
        store: Store | None = None,
        resumed: Resumption | None = None,
    ) -> None:
        # The thread of either starts only if it is used.
        self.events: Observable[StageEvent] = updates.select(attrgetter("event"))
        self._worker = WorkerScheduler("rxpipe-run", failed=self._on_worker_error)
        self._saver = WorkerScheduler("rxpipe-saver", failed=self._on_worker_error)
        clock: abc.SchedulerBase = scheduler or self._worker
        self.plan: StageExecutionPlan = chain.plan
        run_id, self.seed = _identity(self.plan, resumed, clock.now.astimezone(UTC))
        self.done = threading.Event()
        self._digest = (resumed.config if resumed else "") or _digest(self.plan)
        self._chain, self._updates, self._on_end = chain, updates, on_end
        self._images = chain.images.seeded(self.seed)
        self._sources = sources(self.plan, run_id, self.seed, self._images)
        self._warnings: tuple[str, ...] = ()
        saver = (scheduler or self._saver) if check_slots(backend) > 1 else None
        keeper = run_id if store else None
        self._files = _file_store(self.plan, files, now=self._now, saver=saver, keeper=keeper)
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
        self._warnings = tuple(dict.fromkeys(self.scope.backend.check(self._images.checked(self.plan))))
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
        return _with_stage(f"{tracker.where}, image {last.image_number}", last.error)

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


def _identity(plan: StageExecutionPlan, resumed: Resumption | None, now: datetime) -> tuple[str, int]:
    """Return the run's id and the seed of its first image: those that it had or was given, else random ones."""
    drawn = resumed.seed if resumed else secrets.randbelow(_MAX_SEED)
    given = (resumed.run_id if resumed else None) or plan.run_id
    return given or new_run_id(now), drawn if plan.seed is None else plan.seed


def _file_store(
    plan: StageExecutionPlan,
    files: Files | None,
    *,
    now: Callable[[], datetime],
    saver: abc.SchedulerBase | None,
    keeper: str | None,
) -> FileStore | None:
    """Return what writes the pictures, None where they stay in memory. *keeper*: the run's id, if a store keeps it."""
    settings = plan.settings
    if settings.out is None:
        return None
    writer = ImageWriter(
        settings.out,
        pattern=pattern_of(plan),
        format=settings.format,
        quality=settings.quality,
        embed=settings.embed,
        files=files,
        owner=keeper or "",
    )
    final = settings.save == "final"
    return FileStore(
        writer,
        now,
        saver,
        synced_from=_last_drawing(plan) if final else 0,
        supersedes=final and keeper is None,  # a resumed run begins from them all
    )


def _last_drawing(plan: StageExecutionPlan) -> int:
    """Return the index of the last stage that a backend renders; 0 where none does."""
    return max((stage.stage_index for stage in plan.stages if not isinstance(stage.config, CustomConfig)), default=0)


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
