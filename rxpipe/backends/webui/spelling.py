"""A stage with every name as the server lists it: servers match names letter by letter and fall back silently.

Whatever spelling a person used (case, an alias, another program's name, a file without its folder, a sampler with its
scheduler) becomes the listed one. A name that no list has stays as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from rxpipe.backends.catalog import find
from rxpipe.backends.webui.names import LORA, WebUICatalog, free_name, sampler_in
from rxpipe.config import AdetailerConfig, Config, Txt2ImgConfig
from rxpipe.pictures.names import scheduler_named

if TYPE_CHECKING:
    from pydantic import BaseModel

    from rxpipe.plan import StageExecution

    ModelT = TypeVar("ModelT", bound=BaseModel)

_KINDS = {
    "model": "models",
    "checkpoint": "models",
    "vae": "vaes",
    "upscaler": "upscalers",
    "upscaler_2": "upscalers",
    "detector": "detectors",
}
_PROMPTS = ("prompt", "negative_prompt")


def listed(stage: StageExecution, catalog: WebUICatalog) -> StageExecution:
    """Return the stage with the names that the server lists."""
    generation = _respelled(stage.generation, catalog)
    config = stage.config
    if isinstance(config, Txt2ImgConfig):
        config = _with_passes(config, catalog)
    elif isinstance(config, AdetailerConfig):
        units = tuple(_respelled(unit, catalog) for unit in config.units)
        config = _changed(_respelled(config, catalog), {"units": units})
    elif isinstance(config, Config):
        config = _respelled(config, catalog)
    return stage.model_copy(update={"generation": generation, "config": config})


def _with_passes(config: Txt2ImgConfig, catalog: WebUICatalog) -> Txt2ImgConfig:
    changes: dict[str, Any] = {"styles": tuple(_listed_name(catalog, "styles", name) for name in config.styles)}
    if config.hires is not None:
        upscaler = free_name("upscalers", "hires.upscaler", config.hires.upscaler)
        hires = _respelled(config.hires, catalog)
        changes["hires"] = hires if upscaler is None else _changed(hires, {"upscaler": upscaler})
    if config.refiner is not None:
        changes["refiner"] = _respelled(config.refiner, catalog)
    return _changed(_respelled(config, catalog), changes)


def _respelled(settings: ModelT, catalog: WebUICatalog) -> ModelT:
    """Return settings with the listed names in every field that holds one."""
    known = type(settings).model_fields
    changes: dict[str, Any] = {}
    for field, kind in _KINDS.items():
        if field in known and (name := getattr(settings, field)):
            changes[field] = _listed_name(catalog, kind, name)
    if "modules" in known:
        changes["modules"] = tuple(_listed_name(catalog, "modules", name) for name in getattr(settings, "modules", ()))
    if "sampler_name" in known:
        changes |= _sampling(settings, catalog)
    if catalog.loras:
        changes |= {name: _with_loras(getattr(settings, name), catalog) for name in _PROMPTS if name in known}
    return _changed(settings, changes)


def _changed(settings: ModelT, changes: dict[str, Any]) -> ModelT:
    """Return a copy with what differs, so that what was set remains what was set."""
    differing = {name: value for name, value in changes.items() if value != getattr(settings, name)}
    return settings.model_copy(update=differing) if differing else settings


def _listed_name(catalog: WebUICatalog, kind: str, name: str) -> str:
    item = find(catalog.items(kind), name)
    return (free_name(kind, "", name) or name) if item is None else item.name


def _sampling(settings: BaseModel, catalog: WebUICatalog) -> dict[str, Any]:
    """Return sampler and scheduler; a scheduler in the sampler's name is used where none is given beside it."""
    sampler, scheduler = getattr(settings, "sampler_name", None), getattr(settings, "scheduler", None)
    changes: dict[str, Any] = {}
    if scheduler:
        changes["scheduler"] = scheduler = _scheduler(scheduler, catalog)
    if sampler and (found := sampler_in(catalog, sampler)) is not None:
        changes["sampler_name"] = found.sampler
        if found.scheduler is not None and scheduler in {None, "", "Automatic"}:
            changes["scheduler"] = found.scheduler
    return changes


def _scheduler(name: str, catalog: WebUICatalog) -> str:
    item = find(catalog.schedulers, name)
    if item is not None:
        return item.name
    return scheduler_named(name, catalog.names("schedulers")) or free_name("schedulers", "", name) or name


def _with_loras(prompt: str | None, catalog: WebUICatalog) -> str | None:
    if not prompt:
        return prompt
    return LORA.sub(lambda found: f"<lora:{_listed_name(catalog, 'loras', found[1])}", prompt)
