"""What a backend has by name (samplers, checkpoints, ...), and what is near a wrong name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple

from rxpipe.config import AdetailerConfig, Txt2ImgConfig, UpscaleConfig
from rxpipe.pictures.names import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rxpipe.config import StageConfig
    from rxpipe.plan import StageExecution, StageExecutionPlan

_SHOWN = 8


@dataclass(frozen=True, slots=True)
class CatalogItem:
    """One thing that a backend has: its `name`, and everything else it answers to."""

    name: str
    aliases: tuple[str, ...] = ()

    def answers_to(self, name: str) -> bool:
        """Whether *name* means it; case does not matter."""
        wanted = name.casefold().strip()
        return any(wanted == known.casefold() for known in (self.name, *self.aliases))


Items = Sequence[CatalogItem] | None
"""What a backend has of one kind; None where it does not list it."""


@dataclass(frozen=True)
class Catalog:
    """Everything that a backend has by name. A kind that it does not list is None and cannot be checked."""

    samplers: Items = None
    schedulers: Items = None
    upscalers: Items = None
    models: Items = None
    vaes: Items = None
    modules: Items = None
    styles: Items = None
    loras: Items = None
    detectors: Items = None

    @classmethod
    def union(cls, catalogs: Iterable[Catalog]) -> Catalog:
        """Return what any of several backends has; a kind that one of them does not list is not listed."""
        every = tuple(catalogs)
        kinds = [field.name for field in fields(cls)]
        listed = {kind: [catalog.items(kind) for catalog in every] for kind in kinds}
        return cls(**{kind: None if None in items else _merged(items) for kind, items in listed.items()})

    def items(self, kind: str) -> Items:
        """Return what the backend has of a *kind*, the name of one of the fields."""
        found: Items = getattr(self, kind)
        return found

    def names(self, kind: str) -> tuple[str, ...]:
        """Return the names of a *kind*, none where it is not listed."""
        return tuple(item.name for item in self.items(kind) or ())

    def accepts(self, reference: NameReference) -> bool:
        """Whether the backend takes a name: it has it, or does not list the kind."""
        items = self.items(reference.kind)
        return items is None or find(items, reference.name) is not None

    def problems(self, plan: StageExecutionPlan) -> list[str]:
        """Return one line for each name in the plan that the backend does not have, with the nearest that it has."""
        problems, looked_up = [], set[tuple[str, str]]()
        for stage in plan.stages:
            for reference in name_references(stage):
                known = (reference.kind, reference.name) in looked_up  # later stages inherit it
                looked_up.add((reference.kind, reference.name))
                if known or self.accepts(reference):
                    continue
                hint = nearest(self.items(reference.kind) or (), reference.name)
                problems.append(f"{stage.stage_type}.{reference.field}: the server has no {reference.name!r}; {hint}")
        return problems


def find(items: Items, name: str) -> CatalogItem | None:
    """Return the item that *name* means, None where there is none.

    Its name in the server's own spelling comes before any alias, and both before what differs in punctuation too, which
    must mean one item only.
    """
    items = items or ()
    for item in items:
        if item.name == name:
            return item
    for item in items:
        if item.answers_to(name):
            return item
    wanted = plain(name)
    alike = [item for item in items if wanted in map(plain, (item.name, *item.aliases))]
    return alike[0] if len(alike) == 1 and wanted else None


def nearest(items: Sequence[CatalogItem], name: str) -> str:
    """Return the advice for an unknown *name*: the nearest one, or what there is."""
    names_by_alias = {known_as.casefold(): item.name for item in items for known_as in (item.name, *item.aliases)}
    close = difflib.get_close_matches(name.casefold(), names_by_alias, n=1, cutoff=0.5)
    if close:
        return f"did you mean {names_by_alias[close[0]]!r}?"
    names = [item.name for item in items]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"it has {', '.join(names[:_SHOWN])}{more}" if names else "it has none"


# -- the names in a plan ----------------------------------------------------------------------------------------------


class NameReference(NamedTuple):
    """A name in a stage's settings. kind: of the catalog, such as "samplers". field: of the stage's section."""

    kind: str
    field: str
    name: str


def name_references(stage: StageExecution) -> list[NameReference]:
    """Return everything that a stage asks for by name."""
    return [NameReference(kind, field, name) for kind, field, name in _references(stage) if name]


def kinds_of(plan: StageExecutionPlan) -> tuple[str, ...]:
    """Return which kinds of names a plan needs, in order."""
    return tuple(dict.fromkeys(reference.kind for stage in plan.stages for reference in name_references(stage)))


def _references(stage: StageExecution) -> Iterator[tuple[str, str, str | None]]:
    generation, config = stage.generation, stage.config
    if isinstance(config, UpscaleConfig) and config.mode == "single":
        yield "upscalers", "upscaler", config.upscaler
        yield "upscalers", "upscaler_2", config.upscaler_2
        return
    yield "samplers", "sampler_name", generation.sampler_name
    yield "schedulers", "scheduler", generation.scheduler
    yield "models", "model", generation.model
    yield "vaes", "vae", generation.vae
    for name in generation.modules:
        yield "modules", "modules", name
    yield from _own_references(config)


def _own_references(config: StageConfig) -> Iterable[tuple[str, str, str | None]]:
    if isinstance(config, UpscaleConfig):
        return [("upscalers", "upscaler", config.upscaler)]
    if isinstance(config, AdetailerConfig):
        return [
            (kind, f"units.{index}.{name}" if index else name, getattr(unit, name))
            for index, unit in enumerate((config, *config.units))
            for kind, name in _UNIT_REFERENCES
        ]
    return _txt2img_references(config) if isinstance(config, Txt2ImgConfig) else []


def _txt2img_references(config: Txt2ImgConfig) -> list[tuple[str, str, str | None]]:
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


def _merged(lists: Iterable[Items]) -> tuple[CatalogItem, ...]:
    return tuple({item.name.casefold(): item for items in lists for item in items or ()}.values())
