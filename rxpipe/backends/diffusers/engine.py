"""The models in memory and the device that they draw on; used on the model's thread only."""

from __future__ import annotations

import gc
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rxpipe.backends.diffusers.detectors import Detectors
from rxpipe.backends.diffusers.files import ModelFile, find_model
from rxpipe.backends.diffusers.loading import Loaded, Place, import_diffusers, load, use_vae
from rxpipe.backends.diffusers.previews import Previewer
from rxpipe.backends.diffusers.upscalers import Upscalers
from rxpipe.errors import BackendRejected, suggestion
from rxpipe.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Task = Literal["txt2img", "img2img", "inpaint"]

DTYPES = ("float32", "float16", "bfloat16")
_KEPT = 2  # models: one and its refiner
_PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")
_ROOM = 0.85  # of the device's free memory that the weights may take before parts are moved one by one
_TASKS: dict[Task, str] = {"txt2img": "", "img2img": "Img2Img", "inpaint": "Inpaint"}
_WATCHED = "_rxpipe_watched"


class Stopped(BaseException):
    """Raised inside a model when its drawing was disposed; no `except Exception` on the way may hold it."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How models are loaded. device, dtype: names; None for the best there is. offload: None by memory.

    previews: one of `previews.KINDS`.
    """

    device: str | None = None
    dtype: str | None = None
    offload: bool | None = None
    config: Path | None = None
    download: bool = False
    previews: str = "auto"


class Engine:
    """Keeps the models that were used last, at most two, and gives pipelines over them.

    Args:
        file: the model that is drawn with where a stage names none.
        options: how models are loaded.

    loads: how often weights were read from a disk. upscalers, detectors, previewer: other models, on the same device.
    """

    def __init__(self, file: ModelFile, options: EngineOptions) -> None:
        self.file = file
        self.loads = 0
        self.stopped: Callable[[], bool] = lambda: False
        self._options = options
        self._models: OrderedDict[Path, Loaded] = OrderedDict()
        self._device: str | None = None
        self.upscalers = Upscalers(lambda: self.device)
        self.detectors = Detectors(lambda: self.device)
        self.previewer = Previewer(lambda: self.device, options.previews)

    def holds(self, name: str | None) -> bool:
        """Whether the model is in memory."""
        return self._file_of(name).path in self._models

    def model(self, name: str | None, vae: str | None = None) -> Loaded:
        """Return a model, loaded if it is not in memory, with a VAE; None: the backend's, and its own.

        Raises:
            BackendRejected: there is none of that name, or it cannot be loaded.
            BackendFailed: there is no memory for it.
        """
        file = self._file_of(name)
        loaded = self._models.get(file.path)
        if loaded is None:
            self._make_room()
            loaded = load(file, self._place(file), config=self._options.config, download=self._options.download)
            self.loads += 1
            logger.debug("diffusers: loaded {} on {}", file.path, self.device)
        self._models[file.path] = loaded
        self._models.move_to_end(file.path)
        use_vae(loaded, vae, self._place(file))
        self._watch(loaded)
        return loaded

    def pipeline(self, loaded: Loaded, task: Task) -> Any:
        """Return a pipeline for a task over the parts of a model; all of one model share them."""
        if task not in loaded.pipes:
            import diffusers  # noqa: PLC0415  # on the model's thread only

            family = "StableDiffusionXL" if loaded.is_sdxl else "StableDiffusion"
            pipe = getattr(diffusers, f"{family}{_TASKS[task]}Pipeline").from_pipe(loaded.pipe)
            pipe.set_progress_bar_config(disable=True)
            loaded.pipes[task] = pipe
        return loaded.pipes[task]

    def watch(self, loaded: Loaded) -> None:
        """Have new modules of a model stop a disposed drawing too: those that a LoRA brought."""
        self._watch(loaded)

    @property
    def device(self) -> str:
        """The device's name; asks torch the first time.

        Raises:
            BackendRejected: the device that was asked for is not there.
        """
        if self._device is None:
            import_diffusers()
            self._device = self._options.device or best_device()
            check_device(self._device)
        return self._device

    def forget(self) -> None:
        """Drop all models."""
        self._models.clear()
        self._collect()

    def free_memory(self) -> None:
        """Give back what torch keeps for later; after it ran out."""
        self._collect()

    def _file_of(self, name: str | None) -> ModelFile:
        if not name or name in {self.file.name, self.file.path.name, str(self.file.path)}:
            return self.file
        return find_model(name, "checkpoint")

    def _make_room(self) -> None:
        while len(self._models) >= _KEPT:
            self._models.popitem(last=False)
            self._collect()

    def _collect(self) -> None:
        gc.collect()
        if (self._device or "").startswith("cuda"):
            import torch  # noqa: PLC0415  # on the model's thread only

            torch.cuda.empty_cache()

    def _place(self, file: ModelFile) -> Place:
        import torch  # noqa: PLC0415  # on the model's thread only

        device = self.device
        name = self._options.dtype or ("float32" if device == "cpu" else "float16")
        if device == "cpu" or self._options.offload is False:
            return Place(device, getattr(torch, name))
        offload = self._options.offload or _is_tight(torch, device, file)
        return Place(device, getattr(torch, name), offload)

    def _watch(self, loaded: Loaded) -> None:
        parts = [getattr(loaded.pipe, name, None) for name in _PARTS]
        for part in parts:
            for module in () if part is None else part.modules():
                if not any(True for _ in module.children()) and not hasattr(module, _WATCHED):
                    setattr(module, _WATCHED, True)
                    module.register_forward_pre_hook(self._stop_here)

    def _stop_here(self, *_: object) -> None:
        if self.stopped():
            raise Stopped


def best_device() -> str:
    """Return the best device that torch sees: CUDA, Apple's, the processor."""
    import torch  # noqa: PLC0415  # on the model's thread only

    if torch.cuda.is_available():
        return "cuda:0"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def check_device(name: str) -> None:
    """Raise unless torch has a device.

    Raises:
        BackendRejected: it has not; says which there are.
    """
    import torch  # noqa: PLC0415  # on the model's thread only

    there = devices(torch)
    known = name.partition(":")[0] if name in {"cuda", "cpu:0"} or name.startswith("cpu:") else name
    if known not in {*there, *(device.partition(":")[0] for device in there)}:
        hint = "This torch is built for the processor only." if "+cpu" in torch.__version__ else None
        raise BackendRejected(f"device {name!r} is not there; {suggestion(name, there)}", hint=hint)


def devices(torch: Any) -> list[str]:
    """Return the names of the devices that torch sees."""
    found = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def _is_tight(torch: Any, device: str, file: ModelFile) -> bool:
    if not device.startswith("cuda"):
        return False
    free, _ = torch.cuda.mem_get_info(device)
    paths = file.path.rglob("*.safetensors") if file.path.is_dir() else (file.path,)
    return bool(sum(path.stat().st_size for path in paths) > _ROOM * free)
