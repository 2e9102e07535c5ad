"""One sampling: a prompt, or a picture, or a part of one, through the model; and the steps of it.

On the model's thread. A picture of any size is drawn at the next multiple of 8 px and cut back.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rxpipe.backends.base import Preview, StepProgress
from rxpipe.backends.diffusers.embeds import encode_pair
from rxpipe.backends.diffusers.inversions import Words
from rxpipe.backends.diffusers.networks import use_loras
from rxpipe.backends.diffusers.samplers import choose, name_of
from rxpipe.backends.diffusers.switching import Switch
from rxpipe.backends.prompts import parsed
from rxpipe.backends.sizes import Size
from rxpipe.errors import BackendFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL import Image

    from rxpipe.backends.base import RenderEvent
    from rxpipe.backends.diffusers.engine import Engine, Task
    from rxpipe.backends.diffusers.loading import Loaded

PROGRAM = "diffusers"
_GRID = 8
_PREVIEWS_APART_S = 0.2
_TILED_PX = 1536 * 1536
"""Pictures with more px are encoded and decoded in tiles."""
_MOST = 0.999  # of the strength, in A1111's count of steps


@dataclass(frozen=True, slots=True)
class Sampling:
    """What one sampling is made with.

    model, vae: names, None for the backend's. steps: as asked for. strength: 0..1 where it begins from a picture.
    refiner: a checkpoint that takes over after *switch_at* of the steps.
    """

    prompt: str = ""
    negative: str = ""
    steps: int = 20
    cfg: float = 7.0
    seed: int = 0
    sampler: str | None = None
    schedule: str | None = None
    clip_skip: int | None = None
    model: str | None = None
    vae: str | None = None
    strength: float = 1.0
    refiner: str | None = None
    switch_at: float = 1.0
    subseed: int = 0
    subseed_strength: float = 0.0

    @property
    def drawn_steps(self) -> int:
        """How many steps are taken of a picture: A1111's count, at least 1."""
        return int(min(self.strength, _MOST) * self.steps) + 1


@dataclass
class Steps:
    """Counts the steps of all samplings of a drawing, and emits progress and previews.

    planned: steps of each sampling, in order. emit: takes what is emitted.
    """

    emit: Callable[[RenderEvent], None]
    previews: bool = True
    planned: list[int] = field(default_factory=list)
    done: int = 0
    begun_s: float = field(default_factory=time.monotonic)
    shown_s: float = -math.inf

    def plan(self, *steps: int) -> None:
        """Say what is to come."""
        self.planned = list(steps)

    def at(self, share: float) -> None:
        """Say that *share* (0..1) of the sampling in progress is done."""
        total = sum(self.planned) or 1
        before = sum(self.planned[: self.done])
        here = before + share * (self.planned[self.done] if self.done < len(self.planned) else 0)
        fraction = min(1.0, here / total)
        elapsed_s = time.monotonic() - self.begun_s
        left_s = elapsed_s * (1 - fraction) / fraction if fraction > 0 else None
        step = min(total, max(1, math.ceil(here - 1e-6)))
        self.emit(StepProgress(fraction=fraction, step=step, steps=total, eta_s=left_s))

    def end(self) -> None:
        """Say that the sampling in progress is over."""
        self.done += 1

    def preview_due(self, *, last: bool) -> bool:
        """Whether a picture is shown: the first, the last, and no more between than an eye needs."""
        now_s = time.monotonic()
        if not self.previews or (not last and now_s - self.shown_s < _PREVIEWS_APART_S):
            return False
        self.shown_s = now_s
        return True


class Painter:
    """Draws the samplings of one drawing.

    Args:
        engine: the models.
        steps: counts.

    used: what was used, for the record; warnings: what is not as asked for. words: the embeddings of its prompts.
    """

    def __init__(self, engine: Engine, steps: Steps) -> None:
        self.engine, self.steps = engine, steps
        self.used: dict[str, object] = {}
        self.warnings: list[str] = []
        self.words = Words()

    def draw(self, sampling: Sampling, size: Size, *, latent: bool = False) -> Any:
        """Return a picture from a prompt, RGB; with *latent* the model's latents."""
        loaded = self._prepared(sampling)
        grid = _on_grid(size)
        if loaded.file.inpainting:
            from PIL import Image  # noqa: PLC0415  # importing rxpipe loads no Pillow

            grey = Image.new("RGB", grid, (128, 128, 128))
            whole = Image.new("L", grid, 255)
            given = {"image": grey, "mask_image": whole, "strength": 1.0}
            return self._run("inpaint", loaded, sampling, grid, latent=latent, **given)
        noise = {} if not sampling.subseed_strength else {"latents": _varied(loaded, sampling, grid)}
        return self._run("txt2img", loaded, sampling, grid, latent=latent, **noise)

    def redraw(self, sampling: Sampling, source: Any, size: Size) -> Image.Image:
        """Return a picture from another, or from latents, of *size*: RGB."""
        loaded = self._prepared(sampling)
        grid, strength = _on_grid(size), _strength(sampling)
        given = _padded(source, grid) if hasattr(source, "crop") else source
        if loaded.file.inpainting and hasattr(source, "crop"):
            from PIL import Image  # noqa: PLC0415  # importing rxpipe loads no Pillow

            whole = Image.new("L", grid, 255)
            drawn = self._run("inpaint", loaded, sampling, grid, image=given, mask_image=whole, strength=strength)
        else:
            drawn = self._run("img2img", loaded, sampling, grid, image=given, strength=strength)
        return _cut_to(drawn, size)

    def inpaint(self, sampling: Sampling, source: Image.Image, mask: Image.Image) -> Image.Image:
        """Return a picture that is redrawn where *mask* is not black; of the source's size, RGB."""
        loaded = self._prepared(sampling)
        grid = _on_grid(Size(*source.size))
        given, hole = _padded(source, grid), _padded(mask, grid)
        strength = _strength(sampling)
        drawn = self._run("inpaint", loaded, sampling, grid, image=given, mask_image=hole, strength=strength)
        return _cut_to(drawn, Size(*source.size))

    # -- one run of a pipeline ----------------------------------------------------------------------------------------

    def _prepared(self, sampling: Sampling) -> Loaded:
        if not self.engine.holds(sampling.model):
            self.steps.emit(StepProgress(phase="loading"))
        loaded = self.engine.model(sampling.model, sampling.vae)
        if use_loras(loaded, parsed(sampling.prompt, program=PROGRAM, steps=sampling.steps).loras):
            self.engine.watch(loaded)
        self.used.setdefault("model", loaded.file.name)
        return loaded

    def _run(
        self, task: Task, loaded: Loaded, sampling: Sampling, size: Size, *, latent: bool = False, **inputs: Any
    ) -> Any:
        import torch  # noqa: PLC0415  # on the model's thread only

        pipe = self.engine.pipeline(loaded, task)
        pipe.scheduler = self._scheduler(loaded, sampling)
        with torch.no_grad(), Switch(self, loaded, pipe, sampling) as switch:
            prompt, negative = conditionings(pipe, sampling, self.words)
            given = _conditions(prompt, negative, guided=sampling.cfg > 1)
            if task != "img2img":
                given |= {"width": size.width, "height": size.height}
            loaded.pipe.vae.disable_tiling()
            if size.width * size.height > _TILED_PX:
                loaded.pipe.vae.enable_tiling()
            out = pipe(
                **given,
                **inputs,
                num_inference_steps=sampling.steps,
                guidance_scale=sampling.cfg,
                generator=torch.Generator("cpu").manual_seed(sampling.seed),
                output_type="latent" if latent else "pt",
                callback_on_step_end=_Watch(self, loaded, sampling, switch),
                callback_on_step_end_tensor_inputs=["latents", *switch.tensors],
            ).images
        self.steps.end()
        return out if latent else self._picture(out)

    def _scheduler(self, loaded: Loaded, sampling: Sampling) -> Any:
        import diffusers  # noqa: PLC0415  # on the model's thread only

        choice = choose(sampling.sampler, sampling.schedule)
        kind = type(loaded.pipe.scheduler) if choice.scheduler is None else getattr(diffusers, choice.scheduler)
        if choice.scheduler is None:
            kind = getattr(diffusers, loaded.noise.get("_class_name", ""), kind)
        options = dict(choice.options)
        if choice.seeded:
            options["noise_sampler_seed"] = sampling.seed
        self.used.setdefault("sampler_name", choice.sampler or name_of(kind.__name__))
        if choice.schedule is not None:
            self.used.setdefault("scheduler", choice.schedule)
        return kind.from_config(loaded.noise, **options)

    def _picture(self, pixels: Any) -> Image.Image:
        from PIL import Image  # noqa: PLC0415  # importing rxpipe loads no Pillow

        if not bool(pixels.isfinite().all()):
            raise not_a_number("the decoder gave no numbers (NaN)")
        light = (pixels[0].float().clamp(0, 1) * 255).round().to("cpu").byte().permute(1, 2, 0).numpy()
        if not light.any():
            self.warnings.append("the picture is black everywhere")
        return Image.fromarray(light)


class _Watch:
    """Called by a pipeline after each step: progress, previews, NaN; and the refiner's turn."""

    def __init__(self, painter: Painter, loaded: Loaded, sampling: Sampling, switch: Switch) -> None:
        self._painter, self._loaded, self._sampling, self._switch = painter, loaded, sampling, switch

    def __call__(self, pipe: Any, index: int, _: object, tensors: dict[str, Any]) -> dict[str, Any]:
        latents = tensors["latents"]
        if not bool(latents.isfinite().all()):
            raise not_a_number(f"the sampling gave no numbers (NaN) at step {index + 1} of {pipe.num_timesteps}")
        steps, total = self._painter.steps, max(1, pipe.num_timesteps)
        share = min(1.0, (index + 1) / total)
        steps.at(share)
        if steps.preview_due(last=index + 1 >= total):
            steps.emit(Preview(self._painter.engine.previewer.shown(latents, self._loaded)))
        return {**tensors, **self._switch.after(share, tensors)}


def conditionings(pipe: Any, sampling: Sampling, words: Words) -> tuple[Any, Any]:
    """Return what the model is given of the prompt and of the negative prompt."""
    prompts = [parsed(text, program=PROGRAM, steps=sampling.steps) for text in (sampling.prompt, sampling.negative)]
    prompt, negative = ([text for part in found.parts for text in part] for found in prompts)
    return encode_pair(pipe, prompt, negative, sampling.clip_skip, words)


def not_a_number(what: str) -> BackendFailed:
    """Return the error for a model that computed NaN."""
    return BackendFailed(
        f"{what}.",
        hint="Open the backend with dtype='float32', or use a VAE that is made for half precision.",
    )


def _conditions(prompt: Any, negative: Any, *, guided: bool) -> dict[str, Any]:
    found = {"prompt_embeds": prompt.embeds}
    if prompt.pooled is not None:
        found["pooled_prompt_embeds"] = prompt.pooled
    if guided:
        found["negative_prompt_embeds"] = negative.embeds
        if negative.pooled is not None:
            found["negative_pooled_prompt_embeds"] = negative.pooled
    return found


def _strength(sampling: Sampling) -> float:
    """The strength with which diffusers takes A1111's count of steps: it rounds the product down."""
    return min(1.0, (sampling.drawn_steps + 0.5) / sampling.steps)


def _varied(loaded: Loaded, sampling: Sampling, size: Size) -> Any:
    """The first noise, mixed on a sphere with that of another seed."""
    import torch  # noqa: PLC0415  # on the model's thread only

    shape = (1, loaded.pipe.unet.config.in_channels, size.height // _GRID, size.width // _GRID)
    one, other = (
        torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))
        for seed in (sampling.seed, sampling.subseed)
    )
    share = sampling.subseed_strength
    cosine = (one.flatten() @ other.flatten() / (one.norm() * other.norm())).clamp(-1, 1)
    angle = torch.acos(cosine)
    mixed = (torch.sin((1 - share) * angle) * one + torch.sin(share * angle) * other) / torch.sin(angle)
    return mixed.to(loaded.pipe.unet.dtype)


def _on_grid(size: Size) -> Size:
    return Size(*(max(_GRID, math.ceil(side / _GRID) * _GRID) for side in size))


def _padded(picture: Image.Image, size: Size) -> Image.Image:
    """A picture with its last row and column repeated until it is of *size*; not a pixel of it is resampled."""
    if picture.size == tuple(size):
        return picture
    import numpy as np  # noqa: PLC0415  # importing rxpipe loads no numpy
    from PIL import Image  # noqa: PLC0415  # nor Pillow

    pixels = np.asarray(picture)
    more = [(0, size.height - pixels.shape[0]), (0, size.width - pixels.shape[1]), (0, 0)][: pixels.ndim]
    return Image.fromarray(np.pad(pixels, more, mode="edge"))


def _cut_to(picture: Image.Image, size: Size) -> Image.Image:
    return picture if picture.size == tuple(size) else picture.crop((0, 0, *size))


def with_seed(sampling: Sampling, offset: int) -> Sampling:
    """Return the sampling with a seed that is *offset* further."""
    return replace(sampling, seed=(sampling.seed + offset) % 2**64)


def planned_steps(samplings: Sequence[Sampling]) -> list[int]:
    """Return how many steps each sampling takes."""
    return [sampling.steps if sampling.strength >= 1 else sampling.drawn_steps for sampling in samplings]
