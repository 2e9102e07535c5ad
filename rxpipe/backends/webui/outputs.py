"""From a stage to its request, and from the answer to the stage's pictures."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from rxpipe.backends.base import Output
from rxpipe.backends.http.failures import RequestInfo
from rxpipe.backends.http.limits import AnswerLimit, Body
from rxpipe.backends.http.pictures import is_plain_resize, other_size, same_but_encoded, same_pixels, upright
from rxpipe.backends.masks import encoded_mask
from rxpipe.backends.sizes import Size, upscaled
from rxpipe.backends.webui import payloads
from rxpipe.backends.webui.actual import (
    actual_settings,
    compare,
    compare_model,
    settings_of,
    with_postprocessing,
    with_source_text,
)
from rxpipe.backends.webui.answers import Answer, read_generation, read_picture, read_single, with_text
from rxpipe.backends.webui.fitting import fitted, fitted_upscale, without_effect
from rxpipe.backends.webui.payloads import (
    DetailRequest,
    ExtrasRequest,
    Img2ImgRequest,
    SingleRequest,
    Txt2ImgRequest,
)
from rxpipe.backends.webui.spelling import listed
from rxpipe.config import AdetailerConfig, CustomConfig, Img2ImgConfig, Txt2ImgConfig, UpscaleConfig, WorkflowConfig
from rxpipe.errors import BackendRejected, BadImage, BadResponse
from rxpipe.pictures import png
from rxpipe.pictures.a1111 import postprocess_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rxpipe.artifact import Artifact
    from rxpipe.backends.webui.names import WebUICatalog
    from rxpipe.plan import StageExecution

_T = TypeVar("_T")
_DEFAULT_HR_SCALE = 2.0  # the server's
_ANY_SIZE = Size(512, 512)
Payload = Txt2ImgRequest | Img2ImgRequest | ExtrasRequest | DetailRequest


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """One request as it is posted. source_size: of the input picture, None for txt2img."""

    payload: Payload
    picture: bytes | None = field(default=None, repr=False)
    source_size: Size | None = None
    mask: bytes | None = field(default=None, repr=False)

    def body(self) -> bytes:
        """Return the request as JSON."""
        return self.payload.body(self.picture, self.mask)

    @property
    def pictures(self) -> int:
        """How many pictures it asks for."""
        return 1 if isinstance(self.payload, SingleRequest) else self.payload.batch_size

    @property
    def pixels(self) -> int:
        """How many pixels each of them has, at most."""
        payload, source = self.payload, self.source_size or Size(0, 0)
        if isinstance(payload, ExtrasRequest):
            larger = source.scaled(payload.upscaling_resize)
            size = Size(
                max(larger.width, payload.upscaling_resize_w or 0), max(larger.height, payload.upscaling_resize_h or 0)
            )
        elif isinstance(payload, DetailRequest):
            size = source
        elif isinstance(payload, Txt2ImgRequest) and payload.enable_hr:
            larger = payload.size.scaled(max(1.0, payload.hr_scale or _DEFAULT_HR_SCALE))
            size = Size(max(larger.width, payload.hr_resize_x or 0), max(larger.height, payload.hr_resize_y or 0))
        else:
            size = payload.size
        return max(size.width * size.height, source.width * source.height)

    def limit(self, sent: int, answer_s: float) -> AnswerLimit:
        """Return the limit of its answer; *sent*: the bytes that are posted, *answer_s*: for an answer of no size."""
        return AnswerLimit.of_pictures(self.pictures, self.pixels, sent=sent, body_s=answer_s)

    def with_task(self, task: str) -> RenderRequest:
        """Return the request under an id of ours; an upscale has none."""
        payload = self.payload
        if isinstance(payload, SingleRequest):
            return self
        return replace(self, payload=payload.model_copy(update={"force_task_id": task}))


def request_for(stage: StageExecution, source: Artifact | None, catalog: WebUICatalog) -> RenderRequest:
    """Return the request for one image of a stage.

    Raises:
        BackendRejected: a WebUI has no such stage, or there is no picture to work on.
        BackendFailed: the result would be too large.
    """
    stage = listed(stage, catalog)
    config = stage.config
    if isinstance(config, Txt2ImgConfig):
        return RenderRequest(fitted(payloads.txt2img(stage, config), stage.generation.modules, catalog))
    if isinstance(config, WorkflowConfig):
        raise _no_such_stage(stage)
    if source is None:
        raise BackendRejected("there is no picture to work on.")
    picture, size = upright(source)
    if isinstance(config, UpscaleConfig):
        upscaled(config, size)  # raises where the result would be too large
    mask = encoded_mask(config, source, size) if isinstance(config, Img2ImgConfig) and config.mask else None
    return RenderRequest(_payload_over(stage, size, catalog), picture, size, mask)


def check_request(stage: StageExecution, catalog: WebUICatalog) -> tuple[str, ...]:
    """Return which fields of a stage's request the server ignores; raise unless one of any size can be made.

    Raises:
        BackendRejected: a setting, or a field of `payload`, is none of the server's.
    """
    stage = listed(stage, catalog)
    config, ignored = stage.config, tuple[str, ...]()
    if isinstance(config, Txt2ImgConfig):
        request = payloads.txt2img(stage, config)
        fitted(request, stage.generation.modules, catalog)
        ignored = without_effect(request, catalog)
    elif not isinstance(config, CustomConfig):
        _payload_over(stage, _ANY_SIZE, catalog)
    return ignored


def overrides_of(stage: StageExecution, catalog: WebUICatalog) -> Mapping[str, Any]:
    """Return the server's options that a stage's requests override."""
    stage = listed(stage, catalog)
    config = stage.config
    if isinstance(config, CustomConfig):
        return {}
    if isinstance(config, Txt2ImgConfig):
        request: Payload = fitted(payloads.txt2img(stage, config), stage.generation.modules, catalog)
    else:
        request = _payload_over(stage, _ANY_SIZE, catalog)
    return {} if isinstance(request, SingleRequest) else request.override_settings or {}


def _payload_over(
    stage: StageExecution, size: Size, catalog: WebUICatalog
) -> Img2ImgRequest | ExtrasRequest | DetailRequest:
    config, modules = stage.config, stage.generation.modules
    if isinstance(config, Img2ImgConfig):
        return fitted(payloads.img2img(stage, config, size), modules, catalog)
    if isinstance(config, AdetailerConfig):
        if catalog.flavour.detailer != "extension":
            return payloads.detail(stage, config)
        return fitted(payloads.adetailer(stage, config, size, schema=catalog.unit_schema), modules, catalog)
    if isinstance(config, UpscaleConfig):
        if config.mode == "img2img":
            return fitted(payloads.upscale_by_img2img(stage, config, size), modules, catalog)
        return fitted_upscale(payloads.upscale(config, size), catalog)
    raise _no_such_stage(stage)


def _no_such_stage(stage: StageExecution) -> BackendRejected:
    return BackendRejected(f"a WebUI renders txt2img, img2img, adetailer and upscale, not {stage.stage_type}.")


@dataclass(frozen=True, slots=True)
class OutputReader:
    """Makes Outputs of answers. base: the server's address. strict: a silent fallback is an error, not a warning."""

    base: str
    catalog: WebUICatalog
    strict: bool = False

    def pictures(self, stage: StageExecution, request: RenderRequest, body: Body) -> list[Callable[[], Output]]:
        """Return one function per picture of an answer, which decodes it.

        Raises:
            BadResponse: the answer is not what was asked for; the functions raise it for their picture.
        """
        payload = request.payload
        if isinstance(payload, DetailRequest):
            found = self._in_context(payload, lambda: read_single(body))
            made = [lambda: _by_detailer(request, payload, found)]
        elif isinstance(payload, ExtrasRequest):
            single = self._in_context(payload, lambda: read_single(body))
            made = [lambda: self._upscaled(stage, request, payload, single)]
        else:
            answer = self._in_context(payload, lambda: read_generation(body, expected=payload.batch_size))
            if isinstance(stage.config, AdetailerConfig):
                made = [lambda: self._detailed(request, answer)]
            else:
                indices = range(payload.batch_size)
                made = [functools.partial(self._generated, request, payload, answer, index) for index in indices]
        return [functools.partial(self._in_context, payload, make) for make in made]

    def _in_context(self, payload: Payload, read: Callable[[], _T]) -> _T:
        """Return what *read* returns; its BadResponse ends with the request."""
        try:
            return read()
        except BadResponse as error:
            message = RequestInfo("POST", payload.path, self.base).message(error.message)
            raise BadResponse(message, hint=error.hint, retryable=error.retryable) from error

    def _upscaled(
        self, stage: StageExecution, request: RenderRequest, payload: ExtrasRequest, answer: Answer
    ) -> Output:
        data, header, warnings = read_picture(answer.take(0), asked=request.pixels)
        settings = {"upscaler": payload.upscaler_1, "width": header.width, "height": header.height}
        source = request.picture or b""
        warnings += (*other_size(_enlarged(request, payload), header), *_without_effect(payload, source, data))
        said = stage.config.model_dump() | {"upscaler": payload.upscaler_1}
        done = postprocess_settings(said, (header.width, header.height))
        data = with_postprocessing(data, _text_of(source), done)
        return Output(data, warnings=warnings, settings=settings)

    def _generated(
        self, request: RenderRequest, payload: Txt2ImgRequest | Img2ImgRequest, answer: Answer, index: int
    ) -> Output:
        data, header, odd = read_picture(answer.take(index), asked=request.pixels)
        actual = actual_settings(answer, index)
        warnings = self._judged(compare(payload, actual, self.catalog))
        warnings += _surplus(answer, index)
        asked = payload.result_size
        if request.mask is not None and isinstance(payload, Img2ImgRequest) and payload.inpaint_full_res:
            asked = request.source_size  # its width and height are those of the part that was redrawn
        return Output(
            with_text(data, actual.text),
            seed=actual.seed,
            warnings=(*odd, *warnings, *other_size(asked, header)),
            settings=settings_of(actual, header),
        )

    def _detailed(self, request: RenderRequest, answer: Answer) -> Output:
        """Return the detailed picture, or unchanged where nothing was found; only its pixels show that."""
        actual, source = actual_settings(answer, 0), request.picture or b""
        if not actual.detailed:
            raise BackendRejected(
                "the server's ADetailer dropped its settings silently.",
                hint="A setting is unknown to the version installed there; see its console.",
            )
        sent = answer.take(0)
        data, header, odd = read_picture(sent, asked=request.pixels)
        # sampler and size of the outer pass concern a picture that is discarded
        warnings = (*odd, *self._judged(compare_model(request.payload, actual, self.catalog)), *_surplus(answer, 0))
        if same_but_encoded(source, sent) if odd else same_pixels(source, data):
            return Output(b"", seed=actual.seed, unchanged=True, warnings=warnings)
        data = with_source_text(with_text(data, actual.text), source)
        settings = {
            "model": actual.model,
            "model_hash": actual.model_hash,
            "width": header.width,
            "height": header.height,
        }
        return Output(data, seed=actual.seed, warnings=warnings, settings=settings)

    def _judged(self, warnings: tuple[str, ...]) -> tuple[str, ...]:
        if warnings and self.strict:
            raise BackendRejected(f"{'; '.join(warnings)}.", hint="Name what the server has, or leave strict off.")
        return warnings


def _by_detailer(request: RenderRequest, payload: DetailRequest, answer: Answer) -> Output:
    """Return the picture of a server's own detailer, or unchanged where its pixels are the input's."""
    sent, source = answer.take(0), request.picture or b""
    data, header, odd = read_picture(sent)
    if same_but_encoded(source, sent) if odd else same_pixels(source, data):
        return Output(b"", unchanged=True, warnings=odd)
    settings = {"detector": payload.detailer_models[0], "width": header.width, "height": header.height}
    return Output(with_text(data, _text_of(source)), warnings=odd, settings=settings)


def _enlarged(request: RenderRequest, payload: ExtrasRequest) -> Size | None:
    """Return the size that was asked for."""
    if payload.upscaling_crop and payload.upscaling_resize_w and payload.upscaling_resize_h:
        return Size(payload.upscaling_resize_w, payload.upscaling_resize_h)
    return request.source_size.scaled(payload.upscaling_resize) if request.source_size else None


def _surplus(answer: Answer, index: int) -> tuple[str, ...]:
    """Return the warning about pictures that nobody asked for, once per answer."""
    count = answer.surplus
    if not count or index:
        return ()
    more = "1 more picture" if count == 1 else f"{count} more pictures"
    return (f"the server sent {more} than asked for, as scripts such as ControlNet do",)


_PLAIN = frozenset({"None", "Lanczos", "Nearest"})


def _without_effect(payload: ExtrasRequest, source: bytes, data: bytes) -> tuple[str, ...]:
    """Return a warning where the picture was only resized: a server lists models whose weights it does not have."""
    restoring = payload.gfpgan_visibility or payload.codeformer_visibility
    own = payload.upscaler_1 not in _PLAIN
    if not (own or (restoring and payload.upscaler_1 == "Lanczos")) or not is_plain_resize(source, data):
        return ()
    if own:
        name = payload.upscaler_1
        return (f"upscaler {name!r} changed nothing: the picture was only resized; are its weights there?",)
    return ("the face restorer changed nothing: no face was found, or its weights are not there",)


def _text_of(picture: bytes) -> str | None:
    """Return the infotext of a PNG; None where it has none, or for a picture of another format."""
    try:
        return png.read_text(picture).get("parameters")
    except BadImage:
        return None
