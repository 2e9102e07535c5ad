"""What a prompt asks for: a subject, an hour, things, colours.

A word list, not a language model: words it does not know only tint the picture. Pure; the seed decides what the prompt
leaves open.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

from rxpipe.backends.sketch.colour import HUES, PALETTES, Palette, spun, towards

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from rxpipe.backends.sketch.field import Rgb

T = TypeVar("T")

_SUBJECTS = {
    "portrait": "portrait face person people woman man girl boy lady gentleman child king queen princess prince "
    "selfie headshot astronaut astronauts wizard witch elf knight human men women girls boys children "
    "soldier pirate nurse doctor actor actress grandmother grandfather mother father warrior samurai hero heroine",
    "city": "city skyline town street skyscraper skyscrapers downtown metropolis buildings urban tokyo york london "
    "harbor harbour cyberpunk village",
    "flowers": "flower flowers garden rose roses tulip tulips meadow blossom bouquet daisy daisies poppy poppies "
    "sunflower sunflowers lavender spring",
    "space": "space planet galaxy nebula cosmos cosmic universe saturn stars asteroid starship spaceship",
    "forest": "forest wood woods tree trees jungle pine pines grove cabin deer wolf fox bear",
    "sea": "sea ocean beach coast coastline lighthouse island boat ship sail sailing wave waves harbour bay shore "
    "cliff cliffs",
    "lake": "lake river pond reflection reflections fjord water",
    "desert": "desert dune dunes sahara sand camel",
    "mountain": "mountain mountains hill hills alps peak peaks valley canyon volcano landscape castle",
    "abstract": "abstract pattern flow marble texture fractal swirl swirls ink fluid wallpaper psychedelic",
}
_SCENERY = ("sea", "mountain", "lake", "forest", "sea", "mountain", "desert", "city", "flowers")
_HOURS = {
    "dawn": "dawn sunrise morning", "day": "day noon midday sunny daylight summer afternoon bright spring",
    "sunset": "sunset evening golden warm autumn fall", "dusk": "dusk twilight gloaming blue_hour",
    "night": "night midnight moon moonlight moonlit stars starry aurora neon cyberpunk dark nocturnal",
    "storm": "storm stormy rain rainy fog foggy mist misty cloudy overcast gloomy grey gray",
}  # fmt: skip
_THINGS = {
    "lighthouse": "lighthouse", "boat": "boat ship sail sailing yacht sailboat", "moon": "moon moonlight moonlit",
    "sun": "sun sunny sunset sunrise", "stars": "stars starry star", "aurora": "aurora northern",
    "snow": "snow snowy winter ice icy frozen christmas", "rain": "rain rainy storm stormy",
    "fog": "fog foggy mist misty haze hazy", "clouds": "cloud clouds cloudy", "birds": "bird birds gull gulls",
    "autumn": "autumn fall", "trees": "tree trees pine pines forest woods", "castle": "castle",
    "house": "house cabin hut cottage", "beard": "beard bearded wizard grandfather",
    "old": "old elderly grandmother grandfather",
    "man": "man boy gentleman king prince knight father grandfather wizard men boys",
    "smile": "smile smiling happy laughing",
    "woman": "woman girl lady queen princess mother grandmother witch women girls actress heroine",
}  # fmt: skip

_BLOOMS = {**HUES, "poppy": 29, "poppies": 29, "lavender": 300, "sunflower": 95, "sunflowers": 95, "roses": 15}

_HAIRDOS = {"blonde", "blond", "brunette", "redhead", "ginger"}
_HAIRS: dict[str, Rgb] = {
    "blonde": (0.72, 0.54, 0.28), "blond": (0.72, 0.54, 0.28), "golden": (0.74, 0.53, 0.22),
    "brunette": (0.26, 0.15, 0.09), "brown": (0.3, 0.18, 0.1), "black": (0.07, 0.06, 0.06), "dark": (0.1, 0.07, 0.06),
    "redhead": (0.55, 0.19, 0.08), "ginger": (0.6, 0.26, 0.09), "red": (0.55, 0.17, 0.08),
    "grey": (0.5, 0.5, 0.5), "gray": (0.5, 0.5, 0.5), "white": (0.62, 0.61, 0.6), "silver": (0.58, 0.59, 0.62),
    "blue": (0.14, 0.28, 0.6), "green": (0.12, 0.42, 0.25), "purple": (0.38, 0.18, 0.5), "pink": (0.75, 0.36, 0.5),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SceneSpec:
    """What is to be drawn: one subject, one hour, the palette, and the things that belong into it.

    bloom: the hue of its flowers in degrees; hair: the colour of a portrait's; None for any.
    """

    subject: str
    hour: str
    palette: Palette
    things: frozenset[str]
    bloom: float | None = None
    hair: Rgb | None = None

    def has(self, *names: str) -> bool:
        """Whether any of these things was asked for."""
        return not self.things.isdisjoint(names)


def read_prompt(prompt: str, negative: str, rng: np.random.Generator) -> SceneSpec:
    """Return what *prompt* and *negative* ask for; *rng* decides what they leave open.

    The same generator state gives the same decisions whatever the words, so that a seed keeps its composition.
    """
    open_subject, open_hour, open_palette, jitter = rng.random(4)
    unwanted = _words(negative)
    words = [word for word in _words(prompt) if word not in unwanted]
    scenery = [subject for subject in _SCENERY if subject not in _all(_SUBJECTS, unwanted)] or ["abstract"]
    subject = _subject(words) or _pick(scenery, open_subject)
    hours = [hour for hour in ("dawn", "day", "sunset", "dusk", "night") if hour not in _all(_HOURS, unwanted)]
    hour = _named(_HOURS, words) or _pick(hours or ["day"], open_hour)
    palette = _tinted(_pick(PALETTES[hour], open_palette), words, unwanted, jitter)
    blooms = [_BLOOMS[word] for word in words if word in _BLOOMS]
    return SceneSpec(
        subject,
        hour,
        palette,
        _all(_THINGS, words) - _all(_THINGS, unwanted),
        blooms[0] if blooms else None,
        _hair(words),
    )


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def _hair(words: list[str]) -> Rgb | None:
    """The colour in "red hair" or "blonde"."""
    before = [word for word, after in pairwise([*words, ""]) if after in {"hair", "haired"} or word in _HAIRDOS]
    return next((_HAIRS[word] for word in before if word in _HAIRS), None)


def _subject(words: list[str]) -> str | None:
    """The subject that most words speak of; a person before all else, and the table's order between equals."""
    votes = {name: sum(word in known.split() for word in words) for name, known in _SUBJECTS.items()}
    best = "portrait" if votes["portrait"] else max(votes, key=votes.__getitem__)
    return best if votes[best] else None


def _named(table: dict[str, str], words: list[str]) -> str | None:
    """The first name of the table that a word of the prompt stands for; the table's order decides between several."""
    return next((name for name, known in table.items() if not set(known.split()).isdisjoint(words)), None)


def _all(table: dict[str, str], words: list[str]) -> frozenset[str]:
    return frozenset(name for name, known in table.items() if not set(known.split()).isdisjoint(words))


def _pick(choices: Sequence[T], at: float) -> T:
    return choices[int(at * len(choices))]


def _tinted(palette: Palette, words: list[str], unwanted: list[str], jitter: float) -> Palette:
    """The palette moved by colour words, by the seed, and a little by every word that says nothing else."""
    leaning = zlib.crc32(" ".join(words).encode()) % 17 - 8
    refusal = zlib.crc32(" ".join(unwanted).encode()) % 25 - 12 if unwanted else 0
    palette = palette.turned(spun((jitter - 0.5) * 16 + leaning + refusal))
    wanted = [HUES[word] for word in words if word in HUES][:2]
    for share, hue in zip((0.6, 0.3), wanted, strict=False):
        palette = palette.turned(towards(hue, share))
    for hue in [HUES[word] for word in unwanted if word in HUES]:
        palette = palette.turned(towards(hue, -0.8))
    return palette
