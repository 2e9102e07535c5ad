"""Session: a run, or a stage by itself: what its stages share, and the order in which it ends."""

from __future__ import annotations

import threading
from datetime import UTC
from typing import TYPE_CHECKING

from reactivex.disposable import SingleAssignmentDisposable

from rxpipe.backends.base import check_slots
from rxpipe.errors import ConfigError
from rxpipe.events import ErrorInfo
from rxpipe.result import PipelineRunResult
from rxpipe.rx.lane import Lane
from rxpipe.rx.worker import elapsed_s
from rxpipe.stages import at_exit
from rxpipe.stages.control import GRACE_S, RunControl, RunPhase
from rxpipe.stages.scope import InMemory, Reporter, RunScope
from rxpipe.stages.timeline import Timeline
from rxpipe.store.port import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from reactivex import Observable, abc

    from rxpipe.artifact import Artifact
    from rxpipe.backends.base import Backend
    from rxpipe.config import RunSettings
    from rxpipe.events import StageEvent, StagePreview
    from rxpipe.plan import StageExecutionPlan
    from rxpipe.result import RunUpdate
    from rxpipe.rx.subject import EventSubject
    from rxpipe.stages.scope import ImageStore
    from rxpipe.stages.tracker import StageTracker

_BESIDE = 2  # one is being written and one waits for that: a disk that is slow once leaves no slot empty


class Session:
    """Connects stages once and ends them once, on whichever thread that is decided.

    control: takes the decisions; its steps end the run, in the order in which they were registered.

    Args:
        run_id: of every event.
        backend: renders.
        settings: of the run.
        clock: runs everything and is the clock of the events.
        updates: where events go.
        previews: called with each preview.
        output: keeps finished pictures; None: in memory.
        plan: of the result; None for a stage by itself.
        journal: keeps what is finished, and answers what was finished before; None: neither.
        earlier: events of earlier attempts of the run, which the result begins with.
        rescue, ends_on_failure: as of `RunControl`.
    """

    def __init__(
        self,
        *,
        run_id: str,
        backend: Backend,
        settings: RunSettings,
        clock: abc.SchedulerBase,
        updates: EventSubject[RunUpdate],
        previews: Callable[[StagePreview], None] = lambda _: None,
        output: ImageStore | None = None,
        plan: StageExecutionPlan | None = None,
        journal: Journal | None = None,
        earlier: Iterable[StageEvent] = (),
        rescue: Callable[[Callable[[], None]], object] | None = None,
        ends_on_failure: bool = True,
    ) -> None:
        check_slots(backend)
        artifacts: dict[tuple[str, int], Artifact] = {}
        causes: dict[int, BaseException] = {}
        result = PipelineRunResult(plan, artifacts, causes).extended(earlier)
        self.control = RunControl(rescue, ends_on_failure=ends_on_failure)
        self.timeline = Timeline(run_id, lambda: clock.now.astimezone(UTC), lambda: elapsed_s(clock), updates, result)
        self.scope = RunScope(
            backend=backend,
            settings=settings,
            clock=clock,
            lane=_lane(backend, output, self.control, clock),
            reporter=Reporter(self.timeline, previews, artifacts, causes),
            output=output or InMemory(),
            control=self.control,
            journal=journal or Journal(),
        )
        at_exit.watch(self)
        self.trackers: Sequence[StageTracker] = ()
        self._subscription = SingleAssignmentDisposable()
        self.control.on_over(
            self.scope.lane.close,
            self._subscription.dispose,
            self.control.wait_for_commit,
            self._release,
            self._end_stages,
        )

    def connect(
        self, images: Observable[Artifact], trackers: Sequence[StageTracker], observer: abc.ObserverBase[Artifact]
    ) -> None:
        """Subscribe *observer* to the images that finish the last stage."""
        self.trackers = trackers
        self._subscription.disposable = images.subscribe(
            observer.on_next, observer.on_error, observer.on_completed, scheduler=self.scope.clock
        )

    def _release(self) -> None:
        """Let stages release what they hold: on the run's own thread where that is free, as it was set up there."""
        thread, released = getattr(self.scope.clock, "thread", None), threading.Event()
        if self.scope.releases and thread is not None and thread is not threading.current_thread():

            def release(*_: object) -> None:
                self._call_releases()
                released.set()

            self.scope.clock.schedule(release)
            released.wait(GRACE_S)
        self._call_releases()

    def _call_releases(self) -> None:
        for release in self.scope.releases:
            release()

    def _end_stages(self) -> None:
        self.timeline.end_stages()
        failure, latest = self.control.failure, self.control.latest
        if failure is not None:
            failure.stage.report_failure(failure.error)  # dropped by the timeline if its own thread has reported it
        cancelled = failure is None and self.control.phase is RunPhase.CANCELLED
        for tracker in self.trackers:
            in_progress = cancelled and latest is not None and latest.tracker is tracker
            tracker.report_cancelled(in_progress=in_progress)


def _lane(backend: Backend, output: ImageStore | None, control: RunControl, clock: abc.SchedulerBase) -> Lane:
    """The lane of a run: the backend's slots, and images whose pictures are written beside."""
    one = backend.capacity == 1  # the members of a pool have a checkpoint each

    def slots() -> int:
        """Ask each time: of a cluster, workers may come and go."""
        try:
            return check_slots(backend)
        except ConfigError as error:
            wrong = ErrorInfo.of(error)
            clock.schedule(lambda *_: control.end("failed", wrong))  # the lane is locked
            return 1

    return Lane(
        slots,
        beside=_BESIDE if output is not None and output.saver is not None else 0,
        keeps_order=one,
        apart=lambda priority, other: one and priority[:2] != other[:2],
        may_begin=control.may_begin,
    )
