"""WebUIBackend: the port over a WebUI server's HTTP API.

Nothing server-wide is ever written: no POST to /options. A drawing is one request; disposing it interrupts the server
once, while our job is the running one.
"""

from __future__ import annotations

import functools
import threading
import uuid
from typing import TYPE_CHECKING

from reactivex import Observable
from reactivex.disposable import Disposable, SerialDisposable

from rxpipe.backends.base import Backend, Output, RenderEvent
from rxpipe.backends.http.address import Address
from rxpipe.backends.http.call import CallServices, InFlightCalls, RenderCall, RenderRequest, Timeouts, WorkerPool
from rxpipe.backends.http.connection import ConnectionPool
from rxpipe.backends.http.pictures import same_pixels, size_of, with_source_text
from rxpipe.backends.http.stopping import Interrupter
from rxpipe.backends.webui import payloads
from rxpipe.backends.webui.actual import actual_settings, compare, compare_model, other_size, settings_of
from rxpipe.backends.webui.answers import Answer, read_generation, read_picture, read_single
from rxpipe.backends.webui.checks import check_plan
from rxpipe.backends.webui.names import ServerCatalogs
from rxpipe.backends.webui.payloads import ExtrasRequest, Img2ImgRequest, Size, Txt2ImgRequest
from rxpipe.backends.webui.progress import ProgressClient
from rxpipe.config import AdetailerConfig, Img2ImgConfig, Txt2ImgConfig, UpscaleConfig
from rxpipe.errors import BackendRejected, BackendUnavailable, BadResponse
from rxpipe.rx.worker import WorkerScheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reactivex import abc

    from rxpipe.artifact import Artifact
    from rxpipe.backends.http.connection import Connection
    from rxpipe.plan import StageExecution, StageExecutionPlan

_LOOK_S = 0.05


class WebUIBackend(Backend):
    """Draws on an AUTOMATIC1111 or Forge server that was started with `--api`.

    Args:
        url: "http://127.0.0.1:7860"; may hold "user:password@" for `--api-auth`.
        auth: "user:password"; None looks at RXPIPE_BACKEND_AUTH.
        strict: True makes an error of every silent fallback (another sampler, scheduler or checkpoint than asked for);
            False makes a warning of it.
        previews: whether the picture so far is asked for while it is drawn.
        queue_ahead: further drawings of the same stage that may wait in the server's own queue, 0 or 1.
        poll_s: between two questions for progress, > 0.
        connect_timeout_s: until a connection stands.
        ask_timeout_s: for the answer to a small question.
        stalled_s: without a step until the phase is "stalled".
        silence_s: without any sign of life until a drawing is given up; None for never. An upscaler that counts no
            steps gives none, and waiting in the server's queue does.
        unknown_job_s: a drawing that the server knows nothing of is abandoned after so long.
        grace_s: after a cancel, until the connection is shut down.
        idle_timeout_s: longest wait for the server to be idle after a timeout.

    Raises:
        ConfigError: *url* or *auth* is not well-formed. No connection is made before the first use.
    """

    name = "webui"
    overlap_saves = True

    def __init__(
        self,
        url: str,
        *,
        auth: str | None = None,
        strict: bool = False,
        previews: bool = True,
        queue_ahead: int = 0,
        poll_s: float = 0.25,
        connect_timeout_s: float = 5.0,
        ask_timeout_s: float = 10.0,
        stalled_s: float = 30.0,
        silence_s: float | None = 1800.0,
        unknown_job_s: float = 60.0,
        grace_s: float = 0.5,
        idle_timeout_s: float = 120.0,
    ) -> None:
        self._address = Address.parse(url, auth=auth)
        self.description = f"WebUI at {self._address}"
        self.queue_ahead = queue_ahead
        self._strict = strict
        self._idle_timeout_s = idle_timeout_s
        self._catalogs = ServerCatalogs()
        self._leftovers = _BatchLeftovers()
        connections = ConnectionPool(self._address, connect_timeout_s=connect_timeout_s)
        progress_client = ProgressClient()
        self._services = CallServices(
            connections=connections,
            workers=WorkerPool(),
            polls=WorkerScheduler("rxpipe-webui-poll"),
            progress_client=progress_client,
            interrupter=Interrupter(connections, progress_client, grace_s=grace_s, idle_timeout_s=idle_timeout_s),
            in_flight=InFlightCalls(),
            timeouts=Timeouts(poll_s, ask_timeout_s, stalled_s, silence_s, unknown_job_s),
            previews=previews,
        )
        self._own_clock = WorkerScheduler("rxpipe-webui-emit")
        self._closed = False

    def __repr__(self) -> str:
        return f"WebUIBackend({self._address.base!r})"

    @property
    def url(self) -> str:
        """Where the server is, without credentials."""
        return self._address.base

    # -- the port -----------------------------------------------------------------------------------------------------

    def render(self, stage: StageExecution, source: Artifact | None) -> Observable[RenderEvent]:
        """One picture; see `Backend.render`. A stage of a kind that no server draws ends in BackendRejected."""

        def subscribe(
            observer: abc.ObserverBase[RenderEvent], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            if self._closed:
                observer.on_error(BackendRejected(f"{self!r} was closed.", hint="Open another one."))
                return Disposable()
            call = RenderCall(
                self._services,
                lambda: self._prepare(stage, source),
                lambda request, connection: self._post(stage, request, connection),
                observer,
                scheduler or self._own_clock,
            )
            call.start()
            return Disposable(call.stop)

        return Observable(subscribe)

    def check(self, plan: StageExecutionPlan) -> Sequence[str]:
        """Ask the server for every name in the plan.

        Raises:
            BackendUnavailable: nobody answers.
            BackendRejected: no API, credentials refused, or names that it does not have, each with the nearest match.
        """
        connection = self._services.connections.acquire()
        try:
            self._catalogs, warnings = check_plan(
                connection, self._services.progress_client, plan, timeout_s=self._services.timeouts.ask_s
            )
        finally:
            self._services.connections.release(connection)
        return warnings

    def wait_idle(self) -> Observable[None]:
        """Complete once no interrupted job is known to run or wait; BackendUnavailable after `idle_timeout_s`."""

        def subscribe(
            observer: abc.ObserverBase[None], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            return _IdleWait(
                self._services.interrupter, self._idle_timeout_s, observer, scheduler or self._own_clock
            ).start()

        return Observable(subscribe)

    def close(self) -> None:
        """Give back connections and threads; waits for an interrupt that is under way, at most about the grace."""
        self._closed = True
        self._services.interrupter.close()
        self._services.workers.close()
        self._services.polls.close()
        self._own_clock.close()
        self._services.connections.close()

    # -- on the call's thread -----------------------------------------------------------------------------------------

    def _prepare(self, stage: StageExecution, source: Artifact | None) -> RenderRequest | Output:
        """What to post for a stage, or the picture that an earlier batch brought."""
        label = f"{stage.stage_type} (stage {stage.stage_index + 1}, image {stage.image_index or 1})"
        if isinstance(stage.config, Txt2ImgConfig):
            return self._prepare_txt2img(stage, stage.config, label)
        if source is None:
            raise BackendRejected(f"{label}: there is no picture to work on.")
        picture = source.read()
        size = size_of(source, picture)
        payload = self._payload(stage, size)
        task = _new_task() if isinstance(payload, Img2ImgRequest) else None
        if task is not None:
            payload = payload.model_copy(update={"force_task_id": task})
        return RenderRequest(label, payload, picture, size, task)

    def _prepare_txt2img(self, stage: StageExecution, config: Txt2ImgConfig, label: str) -> RenderRequest | Output:
        count = _in_batch(config, stage.image_index or 1)
        payload = payloads.txt2img(stage, config, batch_size=count)
        if config.batch_size > 1 and (leftover := self._leftovers.take(payload)) is not None:
            return leftover
        task = _new_task()
        return RenderRequest(label, payload.model_copy(update={"force_task_id": task}), task=task)

    def _payload(self, stage: StageExecution, size: Size) -> Img2ImgRequest | ExtrasRequest:
        config = stage.config
        if isinstance(config, Img2ImgConfig):
            return payloads.img2img(stage, config, size)
        if isinstance(config, AdetailerConfig):
            return payloads.adetailer(stage, config, size, schema=self._catalogs.unit_schema)
        if isinstance(config, UpscaleConfig):
            payloads.guard_size(config, size)
            by_img2img = config.mode == "img2img"
            return payloads.upscale_by_img2img(stage, config, size) if by_img2img else payloads.upscale(config)
        raise BackendRejected(f"{stage.stage_type}: a WebUI draws txt2img, img2img, adetailer and upscale.")

    def _post(self, stage: StageExecution, request: RenderRequest, connection: Connection) -> Output:
        payload = request.payload
        response = connection.post(payload.path, payload.body(request.picture), timeout_s=None, what=request.label)
        try:
            pictures = self._pictures(stage, request, response.body)
            if isinstance(payload, Txt2ImgRequest):
                self._leftovers.keep(payload, pictures[1:])
            return pictures[0]()
        except BadResponse as error:
            raise self._with_context(request, error) from error

    def _with_context(self, request: RenderRequest, error: BadResponse) -> BadResponse:
        message = f"{request.label}: POST {request.payload.path} at {self.url}: {error.message}"
        return BadResponse(message, hint=error.hint)

    def _pictures(self, stage: StageExecution, request: RenderRequest, body: bytes) -> list[Callable[[], Output]]:
        """One function per picture of an answer, which decodes it when it is its turn."""
        payload = request.payload
        if isinstance(payload, ExtrasRequest):
            return [lambda: self._upscaled(request, payload, read_single(body))]
        answer = read_generation(body, expected=payload.batch_size)
        if isinstance(stage.config, AdetailerConfig):
            return [lambda: self._detailed(request, answer)]
        indices = range(payload.batch_size)
        return [functools.partial(self._generated, request, payload, answer, index) for index in indices]

    def _upscaled(self, request: RenderRequest, payload: ExtrasRequest, answer: Answer) -> Output:
        data, header, warnings = read_picture(answer.pictures[0])
        asked = request.source_size.scaled(payload.upscaling_resize) if request.source_size else None
        settings = {"upscaler": payload.upscaler_1, "width": header.width, "height": header.height}
        return Output(data, warnings=(*warnings, *other_size(asked, header)), settings=settings)

    def _generated(
        self, request: RenderRequest, payload: Txt2ImgRequest | Img2ImgRequest, answer: Answer, index: int
    ) -> Output:
        data, header, odd = read_picture(answer.pictures[index])
        actual = actual_settings(answer, index)
        warnings = self._judged(request, compare(payload, actual, self._catalogs))
        asked = None if isinstance(payload, Txt2ImgRequest) and payload.enable_hr else payload.size
        return Output(
            data,
            seed=actual.seed,
            warnings=(*odd, *warnings, *other_size(asked, header)),
            settings=settings_of(actual, header),
        )

    def _detailed(self, request: RenderRequest, answer: Answer) -> Output:
        """The detailed picture, or unchanged where nothing was found; only its pixels can tell."""
        actual, source = actual_settings(answer, 0), request.picture or b""
        if not actual.detailed:
            raise BackendRejected(
                f"{request.label}: the server's ADetailer dropped its settings without a word.",
                hint="A setting is unknown to the version installed there; see its console.",
            )
        data, header, odd = read_picture(answer.pictures[0])
        # what the outer pass says of sampler and size concerns a picture that is thrown away
        warnings = (*odd, *self._judged(request, compare_model(request.payload, actual, self._catalogs)))
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

    def _judged(self, request: RenderRequest, warnings: tuple[str, ...]) -> tuple[str, ...]:
        if warnings and self._strict:
            raise BackendRejected(
                f"{request.label}: {'; '.join(warnings)}.", hint="Name what the server has, or leave strict off."
            )
        return warnings


class _BatchLeftovers:
    """Pictures that a batch brought beyond the one asked for, until their images' turn comes."""

    def __init__(self) -> None:
        self._pictures: dict[tuple[str, int], Callable[[], Output]] = {}
        self._lock = threading.Lock()

    def take(self, payload: Txt2ImgRequest) -> Output | None:
        """The picture for a request's first seed, if an earlier batch brought it."""
        with self._lock:
            picture = self._pictures.pop(_key(payload, 0), None)
        return None if picture is None else picture()

    def keep(self, payload: Txt2ImgRequest, further: Sequence[Callable[[], Output]]) -> None:
        """Hold what comes behind a batch's first picture; what an earlier batch left is dropped."""
        with self._lock:
            self._pictures = {_key(payload, index): picture for index, picture in enumerate(further, start=1)}


def _key(payload: Txt2ImgRequest, index: int) -> tuple[str, int]:
    return payload.model_dump_json(exclude={"seed", "force_task_id", "batch_size"}), payload.seed + index


def _in_batch(config: Txt2ImgConfig, image_index: int) -> int:
    """How many pictures one request brings from this image on: those left of its batch."""
    end = min(config.images, -(-image_index // config.batch_size) * config.batch_size)
    return max(1, end - image_index + 1)


def _new_task() -> str:
    return f"task(rxpipe-{uuid.uuid4().hex[:12]})"


class _IdleWait:
    """Looks again and again, on its subscriber's time, whether all stopped jobs are gone."""

    def __init__(
        self, interrupter: Interrupter, limit_s: float, observer: abc.ObserverBase[None], clock: abc.SchedulerBase
    ) -> None:
        self._interrupter = interrupter
        self._limit_s = limit_s
        self._observer = observer
        self._clock = clock
        self._begin_s = self._now_s
        self._next = SerialDisposable()

    @property
    def _now_s(self) -> float:
        return self._clock.to_seconds(self._clock.now)

    def start(self) -> abc.DisposableBase:
        """Look for the first time."""
        self._next.disposable = self._clock.schedule(self._look)
        return self._next

    def _look(self, *_: object) -> None:
        if self._interrupter.pending and self._now_s - self._begin_s < self._limit_s:
            self._next.disposable = self._clock.schedule_relative(_LOOK_S, self._look)
        elif self._interrupter.pending or self._interrupter.abandoned:
            self._interrupter.reset_abandoned()
            self._observer.on_error(
                BackendUnavailable(
                    f"the server was not seen idle within {self._limit_s:g} s after an interrupt.",
                    hint="Nothing was sent again, so that it does not pile up there; see the server's console.",
                )
            )
        else:
            self._observer.on_completed()
