"""One call that works on a finished picture: POST /extra-single-image, and SD.Next's /detail."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rxpipe.testing.servers.core.wire import Answer
from rxpipe.testing.servers.drawing import DrawRequest, open_picture, png_size, save_png, with_parameters
from rxpipe.testing.servers.webui.jobs import JobError
from rxpipe.testing.servers.webui.pictures import HttpError, decode, encoded, spoil

if TYPE_CHECKING:
    from rxpipe.testing.servers.core.jobs import Job
    from rxpipe.testing.servers.core.requests import RecordedRequest
    from rxpipe.testing.servers.webui.engine import Engine

_LANCZOS = 1  # Pillow's number for it
_RESTORERS = {"GFPGAN": "gfpgan_visibility", "CodeFormer": "codeformer_visibility"}


def upscale(engine: Engine, call: RecordedRequest, values: dict[str, Any]) -> Answer:
    """Answer POST /extra-single-image: its job, and one picture in `image`."""
    source = decode(values["image"])
    job = engine.new_job(call, "Upscale", None)
    with engine.queue.turn(job):
        engine.queue.begin("extras", None)
        engine.queue.set(job_count=1, job="Upscale")
        engine.queue.next_job()
        if job.fault and job.fault.kind == "bad_input":
            raise HttpError(500, job.fault.message)
        known = [entry["name"] for entry in engine.flavour.answers["/sdapi/v1/upscalers"]]
        for name in (values["upscaler_1"], values["upscaler_2"]):
            if name not in known and "failures are empty" in engine.flavour.traits:
                values = {**values, "upscaler_1": "None"}  # a line in its log, and the picture as it was
            elif name not in known:
                # The state is not ended: an idle server continues to report this job until the next one.
                raise JobError("AssertionError", f"could not find upscaler named {name}")
        picture = _upscaled(engine, job, source, values)
        engine.queue.end()
    texts = spoil(call.fault, [encoded(engine, picture)])
    html = ", ".join(f"{name}: {value}" for name, value in _upscale_info(values).items())
    head = json.dumps({"html_info": f"<p>{html}</p>"}, separators=(",", ":"))
    return Answer(200, b"".join((head[:-1].encode(), b',"image":"', texts[0] if texts else b"", b'"}')))


def _upscaled(engine: Engine, job: Job, source: bytes, values: dict[str, Any]) -> bytes:
    """Return the bigger picture with the input's text chunk; the input itself where no upscaler is named."""
    latency = engine.latency_of(job, "upscale")
    engine.queue.stand(job, 0)
    engine.meet_fault(job, 0.0)
    engine.queue.work(latency / 2)
    engine.meet_fault(job, 0.5)
    engine.queue.work(latency / 2)
    engine.meet_fault(job, 1.0)
    if values["upscaler_1"] == "None":
        return source
    width, height = _target_size(values, *png_size(source))
    options = {name: value for name, value in values.items() if name != "image"}
    fraction = 0.5 if engine.queue.state.flagged else 1.0
    if _has_no_weights(engine, values):
        drawn = save_png(open_picture(source).convert("RGB").resize((width, height), resample=_LANCZOS))
    else:
        drawn = engine.draw(DrawRequest("upscale", width, height, fraction=fraction, source=source, options=options))
    text = engine.text_of(source)
    return with_parameters(drawn, text) if text else drawn


def _has_no_weights(engine: Engine, values: dict[str, Any]) -> bool:
    """Return whether all that was asked for is missing, so that the picture is only resized."""
    missing = engine.setup.missing
    restorers = [name for name, key in _RESTORERS.items() if values[key]]
    plain = values["upscaler_1"] in missing or (values["upscaler_1"] == "Lanczos" and bool(restorers))
    return plain and all(name in missing for name in restorers)


def _target_size(values: dict[str, Any], width: int, height: int) -> tuple[int, int]:
    if values["resize_mode"] == 0:
        return int(width * values["upscaling_resize"]), int(height * values["upscaling_resize"])
    target = values["upscaling_resize_w"], values["upscaling_resize_h"]
    if values["upscaling_crop"]:
        return target
    factor = max(target[0] / width, target[1] / height)
    return int(width * factor), int(height * factor)


def _upscale_info(values: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if values["upscaler_1"] != "None":
        to = f"{values['upscaling_resize_w']}x{values['upscaling_resize_h']}"
        by = {"Postprocess upscale by": float(values["upscaling_resize"])}
        fields |= by if values["resize_mode"] == 0 else {"Postprocess upscale to": to}
        fields["Postprocess upscaler"] = values["upscaler_1"]
        if values["upscaler_2"] != "None" and values["extras_upscaler_2_visibility"]:
            fields["Postprocess upscaler 2"] = values["upscaler_2"]
    if values["gfpgan_visibility"]:
        fields["Postprocess GFPGAN visibility"] = values["gfpgan_visibility"]
    if values["codeformer_visibility"]:
        fields["Postprocess CodeFormer visibility"] = values["codeformer_visibility"]
        fields["Postprocess CodeFormer weight"] = values["codeformer_weight"]
    return fields


def detail(engine: Engine, call: RecordedRequest, values: dict[str, Any]) -> Answer:
    """Answer SD.Next's POST /detail; an unknown detector is a line in its log, and the picture comes back."""
    source = decode(values.get("image"))
    job = engine.new_job(call, "Detailer", None)
    picture = source
    with engine.queue.turn(job):
        engine.queue.begin("Detailer", None)
        engine.queue.set(job_count=1)
        engine.queue.stand(job, 0)
        engine.meet_fault(job, 0.5)
        engine.queue.work(engine.latency_of(job, "adetailer"))
        known = [entry["name"] for entry in engine.flavour.answers["/sdapi/v1/detailers"]]
        width, height = png_size(source)
        if any(name in known for name in values.get("detailer_models") or ()):
            seed = int(values.get("seed") or 0)
            request = DrawRequest("adetailer", width, height, seed=seed, source=source, options=dict(values))
            picture = engine.draw(request)
        engine.queue.end()
    image = spoil(call.fault, [encoded(engine, picture)])[0]
    head = json.dumps({"detections": None, "seed": values.get("seed", -1), "info": ""}, separators=(",", ":"))
    return Answer(200, b"".join((head[:-1].encode(), b',"image":"', image, b'"}')))
