"""The runner: an executor's events folded with `scan` into a PipelineRunResult; blocking, or live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reactivex import operators as ops

from rxpipe.backends.base import Backend
from rxpipe.events import RunStart
from rxpipe.executor import PipelineExecutor
from rxpipe.result import PipelineRunResult, reduce
from rxpipe.rx.subject import EventSubject, to_excepthook

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from reactivex import Observable

    from rxpipe.chains import Chain
    from rxpipe.config import PipelineConfig
    from rxpipe.events import StageEvent
    from rxpipe.executor import Run
    from rxpipe.plan import StageExecutionPlan


class PipelineRunner:
    """Runs pipelines and tells what they amount to.

    executor: its `events` and `previews` are live and hot.
    results: the result by now after every event, on the thread of the event; a late subscriber first gets the latest.

    Args:
        executor: or a backend, for an executor of the runner's own.
    """

    def __init__(self, executor: PipelineExecutor | Backend) -> None:
        self.executor = PipelineExecutor(executor) if isinstance(executor, Backend) else executor
        self._results: EventSubject[PipelineRunResult] = EventSubject(replay_latest=True)
        self._latest: PipelineRunResult | None = None
        self.results: Observable[PipelineRunResult] = self._results.observable
        self.executor.events.pipe(ops.scan(self._folded, PipelineRunResult())).subscribe(
            self._publish, on_error=to_excepthook
        )

    @property
    def last_result(self) -> PipelineRunResult | None:
        """The result of the run that is going on or was last; None before the first."""
        return self._latest

    @property
    def last_plan(self) -> StageExecutionPlan | None:
        """The plan of that run."""
        return self._latest.plan if self._latest else None

    def start(self, job: PipelineConfig | Chain, *, inputs: Sequence[Path | str] = ()) -> Run:
        """Begin a run and return at once; errors as in `PipelineExecutor.start`."""
        return self.executor.start(job, inputs=inputs)

    def run(self, job: PipelineConfig | Chain, *, inputs: Sequence[Path | str] = ()) -> PipelineRunResult:
        """Run to the end and return the result, whatever it is; `raise_for_status()` on it raises for who wants that.

        Ctrl+C cancels the run, keeps what is finished (see `last_result`), and is then raised.

        Raises:
            PlanError, BadImage, RunActive: as in `PipelineExecutor.start`, before anything runs.
        """
        run = self.start(job, inputs=inputs)
        try:
            run.wait()
        except KeyboardInterrupt:
            run.cancel()
            run.wait(1.0)
            raise
        return run.result

    def _folded(self, result: PipelineRunResult, event: StageEvent) -> PipelineRunResult:
        if isinstance(event, RunStart):
            run = self.executor.find(event.run_id)
            result = PipelineRunResult(run.plan, run.artifacts) if run else PipelineRunResult()
        return reduce(result, event)

    def _publish(self, result: PipelineRunResult) -> None:
        self._latest = result
        self._results.on_next(result)
