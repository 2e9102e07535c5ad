"""ComfyUIServer: the simulated ComfyUI on a loopback port, and what a test may do to its jobs, sockets and files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rxpipe.testing.servers.comfyui.catalog import MODELS, PACKS
from rxpipe.testing.servers.comfyui.comfyui import ComfyUI
from rxpipe.testing.servers.comfyui.engine import Setup
from rxpipe.testing.servers.comfyui.files import FileStore
from rxpipe.testing.servers.comfyui.finding import finder_of
from rxpipe.testing.servers.comfyui.strangers import Stranger
from rxpipe.testing.servers.comfyui.versions import load_version
from rxpipe.testing.servers.core.clock import Clock, RealClock
from rxpipe.testing.servers.core.job_server import JobServer
from rxpipe.testing.servers.core.jobs import JobGate, JobLog
from rxpipe.testing.servers.drawing_names import drawing_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rxpipe.testing.servers.comfyui.catalog import Pack
    from rxpipe.testing.servers.comfyui.finding import FindFaces
    from rxpipe.testing.servers.drawing import Draw

_STAGES = ("txt2img", "img2img", "adetailer", "upscale")
_METHODS = ("none", "auto", "latent2rgb", "taesd")


class ComfyUIServer(JobServer[ComfyUI]):
    """A ComfyUI server whose pictures need no GPU.

    ```python
    with ComfyUIServer("0.3.64") as server:
        server.fault("txt2img", Fault.OUT_OF_MEMORY, on_call=2)
        requests.post(f"{server.url}/prompt", json={"prompt": graph})
        server.wait_idle()
    assert [job.outcome for job in server.jobs] == ["done"]
    ```

    Args:
        version: the release it behaves like: "0.3.40", "0.3.64" and "0.33.0" were recorded; any other from 0.3.40 on
            has what it should have and lists what the recorded one before it lists.
        draw: "sketch" (by the embedded backend), "noise" (fast), or a PNG for a DrawRequest.
        faces: "found" by the shared detector, or a function of a picture that returns boxes in px.
        latency_s: seconds a job, spread over its steps, for all stages or by stage (txt2img, img2img, adetailer,
            upscale). A cached job takes none.
        load_s: seconds a checkpoint takes to load.
        clock: the machine's, or a ManualClock.
        models: folder to file names, instead of the recorded server's; a folder that is left out keeps them.
        broken: model files that are listed and cannot be read.
        packs: custom nodes that are installed.
        preview_method: the server's flag: "none", "auto", "latent2rgb" or "taesd".
        preview_size: px of a preview's longer side.
        forgets: whether the end of an older socket makes a newer one with its id deaf, as on the real servers.
        max_upload_size: bytes of a body.
        cors: the origin of --enable-cors-header, None without it.
        credentials: the `authorization` header that a proxy in front asks for, None without one.
        prefix: the path under which a proxy in front shows it, such as "/comfy".
        files: the folders to start with; they outlive the server's death, but for `temp`.
        port: 0 for a free one.
        gzip_level: 1..9 with --enable-compress-response-body, None without.
        keep_alive_s: seconds an idle connection stays open; None for ever.
        keep_bodies: False: long strings of bodies are remembered only by length.

    Any thread may call any method. Times are of `clock` unless they are called timeout.

    Raises:
        ValueError: an argument is none of those allowed.
        MissingPackage: websockets is not installed, or what "sketch" needs.
    """

    thread_name = "comfyui-server"

    def __init__(
        self,
        version: str = "0.33.0",
        *,
        draw: Draw | Literal["noise", "sketch"] = "sketch",
        faces: FindFaces | Literal["found"] = "found",
        latency_s: float | Mapping[str, float] = 0.0,
        load_s: float = 0.0,
        clock: Clock | None = None,
        models: Mapping[str, Sequence[str]] | None = None,
        broken: Sequence[str] = (),
        packs: Sequence[Pack] = PACKS,
        preview_method: str = "none",
        preview_size: int = 512,
        forgets: bool = True,
        max_upload_size: int = 104857600,
        cors: str | None = None,
        credentials: str | None = None,
        prefix: str = "",
        files: FileStore | None = None,
        port: int = 0,
        gzip_level: int | None = None,
        keep_alive_s: float | None = 75.0,
        keep_bodies: bool = True,
    ) -> None:
        if preview_method not in _METHODS:
            raise ValueError(f"preview_method must be one of {', '.join(_METHODS)}, not {preview_method!r}")
        if unknown := set(packs) - set(PACKS):
            raise ValueError(f"packs must be of {', '.join(PACKS)}, not {', '.join(sorted(unknown))}")
        self.version = load_version(version)
        self.clock = clock or RealClock()
        self.files = files or FileStore()
        by_stage = latency_s if not isinstance(latency_s, int | float) else dict.fromkeys(_STAGES, float(latency_s))
        self.setup = Setup(
            drawing_of(draw),
            finder_of(faces),
            dict(by_stage),
            load_s,
            preview_method,
            preview_size,
            max_upload_size,
            cors,
            frozenset(broken),
            credentials,
            prefix.rstrip("/"),
        )
        self._models = {**MODELS, **(models or {})}
        self._packs = tuple(packs)
        self._forgets = forgets
        self._strangers: list[Stranger] = []
        log, holds = JobLog(self.clock), list[JobGate]()
        super().__init__(
            lambda: self._make_site(log, holds),
            log,
            holds,
            port=port,
            gzip_level=gzip_level,
            keep_alive_s=keep_alive_s,
            keep_bodies=keep_bodies,
        )

    def _make_site(self, log: JobLog, holds: list[JobGate]) -> ComfyUI:
        return ComfyUI(
            self.version,
            self.setup,
            log,
            holds,
            self.files,
            models=self._models,
            packs=self._packs,
            forgets=self._forgets,
            on_death=lambda fault: self.die(back_after_s=fault.back_after_s),
        )

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`, and the prefix."""
        return super().url + self.setup.prefix

    def stop(self) -> None:
        """Stop for good, its strangers too."""
        super().stop()
        for stranger in self._strangers:
            stranger.close()

    # -- what a test may do -------------------------------------------------------------------------------------------

    def unstick(self) -> None:
        """Let a job that met Fault.STUCK continue."""
        with self.request_log.noting():
            self.site.engine.unstuck = True

    def hold_node(self, name: str) -> JobGate:
        """Stop every job when a node of this class or id begins, until `release`; see JobGate."""
        return self.hold(f"node:{name}")

    def stranger(self, *, reads: bool = True) -> Stranger:
        """Return another client of this server, connected to its socket.

        reads: False: it never reads from its socket; `jam` makes that felt by everybody.
        """
        stranger = Stranger(self.port, self.setup.prefix, self.site.sockets, reads=reads)
        self._strangers.append(stranger)
        return stranger

    def silence(self, client_id: str) -> None:
        """Send nothing more to a client, whose socket stays open; `server.site.sockets` does more."""
        self.site.sockets.silence(client_id)

    def close_sockets(self, client_id: str | None = None, code: int | None = None) -> None:
        """Close a client's socket, None for all: with a code in order, without one it is cut off (1006)."""
        self.site.sockets.close(client_id, code)

    def add_model(self, folder: str, name: str) -> None:
        """Put a model file into a folder; the server sees it at once."""
        self._models[folder] = (*self._models.get(folder, ()), name)
        self.site.catalog = self.site.engine.catalog = self.site.catalog_of(self._models)

    @property
    def socket_ids(self) -> tuple[str, ...]:
        """The client ids of the open sockets that get events."""
        return self.site.sockets.ids

    @property
    def prompt_ids(self) -> tuple[str, ...]:
        """The ids of every job so far, in the order of their arrival."""
        return tuple(job.task_id or "" for job in self.jobs)
