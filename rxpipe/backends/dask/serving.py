"""A worker process: it holds a backend and serves one scheduler, also one that comes later, or goes and comes back.

Dask's own worker ends with its scheduler. This one keeps its backend, and so the model that it has loaded, and connects
again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from distributed import Status, Worker

from rxpipe.backends.dask.address import OPEN_PORT, Address
from rxpipe.backends.dask.holding import Holding
from rxpipe.backends.dask.reaching import look
from rxpipe.backends.dask.wire import PLUGIN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rxpipe.backends.base import Backend

AGAIN_S = 1.0
"""Seconds between two attempts to reach the scheduler."""

_CONNECT_S = 10.0
_RETIRED = "scheduler-close-worker"  # Dask's reason where somebody closes this worker
_LOOPBACK = ("127.", "localhost", "[::1]")


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How a worker serves.

    name: of the worker, in files and reports; None for host name and process id. resources: what it has, by name.
    host: that it listens on; None for 127.0.0.1 with a scheduler of this machine, else the interface towards it.
    """

    scheduler: Address
    name: str | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    host: str | None = None


def serve_worker(backend: Backend, where: str, settings: WorkerSettings, say: Callable[[str], None]) -> None:
    """Serve until SIGINT, SIGTERM or the scheduler retires this worker; blocking, on the main thread.

    What is rendered then is interrupted, and moves to another worker.

    Args:
        backend: that the worker holds; it is not closed.
        where: what the backend was opened from, without credentials.
        settings: how.
        say: called with each line for people.
    """
    asyncio.run(_Serving(backend, where, settings, say).run())


class _Worker(Worker):
    """A worker of Dask that remembers whether it was retired: its scheduler stays, and wants it gone."""

    retired = False

    async def close(self, *arguments: Any, **options: Any) -> Any:
        retiring = self.status == Status.closing_gracefully  # as its scheduler has it while it retires a worker
        self.retired = self.retired or retiring or options.get("reason") == _RETIRED
        return await super().close(*arguments, **options)


class _Serving:
    def __init__(self, backend: Backend, where: str, settings: WorkerSettings, say: Callable[[str], None]) -> None:
        self._backend, self._where, self._settings, self._say = backend, where, settings, say
        self._name = settings.name or f"{socket.gethostname()}-{os.getpid()}"
        self._waits_for: str | None = None

    async def run(self) -> None:
        for name in ("distributed", "distributed.worker"):  # what matters of them, this module says
            logging.getLogger(name).setLevel(logging.CRITICAL)
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):  # Windows: Ctrl+C raises KeyboardInterrupt
                asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        while not stopped.is_set():
            await self._serve_once(stopped)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), AGAIN_S)

    async def _serve_once(self, stopped: asyncio.Event) -> None:
        """Serve while the scheduler is there; return when it is not, or not yet."""
        address, settings = self._settings.scheduler.text or "", self._settings
        _, why = await look(address, settings.scheduler.security, "worker", _CONNECT_S)
        if why:
            self._wait_for(address, why)
            return
        holding = Holding(self._backend, self._where)
        worker = _Worker(
            address,
            nthreads=holding.slots,
            name=self._name,
            resources=dict(settings.resources),
            host=settings.host or _host_towards(address),
            security=settings.scheduler.security,
            plugins=(holding,),
            startup_information={PLUGIN: lambda _: holding.about()},
            memory_limit=0,  # a model fills the memory; Dask would pause the worker, and say so to nobody
            death_timeout=_CONNECT_S,
            heartbeat_interval="500 ms",
        )
        stopping = asyncio.create_task(stopped.wait())
        starting = asyncio.ensure_future(worker)
        try:
            await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                self._greet(worker)
                await asyncio.wait(
                    [asyncio.create_task(worker.finished()), stopping], return_when=asyncio.FIRST_COMPLETED
                )
        except (OSError, TimeoutError, RuntimeError) as error:
            self._wait_for(address, str(error))
        finally:
            stopping.cancel()
            with contextlib.suppress(Exception):  # a scheduler that is gone needs no farewell
                await asyncio.wait_for(worker.close(timeout=2, nanny=False), 5)
        if worker.retired:
            self._say(f"worker {self._name} was retired by its scheduler, and ends")
            stopped.set()

    def _greet(self, worker: Worker) -> None:
        self._waits_for = None
        self._say(f"worker {self._name} holds {self._where}: {self._backend.description}")
        self._say(f"scheduler {self._settings.scheduler.text}; this worker listens on {worker.address}")
        if self._settings.resources:
            self._say(
                "resources: " + ", ".join(f"{name}={amount:g}" for name, amount in self._settings.resources.items())
            )
        listens = f"//{self._settings.host}" if self._settings.host else worker.address
        if self._settings.scheduler.security is None and not _is_loopback(listens):
            self._say(OPEN_PORT)

    def _wait_for(self, address: str, why: str) -> None:
        """Say so once, and again for another reason."""
        if self._waits_for != why:
            self._waits_for = why
            self._say(f"worker {self._name} waits for the scheduler at {address}: {why}; the backend stays open")


def _is_loopback(address: str) -> bool:
    return address.partition("://")[2].startswith(_LOOPBACK)


def _host_towards(address: str) -> str | None:
    return "127.0.0.1" if _is_loopback(address) else None
