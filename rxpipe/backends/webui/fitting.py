"""A request as one server takes it: without fields that it does not know, its VAE by the route that it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from rxpipe.backends.webui.payloads import GenerationRequest, Txt2ImgRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import JsonValue

    from rxpipe.backends.webui.names import WebUICatalog

    RequestT = TypeVar("RequestT", bound=GenerationRequest)

MODULES = "forge_additional_modules"
_HIRES_ONLY = ("hr_additional_modules", "hr_cfg")
_OWN_VAE = ("Automatic", "None")


def fitted(request: RequestT, modules: Sequence[str], catalog: WebUICatalog) -> RequestT:
    """Return the request for the server that *catalog* is of.

    Args:
        request: as for any server.
        modules: text encoders, by listed names.
        catalog: what is known of the server.
    """
    changes: dict[str, Any] = {}
    if catalog.module_paths is not None:
        overrides = _with_modules(request.override_settings or {}, modules, catalog.module_paths)
        changes["override_settings"] = overrides or None
    if isinstance(request, Txt2ImgRequest):
        changes |= {name: None for name in _HIRES_ONLY if not catalog.knows(name)}
    return request.model_copy(update=changes) if changes else request


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
