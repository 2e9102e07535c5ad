"""A cluster of our own on this machine: a scheduler on the cluster's thread, workers in processes that are replaced."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import sys
from typing import TYPE_CHECKING

from distributed import Scheduler

from rxpipe.logs import logger

if TYPE_CHECKING:
    from collections.abc import Mapping

_AGAIN_S, _END_S = 1.0, 5.0
_LOGGERS = tuple(f"distributed.{name}" for name in ("scheduler", "core", "comm", "http", "batched"))


class LocalWorkers:
    """A scheduler on 127.0.0.1, and workers that are started again when they die.

    They are processes of `python -m rxpipe worker`, so that a script needs no `if __name__ == "__main__"`.

    Args:
        count: of workers.
        holds: the backend of each, as `open_backend` takes it.
        resources: that each has.
    """

    def __init__(self, count: int, holds: str, resources: Mapping[str, float]) -> None:
        self._count, self._holds, self._resources = count, holds, dict(resources)
        self._scheduler: Scheduler | None = None
        self._processes: list[subprocess.Popen[bytes]] = []
        self._closed = False

    async def start(self) -> str:
        """Start what is not running; return the scheduler's address. On the cluster's thread."""
        if self._scheduler is None:
            for name in _LOGGERS:
                logging.getLogger(name).setLevel(logging.CRITICAL)
            made = Scheduler(host="127.0.0.1", port=0, protocol="tcp", dashboard=False, dashboard_address="127.0.0.1:0")
            self._scheduler = await made
            self._supervising = asyncio.get_running_loop().create_task(self._supervise(self._scheduler.address))
        return str(self._scheduler.address)

    async def stop(self) -> None:
        """End the scheduler, on the cluster's thread."""
        if self._scheduler is not None:
            self._supervising.cancel()
            await self._scheduler.close()

    async def _supervise(self, address: str) -> None:
        number = 0
        while not self._closed:
            for process in [process for process in self._processes if process.poll() is not None]:
                self._processes.remove(process)
                logger.warning("a worker on this machine ended with {} and is replaced", process.returncode)
            while len(self._processes) < self._count and not self._closed:
                number += 1
                self._processes.append(self._process(address, f"local-{number}"))
            await asyncio.sleep(_AGAIN_S)

    def _process(self, address: str, name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "rxpipe", "worker", "--backend", self._holds, "--name", name, address]
        if self._resources:
            command += ["--resources", ",".join(f"{key}={amount:g}" for key, amount in self._resources.items())]
        return subprocess.Popen(  # noqa: S603  # our own program
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )

    def close(self) -> None:
        """End the workers, from any thread; blocking. Harmless twice."""
        self._closed = True
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_END_S)
        self._processes.clear()
