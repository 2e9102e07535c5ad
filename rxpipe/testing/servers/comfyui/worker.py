"""The worker: one thread that takes jobs from the queue and runs them."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from rxpipe.testing.servers.comfyui.execution import Execution
from rxpipe.testing.servers.core.site import ServerGone

if TYPE_CHECKING:
    from rxpipe.testing.servers.comfyui.engine import Engine
    from rxpipe.testing.servers.comfyui.queueing import Item


class Worker:
    """Runs the jobs of an engine, one after the other, until the server dies."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; a second call does nothing."""
        with self._engine.job_log.changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="comfyui-server-worker", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        with suppress(ServerGone):
            while True:
                self._run(self._engine.queue.take())

    def _run(self, item: Item) -> None:
        engine, log, fault = self._engine, self._engine.job_log, item.fault
        if fault is not None and fault.kind == "deleted":
            log.note_end(item.job, "lost")
            engine.queue.finish(item, None)
            return
        if fault is not None and fault.kind == "silent" and item.client_id is not None:
            engine.sockets.silence(item.client_id)
        try:
            entry, outcome = Execution(engine, item).run()
        except ServerGone:
            log.note_end(item.job, "lost")
            raise
        with log.changed:
            log.note_end(item.job, outcome)
            engine.last_node_id = None
            engine.queue.finish(item, entry)
        if item.client_id is not None:
            engine.sockets.send("executing", {"node": None, "prompt_id": item.prompt_id}, item.client_id)
            if fault is not None and fault.kind == "silent":
                engine.sockets.hear_again(item.client_id)
        if engine.free_requested:
            engine.free_requested = False
            engine.cache.clear()
