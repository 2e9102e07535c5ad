"""Pictures of a sampling in progress: by a matrix from latents to colours, or by TAESD. On the model's thread.

TAESD is a small decoder that the user has as a file or folder named `taesd` or `taesdxl` in RXPIPE_MODELS.
"""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rxpipe.backends.diffusers.files import folders, identify
from rxpipe.errors import suggestion
from rxpipe.logs import logger
from rxpipe.shown import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rxpipe.backends.diffusers.loading import Loaded

KINDS = ("auto", "latent", "taesd", "none")
"""auto: TAESD on an accelerator where it is there, else the matrix."""

_QUALITY = 85
_NAME = re.compile(r"taesd(?P<xl>xl)?(?![a-z0-9])", re.IGNORECASE)
_DECODES = re.compile(r"(?:decoder\.)?(?P<layer>\d+)\.(?P<rest>.+)")
_LIGHT = {
    False: ((0.35, 0.23, 0.32), (0.33, 0.5, 0.24), (-0.28, 0.18, 0.27), (-0.21, -0.26, -0.72)),
    True: ((0.37, 0.42, 0.43), (-0.25, 0.0, 0.11), (0.11, 0.11, -0.04), (-0.32, -0.25, -0.22)),
}
"""Red, green and blue of each of the four latent channels, roughly; by whether the model is an SDXL."""


def kind_of(previews: bool | str) -> str:
    """Return how previews are made, for the option of a backend.

    Raises:
        ValueError: it is neither a truth value nor one of `KINDS`.
    """
    kind = {True: "auto", False: "none"}.get(previews, previews) if isinstance(previews, bool) else previews
    if kind not in KINDS:
        raise ValueError(f"previews: got {previews!r}, {suggestion(str(previews), KINDS)}")
    return kind


class Previewer:
    """Shows latents as JPEG; keeps the decoders that it has read.

    Args:
        device: where models run, asked when one is needed.
        kind: one of `KINDS`.
    """

    def __init__(self, device: Callable[[], str], kind: str) -> None:
        self._device, self._kind = device, kind
        self._decoders: dict[bool, Any] = {}

    def shown(self, latents: Any, loaded: Loaded) -> bytes:
        """Return the picture that latents are, roughly: by the matrix at half the width, by TAESD in full."""
        import torch  # noqa: PLC0415  # on the model's thread only
        from PIL import Image  # noqa: PLC0415  # importing rxpipe loads no Pillow

        decoder = self._decoder(loaded)
        if decoder is not None:
            with torch.no_grad():
                light = decoder.decode(latents[:1, :4].to(decoder.dtype)).sample[0]
            pixels = _pixels(light.permute(1, 2, 0))
            image = Image.fromarray(pixels)
        else:
            given = latents[0, :4].detach().to("cpu", torch.float32).permute(1, 2, 0)
            pixels = _pixels(given @ torch.tensor(_LIGHT[loaded.is_sdxl]))
            image = Image.fromarray(pixels).resize(
                (pixels.shape[1] * 4, pixels.shape[0] * 4), Image.Resampling.BILINEAR
            )
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=_QUALITY)
        return buffer.getvalue()

    def _decoder(self, loaded: Loaded) -> Any:
        if self._kind == "latent" or (self._kind == "auto" and self._device() == "cpu"):
            return None
        if loaded.is_sdxl not in self._decoders:
            path = next(tiny_decoders(xl=loaded.is_sdxl), None)
            self._decoders[loaded.is_sdxl] = None if path is None else self._read(path, loaded)
        return self._decoders[loaded.is_sdxl]

    def _read(self, path: Path, loaded: Loaded) -> Any:
        try:
            decoder = _load(path)
        except Exception as error:  # noqa: BLE001  # of whatever kind: a preview is worth no picture
            logger.warning(
                "previews: {} is no decoder of TAESD's kind, so a rougher one is used: {}", path, cut(str(error))
            )
            return None
        return decoder.to(self._device(), dtype=loaded.pipe.unet.dtype).eval().requires_grad_(False)  # torch's own


def tiny_decoders(*, xl: bool) -> Iterator[Path]:
    """Yield the folders and files of TAESD for SDXL, or for SD, in the user's folders."""
    for root in folders():
        for here, below, names in os.walk(root, followlinks=True):
            below.sort()
            for name in sorted([*below, *names]):
                found, path = _NAME.match(name), Path(here) / name
                if found is None or bool(found["xl"]) != xl or "encoder" in name.lower():
                    continue
                if (path / "config.json").is_file() or path.suffix == ".safetensors":
                    yield path


def _load(path: Path) -> Any:
    from diffusers import AutoencoderTiny  # noqa: PLC0415  # on the model's thread only
    from safetensors.torch import load_file  # noqa: PLC0415  # see above

    if path.is_dir():
        return AutoencoderTiny.from_pretrained(str(path), local_files_only=True, use_safetensors=True)
    identify(path)
    beside = path.with_name("config.json")
    config = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
    decoder = AutoencoderTiny.from_config(config if config.get("_class_name") == "AutoencoderTiny" else {})
    decoder.decoder.load_state_dict(_layers(load_file(str(path))))
    return decoder


def _layers(weights: Mapping[str, Any]) -> dict[str, Any]:
    """The decoder's weights by diffusers' names; in the original ones a clamp without weights is counted first."""
    named = {key.removeprefix("decoder."): value for key, value in weights.items() if key.startswith("decoder.layers.")}
    if named:
        return named
    found = [(_DECODES.fullmatch(key), value) for key, value in weights.items()]
    return {f"layers.{int(key['layer']) - 1}.{key['rest']}": value for key, value in found if key is not None}


def _pixels(light: Any) -> Any:
    """Height x width x 3 of -1..1 as 8 bit."""
    return ((light.float() + 1) * 127.5).clamp(0, 255).byte().to("cpu").numpy()
