"""Settings of a config that have no effect beside others, with the reason; for any file, once it is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rxpipe.config import SECTIONS
from rxpipe.presets.notes import Note

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["notes_on"]


def notes_on(values: Mapping[str, Any]) -> list[Note]:
    """Return a note for every setting of *values*, unchecked values of a config, that changes nothing."""
    found: list[Note] = []
    for name in SECTIONS:
        section = values.get(name)
        if not isinstance(section, Mapping):
            continue
        if section.get("enabled") is False:
            if len(section) > 1:
                found.append(Note("no effect", name, f"the stage is off, and so are its {len(section) - 1} settings"))
            continue
        found += [Note("no effect", f"{name}.{key}", reason) for key, reason in _CHECKS[name](section)]
    if values.get("input") and isinstance(values.get("txt2img"), Mapping):
        found.append(Note("contradiction", "input", "beside txt2img, which starts from nothing"))
    return found


def _txt2img(section: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "subseed" in section and not section.get("subseed_strength"):
        yield "subseed", "subseed_strength is 0"
    hires = section.get("hires")
    if isinstance(hires, Mapping):
        if hires.get("enabled") is False and len(hires) > 1:
            yield "hires", "the second pass is off"
        elif "scale" in hires and (hires.get("resize_x") or hires.get("resize_y")):
            yield "hires.scale", "resize_x and resize_y decide"
    refiner = section.get("refiner")
    if isinstance(refiner, Mapping) and refiner.get("enabled") is False:
        yield "refiner", "the refiner is off"


def _img2img(section: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not section.get("mask"):
        for key in (
            "mask_blur",
            "inpaint_full_res",
            "inpaint_full_res_padding",
            "inpainting_fill",
            "inpainting_mask_invert",
        ):
            if key in section:
                yield key, "there is no mask"
    if "resize_mode" in section and not section.get("width") and not section.get("height"):
        yield "resize_mode", "the picture keeps its size"


def _adetailer(section: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if section.get("inpaint_only_masked") is False and "padding" in section:
        yield "padding", "inpaint_only_masked is off"
    if "mask_filter_method" in section and not section.get("mask_k_largest"):
        yield "mask_filter_method", "mask_k_largest is 0, so that all detections are redrawn"


def _upscale(section: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if section.get("mode", "single") == "single":
        for key in ("denoising_strength", "steps", "sampler_name", "scheduler", "model"):
            if key in section:
                yield key, "mode single redraws nothing; mode img2img does"
    else:
        for key in ("gfpgan_visibility", "codeformer_visibility", "upscaler_2"):
            if section.get(key):
                yield key, "mode img2img redraws the whole picture"
    if "codeformer_weight" in section and not section.get("codeformer_visibility"):
        yield "codeformer_weight", "codeformer_visibility is 0"
    if "scale" in section and (section.get("width") or section.get("height")):
        yield "scale", "width and height decide"
    if "fit" in section and not (section.get("width") and section.get("height")):
        yield "fit", "it needs both width and height"


_CHECKS = {"txt2img": _txt2img, "img2img": _img2img, "adetailer": _adetailer, "upscale": _upscale}
