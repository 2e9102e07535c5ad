"""One image on a ComfyUI server: the hooks of its call, from the graph to the picture."""

from __future__ import annotations

import copy
import threading
import time
import uuid
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rxpipe.backends.base import Output
from rxpipe.backends.comfyui.api import (
    PROMPT,
    PostedJob,
    delete_history,
    find_job,
    history_of,
    place_of,
    post_job,
    read_queue,
    upload,
    view,
)
from rxpipe.backends.comfyui.failures import failed_node
from rxpipe.backends.comfyui.graphs import graph_of
from rxpipe.backends.comfyui.inputs import inputs_of
from rxpipe.backends.comfyui.outputs import (
    ending_of,
    images_of,
    other_output,
    output_of,
    shows_nothing,
)
from rxpipe.backends.comfyui.progress import JobState, JobTracker
from rxpipe.backends.comfyui.sent import SentJob
from rxpipe.backends.http.backend import HTTPServices
from rxpipe.backends.http.call import Ready, RenderJob
from rxpipe.backends.http.limits import AnswerLimit, most_pixels
from rxpipe.errors import (
    BackendError,
    BackendFailed,
    BackendInterrupted,
    BackendTimeout,
    BackendUnavailable,
    BadResponse,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from rxpipe.artifact import Artifact
    from rxpipe.backends.base import StepProgress
    from rxpipe.backends.comfyui.api import Place
    from rxpipe.backends.comfyui.graph import Graph
    from rxpipe.backends.comfyui.inputs import Inputs
    from rxpipe.backends.comfyui.knowledge import Knowledge, Known
    from rxpipe.backends.comfyui.listener import Listener
    from rxpipe.backends.comfyui.ours import OurJobs
    from rxpipe.backends.http.connection import Connection
    from rxpipe.plan import StageExecution

_UNHEARD_S = 2.0  # without an event until the server is asked
_ASK_EVERY_S = 1.0
_LOST_TWICE = 2
_HISTORY_TRIES, _HISTORY_S = 20, 0.25
_ANY_PIXELS = 4096 * 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ComfyServices(HTTPServices):
    """What all jobs of a backend share."""

    knowledge: Knowledge
    listener: Listener
    ours: OurJobs
    base: str

    def close_own(self) -> None:
        """Close the websocket."""
        self.listener.close()


class ComfyJob(RenderJob[JobState]):
    """One image of one stage.

    Args:
        services: of the backend.
        stage: for one image.
        source: the picture to work on, None for txt2img.
    """

    path = PROMPT

    def __init__(self, services: ComfyServices, stage: StageExecution, source: Artifact | None) -> None:
        self._services = services
        self._stage = stage
        self._source = source
        self._known: Known
        self._inputs: Inputs
        self._graph: Graph
        self._tracker: JobTracker
        self._sent: SentJob | None = None
        self._in_flight: Connection | None = None
        self._notify: Callable[[], None] = lambda: None
        self._asked_s = 0.0
        self._unknown = self._refused = 0
        self._losses = 0
        self._stopped = threading.Event()

    # -- on the call's thread -----------------------------------------------------------------------------------------

    def listen(self, notify: Callable[[], None]) -> None:
        """Call *notify* whenever something is heard of the job."""
        self._notify = notify

    def prepare(self, resume: Callable[[Ready], None]) -> Ready | None:
        """Make the picture and its masks ready; nothing is asked for where there is nothing to redraw."""
        del resume
        with self._services.calls.connections.borrowed() as connection:
            self._known = self._services.knowledge.get(connection)
        self._inputs = inputs_of(self._stage, self._source, self._known.catalog)
        if self._inputs.unchanged:
            return Ready(lambda: Output(b"", unchanged=True, warnings=self._inputs.warnings))
        self._graph = graph_of(self._stage, self._inputs.source, self._known.catalog)
        return Ready()

    def before_send(self, connection: Connection) -> None:
        """Check the graph, connect the websocket and upload what the graph works on."""
        self._services.knowledge.check_graph(connection, self._graph.nodes)
        self._services.listener.open()
        names = {
            name: upload(
                connection,
                name.rpartition("/")[2].partition(" [")[0],
                data,
                timeout_s=self._services.calls.timeouts.answer_s,
            )
            for name, data in self._inputs.files.items()
        }
        self._graph = self._graph.renamed(names)

    def begin(self, connection: Connection) -> None:
        """Note that the job follows; what is heard of it from now on is kept."""
        self._new_job(connection)
        self._in_flight = connection  # from now on it is asked about

    def _new_job(self, connection: Connection) -> None:
        services = self._services
        self._tracker = JobTracker(self._graph, stalled_s=services.calls.timeouts.stalled_s)
        self._tracker.notify = self._notify
        mark = str(uuid.uuid4())
        self._unknown, self._losses = 0, services.listener.losses
        services.listener.follow(mark, self._tracker)
        self._sent = SentJob(
            self._known.server, self._tracker, connection, services.ours, mark=mark, forget=services.listener.forget
        )
        if self._stopped.is_set():
            self._tracker.stop()

    def send(self, connection: Connection) -> Output:
        """Post the job, wait for its end, and return its picture."""
        try:
            try:
                return self._rendered(connection)
            except (_FilesGone, _HitByOurs) as why:
                self._job.end()
                if isinstance(why, _FilesGone):
                    self._graph = _varied(self._graph)  # the result was cached and its files are not there any more
                self._new_job(connection)
                return self._rendered(connection)
        except _FilesGone as gone:
            raise BadResponse(
                f"the files of the result are not on the server (GET /view at {self._services.base})."
            ) from gone
        except _HitByOurs:
            raise BackendInterrupted("an interrupt for another job of ours stopped it, twice.") from None
        finally:
            sent, self._in_flight = self._sent, None
            if sent is not None:
                sent.note_calls_over()
                if not sent.stopping:  # else it is followed until it has ended
                    sent.end()

    def _rendered(self, connection: Connection) -> Output:
        sent, tracker = self._job, self._tracker
        if self._stopped.is_set():  # perhaps before there was this job to be stopped
            tracker.finish()
            raise BackendInterrupted("stopped on our side.")
        self._post(connection, sent)
        tracker.over.wait()
        if self._stopped.is_set():
            raise BackendInterrupted("stopped on our side.")
        if tracker.failure is not None:
            raise tracker.failure
        history = self._history(connection, sent.job)
        try:
            return self._picture(connection, history)
        finally:
            self._clear(connection, sent.job)

    def _post(self, connection: Connection, sent: SentJob) -> None:
        """Put the job into the queue; after a lost answer it is looked for and never posted blindly again."""
        services = self._services
        posted = PostedJob(self._graph.nodes, sent.job, services.listener.client_id, services.previews)
        before = connection.sent
        try:
            with self._turn_to_post():
                job, refused = post_job(connection, posted, timeout_s=self._ask_s)
        except (BackendTimeout, BackendUnavailable) as error:
            if connection.sent == before:  # it never left
                self._tracker.finish()
                raise
            found = self._found(sent, posted.mark)
            if found is None:
                raise error from None
            job, refused = found, None
        if job != sent.job:
            services.listener.forget(sent.job)
            services.listener.follow(job, self._tracker)
        sent.note_posted(job, seen=True)
        if refused is not None:
            self._stop_sent(sent)
            raise refused

    def _turn_to_post(self) -> AbstractContextManager[bool]:
        """Keep the post out of a stop whose interrupt names no job: it could hit what is posted."""
        if self._known.server.interrupts_one:
            return nullcontext(enter_result=True)
        return self._services.ours.turn()

    def _found(self, sent: SentJob, mark: str) -> str | None:
        """Return the job whose answer was lost; one that is not there now is stopped should it still come."""
        try:
            with self._services.calls.connections.borrowed() as connection:
                found = find_job(connection, mark, timeout_s=self._ask_s)
        except BackendError:
            found = None
        if found is None and self._known.server.takes_own_id:
            sent.note_posted(mark, seen=False)
            self._stop_sent(sent)
        return found

    def _history(self, connection: Connection, job: str) -> Mapping[str, object]:
        """Return what the server keeps of the job; it may be written a moment after the last event."""
        for _ in range(_HISTORY_TRIES):
            history = history_of(connection, job, timeout_s=self._ask_s)
            if history is not None:
                return history
            if self._tracker.error is not None or self._tracker.interrupted:
                return {}
            self._stopped.wait(_HISTORY_S)
        raise BadResponse(
            f"the job has ended, and the server keeps nothing of it (GET /history at {self._services.base})."
        )

    def _clear(self, connection: Connection, job: str) -> None:
        try:
            delete_history(connection, job, timeout_s=self._ask_s)
        except BackendError:
            return  # it is only kept longer

    def _picture(self, connection: Connection, history: Mapping[str, object]) -> Output:
        how, data = ending_of(history)
        if how == "execution_error" or self._tracker.error is not None:
            raise failed_node(data or self._tracker.error or {}, self._graph.nodes, self._services.base)
        if how == "execution_interrupted" or self._tracker.interrupted:
            if self._job.exposed:
                raise _HitByOurs
            raise self._interrupted("another client interrupted the job")
        if self._graph.found and self._found_nothing(connection, history):
            return Output(b"", unchanged=True, warnings=(*self._inputs.warnings, *self._graph.warnings))
        images = images_of(history, self._graph.output)
        if not images:
            kind = other_output(history, self._graph.output)
            made = f"it made {kind}" if kind else "it made none"
            raise BadResponse(
                f"the job ended without a picture: {made} (node {self._graph.output} at {self._services.base})."
            )
        output = output_of(
            self._stage, self._known.catalog, self._graph, self._inputs, self._viewed(connection, images[0])
        )
        if len(images) > 1:
            output = replace(
                output, warnings=(*output.warnings, f"{len(images) - 1} more pictures came and are left out")
            )
        return output

    def _found_nothing(self, connection: Connection, history: Mapping[str, object]) -> bool:
        """Whether every unit detected on the server, and none found anything."""
        source = self._inputs.source
        if source is None or any(regions for regions in source.regions):
            return False
        shown = [image for node in self._graph.found for image in images_of(history, node)[:1]]
        return bool(shown) and all(shows_nothing(self._viewed(connection, image)) for image in shown)

    def _viewed(self, connection: Connection, image: Mapping[str, object]) -> bytes:
        source = self._inputs.source
        pixels = most_pixels(_ANY_PIXELS if source is None else source.size.width * source.size.height)
        timeouts = self._services.calls.timeouts
        limit = AnswerLimit.of_pictures(1, pixels, body_s=timeouts.answer_s)
        data = view(connection, image, limit=limit, timeout_s=timeouts.ask_s)
        if data is None:
            raise _FilesGone
        return data

    def _interrupted(self, what: str) -> BackendError:
        if self._stage.config.on_interrupted == "retry":
            return BackendInterrupted(f"{what}.")
        return BackendFailed(
            f"{what}, and ComfyUI gives no unfinished picture.", hint='on_interrupted = "retry" renders it again.'
        )

    # -- progress -----------------------------------------------------------------------------------------------------

    @property
    def connection(self) -> Connection | None:
        """The connection while the job is in flight."""
        return self._in_flight

    def latest(self) -> JobState | None:
        """Return what was heard last."""
        return None if self._in_flight is None else self._tracker.state()

    def poll(self, connection: Connection) -> JobState | None:
        """Return what is known; ask the server where nothing was heard for long. Nothing is taken from silence."""
        sent = self._job
        tracker = sent.tracker
        deaf = not self._services.listener.connected or self._services.listener.losses != self._losses
        now_s = time.monotonic()
        if tracker.over.is_set() or (tracker.unheard_s < _UNHEARD_S and not deaf):
            return tracker.state()
        if now_s - self._asked_s >= (_ASK_EVERY_S if not deaf else 0.0) and sent.posted:
            self._asked_s = now_s
            self._ask(connection, sent, tracker)
        return tracker.state()

    def _ask(self, connection: Connection, sent: SentJob, tracker: JobTracker) -> None:
        try:
            place = place_of(connection, self._known.server, sent.job, timeout_s=self._ask_s)
        except BackendUnavailable as error:
            self._refused += error.scope == "run"  # nothing listens any more: the queue is gone with the server
            if self._refused >= _LOST_TWICE:
                self._services.knowledge.forget()
                tracker.fail(error)
            raise
        self._refused = 0
        self._unknown = self._unknown + 1 if place == "unknown" else 0
        ahead = None
        if place == "waiting":
            queue = read_queue(connection, self._services.ours.ids, timeout_s=self._ask_s)
            ahead = queue.ahead(sent.job)
            if queue.strangers:
                self._services.ours.note_strangers()
        self._note(place, tracker, ahead)

    def _note(self, place: Place, tracker: JobTracker, ahead: int | None) -> None:
        if place == "done":
            tracker.finish()
        elif place == "running":
            tracker.note_running()
        elif place == "waiting":
            tracker.note_waiting(ahead)
        elif self._unknown >= _LOST_TWICE:
            tracker.fail(self._lost())

    def _lost(self) -> BackendError:
        if self._services.listener.losses != self._losses:
            self._services.knowledge.forget()
            return BackendUnavailable(
                "the server has lost the job: it was restarted.", hint="See its console.", scope="image"
            )
        return self._interrupted("another client took the job out of the server's queue")

    def observe(self, reading: JobState, now_s: float) -> tuple[StepProgress, bytes | None]:
        """Return the progress after a reading, and a preview where a new one came."""
        return self._tracker.observe(reading, now_s)

    def is_unknown(self, reading: JobState) -> bool:
        """Whether the server does not know the job: `poll` decides that by itself."""
        del reading
        return False

    def note_activity(self, now_s: float) -> None:
        """Note that bytes of an answer came."""
        self._tracker.note_activity(now_s)

    def silent_s(self, now_s: float) -> float:
        """Return the seconds since the last sign of life."""
        return self._tracker.silent_s(now_s)

    # -- stopping -----------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop the job if it is in flight."""
        self._stopped.set()
        sent = self._sent
        if sent is not None and self._in_flight is not None:
            self._tracker.stop()
            self._stop_sent(sent)

    def _stop_sent(self, sent: SentJob) -> None:
        if sent.note_stopping():
            self._services.interrupter.start(sent)

    @property
    def _ask_s(self) -> float:
        return self._services.calls.timeouts.ask_s

    @property
    def _job(self) -> SentJob:
        if self._sent is None:
            raise RuntimeError("the job was not posted")  # the call asks only for a job in flight
        return self._sent


class _FilesGone(Exception):
    """The files of a result are not on the server."""


class _HitByOurs(Exception):
    """An interrupt for another job of ours came when this one ran already."""


def _varied(graph: Graph) -> Graph:
    """Return the graph with an output node that no cache holds; everything before it is the same."""
    nodes = copy.deepcopy(graph.nodes)
    for node in (graph.output, *graph.found):
        nodes[node]["inputs"]["rxpipe"] = uuid.uuid4().hex
    return replace(graph, nodes=nodes)
