"""The four stages as samplings. On the model's thread."""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rxpipe.backends.detections import detection_of, faces_of, regions
from rxpipe.backends.diffusers.detectors import detector_used
from rxpipe.backends.diffusers.passes import Painter, Sampling, planned_steps, with_seed
from rxpipe.backends.diffusers.upscalers import LATENT
from rxpipe.backends.masks import mask_of
from rxpipe.backends.picture import read_picture
from rxpipe.backends.regions import (
    NOISE,
    NOTHING,
    SURROUNDINGS,
    blurred,
    encoded,
    filled,
    fitted,
    on_ground,
    region_of,
)
from rxpipe.backends.sizes import Size, crops, drawable, upscaled
from rxpipe.config import AdetailerConfig, Img2ImgConfig, Txt2ImgConfig, UpscaleConfig
from rxpipe.errors import BackendRejected, BadImage
from rxpipe.pictures.faces import looks_for_faces

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PIL import Image

    from rxpipe.artifact import Artifact
    from rxpipe.backends.detections import Detection
    from rxpipe.backends.picture import InputImage
    from rxpipe.backends.regions import Region
    from rxpipe.config import AdetailerUnit, HiresConfig
    from rxpipe.plan import StageExecution

USUAL_STEPS, USUAL_CFG, USUAL_PX = 20, 7.0, 512
_CROP, _FILL = 1, 2


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a stage made. data: an encoded picture. unchanged: there was nothing to do. facts: for the record."""

    data: bytes = field(default=b"", repr=False)
    unchanged: bool = False
    warnings: tuple[str, ...] = ()
    facts: dict[str, object] = field(default_factory=dict)


@dataclass
class StageWork:
    """Draws one stage for one image.

    Args:
        stage: narrowed to the image.
        source: the picture to work on, None for txt2img.
        painter: draws samplings.
        wanted: asked while a picture is decoded; once it says no, decoding stops.
    """

    stage: StageExecution
    source: Artifact | None
    painter: Painter
    wanted: Callable[[], bool]
    _faces: list[Detection] | None = field(default=None, init=False)
    _finds: dict[str, list[dict[str, object]]] = field(default_factory=dict, init=False)

    def run(self) -> Drawn:
        """Return what was drawn.

        Raises:
            RxPipeError: it cannot be drawn.
        """
        config = self.stage.config
        if isinstance(config, Txt2ImgConfig):
            return self._drawn(self._txt2img(config))
        if self.source is None:
            raise BadImage(f"{self.stage.stage_type} has no picture to work on.", hint="Put txt2img before it.")
        given = read_picture(self.source, self.wanted)
        if isinstance(config, Img2ImgConfig):
            return self._img2img(config, given)
        if isinstance(config, AdetailerConfig):
            return self._adetailer(config, given)
        if isinstance(config, UpscaleConfig):
            return self._upscale(config, given)
        raise BackendRejected(f"a local model draws no stage {self.stage.stage_type!r}.")

    def _drawn(self, picture: Image.Image, given: InputImage | None = None, **facts: object) -> Drawn:
        notes = given.notes if given is not None else ()
        words = self.painter.words
        misfits = tuple(f"the embedding {name} does not fit the model and is taken as words" for name in words.misfits)
        if given is not None and given.image.mode == "RGBA" and picture.mode == "RGB":
            picture = picture.copy()
            picture.putalpha(fitted(given.image.getchannel("A"), Size(*picture.size), crop=False))
        used = {**self.painter.used, **({"embeddings": list(words.used)} if words.used else {}), **facts}
        return Drawn(encoded(picture), warnings=(*notes, *self.painter.warnings, *misfits), facts=used)

    def _sampling(self, **changes: Any) -> Sampling:
        generation = self.stage.generation
        base = Sampling(
            prompt=generation.prompt,
            negative=generation.negative_prompt,
            steps=generation.steps or USUAL_STEPS,
            cfg=USUAL_CFG if generation.cfg_scale is None else generation.cfg_scale,
            seed=self.stage.seed or 0,
            sampler=generation.sampler_name,
            schedule=generation.scheduler,
            clip_skip=generation.clip_skip,
            model=generation.model,
            vae=generation.vae,
        )
        return replace(base, **{name: value for name, value in changes.items() if value is not None})

    # -- txt2img ------------------------------------------------------------------------------------------------------

    def _txt2img(self, config: Txt2ImgConfig) -> Image.Image:
        refiner = config.refiner if config.refiner is not None and config.refiner.enabled else None
        first = self._sampling()
        if refiner is not None:
            first = replace(first, refiner=refiner.checkpoint, switch_at=refiner.switch_at)
        if config.subseed_strength:
            subseed = config.subseed if config.subseed >= 0 else first.seed ^ 0x5EED
            first = replace(first, subseed=subseed, subseed_strength=config.subseed_strength)
        size = Size(self.stage.generation.width or USUAL_PX, self.stage.generation.height or USUAL_PX)
        hires = config.hires
        if hires is None or not hires.enabled:
            self.painter.steps.plan(*planned_steps([first]))
            return self._picture(self.painter.draw(first, size))
        return self._hires(first, size, hires)

    def _hires(self, first: Sampling, size: Size, hires: HiresConfig) -> Image.Image:
        second = self._sampling(
            steps=hires.steps or None,
            cfg=hires.cfg_scale,
            prompt=hires.prompt,
            negative=hires.negative_prompt,
            sampler=hires.sampler_name,
            schedule=hires.scheduler,
            model=hires.checkpoint or None,
            strength=hires.denoising_strength,
        )
        self.painter.steps.plan(*planned_steps([first, second]))
        larger = hires_size(size, hires)
        latent = LATENT.get(hires.upscaler.lower())
        if latent is None:
            picture = self._picture(self.painter.draw(first, size))
            return self.painter.redraw(
                second, self.painter.engine.upscalers.enlarged(picture, larger, hires.upscaler), larger
            )
        drawn = self.painter.draw(first, size, latent=True)
        return self.painter.redraw(second, _interpolated(drawn, larger, *latent), larger)

    def _picture(self, drawn: Any) -> Image.Image:
        picture: Image.Image = drawn
        return picture

    # -- img2img ------------------------------------------------------------------------------------------------------

    def _img2img(self, config: Img2ImgConfig, given: InputImage) -> Drawn:
        picture = given.image.convert("RGB")
        alone = config.mask is not None and config.inpaint_full_res
        size = Size(*picture.size) if alone else self._size(picture)
        mask = None
        if config.mask is not None and self.source is not None:
            mask = mask_of(config, self.source, given.image)
            if mask.getbbox() is None:
                return Drawn(unchanged=True, warnings=("the mask shows nothing to redraw",))
        brought = _brought(picture, size, config.resize_mode)
        if config.denoising_strength == 0:
            if brought is picture:
                return Drawn(unchanged=True)
            return self._drawn(brought, given)
        sampling = self._sampling(strength=config.denoising_strength)
        self.painter.steps.plan(*planned_steps([sampling]))
        if mask is None:
            return self._drawn(self.painter.redraw(sampling, brought, size), given)
        fitting = mask if size == mask.size else _brought(mask.convert("RGB"), size, config.resize_mode).convert("L")
        drawn = self._inpainted(sampling, brought, fitting, config, drawn_at=self._size(picture))
        return self._drawn(_opaque(drawn, fitting, given), given if given.image.mode == "RGB" else None)

    def _size(self, picture: Image.Image) -> Size:
        generation = self.stage.generation
        return Size(generation.width or picture.width, generation.height or picture.height)

    def _inpainted(
        self, sampling: Sampling, picture: Image.Image, mask: Image.Image, config: Img2ImgConfig, *, drawn_at: Size
    ) -> Image.Image:
        ground = picture
        if config.inpainting_fill in {SURROUNDINGS, NOISE}:
            ground = filled(picture, mask, config.inpainting_fill, sampling.seed)
        elif config.inpainting_fill == NOTHING:
            ground = picture.copy()
            ground.paste((128, 128, 128), mask=mask)
        soft = _within(blurred(mask, config.mask_blur), mask)
        if not config.inpaint_full_res:
            return _pasted(picture, self.painter.inpaint(sampling, ground, soft), soft, (0, 0))
        region = region_of(mask, padding=config.inpaint_full_res_padding, drawn=drawable(drawn_at))
        return picture if region is None else self._region(sampling, picture, ground, soft, region)

    def _region(
        self, sampling: Sampling, picture: Image.Image, ground: Image.Image, soft: Image.Image, region: Region
    ) -> Image.Image:
        """Redraw a part by itself at its own size, and lay it back through its mask."""
        part, hole = ground.crop(region.box), soft.crop(region.box)
        drawn = self.painter.inpaint(
            sampling, fitted(part, region.size, crop=False), fitted(hole, region.size, crop=False)
        )
        return _pasted(picture, fitted(drawn, region.box.size, crop=False), hole, region.box[:2])

    # -- adetailer ----------------------------------------------------------------------------------------------------

    def _adetailer(self, config: AdetailerConfig, given: InputImage) -> Drawn:
        picture = given.image.convert("RGB")
        units = [(unit, self._found(unit, picture)) for unit in (config, *config.units)]
        if all(finds is None for _, finds in units):
            return Drawn(unchanged=True, warnings=given.notes)
        facts = self._finds
        parts = [(unit, regions(unit, finds or (), Size(*picture.size))) for unit, finds in units]
        work = [(self._of_unit(unit), region) for unit, found in parts for region in found]
        work = [(sampling, region) for sampling, region in work if sampling.strength > 0]
        if not work:
            return Drawn(unchanged=True, warnings=given.notes, facts={**facts})
        self.painter.steps.plan(*planned_steps([sampling for sampling, _ in work]))
        for sampling, region in work:
            picture = self._detailed(with_seed(sampling, region.seed_offset), picture, region)
        return self._drawn(picture, given, **facts)

    def _found(self, unit: AdetailerUnit, picture: Image.Image) -> list[Detection] | None:
        """What the unit's detector finds: the user's own by that name, else faces; None where it looks for others."""
        path = detector_used(unit.detector)
        if path is not None:
            finds = self.painter.engine.detectors.finds(path, picture, unit.confidence)
            self._finds.setdefault("detections", []).extend({"label": f.label, **f.facts} for f in finds)
            return finds
        if self.source is None or not looks_for_faces(unit.detector):
            return None
        if self._faces is None:
            self._faces = [detection_of(face) for face in faces_of(self.source)]
            self._finds["faces"] = [face.facts for face in self._faces]
        return self._faces

    def _of_unit(self, unit: AdetailerUnit) -> Sampling:
        return self._sampling(
            prompt=unit.prompt,
            negative=unit.negative_prompt,
            steps=unit.steps,
            cfg=unit.cfg_scale,
            sampler=unit.sampler_name,
            schedule=unit.scheduler,
            model=unit.checkpoint or None,
            strength=unit.denoising_strength,
        )

    def _detailed(self, sampling: Sampling, picture: Image.Image, region: Region) -> Image.Image:
        from PIL import Image  # noqa: PLC0415  # importing rxpipe loads no Pillow

        with Image.open(io.BytesIO(region.mask)) as stored:
            hole = stored.convert("L")
        part = fitted(picture.crop(region.box), region.size, crop=False)
        drawn = self.painter.inpaint(sampling, part, fitted(hole, region.size, crop=False))
        return _pasted(picture, fitted(drawn, region.box.size, crop=False), hole, region.box[:2])

    # -- upscale ------------------------------------------------------------------------------------------------------

    def _upscale(self, config: UpscaleConfig, given: InputImage) -> Drawn:
        size = upscaled(config, Size(*given.image.size))
        image = fitted_to_shape(given.image, size) if crops(config) else given.image
        picture, shape = image.convert("RGB"), replace(given, image=image)
        redraws = config.mode == "img2img" and config.denoising_strength > 0
        sampling = self._sampling(strength=config.denoising_strength)
        self.painter.steps.plan(1, *(planned_steps([sampling]) if redraws else ()))
        larger = self.painter.engine.upscalers.enlarged(picture, size, config.upscaler, self.painter.steps.at)
        if config.upscaler_2 is not None and config.mode == "single" and config.upscaler_2_visibility > 0:
            other = self.painter.engine.upscalers.enlarged(picture, size, config.upscaler_2, self.painter.steps.at)
            from PIL import Image  # noqa: PLC0415  # importing rxpipe loads no Pillow

            larger = Image.blend(larger, other, config.upscaler_2_visibility)
        self.painter.steps.at(1.0)
        self.painter.steps.end()
        if redraws:
            larger = self.painter.redraw(sampling, larger, size)
        return self._drawn(larger, shape, upscaler=config.upscaler or "Lanczos")


def hires_size(size: Size, hires: HiresConfig) -> Size:
    """Return the size of the second pass, in multiples of 8 px."""
    if not hires.resize_x and not hires.resize_y:
        return drawable(size.scaled(hires.scale))
    across = hires.resize_x or size.width * hires.resize_y / size.height
    down = hires.resize_y or size.height * hires.resize_x / size.width
    return drawable(Size(round(across), round(down)))


def fitted_to_shape(image: Image.Image, size: Size) -> Image.Image:
    """Return the middle of a picture, as much as has the shape of *size*."""
    wide = max(1, min(image.width, round(image.height * size.width / size.height)))
    high = max(1, min(image.height, round(image.width * size.height / size.width)))
    left, top = (image.width - wide) // 2, (image.height - high) // 2
    return image.crop((left, top, left + wide, top + high))


def _brought(picture: Image.Image, size: Size, mode: int) -> Image.Image:
    if picture.size == tuple(size):
        return picture
    return on_ground(picture, size) if mode == _FILL else fitted(picture, size, crop=mode == _CROP)


def _within(soft: Image.Image, mask: Image.Image) -> Image.Image:
    """A soft mask that is black wherever the mask itself is."""
    from PIL import ImageChops  # noqa: PLC0415  # importing rxpipe loads no Pillow

    return ImageChops.multiply(soft, mask)


def _pasted(picture: Image.Image, part: Image.Image, mask: Image.Image, at: Sequence[int]) -> Image.Image:
    result = picture.copy()
    result.paste(part, (at[0], at[1]), mask)
    return result


def _opaque(drawn: Image.Image, mask: Image.Image, given: InputImage) -> Image.Image:
    """The drawn picture with the transparency of the given one; what is redrawn is opaque."""
    from PIL import ImageChops  # noqa: PLC0415  # importing rxpipe loads no Pillow

    if given.image.mode != "RGBA":
        return drawn
    result = drawn.copy()
    alpha = fitted(given.image.getchannel("A"), Size(*drawn.size), crop=False)
    result.putalpha(ImageChops.lighter(alpha, mask))
    return result


def _interpolated(latents: Any, size: Size, mode: str, antialias: bool) -> Any:
    from torch.nn.functional import interpolate  # noqa: PLC0415  # on the model's thread only

    return interpolate(latents, size=(size.height // 8, size.width // 8), mode=mode, antialias=antialias)
