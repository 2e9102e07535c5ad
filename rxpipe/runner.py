"""The runner: runs a pipeline and returns its PipelineRunResult, or publishes it while the run is in progress."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.errors import ConfigError
from rxpipe.executor import PipelineExecutor
from rxpipe.rx.subject import EventSubject, to_excepthook
from rxpipe.stages.at_exit import EndSignals

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from reactivex import Observable

    from rxpipe.backends.base import Backend
    from rxpipe.chains import Chain
    from rxpipe.config import PipelineConfig
    from rxpipe.events import StageEvent, StagePreview
    from rxpipe.plan import StageExecutionPlan
    from rxpipe.result import PipelineRunResult, RunUpdate
    from rxpipe.run import Run
    from rxpipe.store.reading import Store

_SLICE_S = 0.1  # between two looks for a signal


class PipelineRunner:
    """Runs pipelines and keeps the latest result.

    events, previews: those of the executor; hot, emitted on the thread where they occur.
    results: the result after every event, on the thread of the event; a late subscriber first gets the latest.

    Args:
        executor: runs the chains; given a backend, the runner makes its own executor.
        store: of that executor of its own; see `PipelineExecutor`.

    Raises:
        ConfigError: what was given as a backend is none; or a store beside an executor, which has its own.
    """

    def __init__(self, executor: PipelineExecutor | Backend, *, store: Store | Path | str | None = None) -> None:
        if isinstance(executor, PipelineExecutor) and store is not None:
            raise ConfigError(["store: an executor was given, which has its own; give the store to that"])
        self.executor = executor if isinstance(executor, PipelineExecutor) else PipelineExecutor(executor, store=store)
        self._results: EventSubject[PipelineRunResult] = EventSubject(replay_latest=True)
        self._latest: PipelineRunResult | None = None
        self.events: Observable[StageEvent] = self.executor.events
        self.previews: Observable[StagePreview] = self.executor.previews
        self.results: Observable[PipelineRunResult] = self._results.observable
        self.executor.updates.subscribe(self._publish, on_error=to_excepthook)

    @property
    def last_result(self) -> PipelineRunResult | None:
        """The result of the run in progress or the last one; None before the first."""
        return self._latest

    @property
    def last_plan(self) -> StageExecutionPlan | None:
        """The plan of that run; None before the first, and of a run without one."""
        return self._latest.plan if self._latest else None

    def start(self, job: PipelineConfig | Chain, *, inputs: Sequence[Path | str] = (), reuse: str | None = None) -> Run:
        """Start a run and return immediately; takes and raises what `PipelineExecutor.start` does."""
        return self.executor.start(job, inputs=inputs, reuse=reuse)

    def run(
        self, job: PipelineConfig | Chain, *, inputs: Sequence[Path | str] = (), reuse: str | None = None
    ) -> PipelineRunResult:
        """Run to the end and return the result, whatever its status; see `raise_for_status()` of it.

        Args:
            job: a config, or a chain made in code.
            inputs: pictures to start from, folders of them or patterns, instead of those that the job names.
            reuse: id of a run in the store, whose images are taken over where they are drawn in the same way.

        Ctrl+C cancels the run and is raised again; what is finished is kept (see `last_result`). SIGTERM and SIGHUP,
        where the program has no handler for them, cancel it too before they end the process.

        Raises:
            PlanError, ConfigError, BadImage, RunActive, StoreError: as in `PipelineExecutor.start`, before anything
                runs.
        """
        return _finished(self.start(job, inputs=inputs, reuse=reuse))

    async def run_async(
        self, job: PipelineConfig | Chain, *, inputs: Sequence[Path | str] = (), reuse: str | None = None
    ) -> PipelineRunResult:
        """Run to the end on an asyncio loop and return the result, as `run` does; cancelling the task cancels the run.

        Raises:
            PlanError, ConfigError, BadImage, RunActive, StoreError: as `run`, before anything runs.
        """
        return await self.start(job, inputs=inputs, reuse=reuse)

    def resume(
        self, run_id: str, job: Chain | None = None, *, redraw: Collection[str] | bool = ()
    ) -> PipelineRunResult:
        """Continue a run of the store to its end and return its result, folded from the events of all its attempts.

        Takes what `PipelineExecutor.resume` takes; Ctrl+C as in `run`.

        Raises:
            ResumeError, StoreError, BadImage, RunActive: as in `PipelineExecutor.resume`, before anything runs.
        """
        return _finished(self.executor.resume(run_id, job, redraw=redraw))

    def _publish(self, update: RunUpdate) -> None:
        self._latest = update.result
        self._results.on_next(update.result)


def _finished(run: Run) -> PipelineRunResult:
    """Wait for a run and return its result; Ctrl+C cancels it and is raised again."""
    try:
        with EndSignals() as signals:
            while not run.wait(_SLICE_S) and signals.received is None:
                pass
    except KeyboardInterrupt:
        _cancel(run)
        raise
    return run.result


def _cancel(run: Run) -> None:
    try:
        run.cancel()
        run.wait(1.0)
    except KeyboardInterrupt:  # a second Ctrl+C must not leave the run in progress
        run.cancel()
        raise
