"""Palettes: what colours a picture is made of, from its hour, its words and its seed.

Colours are sRGB, 0..1. They are mixed and turned in OKLab (Ottosson 2020), where equal numbers look equally far apart.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxpipe.backends.sketch.field import F32, Rgb

_TO_LMS = np.array(
    [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
     [0.0883024619, 0.2817188376, 0.6299787005]],
)  # fmt: skip
_TO_LAB = np.array(
    [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
     [0.0259040371, 0.7827717662, -0.8086757660]],
)  # fmt: skip

HUES = {
    "red": 29, "crimson": 20, "scarlet": 30, "orange": 55, "copper": 55, "amber": 75, "gold": 85, "golden": 85,
    "yellow": 100, "lime": 125, "green": 142, "emerald": 155, "mint": 165, "teal": 190, "turquoise": 195, "cyan": 205,
    "azure": 235, "blue": 258, "indigo": 280, "violet": 300, "purple": 310, "magenta": 330, "pink": 355, "rose": 5,
}  # fmt: skip
"""Hue angles in OKLab, in degrees, of the colour words a prompt may hold."""


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of one picture.

    sky: four, from the top to the horizon. light: sun or moon. far, near: the hills in the haze and those in front.
    water: where it reflects nothing. glow: windows and lamps.
    """

    sky: tuple[Rgb, Rgb, Rgb, Rgb]
    light: Rgb
    far: Rgb
    near: Rgb
    water: Rgb
    glow: Rgb

    def turned(self, turn: Callable[[Rgb], Rgb]) -> Palette:
        """Every colour put through *turn*."""
        top, upper, lower, low = self.sky
        rest = {field.name: turn(getattr(self, field.name)) for field in fields(self) if field.name != "sky"}
        return replace(self, sky=(turn(top), turn(upper), turn(lower), turn(low)), **rest)


def to_lab(rgb: Rgb) -> tuple[float, float, float]:
    """OKLab of an sRGB colour."""
    linear = np.asarray(rgb, float)
    linear = np.where(linear > 0.04045, ((linear + 0.055) / 1.055) ** 2.4, linear / 12.92)
    first, second, third = _TO_LAB @ np.cbrt(_TO_LMS @ linear)
    return float(first), float(second), float(third)


def from_lab(lab: tuple[float, float, float]) -> Rgb:
    """The sRGB colour of an OKLab value, brought into 0..1."""
    linear = np.linalg.solve(_TO_LMS, np.linalg.solve(_TO_LAB, np.asarray(lab)) ** 3).clip(0, 1)
    red, green, blue = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    return float(red), float(green), float(blue)


def blend(first: Rgb, second: Rgb, share: float) -> Rgb:
    """Between two colours: the first at 0, the second at 1."""
    a, b = np.array(to_lab(first)), np.array(to_lab(second))
    light, green_red, blue_yellow = a + (b - a) * share
    return from_lab((float(light), float(green_red), float(blue_yellow)))


def ramp(stops: tuple[Rgb, ...], count: int = 256) -> F32:
    """*count* colours (3 x count) through the *stops*, evenly spaced and even to the eye."""
    labs = np.array([to_lab(stop) for stop in stops])
    at = np.linspace(0, len(stops) - 1, count)
    mixed = np.stack([np.interp(at, np.arange(len(stops)), labs[:, channel]) for channel in range(3)])
    return np.array([from_lab((a, b, c)) for a, b, c in mixed.T], np.float32).T


def spun(degrees: float, chroma: float = 1.0, light: float = 1.0) -> Callable[[Rgb], Rgb]:
    """A turn of the hue, with chroma and lightness multiplied."""

    def turn(rgb: Rgb) -> Rgb:
        lightness, a, b = to_lab(rgb)
        turned = complex(a, b) * np.exp(1j * np.deg2rad(degrees)) * chroma
        return from_lab((min(lightness * light, 1.0), turned.real, turned.imag))

    return turn


def towards(hue: float, share: float) -> Callable[[Rgb], Rgb]:
    """A pull of colours to one hue (degrees), keeping their lightness; a *share* below 0 pushes away from it."""
    aim = np.exp(1j * np.deg2rad(hue))

    def turn(rgb: Rgb) -> Rgb:
        lightness, a, b = to_lab(rgb)
        colour = complex(a, b)
        if share < 0:
            along = max((colour * aim.conjugate()).real, 0.0)
            moved = colour + aim * along * share * 1.6
        else:
            moved = colour * (1 - share) + aim * share * max(abs(colour), 0.09 * min(1.0, 4 * (1.02 - lightness)))
        return from_lab((lightness, moved.real, moved.imag))

    return turn


def _rgb(code: str) -> Rgb:
    red, green, blue = bytes.fromhex(code)
    return red / 255, green / 255, blue / 255


def _palette(codes: str) -> Palette:
    top, upper, lower, low, light, far, near, water, glow = (_rgb(code) for code in codes.split())
    return Palette((top, upper, lower, low), light, far, near, water, glow)


PALETTES: dict[str, tuple[Palette, ...]] = {
    "dawn": (
        _palette("3b4a7a 8e7fb0 f0b7a4 ffe3b8 fff1cf b79bb8 2c2f4f 4c5a86 ffd08a"),
        _palette("5b7fa6 a9b7cf f6cfc0 ffefd2 fff6dc a9a8c4 2e3a4f 5d7d99 ffd79a"),
    ),
    "day": (
        _palette("2f7fc4 6fb4e3 bfe3f2 f6f6e6 fffbe6 9fc3d6 1f4a3c 1f6f96 ffe9a8"),
        _palette("3a6ea5 8fc1d9 dcecd9 fbf3d0 fffae0 a8c8be 2d4a2f 2f7f8c ffe9a8"),
        _palette("1f6fb5 57a5d8 a8d8ea ffeec8 fff6d8 8fb8c8 17403f 15607f ffe9a8"),
    ),
    "sunset": (
        _palette("2b2d5b 8a3f7c f0683f ffd27a fff0b0 c9616a 1d1430 3a2a5c ffcf6a"),
        _palette("1f3b63 6f5a8e f58f5a ffe0a3 fff3c4 b9728a 15182f 2f4468 ffd27a"),
        _palette("40204f b23a5f ff8a4c ffe08a fff2bd d2605c 22102a 502a58 ffd27a"),
    ),
    "dusk": (
        _palette("0f1c3f 2f3f73 7c6aa0 f2a48a ffe9c9 6c6a9c 0e1430 1c2a55 ffd07a"),
        _palette("101d33 24506b 5f8f93 f3c48f ffeccb 4f7686 0b1a26 163a4c ffd07a"),
        _palette("1a1440 4a2f78 a4588f ffb08a ffe6c4 7a5590 140c2a 2a2058 ffcb7a"),
    ),
    "night": (
        _palette("050a1c 0d1b3d 1f3a66 3f6288 f3f1dc 2a4468 04070f 0a1a36 ffd27a"),
        _palette("0a0618 221440 3c2b6b 6a5590 f1ecff 40366e 05030f 160f38 ffcf86"),
        _palette("03100f 08282d 155052 3f8078 effae8 245a58 020a0b 062226 ffe09a"),
    ),
    "storm": (
        _palette("38424c 64717c 949fa6 c6ccca e9edea 8d979c 1c242a 3e4c55 ffdc9a"),
        _palette("40454f 737885 a9a9b0 d8d2c8 f2eee4 9b9ba2 22232b 4a515c ffdc9a"),
    ),
}
"""Palettes by hour; the seed picks one."""
