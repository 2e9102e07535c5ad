"""WebUIServer: the simulated WebUI on a loopback port, and what a test may do to its jobs and read about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rxpipe.testing.servers.core.clock import Clock, RealClock
from rxpipe.testing.servers.core.jobs import Interrupt, Job, JobGate, JobLog
from rxpipe.testing.servers.core.server import LoopbackServer
from rxpipe.testing.servers.webui.drawing import noise
from rxpipe.testing.servers.webui.engine import Checkpoint, Setup
from rxpipe.testing.servers.webui.flavour import FlavourName, load_flavour
from rxpipe.testing.servers.webui.webui import WebUI

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rxpipe.testing.servers.webui.drawing import Draw

_STAGES = ("txt2img", "img2img", "adetailer", "upscale")


class WebUIServer(LoopbackServer[WebUI]):
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

    request_log: JobLog
    thread_name = "webui-server"

    def __init__(
        self,
        flavour: FlavourName = "forge",
        *,
        draw: Draw | Literal["noise", "sketch"] = "noise",
        latency_s: float | Mapping[str, float] = 0.0,
        switch_s: float = 0.0,
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
            _drawing(draw),
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
        )
        names = checkpoints or self.flavour.checkpoints
        self._checkpoints = [Checkpoint(name, hashed or number == 0) for number, name in enumerate(names)]
        self._holds: list[JobGate] = []
        super().__init__(
            self._make_site,
            self.request_log,
            port=port,
            gzip_level=gzip_level,
            keep_alive_s=keep_alive_s,
            keep_bodies=keep_bodies,
        )

    def _make_site(self) -> WebUI:
        site = WebUI(self.flavour, self.setup, self.request_log, self._holds, self._checkpoints)
        site.engine.on_death = lambda fault: self.die(back_after_s=fault.back_after_s)
        return site

    def unstick(self) -> None:
        """Let a job that met Fault.STUCK continue."""
        with self.request_log.noting():
            self.site.engine.unstuck = True

    def hold(self, stage: str, step: int = 0) -> JobGate:
        """Stop every job of `stage` ("*" for all) when it reaches `step`, until `release`; see JobGate."""
        hold = JobGate(stage, step, self.request_log)
        with self.request_log.noting():
            self._holds.append(hold)
        return hold

    # -- what a test may read -----------------------------------------------------------------------------------------

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Every request that reached the queue, in order, with its outcome."""
        with self.request_log.changed:
            return tuple(self.request_log.jobs)

    @property
    def interrupts(self) -> tuple[Interrupt, ...]:
        """Every interrupt, with the job it hit."""
        with self.request_log.changed:
            return tuple(self.request_log.interrupts)

    @property
    def skips(self) -> tuple[Interrupt, ...]:
        """Every skip, with the job it hit."""
        with self.request_log.changed:
            return tuple(self.request_log.skips)

    @property
    def switches(self) -> tuple[str, ...]:
        """The checkpoints loaded after the first, in order."""
        with self.request_log.changed:
            return tuple(self.request_log.switches)

    @property
    def busy_s(self) -> float:
        """Seconds during which a job held the queue."""
        return self.request_log.busy_s

    @property
    def max_active_drawings(self) -> int:
        """The most renderings that ran at the same time; 1, or the queue is broken."""
        return self.request_log.max_active_drawings

    @property
    def idle(self) -> bool:
        """Whether no job runs and none waits."""
        with self.request_log.changed:
            return self.request_log.running is None and not self.site.queue.waiting

    def wait_running(self, stage: str = "*", timeout_s: float = 5.0) -> bool:
        """Return whether a job of `stage` ran within `timeout_s` real seconds."""
        running = lambda: (job := self.request_log.running) is not None and job.call.matches(stage)  # noqa: E731  # read in one expression
        return self.wait_for(running, timeout_s)

    def wait_queued(self, count: int, timeout_s: float = 5.0) -> bool:
        """Return whether `count` jobs waited behind the running one within `timeout_s` real seconds."""
        return self.wait_for(lambda: len(self.site.queue.waiting) >= count, timeout_s)

    def wait_idle(self, timeout_s: float = 5.0) -> bool:
        """Return whether the queue was empty within `timeout_s` real seconds."""
        return self.wait_for(lambda: self.idle, timeout_s)

    def summary(self) -> str:
        """Return what `serve_forever` announces at the end: how much was served."""
        return f"{super().summary()}, {len(self.jobs)} jobs"


def _drawing(draw: Draw | Literal["noise", "sketch"]) -> Draw:
    if draw == "sketch":
        from rxpipe.testing.servers.webui.drawn_by import sketched  # noqa: PLC0415 - noise needs no backend

        return sketched()
    if isinstance(draw, str) and draw != "noise":
        raise ValueError(f'draw must be "noise", "sketch" or a function, not {draw!r}')
    return noise if draw == "noise" else draw
