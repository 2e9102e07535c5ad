"""LoRAs of a prompt, put into a model and taken out again so that it is to the byte what it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.backends.diffusers.files import find_model
from rxpipe.errors import BackendRejected, require
from rxpipe.shown import cut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rxpipe.backends.diffusers.loading import Loaded
    from rxpipe.backends.prompts import Lora


def use_loras(loaded: Loaded, loras: Sequence[Lora]) -> bool:
    """Have a model draw with just these LoRAs; whether its modules changed.

    Raises:
        BackendRejected: there is no LoRA of a name, or it does not fit the model.
        MissingPackage: peft is not installed.
    """
    wanted = {f"lora_{number}": (lora, find_model(lora.name, "lora")) for number, lora in enumerate(loras)}
    files = {name: file.path for name, (_, file) in wanted.items()}
    changed = files != loaded.loras
    if changed:
        _unload(loaded)
        for name, path in files.items():
            _load(loaded, name, path)
    if files:
        weights = [_weights(loaded, lora) for lora, _ in wanted.values()]
        loaded.pipe.set_adapters(list(files), weights)
    return changed


def _weights(loaded: Loaded, lora: Lora) -> dict[str, float]:
    parts = [name for name in ("text_encoder", "text_encoder_2") if getattr(loaded.pipe, name, None) is not None]
    return {"unet": lora.unet, **dict.fromkeys(parts, lora.clip)}


def _load(loaded: Loaded, name: str, path: object) -> None:
    from pathlib import Path  # noqa: PLC0415  # the type of what is given

    require("Drawing with a LoRA", "peft")
    file = Path(str(path))
    try:
        loaded.pipe.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name=name, local_files_only=True)
    except (ValueError, KeyError, OSError, RuntimeError) as error:
        _unload(loaded)
        raise BackendRejected(f"LoRA {file}: it does not fit {loaded.file.name}: {cut(str(error))}.") from error
    loaded.loras[name] = file


def _unload(loaded: Loaded) -> None:
    if loaded.loras:
        loaded.pipe.unload_lora_weights()
        loaded.loras.clear()
