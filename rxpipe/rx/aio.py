"""LoopThread: an asyncio event loop on a daemon thread of its own, for coroutines that an Rx chain waits for."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

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
