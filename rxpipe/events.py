"""The events of a run: one frozen pydantic union, StageEvent, with `kind` as its discriminator.

```text
timeline = RunStart { stage } RunEnd
stage    = StageStart { StageStep | StageRetry | StageImageProgress } terminal
terminal = StageEnd | StageFailed | StageCancelled
```

The grammar holds per `stage_index`; in stage order, where stages do not overlap, for the whole timeline. Every field
that does not apply is None. Previews are not events and have a stream of their own, of `StagePreview`.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import PydanticSerializationError

from rxpipe.errors import RxPipeError, joined
from rxpipe.shown import escaped

if TYPE_CHECKING:
    from datetime import datetime

Outcome = Literal["done", "passed", "failed", "cancelled"]
RunOutcome = Literal["completed", "partial", "failed", "cancelled"]
Phase = Literal["queued", "loading", "working", "stalled"]


def _known(seconds: object) -> object:
    """Return None for the NaN, infinity or negative number that some backends estimate."""
    return seconds if isinstance(seconds, int | float) and 0 <= seconds < math.inf else None


def _shown(text: str) -> str:
    """Return the text as it may be printed: servers and files may have put codes into it that a terminal obeys."""
    return escaped(text.replace("\r\n", "\n"), keep="\n")


Shown = Annotated[str, AfterValidator(_shown)]


class ErrorInfo(BaseModel):
    """An error as a value: its type's name, what happened, and what to do about it (None: no advice).

    Neither text holds anything that steers a terminal, whatever a server or a file has put into it.
    """

    model_config = ConfigDict(frozen=True)
    type: str
    message: Shown
    hint: Shown | None = None

    @classmethod
    def of(cls, error: BaseException) -> ErrorInfo:
        """Return the error as a value; exceptions of other libraries keep their type's name."""
        kind = type(error).__name__
        if isinstance(error, RxPipeError):
            return cls(type=kind, message=error.message, hint=error.hint)
        return cls(type=kind, message=str(error) or kind)

    def __str__(self) -> str:
        return joined(self.message, self.hint)


class Moment(NamedTuple):
    """When an event was: its date, and the seconds since its attempt began; None where that is not known."""

    date: datetime
    elapsed_s: float | None

    def since_s(self, earlier: Moment) -> float:
        """Return the seconds from an earlier moment of the same attempt, whatever was done to the date in between."""
        if self.elapsed_s is not None and earlier.elapsed_s is not None:
            return self.elapsed_s - earlier.elapsed_s
        return (self.date - earlier.date).total_seconds()


class BaseEvent(BaseModel):
    """The fields of all events.

    seq: 0, 1, 2, ... within the run, no gap. timestamp: aware UTC from the run's scheduler, never decreasing; it
    follows corrections of the clock. elapsed_s: since the RunStart of this attempt, whatever the clock is set to;
    None in records of earlier versions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
    run_id: str
    seq: int
    timestamp: AwareDatetime
    elapsed_s: float | None = None

    @property
    def moment(self) -> Moment:
        """When it was."""
        return Moment(self.timestamp, self.elapsed_s)


class BaseStageEvent(BaseEvent):
    """The fields of all events of a stage.

    stage_type: a `StageType`, "workflow", or a custom stage's name. stage_index: index in the plan, from 0.
    total_images: how many images the stage works on, fixed at its start; None if it cannot be known.
    image_index: 1.., in the order in which images enter the stage; None if the event is not about one image.
    image_number: 1.., which of the run's images it is, the same in every stage; an image that a stage added has that of
    the one it was made of. None where it is not known.
    """

    stage_type: str
    stage_index: int
    total_images: int | None = None
    image_index: int | None = None
    image_number: int | None = None

    @property
    def shown_number(self) -> int | None:
        """The number of the image for people: that in the run, else its index in the stage."""
        return self.image_number or self.image_index


class RunStart(BaseEvent):
    """The run began. stages: their names in order; images: how many are planned; config: digest of the plan.

    attempt: 1, or one more each time that the run was resumed.
    """

    kind: Literal["run_start"] = "run_start"
    stages: tuple[str, ...]
    images: int
    config: str
    attempt: int = 1


class StageStart(BaseStageEvent):
    """A stage is about to make its first backend call."""

    kind: Literal["stage_start"] = "stage_start"


class StageStep(BaseStageEvent):
    """How far the image in progress is.

    fraction: 0..1, never falling within an image; None while the backend cannot tell (model load, queue).
    step, steps: sampler steps, step 1..steps. eta_s: seconds left for this image by the backend's own estimate.
    phase: queued behind others, loading a model, working, or stalled (no progress for long).
    ahead: jobs before it in the server's queue; None where that is not known.
    server: which of several renders it; None where there is only one, or none yet.
    """

    kind: Literal["stage_step"] = "stage_step"
    fraction: Annotated[float, Field(ge=0, le=1)] | None = None
    step: int | None = None
    steps: int | None = None
    eta_s: Annotated[float | None, BeforeValidator(_known)] = None
    phase: Phase = "working"
    ahead: Annotated[int, Field(ge=0)] | None = None
    server: str | None = None


class StageImageProgress(BaseStageEvent):
    """One image finished the stage.

    outcome: "done"; "passed" left unchanged (error set if rendering failed, None if there was nothing to do);
        "failed" with its error; "cancelled" if it was skipped.
    seed: of its rendering. duration_s: in this stage, retries and writing included. transfer_s: of it, while bytes went
        to the server and came from it; own_s: of it, while rxpipe read, checked and wrote the picture; None where they
        are not known. path: of its file, None if none was written. warnings: what differs from the request, such as
        another sampler. server: which of several rendered it, None where there is only one. scores: what stages such as
        keep_best measured.
        variant: its number and its value on each axis, by name; empty for a run without variants.
        attempt: of the run, the one that rendered it. resumed: it was rendered before, and taken from the journal of
        the run.
    """

    kind: Literal["stage_image_progress"] = "stage_image_progress"
    artifact_id: str
    outcome: Outcome
    error: ErrorInfo | None = None
    seed: int | None = None
    duration_s: float | None = None
    transfer_s: float | None = None
    own_s: float | None = None
    path: Path | None = None
    warnings: tuple[Shown, ...] = ()
    server: str | None = None
    scores: tuple[tuple[str, float], ...] = ()
    variant: tuple[tuple[str, Shown], ...] = ()
    attempt: int = 1
    resumed: bool = False


class StageRetry(BaseStageEvent):
    """An attempt failed and another follows after delay_s seconds. attempt: the one that failed, 1.."""

    kind: Literal["stage_retry"] = "stage_retry"
    attempt: int
    delay_s: float
    error: ErrorInfo


class StageEnd(BaseStageEvent):
    """The stage has ended. done, passed, failed, cancelled, filtered: how many images have that outcome."""

    kind: Literal["stage_end"] = "stage_end"
    done: int
    passed: int = 0
    failed: int = 0
    cancelled: int = 0
    filtered: int = 0
    duration_s: float


class StageFailed(BaseStageEvent):
    """The stage could not continue, which ends the run. error: the cause."""

    kind: Literal["stage_failed"] = "stage_failed"
    error: ErrorInfo


class StageCancelled(BaseStageEvent):
    """The run was cancelled (or another stage failed) while this stage was open.

    image_index: the image in progress, which is not finished; None on every stage but the current one.
    """

    kind: Literal["stage_cancelled"] = "stage_cancelled"


class RunEnd(BaseEvent):
    """The run has ended; its last event.

    error: of a failed run, naming stage and cause. warnings: what differs from the request in the run as a whole.
    """

    kind: Literal["run_end"] = "run_end"
    status: RunOutcome
    error: ErrorInfo | None = None
    warnings: tuple[Shown, ...] = ()


StageEvent = Annotated[
    RunStart
    | StageStart
    | StageStep
    | StageImageProgress
    | StageRetry
    | StageEnd
    | StageFailed
    | StageCancelled
    | RunEnd,
    Field(discriminator="kind"),
]

TERMINALS = (StageEnd, StageFailed, StageCancelled)

_T = TypeVar("_T")
_FIELD_NAMES: dict[type[BaseEvent], set[str]] = {}
_ADAPTER: TypeAdapter[StageEvent] = TypeAdapter(StageEvent)


def make_event(kind: type[StageEvent], fields: dict[str, Any]) -> StageEvent:
    """Return an event as `kind(**fields)` does.

    Those of a kind share the set of the names of their fields, which would be half of an event's bytes.

    Raises:
        pydantic.ValidationError: a field is missing, wrong or unknown.
    """
    event: StageEvent = kind.__pydantic_validator__.validate_python(fields)  # what model_validate calls
    names = _FIELD_NAMES.setdefault(kind, event.__pydantic_fields_set__)
    if names == event.__pydantic_fields_set__:
        object.__setattr__(event, "__pydantic_fields_set__", names)  # the model is frozen
    return event


def json_line(record: BaseModel) -> str:
    """Return a record as one line of JSON, also where a path in it has bytes that are no UTF-8."""
    try:
        return record.model_dump_json()
    except PydanticSerializationError:  # JSON in UTF-8 holds such a path only with escapes
        return json.dumps(record.model_dump(mode="json"))


def read_json_line(kind: TypeAdapter[_T], text: str | bytes) -> _T:
    """Return what `json_line` wrote.

    Raises:
        pydantic.ValidationError: the text is something else.
    """
    try:
        return kind.validate_json(text)
    except ValidationError:
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise
        return kind.validate_python(values)


def parse_event(text: str | bytes) -> StageEvent:
    """Return the event in one line of JSON, as `event.model_dump_json()` wrote it.

    Raises:
        pydantic.ValidationError: not an event.
    """
    return read_json_line(_ADAPTER, text)


def is_lifecycle(event: StageEvent) -> bool:
    """Return whether the event must never be dropped: True for all but steps."""
    return not isinstance(event, StageStep)


class StagePreview(BaseModel):
    """The picture so far of the image in progress. The latest one counts; never stored, never part of a result.

    data: an encoded picture, of the backend's choice of size and format.
    image_index, image_number: as of a stage event.
    """

    model_config = ConfigDict(frozen=True)
    run_id: str
    stage_type: str
    stage_index: int
    image_index: int
    image_number: int | None = None
    data: Annotated[bytes, Field(repr=False)]

    @property
    def shown_number(self) -> int:
        """The number of the image for people: that in the run, else its index in the stage."""
        return self.image_number or self.image_index
