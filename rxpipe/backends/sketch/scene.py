"""From a prompt to layers: what a picture is composed of, in the order it is drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from rxpipe.backends.sketch import deep, land, portrait, sky, town, water
from rxpipe.backends.sketch.sky import SkyScene
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
    spec = read_prompt(prompt, negative, np.random.Generator(np.random.PCG64([seed, 0])))
    scene = SkyScene(spec, seed, aspect, detail, 0.6, (0.5, 0.4))
    rng = scene.rng(1)
    horizon = float(rng.uniform(*_HORIZONS.get(spec.subject, (0.6, 0.7))))
    height = float(rng.uniform(*_SUN_HEIGHTS.get(spec.hour, (0.2, 0.5))))
    scene = replace(scene, horizon=horizon, sun=(aspect * float(rng.uniform(0.2, 0.8)), horizon * height))
    return _SCENES[spec.subject](scene)


def _heavens(scene: SkyScene) -> list[Layer]:
    spec, rng = scene.spec, scene.rng(2)
    cloudy = float(rng.uniform(-0.35, 0.3)) + (0.3 if spec.has("clouds") or spec.hour == "storm" else 0.0)
    layers = [sky.gradient(scene)]
    if spec.hour in {"night", "dusk"} or spec.has("stars"):
        layers.append(sky.stars(scene))
    if spec.has("aurora"):
        layers.append(sky.aurora(scene))
    elif spec.hour != "storm" or spec.has("sun", "moon"):
        layers.append(sky.disc(scene))
    layers.append(sky.clouds(scene, cloudy))
    if spec.has("birds") or (spec.hour not in {"night", "storm"} and rng.random() < 0.5):
        layers.append(sky.birds(scene))
    return layers


def _weather(scene: SkyScene) -> list[Layer]:
    layers: list[Layer] = []
    if scene.spec.has("fog"):
        layers.append(sky.fog(scene, scene.horizon + 0.03, 0.16, 0.8))
    if scene.spec.has("rain"):
        layers.append(sky.rainfall(scene))
    if scene.spec.has("snow"):
        layers.append(sky.snowfall(scene))
    return layers


def _sea(scene: SkyScene) -> Passes:
    spec, rng = scene.spec, scene.rng(3)
    left = bool(rng.random() < 0.5)
    clear = scene.aspect * float(rng.uniform(0.58, 0.85))
    scene = replace(scene, sun=(clear if left else scene.aspect - clear, scene.sun[1]))
    layers = _heavens(scene)
    if rng.random() < 0.65:
        layers += land.ranges(scene, 2, height=0.045, sharp=True, bottom=scene.horizon + 0.02)
    if spec.has("lighthouse") or rng.random() < 0.45:
        edge, cape = town.headland(scene, scene.horizon + 0.035, left=left)
        layers.append(cape)
        layers += [town.lighthouse(scene, edge, left=left)] if spec.has("lighthouse") else []
    calm = 0.15 if spec.hour == "storm" else 0.45
    second: list[Layer] = [water.water(scene, scene.horizon, calm=calm)]
    if spec.has("lighthouse") or rng.random() < 0.45:
        second = [water.water(scene, scene.horizon, calm=calm)]
    if spec.has("boat") or rng.random() < 0.35:
        second.append(town.boat(scene, scene.horizon + 0.03))
    return [layers, second + _weather(scene)]


def _lake(scene: SkyScene) -> Passes:
    layers = _heavens(scene) + land.ranges(scene, 4, height=0.2, sharp=True, bottom=scene.horizon + 0.03)
    layers.append(_shore_trees(scene, scene.horizon + 0.004, 0.075))
    if scene.spec.has("house"):
        layers.append(town.cabin(scene, scene.horizon + 0.002))
    second = [water.water(scene, scene.horizon, calm=0.85)]
    if scene.spec.has("boat"):
        second.append(town.boat(scene, scene.horizon + 0.05))
    return [layers, second + _weather(scene)]


def _shore_trees(scene: SkyScene, level: float, tall: float) -> Layer:
    palette = scene.spec.palette
    return land.conifers(scene, town.shore(scene, level), palette.near, 160, tall=tall, spacing=tall * 0.22)


def _mountain(scene: SkyScene) -> Passes:
    spec, palette = scene.spec, scene.spec.palette
    layers = _heavens(scene) + land.ranges(scene, 5, height=0.27, sharp=True, bottom=0.97)
    if spec.has("castle"):
        layers[-2:-2] = town.castle(scene, scene.horizon + 0.1)
    edge = land.skyline(scene.noise(161, 4), 0.98, 0.05, 1.6, sharp=False)
    layers.insert(-1, sky.fog(scene, scene.horizon + 0.12, 0.1, 0.5))
    layers.append(land.conifers(scene, edge, palette.near, 162, tall=0.24, spacing=0.05))
    if spec.has("house"):
        layers.append(town.cabin(scene, 0.93))
    return [layers + _weather(scene)]


def _forest(scene: SkyScene) -> Passes:
    layers = _heavens(scene) + land.ranges(scene, 2, height=0.16, sharp=True, bottom=scene.horizon + 0.1)
    trees = land.forest(scene)
    trees.insert(2, sky.fog(scene, 0.68, 0.1, 0.75))
    trees.insert(5, sky.fog(scene, 0.8, 0.1, 0.6))
    if scene.spec.has("house"):
        trees.insert(6, town.cabin(scene, 0.84))
    return [layers + trees + _weather(scene)]


def _city(scene: SkyScene) -> Passes:
    wide = scene.rng(4).random() < 0.7
    layers = _heavens(scene) + land.ranges(scene, 1, height=0.06, sharp=True, bottom=scene.horizon + 0.05)
    if wide:
        return [
            layers + town.city(scene, scene.horizon),
            [water.water(scene, scene.horizon, calm=0.6), *_weather(scene)],
        ]
    return [layers + town.city(scene, 1.0) + _weather(scene)]


def _flowers(scene: SkyScene) -> Passes:
    layers = _heavens(scene) + land.ranges(scene, 3, height=0.12, sharp=True, bottom=scene.horizon + 0.1)
    return [layers + land.meadow(scene) + _weather(scene)]


def _desert(scene: SkyScene) -> Passes:
    far = land.ranges(scene, 1, height=0.07, sharp=True, bottom=scene.horizon + 0.03)
    return [_heavens(scene) + far + land.dunes(scene) + _weather(scene)]


def _space(scene: SkyScene) -> Passes:
    sparkling = replace(scene, horizon=1.3)
    return [[deep.nebula(scene), sky.stars(sparkling), deep.planet(scene)]]


def _portrait(scene: SkyScene) -> Passes:
    return [portrait.portrait(scene) + _weather(scene)]


def _abstract(scene: SkyScene) -> Passes:
    return [[deep.silk(scene)]]


_SCENES: dict[str, Callable[[SkyScene], Passes]] = {
    "sea": _sea, "lake": _lake, "mountain": _mountain, "forest": _forest, "city": _city, "flowers": _flowers,
    "desert": _desert, "space": _space, "portrait": _portrait, "abstract": _abstract,
}  # fmt: skip
