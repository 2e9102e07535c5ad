"""What a stage works on, made ready on our side: its picture, masks, the parts that are redrawn by themselves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rxpipe.backends.comfyui.api import file_name, load_name
from rxpipe.backends.comfyui.graphs import RegionFile, Source, result_size
from rxpipe.backends.comfyui.names import IMPACT_PACKS
from rxpipe.backends.detections import face_regions, faces_of
from rxpipe.backends.http.pictures import upright
from rxpipe.backends.masks import mask_of
from rxpipe.backends.regions import (
    NOISE,
    SURROUNDINGS,
    Region,
    blurred,
    encoded,
    filled,
    fitted,
    on_ground,
    region_of,
)
from rxpipe.backends.sizes import Size, drawable, upscaled
from rxpipe.config import AdetailerConfig, Img2ImgConfig, Txt2ImgConfig, UpscaleConfig, WorkflowConfig
from rxpipe.errors import BackendRejected
from rxpipe.pictures.faces import looks_for_faces
from rxpipe.pictures.formats import file_ending

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxpipe.artifact import Artifact
    from rxpipe.backends.comfyui.names import ComfyCatalog
    from rxpipe.config import AdetailerUnit
    from rxpipe.plan import StageExecution

_CROP, _FILL = 1, 2


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is uploaded for a graph, and the source that the graph is made from.

    files: by name, as LoadImage takes it. data: the input picture. unchanged: there is nothing to redraw.
    """

    source: Source | None = None
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    data: bytes = field(default=b"", repr=False)
    unchanged: bool = False
    warnings: tuple[str, ...] = ()


class _Files:
    """Collects what is uploaded."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def add(self, data: bytes) -> str:
        """Add a picture; return its name as LoadImage takes it."""
        name = load_name(file_name(data, file_ending(data)))
        self.files[name] = data
        return name


def inputs_of(stage: StageExecution, artifact: Artifact | None, catalog: ComfyCatalog) -> Inputs:
    """Return what one image of a stage works on. Blocking: it decodes the picture where a stage needs pixels.

    Raises:
        BackendRejected: there is no picture to work on, or a detector of what cannot be found here.
        BackendFailed: the result would be too large.
        BadImage: the picture or its mask cannot be read.
        MissingPackage: faces are to be found, and what finds them is not installed.
    """
    config = stage.config
    if isinstance(config, Txt2ImgConfig) or (isinstance(config, WorkflowConfig) and artifact is None):
        return Inputs()
    if artifact is None:
        raise BackendRejected("there is no picture to work on.", hint="Put txt2img before it.")
    data, size = upright(artifact)
    files = _Files()
    source = Source(files.add(data), size)
    warnings = _of_transparency(data)
    if isinstance(config, UpscaleConfig):
        upscaled(config, size)  # raises where the result would be too large
    if isinstance(config, AdetailerConfig):
        found = _detections(config, artifact, catalog, size)
        if all(not regions for regions in found if regions is not None) and None not in found:
            return Inputs(data=data, unchanged=True)
        listed = tuple(None if regions is None else _uploaded(regions, files) for regions in found)
        return Inputs(replace(source, regions=listed), files.files, data, warnings=warnings)
    if isinstance(config, Img2ImgConfig) and (config.mask is not None or config.resize_mode == _FILL):
        return _prepared(stage, config, artifact, size, data)
    return Inputs(source, files.files, data, warnings=warnings)


def _of_transparency(data: bytes) -> tuple[str, ...]:
    transparent = data.startswith(b"\x89PNG") and (data[25:26] in {b"\x04", b"\x06"} or b"tRNS" in data[:4096])
    return ("ComfyUI drops the picture's transparency",) if transparent else ()


def _uploaded(regions: tuple[Region, ...], files: _Files) -> tuple[RegionFile, ...]:
    return tuple(RegionFile(one.box, one.size, files.add(one.mask), one.seed_offset) for one in regions)


# -- img2img ----------------------------------------------------------------------------------------------------------


def _prepared(stage: StageExecution, config: Img2ImgConfig, artifact: Artifact, size: Size, data: bytes) -> Inputs:
    """Make picture and mask ready for a graph that changes a part, or begins from another size."""
    picture = artifact.to_image()
    alone = config.mask is not None and config.inpaint_full_res
    mask = None if config.mask is None else mask_of(config, artifact, picture)
    warnings = _of_transparency(data)
    result, picture = (size if alone else result_size(stage, size)), picture.convert("RGB")
    brought = picture
    if result != size:
        crop = config.resize_mode == _CROP
        brought = on_ground(picture, result) if config.resize_mode == _FILL else fitted(picture, result, crop=crop)
        mask = None if mask is None else fitted(mask, result, crop=crop)
    files = _Files()
    source = Source(files.add(data if brought is picture else encoded(brought)), result)
    if mask is None:
        return Inputs(source, files.files, data, warnings=warnings)
    if mask.getbbox() is None:
        return Inputs(data=data, unchanged=True, warnings=("the mask shows nothing to redraw",))
    if config.inpainting_fill in {SURROUNDINGS, NOISE}:
        ground = filled(brought, mask, config.inpainting_fill, stage.seed or 0)
        source = replace(source, ground=files.add(encoded(ground)))
    mask = blurred(mask, config.mask_blur)
    if alone:
        drawn = Size(stage.generation.width or size.width, stage.generation.height or size.height)
        region = region_of(mask, padding=config.inpaint_full_res_padding, drawn=drawable(drawn))
        regions = () if region is None else _uploaded((region,), files)
        return Inputs(replace(source, regions=(regions,)), files.files, data, warnings=warnings)
    return Inputs(replace(source, mask=files.add(encoded(mask))), files.files, data, warnings=warnings)


# -- adetailer --------------------------------------------------------------------------------------------------------


def found_by_server(unit: AdetailerUnit, catalog: ComfyCatalog) -> bool:
    """Whether the server detects for a unit: it has the detector; faces that are to be filtered are found here."""
    has = catalog.detector(unit.detector) is not None
    return has and not (own_filters(unit) and looks_for_faces(unit.detector))


def own_filters(unit: AdetailerUnit) -> tuple[str, ...]:
    """Return which settings of a unit Impact-Pack's detailer has no counterpart for."""
    usual = type(unit).model_fields
    names = ("mask_k_largest", "mask_min_ratio", "mask_max_ratio", "mask_merge_invert", "inpaint_only_masked")
    return tuple(name for name in names if getattr(unit, name) != usual[name].default)


def _detections(
    config: AdetailerConfig, artifact: Artifact, catalog: ComfyCatalog, size: Size
) -> list[tuple[Region, ...] | None]:
    """Return for each unit the parts that it redraws; None where the server detects."""
    units = (config, *config.units)
    here = [unit for unit in units if not found_by_server(unit, catalog)]
    for unit in here:
        if not looks_for_faces(unit.detector):
            raise no_detector(unit.detector)
    faces = faces_of(artifact) if here else []
    return [face_regions(unit, faces, size) if unit in here else None for unit in units]


def no_detector(name: str) -> BackendRejected:
    """Return the error for a detector that neither the server nor we have."""
    return BackendRejected(
        f"the server has no detector {name!r}, and rxpipe itself finds faces only.", hint=f"Install {IMPACT_PACKS}."
    )
