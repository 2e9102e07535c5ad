"""How far our job is, and whose job it is that runs: two kinds of snapshot, one tracker per request.

A server with a page reports progress per task, by `force_task_id`. Without one, and for upscaling, there is only the
global progress of whichever job runs: our job is then recognised by its kind, its number of steps and its start.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rxpipe.backends.base import StepProgress
from rxpipe.backends.http.failures import check_values, hint_for, shown
from rxpipe.backends.http.pace import Pace
from rxpipe.backends.webui import base64s
from rxpipe.backends.webui.payloads import Request, SingleRequest, Txt2ImgRequest, sampled_steps
from rxpipe.errors import BackendRejected, BadResponse

if TYPE_CHECKING:
    from rxpipe.backends.http.connection import Connection

JobOwner = Literal["ours", "waiting", "none", "other"]
"""Whose job runs: ours; another while ours waits; none; or another one, and where ours is, is not known."""

_OWN_ID = b'"force_task_id"'
_START = 0.01  # what the global progress shows before the first step
_OVER = 0.99
_LONGEST_GAP_S = 2.0
_FAR_BELOW = 0.6  # the pace is a guess, and a full job must not be called cut off


class _Snapshot(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class TaskSnapshot(_Snapshot):
    """POST /internal/progress for one task. progress: 0..1, None unless active."""

    active: bool
    queued: bool = False
    completed: bool = False
    progress: float | None = None
    live_preview: str | None = None
    id_live_preview: int | None = None

    @property
    def preview(self) -> str | None:
        """The picture so far, base64 with a data-URL head."""
        return self.live_preview


class ServerState(_Snapshot):
    """`state` of the global progress."""

    job: str = ""
    job_count: int = 0
    job_no: int = 0
    job_timestamp: str = ""
    sampling_step: int = 0
    sampling_steps: int = 0
    interrupted: bool = False
    skipped: bool = False


class ServerSnapshot(_Snapshot):
    """GET /sdapi/v1/progress: the global progress. progress: 0.01 at a job's start."""

    progress: Annotated[float, Field(allow_inf_nan=False)]
    state: ServerState
    current_image: str | None = None

    @property
    def preview(self) -> str | None:
        """The picture so far, base64."""
        return self.current_image


ProgressSnapshot = TaskSnapshot | ServerSnapshot


_SnapshotT = TypeVar("_SnapshotT", bound=_Snapshot)


class ProgressClient:
    """Reads progress from the server, per task where it reports that. Safe from any thread.

    least_s: the global progress is asked for no more often; all who ask in between share an answer.
    """

    def __init__(self) -> None:
        self.least_s = 0.0
        self._per_task: bool | None = None
        self._last: tuple[float, bool, ServerSnapshot] | None = None

    @property
    def per_task(self) -> bool | None:
        """Whether the server reports progress per task; None before `probe`."""
        return self._per_task

    def probe(self, connection: Connection, *, timeout_s: float) -> bool:
        """Whether the server reports progress per task, for ids that a request may choose; asks it the first time.

        Raises:
            BackendError: there is no answer.
        """
        if self._per_task is None:
            try:
                self.read_task(connection, "rxpipe", timeout_s=timeout_s)
                document = connection.get("/openapi.json", timeout_s=timeout_s).body
            except (BackendRejected, BadResponse):
                self._per_task = False
            else:
                self._per_task = _OWN_ID in document  # older servers have the page's progress, but choose ids alone
        return self._per_task

    def read_task(
        self, connection: Connection, task: str, *, timeout_s: float, last_preview: int = -1, preview: bool = False
    ) -> TaskSnapshot:
        """Return how far *task* is. It has a preview only if that is another one than *last_preview*.

        Raises:
            BackendError: there is no answer, or not such a one.
        """
        asked = {"id_task": task, "id_live_preview": last_preview, "live_preview": preview}
        response = connection.post("/internal/progress", json.dumps(asked).encode(), timeout_s=timeout_s)
        return _valid(TaskSnapshot, response.body)

    def read_server(
        self, connection: Connection, *, timeout_s: float, preview: bool = False, fresh: bool = False
    ) -> ServerSnapshot:
        """Return how far the job is that runs; *fresh*: by an answer of its own, however soon after another.

        Raises:
            BackendError: there is no answer, or not such a one.
        """
        last, now_s = self._last, time.monotonic()
        shared = last is not None and now_s - last[0] < self.least_s and (last[1] or not preview)
        if last is not None and shared and not fresh:
            return last[2]
        tail = "" if preview else "?skip_current_image=true"
        snapshot = _valid(ServerSnapshot, connection.get(f"/sdapi/v1/progress{tail}", timeout_s=timeout_s).body)
        self._last = (now_s, preview, snapshot)
        return snapshot


def _valid(model: type[_SnapshotT], body: bytes) -> _SnapshotT:
    check_values(body)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise BadResponse(
            f"what answers is not a WebUI: {shown(body)} came where its progress was asked for.",
            hint=hint_for(body) or "Check host and port.",
        ) from error


@dataclass(slots=True)
class JobTracker:
    """What one request has seen of its job. Time comes in with each reading; safe from any thread.

    request: what was posted. stalled_s: so long without a step is "stalled".
    baseline: the global progress just before the request was sent; None where it was not read.
    phases: a job is a row of these jobs with gaps between, which no steps identify: the one that runs while
        our request has no answer is ours, and none runs only after some time without any.
    queued_behind: another request of ours that was in flight when this one was sent; ours cannot run before it ended.
    ended: set once the job is known to have ended. began: our job was seen running.
    preview_id: of the last preview per task, -1 before the first.
    """

    request: Request
    stalled_s: float = 30.0
    baseline: ServerSnapshot | None = None
    queued_behind: JobTracker | None = None
    phases: tuple[str, ...] = ()
    ended: threading.Event = field(default_factory=threading.Event)
    began: bool = False
    preview_id: int = -1
    _pace: Pace = field(init=False)
    _reported: StepProgress | None = None
    _last_progress: float = 0.0
    _gap_since_s: float | None = None
    _steps_seen: tuple[tuple[float, float], tuple[float, float]] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._pace = Pace(stalled_s=self.stalled_s)

    # -- whose job it is ----------------------------------------------------------------------------------------------

    def owner_of(self, snapshot: ProgressSnapshot) -> JobOwner:
        """Return whose job runs, by this snapshot and those before it."""
        with self._lock:
            return self._owner_of(snapshot)

    def _owner_of(self, snapshot: ProgressSnapshot) -> JobOwner:
        if isinstance(snapshot, TaskSnapshot):
            self.began |= snapshot.active
            return "ours" if snapshot.active else "waiting" if snapshot.queued else "none"
        owner = self._owner_by_server(snapshot)
        self.began |= owner == "ours"
        self._last_progress = snapshot.progress
        return owner

    def _owner_by_server(self, snapshot: ServerSnapshot) -> JobOwner:
        if self.queued_behind is not None and self.queued_behind.ended.is_set():
            self.queued_behind = self.baseline = None  # what ran before it has ended too
            return "waiting"  # this may have been read before that
        if self.phases:
            return self._owner_in_phases(snapshot.state)
        if snapshot.state.job_count == 0:
            self.baseline = None
            return "none"
        if self.queued_behind is not None:
            return "waiting"
        if self._is_before_ours(snapshot):
            return "waiting"
        self.baseline = None
        return "ours" if self._may_be_ours(snapshot.state) else "other"

    def _owner_in_phases(self, state: ServerState) -> JobOwner:
        if self.queued_behind is not None or self._is_earlier_phase(state):
            return "waiting"
        if state.job_count != 0:
            self._gap_since_s = None
            return "ours"
        now_s = time.monotonic()
        self._gap_since_s = self._gap_since_s or now_s
        return "none" if now_s - self._gap_since_s > _LONGEST_GAP_S else "waiting"

    def _is_earlier_phase(self, state: ServerState) -> bool:
        """Whether another client's job, which ran when ours was sent, still does: its phases have not begun again."""
        if self.baseline is None or self.baseline.state.job_count == 0:
            return False
        now, before = (self._phase_of(one) for one in (state, self.baseline.state))
        if state.job_count != 0 and now < before:
            self.baseline = None  # it has ended, and the one after it is as far as is known ours
            return False
        if state.job_count != 0:
            self.baseline = self.baseline.model_copy(update={"state": state})
            self._gap_since_s = None
            return True
        self._gap_since_s = self._gap_since_s or time.monotonic()
        if time.monotonic() - self._gap_since_s > _LONGEST_GAP_S:
            self.baseline = None
        return self.baseline is not None

    def _phase_of(self, state: ServerState) -> tuple[int, int]:
        """Return how far a job is by its phase and its step; an unknown phase is as far as the drawing."""
        names = [number for number, name in enumerate(self.phases) if state.job.startswith(name)]
        return (names[0] if names else len(self.phases) - 2, state.sampling_step)

    def _is_before_ours(self, snapshot: ServerSnapshot) -> bool:
        """Whether it is the job that was shown when ours was sent. A new one begins at a lower progress."""
        old = self.baseline
        if old is None or old.state.job_count == 0:
            return False
        same = old.state.job_timestamp == snapshot.state.job_timestamp and old.state.job == snapshot.state.job
        fell = snapshot.progress < max(old.progress, self._last_progress) - _START
        return same and not fell

    def _may_be_ours(self, state: ServerState) -> bool:
        if state.job in _JOBS and state.job != _job_of(self.request):
            return False
        if state.job.startswith(("task(", "Batch ")):  # from the server's page, or more batches than we ever ask for
            return False
        steps = sampled_steps(self.request)
        # before the first step the last job's number of steps is still shown
        return steps is None or state.sampling_step == 0 or state.sampling_steps == steps

    # -- how far it is ------------------------------------------------------------------------------------------------

    def observe(self, snapshot: ProgressSnapshot, now_s: float) -> tuple[StepProgress, bytes | None]:
        """Return what a reading means for our picture, and a preview where a new one came."""
        with self._lock:
            owner = self._owner_of(snapshot)
            self._pace.note(_activity(snapshot), now_s)
            if owner == "waiting" and isinstance(snapshot, TaskSnapshot):
                self._pace.note_activity(now_s)  # a queue may be long; that the server knows our job is a sign of life
            if owner == "none" and self.began and self._reported is not None:
                return self._reported, None  # it has ended, and its answer is on the way
            if owner != "ours":
                return StepProgress(self._pace.fraction, phase="queued"), None
            self._reported = self._progress(snapshot, now_s)
            return self._reported, self._new_preview(snapshot)

    def end(self) -> None:
        """Note that the job has ended."""
        with self._lock:
            self.ended.set()
            self.queued_behind = None  # else each request would keep all those before it

    def silent_s(self, now_s: float) -> float:
        """Return the seconds since anything moved on the server."""
        with self._lock:
            return self._pace.silent_s(now_s)

    def note_activity(self, now_s: float) -> None:
        """Note a sign of life that no reading shows, such as bytes of the answer."""
        with self._lock:
            self._pace.note_activity(now_s)

    def _progress(self, snapshot: ProgressSnapshot, now_s: float) -> StepProgress:
        if isinstance(self.request, SingleRequest):
            return StepProgress()  # it says 1.0 from the start
        fraction, begun = _fraction_of(snapshot), self._pace.fraction is not None
        steps = sampled_steps(self.request)
        if self.phases and isinstance(snapshot, ServerSnapshot):
            steps = snapshot.state.sampling_steps or None  # it draws more of them than were asked for
        if not fraction or (not begun and steps is None and fraction >= _OVER):
            # nothing counted yet, or the first pass of ADetailer, which is discarded
            return self._pace.observe(None, None, None, now_s, "working" if begun else "loading")
        if steps is not None:
            here = (time.monotonic(), fraction)
            self._steps_seen = (self._steps_seen[0] if self._steps_seen else here, here)
        return self._pace.observe(fraction, None, steps, now_s)

    def fell_short(self, now_s: float) -> bool:
        """Whether the job ended with far fewer steps than planned, by the pace of those that were seen.

        Args:
            now_s: when the answer came, by `time.monotonic`.
        """
        with self._lock:
            if self._steps_seen is None:
                return False
            (begin_s, begun), (last_s, done) = self._steps_seen
        if last_s <= begin_s or done <= begun:
            return False
        return done + (done - begun) / (last_s - begin_s) * (now_s - last_s) < _FAR_BELOW

    def _new_preview(self, snapshot: ProgressSnapshot) -> bytes | None:
        preview = snapshot.preview
        if isinstance(snapshot, TaskSnapshot) and snapshot.id_live_preview is not None:
            self.preview_id = snapshot.id_live_preview
        if not preview or not self._pace.is_new(preview):
            return None
        try:
            return base64s.decode(preview.encode())
        except BadResponse:
            return None  # a preview is not worth an error


_JOBS = ("scripts_txt2img", "scripts_img2img", "Upscale", "extras")


def _activity(snapshot: ProgressSnapshot) -> object:
    """Return what of a reading changes where the server works; what an idle one shows is no sign of life."""
    runs = snapshot.active or snapshot.queued if isinstance(snapshot, TaskSnapshot) else snapshot.state.job_count != 0
    return snapshot.model_dump(exclude={"live_preview", "current_image"}) if runs else "idle"


def _job_of(request: Request) -> str:
    if isinstance(request, SingleRequest):
        return "Upscale"
    return "scripts_txt2img" if isinstance(request, Txt2ImgRequest) else "scripts_img2img"


def _fraction_of(snapshot: ProgressSnapshot) -> float:
    if isinstance(snapshot, TaskSnapshot):
        return min(1.0, max(0.0, snapshot.progress or 0.0))
    return min(1.0, max(0.0, snapshot.progress - _START))
