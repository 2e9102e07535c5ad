"""One image on a WebUI: the hooks of its call."""

from __future__ import annotations

import functools
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from rxpipe.backends.http.call import Ready, RenderJob
from rxpipe.backends.http.stopping import TOO_OFTEN
from rxpipe.backends.webui.answers import drew_nothing
from rxpipe.backends.webui.failing import DRAWN_IN_VAIN, failed_drawing
from rxpipe.backends.webui.in_flight import InFlightRequest
from rxpipe.backends.webui.outputs import request_for
from rxpipe.backends.webui.payloads import SingleRequest, Txt2ImgRequest
from rxpipe.backends.webui.progress import JobTracker, ProgressSnapshot, ServerSnapshot
from rxpipe.config import Txt2ImgConfig
from rxpipe.errors import BackendError, BackendFailed, BackendInterrupted, BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxpipe.artifact import Artifact
    from rxpipe.backends.base import Output, StepProgress
    from rxpipe.backends.http.batches import BatchMember, Turn
    from rxpipe.backends.http.connection import Connection, Response
    from rxpipe.backends.http.limits import AnswerLimit
    from rxpipe.backends.webui.in_flight import WebUIServices
    from rxpipe.backends.webui.outputs import OutputReader, RenderRequest
    from rxpipe.plan import StageExecution

_WAKE_S = 0.05  # after a dispose until the images that waited continue: a cancel disposes them too


class WebUIJob(RenderJob[ProgressSnapshot]):
    """One image of one stage.

    Args:
        services: of the backend.
        reader: makes pictures of the answer.
        stage: for one image.
        source: the picture to work on, None for txt2img.
    """

    def __init__(
        self, services: WebUIServices, reader: OutputReader, stage: StageExecution, source: Artifact | None
    ) -> None:
        self._services = services
        self._reader = reader
        self._stage = stage
        self._source = source
        self._request: RenderRequest
        self._member: BatchMember | None = None
        self._task: str | None = None
        self._baseline: ServerSnapshot | None = None
        self._sent: InFlightRequest | None = None
        self._stopped = False
        self._warnings: tuple[str, ...] = ()  # about what was found before the request

    # -- on the call's thread -----------------------------------------------------------------------------------------

    def prepare(self, resume: Callable[[Ready], None]) -> Ready | None:
        """Make the request; wait where another image's request brings this picture."""
        self._reader = replace(self._reader, catalog=self._services.names.for_stage(self._stage))
        self._services.progress_client.least_s = self._reader.catalog.flavour.poll_s
        self._request = request_for(self._stage, self._source, self._reader.catalog)
        self.path = self._request.payload.path
        config = self._stage.config
        if not isinstance(config, Txt2ImgConfig) or config.batch_size == 1:
            return Ready()
        images = batch_of(config, self._index)
        self._member = self._services.batches.join(
            self._batch_key(images), images, self._index, lambda turn: resume(self._ready(turn))
        )
        if self._stopped:
            self._member.leave()
            return None
        turn = self._member.take_turn()
        return None if turn is None else self._ready(turn)

    def before_send(self, connection: Connection) -> None:
        """Choose an id for the job where the server reports progress by it, else read what runs before it."""
        payload = self._request.payload
        if not isinstance(payload, SingleRequest):
            if not self._reader.catalog.flavour.restores_options:
                self._warnings = self._services.options.before_request(connection, payload.override_settings)
            task = f"task(rxpipe-{uuid.uuid4().hex[:12]})"
            self._request = self._request.with_task(task)
            self._task = task if self._reports_tasks(connection) else None
        if self._task is None and self._services.in_flight.latest is None:  # else what runs before it is known
            self._baseline = self._read_baseline(connection)

    def _reports_tasks(self, connection: Connection) -> bool:
        try:
            return self._services.progress_client.probe(connection, timeout_s=self._ask_s)
        except BackendError:
            return False  # the request itself raises what is wrong

    def _read_baseline(self, connection: Connection) -> ServerSnapshot | None:
        """Return the progress before ours, so that another client's job and leftovers are recognised."""
        try:
            return self._services.progress_client.read_server(connection, timeout_s=self._ask_s, fresh=True)
        except BackendError:
            return None  # the request itself raises what is wrong

    def begin(self, connection: Connection) -> None:
        """Note that the request follows."""
        tracker = JobTracker(
            self._request.payload,
            stalled_s=self._services.calls.timeouts.stalled_s,
            baseline=self._baseline,
            phases=self._reader.catalog.flavour.phases,
        )
        before = self._services.in_flight.add(tracker)
        tracker.queued_behind = before if self._task is None else None
        self._sent = InFlightRequest(connection, tracker, self._task, self._services)

    def send(self, connection: Connection) -> Output:
        """Post the request; return this image's picture and hand over those of others."""
        payload, sent = self._request.payload, self._in_flight
        body = self._request.body()
        limit = self._request.limit(len(body), self._services.calls.timeouts.answer_s)
        try:
            response = self._post(connection, body, limit)
            self._services.interrupter.note_rendered(response.elapsed_s)
        finally:
            sent.note_answered()
            warnings = (*self._warnings, *self._services.settle_options(connection))
        if not self._stopped and self._cut_off(connection):
            if self._stage.config.on_interrupted == "retry":
                raise BackendInterrupted("another client interrupted the job.")
            warnings += ("another client interrupted the job: the picture is unfinished",)
        log = self._reader.catalog.flavour.log
        if log and drew_nothing(response.content):
            raise failed_drawing(connection, payload.path, log, timeout_s=self._ask_s)
        made = self._reader.pictures(self._stage, self._request, response.content)
        pictures = [functools.partial(_warned, picture, warnings) for picture in made]
        picture = pictures[0] if self._member is None else self._member.deliver(pictures)
        del body, response, made, pictures  # megabytes each, while the picture is made
        return picture()

    def _post(self, connection: Connection, body: bytes, limit: AnswerLimit) -> Response:
        """Return the answer to the request.

        Raises:
            BackendError: as in `send`; BackendFailed for a drawing that the server made and refused to hand over.
        """
        try:
            return connection.post(self.path, body, timeout_s=None, limit=limit)
        except BackendUnavailable as error:
            if not self._reader.catalog.flavour.limits or TOO_OFTEN not in error.message:
                raise
            raise BackendFailed(error.message, hint=DRAWN_IN_VAIN) from error

    def _cut_off(self, connection: Connection) -> bool:
        """Whether another client ended the job early; the answer does not say so.

        The server's flags do until the next job begins, and the steps that were seen do afterwards, or while another
        job of ours is in flight: the flags are that one's.
        """
        if self._services.in_flight.latest is not None:
            return self._in_flight.tracker.fell_short(time.monotonic())
        try:
            progress = self._services.progress_client
            state = progress.read_server(connection, timeout_s=self._ask_s, fresh=True).state
        except BackendError:
            return False
        if state.job_count == 0:
            return state.interrupted or state.skipped
        return self._in_flight.tracker.fell_short(time.monotonic())

    # -- progress -----------------------------------------------------------------------------------------------------

    @property
    def connection(self) -> Connection | None:
        """The connection while the job is in flight."""
        sent = self._sent
        return None if sent is None or sent.answered.is_set() else sent.connection

    def poll(self, connection: Connection) -> ProgressSnapshot | None:
        """Read how far the job is."""
        sent = self._in_flight
        return sent.read(connection, self._ask_s, preview=self._services.previews, last_preview=sent.tracker.preview_id)

    def observe(self, reading: ProgressSnapshot, now_s: float) -> tuple[StepProgress, bytes | None]:
        """Return the progress after a reading, and a preview where a new one came."""
        return self._in_flight.tracker.observe(reading, now_s)

    def is_unknown(self, reading: ProgressSnapshot) -> bool:
        """Whether no job runs, so that ours is not there."""
        return self._in_flight.tracker.owner_of(reading) == "none"

    def note_activity(self, now_s: float) -> None:
        """Note that bytes of the answer came."""
        self._in_flight.tracker.note_activity(now_s)

    def silent_s(self, now_s: float) -> float:
        """Return the seconds since anything moved on the server."""
        return self._in_flight.tracker.silent_s(now_s)

    # -- stopping -----------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Interrupt the job if it is in flight; images that waited for its answer continue shortly afterwards."""
        self._stopped = True
        sent, member = self._sent, self._member
        if sent is not None and not sent.answered.is_set():
            self._services.interrupter.start(sent)
        if member is not None:
            member.leave(wake=False)
            self._services.calls.polls.schedule_relative(_WAKE_S, lambda *_: member.wake_others())

    def withdraw(self) -> None:
        """Leave the batch; images that waited for the answer send their own request."""
        if self._member is not None:
            self._member.leave()

    # -- its batch ----------------------------------------------------------------------------------------------------

    @property
    def _index(self) -> int:
        return self._stage.image_index or 1

    @property
    def _ask_s(self) -> float:
        return self._services.calls.timeouts.ask_s

    @property
    def _in_flight(self) -> InFlightRequest:
        if self._sent is None:
            raise RuntimeError("the request was not sent")  # the call asks only for a job in flight
        return self._sent

    def _batch_key(self, images: range) -> tuple[str, int | None, range]:
        """All that makes a batch: what is asked for, the seed that its images count from, and its images."""
        settings = self._request.payload.model_dump_json(exclude={"seed", "force_task_id", "batch_size"})
        return settings, None if self._stage.seed is None else self._stage.seed - self._index, images

    def _ready(self, turn: Turn) -> Ready:
        """Return the next thing to do; a range of images becomes the request for them."""
        if not isinstance(turn, range):
            return Ready(turn)
        payload = self._request.payload
        if isinstance(payload, Txt2ImgRequest):
            seed = -1 if self._stage.seed is None else self._stage.seed - self._index + turn.start
            payload = payload.model_copy(update={"seed": seed, "batch_size": len(turn)})
            self._request = type(self._request)(payload)
        return Ready()


def _warned(picture: Callable[[], Output], warnings: tuple[str, ...]) -> Output:
    """Return a picture with warnings about the request that it came with."""
    output = picture()
    return replace(output, warnings=(*output.warnings, *warnings)) if warnings else output


def batch_of(config: Txt2ImgConfig, index: int) -> range:
    """Return the indices of the batch that an image belongs to."""
    first = index - (index - 1) % config.batch_size
    return range(first, max(index, min(config.images, first + config.batch_size - 1)) + 1)
