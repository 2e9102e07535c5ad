"""The refiner: another checkpoint that takes over in the middle of a sampling, as in A1111."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rxpipe.backends.diffusers.loading import Loaded
    from rxpipe.backends.diffusers.passes import Painter, Sampling

_SCORE, _NEGATIVE_SCORE = 6.0, 2.5
"""The aesthetic scores that the refiner of SDXL gets, of the prompt and of the negative prompt."""
_SIX = 6


class Switch:
    """Has a pipeline draw with the parts of another model from a moment on, and puts its own back at the end.

    tensors: of the pipeline that change with the model.
    """

    def __init__(self, painter: Painter, loaded: Loaded, pipe: Any, sampling: Sampling) -> None:
        self._painter, self._loaded, self._pipe, self._sampling = painter, loaded, pipe, sampling
        self._own = pipe.unet
        self._wanted = sampling.refiner is not None and sampling.switch_at < 1
        self._over = False
        pooled = ("add_text_embeds", "add_time_ids") if loaded.is_sdxl else ()
        self.tensors = ("prompt_embeds", *pooled) if self._wanted else ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._over:
            self._pipe.unet = self._own

    def after(self, share: float, tensors: dict[str, Any]) -> dict[str, Any]:
        """Return the tensors that the next step takes, after *share* (0..1) of the steps."""
        if not self._wanted or self._over or share < self._sampling.switch_at or share >= 1:
            return {}
        from rxpipe.backends.diffusers.passes import conditionings  # noqa: PLC0415  # passes draws with this module

        self._over = True
        refiner = self._painter.engine.model(self._sampling.refiner)
        self._painter.used["refiner"] = refiner.file.name
        self._pipe.unet = refiner.pipe.unet
        prompt, negative = conditionings(refiner.pipe, self._sampling, self._painter.words)
        guided = tensors["prompt_embeds"].shape[0] > 1
        found = {"prompt_embeds": _both(prompt.embeds, negative.embeds, guided=guided)}
        if self._loaded.is_sdxl:
            found["add_text_embeds"] = _both(prompt.pooled, negative.pooled, guided=guided)
            found["add_time_ids"] = _time_ids(refiner, tensors["add_time_ids"])
        return found


def _both(prompt: Any, negative: Any, *, guided: bool) -> Any:
    import torch  # noqa: PLC0415  # on the model's thread only

    return torch.cat([negative, prompt]) if guided else prompt


def _time_ids(refiner: Loaded, own: Any) -> Any:
    """SDXL's sizes as the refiner takes them: its own has a score in place of the target's size."""
    import torch  # noqa: PLC0415  # on the model's thread only

    config = refiner.pipe.unet.config
    width = refiner.pipe.text_encoder_2.config.projection_dim
    count = (refiner.pipe.unet.add_embedding.linear_1.in_features - width) // config.addition_time_embed_dim
    if count == own.shape[1] == _SIX:
        return own
    scores = [_NEGATIVE_SCORE, _SCORE] if own.shape[0] > 1 else [_SCORE]
    column = torch.tensor(scores, dtype=own.dtype, device=own.device)[:, None]
    return torch.cat([own[:, :4], column], dim=1)
