"""Captions that say how a picture was made: Mochi Diffusion's and Midjourney's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rxpipe.pictures.dialects.parsed import Parsed, as_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rxpipe.pictures.dialects.parsed import Found

_MOCHI = "Include in Image: "
_MOCHI_KEYS = {
    "Guidance Scale": "CFG scale",
    "Scheduler": "Sampler",
    "Steps": "Steps",
    "Seed": "Seed",
    "Model": "Model",
    "Size": "Size",
    "Strength": "Denoising strength",
    "Image Count": "",
    "Upscaler": "Postprocess upscaler",
}
_MOCHI_PART = re.compile(r";\s+(?=(?:Exclude from Image|[A-Z][\w ]{2,30}): )")
_JOB = re.compile(r"(?<!\s)\s*Job ID:\s*[0-9a-f-]{36}\s*$")
_OPTION = re.compile(r"\s--(\w+)((?:\s+(?!--)[^\s]+)*)")
_RATIO = re.compile(r"(\d+):(\d+)")


def read_mochi(found: Found) -> Parsed | None:
    """Return what Mochi Diffusion wrote: pairs in a caption, one a line or apart by semicolons."""
    text = next((each for each in _captions(found) if _MOCHI in each), None)
    if text is None:
        return None
    lines = text.splitlines() if "\n" in text and "; Exclude from" not in text else _MOCHI_PART.split(text)
    pairs = dict(line.strip().rstrip(";").partition(": ")[::2] for line in lines)
    known = {label: pairs[key] for key, label in _MOCHI_KEYS.items() if label and pairs.get(key, "None") != "None"}
    others = {key: value for key, value in pairs.items() if key not in _MOCHI_KEYS and key not in _MOCHI_PROMPTS}
    source = pairs.get("Input Images") or pairs.get("Init Image") or ""
    return Parsed(
        dialect="mochi",
        prompt=_unescaped(pairs.get("Include in Image", "")),
        negative_prompt=_unescaped(pairs.get("Exclude from Image", "")),
        settings=as_settings({**known, **others}),
        source=source,
    )


_MOCHI_PROMPTS = frozenset({"Include in Image", "Exclude from Image", "Input Images", "Init Image", "Metadata Version"})


def _unescaped(text: str) -> str:
    return text.replace("\\n", "\n").replace("\\\\", "\\")


def read_midjourney(found: Found) -> Parsed | None:
    """Return what Midjourney wrote: a prompt, its options behind it, and the job's id."""
    text = next((each for each in _captions(found) if _JOB.search(each)), None)
    if text is None:
        return None
    text = _JOB.sub("", text)
    options = {name: value.strip() for name, value in _OPTION.findall(text)}
    settings = {f"--{name}": value or "true" for name, value in options.items() if name not in {"no", "seed", "ar"}}
    if ratio := _RATIO.search(options.get("ar", options.get("aspect", ""))):
        settings |= {"--ar": ratio[0], "Size": f"{found.size[0]}x{found.size[1]}"}
    settings |= as_settings({"Seed": options.get("seed")})
    return Parsed(
        dialect="midjourney",
        prompt=_OPTION.sub("", text).strip(),
        negative_prompt=options.get("no", ""),
        settings=settings,
        unread=("Midjourney's own model",),
    )


def _captions(found: Found) -> Iterator[str]:
    texts = found.texts
    for key in (
        "Description",
        "ImageDescription",
        "xmp:description",
        "Caption",
        "parameters",
        "UserComment",
        "comment",
    ):
        if key in texts:
            yield texts[key]
