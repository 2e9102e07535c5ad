"""Latents and samplers: where pictures are drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from PIL import Image

from rxpipe.testing.servers.comfyui.nodes.registry import Several, node
from rxpipe.testing.servers.comfyui.values import (
    Conditioning,
    Guider,
    Latent,
    Model,
    Named,
    Pictures,
    Sigmas,
    coarse,
    decoded,
    encoded,
    latent_mask,
    open_rgb,
    png,
    seed_of,
    sized_mask,
)
from rxpipe.testing.servers.drawing import DrawRequest

if TYPE_CHECKING:
    from rxpipe.testing.servers.comfyui.nodes.registry import Values, Work

_CELL = 8


@node("EmptyLatentImage")
def _empty(work: Work, values: Values) -> Latent:
    del work
    return Latent(values["width"] // _CELL * _CELL, values["height"] // _CELL * _CELL, values["batch_size"])


@node("EmptySD3LatentImage")
def _empty_sd3(work: Work, values: Values) -> Latent:
    del work
    return Latent(values["width"] // 16 * 16, values["height"] // 16 * 16, values["batch_size"])


@node("LatentUpscale")
def _upscaled(work: Work, values: Values) -> Latent:
    del work
    return _resized(values["samples"], values["width"], values["height"])


@node("LatentUpscaleBy")
def _upscaled_by(work: Work, values: Values) -> Latent:
    del work
    latent: Latent = values["samples"]
    return _resized(latent, round(latent.width * values["scale_by"]), round(latent.height * values["scale_by"]))


def _resized(latent: Latent, width: int, height: int) -> Latent:
    size = (max(1, width // _CELL) * _CELL, max(1, height // _CELL) * _CELL)
    pictures = None
    if latent.pictures is not None:
        pictures = tuple(picture.resize(size, Image.Resampling.BILINEAR) for picture in latent.pictures)
    return replace(latent, width=size[0], height=size[1], pictures=pictures)


@node("LatentFromBatch")
def _from_batch(work: Work, values: Values) -> Latent:
    del work
    latent: Latent = values["samples"]
    first = min(values["batch_index"], latent.size - 1)
    count = min(values["length"], latent.size - first)
    pictures = None if latent.pictures is None else latent.pictures[first : first + count]
    return replace(latent, size=count, pictures=pictures, index=latent.index + first)


@node("RepeatLatentBatch")
def _repeated(work: Work, values: Values) -> Latent:
    del work
    latent: Latent = values["samples"]
    pictures = None if latent.pictures is None else latent.pictures * values["amount"]
    return replace(latent, size=latent.size * values["amount"], pictures=pictures)


@node("LatentBlend")
def _blended(work: Work, values: Values) -> Latent:
    del work
    first: Latent = values["samples1"]
    second = _resized(values["samples2"], first.width, first.height)
    share = 1 - values["blend_factor"]
    pictures = tuple(
        Image.blend(one, second.drawn()[place % second.size], share) for place, one in enumerate(first.drawn())
    )
    return replace(first, pictures=pictures)


@node("LatentComposite")
def _composed(work: Work, values: Values) -> Latent:
    del work
    below: Latent = values["samples_to"]
    above: Latent = values["samples_from"]
    made = []
    for place, picture in enumerate(below.drawn()):
        whole = picture.copy()
        whole.paste(above.drawn()[place % above.size], (values["x"] // _CELL * _CELL, values["y"] // _CELL * _CELL))
        made.append(whole)
    return replace(below, pictures=tuple(made))


@node("SetLatentNoiseMask")
def _masked(work: Work, values: Values) -> Latent:
    del work
    latent: Latent = values["samples"]
    return replace(latent, mask=values["mask"])


@node("VAEEncode", "VAEEncodeTiled")
def _encode(work: Work, values: Values) -> Latent:
    del work
    return encoded(values["pixels"])


@node("VAEEncodeForInpaint")
def _encode_for_inpaint(work: Work, values: Values) -> Latent:
    del work
    return _without_the_masked(values)


@node("InpaintModelConditioning")
def _inpaint_conditioning(work: Work, values: Values) -> Several:
    del work
    latent = _without_the_masked(values)
    latent = latent if values["noise_mask"] else replace(latent, mask=None)
    return Several((values["positive"], values["negative"], latent))


def _without_the_masked(values: Values) -> Latent:
    """Return the encoded picture, grey where it is to be drawn."""
    pixels: Pictures = values["pixels"]
    mask = sized_mask(values["mask"], pixels[0].size)
    grey = Image.new("RGB", pixels[0].size, (127, 127, 127))
    return replace(encoded(tuple(Image.composite(grey, picture, mask) for picture in pixels)), mask=mask)


@node("VAEDecode", "VAEDecodeTiled")
def _decode(work: Work, values: Values) -> Pictures:
    del work
    return decoded(values["samples"])


# -- samplers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sampling:
    """One run of a sampler.

    add_noise: False where the latent brings its own. leftover: whether noise stays in the result.
    """

    guider: Guider
    seed: int
    sigmas: Sigmas
    add_noise: bool = True
    leftover: bool = False


@node("KSampler")
def _ksampler(work: Work, values: Values) -> Latent:
    steps = values["steps"] if values["denoise"] > 0 else 0
    guider = _guider_of(values)
    sampling = Sampling(guider, values["seed"], Sigmas(steps, 0, steps, values["denoise"]))
    return sample(work, values["latent_image"], sampling)


@node("KSamplerAdvanced")
def _ksampler_advanced(work: Work, values: Values) -> Latent:
    steps = values["steps"]
    first, last = min(values["start_at_step"], steps), min(values["end_at_step"], steps)
    sigmas = Sigmas(steps, first, max(first, last), (steps - first) / steps)
    return sample(
        work,
        values["latent_image"],
        Sampling(
            _guider_of(values),
            values["noise_seed"],
            sigmas,
            add_noise=values["add_noise"] == "enable",
            leftover=values["return_with_leftover_noise"] == "enable",
        ),
    )


@node("SamplerCustom")
def _sampler_custom(work: Work, values: Values) -> Several:
    sampling = Sampling(_guider_of(values), values["noise_seed"], values["sigmas"], add_noise=values["add_noise"])
    return _both_outputs(work, values["latent_image"], sampling)


@node("SamplerCustomAdvanced")
def _sampler_custom_advanced(work: Work, values: Values) -> Several:
    noise = values["noise"]
    sampling = Sampling(values["guider"], noise or 0, values["sigmas"], add_noise=noise is not None)
    return _both_outputs(work, values["latent_image"], sampling)


def _both_outputs(work: Work, latent: Latent, sampling: Sampling) -> Several:
    """Return the output, noisy where the sigmas stop early, and the denoised one."""
    sampling = replace(sampling, leftover=sampling.sigmas.last < sampling.sigmas.steps)
    drawn = sample(work, latent, sampling)
    return Several((drawn, replace(drawn, done=1.0)))


def _guider_of(values: Values) -> Guider:
    return Guider(values["model"], values["positive"], values["negative"], values["cfg"])


def sample(work: Work, latent: Latent, sampling: Sampling) -> Latent:
    """Return the latent as a sampler leaves it, one progress message a step and picture."""
    sigmas = sampling.sigmas
    count = sigmas.last - sigmas.first
    if count <= 0:
        return replace(latent, pictures=latent.drawn())
    work.load(sampling.guider.model.checkpoint)
    pictures = tuple(_drawn(work, latent, sampling, place) for place in range(latent.size))
    for step in range(1, count + 1):
        done = (sigmas.first + step) / sigmas.steps
        work.step(step, count, lambda done=done: coarse(pictures[0], done) if done < 1 else pictures[0])  # type: ignore[misc]  # a default binds the loop's value
    done = sigmas.last / sigmas.steps if sampling.leftover else 1.0
    return replace(latent, pictures=pictures, done=done)


def _drawn(work: Work, latent: Latent, sampling: Sampling, place: int) -> Image.Image:
    """Return one picture of the batch, drawn where the mask lets it."""
    guider, sigmas = sampling.guider, sampling.sigmas
    fresh = latent.pictures is None and sampling.add_noise and sigmas.denoise >= 1
    source = None if fresh else latent.drawn()[place]
    changes = (*guider.model.changes, *guider.positive.changes, *guider.negative.changes)
    request = DrawRequest(
        kind="txt2img" if source is None else "img2img",
        width=latent.width,
        height=latent.height,
        prompt=guider.positive.text,
        negative_prompt=guider.negative.text,
        seed=seed_of(sampling.seed, latent.index + place, changes),
        steps=sigmas.steps,
        source=None if source is None else png(source),
        options=_options(guider, sigmas),
    )
    drawn = open_rgb(work.draw(request))
    if source is None or latent.mask is None:
        return drawn
    return Image.composite(drawn, source, latent_mask(latent.mask, source.size))


def _options(guider: Guider, sigmas: Sigmas) -> dict[str, Any]:
    return {
        "cfg_scale": guider.cfg,
        "checkpoint": guider.model.checkpoint,
        "denoising_strength": min(1.0, sigmas.denoise),
    }


# -- parts of a custom sampler ----------------------------------------------------------------------------------------


@node("RandomNoise")
def _noise(work: Work, values: Values) -> int:
    del work
    seed: int = values["noise_seed"]
    return seed


@node("DisableNoise")
def _no_noise(work: Work, values: Values) -> None:
    del work, values


@node("CFGGuider")
def _cfg_guider(work: Work, values: Values) -> Guider:
    del work
    return _guider_of(values)


@node("BasicGuider")
def _basic_guider(work: Work, values: Values) -> Guider:
    del work
    model: Model = values["model"]
    return Guider(model, values["conditioning"], Conditioning(""), 1.0)


@node("KSamplerSelect")
def _sampler_name(work: Work, values: Values) -> Named:
    del work
    return Named("sampler", values["sampler_name"])


@node("SamplerEulerAncestral")
def _euler_ancestral(work: Work, values: Values) -> Named:
    del work, values
    return Named("sampler", "euler_ancestral")


@node(
    "BasicScheduler",
    "AlignYourStepsScheduler",
    "GITSScheduler",
    "SDTurboScheduler",
    "KarrasScheduler",
    "ExponentialScheduler",
    "BetaSamplingScheduler",
)
def _schedule(work: Work, values: Values) -> Sigmas:
    del work
    denoise = values.get("denoise", 1.0)
    steps = values["steps"] if denoise > 0 else 0
    return Sigmas(steps, 0, steps, denoise)


@node("SplitSigmas")
def _split(work: Work, values: Values) -> Several:
    del work
    sigmas: Sigmas = values["sigmas"]
    return _split_at(sigmas, min(sigmas.last, sigmas.first + values["step"]))


@node("SplitSigmasDenoise")
def _split_by_denoise(work: Work, values: Values) -> Several:
    del work
    sigmas: Sigmas = values["sigmas"]
    low = round((sigmas.last - sigmas.first) * values["denoise"])
    return _split_at(sigmas, sigmas.last - low)


def _split_at(sigmas: Sigmas, step: int) -> Several:
    left = (sigmas.steps - step) / sigmas.steps * sigmas.denoise if sigmas.steps else 0.0
    return Several((replace(sigmas, last=step), replace(sigmas, first=step, denoise=left)))
