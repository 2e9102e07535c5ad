"""From a wish to layers: what a picture is composed of, in the order it is drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from rxpipe.backends.sketch import deep, land, portrait, sky, town, water
from rxpipe.backends.sketch.sky import Stage
from rxpipe.backends.sketch.words import read_prompt

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxpipe.backends.sketch.sky import Layer

    Passes = list[list[Layer]]

_HORIZONS = {"sea": (0.56, 0.64), "lake": (0.5, 0.58), "mountain": (0.56, 0.66), "forest": (0.55, 0.62),
             "city": (0.66, 0.74), "flowers": (0.42, 0.52), "desert": (0.5, 0.6)}  # fmt: skip
_SUN_HEIGHTS = {"sunset": (0.7, 0.93), "dawn": (0.68, 0.9), "dusk": (0.55, 0.8)}


def compose(prompt: str, negative: str, seed: int, aspect: float, detail: float) -> Passes:
    """The layers of a picture, in passes; a pass may look at what those before it drew.

    Args:
        prompt: what to draw; the words it knows choose subject, hour, colours and things.
        negative: what to leave out.
        seed: >= 0; decides everything the words leave open.
        aspect: width / height.
        detail: 0..1, how much fine detail there is to be.
    """
    wish = read_prompt(prompt, negative, np.random.Generator(np.random.PCG64([seed, 0])))
    stage = Stage(wish, seed, aspect, detail, 0.6, (0.5, 0.4))
    rng = stage.rng(1)
    horizon = float(rng.uniform(*_HORIZONS.get(wish.subject, (0.6, 0.7))))
    height = float(rng.uniform(*_SUN_HEIGHTS.get(wish.hour, (0.2, 0.5))))
    stage = replace(stage, horizon=horizon, sun=(aspect * float(rng.uniform(0.2, 0.8)), horizon * height))
    return _SCENES[wish.subject](stage)


def _heavens(stage: Stage) -> list[Layer]:
    wish, rng = stage.wish, stage.rng(2)
    cloudy = float(rng.uniform(-0.35, 0.3)) + (0.3 if wish.has("clouds") or wish.hour == "storm" else 0.0)
    layers = [sky.gradient(stage)]
    if wish.hour in {"night", "dusk"} or wish.has("stars"):
        layers.append(sky.stars(stage))
    if wish.has("aurora"):
        layers.append(sky.aurora(stage))
    elif wish.hour != "storm" or wish.has("sun", "moon"):
        layers.append(sky.disc(stage))
    layers.append(sky.clouds(stage, cloudy))
    if wish.has("birds") or (wish.hour not in {"night", "storm"} and rng.random() < 0.5):
        layers.append(sky.birds(stage))
    return layers


def _weather(stage: Stage) -> list[Layer]:
    layers: list[Layer] = []
    if stage.wish.has("fog"):
        layers.append(sky.fog(stage, stage.horizon + 0.03, 0.16, 0.8))
    if stage.wish.has("rain"):
        layers.append(sky.rainfall(stage))
    if stage.wish.has("snow"):
        layers.append(sky.snowfall(stage))
    return layers


def _sea(stage: Stage) -> Passes:
    wish, rng = stage.wish, stage.rng(3)
    left = bool(rng.random() < 0.5)
    clear = stage.aspect * float(rng.uniform(0.58, 0.85))
    stage = replace(stage, sun=(clear if left else stage.aspect - clear, stage.sun[1]))
    layers = _heavens(stage)
    if rng.random() < 0.65:
        layers += land.ranges(stage, 2, height=0.045, sharp=True, bottom=stage.horizon + 0.02)
    if wish.has("lighthouse") or rng.random() < 0.45:
        edge, cape = town.headland(stage, stage.horizon + 0.035, left=left)
        layers.append(cape)
        layers += [town.lighthouse(stage, edge, left=left)] if wish.has("lighthouse") else []
    calm = 0.15 if wish.hour == "storm" else 0.45
    second: list[Layer] = [water.water(stage, stage.horizon, calm=calm)]
    if wish.has("lighthouse") or rng.random() < 0.45:
        second = [water.water(stage, stage.horizon, calm=calm)]
    if wish.has("boat") or rng.random() < 0.35:
        second.append(town.boat(stage, stage.horizon + 0.03))
    return [layers, second + _weather(stage)]


def _lake(stage: Stage) -> Passes:
    layers = _heavens(stage) + land.ranges(stage, 4, height=0.2, sharp=True, bottom=stage.horizon + 0.03)
    layers.append(_shore_trees(stage, stage.horizon + 0.004, 0.075))
    if stage.wish.has("house"):
        layers.append(town.cabin(stage, stage.horizon + 0.002))
    second = [water.water(stage, stage.horizon, calm=0.85)]
    if stage.wish.has("boat"):
        second.append(town.boat(stage, stage.horizon + 0.05))
    return [layers, second + _weather(stage)]


def _shore_trees(stage: Stage, level: float, tall: float) -> Layer:
    palette = stage.wish.palette
    return land.conifers(stage, town.shore(stage, level), palette.near, 160, tall=tall, spacing=tall * 0.22)


def _mountain(stage: Stage) -> Passes:
    wish, palette = stage.wish, stage.wish.palette
    layers = _heavens(stage) + land.ranges(stage, 5, height=0.27, sharp=True, bottom=0.97)
    if wish.has("castle"):
        layers[-2:-2] = town.castle(stage, stage.horizon + 0.1)
    edge = land.skyline(stage.noise(161, 4), 0.98, 0.05, 1.6, sharp=False)
    layers.insert(-1, sky.fog(stage, stage.horizon + 0.12, 0.1, 0.5))
    layers.append(land.conifers(stage, edge, palette.near, 162, tall=0.24, spacing=0.05))
    if wish.has("house"):
        layers.append(town.cabin(stage, 0.93))
    return [layers + _weather(stage)]


def _forest(stage: Stage) -> Passes:
    layers = _heavens(stage) + land.ranges(stage, 2, height=0.16, sharp=True, bottom=stage.horizon + 0.1)
    trees = land.forest(stage)
    trees.insert(2, sky.fog(stage, 0.68, 0.1, 0.75))
    trees.insert(5, sky.fog(stage, 0.8, 0.1, 0.6))
    if stage.wish.has("house"):
        trees.insert(6, town.cabin(stage, 0.84))
    return [layers + trees + _weather(stage)]


def _city(stage: Stage) -> Passes:
    wide = stage.rng(4).random() < 0.7
    layers = _heavens(stage) + land.ranges(stage, 1, height=0.06, sharp=True, bottom=stage.horizon + 0.05)
    if wide:
        return [
            layers + town.city(stage, stage.horizon),
            [water.water(stage, stage.horizon, calm=0.6), *_weather(stage)],
        ]
    return [layers + town.city(stage, 1.0) + _weather(stage)]


def _flowers(stage: Stage) -> Passes:
    layers = _heavens(stage) + land.ranges(stage, 3, height=0.12, sharp=True, bottom=stage.horizon + 0.1)
    return [layers + land.meadow(stage) + _weather(stage)]


def _desert(stage: Stage) -> Passes:
    far = land.ranges(stage, 1, height=0.07, sharp=True, bottom=stage.horizon + 0.03)
    return [_heavens(stage) + far + land.dunes(stage) + _weather(stage)]


def _space(stage: Stage) -> Passes:
    sparkling = replace(stage, horizon=1.3)
    return [[deep.nebula(stage), sky.stars(sparkling), deep.planet(stage)]]


def _portrait(stage: Stage) -> Passes:
    return [portrait.portrait(stage) + _weather(stage)]


def _abstract(stage: Stage) -> Passes:
    return [[deep.silk(stage)]]


_SCENES: dict[str, Callable[[Stage], Passes]] = {
    "sea": _sea, "lake": _lake, "mountain": _mountain, "forest": _forest, "city": _city, "flowers": _flowers,
    "desert": _desert, "space": _space, "portrait": _portrait, "abstract": _abstract,
}  # fmt: skip
