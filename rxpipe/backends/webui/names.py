"""Names that a WebUI has, read from its lists, and whether a name it reports is the one that was asked for.

A WebUI falls back silently on an unknown name (HTTP 200), so every name is looked up beforehand and compared
afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rxpipe.backends.catalog import Catalog, CatalogItem, find
from rxpipe.backends.catalog import kinds_of as named_kinds
from rxpipe.config import AdetailerConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rxpipe.backends.catalog import NameReference
    from rxpipe.backends.http.connection import Connection
    from rxpipe.plan import StageExecutionPlan

_HASH = re.compile(r"\s*\[[0-9a-fA-F]+\]\s*$")
_FILE = re.compile(r"\.(safetensors|ckpt|pt|pth|sft|gguf|bin)$", re.IGNORECASE)
_LATENT = (
    *("Latent", "Latent (antialiased)", "Latent (bicubic)", "Latent (bicubic antialiased)", "Latent (nearest)"),
    "Latent (nearest-exact)",
)
_FREE_VAE = ("Automatic", "None")
ALL_KINDS = ("samplers", "schedulers", "upscalers", "models", "vaes", "adetailer")
"""Every list that a WebUI may have; "adetailer" stands for the extension and its detectors."""


@dataclass(frozen=True)
class WebUICatalog(Catalog):
    """Everything that a WebUI has by name.

    unit_schema: properties of ADetailer's own schema. adetailer: False where the extension is missing.
    """

    unit_schema: Mapping[str, Any] | None = field(default=None, repr=False)
    adetailer: bool = True

    def accepts(self, reference: NameReference) -> bool:
        """Whether the server takes a name, also one that is in no list: latent upscalers, old sampler names."""
        if super().accepts(reference) or _is_free(reference):
            return True
        return reference.kind == "samplers" and _old_style(self, reference.name)

    def problems(self, plan: StageExecutionPlan) -> list[str]:
        """Return one line for each name in the plan, and for an extension, that the server does not have."""
        missing = [
            "adetailer: the server lacks the ADetailer extension; install it or leave the stage out"
            for stage in plan.stages
            if isinstance(stage.config, AdetailerConfig) and not self.adetailer
        ]
        return [*missing, *super().problems(plan)]


# -- reading the lists -------------------------------------------------------------------------------------------------


def fetch_catalog(connection: Connection, kinds: Iterable[str], *, timeout_s: float) -> WebUICatalog:
    """Return what the server has of these *kinds* ("samplers", ..., "adetailer").

    Raises:
        BackendError: no server, no API, no entry.
    """
    found: dict[str, Any] = {}
    for kind in kinds:
        if kind == "adetailer":
            found |= _ask_adetailer(connection, timeout_s)
        elif kind == "models":
            found["models"] = [
                _model(item) for item in _dicts(connection.get(_PATHS["models"], timeout_s=timeout_s).json())
            ]
        elif (items := read_optional(connection, _PATHS[kind], timeout_s=timeout_s)) is not None:
            found[kind] = [_item(item) for item in _dicts(items)]
    return WebUICatalog(**found)


def read_optional(connection: Connection, path: str, *, timeout_s: float) -> Any:
    """Return the JSON at a path that not every server has; None where it is missing.

    Raises:
        BackendError: anything but a missing path.
    """
    answer = connection.get_optional(path, timeout_s=timeout_s)
    return None if answer is None else answer.json()


_PATHS = {
    "samplers": "/sdapi/v1/samplers",
    "schedulers": "/sdapi/v1/schedulers",
    "upscalers": "/sdapi/v1/upscalers",
    "models": "/sdapi/v1/sd-models",
    "vaes": "/sdapi/v1/sd-vae",
}


def _ask_adetailer(connection: Connection, timeout_s: float) -> dict[str, Any]:
    listed = read_optional(connection, "/adetailer/v1/ad_model", timeout_s=timeout_s)
    if listed is None:
        scripts = read_optional(connection, "/sdapi/v1/scripts", timeout_s=timeout_s)
        return {"adetailer": any(str(name).lower() == "adetailer" for name in _inner(scripts, "img2img"))}
    schema = read_optional(connection, "/adetailer/v1/schema", timeout_s=timeout_s)
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    return {
        "detectors": [CatalogItem(str(name)) for name in _inner(listed, "ad_model")],
        "unit_schema": properties if isinstance(properties, Mapping) else None,
    }


def _inner(value: Any, key: str) -> list[Any]:
    """Return the list under *key*, empty where there is none."""
    inner = value.get(key) if isinstance(value, Mapping) else None
    return inner if isinstance(inner, list) else []


def _dicts(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _item(value: Mapping[str, Any]) -> CatalogItem:
    name = str(value.get("label") or value.get("name") or value.get("model_name") or "")
    aliases = [value.get("name"), value.get("model_name"), *_inner(value, "aliases")]
    return CatalogItem(name, tuple(str(alias) for alias in aliases if alias and alias != name))


def _model(value: Mapping[str, Any]) -> CatalogItem:
    name = str(value.get("model_name") or value.get("title") or "")
    title = str(value.get("title") or name)
    file = str(value.get("filename") or "").replace("\\", "/").rpartition("/")[2]
    aliases = (title, _HASH.sub("", title), file, _FILE.sub("", file), value.get("hash"), value.get("sha256"))
    return CatalogItem(name, tuple(dict.fromkeys(str(alias) for alias in aliases if alias)))


def kinds_of(plan: StageExecutionPlan) -> tuple[str, ...]:
    """Return which lists a plan needs; only those are read."""
    needed = [kind for kind in named_kinds(plan) if kind in _PATHS]
    detailing = any(isinstance(stage.config, AdetailerConfig) for stage in plan.stages)
    return (*needed, *(("adetailer",) if detailing else ()))


# -- names that are in no list ----------------------------------------------------------------------------------------


def _is_free(reference: NameReference) -> bool:
    """Whether it is a name that no list has and every server takes."""
    kind, field_name, name = reference
    if kind == "upscalers":
        return field_name == "hires.upscaler" and name in _LATENT
    return (kind == "vaes" and name in _FREE_VAE) or name in {"Use same sampler", "Use same scheduler"}


_SCHEDULERS = tuple(CatalogItem(name) for name in ("Karras", "Exponential", "SGM Uniform", "Simple", "Beta"))


def _old_style(catalog: WebUICatalog, wanted: str) -> bool:
    """Whether it is sampler and scheduler in one name, such as "DPM++ 2M Karras", which servers still split."""
    return any(_with_scheduler(catalog, sampler.name, wanted) for sampler in catalog.samplers or ())


def _with_scheduler(catalog: WebUICatalog, sampler: str, wanted: str) -> bool:
    head, rest = wanted[: len(sampler)].casefold(), wanted[len(sampler) :].strip()
    return head == sampler.casefold() and find(catalog.schedulers or _SCHEDULERS, rest) is not None


# -- comparing what was used with what was asked ----------------------------------------------------------------------


def same_sampler(catalog: WebUICatalog, asked: str, used: str) -> bool:
    """Whether *used* is what *asked* means; an old-style name holds the scheduler too."""
    item = find(catalog.samplers, asked) or CatalogItem(asked)
    return item.answers_to(used) or _with_scheduler(catalog, used, asked)


def same_scheduler(catalog: WebUICatalog, asked: str, used: str) -> bool:
    """Whether *used* is what *asked* means; "automatic" allows any."""
    item = find(catalog.schedulers, asked)
    if item is not None and item.answers_to(used):
        return True
    return _plain(asked) in {_plain(used), "automatic"}


def same_model(catalog: WebUICatalog, asked: str, used: str | None, used_hash: str | None) -> bool:
    """Whether *used* is the checkpoint that *asked* means, by title, name, file or hash."""
    item = find(catalog.models, asked)
    known = (asked, item.name, *item.aliases) if item is not None else (asked,)
    plain = {_stem(name) for name in known}
    return any(name is not None and _stem(name) in plain for name in (used, used_hash))


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.casefold())


def _stem(name: str) -> str:
    return _FILE.sub("", _HASH.sub("", name).replace("\\", "/").rpartition("/")[2]).casefold()
