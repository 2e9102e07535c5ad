"""A1111's `parameters` text: everything that writes and reads it.

A prompt, a negative prompt, and a last line of `Key: value` pairs, as CivitAI and other programs read them. The writer
takes plain values, so that it knows no config and no plan.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "SETTING_NAMES",
    "Parameters",
    "StageFacts",
    "format_parameters",
    "parameters_text",
    "parse_parameters",
    "postprocess_settings",
    "with_settings",
]

SETTING_NAMES: Mapping[str, str] = {
    "steps": "Steps",
    "sampler_name": "Sampler",
    "scheduler": "Schedule type",
    "cfg_scale": "CFG scale",
    "model": "Model",
    "vae": "VAE",
    "clip_skip": "Clip skip",
}
"""Settings that every stage which renders has: their names in a config and A1111's."""

_Value: TypeAlias = str | float | None

_ORDER = (
    *("Steps", "Sampler", "Schedule type", "CFG scale", "Distilled CFG Scale", "Image CFG scale", "Seed"),
    *("Face restoration", "Size", "Model hash", "Model", "VAE hash", "VAE", "Variation seed"),
    *("Variation seed strength", "Seed resize from", "Denoising strength", "Conditional mask weight", "Clip skip"),
    *("ENSD", "Token merging ratio", "Token merging ratio hr", "Init image hash", "RNG", "NGMS", "Tiling"),
)
_RANK = {key: rank for rank, key in enumerate(_ORDER)} | {"Version": len(_ORDER) + 1, "User": len(_ORDER) + 2}
_LONGEST_LINE = 1 << 17  # characters of a last line that is searched for pairs; one of A1111's has some hundred
_PAIRS_NEEDED = 3  # fewer, and every reader takes the last line for a part of the prompt
_KEY = re.compile(r"\w[\w \-/]{1,200}")
# As in modules/infotext_utils.py of stable-diffusion-webui, with keys bounded so that a long line cannot stall it.
_PAIR = re.compile(r'(\w[\w \-/]{1,200}):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_LINE_BEHIND = re.compile(r"([A-Z]\w[\w ]{1,40}):\s*(.*)")
_LINES_BEHIND = 50  # that are searched for the settings
_MOST_JSON = 8  # values of JSON in a line; each costs a look at the rest of it
_DECODER = json.JSONDecoder()
_SIZE = re.compile(r"(\d+)x(\d+)")
_NEGATIVE = "Negative prompt:"


@dataclass(frozen=True, slots=True)
class Parameters:
    """The content of the text.

    settings: the last line's pairs as written, unquoted, in their order; empty where there was no such line.
    """

    prompt: str
    negative_prompt: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)

    def fields(self) -> dict[str, str]:
        """Return the settings as WebUI's paste button sees them.

        `WxH` is split in two (`Size-1`, `Size-2`); a missing `Clip skip` is 1, a missing `RNG` is GPU, a missing
        `Schedule type` is Automatic.
        """
        seen: dict[str, str] = {}
        for key, value in self.settings.items():
            if size := _SIZE.fullmatch(value):
                seen[f"{key}-1"], seen[f"{key}-2"] = size.groups()
            else:
                seen[key] = value
        return {**seen, **{k: v for k, v in _ASSUMED.items() if k not in seen}}


_ASSUMED = {"Clip skip": "1", "RNG": "GPU", "Schedule type": "Automatic"}


def format_parameters(
    prompt: str, negative_prompt: str = "", settings: Mapping[str, str | float | None] | None = None
) -> str:
    """Return the text for the key `parameters`, as A1111 writes it and CivitAI and others read it.

    Args:
        prompt: may span lines.
        negative_prompt: its line is absent when empty.
        settings: A1111's keys in any order, and others; None values are left out. A1111's own are written in its order,
            others behind them as they come, `Version` last. With fewer than three the line is left out, since every
            reader would take it for a part of the prompt.

    Raises:
        ValueError: a key that no reader would recognise: it needs two or more letters, digits, spaces, "-" or "/".
    """
    pairs = {key: _plain(value) for key, value in (settings or {}).items() if value is not None}
    for key in pairs:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} cannot be a key of A1111's text: use letters, digits, spaces, '-' and '/'.")
    lines = [prompt]
    if negative_prompt:
        lines.append(f"{_NEGATIVE} {negative_prompt}")
    if len(pairs) >= _PAIRS_NEEDED:
        ordered = sorted(pairs, key=lambda key: _RANK.get(key, len(_ORDER)))
        lines.append(", ".join(f"{key}: {_quote(pairs[key])}" for key in ordered))
    return "\n".join(lines).strip()


def with_settings(text: str, settings: Mapping[str, str | float | None]) -> str:
    """Return a text that ends in settings with more of them behind, the rest as it was; None values are left out."""
    pairs = (f"{key}: {_quote(_plain(value))}" for key, value in settings.items() if value is not None)
    return ", ".join((text.rstrip(), *pairs))


def parse_parameters(text: str) -> Parameters:
    """Read prompt, negative prompt and settings of A1111's text by A1111's own rules.

    The last line holds settings only if it has three pairs or more; where extensions wrote lines behind it, such as
    `Template: ...`, the last line that has three of A1111's own. Blanks around each line are dropped. Text in no such
    form is all prompt; so is a last line of more than 128 KiB. Nothing raises.
    """
    lines = text.strip().split("\n")
    lines, pairs = _split_off_settings(lines)
    prompt: list[str] = []
    negative: list[str] = []
    into = prompt
    for line in map(str.strip, lines):
        if line.startswith(_NEGATIVE):
            into = negative
        words = line.removeprefix(_NEGATIVE).strip() if into is negative else line
        if words or into:  # leading empty lines vanish
            into.append(words)
    settings = {key: _unquote(value.strip()) for key, value in pairs}
    return Parameters("\n".join(prompt), "\n".join(negative), settings)


def _split_off_settings(lines: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the lines before the settings, and the pairs of those with what stands behind them."""
    pairs = _pairs_of(lines[-1])
    if len(pairs) >= _PAIRS_NEEDED:
        return lines[:-1], pairs
    for index in range(len(lines) - 2, max(-1, len(lines) - _LINES_BEHIND), -1):
        pairs = _pairs_of(lines[index])
        if sum(key in _RANK for key, _ in pairs) >= _PAIRS_NEEDED:
            return lines[:index], pairs + _pairs_behind(lines[index + 1 :])
    return lines, []


def _pairs_behind(lines: list[str]) -> list[tuple[str, str]]:
    """Return a pair for each line that begins like one; other lines continue the value before them."""
    pairs: list[tuple[str, str]] = []
    for line in lines:
        if begin := _LINE_BEHIND.match(line):
            pairs.append((begin[1], begin[2]))
        elif pairs:
            pairs[-1] = (pairs[-1][0], f"{pairs[-1][1]}\n{line}")
    return pairs


def _pairs_of(line: str) -> list[tuple[str, str]]:
    """Return the pairs in a line; a list or an object of JSON is one value, whatever commas it holds."""
    if len(line) > _LONGEST_LINE or line.count(":") < _PAIRS_NEEDED:
        return []
    pairs, at, tries = [], 0, _MOST_JSON
    while found := _PAIR.search(line, at):
        value, at = found[2], found.end()
        if value[:1] in {"[", "{"} and tries:
            tries -= 1
            if (end := _json_end(line, found.start(2))) is not None:
                value, at = line[found.start(2) : end], end + 1
        pairs.append((found[1], value))
    return pairs


def _json_end(line: str, start: int) -> int | None:
    """Return where the JSON value that begins at *start* ends, if nothing but a comma follows it."""
    try:
        _, end = _DECODER.raw_decode(line, start)
    except (ValueError, RecursionError):
        return None
    return end if line[end : end + 1] in {"", ","} else None


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else str(value)


def _quote(value: str) -> str:
    """Return a JSON string where the plain value would not be read back; A1111 does so for comma, colon and newline."""
    unsafe = not value or value != value.strip() or value[0] == '"' or any(sign in value for sign in ",:\n")
    return json.dumps(value, ensure_ascii=False) if unsafe else value


def _unquote(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == '"':
        try:
            return str(json.loads(value))
        except ValueError:  # a plain value that happens to stand in quotes
            return value
    return value


# -- for a stage ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFacts:
    """What the text for a picture is made from, as plain values.

    stage: "txt2img", "img2img", "adetailer", "upscale", or any other name for a stage without settings of its own.
    generation: prompt, negative_prompt and the settings in `SETTING_NAMES`, as really used; of an upscale that redraws
    nothing, those that its input was drawn with. section: every setting of the stage by its name in a config.
    size: of the picture, px; None if unknown. version: of rxpipe.
    """

    stage: str
    generation: Mapping[str, object]
    section: Mapping[str, Any]
    seed: int | None
    size: tuple[int, int] | None
    version: str


def parameters_text(facts: StageFacts) -> str:
    """Return A1111's text for a picture that has none of its own; what is not known is absent.

    On upscale `Size` is the one before it, as A1111's extras tab leaves it.
    """
    settings: dict[str, _Value] = {label: _value(facts.generation.get(name)) for name, label in SETTING_NAMES.items()}
    if settings["Clip skip"] == 1:
        del settings["Clip skip"]
    settings |= {"Seed": facts.seed, "Size": _pixels(facts.size), "Version": f"rxpipe {facts.version}"}
    of_stage = _OF_STAGE.get(facts.stage)
    if of_stage is not None:
        settings |= of_stage(facts)
    prompt, negative_prompt = (str(facts.generation.get(name, "")) for name in ("prompt", "negative_prompt"))
    return format_parameters(prompt, negative_prompt, settings)


def _value(value: object) -> _Value:
    return value if isinstance(value, str | int | float) else None


def _pixels(size: tuple[int, int] | None) -> str | None:
    return None if size is None else f"{size[0]}x{size[1]}"


def _txt2img(facts: StageFacts) -> dict[str, _Value]:
    section = facts.section
    varied = section["subseed_strength"] > 0
    settings: dict[str, _Value] = {
        "Distilled CFG Scale": section["distilled_cfg_scale"],
        "Variation seed": section["subseed"] if varied else None,
        "Variation seed strength": section["subseed_strength"] if varied else None,
        "Tiling": "True" if section["tiling"] else None,
    }
    hires, refiner = section["hires"], section["refiner"]
    if hires and hires["enabled"]:
        settings["Denoising strength"] = hires["denoising_strength"]
        sides = (hires.get("resize_x") or 0, hires.get("resize_y") or 0)
        settings |= {
            "Hires upscale": None if any(sides) else hires["scale"],
            "Hires resize": _pixels(sides) if any(sides) else None,
            "Hires steps": hires["steps"] or None,
            "Hires upscaler": hires["upscaler"],
        }
        settings |= {label: _value(hires.get(name)) for name, label in _OF_HIRES.items()}
        settings["Size"] = _pixels((section["width"], section["height"]))  # of the first pass, as A1111 has it
    if refiner and refiner["enabled"]:
        settings |= {"Refiner": refiner["checkpoint"], "Refiner switch at": refiner["switch_at"]}
    return settings


_OF_HIRES = {
    "cfg_scale": "Hires CFG Scale",
    "sampler_name": "Hires sampler",
    "scheduler": "Hires schedule type",
    "checkpoint": "Hires checkpoint",
    "prompt": "Hires prompt",
    "negative_prompt": "Hires negative prompt",
}


def _img2img(facts: StageFacts) -> dict[str, _Value]:
    return {"Denoising strength": facts.section["denoising_strength"]}


def _adetailer(facts: StageFacts) -> dict[str, _Value]:
    settings: dict[str, _Value] = {}
    for number, unit in enumerate((facts.section, *facts.section["units"]), start=1):
        nth = {1: "", 2: " 2nd", 3: " 3rd"}.get(number, f" {number}th")
        settings[f"ADetailer model{nth}"] = unit["detector"]
        settings[f"ADetailer confidence{nth}"] = unit["confidence"]
        settings[f"ADetailer denoising strength{nth}"] = unit["denoising_strength"]
    return settings


def _upscale(facts: StageFacts) -> dict[str, _Value]:
    section, size = facts.section, facts.size
    by_factor = section["width"] is None and section["height"] is None
    before = (round(size[0] / section["scale"]), round(size[1] / section["scale"])) if size and by_factor else None
    redrawn = section["mode"] == "img2img"
    return {
        "Size": _pixels(before or _size(facts.generation)),
        "Denoising strength": _value((section if redrawn else facts.generation).get("denoising_strength")),
        **postprocess_settings(section, size),
    }


def _size(generation: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = generation.get("width"), generation.get("height")
    return (width, height) if width and height else None


def postprocess_settings(section: Mapping[str, Any], size: tuple[int, int] | None) -> dict[str, _Value]:
    """Return what A1111's text says of an upscale.

    Args:
        section: the settings of the stage by their names in a config.
        size: of the result, px; None if unknown.
    """
    by_factor = section["width"] is None and section["height"] is None
    single = section["mode"] == "single"
    mixed = single and section["upscaler_2"] and section["upscaler_2_visibility"] > 0
    faces = single and section["codeformer_visibility"] > 0
    return {
        "Postprocess upscale by": section["scale"] if by_factor else None,
        "Postprocess upscale to": None if by_factor else _pixels(size),
        "Postprocess upscaler": section["upscaler"],
        "Postprocess upscaler 2": section["upscaler_2"] if mixed else None,
        "Postprocess GFPGAN visibility": (section["gfpgan_visibility"] or None) if single else None,
        "Postprocess CodeFormer visibility": section["codeformer_visibility"] if faces else None,
        "Postprocess CodeFormer weight": section["codeformer_weight"] if faces else None,
    }


_OF_STAGE: Mapping[str, Callable[[StageFacts], dict[str, _Value]]] = {
    "txt2img": _txt2img,
    "img2img": _img2img,
    "adetailer": _adetailer,
    "upscale": _upscale,
}
