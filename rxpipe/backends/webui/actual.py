"""What a server really used, beside what it was asked for: silent fallbacks found, and told as warnings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rxpipe.backends.webui.names import ServerCatalogs, same_model, same_sampler, same_scheduler
from rxpipe.pictures import png

if TYPE_CHECKING:
    from rxpipe.backends.webui.answers import Answer
    from rxpipe.backends.webui.payloads import ExtrasRequest, Img2ImgRequest, Size, Txt2ImgRequest


@dataclass(frozen=True, slots=True)
class ActualSettings:
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


def actual_settings(answer: Answer, index: int) -> ActualSettings:
    """What was used for the picture at *index*, 0.. without the grid."""
    info = answer.info
    if info is None:
        return ActualSettings()
    settings = png.parse_parameters(info.text_of(index)).settings
    return ActualSettings(
        seed=info.seed_of(index),
        sampler_name=info.sampler_name or settings.get("Sampler"),
        scheduler=settings.get("Schedule type"),
        model=info.sd_model_name or settings.get("Model"),
        model_hash=info.sd_model_hash or settings.get("Model hash"),
        vae=info.sd_vae_name,
        clip_skip=info.clip_skip,
        version=info.version,
        detailed=any(key.startswith("ADetailer model") for key in settings),
    )


def compare(
    request: Txt2ImgRequest | Img2ImgRequest, actual: ActualSettings, catalogs: ServerCatalogs
) -> tuple[str, ...]:
    """What was not used as asked for: sampler, scheduler, checkpoint."""
    warnings = []
    asked = request.sampler_name
    if asked and actual.sampler_name and not same_sampler(catalogs, asked, actual.sampler_name):
        warnings.append(f"sampler {actual.sampler_name!r} was used where {asked!r} was asked for")
    asked = request.scheduler
    if asked and actual.scheduler and not same_scheduler(catalogs, asked, actual.scheduler):
        warnings.append(f"scheduler {actual.scheduler!r} was used where {asked!r} was asked for")
    return (*warnings, *compare_model(request, actual, catalogs))


def compare_model(
    request: Txt2ImgRequest | Img2ImgRequest | ExtrasRequest, actual: ActualSettings, catalogs: ServerCatalogs
) -> tuple[str, ...]:
    """The checkpoint alone."""
    asked = getattr(request, "model", None)
    if not asked or not actual.model or same_model(catalogs, asked, actual.model, actual.model_hash):
        return ()
    return (f"checkpoint {actual.model!r} was used where {asked!r} was asked for",)


def other_size(asked: Size | None, header: png.Header) -> tuple[str, ...]:
    """A picture of another size than asked for; None: no size was."""
    if asked is None or (header.width, header.height) == tuple(asked):
        return ()
    return (f"the picture is {header.width}x{header.height} px where {asked} was asked for",)


def settings_of(actual: ActualSettings, header: png.Header) -> dict[str, object]:
    """What goes into the record of the image: only what the server told."""
    values = {
        "sampler_name": actual.sampler_name,
        "scheduler": actual.scheduler,
        "model": actual.model,
        "model_hash": actual.model_hash,
        "vae": actual.vae,
        "clip_skip": actual.clip_skip,
        "server_version": actual.version,
        "width": header.width,
        "height": header.height,
    }
    return {key: value for key, value in values.items() if value is not None}
