"""Between Rx and asyncio: LoopThread, a loop on a thread of its own; iterate, a stream as an asynchronous iterator."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

    from reactivex import Observable

_T = TypeVar("_T")


class LoopThread:
    """Runs coroutines; the thread starts with the first and ends with `close()`.

    Args:
        name: of the thread.
        inline: run each to its end on the thread that submits it, without a thread: for virtual time, which stands
            still meanwhile.
    """

    def __init__(self, name: str, *, inline: bool = False) -> None:
        self._name, self._inline = name, inline
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def submit(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Begin a coroutine, from any thread; cancelling the future cancels it.

        Raises:
            RuntimeError: the loop is closed; the coroutine is closed too.
        """
        with self._lock:
            if self._closed:
                work.close()
                raise RuntimeError("the event loop is closed")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                if not self._inline:
                    threading.Thread(target=self._run, args=(self._loop,), name=self._name, daemon=True).start()
            loop = self._loop
        return _finished(loop, work) if self._inline else asyncio.run_coroutine_threadsafe(work, loop)

    def close(self) -> None:
        """Cancel what runs and let the thread end; from any thread, harmless twice. Returns immediately."""
        with self._lock:
            self._closed = True
            loop, self._loop = self._loop, None
        if loop is not None and self._inline:
            loop.close()
        elif loop is not None:
            loop.call_soon_threadsafe(lambda: loop.create_task(_wind_up(loop)))

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.close()


async def iterate(source: Observable[_T]) -> AsyncGenerator[_T, None]:
    """Yield the values of a stream until its end, in order and without loss, on the loop that runs this.

    The stream may emit on any thread; it is subscribed to at the first step, and disposed when the iterator is closed.
    What fails it is raised.
    """
    loop, came = asyncio.get_running_loop(), asyncio.Event()
    waiting: deque[_T] = deque()
    ends: list[Exception | None] = []

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody reads any more
            loop.call_soon_threadsafe(came.set)

    def put(value: _T) -> None:
        waiting.append(value)
        wake()

    def end(error: Exception | None = None) -> None:
        ends.append(error)
        wake()

    subscription = source.subscribe(put, end, end)
    try:
        while True:
            while waiting:
                yield waiting.popleft()
            if ends and not waiting:
                if ends[0] is not None:
                    raise ends[0]
                return
            await came.wait()
            came.clear()
    finally:
        subscription.dispose()


def _finished(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, _T]) -> Future[_T]:
    future: Future[_T] = Future()
    try:
        future.set_result(loop.run_until_complete(work))
    except Exception as error:  # noqa: BLE001  # the future's reader gets it
        future.set_exception(error)
    return future


async def _wind_up(loop: asyncio.AbstractEventLoop) -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await loop.shutdown_asyncgens()
    loop.stop()
