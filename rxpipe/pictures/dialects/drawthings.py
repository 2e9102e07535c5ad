"""Draw Things' metadata: JSON in the EXIF comment of its XMP packet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.pictures.dialects.parsed import (
    Parsed,
    as_settings,
    json_object,
    loras_in,
    main_text,
    number_of,
    table_in,
    text_in,
)

if TYPE_CHECKING:
    from rxpipe.pictures.dialects.parsed import Found

_APART = frozenset({"c", "uc", "lora", "v2", "strength", "size", "profile"})
_STEERING = ("controls", "shift", "zeroNegativePrompt", "teaCache", "clipWeight", "stochasticSamplingGamma")
_OFF: tuple[object, ...] = (None, False, 0, 1, [], "", 0.3)  # of those, with the usual gamma
_LABELS = {"size": "Size", "clip_skip": "Clip skip", "sampler": "Sampler"}


def read(found: Found) -> Parsed | None:
    """Return what Draw Things wrote into a picture; None where the texts are of another kind."""
    values = json_object(found.texts.get("xmp:UserComment")) or json_object(main_text(found.texts)) or {}
    marked = found.texts.get("xmp:CreatorTool", "").startswith("Draw Things")
    if "c" not in values or not (marked or {"uc", "sampler", "scale"} <= values.keys()):
        return None
    whole = table_in(values, "v2")
    settings = as_settings(values, leave=_APART, **_LABELS)
    settings |= as_settings({"Size": values.get("size")})
    strength = number_of(values.get("strength"))
    over = strength is not None and 0 < strength < 1
    if over:
        settings |= as_settings({"Denoising strength": values.get("strength")})
    if whole.get("hiresFix"):
        sides = [number_of(whole.get(name)) for name in ("width", "hiresFixWidth", "height", "hiresFixHeight")]
        if all(sides):
            settings["Size"] = f"{int(sides[1] or 0)}x{int(sides[3] or 0)}"
            settings |= as_settings(
                {
                    "Hires upscale": round((sides[0] or 0) / (sides[1] or 1), 4),
                    "Denoising strength": whole.get("hiresFixStrength"),
                }
            )
    clip = number_of(whole.get("clipSkip"))
    settings |= as_settings({"Clip skip": int(clip) if clip and clip > 1 else None})
    settings |= as_settings({"Refiner": text_in(whole, "refinerModel") or None})
    if "Refiner" in settings:
        settings |= as_settings({"Refiner switch at": whole.get("refinerStart")})
    return Parsed(
        dialect="drawthings",
        prompt=text_in(values, "c"),
        negative_prompt=text_in(values, "uc"),
        settings=settings,
        loras=loras_in(
            [
                {"model": each.get("model", each.get("file")), "weight": each.get("weight")}
                for each in _tables(values.get("lora")) or _tables(whole.get("loras"))
            ]
        ),
        source="a picture" if over else "",
        unread=tuple(f"Draw Things' {key}" for key in _STEERING if whole.get(key) not in _OFF),
    )


def _tables(value: object) -> list[dict[str, object]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
