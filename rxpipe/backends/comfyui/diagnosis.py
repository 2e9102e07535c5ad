"""What is there at a ComfyUI's address and what is missing, by the same requests that a run sends."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from rxpipe.backends.base import Output
from rxpipe.backends.comfyui.api import read_queue
from rxpipe.backends.comfyui.names import IMPACT_PACKS
from rxpipe.backends.comfyui.server import FLOOR, read_server
from rxpipe.backends.diagnosis import Diagnosis, Trial
from rxpipe.backends.http.diagnosis import refused, with_problem
from rxpipe.config import RunSettings, Txt2ImgConfig
from rxpipe.errors import BackendError, BackendUnavailable
from rxpipe.plan import plan_stages

if TYPE_CHECKING:
    from rxpipe.backends.base import Backend, RenderEvent
    from rxpipe.backends.comfyui.knowledge import Knowledge, Known
    from rxpipe.backends.http.address import Address
    from rxpipe.backends.http.connection import Connection

_TRIAL = Txt2ImgConfig(prompt="a lighthouse", steps=4, width=128, height=128, seed=1)
_GIB = 1 << 30
_PACK_CLASSES = ("FaceDetailer", "UltralyticsDetectorProvider", "ETN_Parameter", "SaveImageWebsocket")


def examine(
    connection: Connection, address: Address, knowledge: Knowledge, *, trial: Backend | None = None
) -> Diagnosis:
    """Return what is found at the other end of *connection*; see `Backend.diagnose`.

    Args:
        connection: to *address*.
        address: of the server.
        knowledge: of the server, which is read anew.
        trial: what renders one small picture; None for none.
    """
    found, begin = Diagnosis(address.base), time.monotonic()
    try:
        read_server(connection, timeout_s=knowledge.timeout_s)
    except BackendUnavailable as error:
        return with_problem(found, error)
    except BackendError as error:
        return refused(replace(found, reachable=True), error, address)
    latency_s = time.monotonic() - begin
    try:
        known = knowledge.refresh(connection)
        queue = read_queue(connection, frozenset(), timeout_s=knowledge.timeout_s)
        packs = knowledge.library.get(connection, _PACK_CLASSES)
        found = replace(
            _described(found, known),
            latency_s=latency_s,
            busy=bool(queue.running),
            credentials="not needed" if address.credentials is None else "accepted",
            packs=tuple(dict.fromkeys(one.pack.removeprefix("custom_nodes.") for one in packs.values() if one)),
        )
        return found if trial is None else replace(found, trial=_rendered(trial, known))
    except BackendError as error:
        return with_problem(replace(found, reachable=True, api=True), error)


def _described(found: Diagnosis, known: Known) -> Diagnosis:
    server, catalog = known
    return replace(
        found,
        reachable=True,
        api=True,
        kind="comfyui",
        flavour=server.name,
        version=server.text or None,
        flags=server.flags,
        devices=tuple(
            f"{one.name} ({one.free / _GIB:.1f} of {one.total / _GIB:.1f} GiB free)" for one in server.devices
        ),
        progress_per_task=True,
        models=catalog.names("models"),
        samplers=catalog.names("samplers"),
        schedulers=catalog.names("schedulers"),
        upscalers=catalog.names("upscalers"),
        vaes=catalog.names("vaes"),
        detectors=catalog.names("detectors"),
        stages=_stages(known),
        advice=tuple(_advice(known)),
    )


def _stages(known: Known) -> tuple[str, ...]:
    catalog = known.catalog
    missing = "" if catalog.models else "no checkpoint is there"
    faces = "detects and redraws on the server" if catalog.detailer else "faces only, found by rxpipe"
    names = catalog.names("upscalers")
    models = len(names) - sum(name in {"Lanczos", "Nearest", "Bicubic", "Bilinear", "None"} for name in names)
    return (
        f"txt2img: {missing or 'hires fix, refiner, LoRAs, clip skip, VAE'}",
        f"img2img: {missing or 'masks, with the rest pasted back'}",
        f"adetailer: {missing or faces}",
        f"upscale: {f'{models} models' if models else 'resampling only, no model is there'}",
    )


def _advice(known: Known) -> list[str]:
    server, catalog, advice = known.server, known.catalog, []
    if not catalog.models:
        advice.append("It lists no checkpoint: put one into models/checkpoints.")
    if server.version < FLOOR:
        numbers = ".".join(map(str, FLOOR))
        advice.append(f"Update it to {numbers} or later: an older one cannot interrupt one job of several.")
    if catalog.detailer is None:
        advice.append(f"For hands, and for detectors of your own, install {IMPACT_PACKS}.")
    return advice


def _rendered(backend: Backend, known: Known) -> Trial:
    """Render one small picture. It may load a model first, so only the connection limits the time."""
    begin, done = time.monotonic(), threading.Event()
    outputs: list[Output] = []
    failures: list[Exception] = []
    stage = plan_stages([_TRIAL], RunSettings()).stages[0].for_image(image_index=1, seed=1)

    def take(event: RenderEvent) -> None:
        if isinstance(event, Output):
            outputs.append(event)

    def failed(error: Exception) -> None:
        failures.append(error)
        done.set()

    backend.render(stage, None).subscribe(take, failed, done.set)
    done.wait()
    if failures:
        raise failures[0]
    used = outputs[0].settings
    return Trial(
        time.monotonic() - begin, known.server.text or None, str(used.get("model")), str(used.get("sampler_name"))
    )
