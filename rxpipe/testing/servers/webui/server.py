"""WebUIServer: the simulated WebUI on a loopback port, and what a test may do to its jobs and read about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rxpipe.testing.servers.core.clock import Clock, RealClock
from rxpipe.testing.servers.core.job_server import JobServer
from rxpipe.testing.servers.core.jobs import Interrupt, JobGate, JobLog
from rxpipe.testing.servers.drawing_names import drawing_of
from rxpipe.testing.servers.webui.engine import Checkpoint, Setup
from rxpipe.testing.servers.webui.flavour import FlavourName, load_flavour
from rxpipe.testing.servers.webui.webui import WebUI

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rxpipe.testing.servers.drawing import Draw

_STAGES = ("txt2img", "img2img", "adetailer", "upscale")


class WebUIServer(JobServer[WebUI]):
    """An AUTOMATIC1111 or Forge server whose pictures need no GPU.

    ```python
    with WebUIServer() as server:
        server.fault("txt2img", Fault.OUT_OF_MEMORY, on_call=2)
        requests.post(f"{server.url}/sdapi/v1/txt2img", json={"prompt": "a cat"})
    assert [job.outcome for job in server.jobs] == ["done"]
    ```

    Args:
        flavour: "forge" or "a1111", which were recorded, or a fork: "neo", "reforge", "classic", "amd", "sdnext".
        draw: a PNG for a DrawRequest, or "noise" (fast), or "sketch": drawn by the embedded backend.
        latency_s: seconds a picture, for all stages or by stage (txt2img, img2img, adetailer, upscale).
        switch_s: seconds a change of checkpoint takes.
        encode_s_per_mp: seconds of the machine to encode a megapixel of an answer, while the next job runs.
        clock: the machine's, or a ManualClock.
        auth: user and password; guards /sdapi only, as the real servers do.
        nowebui: no page and no /internal/progress.
        api: False for a server that was started without --api.
        adetailer: whether the extension is installed.
        adetailer_late: so many requests to /adetailer are a 404 at first, as in a real one's first second.
        extensions: titles of further scripts that run with every request, such as "controlnet" on A1111.
        modules: file names of VAEs and text encoders: Forge's modules, A1111's VAEs.
        loras: names. styles: name to prompt and negative prompt.
        missing: upscalers and face restorers that are listed and whose weights are not there.
        checkpoints: model names, the loaded one first, with "/" for one in a folder; the recorded server's by default.
        hashed: False: a model's hash is unknown, and its title without it, until it was loaded.
        port: 0 for a free one.
        gzip_level: 1..9 for bodies of 1000 bytes and more where the client accepts gzip, None for never.
        keep_alive_s: seconds an idle connection stays open; None for ever.
        keep_bodies: False: long strings of bodies are remembered only by length.

    Any thread may call any method. Times are of `clock` unless they are called timeout.
    """

    thread_name = "webui-server"

    def __init__(
        self,
        flavour: FlavourName = "forge",
        *,
        draw: Draw | Literal["noise", "sketch"] = "noise",
        latency_s: float | Mapping[str, float] = 0.0,
        switch_s: float = 0.0,
        encode_s_per_mp: float = 0.0,
        clock: Clock | None = None,
        auth: tuple[str, str] | None = None,
        nowebui: bool = False,
        api: bool = True,
        adetailer: bool = True,
        adetailer_late: int = 0,
        extensions: Sequence[str] = (),
        modules: Sequence[str] = (),
        loras: Sequence[str] = (),
        styles: Mapping[str, tuple[str, str]] | None = None,
        missing: Sequence[str] = (),
        checkpoints: Sequence[str] | None = None,
        hashed: bool = True,
        port: int = 0,
        gzip_level: int | None = 1,
        keep_alive_s: float | None = 30.0,
        keep_bodies: bool = True,
    ) -> None:
        self.flavour = load_flavour(flavour)
        self.clock = clock or RealClock()
        self.request_log = JobLog(self.clock)
        by_stage = latency_s if not isinstance(latency_s, int | float) else dict.fromkeys(_STAGES, float(latency_s))
        self.setup = Setup(
            drawing_of(draw),
            dict(by_stage),
            switch_s,
            auth,
            nowebui,
            api,
            adetailer,
            adetailer_late,
            extensions=tuple(extensions),
            modules=tuple(modules),
            loras=tuple(loras),
            styles=dict(styles or {}),
            missing=frozenset(missing),
            encode_s_per_mp=encode_s_per_mp,
        )
        names = checkpoints or self.flavour.checkpoints
        self._checkpoints = [Checkpoint(name, hashed or number == 0) for number, name in enumerate(names)]
        holds: list[JobGate] = []
        super().__init__(
            lambda: self._make_site(holds),
            self.request_log,
            holds,
            port=port,
            gzip_level=gzip_level,
            keep_alive_s=keep_alive_s,
            keep_bodies=keep_bodies,
        )

    def _make_site(self, holds: list[JobGate]) -> WebUI:
        site = WebUI(self.flavour, self.setup, self.request_log, holds, self._checkpoints)
        site.engine.on_death = lambda fault: self.die(back_after_s=fault.back_after_s)
        return site

    def unstick(self) -> None:
        """Let a job that met Fault.STUCK continue."""
        with self.request_log.noting():
            self.site.engine.unstuck = True

    # -- what a test may read -----------------------------------------------------------------------------------------

    @property
    def skips(self) -> tuple[Interrupt, ...]:
        """Every skip, with the job it hit."""
        with self.request_log.changed:
            return tuple(self.request_log.skips)
