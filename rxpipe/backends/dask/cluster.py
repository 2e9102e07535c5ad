"""The connection to a scheduler, and who of its workers is alive.

Dask waits for ever, and says nothing, where there is no worker, where one stands still, where the scheduler does, and
where the scheduler was restarted. So the scheduler is asked every moment; a worker whose heartbeat does not change for
`silence_s` is taken for gone until it does; a connection that is lost is made anew. One thread owns all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from distributed import Client

from rxpipe.backends.dask.reaching import look
from rxpipe.backends.dask.wire import PLUGIN, disagreement
from rxpipe.errors import BackendRejected, BackendTimeout, BackendUnavailable
from rxpipe.logs import logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

    from distributed.security import Security

BEAT_S = 0.5
"""Seconds between two questions to the scheduler."""

_CLOSING_S = 2.0


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What the scheduler reports of a worker.

    holds: what its plugin said when it started; empty for a worker that was not started by `rxpipe worker`.
    refused: why it gets no image, None for one that does.
    """

    address: str
    name: str
    holds: Mapping[str, Any] = field(default_factory=dict)
    resources: Mapping[str, float] = field(default_factory=dict)
    running: int = 0
    refused: str | None = None


class Watcher:
    """What hears of workers, on the cluster's thread; nothing may wait there."""

    def joined(self, facts: WorkerFacts) -> None:
        """Note a worker that can get images."""

    def left(self, address: str, error: BackendUnavailable, *, died: bool) -> None:
        """Note that a worker that had joined is out of reach, or has died."""

    def news(self, number: str, news: tuple[Any, ...]) -> None:
        """Note what a worker reports of a cell."""


class Cluster:
    """A scheduler, seen from a client. Its thread starts with `start`.

    Args:
        address: of the scheduler, "tcp://host:8786"; or what makes it, on the cluster's thread.
        ending: awaited at the end, on the cluster's thread.
        security: certificates, None for Dask's own settings.
        requires: resources that a worker must have.
        silence_s: without a sign of life, after which something is taken for gone.
        connect_timeout_s: for one attempt to reach the scheduler.
        watcher: hears of workers.

    topic: of the events that workers send. problem: why there is no connection now, empty where there is one.
    """

    def __init__(
        self,
        address: str | Callable[[], Awaitable[str]],
        *,
        ending: Callable[[], Awaitable[None]] | None = None,
        security: Security | None,
        requires: Mapping[str, float],
        silence_s: float,
        connect_timeout_s: float,
        watcher: Watcher,
    ) -> None:
        self.silence_s, self.requires = silence_s, dict(requires)
        self._connect_timeout_s = min(silence_s, connect_timeout_s)
        self.topic = f"rxpipe-{uuid.uuid4().hex}"
        self.problem = "not connected yet"
        self.workers: dict[str, WorkerFacts] = {}  # all of them, those that are refused included
        self.client: Client | None = None
        self._address, self._security, self._watcher = address, security, watcher
        self._ending = ending
        self._joined: dict[str, WorkerFacts] = {}
        self._seen: dict[str, tuple[object, float]] = {}
        self._alive_s = time.monotonic()  # when a worker that gets images last gave a sign of life
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closing: asyncio.Event | None = None
        self._look = asyncio.Event()
        self._changed = threading.Condition()
        self._closed = False
        self._failures = 0  # to connect, since the last connection
        self._connected = False  # ever
        self._suspected = False
        self._refused = False  # it answered, and the two ends do not agree

    # -- from any thread ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to connect, if it has not begun; returns immediately.

        Raises:
            BackendRejected: it was closed.
        """
        with self._lock:
            if self._closed:
                raise BackendRejected("the backend was closed.", hint="Open another one.")
            if self._thread is None:
                loop = self._loop = asyncio.new_event_loop()
                self._alive_s = time.monotonic()
                self._thread = threading.Thread(target=self._run, args=(loop,), name="rxpipe-dask", daemon=True)
                self._thread.start()

    def post(self, action: Callable[..., object], *arguments: object) -> None:
        """Call *action* on the cluster's thread; dropped once it is closed."""
        with contextlib.suppress(RuntimeError):  # the loop was closed
            if self._loop is not None:
                self._loop.call_soon_threadsafe(action, *arguments)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run *work* beside the rest; on the cluster's thread only."""
        return asyncio.get_running_loop().create_task(work)

    def wait_for_workers(self, limit_s: float | None = None) -> None:
        """Wait until a worker can get images; blocking, not on the cluster's thread.

        Args:
            limit_s: None for `silence_s`.

        Raises:
            BackendUnavailable: none for `silence_s`, or no scheduler.
            BackendRejected: there are workers, and none may be used.
        """
        self.start()
        limit_s = self.silence_s if limit_s is None else limit_s
        with self._changed:
            begin, failures = time.monotonic(), self._failures
            while not self._joined:
                left_s = limit_s - (time.monotonic() - begin)
                settled = bool(self.workers) and all(facts.refused for facts in self.workers.values())
                absent = not self._connected and self._failures > failures
                if left_s <= 0 or self._closed or absent or (settled and left_s < limit_s - 2 * BEAT_S):
                    raise self.absence()
                self._changed.wait(min(left_s, BEAT_S))

    def patience_s(self) -> float:
        """Return the seconds for which an image may still wait for a worker to come."""
        return 0.0 if self._closed else self._alive_s + self.silence_s - time.monotonic()

    def absence(self, errors: Sequence[Exception] = ()) -> BackendUnavailable | BackendRejected:
        """Return the error that says why no worker can be used; *errors* are those of the workers that were."""
        before = f" Before: {errors[-1]}" if errors else ""
        if self.problem and self._refused:
            return BackendRejected(f"the Dask scheduler {self.where} cannot be used: {self.problem}.{before}")
        if self.problem:
            return BackendUnavailable(f"no answer from the Dask scheduler {self.where}: {self.problem}.{before}")
        refused = [f"{facts.name}: {facts.refused}" for facts in self.workers.values() if facts.refused]
        if refused:
            return BackendRejected(f"no worker of {self.where} can be used: {'; '.join(refused)}.")
        return BackendUnavailable(
            f"the Dask scheduler {self.where} has no worker.{before}",
            hint=f"Start one: rxpipe worker --backend ... {self.where}",
        )

    @property
    def where(self) -> str:
        """The scheduler's address, for people."""
        return self._address.replace("tcp://", "dask://") if isinstance(self._address, str) else "on this machine"

    def ask(
        self, address: str, question: str, *arguments: object, timeout_s: float | None = None, **named: object
    ) -> Any:
        """Call a method of the backend of a worker; blocking, not on the cluster's thread.

        Raises:
            BackendTimeout: no answer in *timeout_s* seconds, None for `silence_s`.
            BackendUnavailable: the worker is gone.
        """
        loop, limit_s = self._loop, self.silence_s if timeout_s is None else timeout_s
        if loop is None or threading.current_thread() is self._thread:
            raise RuntimeError("asked before the start, or on the cluster's own thread")
        asking = asyncio.run_coroutine_threadsafe(
            asyncio.wait_for(self.answer(address, question, pickle.dumps((arguments, named))), limit_s), loop
        )
        try:
            found, error = pickle.loads(asking.result())  # noqa: S301  # of a worker, which runs our code
        except TimeoutError:
            raise BackendTimeout(f"worker {self._name(address)} has not answered for {limit_s:g} s.") from None
        if error is not None:
            raise error
        return found

    def close(self) -> None:
        """Disconnect, and end the thread. Harmless twice."""
        with self._lock:
            was_closed, self._closed = self._closed, True
            thread, loop = self._thread, self._loop
        if was_closed or thread is None or loop is None:
            return
        self.post(self._stop)
        if thread is not threading.current_thread():
            thread.join(2 * _CLOSING_S)

    # -- on the cluster's thread --------------------------------------------------------------------------------------

    async def answer(self, address: str, question: str, about: object) -> Any:
        """Return a worker's answer to a question; see `Holding.answer`.

        Raises:
            BackendUnavailable: the connection is lost, or the worker is gone.
        """
        client = self.client
        if client is None:
            raise BackendUnavailable(f"no answer from the Dask scheduler {self.where}: {self.problem}.")
        try:
            scheduler: Any = client.scheduler
            return await scheduler.proxy(worker=address, msg={"op": PLUGIN, "question": question, "about": about})
        except (OSError, KeyError, ValueError) as error:
            raise BackendUnavailable(f"worker {self._name(address)} does not answer: {error}.") from error

    def alive(self, address: str) -> None:
        """Note a sign of life of a worker."""
        now_s = time.monotonic()
        if address in self._joined:
            self._alive_s = now_s
            self._seen[address] = (self._seen.get(address, (None, 0.0))[0], now_s)

    def suspect(self) -> None:
        """Connect anew: Dask has, and dropped what was in progress."""
        self._suspected = True
        self._look.set()

    def lose(self, address: str, why: str, *, died: bool = False) -> None:
        """Take a worker for gone."""
        facts = self._joined.pop(address, None)
        if facts is not None:
            logger.warning("Dask worker {} {}", facts.name, why)
            self._watcher.left(address, BackendUnavailable(f"worker {facts.name} {why}."), died=died)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(self._live())
        finally:
            with contextlib.suppress(Exception):  # what a task does at its end is no longer anybody's
                tasks = asyncio.all_tasks(loop)
                for task in tasks:
                    task.cancel()
                loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            loop.close()

    def _stop(self) -> None:
        self._look.set()
        if self._closing is not None:
            self._closing.set()

    async def _live(self) -> None:
        """Connect, watch, and connect again, until it is closed."""
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what is lost, this module says
        self._closing = closing = asyncio.Event()
        if self._closed:
            closing.set()
        while not closing.is_set():
            living = asyncio.create_task(self._connect_and_watch())
            waiting = asyncio.create_task(closing.wait())
            await asyncio.wait([living, waiting], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            living.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await living
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(closing.wait(), BEAT_S)
        if self._ending is not None:
            with contextlib.suppress(Exception):  # a scheduler that is gone is closed
                await asyncio.wait_for(self._ending(), _CLOSING_S)

    async def _connect_and_watch(self) -> None:
        client: Client | None = None
        why = ""
        try:
            address = self._address if isinstance(self._address, str) else await self._address()
            answers, why = await look(address, self._security, "client", self._connect_timeout_s)
            if answers and why:
                self._disconnected(why, refused=True)
                return
            self.problem = why or self.problem  # it may still come: Dask tries again until its time is up
            client = Client(
                address,
                asynchronous=True,
                set_as_default=False,
                direct_to_workers=False,
                security=self._security,
                timeout=self._connect_timeout_s,
                name="rxpipe",
            )
            await client
            why = ""
            await self._watch(client)
        except Exception as error:  # noqa: BLE001  # whatever Dask raises, the connection is lost
            silent = f"it has not answered for {self.silence_s:g} s" if isinstance(error, TimeoutError) else ""
            self._disconnected(why or silent or f"{type(error).__name__}: {error}".removeprefix("OSError: "))
        finally:
            self.client = None
            if client is not None:
                with contextlib.suppress(Exception):
                    await asyncio.wait_for(client.close(), _CLOSING_S)

    async def _watch(self, client: Client) -> None:
        """Look at the workers every moment; return when the connection is lost."""
        self._look = asyncio.Event()
        client.subscribe_topic(self.topic, self._news)
        client.subscribe_topic("all", self._happened)
        try:
            await self._look_on(client)
        finally:
            client.unsubscribe_topic("all")  # Dask's scheduler logs a failure where a subscriber of it leaves
        self._disconnected("the connection is lost")

    async def _look_on(self, client: Client) -> None:
        scheduler: Any = client.scheduler
        self._suspected = False
        began = None  # as which the scheduler did: another one knows nothing of our cells
        while client.status == "running" and not (
            self._closed or self._suspected
        ):  # a cancel can be lost in `wait_for`
            found = await asyncio.wait_for(scheduler.identity(), self.silence_s)
            if began not in {None, found["id"]}:
                break
            began = found["id"]
            self.client, self.problem, self._connected = client, "", True
            self._observe(found["workers"])
            self._look.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), BEAT_S)

    def _disconnected(self, why: str, *, refused: bool = False) -> None:
        self.client, self._refused = None, refused
        self._failures += 1
        if self.problem != why:
            self.problem = why
            logger.warning("Dask scheduler {}: {}", self.where, why)
        for address in list(self._joined):
            self.lose(address, "is out of reach: its scheduler does not answer")
        self.workers = {}
        self._seen.clear()
        self._notify()

    def _observe(self, reported: Mapping[str, Mapping[str, Any]]) -> None:
        now_s = time.monotonic()
        self.workers = {address: self._facts(address, worker) for address, worker in reported.items()}
        for address in [address for address in self._seen if address not in reported]:
            del self._seen[address]
            self.lose(address, "is gone", died=True)
        for address, worker in reported.items():
            seen, since_s = self._seen.get(address, (None, now_s))
            if worker["last_seen"] != seen:
                self._seen[address] = (worker["last_seen"], now_s)
                self._joins(self.workers[address], first=seen is None)
                self.alive(address)
            elif now_s - since_s > self.silence_s:
                self.lose(address, f"has given no sign of life for {now_s - since_s:.0f} s")
        self._notify()

    def _joins(self, facts: WorkerFacts, *, first: bool) -> None:
        if facts.address in self._joined or facts.refused:
            if first and facts.refused and facts.holds:
                logger.warning("Dask worker {} is not used: {}", facts.name, facts.refused)
            return
        self._joined[facts.address] = facts
        self._alive_s = time.monotonic()
        self._watcher.joined(facts)

    def _facts(self, address: str, worker: Mapping[str, Any]) -> WorkerFacts:
        holds = worker.get(PLUGIN) or {}
        resources = worker.get("resources") or {}
        lacking = [name for name, amount in self.requires.items() if resources.get(name, 0) < amount]
        if not holds:
            refused: str | None = "it holds no backend; start it with `rxpipe worker`"
        elif unlike := disagreement(holds.get("versions", {})):
            refused = unlike
        else:
            refused = f"it has not the resources {', '.join(lacking)}" if lacking else None
        running = (worker.get("metrics") or {}).get("task_counts", {}).get("executing", 0)
        return WorkerFacts(address, str(worker.get("name") or address), holds, resources, running, refused)

    def _news(self, event: tuple[float, list[tuple[Any, ...]]]) -> None:
        for number, *news in event[1]:
            self._watcher.news(number, tuple(news))

    def _happened(self, event: tuple[float, Any]) -> None:
        if isinstance(event[1], dict) and event[1].get("action") in {"add-worker", "remove-worker"}:
            self._look.set()

    def _name(self, address: str) -> str:
        facts = self.workers.get(address)
        return address if facts is None else facts.name

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()
