"""From a stage to its request, and from the answer to the stage's pictures."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from rxpipe.backends.base import Output
from rxpipe.backends.http.failures import RequestInfo
from rxpipe.backends.http.limits import AnswerLimit
from rxpipe.backends.http.pictures import other_size, same_pixels, size_of
from rxpipe.backends.sizes import Size, upscaled
from rxpipe.backends.webui import payloads
from rxpipe.backends.webui.actual import actual_settings, compare, compare_model, settings_of, with_source_text
from rxpipe.backends.webui.answers import Answer, read_generation, read_picture, read_single
from rxpipe.backends.webui.payloads import ExtrasRequest, Img2ImgRequest, Txt2ImgRequest
from rxpipe.config import AdetailerConfig, Img2ImgConfig, Txt2ImgConfig, UpscaleConfig
from rxpipe.errors import BackendRejected, BadResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxpipe.artifact import Artifact
    from rxpipe.backends.webui.names import WebUICatalog
    from rxpipe.plan import StageExecution

_T = TypeVar("_T")
_DEFAULT_HR_SCALE = 2.0  # the server's
Payload = Txt2ImgRequest | Img2ImgRequest | ExtrasRequest


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """One request as it is posted. source_size: of the input picture, None for txt2img."""

    payload: Payload
    picture: bytes | None = field(default=None, repr=False)
    source_size: Size | None = None

    @property
    def pictures(self) -> int:
        """How many pictures it asks for."""
        return 1 if isinstance(self.payload, ExtrasRequest) else self.payload.batch_size

    @property
    def pixels(self) -> int:
        """How many pixels each of them has, at most."""
        payload, source = self.payload, self.source_size or Size(0, 0)
        if isinstance(payload, ExtrasRequest):
            size = source.scaled(payload.upscaling_resize)
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
        if isinstance(payload, ExtrasRequest):
            return self
        return RenderRequest(payload.model_copy(update={"force_task_id": task}), self.picture, self.source_size)


def request_for(stage: StageExecution, source: Artifact | None, catalog: WebUICatalog) -> RenderRequest:
    """Return the request for one image of a stage.

    Raises:
        BackendRejected: a WebUI has no such stage, or there is no picture to work on.
        BackendFailed: the result would be too large.
    """
    config = stage.config
    if isinstance(config, Txt2ImgConfig):
        return RenderRequest(payloads.txt2img(stage, config))
    if source is None:
        raise BackendRejected("there is no picture to work on.")
    picture = source.read()
    size = size_of(source, picture)
    return RenderRequest(_payload_over(stage, size, catalog), picture, size)


def _payload_over(stage: StageExecution, size: Size, catalog: WebUICatalog) -> Img2ImgRequest | ExtrasRequest:
    config = stage.config
    if isinstance(config, Img2ImgConfig):
        return payloads.img2img(stage, config, size)
    if isinstance(config, AdetailerConfig):
        return payloads.adetailer(stage, config, size, schema=catalog.unit_schema)
    if isinstance(config, UpscaleConfig):
        upscaled(config, size)
        by_img2img = config.mode == "img2img"
        return payloads.upscale_by_img2img(stage, config, size) if by_img2img else payloads.upscale(config)
    raise BackendRejected(f"a WebUI renders txt2img, img2img, adetailer and upscale, not {stage.stage_type}.")


@dataclass(frozen=True, slots=True)
class OutputReader:
    """Makes Outputs of answers. base: the server's address. strict: a silent fallback is an error, not a warning."""

    base: str
    catalog: WebUICatalog
    strict: bool = False

    def pictures(self, stage: StageExecution, request: RenderRequest, body: bytes) -> list[Callable[[], Output]]:
        """Return one function per picture of an answer, which decodes it.

        Raises:
            BadResponse: the answer is not what was asked for; the functions raise it for their picture.
        """
        payload = request.payload
        if isinstance(payload, ExtrasRequest):
            single = self._in_context(payload, lambda: read_single(body))
            made = [lambda: self._upscaled(request, payload, single)]
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

    def _upscaled(self, request: RenderRequest, payload: ExtrasRequest, answer: Answer) -> Output:
        data, header, warnings = read_picture(answer.pictures[0], asked=request.pixels)
        asked = request.source_size.scaled(payload.upscaling_resize) if request.source_size else None
        settings = {"upscaler": payload.upscaler_1, "width": header.width, "height": header.height}
        return Output(data, warnings=(*warnings, *other_size(asked, header)), settings=settings)

    def _generated(
        self, request: RenderRequest, payload: Txt2ImgRequest | Img2ImgRequest, answer: Answer, index: int
    ) -> Output:
        data, header, odd = read_picture(answer.pictures[index], asked=request.pixels)
        actual = actual_settings(answer, index)
        warnings = self._judged(compare(payload, actual, self.catalog))
        asked = None if isinstance(payload, Txt2ImgRequest) and payload.enable_hr else payload.size
        return Output(
            data,
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
        data, header, odd = read_picture(answer.pictures[0], asked=request.pixels)
        # sampler and size of the outer pass concern a picture that is discarded
        warnings = (*odd, *self._judged(compare_model(request.payload, actual, self.catalog)))
        if same_pixels(source, data):
            return Output(b"", seed=actual.seed, unchanged=True, warnings=warnings)
        data = with_source_text(data, source)
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
