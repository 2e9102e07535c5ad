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

    from rxpipe.backends.webui.client import Connection
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
class Entry:
    """One thing a server has: its `name`, and everything else it answers to."""

    name: str
    aliases: tuple[str, ...] = ()

    def answers_to(self, name: str) -> bool:
        """Whether *name* means it; case does not matter."""
        wanted = name.casefold().strip()
        return any(wanted == known.casefold() for known in (self.name, *self.aliases))


Known = Sequence[Entry] | None
"""What a server has of one kind; None where it does not tell."""


@dataclass(frozen=True, slots=True)
class Names:
    """Everything a server knows by name; a kind it does not tell is None and cannot be checked.

    unit_schema: properties of ADetailer's own schema. adetailer: False where the extension is missing.
    """

    samplers: Known = None
    schedulers: Known = None
    upscalers: Known = None
    models: Known = None
    vaes: Known = None
    detectors: Known = None
    unit_schema: Mapping[str, Any] | None = field(default=None, repr=False)
    adetailer: bool = True


def find(known: Known, name: str) -> Entry | None:
    """What the server means by *name*, None for nothing."""
    return next((entry for entry in known or () if entry.answers_to(name)), None)


def near(known: Sequence[Entry], name: str) -> str:
    """What to tell who gave an unknown *name*: the nearest one, or what there is."""
    spoken = {known_as.casefold(): entry.name for entry in known for known_as in (entry.name, *entry.aliases)}
    close = difflib.get_close_matches(name.casefold(), spoken, n=1, cutoff=0.5)
    if close:
        return f"did you mean {spoken[close[0]]!r}?"
    names = [entry.name for entry in known]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"it has {', '.join(names[:_SHOWN])}{more}" if names else "it has none"


# -- asking the server ------------------------------------------------------------------------------------------------


def ask_names(connection: Connection, kinds: Iterable[str], *, timeout_s: float) -> Names:
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
                _model(entry) for entry in _dicts(connection.get(_PATHS["models"], timeout_s=timeout_s).json())
            ]
        elif (entries := ask_optional(connection, _PATHS[kind], timeout_s=timeout_s)) is not None:
            found[kind] = [_entry(entry) for entry in _dicts(entries)]
    return Names(**found)


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
        "detectors": [Entry(str(name)) for name in _inner(listed, "ad_model")],
        "unit_schema": properties if isinstance(properties, Mapping) else None,
    }


def _inner(value: Any, key: str) -> list[Any]:
    """The list under *key*, empty where there is none."""
    inner = value.get(key) if isinstance(value, Mapping) else None
    return inner if isinstance(inner, list) else []


def _dicts(value: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def _entry(value: Mapping[str, Any]) -> Entry:
    name = str(value.get("label") or value.get("name") or value.get("model_name") or "")
    aliases = [value.get("name"), value.get("model_name"), *_inner(value, "aliases")]
    return Entry(name, tuple(str(alias) for alias in aliases if alias and alias != name))


def _model(value: Mapping[str, Any]) -> Entry:
    name = str(value.get("model_name") or value.get("title") or "")
    title = str(value.get("title") or name)
    file = str(value.get("filename") or "").replace("\\", "/").rpartition("/")[2]
    aliases = (title, _HASH.sub("", title), file, _FILE.sub("", file), value.get("hash"), value.get("sha256"))
    return Entry(name, tuple(dict.fromkeys(str(alias) for alias in aliases if alias)))


# -- looking a plan up ------------------------------------------------------------------------------------------------


def kinds_of(plan: StageExecutionPlan) -> tuple[str, ...]:
    """Which lists a plan needs; only those are asked for."""
    needed = dict.fromkeys(kind for stage in plan.stages for kind, _, _ in _wishes(stage) if kind in _PATHS)
    detailing = any(isinstance(stage.config, AdetailerConfig) for stage in plan.stages)
    return (*needed, *(("adetailer",) if detailing else ()))


def problems_of(plan: StageExecutionPlan, names: Names) -> list[str]:
    """One line for each name in the plan that the server does not have."""
    problems, told = [], set[tuple[str, str]]()
    for stage in plan.stages:
        if isinstance(stage.config, AdetailerConfig) and not names.adetailer:
            problems.append("adetailer: the server lacks the ADetailer extension; install it or leave the stage out")
        for kind, field_name, wanted in _wishes(stage):
            known: Known = getattr(names, kind)
            if (kind, wanted) in told or known is None or find(known, wanted) or _is_free(kind, field_name, wanted):
                continue
            if kind == "samplers" and _old_style(names, wanted):
                continue
            told.add((kind, wanted))  # later stages inherit it
            problems.append(f"{stage.stage_type}.{field_name}: the server has no {wanted!r}; {near(known, wanted)}")
    return problems


def _wishes(stage: StageExecution) -> list[tuple[str, str, str]]:
    """Kind, field and name of everything a stage asks for by name."""
    drawn, config = stage.generation, stage.config
    if isinstance(config, UpscaleConfig) and config.mode == "single":
        return _named([("upscalers", "upscaler", config.upscaler)])
    wishes = [
        ("samplers", "sampler_name", drawn.sampler_name),
        ("schedulers", "scheduler", drawn.scheduler),
        ("models", "model", drawn.model),
        ("vaes", "vae", drawn.vae),
        *_own_wishes(config),
    ]
    return _named(wishes)


def _own_wishes(config: StageConfig) -> list[tuple[str, str, str | None]]:
    if isinstance(config, UpscaleConfig):
        return [("upscalers", "upscaler", config.upscaler)]
    if isinstance(config, AdetailerConfig):
        return [
            (kind, f"units.{place}.{name}" if place else name, getattr(unit, name))
            for place, unit in enumerate((config, *config.units))
            for kind, name in _UNIT_WISHES
        ]
    if not isinstance(config, Txt2ImgConfig):
        return []
    hires, refiner = config.hires, config.refiner
    wishes: list[tuple[str, str, str | None]] = []
    if hires is not None and hires.enabled:
        wishes += [
            ("upscalers", "hires.upscaler", hires.upscaler),
            ("samplers", "hires.sampler_name", hires.sampler_name),
            ("schedulers", "hires.scheduler", hires.scheduler),
            ("models", "hires.checkpoint", hires.checkpoint),
        ]
    if refiner is not None and refiner.enabled:
        wishes.append(("models", "refiner.checkpoint", refiner.checkpoint))
    return wishes


_UNIT_WISHES = (
    ("detectors", "detector"),
    ("samplers", "sampler_name"),
    ("schedulers", "scheduler"),
    ("models", "checkpoint"),
)


def _named(wishes: Iterable[tuple[str, str, str | None]]) -> list[tuple[str, str, str]]:
    return [(kind, name, wanted) for kind, name, wanted in wishes if wanted]


def _is_free(kind: str, field_name: str, wanted: str) -> bool:
    """Names that no list holds and every server takes."""
    if kind == "upscalers":
        return field_name == "hires.upscaler" and wanted in _LATENT
    return (kind == "vaes" and wanted in _FREE_VAE) or wanted in {"Use same sampler", "Use same scheduler"}


_SCHEDULERS = tuple(Entry(name) for name in ("Karras", "Exponential", "SGM Uniform", "Simple", "Beta"))


def _old_style(names: Names, wanted: str) -> bool:
    """Sampler and scheduler in one name, such as "DPM++ 2M Karras", which servers still take apart."""
    return any(_with_scheduler(names, sampler.name, wanted) for sampler in names.samplers or ())


def _with_scheduler(names: Names, sampler: str, wanted: str) -> bool:
    head, rest = wanted[: len(sampler)].casefold(), wanted[len(sampler) :].strip()
    return head == sampler.casefold() and find(names.schedulers or _SCHEDULERS, rest) is not None


# -- comparing what was used with what was asked ----------------------------------------------------------------------


def same_sampler(names: Names, asked: str, used: str) -> bool:
    """Whether *used* is what *asked* means; an old-style name holds the scheduler too."""
    entry = find(names.samplers, asked) or Entry(asked)
    return entry.answers_to(used) or _with_scheduler(names, used, asked)


def same_scheduler(names: Names, asked: str, used: str) -> bool:
    """Whether *used* is what *asked* means; "automatic" allows any."""
    entry = find(names.schedulers, asked)
    if entry is not None and entry.answers_to(used):
        return True
    return _plain(asked) in {_plain(used), "automatic"}


def same_model(names: Names, asked: str, used: str | None, used_hash: str | None) -> bool:
    """Whether *used* is the checkpoint that *asked* means, by title, name, file or hash."""
    entry = find(names.models, asked)
    known = (asked, entry.name, *entry.aliases) if entry is not None else (asked,)
    plain = {_stem(name) for name in known}
    return any(name is not None and _stem(name) in plain for name in (used, used_hash))


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.casefold())


def _stem(name: str) -> str:
    return _FILE.sub("", _HASH.sub("", name).replace("\\", "/").rpartition("/")[2]).casefold()
