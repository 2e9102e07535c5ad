"""The names a server knows: samplers, schedulers, upscalers, checkpoints, VAEs, detectors; what is near a wrong one.

Servers fall back silently on an unknown name (HTTP 200), so every name is looked up beforehand and compared afterwards.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rxpipe.config import AdetailerConfig, Txt2ImgConfig, UpscaleConfig
from rxpipe.errors import BackendRejected

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rxpipe.backends.http.connection import Connection
    from rxpipe.config import StageConfig
    from rxpipe.plan import StageExecution, StageExecutionPlan

_SHOWN = 8
_HASH = re.compile(r"\s*\[[0-9a-fA-F]+\]\s*$")
_FILE = re.compile(r"\.(safetensors|ckpt|pt|pth|sft|gguf|bin)$", re.IGNORECASE)
_LATENT = (
    *("Latent", "Latent (antialiased)", "Latent (bicubic)", "Latent (bicubic antialiased)", "Latent (nearest)"),
    "Latent (nearest-exact)",
)
_FREE_VAE = ("Automatic", "None")


@dataclass(frozen=True, slots=True)
class CatalogItem:
    """One thing a server has: its `name`, and everything else it answers to."""

    name: str
    aliases: tuple[str, ...] = ()

    def answers_to(self, name: str) -> bool:
        """Whether *name* means it; case does not matter."""
        wanted = name.casefold().strip()
        return any(wanted == known.casefold() for known in (self.name, *self.aliases))


Catalog = Sequence[CatalogItem] | None
"""What a server has of one kind; None where it does not tell."""


@dataclass(frozen=True, slots=True)
class ServerCatalogs:
    """Everything a server knows by name; a kind it does not tell is None and cannot be checked.

    unit_schema: properties of ADetailer's own schema. adetailer: False where the extension is missing.
    """

    samplers: Catalog = None
    schedulers: Catalog = None
    upscalers: Catalog = None
    models: Catalog = None
    vaes: Catalog = None
    detectors: Catalog = None
    unit_schema: Mapping[str, Any] | None = field(default=None, repr=False)
    adetailer: bool = True


def find(catalog: Catalog, name: str) -> CatalogItem | None:
    """What the server means by *name*, None for nothing."""
    return next((item for item in catalog or () if item.answers_to(name)), None)


def nearest(catalog: Sequence[CatalogItem], name: str) -> str:
    """What to tell who gave an unknown *name*: the nearest one, or what there is."""
    names_by_alias = {known_as.casefold(): item.name for item in catalog for known_as in (item.name, *item.aliases)}
    close = difflib.get_close_matches(name.casefold(), names_by_alias, n=1, cutoff=0.5)
    if close:
        return f"did you mean {names_by_alias[close[0]]!r}?"
    names = [item.name for item in catalog]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"it has {', '.join(names[:_SHOWN])}{more}" if names else "it has none"


# -- asking the server ------------------------------------------------------------------------------------------------


def fetch_catalogs(connection: Connection, kinds: Iterable[str], *, timeout_s: float) -> ServerCatalogs:
    """What the server knows of these *kinds* ("samplers", ..., "adetailer").

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
        elif (items := ask_optional(connection, _PATHS[kind], timeout_s=timeout_s)) is not None:
            found[kind] = [_item(item) for item in _dicts(items)]
    return ServerCatalogs(**found)


def ask_optional(connection: Connection, path: str, *, timeout_s: float) -> Any:
    """What a path that not every server has answers; None where it is missing.

    Raises:
        BackendError: anything but a missing path.
    """
    try:
        return connection.get(path, timeout_s=timeout_s).json()
    except BackendRejected as error:
        if "answered 404" in error.message or "answered 405" in error.message:
            return None
        raise


_PATHS = {
    "samplers": "/sdapi/v1/samplers",
    "schedulers": "/sdapi/v1/schedulers",
    "upscalers": "/sdapi/v1/upscalers",
    "models": "/sdapi/v1/sd-models",
    "vaes": "/sdapi/v1/sd-vae",
}


def _ask_adetailer(connection: Connection, timeout_s: float) -> dict[str, Any]:
    listed = ask_optional(connection, "/adetailer/v1/ad_model", timeout_s=timeout_s)
    if listed is None:
        scripts = ask_optional(connection, "/sdapi/v1/scripts", timeout_s=timeout_s)
        return {"adetailer": any(str(name).lower() == "adetailer" for name in _inner(scripts, "img2img"))}
    schema = ask_optional(connection, "/adetailer/v1/schema", timeout_s=timeout_s)
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    return {
        "detectors": [CatalogItem(str(name)) for name in _inner(listed, "ad_model")],
        "unit_schema": properties if isinstance(properties, Mapping) else None,
    }


def _inner(value: Any, key: str) -> list[Any]:
    """The list under *key*, empty where there is none."""
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


# -- looking a plan up ------------------------------------------------------------------------------------------------


def kinds_of(plan: StageExecutionPlan) -> tuple[str, ...]:
    """Which lists a plan needs; only those are asked for."""
    needed = dict.fromkeys(kind for stage in plan.stages for kind, _, _ in _name_references(stage) if kind in _PATHS)
    detailing = any(isinstance(stage.config, AdetailerConfig) for stage in plan.stages)
    return (*needed, *(("adetailer",) if detailing else ()))


def problems_of(plan: StageExecutionPlan, catalogs: ServerCatalogs) -> list[str]:
    """One line for each name in the plan that the server does not have."""
    problems, reported = [], set[tuple[str, str]]()
    for stage in plan.stages:
        if isinstance(stage.config, AdetailerConfig) and not catalogs.adetailer:
            problems.append("adetailer: the server lacks the ADetailer extension; install it or leave the stage out")
        for kind, field_name, wanted in _name_references(stage):
            catalog: Catalog = getattr(catalogs, kind)
            if (
                (kind, wanted) in reported
                or catalog is None
                or find(catalog, wanted)
                or _is_free(kind, field_name, wanted)
            ):
                continue
            if kind == "samplers" and _old_style(catalogs, wanted):
                continue
            reported.add((kind, wanted))  # later stages inherit it
            problems.append(
                f"{stage.stage_type}.{field_name}: the server has no {wanted!r}; {nearest(catalog, wanted)}"
            )
    return problems


def _name_references(stage: StageExecution) -> list[tuple[str, str, str]]:
    """Kind, field and name of everything a stage asks for by name."""
    generation, config = stage.generation, stage.config
    if isinstance(config, UpscaleConfig) and config.mode == "single":
        return _only_named([("upscalers", "upscaler", config.upscaler)])
    references = [
        ("samplers", "sampler_name", generation.sampler_name),
        ("schedulers", "scheduler", generation.scheduler),
        ("models", "model", generation.model),
        ("vaes", "vae", generation.vae),
        *_own_name_references(config),
    ]
    return _only_named(references)


def _own_name_references(config: StageConfig) -> list[tuple[str, str, str | None]]:
    if isinstance(config, UpscaleConfig):
        return [("upscalers", "upscaler", config.upscaler)]
    if isinstance(config, AdetailerConfig):
        return [
            (kind, f"units.{index}.{name}" if index else name, getattr(unit, name))
            for index, unit in enumerate((config, *config.units))
            for kind, name in _UNIT_REFERENCES
        ]
    if not isinstance(config, Txt2ImgConfig):
        return []
    hires, refiner = config.hires, config.refiner
    references: list[tuple[str, str, str | None]] = []
    if hires is not None and hires.enabled:
        references += [
            ("upscalers", "hires.upscaler", hires.upscaler),
            ("samplers", "hires.sampler_name", hires.sampler_name),
            ("schedulers", "hires.scheduler", hires.scheduler),
            ("models", "hires.checkpoint", hires.checkpoint),
        ]
    if refiner is not None and refiner.enabled:
        references.append(("models", "refiner.checkpoint", refiner.checkpoint))
    return references


_UNIT_REFERENCES = (
    ("detectors", "detector"),
    ("samplers", "sampler_name"),
    ("schedulers", "scheduler"),
    ("models", "checkpoint"),
)


def _only_named(references: Iterable[tuple[str, str, str | None]]) -> list[tuple[str, str, str]]:
    return [(kind, name, wanted) for kind, name, wanted in references if wanted]


def _is_free(kind: str, field_name: str, wanted: str) -> bool:
    """Names that no list holds and every server takes."""
    if kind == "upscalers":
        return field_name == "hires.upscaler" and wanted in _LATENT
    return (kind == "vaes" and wanted in _FREE_VAE) or wanted in {"Use same sampler", "Use same scheduler"}


_SCHEDULERS = tuple(CatalogItem(name) for name in ("Karras", "Exponential", "SGM Uniform", "Simple", "Beta"))


def _old_style(catalogs: ServerCatalogs, wanted: str) -> bool:
    """Sampler and scheduler in one name, such as "DPM++ 2M Karras", which servers still take apart."""
    return any(_with_scheduler(catalogs, sampler.name, wanted) for sampler in catalogs.samplers or ())


def _with_scheduler(catalogs: ServerCatalogs, sampler: str, wanted: str) -> bool:
    head, rest = wanted[: len(sampler)].casefold(), wanted[len(sampler) :].strip()
    return head == sampler.casefold() and find(catalogs.schedulers or _SCHEDULERS, rest) is not None


# -- comparing what was used with what was asked ----------------------------------------------------------------------


def same_sampler(catalogs: ServerCatalogs, asked: str, used: str) -> bool:
    """Whether *used* is what *asked* means; an old-style name holds the scheduler too."""
    item = find(catalogs.samplers, asked) or CatalogItem(asked)
    return item.answers_to(used) or _with_scheduler(catalogs, used, asked)


def same_scheduler(catalogs: ServerCatalogs, asked: str, used: str) -> bool:
    """Whether *used* is what *asked* means; "automatic" allows any."""
    item = find(catalogs.schedulers, asked)
    if item is not None and item.answers_to(used):
        return True
    return _plain(asked) in {_plain(used), "automatic"}


def same_model(catalogs: ServerCatalogs, asked: str, used: str | None, used_hash: str | None) -> bool:
    """Whether *used* is the checkpoint that *asked* means, by title, name, file or hash."""
    item = find(catalogs.models, asked)
    known = (asked, item.name, *item.aliases) if item is not None else (asked,)
    plain = {_stem(name) for name in known}
    return any(name is not None and _stem(name) in plain for name in (used, used_hash))


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.casefold())


def _stem(name: str) -> str:
    return _FILE.sub("", _HASH.sub("", name).replace("\\", "/").rpartition("/")[2]).casefold()
