"""What a local model would draw with: torch, the devices, the packages, and whether they go together."""

from __future__ import annotations

import importlib.util
import threading
import time
from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING, Any

from rxpipe.backends.base import Output
from rxpipe.backends.diagnosis import Diagnosis, Trial
from rxpipe.backends.diffusers.engine import check_device, devices
from rxpipe.backends.diffusers.files import models
from rxpipe.backends.diffusers.loading import import_diffusers
from rxpipe.config import RunSettings, Txt2ImgConfig
from rxpipe.errors import RxPipeError
from rxpipe.plan import plan_stages
from rxpipe.rx.worker import WorkerScheduler
from rxpipe.shown import cut

if TYPE_CHECKING:
    from rxpipe.backends.base import Backend, RenderEvent
    from rxpipe.backends.diffusers.files import Kind, ModelFile

_TRIAL = Txt2ImgConfig(prompt="a lighthouse", steps=4, width=128, height=128, seed=1)
_PACKAGES = (
    "torch", "diffusers", "transformers", "accelerate", "peft", "torchvision", "spandrel", "ultralytics", "torchsde"
)  # fmt: skip
_READERS: tuple[tuple[Kind, str], ...] = (("upscaler", "spandrel"), ("detector", "ultralytics"))
_OPTIONAL = {
    "peft": "LoRAs need peft: pip install peft",
    "skimage": 'adetailer needs scikit-image: pip install "rxpipe[sketch]"',
}
_GIB = 1 << 30
_TRIAL_S = 600.0


def examine(file: ModelFile, device: str | None, backend: Backend, *, trial: bool) -> Diagnosis:
    """Return what is there for a model; imports torch and diffusers.

    Args:
        file: the model.
        device: that was asked for; None for the best.
        backend: whose names are listed, and which renders the trial.
        trial: whether to render one small picture.
    """
    catalog = backend.catalog()
    found = Diagnosis(
        backend.where,
        reachable=True,
        api=True,
        credentials="not needed",
        progress_per_task=True,
        kind="diffusers",
        flavour=f"diffusers; a model of kind {file.family}{' for inpainting' if file.inpainting else ''}",
        model=file.name,
        models=catalog.names("models"),
        samplers=catalog.names("samplers"),
        schedulers=catalog.names("schedulers"),
        upscalers=catalog.names("upscalers"),
        vaes=catalog.names("vaes"),
        adetailer="built in, for faces",
        packs=_versions(),
        advice=_advice(),
    )
    try:
        import_diffusers()
        import torch  # noqa: PLC0415  # doctor is asked for it

        found = replace(found, version=f"torch {torch.__version__}", devices=_with_memory(torch))
        if device is not None:
            check_device(device)
        return replace(found, trial=_rendered(backend, file)) if trial else found
    except RxPipeError as error:
        return replace(found, problem=error.message, advice=(*((error.hint,) if error.hint else ()), *found.advice))


def _versions() -> tuple[str, ...]:
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return tuple(found)


def _advice() -> tuple[str, ...]:
    lacking = [advice for module, advice in _OPTIONAL.items() if importlib.util.find_spec(module) is None]
    for kind, module in _READERS:
        files = models(kind)
        if files and importlib.util.find_spec(module) is None:
            which = files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1} more"
            lacking.append(f"to use the {kind} {which}: pip install {module}")
    return (*_mismatched(), *lacking)


def _mismatched() -> tuple[str, ...]:
    """A torchvision that was built for another torch, without which all would be well."""
    if importlib.util.find_spec("torchvision") is None:
        return ()
    try:
        import torchvision  # noqa: F401, PLC0415  # whether it can be imported is the question
    except (ImportError, RuntimeError, OSError) as error:
        return (
            (
                f"torchvision does not fit this torch ({cut(str(error))}), and diffusers cannot be imported beside it. "
                "Run: pip uninstall torchvision, or install the one that belongs to this torch."
            ),
        )
    return ()


def _with_memory(torch: Any) -> tuple[str, ...]:
    return tuple(_described(torch, name) for name in devices(torch))


def _described(torch: Any, name: str) -> str:
    if not name.startswith("cuda"):
        return f"{name} ({torch.get_num_threads()} threads)" if name == "cpu" else name
    free, total = torch.cuda.mem_get_info(name)
    return f"{name} ({torch.cuda.get_device_name(name)}, {free / _GIB:.1f} of {total / _GIB:.1f} GiB free)"


def _rendered(backend: Backend, file: ModelFile) -> Trial:
    """Render one small picture.

    Raises:
        RxPipeError: it failed.
    """
    stage = plan_stages([_TRIAL], RunSettings()).stages[0].for_image(image_index=1, seed=1)
    over, outputs, errors = threading.Event(), list[Output](), list[Exception]()

    def take(event: RenderEvent) -> None:
        if isinstance(event, Output):
            outputs.append(event)

    def failed(error: Exception) -> None:
        errors.append(error)
        over.set()

    begun_s, worker = time.monotonic(), WorkerScheduler("rxpipe-trial")
    subscription = backend.render(stage, None).subscribe(take, failed, over.set, scheduler=worker)
    in_time = over.wait(_TRIAL_S)
    subscription.dispose()
    worker.close()
    if errors:
        raise errors[0]
    if not in_time:
        raise RxPipeError(f"the trial took more than {_TRIAL_S:.0f} s.")
    sampler = str(outputs[0].settings.get("sampler_name"))
    return Trial(time.monotonic() - begun_s, model=file.name, sampler=sampler)
