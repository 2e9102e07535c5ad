"""Virtual time for `async def` tests: an asyncio loop that moves the clock of the test instead of sleeping.

`asyncio.sleep`, timeouts, AsyncIOScheduler and streams of the test share one time. Where everything waits and nothing
is planned, the loop raises instead of waiting for ever.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any

from rxpipe.testing.clock import MarbleError, VirtualClock
from rxpipe.testing.origin import is_own, placed, show

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

__tracebackhide__ = True  # pytest shows the test's line, not ours

US_PER_S = 1_000_000
PATIENCE_S = 0.05
"""How long, in real seconds, one look at real sockets and threads takes where the test has allowed threads."""


class _Selector(selectors.BaseSelector):
    """Looks at real sockets without waiting; where the loop would wait, virtual time moves."""

    def __init__(self, clock: VirtualClock, idle: Callable[[float | None], bool]) -> None:
        self._real = selectors.DefaultSelector()
        self._clock = clock
        self._idle = idle

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self._idle(timeout):
            return self._real.select(0)
        return self._real.select(PATIENCE_S)

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is a virtual clock's.

    Args:
        clock: what it moves.
        threads_allowed: whether something real may still wake the loop when nothing is planned.
    """

    def __init__(self, clock: VirtualClock, threads_allowed: Callable[[], bool]) -> None:
        self._clock_of_test = clock
        self._threads_allowed = threads_allowed
        self._waiting_for_idle: list[asyncio.Future[None]] = []
        super().__init__(_Selector(clock, self._move))

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._clock_of_test.now_us / US_PER_S

    @property
    def has_timers(self) -> bool:
        """Whether it runs now and holds timers that only it can run."""
        handles: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]  # private
        return self.is_running() and any(not handle.cancelled() for handle in handles)

    async def idle(self) -> None:
        """Wait until nothing is planned any more, by anybody."""
        future: asyncio.Future[None] = self.create_future()
        self._waiting_for_idle.append(future)
        await future

    def _move(self, timeout: float | None) -> bool:
        """Move the clock to what is due next, a timer of the loop or an action; False if threads may wake the loop."""
        clock = self._clock_of_test
        due = [] if timeout is None else [max(clock.now_us + 1, clock.now_us + round(timeout * US_PER_S))]
        planned = clock.next_due_us
        due += [] if planned is None else [planned]
        if due:
            clock.advance_to_us(max(min(due), clock.now_us))
        elif self._waiting_for_idle:
            for future in self._waiting_for_idle:
                if not future.done():
                    future.set_result(None)
            self._waiting_for_idle.clear()
        elif self._threads_allowed():
            return False
        else:
            raise MarbleError(self._stuck())
        return True

    def _stuck(self) -> str:
        lines = [line for task in asyncio.all_tasks(self) if (line := _waits_at(task))]
        title = "The test waits for ever: nothing is planned, and it still awaits, at"
        return "\n  ".join([title, *(each for line in lines for each in placed(line))])


def _waits_at(task: asyncio.Task[Any]) -> str:
    """Return the innermost line of one's own at which *task* waits."""
    own = [frame for frame in _frames(task) if is_own(frame[0])]
    return show(own[-1]) if own else ""


def _frames(task: asyncio.Task[Any]) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    waiting: Any = task.get_coro()
    while (frame := getattr(waiting, "cr_frame", None)) is not None:
        found.append((frame.f_code.co_filename, frame.f_lineno))
        waiting = getattr(waiting, "cr_await", None)
    return found


def run(loop: VirtualLoop, main: Coroutine[Any, Any, Any]) -> Any:
    """Run *main* to its end on *loop*, then cancel what it left and close the loop; return its result."""
    outer = asyncio._get_running_loop()  # noqa: SLF001 - a notebook runs its cells inside a loop of its own
    asyncio._set_running_loop(None)  # noqa: SLF001 - as above
    try:
        return loop.run_until_complete(loop.create_task(main))
    finally:
        try:
            _cancel_all(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()
            asyncio._set_running_loop(outer)  # noqa: SLF001 - as above


def _cancel_all(loop: VirtualLoop) -> None:
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
