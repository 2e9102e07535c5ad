"""Parts that graphs are made of: a loaded checkpoint with its LoRAs, prompts, one pass of a sampler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from rxpipe.backends.catalog import nearest
from rxpipe.backends.comfyui.graph import LAST_STEP, GraphBuilder, Wire
from rxpipe.backends.comfyui.names import ALIGN_YOUR_STEPS, ComfyCatalog, Sampling, differs, plain_upscaler, stem_of
from rxpipe.backends.comfyui.prompts import rewritten

if TYPE_CHECKING:
    from rxpipe.backends.prompts import Lora, Prompt
    from rxpipe.plan import StageExecution

USUAL_STEPS, USUAL_CFG = 20, 7.0
_MOST_DENOISED = 0.999


class Model(NamedTuple):
    """Links to what a checkpoint gives, after its LoRAs, clip skip and VAE."""

    unet: Wire
    clip: Wire
    vae: Wire


class Conditioning(NamedTuple):
    """Links to an encoded prompt and negative prompt."""

    positive: Wire
    negative: Wire


@dataclass(frozen=True, slots=True)
class Settings:
    """What a picture, or a part of it, is drawn with; names are those of a config, None is the default of each.

    seed: of the noise, 0.. guidance: of a distilled model, None for none. loras: whether those of the prompt are used.
    """

    prompt: str = ""
    negative_prompt: str = ""
    steps: int = USUAL_STEPS
    cfg: float = USUAL_CFG
    sampler: str | None = None
    scheduler: str | None = None
    seed: int = 0
    model: str | None = None
    vae: str | None = None
    clip_skip: int | None = None
    guidance: float | None = None
    loras: bool = True

    @classmethod
    def of(cls, stage: StageExecution) -> Settings:
        """Return those of a stage, narrowed to one image."""
        generation = stage.generation
        return cls(
            prompt=generation.prompt,
            negative_prompt=generation.negative_prompt,
            steps=generation.steps or USUAL_STEPS,
            cfg=USUAL_CFG if generation.cfg_scale is None else generation.cfg_scale,
            sampler=generation.sampler_name,
            scheduler=generation.scheduler,
            seed=stage.seed or 0,
            model=generation.model,
            vae=generation.vae,
            clip_skip=generation.clip_skip,
            guidance=getattr(stage.config, "distilled_cfg_scale", None),
        )


def redrawn_steps(steps: int, denoise: float) -> int:
    """Return how many of *steps* A1111 runs in img2img, at least 1; 0 where nothing is changed."""
    return 0 if denoise <= 0 else min(steps, int(min(denoise, _MOST_DENOISED) * steps) + 1)


class Painter:
    """Adds parts to one graph, for one server. Each checkpoint is loaded once.

    Raises:
        BackendRejected: a name that the server does not have, from every method.
    """

    def __init__(self, catalog: ComfyCatalog) -> None:
        self.catalog = catalog
        self.graph = GraphBuilder()
        self._models: dict[object, Model] = {}
        self._prompts: dict[object, Conditioning] = {}

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def model(self, settings: Settings) -> Model:
        """Return the checkpoint of some settings, with the LoRAs of its prompt."""
        file, vae = self.catalog.model(settings.model), self.catalog.vae(settings.vae)
        named = self._rewritten(settings.prompt, settings).loras if settings.loras else ()
        loras = self._loras(named)
        key = (file, vae, settings.clip_skip, loras)
        if key not in self._models:
            self._models[key] = self._load(file, vae, settings.clip_skip, loras)
        return self._models[key]

    def _load(self, file: str, vae: str | None, clip_skip: int | None, loras: tuple[Lora, ...]) -> Model:
        loader = self.graph.add("ckpt", "CheckpointLoaderSimple", "Checkpoint", ckpt_name=file)
        unet: Wire = [loader, 0]
        clip: Wire = [loader, 1]
        for lora in loras:
            node = self.graph.add(
                "lora",
                "LoraLoader",
                model=unet,
                clip=clip,
                lora_name=lora.name,
                strength_model=lora.unet,
                strength_clip=lora.clip,
            )
            unet, clip = [node, 0], [node, 1]
        if clip_skip is not None and clip_skip > 1:
            clip = self.graph.out("skip", "CLIPSetLastLayer", clip=clip, stop_at_clip_layer=-clip_skip)
        return Model(unet, clip, [loader, 2] if vae is None else self.graph.out("vae", "VAELoader", vae_name=vae))

    def _loras(self, named: tuple[Lora, ...]) -> tuple[Lora, ...]:
        """Return LoRAs by their files; one that the server does not have is left out, as a WebUI does."""
        found = []
        for lora in named:
            file = self.catalog.lora(lora.name)
            if file is None:
                hint = nearest(self.catalog.loras or (), lora.name).removesuffix("?")
                self.graph.warn(f"the server has no LoRA {lora.name!r} and it is left out; {hint}")
            else:
                found.append(lora._replace(name=file))
        return tuple(found)

    # -- prompts ------------------------------------------------------------------------------------------------------

    def conditioning(self, settings: Settings, model: Model) -> Conditioning:
        """Return the encoded prompts of some settings."""
        key = (settings.prompt, settings.negative_prompt, settings.guidance, tuple(model.clip))
        if key not in self._prompts:
            negative = self._rewritten(settings.negative_prompt, settings)
            if negative.loras:
                self.graph.warn("a LoRA in a negative prompt has no effect")
            positive = self._encoded("pos", self._rewritten(settings.prompt, settings), model)
            if settings.guidance is not None:
                positive = self.graph.out("guidance", "FluxGuidance", conditioning=positive, guidance=settings.guidance)
            self._prompts[key] = Conditioning(positive, self._encoded("neg", negative, model))
        return self._prompts[key]

    def _rewritten(self, prompt: str, settings: Settings) -> Prompt:
        found = rewritten(prompt, embeddings=self.catalog.embeddings, steps=settings.steps)
        for warning in found.warnings:
            self.graph.warn(warning)
        return found

    def _encoded(self, name: str, prompt: Prompt, model: Model) -> Wire:
        title = "Prompt" if name == "pos" else "Negative prompt"
        combined: Wire | None = None
        for part in prompt.parts:
            joined: Wire | None = None
            for text in part:
                here: Wire = [self.graph.add(name, "CLIPTextEncode", title, text=text, clip=model.clip), 0]
                joined = here if joined is None else self._concatenated(name, joined, here)
            if joined is not None:
                combined = joined if combined is None else self._combined(name, combined, joined)
        return combined or []

    def _concatenated(self, name: str, first: Wire, second: Wire) -> Wire:
        return self.graph.out(f"{name}_break", "ConditioningConcat", conditioning_to=first, conditioning_from=second)

    def _combined(self, name: str, first: Wire, second: Wire) -> Wire:
        return self.graph.out(f"{name}_and", "ConditioningCombine", conditioning_1=first, conditioning_2=second)

    # -- sampling -----------------------------------------------------------------------------------------------------

    def sampling(self, settings: Settings) -> Sampling:
        """Return the sampler and the scheduler of some settings."""
        found = self.catalog.sampling(settings.sampler, settings.scheduler)
        if differs(found.scheduler):
            self.graph.warn(f"ComfyUI computes the schedule {found.scheduler} by another formula than A1111")
        return found

    def sampled(
        self,
        name: str,
        settings: Settings,
        latent: Wire,
        *,
        model: Model,
        runs: int | None = None,
        until: int | None = None,
        after: int | None = None,
        denoise: float = 1.0,
    ) -> Wire:
        """Return the latent picture after one pass of a sampler.

        Args:
            name: of its node.
            settings: what it is drawn with.
            latent: to begin from.
            model: of the settings.
            runs: the last so many of the steps; None for all.
            until: stop before this step and leave the noise to the next pass; None for the end.
            after: go on at this step with the noise that is there; None for a beginning.
            denoise: ComfyUI's own way to begin later: the steps are spread over this share of the noise.
        """
        steps, sampling = settings.steps, self.sampling(settings)
        if sampling.scheduler == ALIGN_YOUR_STEPS and until is None and after is None:
            share = denoise if runs is None or runs >= steps else runs / steps
            return self._by_own_schedule(name, settings, latent, model=model, runs=runs or steps, share=share)
        shared = {
            "model": model.unet,
            **self.conditioning(settings, model)._asdict(),
            "latent_image": latent,
            "steps": steps,
            "cfg": settings.cfg,
            "sampler_name": sampling.comfy_sampler,
            "scheduler": sampling.comfy_scheduler if sampling.scheduler != ALIGN_YOUR_STEPS else "normal",
        }
        if sampling.scheduler == ALIGN_YOUR_STEPS:
            self.graph.warn(f"with a refiner ComfyUI has no schedule {ALIGN_YOUR_STEPS}, and Normal is used")
        whole = until is None and after is None and (runs is None or runs >= steps)
        if whole:
            node = self.graph.add(name, "KSampler", "Sampler", **shared, seed=settings.seed, denoise=denoise)
        else:
            begin = after if after is not None else steps - (runs or steps)
            node = self.graph.add(
                name,
                "KSamplerAdvanced",
                "Sampler",
                **shared,
                noise_seed=settings.seed,
                add_noise="disable" if after is not None else "enable",
                start_at_step=begin,
                end_at_step=LAST_STEP if until is None else until,
                return_with_leftover_noise="disable" if until is None else "enable",
            )
            steps = (until or steps) - begin
        self.graph.steps[node] = steps
        return [node, 0]

    def _by_own_schedule(
        self, name: str, settings: Settings, latent: Wire, *, model: Model, runs: int, share: float
    ) -> Wire:
        """One pass with a schedule that is a node of its own; *share*: of the noise, 0..1."""
        sampling = self.sampling(settings)
        kind = "SDXL" if "xl" in stem_of(self.catalog.model(settings.model)).lower() else "SD1"
        guided = {**self.conditioning(settings, model)._asdict(), "cfg": settings.cfg}
        graph = self.graph
        node = graph.add(
            name,
            "SamplerCustomAdvanced",
            "Sampler",
            noise=graph.out("noise", "RandomNoise", noise_seed=settings.seed),
            guider=graph.out("guider", "CFGGuider", model=model.unet, **guided),
            sampler=graph.out("ksel", "KSamplerSelect", sampler_name=sampling.comfy_sampler),
            sigmas=graph.out("sigmas", "AlignYourStepsScheduler", model_type=kind, steps=settings.steps, denoise=share),
            latent_image=latent,
        )
        graph.steps[node] = runs
        return [node, 0]

    # -- pictures and latents -----------------------------------------------------------------------------------------

    def decoded(self, name: str, latent: Wire, model: Model) -> Wire:
        """Return the picture of a latent one."""
        return self.graph.out(name, "VAEDecode", samples=latent, vae=model.vae)

    def stretched(self, name: str, latent: Wire, size: tuple[int, int], method: str) -> Wire:
        """Return a latent picture brought to *size*, in px of the picture."""
        width, height = size
        return self.graph.out(
            name,
            "LatentUpscale",
            samples=latent,
            upscale_method=method,
            width=width,
            height=height,
            crop="disabled",
        )

    def encoded(self, name: str, picture: Wire, model: Model) -> Wire:
        """Return the latent picture of a picture."""
        return self.graph.out(name, "VAEEncode", pixels=picture, vae=model.vae)

    def scaled(
        self, name: str, picture: Wire, size: tuple[int, int], *, method: str = "lanczos", crop: bool = False
    ) -> Wire:
        """Return a picture brought to a size; *crop*: what is over is cut off, else it is stretched."""
        width, height = size
        return self.graph.out(
            name,
            "ImageScale",
            image=picture,
            upscale_method=method,
            width=width,
            height=height,
            crop="center" if crop else "disabled",
        )

    def enlarged(self, name: str, picture: Wire, upscaler: str, size: tuple[int, int], *, crop: bool = False) -> Wire:
        """Return a picture of exactly *size*, by an upscaler of any kind."""
        method = plain_upscaler(upscaler)
        if method is not None:
            return self.scaled(f"{name}size", picture, size, method=method, crop=crop)
        file = self.catalog.upscale_model(upscaler)
        model = self.graph.out(f"{name}model", "UpscaleModelLoader", model_name=file)
        larger = self.graph.out(f"{name}up", "ImageUpscaleWithModel", upscale_model=model, image=picture)
        return self.scaled(f"{name}size", larger, size, crop=crop)
