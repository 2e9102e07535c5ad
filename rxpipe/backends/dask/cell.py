"""One image on one worker: sent when it is subscribed to, watched, withdrawn when it is disposed.

Three threads meet here: the subscriber's scheduler (emissions), the cluster's (Dask), and the one that disposes. What
ends a cell is decided once, under its lock.
"""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
import uuid
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from distributed import wait

from rxpipe.backends.base import Moved, Preview, StepProgress
from rxpipe.backends.dask.holding import key_of, render_cell
from rxpipe.backends.dask.wire import packed
from rxpipe.backends.member import MemberLost
from rxpipe.errors import BackendRejected, BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactivex import abc

    from rxpipe.artifact import Artifact
    from rxpipe.backends.base import RenderEvent
    from rxpipe.backends.dask.cluster import Cluster
    from rxpipe.backends.dask.fetching import Fetching
    from rxpipe.backends.dask.wire import Rendered
    from rxpipe.plan import StageExecution

_INLINE = 32_768  # bytes of a cell that go with its task; Dask keeps a log of what it sends, and warns of much more

_UNBEGUN_S = 0.5  # since it was sent, after which it waits behind others on its worker


class Cell:
    """One image in one stage on one worker.

    number: who it is; each attempt has its own, so that what a lost one still sends reaches nobody.

    Args:
        cluster: whose worker it is sent to.
        worker: its address.
        observer: notified on *clock*.
        clock: the scheduler of emissions.
        results: of its worker.
        took: called on the cluster's thread with the seconds from its beginning on the worker to its picture.
    """

    def __init__(
        self,
        cluster: Cluster,
        worker: str,
        observer: abc.ObserverBase[RenderEvent],
        clock: abc.SchedulerBase,
        *,
        results: Fetching,
        took: Callable[[float], None],
    ) -> None:
        self.number = uuid.uuid4().hex
        self.worker = worker
        self._cluster, self._observer, self._clock = cluster, observer, clock
        self._results, self._took = results, took
        self._began_s = 0.0
        self._lock = threading.Lock()
        self._over = False
        self._began = self._leaving = self._withdrawn = False
        self._working: asyncio.Task[None] | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._newer_picture = False
        self._unbegun: asyncio.TimerHandle | None = None

    @property
    def over(self) -> bool:
        """Whether it has ended, or was disposed."""
        return self._over

    def stop(self) -> None:
        """Withdraw it unless it is over, from any thread; returns immediately."""
        with self._lock:
            was_over, self._over = self._over, True
        if not was_over:
            self._cluster.post(self._withdraw)

    # -- on the cluster's thread --------------------------------------------------------------------------------------

    def begin(self, stage: StageExecution, source: Artifact | None) -> None:
        """Send it."""
        if not self._over:
            self._working = self._cluster.spawn(self._work(stage, source))

    def lost(self, error: BackendUnavailable, *, died: bool) -> None:
        """End it: its worker is out of reach, or has died."""
        self._withdraw()
        self._fail(MemberLost(error.message) if died and self._began and not self._leaving else error)

    def news(self, kind: str, *values: Any) -> None:
        """Emit what the worker reports."""
        self._cluster.alive(self.worker)
        if kind == "began":
            self._began, self._began_s = True, time.monotonic()
            if self._unbegun is not None:
                self._unbegun.cancel()
        elif kind == "leaving":
            self._leaving = True
        elif kind == "step":
            self._emit(StepProgress(*values))
        elif kind == "moved":  # of a pool that the worker holds
            self._emit(Moved(pickle.loads(*values)))  # noqa: S301  # of a worker, which runs our code
        elif kind == "preview":
            self._newer_picture = True
            if self._fetching is None and not self._over:
                self._fetching = self._cluster.spawn(self._fetch())

    def _withdraw(self) -> None:
        self._withdrawn = True
        for task in (self._working, self._fetching):
            if task is not None:
                task.cancel()

    async def _work(self, stage: StageExecution, source: Artifact | None) -> None:
        try:
            rendered = await self._rendered(stage, source)
        except asyncio.CancelledError:
            if not self._withdrawn:  # by Dask, whose connection was closed
                self._fail(BackendUnavailable("the connection to the Dask scheduler was lost."))
            return
        except OSError as error:  # of Dask's connections
            self._fail(BackendUnavailable(f"the connection to worker or scheduler was lost: {error}."))
            return
        except Exception as error:  # noqa: BLE001  # whatever it is, the subscriber gets it
            self._fail(error)
            return
        if rendered.error is not None:
            self._fail(rendered.error)
        elif rendered.output is None:
            self._fail(BackendUnavailable("the worker was stopped."))
        else:
            output = rendered.output
            if self._began:
                self._took(time.monotonic() - self._began_s)
            self._finish(lambda: (self._observer.on_next(output), self._observer.on_completed()))

    async def _rendered(self, stage: StageExecution, source: Artifact | None) -> Rendered:
        cluster = self._cluster
        in_memory = source is None or source.path is None
        cell = packed(stage, source) if in_memory else await asyncio.to_thread(packed, stage, source)
        if len(cell) > _INLINE:
            await cluster.answer(self.worker, "parcel", (self.number, cell))
        client = cluster.client
        if client is None:
            raise BackendUnavailable(f"no answer from the Dask scheduler {cluster.where}: {cluster.problem}.")
        future = client.submit(
            render_cell,
            cluster.topic,
            self.number,
            cell if len(cell) <= _INLINE else None,
            key=key_of(self.number),
            workers=[self.worker],
            resources=cluster.requires or None,
            retries=0,
            pure=False,
        )
        self._unbegun = asyncio.get_running_loop().call_later(_UNBEGUN_S, self._emit, StepProgress(phase="queued"))
        try:
            with client.as_current():
                waiting = wait([future])
            try:
                await waiting
            except CancelledError as error:
                cluster.suspect()
                raise BackendUnavailable("the connection to the Dask scheduler was lost.") from error
            if future.status == "error":
                raise _typed(await future.exception())
            return await self._results.fetch(client, future.key)
        finally:
            self._unbegun.cancel()
            future.release()  # what nobody wants any more, the scheduler withdraws from its worker

    async def _fetch(self) -> None:
        """Fetch the latest preview, again as long as there is a newer one."""
        try:
            while self._newer_picture and not self._over:
                self._newer_picture = False
                data = await self._cluster.answer(self.worker, "picture", self.number)
                if data is not None:
                    self._emit(Preview(bytes(data)))
        except BackendUnavailable:
            return  # no preview; the cell's own end says what is wrong
        finally:
            self._fetching = None

    # -- towards the subscriber ---------------------------------------------------------------------------------------

    def _emit(self, event: RenderEvent) -> None:
        def on_clock(*_: object) -> None:
            if not self._over:
                self._observer.on_next(event)

        if not self._over:
            self._clock.schedule(on_clock)

    def _fail(self, error: Exception) -> None:
        self._finish(lambda: self._observer.on_error(error))

    def _finish(self, end: Callable[[], object]) -> None:
        def on_clock(*_: object) -> None:
            with self._lock:
                if self._over:
                    return
                self._over = True
            end()

        if not self._over:
            self._clock.schedule(on_clock)


def _typed(error: BaseException | None) -> BackendRejected:
    """What ends a task of ours as Dask's error and not as its result: it could not run at all."""
    return BackendRejected(
        f"the cluster cannot run rxpipe's task: {type(error).__name__}: {error}.",
        hint="Scheduler and workers need the same Python and the same rxpipe: see `rxpipe doctor dask://...`.",
    )
