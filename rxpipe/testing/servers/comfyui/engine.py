"""What the jobs of one run of the server's program share: folders, queue, sockets, cache, the loaded checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rxpipe.testing.servers.comfyui.cache import ResultCache
from rxpipe.testing.servers.core.jobs import Interrupt
from rxpipe.testing.servers.core.site import ServerGone

if TYPE_CHECKING:
    from PIL.Image import Image

    from rxpipe.testing.servers.comfyui.catalog import Catalog
    from rxpipe.testing.servers.comfyui.faults import Fault
    from rxpipe.testing.servers.comfyui.files import FileStore
    from rxpipe.testing.servers.comfyui.queueing import Item, JobQueue
    from rxpipe.testing.servers.comfyui.sockets import Sockets
    from rxpipe.testing.servers.comfyui.validation import Graph
    from rxpipe.testing.servers.comfyui.versions import Version
    from rxpipe.testing.servers.core.jobs import JobLog
    from rxpipe.testing.servers.drawing import Draw

FindFaces = Callable[["Image"], list[tuple[int, int, int, int]]]


@dataclass(frozen=True, slots=True)
class Setup:
    """How a server was started. Seconds are of its clock; see `ComfyUIServer`."""

    draw: Draw
    find_faces: FindFaces
    latency_s: Mapping[str, float]
    load_s: float
    preview_method: str
    preview_size: int
    max_upload_size: int
    cors: str | None
    broken: frozenset[str]
    credentials: str | None
    prefix: str


@dataclass(slots=True)
class Engine:
    """One run of the program, from its start to its death.

    last_node_id: the node that runs, which a socket that connects meanwhile is sent.
    prefixes: node id to the prefix of its temporary files.
    """

    version: Version
    setup: Setup
    catalog: Catalog
    files: FileStore
    queue: JobQueue
    sockets: Sockets
    job_log: JobLog
    on_death: Callable[[Fault], None]
    last_node_id: str | None = None
    prefixes: dict[str, str] = field(default_factory=dict)
    loaded: str | None = None
    unstuck: bool = False
    free_requested: bool = False
    cache: ResultCache = field(init=False)

    def __post_init__(self) -> None:
        self.cache = ResultCache(self.files)

    @property
    def draw(self) -> Draw:
        """The drawing function."""
        return self.setup.draw

    def load(self, checkpoint: str) -> None:
        """Take the time of loading a checkpoint that is not the loaded one. Raises Interrupted."""
        if checkpoint != self.loaded:
            with self.job_log.noting():
                if self.loaded is not None:
                    self.job_log.switches.append(checkpoint)
                self.loaded = checkpoint
            self.queue.work(self.setup.load_s, deaf=not self.version.has("interrupt within a step"))
            self.queue.check()

    def unload(self) -> None:
        """Forget the loaded checkpoint, as after an error for want of memory."""
        with self.job_log.noting():
            self.loaded = None

    def keep_prefixes(self, graph: Graph) -> None:
        """Forget the prefixes of nodes that are no longer in the graph."""
        self.prefixes = {node_id: prefix for node_id, prefix in self.prefixes.items() if node_id in graph}

    def on_open(self, sid: str) -> list[dict[str, Any]]:
        """Return what a socket that opens is sent: the node that runs, if the job is its own."""
        running = self.queue.running
        if running is None or running.client_id != sid or self.last_node_id is None:
            return []
        return [{"type": "executing", "data": {"node": self.last_node_id}}]

    def strike(self, fault: Fault, item: Item) -> None:
        """Let a fault of the running job happen. Raises ServerGone where the server dies of it."""
        sid = item.client_id
        if fault.kind == "stuck":
            with self.job_log.changed:
                self.queue.life.wait_until(lambda: self.unstuck or self.queue.flagged)
        elif fault.kind == "dies":
            self.on_death(fault)
            raise ServerGone
        elif fault.kind == "interrupted":
            with self.job_log.noting():
                self.queue.flagged = True
                self.job_log.interrupts.append(Interrupt(self.job_log.clock.now(), item.job, item.job.call))
        elif sid is not None and fault.kind == "deaf":
            self.sockets.silence(sid)
        elif sid is not None and fault.kind in ("socket_lost", "socket_closed"):
            self.sockets.close(sid, 1001 if fault.kind == "socket_closed" else None)
