"""Requests and what servers report of them: what the tests of progress share."""

from __future__ import annotations

from stages import stage_of

import rxpipe as rxp
from rxpipe.backends.sizes import Size
from rxpipe.backends.webui import payloads
from rxpipe.backends.webui.progress import ServerSnapshot, TaskSnapshot


def request_for(section=None):
    """A request of 20 steps, or the one of another section."""
    config = section or rxp.Txt2ImgConfig(steps=20)
    stage = stage_of(config)
    if isinstance(config, rxp.UpscaleConfig):
        return payloads.upscale(config, Size(64, 64))
    if isinstance(config, rxp.AdetailerConfig):
        return payloads.adetailer(stage, config, Size(64, 64))
    if isinstance(config, rxp.Img2ImgConfig):
        return payloads.img2img(stage, config, Size(64, 64))
    return payloads.txt2img(stage, config)


def server(progress=0.01, job="scripts_txt2img", *, count=1, stamp="1", step=0, steps=20, image=None):
    """A global snapshot."""
    state = {
        "job": job,
        "job_count": count,
        "job_timestamp": stamp,
        "sampling_step": step,
        "sampling_steps": steps,
    }
    return ServerSnapshot.model_validate({"progress": progress, "state": state, "current_image": image})


IDLE = server(0.0, "", count=0)


def task(progress=None, *, active=True, queued=False, completed=False, preview=None, preview_id=-1):
    """A snapshot of our own task."""
    return TaskSnapshot(
        active=active,
        queued=queued,
        completed=completed,
        progress=progress,
        live_preview=preview,
        id_live_preview=preview_id,
    )


def seen(tracker, *snapshots, every_s=1.0):
    """Return the progress for each snapshot, one every second."""
    return [tracker.observe(snapshot, every_s * index)[0] for index, snapshot in enumerate(snapshots)]
