"""AsyncioScheduler: the queue of a thread that runs an asyncio loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rxpipe.rx.mainloop.base import BUDGET_S, REARM_S, MainLoopScheduler

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from reactivex import abc

    from rxpipe.rx.scheduled import ScheduledItem


class AsyncioScheduler(MainLoopScheduler):
    """For asyncio: one `call_soon_threadsafe` wakes the loop per batch; it costs nothing while idle.

    ```python
    import asyncio

    import rxpipe as rxp
    from rxpipe.rx.mainloop import AsyncioScheduler


    async def main() -> None:
        runner = rxp.PipelineRunner(rxp.open_backend())
        controller = rxp.PipelineController(runner, scheduler=AsyncioScheduler())
        ended = asyncio.Event()
        controller.status.subscribe(lambda status: print(status.percent_text, status.message, status.eta_text))
        controller.events.subscribe(lambda event: ended.set() if event.kind == "run_end" else None)
        controller.start(rxp.chain(rxp.txt2img(prompt="a lighthouse at dusk", images=2), rxp.upscale(scale=2)))
        await ended.wait()


    asyncio.run(main())
    ```

    Args:
        loop: the loop whose thread runs the actions; it may start later. Absent: the running one.
        budget_s, on_error: as for `MainLoopScheduler`.

    Raises:
        RuntimeError: no loop was given and none runs on this thread.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        budget_s: float = BUDGET_S,
        on_error: Callable[[Exception], object] | None = None,
    ) -> None:
        super().__init__(budget_s=budget_s, on_error=on_error)
        self._loop = loop or asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def _push(self, queue: deque[ScheduledItem], item: ScheduledItem) -> abc.DisposableBase:
        if self._loop.is_closed():
            self.close()
        return super()._push(queue, item)

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._tick)
        except RuntimeError:  # closed since we looked
            self.close()

    def _tick(self) -> None:
        self._cancel_timer()
        idle_s: float | None = 0.0  # if an action leaves the loop with an exception, its next run continues here
        try:
            idle_s = self._turn()
        finally:
            if idle_s is not None and not self._loop.is_closed():
                self._timer = self._loop.call_later(max(idle_s, REARM_S), self._tick)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _report_natively(self, error: Exception) -> None:
        self._loop.call_exception_handler({"message": "an action of AsyncioScheduler raised", "exception": error})
