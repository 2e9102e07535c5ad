"""One txt2img or img2img call: its job in the queue, its pictures, and the answer around them.

What is requested and what is done differ here as on the real servers: names fall back silently, sizes are cut to
multiples of 8, an interrupted job is a 200 with what there was.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from rxpipe.testing.servers.core.wire import Answer
from rxpipe.testing.servers.drawing import (
    DrawRequest,
    grid_of,
    laid_over,
    png_size,
    with_parameters,
)
from rxpipe.testing.servers.webui.adetailer import read_args
from rxpipe.testing.servers.webui.infotext import resolve_sampling, write_infotext
from rxpipe.testing.servers.webui.jobs import JobError
from rxpipe.testing.servers.webui.pictures import HttpError, decode, encoded, spoil

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rxpipe.testing.servers.core.jobs import Job
    from rxpipe.testing.servers.core.requests import RecordedRequest
    from rxpipe.testing.servers.webui.engine import Engine

_GAP_S = 0.05  # between two of SD.Next's phases, while which nothing seems to run
_SEEDS = 2**32
_OUTER_SHARE = 0.1  # of an ADetailer call's time goes into the pass that is thrown away
_SKIPPED_SIZE = 128
_PREVIEW_SHARE = 4  # a preview's side is a quarter of the picture's
_LATENT = 8
_LORA = re.compile(r"<lora:([^:>]+)")
_MASKED_CONTENT = ("fill", "original", "latent noise", "latent nothing")


class Generation:
    """A call to /txt2img or /img2img, from the validated body to the answer. Used once, on the call's own thread."""

    def __init__(self, engine: Engine, call: RecordedRequest, values: dict[str, Any]) -> None:
        self.engine = engine
        self.call = call
        self.values = values
        self.img2img = "init_images" in values
        self.traits = engine.flavour.traits
        self._check_scripts()
        self._check_sampler()
        if self.img2img and values["init_images"] is None:
            raise HttpError(404, "Init image not found")
        self.mask = decode(values["mask"]) if values.get("mask") else None
        self.sources: list[bytes] = []
        self.pictures: list[bytes] = []
        self.extra: dict[str, Any] = {}

    def _check_scripts(self) -> None:
        known = self.engine.scripts()["img2img" if self.img2img else "txt2img"]
        names = [self.values["script_name"], *self.values["alwayson_scripts"]]
        for name in names:
            if name and name.lower() not in (entry.lower() for entry in known):
                if "detail endpoint" in self.traits:  # its job has begun by then, and is not ended
                    self.engine.queue.set(job="API-TXT", job_count=1)
                    raise HttpError(422, f"Always on script not found: {name}")
                raise HttpError(422, f"Script '{name}' not found")

    def _check_sampler(self) -> None:
        name = self.values["sampler_name"]
        if not name or "unknown sampler is 404" not in self.traits:
            return
        known = [entry["name"] for entry in self.engine.flavour.answers["/sdapi/v1/samplers"]]
        if name not in known:
            raise HttpError(404, "Sampler not found")

    def run(self) -> Answer:
        """Wait for the queue, draw, and answer."""
        kind = "img2img" if self.img2img else "txt2img"
        task_id = self.values["force_task_id"] or self.engine.new_task(kind)
        job = self.engine.new_job(self.call, f"scripts_{kind}", task_id)
        try:
            with self.engine.queue.turn(job):
                if job.fault and job.fault.kind == "bad_input":
                    raise HttpError(500, job.fault.message)
                self.sources = [decode(text) for text in self.values.get("init_images") or ()]
                self._work(job)
        except JobError:
            if "failures are empty" not in self.traits:
                raise
            decided = hasattr(self, "seeds")  # without a model there is not even that
            return _assemble([], {}, self._info([], 0) if decided else "")
        return self._answer()

    # -- the job ------------------------------------------------------------------------------------------------------

    def _work(self, job: Job) -> None:
        queue, task = self.engine.queue, job.task_id or ""
        queue.begin(job.name, task)
        try:
            with self.engine.overridden(self.values):
                self.checkpoint, self.settings = self.engine.load_checkpoint(self.values)
                self._decide()
                for number in range(self.values["n_iter"]):
                    if queue.state.skipped:
                        queue.set(skipped=False)
                    if queue.state.interrupted:
                        break
                    self._draw_batch(job, number)
                self._detail(job)
            queue.finish(task)
        finally:
            queue.end()

    def _decide(self) -> None:
        """Fix what will really be used: seeds, sampler, sizes, ADetailer's arguments."""
        values, answers = self.values, self.engine.flavour.answers
        self._check_values()
        if self.img2img and not self.sources:
            forge = ("IndexError", "Dimension out of range (expected to be in range of [-1, 0], but got 1)")
            a1111 = (
                "RuntimeError",
                "Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: [0]",
            )
            raise JobError(*(forge if self.engine.flavour.base == "forge" else a1111))
        self.adetailer_args = read_args(
            values["alwayson_scripts"],
            answers["/adetailer/v1/schema"],
            answers["/adetailer/v1/ad_model"]["ad_model"],
            has_source=self.img2img,
            has_mask=self.mask is not None,
        )
        self._echoed = dict(values)  # what the answer repeats is the request as it was sent
        self._apply_styles()
        skip = self.adetailer_args.skip_img2img
        name = "Euler" if skip else values["sampler_name"] or values["sampler_index"]
        self.sampling = resolve_sampling(
            answers["/sdapi/v1/samplers"], answers["/sdapi/v1/schedulers"], name, values["scheduler"]
        )
        if not self._has_schedulers:
            self.sampling = self.sampling._replace(schedule_field=None)
        self.steps = 1 if skip else values["steps"]
        self.width: int = _SKIPPED_SIZE if skip else values["width"]
        self.height: int = _SKIPPED_SIZE if skip else values["height"]
        if self.img2img and not values["resize_mode"] and "no resize at mode 0" in self.traits:
            self.width, self.height = png_size(self.sources[0])
        self._decide_seeds()
        self._decide_extra()

    @property
    def _has_schedulers(self) -> bool:
        """Whether a schedule is a setting of its own."""
        return not self.traits & {"schedulers in sampler names", "schedulers fail"}

    def _check_values(self) -> None:
        """Raise what the servers raise for values that no check refuses before the job."""
        values = self.values
        vae = (values["override_settings"] or {}).get("sd_vae")
        if vae is not None and "vae option is a path" in self.traits:
            raise JobError("FileNotFoundError", f"No such file or directory: {vae!r}")
        if values["steps"] == 0:
            raise JobError("ZeroDivisionError", "integer division or modulo by zero")
        if values["n_iter"] < 1 or values["batch_size"] < 1:
            raise JobError("IndexError", "list index out of range")
        if not values["width"] or not values["height"]:
            raise JobError("RuntimeError", "Calculated padded input size per channel is too small")
        for name in (values["refiner_checkpoint"], values.get("hr_checkpoint_name")):
            if name and name != "Use same checkpoint" and self.engine.find_checkpoint(name) is None:
                raise JobError("Exception", f"Could not find checkpoint with name {name}")
        upscalers = [entry["name"] for entry in self.engine.flavour.answers["/sdapi/v1/upscalers"]]
        latent = [entry["name"] for entry in self.engine.flavour.answers["/sdapi/v1/latent-upscale-modes"]]
        name = values.get("hr_upscaler")
        if values.get("enable_hr") and name and name not in (*upscalers, *latent):
            raise JobError("Exception", f"could not find upscaler named {name}")

    def _apply_styles(self) -> None:
        """Expand the styles in the prompts; an unknown one is nothing."""
        values, known = self.values, {style["name"]: style for style in self.engine.styles()}
        for key in ("prompt", "negative_prompt"):
            text = values[key] or ""
            for style in (known[name] for name in values["styles"] or () if name in known):
                text = _with_style(text, style[key] or "")
            values[key] = text

    def _decide_seeds(self) -> None:
        values, random = self.values, self.engine.random
        self.count = values["batch_size"] * values["n_iter"]
        self.seed, self.subseed = (
            random.randrange(_SEEDS) if values[name] in (None, -1) else values[name] for name in ("seed", "subseed")
        )
        varied = values["subseed_strength"] or 0
        self.seeds = [self.seed + (0 if varied else number) for number in range(self.count)]
        self.subseeds = [self.subseed + number for number in range(self.count)]

    def _decide_extra(self) -> None:
        values, extra = self.values, self.extra
        if self.sampling.schedule_field:
            extra["Schedule type"] = self.sampling.schedule_field
        if values.get("enable_hr"):
            extra |= self._hires_fields()
        extra |= self._module_fields() | self._lora_fields()
        extra |= self.adetailer_args.infotext_fields(self.engine.flavour.answers["/adetailer/v1/version"]["version"])
        if self.img2img:
            extra["Denoising strength"] = values["denoising_strength"]
        if self.mask is not None:
            extra |= self._mask_fields()

    def _hires_fields(self) -> dict[str, Any]:
        values = self.values
        fields: dict[str, Any] = {}
        if "hr_additional_modules" in values:
            fields |= {f"Hires Module {n}": name for n, name in enumerate(values["hr_additional_modules"] or (), 1)}
        if "hr_cfg" in values:
            fields["Hires CFG Scale"] = values["hr_cfg"]
        if values["hr_resize_x"] or values["hr_resize_y"]:
            fields["Hires resize"] = f"{values['hr_resize_x']}x{values['hr_resize_y']}"
        else:
            fields["Hires upscale"] = values["hr_scale"]
        named = {
            "Hires steps": "hr_second_pass_steps",
            "Hires sampler": "hr_sampler_name",
            "Hires schedule type": "hr_scheduler",
            "Hires checkpoint": "hr_checkpoint_name",
            "Hires prompt": "hr_prompt",
            "Hires negative prompt": "hr_negative_prompt",
        }
        fields["Hires upscaler"] = values["hr_upscaler"] or "Latent"
        return fields | {label: values[name] for label, name in named.items() if values.get(name)}

    def _module_fields(self) -> dict[str, Any]:
        """Forge's VAEs and text encoders: those that it knows by their file names."""
        if self.engine.flavour.base != "forge":
            return {}
        given = (str(name).rpartition("/")[2] for name in self.settings.get("forge_additional_modules") or ())
        known = (name for name in given if name in self.engine.setup.modules)
        return {f"Module {number}": name.rpartition(".")[0] or name for number, name in enumerate(known, 1)}

    def _lora_fields(self) -> dict[str, Any]:
        """Hashes of the LoRAs that were found; one that is missing is nothing."""
        wanted = dict.fromkeys(_LORA.findall(self.values["prompt"] or ""))
        found = [name for name in wanted if name in self.engine.setup.loras]
        hashes = ", ".join(f"{name}: {hashlib.sha256(name.encode()).hexdigest()[:12]}" for name in found)
        return {"Lora hashes": hashes} if found else {}

    def _mask_fields(self) -> dict[str, Any]:
        values = self.values
        fields: dict[str, Any] = {"Mask mode": "Inpaint not masked"} if values["inpainting_mask_invert"] else {}
        blur = values["mask_blur"] if values["mask_blur"] is not None else 4
        fields |= {"Mask blur": blur, "Inpaint area": "Only masked" if values["inpaint_full_res"] else "Whole picture"}
        if values["inpaint_full_res"]:
            fields["Masked area padding"] = values["inpaint_full_res_padding"]
        return fields | {"Masked content": _MASKED_CONTENT[values["inpainting_fill"]]}

    @property
    def _sampled_steps(self) -> int:
        """Steps that are really run: img2img skips those that its denoising strength leaves out."""
        if not self.img2img or self.adetailer_args.skip_img2img or "interrupt is lost between phases" in self.traits:
            return self.steps
        return int(min(self.values["denoising_strength"], 0.999) * self.steps) + 1

    def _draw_batch(self, job: Job, number: int) -> None:
        queue, values, size = self.engine.queue, self.values, self.values["batch_size"]
        if queue.state.job_count == -1:
            queue.set(job_count=values["n_iter"])
        if values["n_iter"] > 1:
            queue.set(job=f"Batch {number + 1} out of {values['n_iter']}")
        latency = self.engine.latency_of(job, "img2img" if self.img2img else "txt2img") * size
        if self.adetailer_args.skip_img2img:
            latency = self.engine.latency_of(job, "adetailer") * size * _OUTER_SHARE
        done = self._sample(job, self._sampled_steps, latency)
        if values.get("enable_hr") and values.get("hr_additional_modules", ()) is None:
            raise JobError("TypeError", "argument of type 'NoneType' is not iterable")
        if done < 1 and "interrupted is its preview" in self.traits:
            self.pictures += [queue.state.preview] if queue.state.preview else []
        else:
            self.pictures += [self._draw(index, done) for index in range(number * size, (number + 1) * size)]
        queue.next_job()

    def _sample(self, job: Job, steps: int, latency_s: float) -> float:
        """Take the time of the steps; return the fraction that was done when it ended, 1.0 for all."""
        queue, slice_s = self.engine.queue, latency_s / (steps + 2)
        self._phase("TE Encode")
        queue.work(slice_s)  # encoding the prompt: the last job's sampling_steps is still shown
        self._phase("Inference")
        queue.set(sampling_steps=steps, sampling_step=0)
        for step in range(steps):
            self.engine.meet_fault(job, step / steps)
            queue.stand(job, step)
            if queue.state.flagged:
                return step / steps
            queue.work(slice_s)
            queue.set(sampling_step=step)
            self._preview(step)
        self.engine.meet_fault(job, 1.0)
        self._phase("VAE Decode")
        queue.work(slice_s)
        return 1.0

    def _phase(self, name: str) -> None:
        """Begin a phase that is a job of its own, with nothing running before it; its begin clears an interrupt."""
        if "interrupt is lost between phases" not in self.traits:
            return
        queue = self.engine.queue
        queue.set(job="", job_count=0, sampling_steps=0, sampling_step=0)
        queue.work(_GAP_S if self.engine.setup.latency_s else 0.0)
        queue.set(job=name, job_count=1, interrupted=False)

    def _preview(self, step: int) -> None:
        every, state = self.engine.options["show_progress_every_n_steps"], self.engine.queue.state
        if every > 0 and step - state.preview_step >= every:
            width, height = (max(1, side // _PREVIEW_SHARE) for side in (self.width, self.height))
            preview = self.engine.draw_preview(width, height, self.seed + step)
            self.engine.queue.set(preview=preview, preview_step=step, preview_id=state.preview_id + 1)

    def _draw(self, index: int, fraction: float) -> bytes:
        if self.adetailer_args.skip_img2img:
            return self.sources[index % len(self.sources)]
        values = self.values
        hires = values["hr_scale"] if values.get("enable_hr") and self._enlarges else 1
        request = DrawRequest(
            "img2img" if self.img2img else "txt2img",
            width=max(_LATENT, int(self.width * hires) // _LATENT * _LATENT),
            height=max(_LATENT, int(self.height * hires) // _LATENT * _LATENT),
            prompt=values["prompt"] or "",
            negative_prompt=values["negative_prompt"] or "",
            seed=self.seeds[index],
            steps=self.steps,
            fraction=fraction,
            source=self.sources[index % len(self.sources)] if self.sources else None,
            mask=self.mask,
            options={**values, "init_images": None, "mask": None, "checkpoint": self.checkpoint.name},
        )
        drawn = self.engine.draw(request)
        if self.mask is None or request.source is None:
            return drawn
        alone, invert = values["inpaint_full_res"], bool(values["inpainting_mask_invert"])
        return laid_over(request.source, drawn, self.mask, keeps_size=bool(alone), invert=invert)

    @property
    def _enlarges(self) -> bool:
        """Whether the second pass is larger than the first."""
        return "hires is forced by fields" not in self.traits or bool(
            self.values["hr_resize_mode"] and self.values["hr_force"]
        )

    # -- ADetailer ----------------------------------------------------------------------------------------------------

    def _detail(self, job: Job) -> None:
        """Run the detail pass over every picture. An interrupt or a skip before it drops it."""
        for index, picture in enumerate(self.pictures):
            current = picture
            for unit in self.adetailer_args.units:
                if self.engine.queue.state.flagged:
                    break
                current = self._detail_one(job, current, unit, index)
            self.pictures[index] = current

    def _detail_one(self, job: Job, picture: bytes, unit: Any, index: int) -> bytes:
        queue, models = self.engine.queue, self.engine.flavour.answers["/adetailer/v1/ad_model"]["ad_model"]
        if unit["ad_model"] not in models:
            return picture  # the server logs it and continues
        own_size = unit["ad_use_inpaint_width_height"]
        request = DrawRequest(
            "adetailer",
            width=unit["ad_inpaint_width"] if own_size else self.values["width"],
            height=unit["ad_inpaint_height"] if own_size else self.values["height"],
            prompt=unit["ad_prompt"] or self.values["prompt"] or "",
            negative_prompt=unit["ad_negative_prompt"] or self.values["negative_prompt"] or "",
            seed=self.seeds[index],
            steps=unit["ad_steps"] if unit["ad_use_steps"] else self.values["steps"],
            source=picture,
            options={name: value for name, value in unit.items() if name != "defaults"},
        )
        drawn = self.engine.draw(request)
        if drawn == picture:
            return picture
        queue.set(job_count=queue.state.job_count + 1)
        share = (1 - _OUTER_SHARE if self.adetailer_args.skip_img2img else 1.0) / len(self.adetailer_args.units)
        steps = int(min(unit["ad_denoising_strength"], 0.999) * request.steps) + 1
        self._sample(job, steps, self.engine.latency_of(job, "adetailer") * share)
        queue.next_job()
        return drawn

    # -- the answer ---------------------------------------------------------------------------------------------------

    def _answer(self) -> Answer:
        values, texts = self.values, [self._infotext(index) for index in range(len(self.pictures))]
        if "batch is frames" in self.traits and self.checkpoint.stem.lower().startswith("wan"):
            self.pictures, texts = self.pictures[:1], texts[:1]  # of a video, the first frame
        described = bool(self.engine.options["enable_pnginfo"])
        pictures = [
            with_parameters(picture, text if described else None)
            for picture, text in zip(self.pictures, texts, strict=True)
        ]
        first = 0
        if values["save_images"] and self.engine.options["return_grid"] and len(pictures) > 1:
            grid = grid_of(pictures, "RGBA" if self.engine.flavour.base == "forge" else "RGB")
            texts = [self._infotext(0), *texts]
            pictures = [with_parameters(grid, texts[0]), *pictures]
            first = 1
        info = self._info([] if self.engine.ignores_overrides else texts or [self._infotext(0)], first)
        pictures = [encoded(self.engine, picture) for picture in (*pictures, *self._script_pictures())]
        shown = pictures if values["send_images"] else []
        return _assemble(spoil(self.call.fault, shown), self._echo(), info)

    def _script_pictures(self) -> list[bytes]:
        """Return what scripts append: ControlNet the map that each of its units detected."""
        scripts = {name.lower(): script for name, script in self.values["alwayson_scripts"].items()}
        args = scripts.get("controlnet", {}).get("args", ())
        units = [unit for unit in args if isinstance(unit, dict) and unit.get("enabled", True)]
        return [self.engine.draw_preview(self.width, self.height, number) for number, _ in enumerate(units)]

    def _echo(self) -> dict[str, Any]:
        """Return the request with its defaults, as `parameters`; the input pictures only if requested."""
        if not self.img2img or self.values["include_init_images"]:
            return self._echoed
        return {**self._echoed, "init_images": None, "mask": None}

    def _infotext(self, index: int) -> str:
        values = self.values
        varied = bool(values["subseed_strength"])
        fields = {
            "Steps": self.steps,
            "Sampler": self.sampling.sampler,
            "Schedule type": self.sampling.schedule if self._has_schedulers else None,
            "CFG scale": values["cfg_scale"],
            "Seed": self.seeds[index],
            "Face restoration": self._face_restorer(),
            "Size": f"{self.width}x{self.height}",
            "Model hash": self.checkpoint.short,
            "Model": self.checkpoint.stem,
            "VAE": self._vae(),
            "Variation seed": self.subseeds[index] if varied else None,
            "Variation seed strength": values["subseed_strength"] if varied else None,
            "Denoising strength": values["denoising_strength"] if self.img2img or values.get("enable_hr") else None,
            "Clip skip": self._clip_skip() if self._clip_skip() > 1 else None,
        }
        extra = {name: value for name, value in self.extra.items() if name not in fields}
        app = {"App": "SD.Next"} if "app in infotext" in self.traits else {}
        version = {**app, "Version": self.engine.flavour.version}
        return write_infotext(values["prompt"] or "", values["negative_prompt"] or "", fields | extra | version)

    def _vae(self) -> str | None:
        """A1111's VAE, if it is known; Forge has modules instead and does not look at the option."""
        name = self.settings.get("sd_vae")
        known = self.engine.flavour.base == "a1111" and name in self.engine.setup.modules
        return str(name) if known else None

    def _clip_skip(self) -> int:
        if "clip_skip" in self.values:
            return int(self.values["clip_skip"] or 1)
        return int(self.settings.get("CLIP_stop_at_last_layers", 1))

    def _face_restorer(self) -> str | None:
        return str(self.settings["face_restoration_model"]) if self.values["restore_faces"] else None

    def _info(self, texts: Sequence[str], first: int) -> str:
        values, negative = self.values, self.values["negative_prompt"] or ""
        info = {
            "prompt": values["prompt"] or "",
            "all_prompts": [values["prompt"] or ""] * self.count,
            "negative_prompt": negative,
            "all_negative_prompts": [negative] * self.count,
            "seed": self.seed,
            "all_seeds": self.seeds,
            "subseed": self.subseed,
            "all_subseeds": self.subseeds,
            "subseed_strength": values["subseed_strength"],
            "width": self.width,
            "height": self.height,
            "sampler_name": self.sampling.sampler,
            "cfg_scale": values["cfg_scale"],
            "steps": self.steps,
            "batch_size": values["batch_size"],
            "restore_faces": bool(values["restore_faces"]),
            "face_restoration_model": self._face_restorer(),
            "sd_model_name": self.checkpoint.stem,
            "sd_model_hash": self.checkpoint.short,
            "sd_vae_name": self._vae(),
            "sd_vae_hash": None,
            "seed_resize_from_w": values["seed_resize_from_w"],
            "seed_resize_from_h": values["seed_resize_from_h"],
            "denoising_strength": values["denoising_strength"],
            "extra_generation_params": self.extra,
            "index_of_first_image": first,
            "infotexts": list(texts),
            "styles": values["styles"] or [],
            "job_timestamp": self.engine.queue.state.job_timestamp,
            "clip_skip": self._clip_skip(),
            "is_using_inpainting_conditioning": False,
            "version": self.engine.flavour.version,
        }
        if "app in infotext" in self.traits:
            for name in ("sd_model_name", "sd_vae_name", "version", "restore_faces"):
                del info[name]
        return json.dumps(info)


def _assemble(pictures: Sequence[bytes], parameters: Any, info: str) -> Answer:
    """Return the answer's JSON, put together around the base64 without parsing it again."""
    rest = json.dumps({"parameters": parameters, "info": info}, separators=(",", ":"), ensure_ascii=False)
    quoted = b",".join(b'"' + text + b'"' for text in pictures)
    return Answer(200, b"".join((b'{"images":[', quoted, b"],", rest[1:].encode())))


def _with_style(text: str, style: str) -> str:
    if "{prompt}" in style:
        return style.replace("{prompt}", text)
    return ", ".join(part for part in (text.strip(), style.strip()) if part)
