"""The settings that a server used, compared with those asked for: silent fallbacks become warnings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rxpipe.backends.webui.fitting import MODULES
from rxpipe.backends.webui.names import LORA, WebUICatalog, same_model, same_sampler, same_scheduler
from rxpipe.errors import BadImage
from rxpipe.pictures import a1111, png

_OWN_VAE = ("Automatic", "None")

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxpipe.backends.webui.answers import Answer
    from rxpipe.backends.webui.payloads import Img2ImgRequest, Request, Txt2ImgRequest


@dataclass(frozen=True, slots=True)
class ActualSettings:
    """What an answer reports of one picture, None where it does not. detailed: ADetailer took its settings.

    text: the infotext. modules: Forge's VAE and text encoders. loras: the LoRAs that were found.
    """

    seed: int | None = None
    sampler_name: str | None = None
    scheduler: str | None = None
    model: str | None = None
    model_hash: str | None = None
    vae: str | None = None
    clip_skip: int | None = None
    version: str | None = None
    detailed: bool = False
    text: str = ""
    modules: tuple[str, ...] = ()
    loras: frozenset[str] = frozenset()
    hires_sampler: str | None = None


def actual_settings(answer: Answer, index: int) -> ActualSettings:
    """Return what was used for the picture at *index*, 0.. without the grid."""
    info = answer.info
    if info is None:
        return ActualSettings()
    text = info.text_of(index)
    settings = a1111.parse_parameters(text).settings
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
        text=text,
        modules=tuple(value for key, value in settings.items() if re.fullmatch(r"Module \d+", key)),
        loras=frozenset(part.partition(":")[0].strip() for part in settings.get("Lora hashes", "").split(",")),
        hires_sampler=settings.get("Hires sampler"),
    )


def compare(request: Txt2ImgRequest | Img2ImgRequest, actual: ActualSettings, catalog: WebUICatalog) -> tuple[str, ...]:
    """Return a warning for each setting that is not the one asked for, as far as the answer reports it."""
    warnings = []
    asked = request.sampler_name
    if asked and actual.sampler_name and not same_sampler(catalog, asked, actual.sampler_name):
        warnings.append(f"sampler {actual.sampler_name!r} was used where {asked!r} was asked for")
    asked = request.scheduler
    if asked and actual.scheduler and not same_scheduler(catalog, asked, actual.scheduler):
        warnings.append(f"scheduler {actual.scheduler!r} was used where {asked!r} was asked for")
    asked = getattr(request, "hr_sampler_name", None)
    if asked and actual.hires_sampler and not same_sampler(catalog, asked, actual.hires_sampler):
        warnings.append(f"hires sampler {actual.hires_sampler!r} was used where {asked!r} was asked for")
    overrides = request.override_settings or {}
    layers = overrides.get("CLIP_stop_at_last_layers")
    if layers is not None and actual.clip_skip is not None and actual.clip_skip != layers:
        warnings.append(f"clip skip {actual.clip_skip} was used where {layers} was asked for")
    warnings += [*_compare_vae(overrides, actual), *_compare_loras(request, actual)]
    return (*warnings, *compare_model(request, actual, catalog))


def _compare_vae(overrides: Mapping[str, object], actual: ActualSettings) -> list[str]:
    """Return a warning for a VAE or text encoder that was not used: A1111 names the VAE, Forge its modules."""
    warnings = []
    vae, modules = overrides.get("sd_vae"), overrides.get(MODULES)
    if actual.text and isinstance(vae, str) and vae not in _OWN_VAE and not _same_file(vae, actual.vae or ""):
        used = f"VAE {actual.vae!r}" if actual.vae else "no VAE of its own"
        warnings.append(f"{used} was used where {vae!r} was asked for")
    paths = [str(path) for path in modules] if isinstance(modules, list) and actual.text else []
    unused = [path for path in paths if not any(_same_file(path, used) for used in actual.modules)]
    return [*warnings, *(f"module {_file(path)!r} was not used" for path in unused)]


def _compare_loras(request: Txt2ImgRequest | Img2ImgRequest, actual: ActualSettings) -> list[str]:
    if not actual.text:
        return []
    return [
        f"LoRA {name!r} was not used"
        for name in dict.fromkeys(LORA.findall(request.prompt))
        if name not in actual.loras
    ]


def _file(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


def _same_file(asked: str, used: str) -> bool:
    names = {_file(name).casefold() for name in (asked, used)}
    return len({name.removesuffix(".safetensors").removesuffix(".pt").removesuffix(".ckpt") for name in names}) == 1


def compare_model(request: Request, actual: ActualSettings, catalog: WebUICatalog) -> tuple[str, ...]:
    """Return the same for the checkpoint alone."""
    asked = getattr(request, "model", None)
    if not asked or not actual.model or same_model(catalog, asked, actual.model, actual.model_hash):
        return ()
    return (f"checkpoint {actual.model!r} was used where {asked!r} was asked for",)


def settings_of(actual: ActualSettings, header: png.Header) -> dict[str, object]:
    """Return what is recorded of the image: only what the server reports."""
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


def with_source_text(data: bytes, source: bytes) -> bytes:
    """Return a detailed picture with the text of the picture it was made from, and what ADetailer adds to it.

    The server's own text describes the first pass, which is discarded: one step of Euler at 128x128.
    """
    try:
        before = png.read_text(source).get("parameters")
        added = png.read_text(data).get("parameters")
        if not before or not added:
            return data
        said, ours = a1111.parse_parameters(before), a1111.parse_parameters(added)
        details = {key: value for key, value in ours.settings.items() if key.startswith("ADetailer")}
        text = a1111.format_parameters(said.prompt, said.negative_prompt, {**said.settings, **details})
        return png.insert_text(data, {"parameters": text})
    except (BadImage, ValueError):  # a source that is no PNG, or a text in no known form
        return data


def with_postprocessing(data: bytes, before: str | None, settings: Mapping[str, str | float | None]) -> bytes:
    """Return an upscaled picture with what was done added to its text, copied once; one without a text stays as it is.

    Args:
        data: the picture.
        before: the text of the picture that was upscaled, for a server that leaves it out.
        settings: what was done.
    """
    try:
        own = png.read_text(data).get("parameters")
    except BadImage:
        return data
    text = own or before
    if not text:
        return data
    if a1111.parse_parameters(text).settings:
        text = a1111.with_settings(text, settings)
    return data if text == own else png.insert_text(data, {"parameters": text})
