"""Names that a WebUI has, read from its lists, and whether a name it reports is the one that was asked for.

A WebUI falls back silently on an unknown name (HTTP 200), so every name is looked up beforehand and compared
afterwards.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from rxpipe.backends.catalog import Catalog, CatalogItem, find, name_references
from rxpipe.backends.webui.flavour import A1111, Flavour, read_flavour
from rxpipe.config import AdetailerConfig, Txt2ImgConfig
from rxpipe.errors import BackendError, BackendFailed
from rxpipe.pictures.names import SamplerName, plain, scheduler_named, split_sampler

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rxpipe.backends.catalog import NameReference
    from rxpipe.backends.http.connection import Connection, ConnectionPool
    from rxpipe.plan import StageExecution, StageExecutionPlan

_HASH = re.compile(r"\s*\[[0-9a-fA-F]+\]\s*$")
_FILE = re.compile(r"\.(safetensors|ckpt|pt|pth|sft|gguf|bin)$", re.IGNORECASE)
_LATENT = (
    *("Latent", "Latent (antialiased)", "Latent (bicubic)", "Latent (bicubic antialiased)", "Latent (nearest)"),
    "Latent (nearest-exact)",
)
_FREE = {
    "vaes": ("Automatic", "None"),
    "samplers": ("Use same sampler",),
    "schedulers": ("Use same scheduler",),
    "models": ("Use same checkpoint",),
    "hires.upscaler": _LATENT,
}
_LATE_TRIES, _LATE_S = 4, 0.5  # a server adds the paths of its extensions in the second after it answers
ALL_KINDS = ("samplers", "schedulers", "upscalers", "models", "vaes", "modules", "adetailer")
"""Every list that a server is described by; "adetailer" stands for the extension and its detectors."""
_STAGE_KINDS = ("flavour", *ALL_KINDS, "styles", "loras")
_TXT2IMG = "/sdapi/v1/txt2img"


@dataclass(frozen=True)
class WebUICatalog(Catalog):
    """Everything that a WebUI has by name.

    unit_schema: properties of ADetailer's own schema. adetailer: False where the extension is missing.
    module_paths: Forge's VAEs and text encoders by name; None where a VAE is an option instead.
    flavour: which fork the server is.
    unread: lists that the server failed to answer, so that their names cannot be looked up.
    fetched: the kinds that were looked for, with or without success.
    """

    unit_schema: Mapping[str, Any] | None = field(default=None, repr=False)
    adetailer: bool = True
    module_paths: Mapping[str, str] | None = field(default=None, repr=False)
    flavour: Flavour = field(default=A1111, repr=False)
    unread: tuple[str, ...] = ()
    fetched: frozenset[str] = field(default=frozenset(), repr=False)

    def knows(self, request_field: str) -> bool:
        """Whether txt2img takes a field, as far as is known; the servers ignore those that they do not know."""
        return self.flavour.knows(_TXT2IMG, request_field)

    def accepts(self, reference: NameReference) -> bool:
        """Whether the server takes a name, also one that is in no list: latent upscalers, old sampler names."""
        if super().accepts(reference) or _is_free(reference):
            return True
        if reference.kind == "schedulers":
            return scheduler_named(reference.name, self.names("schedulers")) is not None
        return reference.kind == "samplers" and (
            _old_style(self, reference.name) or sampler_in(self, reference.name) is not None
        )

    def problems(self, plan: StageExecutionPlan) -> list[str]:
        """Return one line for each name in the plan, and for an extension, that the server does not have."""
        missing = [
            "adetailer: the server lacks the ADetailer extension; install it or leave the stage out"
            for stage in plan.stages
            if isinstance(stage.config, AdetailerConfig) and not self.adetailer
        ]
        return [*missing, *self._module_problems(plan), *super().problems(plan)]

    def _module_problems(self, plan: StageExecutionPlan) -> list[str]:
        named = dict.fromkeys(name for stage in plan.stages for name in stage.generation.modules)
        if not named or "modules" not in self.fetched or self.module_paths is not None:
            return []
        return [f"txt2img.modules: the server has none, they are Forge's; leave {', '.join(map(repr, named))} out"]


# -- reading the lists -------------------------------------------------------------------------------------------------


def fetch_catalog(connection: Connection, kinds: Iterable[str], *, timeout_s: float) -> WebUICatalog:
    """Return what the server has of these *kinds* ("samplers", ..., "adetailer").

    Raises:
        BackendError: no server, no API, no entry.
    """
    found: dict[str, Any] = {"fetched": frozenset(kinds) | {"flavour"}}
    flavour = read_flavour(connection, timeout_s=timeout_s)
    for kind in dict.fromkeys(("flavour", *kinds)):
        if kind in _MODULE_KINDS:
            continue
        if kind == "flavour":
            found["flavour"] = flavour
        elif kind == "schedulers" and flavour.schedules != "field":
            found |= _schedules(flavour)
        elif kind == "adetailer":
            found |= _ask_detailer(connection, flavour, timeout_s)
        elif kind == "models":
            found["models"] = [
                _model(item) for item in _dicts(connection.get(_PATHS["models"], timeout_s=timeout_s).json())
            ]
        else:
            found |= _ask_list(connection, kind, timeout_s, found)
    if any(kind in _MODULE_KINDS for kind in kinds):
        found |= _ask_modules(connection, timeout_s)
    return WebUICatalog(**found)


def _ask_list(connection: Connection, kind: str, timeout_s: float, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return one list; a server that fails to answer it is as one that has none, and said to be so."""
    try:
        items = read_optional(connection, _PATHS[kind], timeout_s=timeout_s)
    except BackendFailed:
        return {"unread": (*found.get("unread", ()), kind)}
    if items is None:
        return {}
    return {kind: [_item(item) for item in _dicts(items) if kind != "styles" or item.get("prompt") is not None]}


def _schedules(flavour: Flavour) -> dict[str, Any]:
    """Return the schedules of a server that has no list of them."""
    if isinstance(flavour.schedules, str):
        return {}
    return {"schedulers": [CatalogItem(label, (name,) if name else ()) for label, name in flavour.schedules.items()]}


def _ask_detailer(connection: Connection, flavour: Flavour, timeout_s: float) -> dict[str, Any]:
    if flavour.detailer == "extension":
        return _ask_adetailer(connection, timeout_s)
    listed = read_optional(connection, "/sdapi/v1/detailers", timeout_s=timeout_s)
    return {"detectors": [CatalogItem(str(item.get("name"))) for item in _dicts(listed)]}


def merged(catalog: WebUICatalog, more: WebUICatalog) -> WebUICatalog:
    """Return what either has; *more* was read later."""
    found = {
        one.name: getattr(more, one.name)
        for one in fields(more)
        if one.name != "fetched" and getattr(more, one.name) != one.default
    }
    return replace(catalog, **found, fetched=catalog.fetched | more.fetched)


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
    "styles": "/sdapi/v1/prompt-styles",
    "loras": "/sdapi/v1/loras",
    "vaes": "/sdapi/v1/sd-vae",
    "modules": "/sdapi/v1/sd-modules",
}
_MODULE_KINDS = ("vaes", "modules")


def _ask_modules(connection: Connection, timeout_s: float) -> dict[str, Any]:
    """Return the VAEs, of the option `sd_vae` or of Forge's modules, which its text encoders are too."""
    listed = read_optional(connection, _PATHS["vaes"], timeout_s=timeout_s)
    if listed is not None:
        return {"vaes": [_module(item) for item in _dicts(listed)]}
    listed = read_optional(connection, _PATHS["modules"], timeout_s=timeout_s)
    if listed is None:
        return {}
    items = [_module(item) for item in _dicts(listed)]
    paths = {str(item.get("model_name")): str(item.get("filename")) for item in _dicts(listed)}
    return {"vaes": items, "modules": items, "module_paths": paths}


def _module(value: Mapping[str, Any]) -> CatalogItem:
    name, path = str(value.get("model_name") or ""), str(value.get("filename") or "")
    aliases = (path, path.replace("\\", "/").rpartition("/")[2], _FILE.sub("", name))
    return CatalogItem(name, tuple(dict.fromkeys(alias for alias in aliases if alias and alias != name)))


def _ask_adetailer(connection: Connection, timeout_s: float) -> dict[str, Any]:
    listed = read_optional(connection, "/adetailer/v1/ad_model", timeout_s=timeout_s)
    if listed is None:
        scripts = read_optional(connection, "/sdapi/v1/scripts", timeout_s=timeout_s)
        installed = any(str(name).lower() == "adetailer" for name in _inner(scripts, "img2img"))
        listed = _late_detectors(connection, timeout_s) if installed else None
        if listed is None:
            return {"adetailer": installed}
    schema = read_optional(connection, "/adetailer/v1/schema", timeout_s=timeout_s)
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    return {
        "detectors": [_detector(str(name)) for name in _inner(listed, "ad_model")],
        "unit_schema": properties if isinstance(properties, Mapping) else None,
    }


def _late_detectors(connection: Connection, timeout_s: float) -> Any:
    """Return the detectors of an extension that is installed and whose paths the server adds only after its start."""
    for _ in range(_LATE_TRIES):
        threading.Event().wait(_LATE_S)
        listed = read_optional(connection, "/adetailer/v1/ad_model", timeout_s=timeout_s)
        if listed is not None:
            return listed
    return None


def _detector(name: str) -> CatalogItem:
    stem = _FILE.sub("", name)
    return CatalogItem(name, (stem,) if stem != name else ())


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
    path = _HASH.sub("", title)
    aliases = (title, path, _FILE.sub("", path), file, _FILE.sub("", file), value.get("hash"), value.get("sha256"))
    return CatalogItem(name, tuple(dict.fromkeys(str(alias) for alias in aliases if alias)))


def kinds_of(plan: StageExecutionPlan) -> tuple[str, ...]:
    """Return which lists a plan needs; only those are read."""
    needed = {kind: None for stage in plan.stages for kind in kinds_of_stage(stage)}
    return tuple(needed)


def kinds_of_stage(stage: StageExecution) -> tuple[str, ...]:
    """Return which lists one stage needs."""
    kinds = [reference.kind for reference in name_references(stage)]
    if isinstance(stage.config, Txt2ImgConfig) and stage.config.styles:
        kinds.append("styles")
    if any(LORA.search(text) for text in prompts_of(stage)):
        kinds.append("loras")
    if isinstance(stage.config, AdetailerConfig):
        kinds.append("adetailer")
    if "samplers" in kinds:
        kinds.append("schedulers")  # a name may hold both
    return tuple(dict.fromkeys(kind for kind in ("flavour", *kinds) if kind in _STAGE_KINDS))


LORA = re.compile(r"<lora:([^:>]+)")


def prompts_of(stage: StageExecution) -> list[str]:
    """Return every prompt of a stage."""
    config = stage.config
    texts: list[str | None] = [stage.generation.prompt]
    if isinstance(config, Txt2ImgConfig) and config.hires is not None:
        texts.append(config.hires.prompt)
    if isinstance(config, AdetailerConfig):
        texts += [unit.prompt for unit in (config, *config.units)]
    return [text for text in texts if text]


class NameLookup:
    """What is known of a server's names, read where a stage first needs it. Safe from any thread.

    Args:
        connections: to ask over.
        timeout_s: for each list.
    """

    def __init__(self, connections: ConnectionPool, *, timeout_s: float) -> None:
        self._connections = connections
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._catalog = WebUICatalog()

    def replace(self, catalog: WebUICatalog) -> None:
        """Use what was just read in place of what was read before."""
        with self._lock:
            self._catalog = catalog

    def for_stage(self, stage: StageExecution) -> WebUICatalog:
        """Return what the server has of the names in a stage; a list that cannot be read is not in it."""
        with self._lock:
            missing = [kind for kind in kinds_of_stage(stage) if kind not in self._catalog.fetched]
            if missing:
                try:
                    with self._connections.borrowed() as connection:
                        more = fetch_catalog(connection, missing, timeout_s=self._timeout_s)
                except BackendError:
                    return self._catalog  # the request itself raises what is wrong
                self._catalog = merged(self._catalog, more)
            return self._catalog


# -- names that are in no list ----------------------------------------------------------------------------------------


def _is_free(reference: NameReference) -> bool:
    """Whether it is a name that no list has and every server takes."""
    return free_name(reference.kind, reference.field, reference.name) is not None


def free_name(kind: str, field_name: str, name: str) -> str | None:
    """Return the servers' spelling of a name that no list has and every server takes; None for any other name."""
    free = _FREE.get(field_name) or _FREE.get(kind, ())
    return next((known for known in free if plain(known) == plain(name)), None)


_SCHEDULERS = tuple(CatalogItem(name) for name in ("Karras", "Exponential", "SGM Uniform", "Simple", "Beta"))


def _old_style(catalog: WebUICatalog, wanted: str) -> bool:
    """Whether it is sampler and scheduler in one name, such as "DPM++ 2M Karras", which servers still split."""
    return any(_with_scheduler(catalog, sampler.name, wanted) for sampler in catalog.samplers or ())


def sampler_in(catalog: WebUICatalog, name: str) -> SamplerName | None:
    """Return the listed sampler, and the listed scheduler that its name may hold, which *name* means."""
    item = find(catalog.samplers, name)
    if item is not None:
        return SamplerName(item.name)
    return split_sampler(name, catalog.names("samplers"), catalog.names("schedulers"))


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
