"""Loading models with diffusers: on the model's thread, quietly, and without a network unless that is allowed."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rxpipe.backends.diffusers.files import ModelFile, find_model
from rxpipe.backends.diffusers.onefile import config_folder
from rxpipe.errors import BackendFailed, BackendRejected, require
from rxpipe.shown import cut

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_VERBOSITY = "TRANSFORMERS_VERBOSITY"
_DRAWN = ("sd1", "sd2", "sdxl", "sdxl-refiner")


@dataclass(eq=False)
class Loaded:
    """A model in memory.

    pipe: the pipeline that it was loaded as. noise: the settings of its own scheduler. loras: those that are in it, by
    name, with their files.
    """

    file: ModelFile
    pipe: Any
    noise: Any
    own_vae: Any
    vae: str | None = None
    loras: dict[str, Path] = field(default_factory=dict)
    pipes: dict[str, Any] = field(default_factory=dict)

    @property
    def is_sdxl(self) -> bool:
        """Whether it has SDXL's conditioning."""
        return hasattr(self.pipe, "text_encoder_2")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model is put. device: "cuda:0", "mps", "cpu". dtype: of torch. offload: part by part, when it is used."""

    device: str
    dtype: Any
    offload: bool = False


def import_diffusers() -> Any:
    """Import torch and diffusers, without their notices; takes seconds the first time.

    Raises:
        MissingPackage: one of them is not installed.
        BackendRejected: they do not go together.
    """
    require("Drawing with diffusers", "torch", "diffusers", "transformers", "accelerate")
    with _quiet():
        try:
            import diffusers  # noqa: PLC0415  # seconds, so on the model's thread only
            from diffusers import (  # noqa: F401, PLC0415  # each is looked up by its name later
                StableDiffusionImg2ImgPipeline,
                StableDiffusionInpaintPipeline,
                StableDiffusionPipeline,
            )
            from transformers.utils import logging  # noqa: PLC0415  # see above
        except (ImportError, RuntimeError) as error:
            raise BackendRejected(
                f"diffusers cannot be imported: {cut(str(error))}.",
                hint="`rxpipe doctor diffusers:MODEL` says what does not go together.",
            ) from error
    diffusers.utils.logging.disable_progress_bar()
    diffusers.utils.logging.set_verbosity_error()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    return diffusers


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Import without notices; a level that the user has set stays."""
    own = _VERBOSITY not in os.environ
    if own:
        os.environ[_VERBOSITY] = "error"
    try:
        yield
    finally:
        if own:
            os.environ.pop(_VERBOSITY, None)


def load(file: ModelFile, place: Place, *, config: Path | None, download: bool) -> Loaded:
    """Load a model into memory.

    Args:
        file: a folder or a single file.
        place: where.
        config: folder with the configs of a single file; None: what is beside it or carried by rxpipe.
        download: whether what is missing may be fetched from a hub.

    Raises:
        BackendRejected: it cannot be loaded, or is of a family that is not drawn here.
        BackendFailed: there is no memory for it.
    """
    diffusers = import_diffusers()
    refuse_family(file)
    try:
        pipe = _pipeline(diffusers, file, place, config=config, download=download)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise BackendRejected(
            f"model {file.path}: cannot be loaded: {type(error).__name__}: {cut(str(error))}."
        ) from error
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise out_of_memory(place.device, f"loading {file.name}") from error
        raise BackendRejected(f"model {file.path}: cannot be loaded: {cut(str(error))}.") from error
    _refuse_gaps(file, pipe)
    pipe.set_progress_bar_config(disable=True)
    for part in pipe.components.values():
        if hasattr(part, "requires_grad_"):
            part.requires_grad_(False)  # torch's own
    if place.offload:
        pipe.enable_model_cpu_offload(device=place.device)
    else:
        try:
            pipe.to(place.device)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise out_of_memory(place.device, f"loading {file.name}") from error
            raise
    return Loaded(file, pipe, dict(pipe.scheduler.config), pipe.vae)


def _refuse_gaps(file: ModelFile, pipe: Any) -> None:
    parts = [(name, part) for name, part in pipe.components.items() if hasattr(part, "named_parameters")]
    lacks = [f"{name}.{key}" for name, part in parts for key, value in part.named_parameters() if value.is_meta]
    if lacks:
        more = f" and {len(lacks) - 1} more" if len(lacks) > 1 else ""
        raise BackendRejected(
            f"model {file.path}: it lacks weights: {lacks[0]}{more}.",
            hint="Give a whole checkpoint: parts of one, such as a UNet alone, are not drawn with.",
        )


def refuse_family(file: ModelFile) -> None:
    """Raise unless models of this family are drawn here.

    Raises:
        BackendRejected: they are not.
    """
    if file.kind != "checkpoint" or file.family not in _DRAWN:
        what = file.family if file.kind == "checkpoint" else file.kind
        raise BackendRejected(
            f"model {file.path}: it is of kind {what!r}; drawn here are Stable Diffusion 1, 2 and XL.",
            hint="ComfyUI draws others: open_backend('comfyui://127.0.0.1:8188').",
        )


def _pipeline(diffusers: Any, file: ModelFile, place: Place, *, config: Path | None, download: bool) -> Any:
    unguarded = {} if file.family.startswith("sdxl") else {"safety_checker": None, "requires_safety_checker": False}
    if file.path.is_dir():
        return diffusers.DiffusionPipeline.from_pretrained(
            str(file.path), local_files_only=not download, use_safetensors=True, dtype=place.dtype, **unguarded
        )
    folder = config or config_folder(file, download=download)
    kinds = {"sdxl": "StableDiffusionXLPipeline", "sdxl-refiner": "StableDiffusionXLImg2ImgPipeline"}
    kind = kinds.get(file.family, "StableDiffusionPipeline")
    if file.inpainting:
        kind = kind.replace("Img2Img", "").replace("Pipeline", "InpaintPipeline")
    where = {} if folder is None else {"config": str(folder), "local_files_only": True}
    if not file.family.startswith("sdxl"):
        unguarded["safety_checker"] = None
    return getattr(diffusers, kind).from_single_file(str(file.path), dtype=place.dtype, **where, **unguarded)


def use_vae(loaded: Loaded, name: str | None, place: Place) -> None:
    """Put a VAE into a model; None: its own.

    Raises:
        BackendRejected: there is no VAE of that name, or it does not fit.
    """
    if name == loaded.vae:
        return
    vae = loaded.own_vae if name is None else _vae(loaded, name, place)
    for pipe in (loaded.pipe, *loaded.pipes.values()):
        pipe.vae = vae
    loaded.vae = name


def _vae(loaded: Loaded, name: str, place: Place) -> Any:
    import torch  # noqa: PLC0415  # on the model's thread only
    from diffusers import AutoencoderKL  # noqa: PLC0415  # see above
    from safetensors.torch import load_file  # noqa: PLC0415  # see above

    file = find_model(name, "vae")
    try:
        if file.path.is_dir():
            vae = AutoencoderKL.from_pretrained(str(file.path), local_files_only=True, use_safetensors=True)
        else:
            vae = AutoencoderKL.from_config(loaded.own_vae.config)
            weights = load_file(str(file.path))
            if not any(key.startswith("decoder.up_blocks.") for key in weights):
                from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint  # noqa: PLC0415  # see above

                whole = {f"first_stage_model.{key.removeprefix('first_stage_model.')}": weights[key] for key in weights}
                weights = convert_ldm_vae_checkpoint(whole, vae.config)
            vae.load_state_dict(weights)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BackendRejected(f"VAE {file.path}: it does not fit {loaded.file.name}: {cut(str(error))}.") from error
    vae.requires_grad_(False)  # torch's own
    return vae.to(torch.device(place.device), dtype=place.dtype).eval()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch says that there is no memory left, of an accelerator or of the machine."""
    return (
        type(error).__name__ == "OutOfMemoryError" or "allocate memory" in str(error) or "out of memory" in str(error)
    )


def out_of_memory(device: str, what: str) -> BackendFailed:
    """Return the error for it; a retry would fail the same way."""
    return BackendFailed(
        f"out of memory on {device} while {what}.",
        hint="Ask for a smaller picture, close what else uses the memory, or open the backend with offload=True.",
    )
