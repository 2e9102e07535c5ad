"""Whole runs of four stages over real HTTP, each with something that goes wrong; what became of them, as values.

Shared by the suite, which holds them to expectations, and by `tests/benchmarks/bench_faults.py`, which prints them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import rxpipe as rxp
from rxpipe.backends.webui.backend import WebUIBackend
from rxpipe.pictures import png
from rxpipe.testing.servers.webui import Fault, WebUIServer

if TYPE_CHECKING:
    from collections.abc import Iterable

IMAGES = 3
STAGES = ("txt2img", "img2img", "adetailer", "upscale")


@dataclass(frozen=True)
class Row:
    """What became of one fault. kept: pictures on disk from the last stage."""

    fault: str
    stage: str
    status: str
    kept: int
    files: int
    retries: int
    posts: int
    seconds: float
    error: str
    interrupts: int


def meet(
    fault: Fault,
    stage: str = "txt2img",
    *,
    flavour: str = "forge",
    on_call: int | Iterable[int] = 2,
    times: int | None = 1,
) -> Row:
    """A run of four stages and three images whose second request to *stage* meets *fault*; more with the last two."""
    with WebUIServer(flavour, latency_s=0.01) as server, TemporaryDirectory() as folder:
        backend = WebUIBackend(
            server.url,
            poll_s=0.05,
            unknown_job_s=0.4,
            silence_s=2.0,
            idle_timeout_s=2.0,
            ask_timeout_s=1.0,
            grace_s=0.2,
            answer_s=0.5,
            queue_ahead=0,  # so that the second request is the second image's
        )
        runner = rxp.PipelineRunner(backend)
        if fault.kind == "refused":
            runner.executor.events.subscribe(lambda event: refuse_once(server, event, stage))
        else:
            server.fault(stage, eased(fault), on_call=on_call, times=times)
        began = time.monotonic()
        result = runner.run(config(Path(folder), timeout_s=1.0 if fault.kind in {"slow", "stuck"} else None))
        seconds = time.monotonic() - began
        files = len(list(Path(folder).rglob("*.png")))
        posts = sum(call.stage is not None for call in server.calls)
        interrupts = len(server.interrupts)
        server.unstick()
        backend.close()
    retries = sum(event.kind == "stage_retry" for event in result.events)
    errors = [event.error for event in result.events if getattr(event, "error", None) is not None]
    error = f"{errors[0].type}: {errors[0].message}" if errors else ""
    kept = sum(v.outcome in {"done", "passed"} for v in result.variants)
    return Row(fault.name, stage, result.status, kept, files, retries, posts, seconds, error, interrupts)


def refuse_once(server: WebUIServer, event: rxp.StageEvent, stage: str) -> None:
    """Take the port away for a moment once *stage* has its first picture."""
    if event.kind == "stage_image_progress" and event.stage_type == stage and event.image_index == 1:
        server.go_down(back_after_s=0.1)


def eased(fault: Fault) -> Fault:
    """The same fault with waits that suit a test."""
    return fault.but(retry_after_s=0) if fault.retry_after_s else fault.but(back_after_s=0.1)


def config(folder: Path, *, timeout_s: float | None = None) -> rxp.PipelineConfig:
    """All four stages, small, and retries that do not wait long."""
    return rxp.PipelineConfig(
        txt2img=rxp.Txt2ImgConfig(prompt="a lighthouse", images=IMAGES, width=64, height=64, seed=1),
        img2img=rxp.Img2ImgConfig(),
        adetailer=rxp.AdetailerConfig(detector="mediapipe_face_full"),
        upscale=rxp.UpscaleConfig(scale=2),
        order="stage",  # a fault that strikes the second request strikes the second image of its stage
        out=folder,
        retry=rxp.RetryConfig(first_delay_s=0.05, max_delay_s=0.2, jitter=0.0),
        timeout_s=timeout_s,
    )


@dataclass(frozen=True)
class Cancelled:
    """What became of one cancel. seconds: until cancel returned and the run was over. late_posts: after it."""

    after_s: float
    status: str
    seconds: float
    late_posts: int
    interrupts: int
    torn: int
    freed: bool


def cancel_at(after_s: float, *, dead: bool) -> Cancelled:
    """A run of four stages cancelled *after_s* seconds after it began; *dead*: the server stops answering before."""
    with WebUIServer(latency_s=0.1) as server, TemporaryDirectory() as folder:
        backend = WebUIBackend(server.url, poll_s=0.05, idle_timeout_s=2.0)
        run = rxp.PipelineExecutor(backend).start(config(Path(folder)))
        run.wait(after_s * 0.9)
        if dead:
            server.freeze()
        run.wait(after_s * 0.1)
        begin = time.monotonic()
        run.cancel()
        run.wait(5.0)
        end = time.monotonic()
        freed = dead or server.wait_idle(3.0)
        backend.close()
        torn = sum(not sound(path) for path in Path(folder).rglob("*.*"))
        late = len(server.posts_after(end))
        return Cancelled(after_s, run.result.status, end - begin, late, len(server.interrupts), torn, freed)


def sound(path: Path) -> bool:
    """Whether a file is a whole PNG under its final name."""
    try:
        png.check(path.read_bytes())
    except rxp.BadImage:
        return False
    return path.suffix == ".png"
