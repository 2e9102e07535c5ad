"""Run: the handle of a run that was started, for any thread and for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

from reactivex import Observable, abc

from rxpipe.events import RunEnd, RunStart
from rxpipe.rx.aio import iterate

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from rxpipe.course import RunSession
    from rxpipe.events import StageEvent
    from rxpipe.plan import StageExecutionPlan
    from rxpipe.result import PipelineRunResult

_SLICE_S = 0.1


class Run(abc.DisposableBase):
    """A run that was started. Disposing it, `cancel()` and a controller's cancel are the same.

    run_id: its name in every event. plan: of its stages. seed: of the first image. pid: of the process it runs in.
    """

    def __init__(self, session: RunSession) -> None:
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
            image_index: its index in its stage, of the stage that has it in progress for longest; None for the image
                that has been in progress for longest and is not skipped yet.

        Returns:
            False if there is no such image, or it was skipped before; one whose picture is being written is done.
        """
        return self._session.control.skip(image_index)

    def stop_after_image(self) -> None:
        """Begin no further image, and cancel once those in progress have finished their stage (now, if none is)."""
        self._session.control.stop_after_image()
