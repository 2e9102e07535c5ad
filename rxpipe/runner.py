"""The runner: runs a pipeline and gives its PipelineRunResult; blocking, or live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.backends.base import Backend
from rxpipe.executor import PipelineExecutor
from rxpipe.rx.subject import EventSubject, to_excepthook

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from reactivex import Observable

    from rxpipe.chains import Chain
    from rxpipe.config import PipelineConfig
    from rxpipe.events import StageEvent, StagePreview
    from rxpipe.executor import Run
    from rxpipe.plan import StageExecutionPlan
    from rxpipe.result import PipelineRunResult, RunUpdate


class PipelineRunner:
    """Runs pipelines and keeps what they result in.

    events, previews: the executor's, hot, on the threads they happen on.
    results: the result after every event, on the thread of the event; a late subscriber first gets the latest.

    Args:
        executor: or a backend, for an executor of the runner's own.
    """

    def __init__(self, executor: PipelineExecutor | Backend) -> None:
        self.executor = PipelineExecutor(executor) if isinstance(executor, Backend) else executor
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
        """The plan of that run."""
        return self._latest.plan if self._latest else None

    def start(self, job: PipelineConfig | Chain, *, inputs: Sequence[Path | str] = ()) -> Run:
        """Begin a run and return at once; errors as in `PipelineExecutor.start`."""
        return self.executor.start(job, inputs=inputs)

    def run(self, job: PipelineConfig | Chain, *, inputs: Sequence[Path | str] = ()) -> PipelineRunResult:
        """Run to the end and return the result, whatever it is; call `raise_for_status()` on it to have it raise.

        Ctrl+C cancels the run, keeps what is finished (see `last_result`), and is then raised.

        Raises:
            PlanError, ConfigError, BadImage, RunActive: as in `PipelineExecutor.start`, before anything runs.
        """
        run = self.start(job, inputs=inputs)
        try:
            run.wait()
        except KeyboardInterrupt:
            _cancel(run)
            raise
        return run.result

    def _publish(self, update: RunUpdate) -> None:
        self._latest = update.result
        self._results.on_next(update.result)


def _cancel(run: Run) -> None:
    try:
        run.cancel()
        run.wait(1.0)
    except KeyboardInterrupt:  # a second Ctrl+C must not leave the run in progress
        run.cancel()
        raise
