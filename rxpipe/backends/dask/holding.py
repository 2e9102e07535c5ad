"""On a worker: the backend that it holds, the cells that it renders, and questions to it.

A cell is a coroutine on the worker's event loop; the backend renders on a thread that it alone has. Dask stops no
running task, but it notifies plugins when one is no longer wanted: because the client disposed it, or is gone. That
interrupts the backend, once.
"""

from __future__ import annotations

import asyncio
import pickle
import shutil
import tempfile
from collections import OrderedDict
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed import get_worker
from distributed.diagnostics.plugin import WorkerPlugin
from reactivex.disposable import SingleAssignmentDisposable

from rxpipe.backends.base import Moved, Output, Preview, StepProgress
from rxpipe.backends.dask.wire import PLUGIN, Rendered, sendable, unpacked, versions
from rxpipe.errors import BackendUnavailable, BadResponse
from rxpipe.rx.worker import WorkerScheduler

if TYPE_CHECKING:
    from collections.abc import Callable

    from distributed import Worker

    from rxpipe.backends.base import Backend, RenderEvent

_NEWS_S = 0.03  # in which several steps become one message
_LATEST = ("step", "preview")  # news that a later one replaces
_PARCELS = 64  # pictures that were sent ahead of their cell
_BATCHED = 32  # cells at a time where the backend asks for several pictures in one request


async def render_cell(topic: str, number: str, cell: bytes | None) -> Rendered:
    """Render one cell on the worker that this runs on: the task that a client submits.

    Args:
        topic: of the client's events.
        number: who the cell is, the same as in its key and in its events.
        cell: see `rxpipe.backends.dask.wire.packed`; None for one that was sent ahead.
    """
    plugin = get_worker().plugins.get(PLUGIN)
    if not isinstance(plugin, Holding):
        return Rendered(error=BackendUnavailable("the worker holds no backend.", hint="Start it with `rxpipe worker`."))
    return await plugin.render(topic, number, cell)


def key_of(number: str) -> str:
    """Return the key of a cell's task."""
    return f"rxpipe-cell-{number}"


class Holding(WorkerPlugin):
    """The backend of a worker. Everything but the rendering happens on the worker's event loop.

    Args:
        backend: renders; it stays open when the worker closes.
        where: what it was opened from, without credentials.
    """

    name = PLUGIN

    def __init__(self, backend: Backend, where: str) -> None:
        self._backend, self._where = backend, where
        self._cells: dict[str, _RunningCell] = {}
        self._parcels: OrderedDict[str, bytes] = OrderedDict()
        self._news: dict[str, list[tuple[Any, ...]]] = {}
        self._clocks: list[WorkerScheduler] = []  # threads that wait for a cell
        self._worker: Worker | None = None
        self._folder = Path(tempfile.gettempdir()) / "rxpipe-worker"

    @property
    def slots(self) -> int:
        """Cells that may run at the same time."""
        backend = self._backend
        return max(backend.capacity + backend.queue_ahead, _BATCHED if backend.batches else 1)

    def about(self) -> dict[str, Any]:
        """Return what clients must know of the worker, as plain values."""
        backend = self._backend
        return {
            "kind": backend.kind,
            "where": self._where,
            "description": backend.description,
            "capacity": backend.capacity,
            "queue_ahead": backend.queue_ahead,
            "batches": backend.batches,
            "versions": dict(versions()),
        }

    def setup(self, worker: Worker) -> None:
        """Answer questions from now on."""
        self._worker = worker
        self._folder = Path(worker.local_directory) / "rxpipe"
        worker.handlers[PLUGIN] = self.answer

    def teardown(self, worker: Worker) -> None:
        """Interrupt what runs: the worker closes."""
        del worker
        for cell in reversed(list(self._cells.values())):
            cell.stop()
        self._parcels.clear()
        for clock in self._clocks:
            clock.close()
        self._clocks.clear()

    def transition(self, key: object, start: str, finish: str, **_: Any) -> None:
        """Interrupt a cell whose task is no longer wanted."""
        number = str(key).removeprefix("rxpipe-cell-")
        if finish not in {"released", "forgotten"} or number == key:
            return
        self._parcels.pop(number, None)
        cell = self._cells.get(number)
        if cell is not None and start in {"executing", "long-running"}:
            cell.stop()

    async def render(self, topic: str, number: str, data: bytes | None) -> Rendered:
        """Render a cell; see `render_cell`."""
        data = self._parcels.pop(number, None) if data is None else data
        if data is None:
            return Rendered(error=BackendUnavailable("the picture of the cell did not arrive at its worker."))
        clock = self._clocks.pop() if self._clocks else WorkerScheduler("rxpipe-cell")
        cell = _RunningCell(self._backend, clock, lambda *news: self.tell(topic, (number, *news)))
        self._cells[number] = cell
        self.tell(topic, (number, "began"))
        folder = self._folder / number
        try:
            rendered = await cell.run(data, folder)
        except asyncio.CancelledError:  # the worker closes; it was not ended by what it rendered
            self.tell(topic, (number, "leaving"))
            raise
        else:
            self._clocks.append(clock)  # nothing of the cell is left on it
            return rendered
        finally:
            del self._cells[number]
            self._send_waiting(topic)  # before the result, which may be faster
            if folder.exists():
                shutil.rmtree(folder, ignore_errors=True)

    def tell(self, topic: str, news: tuple[Any, ...]) -> None:
        """Send news of a cell to its client: immediately, or with what comes shortly after the last."""
        waiting = self._news.get(topic)
        if waiting is not None:
            waiting.append(news)
            return
        self._news[topic] = []
        self._send(topic, [news])
        asyncio.get_running_loop().call_later(_NEWS_S, self._flush, topic)

    def _flush(self, topic: str) -> None:
        if self._send_waiting(topic):
            asyncio.get_running_loop().call_later(_NEWS_S, self._flush, topic)
        else:
            self._news.pop(topic, None)

    def _send_waiting(self, topic: str) -> bool:
        """Send what waits, of steps and previews the latest; return False if nothing did."""
        waiting = self._news.get(topic)
        if not waiting:
            return False
        self._news[topic] = []
        self._send(topic, list({news[:2] if news[1] in _LATEST else news: news for news in waiting}.values()))
        return True

    def _send(self, topic: str, news: list[tuple[Any, ...]]) -> None:
        if self._worker is not None:
            self._worker.log_event(topic, news)

    async def answer(self, question: str, about: Any = None) -> Any:
        """Answer a client: "picture" of a cell so far, a "parcel" for a cell to come, or a method of the backend."""
        if question == "parcel":
            number, data = about
            self._parcels[number] = data
            while len(self._parcels) > _PARCELS:
                self._parcels.popitem(last=False)
            return None
        if question == "picture":
            cell = self._cells.get(about)
            return None if cell is None else cell.preview
        return await asyncio.to_thread(self._ask, question, about)

    def _ask(self, question: str, about: bytes) -> bytes:
        """Call a method of the backend; return its result or its error as bytes."""
        try:
            arguments = pickle.loads(about)  # noqa: S301  # of the cluster's own client, whose code Dask runs anyway
            found: Any = getattr(self._backend, question)(*arguments[0], **arguments[1])
        except Exception as error:  # noqa: BLE001  # whatever it is, the client gets it
            return pickle.dumps((None, sendable(error)))
        return pickle.dumps((list(found) if question == "check" else found, None))


class _RunningCell:
    """One cell while it is rendered. It belongs to the event loop; the backend emits on a thread of the cell's own.

    preview: the latest, encoded; None before the first.

    Args:
        backend: renders.
        clock: the thread on which it emits.
        tell: called with each news.
    """

    def __init__(self, backend: Backend, clock: WorkerScheduler, tell: Callable[..., None]) -> None:
        self._backend, self._tell = backend, tell
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self._rendering = SingleAssignmentDisposable()
        self._ended: asyncio.Future[Rendered] = self._loop.create_future()
        self._outputs: list[Output] = []
        self._stopped = False
        self.preview: bytes | None = None

    async def run(self, data: bytes, folder: Path) -> Rendered:
        """Return what became of it, once the backend is idle where it was stopped."""
        self._clock.schedule(lambda *_: self._begin(data, folder))
        try:
            return await self._ended
        except asyncio.CancelledError:  # a worker that closes cancels what it runs
            self._clock.close()
            raise
        finally:
            self._rendering.dispose()

    def stop(self) -> None:
        """Interrupt the backend; harmless twice. Its slot is free once it is idle."""
        if self._stopped or self._ended.done():
            return
        self._stopped = True
        self._rendering.dispose()
        self._clock.schedule(lambda *_: self._wait_idle())

    def _begin(self, data: bytes, folder: Path) -> None:
        try:
            stage, source = unpacked(data, folder)
            if not self._stopped:
                self._rendering.disposable = self._backend.render(stage, source).subscribe(
                    self._emitted, self._failed, self._completed, scheduler=self._clock
                )
        except Exception as error:  # noqa: BLE001  # whatever it is, the client gets it
            self._failed(error)

    def _wait_idle(self) -> None:
        """Wait on the cell's thread, after a rendering that was about to begin there."""
        ended: Callable[..., None] = lambda *_: self._end(Rendered())  # noqa: E731  # both ends mean the same
        self._backend.wait_idle().subscribe(on_error=ended, on_completed=ended, scheduler=self._clock)

    def _emitted(self, event: RenderEvent) -> None:
        if isinstance(event, Output):
            self._outputs.append(event)
        elif isinstance(event, StepProgress):
            self._on_loop(self._tell, "step", *(getattr(event, field.name) for field in fields(event)))
        elif isinstance(event, Preview):
            self.preview = event.data
            self._on_loop(self._tell, "preview")
        elif isinstance(event, Moved):
            self._on_loop(self._tell, "moved", pickle.dumps(sendable(event.error)))

    def _completed(self) -> None:
        if len(self._outputs) == 1:
            self._end(Rendered(self._outputs[0]))
        else:
            self._failed(BadResponse(f"the worker's backend emitted {len(self._outputs)} pictures, 1 was expected."))

    def _failed(self, error: Exception) -> None:
        self._end(Rendered(error=sendable(error)))

    def _end(self, rendered: Rendered) -> None:
        def on_loop() -> None:
            if not self._ended.done():
                self._ended.set_result(rendered)

        self._on_loop(on_loop)

    def _on_loop(self, action: Callable[..., None], *arguments: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(action, *arguments)
