"""A request as one server takes it: without fields that it does not know, each setting by the route that it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from rxpipe.backends.catalog import find
from rxpipe.backends.webui.payloads import (
    DEFAULT_UPSCALER,
    ExtrasRequest,
    GenerationRequest,
    Img2ImgRequest,
    Txt2ImgRequest,
)
from rxpipe.errors import BackendRejected

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import JsonValue

    from rxpipe.backends.webui.names import WebUICatalog

    RequestT = TypeVar("RequestT", bound=GenerationRequest)

MODULES = "forge_additional_modules"
_RESTORERS = ("gfpgan_visibility", "codeformer_visibility", "codeformer_weight")
_REPLACED = frozenset({"scheduler", "force_task_id", "hr_additional_modules"})
_OWN_VAE = ("Automatic", "None")
_SAME_SAMPLER = (None, "Use same sampler")
_SAME_SCHEDULE = ("Automatic", "Use same scheduler")


def fitted(request: RequestT, modules: Sequence[str], catalog: WebUICatalog) -> RequestT:
    """Return the request for the server that *catalog* is of.

    Raises:
        BackendRejected: the server has no such schedule.

    Args:
        request: as for any server.
        modules: text encoders, by listed names.
        catalog: what is known of the server.
    """
    changes: dict[str, Any] = {}
    overrides, flavour = dict(request.override_settings or {}), catalog.flavour
    if catalog.module_paths is not None:
        overrides = _with_modules(overrides, modules, catalog.module_paths)
    further = {flavour.renamed[name]: overrides.pop(name) for name in flavour.renamed if name in overrides}
    changes["override_settings"] = overrides or None
    changes |= _sampling(request, catalog)
    further |= changes.pop("further", {})
    if isinstance(request, Txt2ImgRequest) and request.enable_hr:
        further |= _second_pass(request, catalog)
    if isinstance(request, Img2ImgRequest) and request.resize_mode is not None:
        changes["resize_mode"] = request.resize_mode + flavour.resize_shift
    unknown = {name: None for name in _set_fields(request) if not flavour.knows(request.path, name)}
    return request.model_copy(update={**unknown, **changes, "further": {**further, **request.further}})


def fitted_upscale(request: ExtrasRequest, catalog: WebUICatalog) -> ExtrasRequest:
    """Return the request for the server that *catalog* is of, by an upscaler that it has where none was named."""
    changes: dict[str, Any] = {name: None for name in _RESTORERS if not catalog.flavour.knows(request.path, name)}
    if request.upscaler_1 == DEFAULT_UPSCALER:
        changes["upscaler_1"] = catalog.flavour.upscaler
    return request.model_copy(update=changes)


def without_effect(request: GenerationRequest | ExtrasRequest, catalog: WebUICatalog) -> tuple[str, ...]:
    """Return which fields of a request the server ignores and nothing stands in for."""
    flavour = catalog.flavour
    replaced = {*_REPLACED, *(value[1:] for value in flavour.second_pass.values() if isinstance(value, str))}
    replaced |= {"hr_scheduler"} if flavour.schedules == "sampler name" else set()
    return tuple(
        name
        for name in _set_fields(request)
        if name not in replaced
        and not _is_default(request, name)
        and getattr(request, name)
        and not flavour.knows(request.path, name)
    )


def _set_fields(request: GenerationRequest | ExtrasRequest) -> list[str]:
    """The fields that are sent and may be left out."""
    kinds = type(request).model_fields
    return [name for name, kind in kinds.items() if kind.default is None and getattr(request, name) is not None]


def _sampling(request: GenerationRequest, catalog: WebUICatalog) -> dict[str, Any]:
    """Sampler and scheduler by the server's own route.

    Raises:
        BackendRejected: it has no such schedule.
    """
    schedules, scheduler = catalog.flavour.schedules, request.scheduler
    if schedules == "field" or not scheduler or scheduler == "Automatic":
        return {} if schedules == "field" else {"scheduler": None}
    if isinstance(schedules, str):
        return {"scheduler": None, "sampler_name": _sampler_with(request.sampler_name, scheduler, catalog)}
    if scheduler not in schedules:
        raise BackendRejected(f"scheduler: the server has no {scheduler!r}; it has {', '.join(schedules)}.")
    return {"scheduler": None, "further": {"schedulers_sigma": schedules[scheduler]}}


def _sampler_with(sampler: str | None, scheduler: str, catalog: WebUICatalog, *, where: str = "scheduler") -> str:
    """Return the listed sampler that has the schedule in its name.

    Raises:
        BackendRejected: there is none.
    """
    name = f"{sampler or ''} {scheduler}".strip()
    item = find(catalog.samplers, name)
    if item is None:
        raise BackendRejected(
            f"{where}: the server has no sampler {name!r}, and schedules are a part of its samplers' names.",
            hint="`rxpipe doctor` lists them.",
        )
    return item.name


def _second_pass(request: Txt2ImgRequest, catalog: WebUICatalog) -> dict[str, JsonValue]:
    """Return the further fields of a second pass, those of its schedule included.

    Raises:
        BackendRejected: the server has no such schedule.
    """
    flavour, scheduler = catalog.flavour, request.hr_scheduler
    fields = {
        name: getattr(request, value[1:]) if isinstance(value, str) and value.startswith("=") else value
        for name, value in flavour.second_pass.items()
    }
    if flavour.schedules == "sampler name" and scheduler and scheduler not in _SAME_SCHEDULE:
        sampler = request.hr_sampler_name if request.hr_sampler_name not in _SAME_SAMPLER else request.sampler_name
        fields["hr_sampler_name"] = _sampler_with(sampler, scheduler, catalog, where="hires.scheduler")
    return {name: value for name, value in fields.items() if value is not None}


def _is_default(request: GenerationRequest | ExtrasRequest, name: str) -> bool:
    """Whether a field has the value that a server without it acts by."""
    if name == "hr_cfg":
        return bool(getattr(request, name) == getattr(request, "cfg_scale", None))
    return name == "hr_scheduler" and getattr(request, name) in _SAME_SCHEDULE


def _with_modules(
    overrides: Mapping[str, JsonValue], modules: Sequence[str], paths: Mapping[str, str]
) -> dict[str, JsonValue]:
    """Return the overrides with VAE and text encoders as modules: Forge does not look at `sd_vae`."""
    rest = {name: value for name, value in overrides.items() if name != "sd_vae"}
    vae = overrides.get("sd_vae")
    if MODULES in rest or (vae is None and not modules):
        return rest
    names = [*([] if vae is None or vae in _OWN_VAE else [str(vae)]), *modules]
    return {**rest, MODULES: [paths.get(name, name) for name in names]}
