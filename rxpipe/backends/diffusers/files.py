"""Model files: where they are, and what they are by their header, in milliseconds and without torch."""

from __future__ import annotations

import json
import os
import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from rxpipe.backends.catalog import CatalogItem, find, nearest
from rxpipe.errors import BackendRejected
from rxpipe.shown import cut, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MODELS_VARIABLE = "RXPIPE_MODELS"
"""Environment variable with the folders that hold models, separated as in PATH."""

Kind = Literal["checkpoint", "vae", "lora", "upscaler", "embedding", "detector", "other"]
Family = Literal["sd1", "sd2", "sdxl", "sdxl-refiner", "sd3", "flux", "other"]

PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
_LENGTH_BYTES, _LONGEST_HEADER = 8, 64 * 2**20
_EMBEDDINGS = (".pt", ".bin")
_DETECTORS = (".pt", ".onnx")
_DETECTOR_FOLDERS = ("ultralytic", "adetailer", "yolo", "detector", "detection", "bbox", "segm")
_EMBEDDING_FOLDERS = ("embedding", "textualinversion", "inversion")
_UPSCALER_FOLDERS = ("esrgan", "realesrgan", "bsrgan", "upscaler", "upscale", "swinir", "dat", "hat")
_INPAINTING_CHANNELS = 9
_EMBEDDING_TENSORS = 4

_FAMILIES: tuple[tuple[str, Family], ...] = (
    ("conditioner.embedders.1.", "sdxl"),
    ("conditioner.embedders.0.model.", "sdxl-refiner"),
    ("cond_stage_model.model.", "sd2"),
    ("cond_stage_model.transformer.", "sd1"),
    ("model.diffusion_model.joint_blocks.", "sd3"),
    ("model.diffusion_model.double_blocks.", "flux"),
    ("double_blocks.", "flux"),
)
_PIPELINES: tuple[tuple[str, Family], ...] = (
    ("StableDiffusionXL", "sdxl"),
    ("StableDiffusion3", "sd3"),
    ("StableDiffusion", "sd1"),
    ("Flux", "flux"),
)


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model: a .safetensors file, or a folder as diffusers saves it.

    name: the file's without its ending. family: of a checkpoint. inpainting: it is made for inpainting only.
    """

    name: str
    path: Path
    kind: Kind
    family: Family = "other"
    inpainting: bool = False


def identify(path: Path) -> ModelFile:
    """Return what a model file or folder is.

    Raises:
        BackendRejected: nothing is there, it is a pickle, or it is torn or no model.
    """
    if path.is_dir():
        return _folder(path, _index_of(path))
    if not path.is_file():
        raise BackendRejected(f"model {path}: no such file or folder.")
    if path.suffix.lower() in PICKLES:
        raise BackendRejected(
            f"model {path}: a {path.suffix} file is a pickle, which can run any code when it is loaded.",
            hint="Give the .safetensors of the same model, or convert it once on a machine that you can lose.",
        )
    stat = path.stat()
    return _file(path, stat.st_mtime_ns, stat.st_size)


def header_of(path: Path) -> Mapping[str, Any]:
    """Return the header of a .safetensors file: dtype, shape and place of each tensor by its name.

    Raises:
        BackendRejected: it is none, or torn.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length, header = _header(file, min(_LONGEST_HEADER, size))
        ends = [entry["data_offsets"][1] for entry in header.values()]
    except (OSError, ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise BackendRejected(f"model {path}: no intact .safetensors file: {cut(str(error))}.") from error
    whole = _LENGTH_BYTES + length + max(ends, default=0)
    if whole != size:
        raise BackendRejected(
            f"model {path}: torn: its header speaks of {whole} bytes, it has {size}.",
            hint="Copy or download it again.",
        )
    return header


def _header(file: IO[bytes], longest: int) -> tuple[int, dict[str, Any]]:
    start = file.read(_LENGTH_BYTES)
    (length,) = struct.unpack("<Q", start) if len(start) == _LENGTH_BYTES else (0,)
    if not len("{}") <= length <= longest:
        raise ValueError("it does not begin with the length of a header")
    header = json.loads(file.read(length))
    if not isinstance(header, dict) or not all(isinstance(entry, dict) for entry in header.values()):
        raise ValueError("its header is no table of tensors")  # one error for the reader
    header.pop("__metadata__", None)
    return length, header


@lru_cache(maxsize=4096)
def _file(path: Path, changed: int, size: int) -> ModelFile:
    del changed, size
    header = header_of(path)
    kind = _kind(header, path)
    family: Family = "other"
    if kind == "checkpoint":
        family = next((name for prefix, name in _FAMILIES if _has(header, prefix)), "other")
    first = header.get("model.diffusion_model.input_blocks.0.0.weight", {}).get("shape", [0, 0])
    return ModelFile(path.stem, path, kind, family, len(first) > 1 and first[1] == _INPAINTING_CHANNELS)


def _kind(header: Mapping[str, Any], path: Path) -> Kind:
    if _has(header, "model.diffusion_model.") or _has(header, "double_blocks."):
        return "checkpoint"
    if any("lora_" in key or ".lora." in key or ".lora_" in key for key in header):
        return "lora"
    if any(key.endswith(("decoder.conv_in.weight", "decoder.conv_in.bias")) for key in header):
        return "vae"
    if _lies_in(path, _UPSCALER_FOLDERS):
        return "upscaler"
    if any(key.startswith(("RDB_trunk", "body.0.rdb", "model.1.sub", "conv_first")) for key in header):
        return "upscaler"
    return "embedding" if 0 < len(header) <= _EMBEDDING_TENSORS else "other"


def _has(header: Mapping[str, Any], prefix: str) -> bool:
    return any(key.startswith(prefix) for key in header)


def _index_of(path: Path) -> Mapping[str, Any]:
    index = path / "model_index.json"
    try:
        found = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BackendRejected(
            f"model {path}: a folder without a readable model_index.json: {cut(str(error))}.",
            hint="Give a folder as diffusers saves it, or a .safetensors file.",
        ) from error
    if not isinstance(found, dict):
        raise BackendRejected(f"model {path}: model_index.json is no table.")
    return found


def _folder(path: Path, index: Mapping[str, Any]) -> ModelFile:
    name = str(index.get("_class_name", ""))
    family: Family = next((family for prefix, family in _PIPELINES if name.startswith(prefix)), "other")
    return ModelFile(path.name, path, "checkpoint", family, _is_inpainting(path))


def _is_inpainting(path: Path) -> bool:
    try:
        config = json.loads((path / "unet" / "config.json").read_text(encoding="utf-8"))
        return bool(config.get("in_channels") == _INPAINTING_CHANNELS)
    except (OSError, ValueError, AttributeError):
        return False


# -- the user's models ------------------------------------------------------------------------------------------------


def folders() -> tuple[Path, ...]:
    """Return the folders of RXPIPE_MODELS."""
    return tuple(Path(text).expanduser() for text in os.environ.get(MODELS_VARIABLE, "").split(os.pathsep) if text)


def models(kind: Kind) -> tuple[ModelFile, ...]:
    """Return the models of a kind in the user's folders, by name; what cannot be read is left out."""
    found = {model.path: model for root in folders() for model in _within(root) if model.kind == kind}
    return tuple(sorted(found.values(), key=lambda model: (model.name.lower(), str(model.path))))


def items(kind: Kind) -> tuple[CatalogItem, ...]:
    """Return the same as items of a catalog: a model answers to its file's name and to its path too."""
    return tuple(CatalogItem(model.name, _aliases(model.path)) for model in models(kind))


def find_model(name: str, kind: Kind) -> ModelFile:
    """Return the model that a name or a path means.

    Raises:
        BackendRejected: there is none, or it is something else; says the nearest.
    """
    path = Path(name).expanduser()
    if path.exists() or path.is_absolute() or path.suffix.lower() in PICKLES:
        found = identify(path)
        if found.kind not in (kind, "other"):
            raise BackendRejected(f"{kind} {path}: it is a {found.kind}.")
        return found
    every = models(kind)
    item = find(items(kind), name)
    if item is not None:
        return next(model for model in every if model.name == item.name)
    where = ", ".join(map(str, folders())) or f"no folder ({MODELS_VARIABLE} is not set)"
    known = [CatalogItem(model.name) for model in every]
    advice = nearest(known, name).replace("it has none", f"there is no {kind} in it")
    raise BackendRejected(
        f"{kind} {shown(name)}: no such file, and none of that name in {where}.",
        hint=f"{advice[:1].upper()}{advice[1:]}{'' if advice.endswith('?') else '.'}",
    )


def _aliases(path: Path) -> tuple[str, ...]:
    relative = [str(path.relative_to(root)) for root in folders() if path.is_relative_to(root)]
    return tuple(dict.fromkeys((path.name, str(path), *relative, *(text.replace("\\", "/") for text in relative))))


def _within(root: Path) -> Iterator[ModelFile]:
    for folder, below, names in os.walk(root, followlinks=True):
        here = Path(folder)
        if "model_index.json" in names:
            below.clear()
            yield from _readable([here])
            continue
        below.sort()
        yield from _readable(here / name for name in sorted(names) if name.endswith(".safetensors"))
        yield from (model for name in sorted(names) if (model := _by_its_place(here / name)) is not None)


def _readable(paths: Iterable[Path]) -> Iterator[ModelFile]:
    for path in paths:
        try:
            yield identify(path)
        except BackendRejected:
            continue


def _by_its_place(path: Path) -> ModelFile | None:
    """What is shared as a pickle, unread: upscalers and embeddings, loaded as weights; detectors, as known layers."""
    if path.suffix in _EMBEDDINGS and _lies_in(path, _EMBEDDING_FOLDERS):
        return ModelFile(path.stem, path, "embedding")
    if path.suffix == ".pth" and _lies_in(path, _UPSCALER_FOLDERS):
        return ModelFile(path.stem, path, "upscaler")
    named = "yolo" in path.name.lower() or _lies_in(path, _DETECTOR_FOLDERS)
    return ModelFile(path.name, path, "detector") if path.suffix in _DETECTORS and named else None


def _lies_in(path: Path, names: tuple[str, ...]) -> bool:
    """Whether one of the two folders above a file has one of the names, as a whole word: "4x DAT" and not "data"."""
    words = {word for folder in path.parts[-3:-1] for word in re.findall("[a-z]+", folder.lower())}
    return any(word.removesuffix("s") in names for word in words)


def find_detector(name: str) -> Path | None:
    """Return the file of a detector that a name or a path means; None where the user has none of that name.

    Raises:
        BackendRejected: a path where no file is, or one that is no detector.
    """
    path = Path(name).expanduser()
    if not path.is_file() and "/" not in name and "\\" not in name:
        item = find(items("detector"), name)
        return next((model.path for model in models("detector") if item is not None and model.name == item.name), None)
    if not path.is_file():
        raise BackendRejected(f"detector {path}: no such file.")
    if path.suffix.lower() not in _DETECTORS:
        raise BackendRejected(f"detector {path}: no detector; allowed: a YOLO model that ends with .pt or .onnx.")
    return path
