"""What a server really used, beside what it was asked for: silent fallbacks found, and told as warnings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rxpipe import png
from rxpipe.backends.webui.names import Names, same_model, same_sampler, same_scheduler

if TYPE_CHECKING:
    from rxpipe.backends.webui.answers import Answer
    from rxpipe.backends.webui.payloads import ExtrasRequest, Img2ImgRequest, Size, Txt2ImgRequest


@dataclass(frozen=True, slots=True)
class Used:
    """What an answer says of one picture. None: it does not say. detailed: ADetailer took its settings."""

    seed: int | None = None
    sampler_name: str | None = None
    scheduler: str | None = None
    model: str | None = None
    model_hash: str | None = None
    vae: str | None = None
    clip_skip: int | None = None
    version: str | None = None
    detailed: bool = False


def used_for(answer: Answer, place: int) -> Used:
    """What was used for the picture at *place*, 0.. without the grid."""
    info = answer.info
    if info is None:
        return Used()
    told = png.parse_parameters(info.text_of(place)).settings
    return Used(
        seed=info.seed_of(place),
        sampler_name=info.sampler_name or told.get("Sampler"),
        scheduler=told.get("Schedule type"),
        model=info.sd_model_name or told.get("Model"),
        model_hash=info.sd_model_hash or told.get("Model hash"),
        vae=info.sd_vae_name,
        clip_skip=info.clip_skip,
        version=info.version,
        detailed=any(key.startswith("ADetailer model") for key in told),
    )


def compare(request: Txt2ImgRequest | Img2ImgRequest, used: Used, names: Names) -> tuple[str, ...]:
    """What was not used as asked for: sampler, scheduler, checkpoint."""
    warnings = []
    asked = request.sampler_name
    if asked and used.sampler_name and not same_sampler(names, asked, used.sampler_name):
        warnings.append(f"sampler {used.sampler_name!r} was used where {asked!r} was asked for")
    asked = request.scheduler
    if asked and used.scheduler and not same_scheduler(names, asked, used.scheduler):
        warnings.append(f"scheduler {used.scheduler!r} was used where {asked!r} was asked for")
    return (*warnings, *compare_model(request, used, names))


def compare_model(
    request: Txt2ImgRequest | Img2ImgRequest | ExtrasRequest, used: Used, names: Names
) -> tuple[str, ...]:
    """The checkpoint alone."""
    asked = getattr(request, "model", None)
    if not asked or not used.model or same_model(names, asked, used.model, used.model_hash):
        return ()
    return (f"checkpoint {used.model!r} was used where {asked!r} was asked for",)


def other_size(asked: Size | None, header: png.Header) -> tuple[str, ...]:
    """A picture of another size than asked for; None: no size was."""
    if asked is None or (header.width, header.height) == tuple(asked):
        return ()
    return (f"the picture is {header.width}x{header.height} px where {asked} was asked for",)


def settings_of(used: Used, header: png.Header) -> dict[str, object]:
    """What goes into the record of the image: only what the server told."""
    told = {
        "sampler_name": used.sampler_name,
        "scheduler": used.scheduler,
        "model": used.model,
        "model_hash": used.model_hash,
        "vae": used.vae,
        "clip_skip": used.clip_skip,
        "server_version": used.version,
        "width": header.width,
        "height": header.height,
    }
    return {key: value for key, value in told.items() if value is not None}
