"""Stages by name, for configs: the ready-made ones, and those that installed packages register.

A package registers a stage by an entry point of the group `rxpipe.stages`: what `@image_stage` made, or any function
that returns a stage.

    [project.entry-points."rxpipe.stages"]
    caption = "my_package.stages:caption"
"""

from __future__ import annotations

import inspect
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from rxpipe.config import CustomConfig
from rxpipe.errors import ConfigError, suggestion
from rxpipe.stages.arguments import parameters_of
from rxpipe.stages.base import Stage
from rxpipe.stages.choosing import keep_best, sharpness
from rxpipe.stages.functions import ImageFunction
from rxpipe.stages.gates import gate
from rxpipe.stages.grids import grid
from rxpipe.stages.ready import border, crop, resize, save_as, watermark

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from importlib.metadata import EntryPoint

__all__ = ["GROUP", "Registered", "made", "registered"]

GROUP = "rxpipe.stages"
"""The group of entry points."""


def _keep_sharpest(count: int) -> Stage:
    """Wait for all images and keep the *count* sharpest."""
    return keep_best(count, by=sharpness)


def _gate() -> Stage:
    """Ask on the terminal whether an image goes on."""
    return gate()


def _grid(columns: int | None = None, *, cell: int = 512) -> Stage:
    """Pass all images on, and after them a contact sheet, *columns* pictures wide, each of *cell* px at most."""
    return grid(columns, cell=cell)


_READY: Mapping[str, Callable[..., Stage]] = MappingProxyType(
    {
        "resize": resize,
        "crop": crop,
        "border": border,
        "watermark": watermark,
        "save_as": save_as,
        "grid": _grid,
        "gate": _gate,
        "keep_sharpest": _keep_sharpest,
    }
)


class Registered(NamedTuple):
    """A stage by its name. package: that registered it, "rxpipe" for a ready-made one. point: not loaded yet."""

    name: str
    package: str
    point: EntryPoint | None = None

    def load(self) -> Callable[..., Any]:
        """Return what makes the stage.

        Raises:
            ConfigError: the package's code cannot be loaded, or what it registered makes no stage.
        """
        if self.point is None:
            return _READY[self.name]
        try:
            found: Any = self.point.load()
        except Exception as error:
            message = f"stage {self.name} of {self.package}: {self.point.value} cannot be loaded: {error}"
            raise ConfigError([f"{message} ({type(error).__name__})"]) from error
        if not callable(found):
            raise ConfigError([f"stage {self.name} of {self.package}: {self.point.value} makes no stage"])
        maker: Callable[..., Any] = found
        return maker

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """Return what the stage takes, by name; raises ConfigError as `load`."""
        maker = self.load()
        if isinstance(maker, ImageFunction):
            return parameters_of(maker.function)
        return inspect.signature(maker).parameters

    @property
    def summary(self) -> str:
        """Return the first line of what is said about it."""
        return (inspect.getdoc(self.load()) or "").partition("\n")[0]


def registered() -> Mapping[str, Registered]:
    """Return all stages by name; nothing of the packages is loaded. A ready-made one keeps its name."""
    found = {
        point.name: Registered(point.name, point.dist.name if point.dist else point.module, point)
        for point in entry_points(group=GROUP)
    }
    return {**found, **{name: Registered(name, "rxpipe") for name in _READY}}


def made(section: CustomConfig) -> Stage:
    """Return the stage of a config's section, `section.registered` with its settings.

    Raises:
        ConfigError: there is no such stage, or it does not take these settings.
    """
    where = f"custom.{section.name}"
    known, name = registered(), section.registered or section.name
    if name not in known:
        hint = "A package registers stages by entry points of the group rxpipe.stages; is it installed here?"
        raise ConfigError([f"{where}: there is no stage {name!r}; {suggestion(name, known)}"], hint=hint)
    try:
        stage = known[name].load()(**section.settings)
    except TypeError as error:
        raise ConfigError([f"{where}: {error}"]) from error
    except ConfigError as error:
        raise ConfigError([f"{where}: {line}" for line in error.problems], hint=error.hint) from None
    if not isinstance(stage, Stage) or not isinstance(stage.config, CustomConfig):
        raise ConfigError([f"{where}: {name} returned a {type(stage).__name__} where a stage was expected"])
    given = section.model_dump(exclude_unset=True, exclude={"kind"})
    stage.config = type(stage.config).model_validate({**stage.config.model_dump(exclude_unset=True), **given})
    return stage
