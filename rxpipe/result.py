"""The result of a run: PipelineRunResult, and reduce(result, event), which folds it from the events.

Pure. A result is a view on the first events of a log that its successors share and append to, so that a snapshot per
event costs O(1) and every snapshot stays as it was; its values are computed on first access.
"""

from __future__ import annotations

import importlib
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from rxpipe.artifact import Artifact, image_id
from rxpipe.cached import cached_value
from rxpipe.errors import BadImage, RunFailed
from rxpipe.events import (
    ErrorInfo,
    Outcome,
    RunEnd,
    RunOutcome,
    RunStart,
    StageCancelled,
    StageEnd,
    StageEvent,
    StageFailed,
    StageImageProgress,
    StageStart,
    json_line,
    parse_event,
)
from rxpipe.plan import StageType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rxpipe.plan import StageExecutionPlan

VariantOutcome = Literal["done", "failed", "cancelled", "filtered", "pending"]


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image as it finished one stage; fields as in `StageImageProgress`."""

    artifact_id: str
    stage_type: str
    stage_index: int
    image_index: int
    image_number: int
    outcome: Outcome
    seed: int | None
    path: Path | None
    duration_s: float | None
    warnings: tuple[str, ...] = ()
    error: ErrorInfo | None = None
    server: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict, hash=False)
    variant: Mapping[str, str] = field(default_factory=dict, hash=False)
    attempt: int = 1
    resumed: bool = False

    @classmethod
    def of(cls, event: StageImageProgress) -> ImageRecord:
        """Return the record of an event."""
        return cls(
            artifact_id=event.artifact_id,
            stage_type=event.stage_type,
            stage_index=event.stage_index,
            image_index=event.image_index or 0,
            image_number=event.shown_number or 0,
            outcome=event.outcome,
            seed=event.seed,
            path=event.path,
            duration_s=event.duration_s,
            warnings=event.warnings,
            error=event.error,
            server=event.server,
            scores=dict(event.scores),
            variant=dict(event.variant),
            attempt=event.attempt,
            resumed=event.resumed,
        )

    @property
    def all_warnings(self) -> tuple[str, ...]:
        """The warnings, and why the image was left unchanged where the stage failed on it."""
        failed = self.outcome == "passed" and self.error is not None
        return (*self.warnings, f"left unchanged: {self.error.message}") if failed and self.error else self.warnings

    @property
    def through(self) -> bool:
        """Whether the image continued to the next stage: done, or left unchanged."""
        return self.outcome in {"done", "passed"}


@dataclass(frozen=True, slots=True)
class ImageResult:
    """One planned image and its outcome.

    outcome: done, failed, cancelled, filtered, or pending while the run is in progress. variant: its number and its
    values by axis; empty without variants. seed: of its last rendering, None if it has none. paths: its files, oldest
    first. error: why it failed, else None.
    """

    artifact_id: str
    outcome: VariantOutcome
    variant: Mapping[str, str] = field(default_factory=dict, hash=False)
    seed: int | None = None
    paths: tuple[Path, ...] = ()
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """How the planned images ended: planned = done + failed + cancelled + filtered + pending."""

    planned: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    filtered: int = 0
    pending: int = 0


@dataclass(frozen=True, slots=True)
class StageSummary:
    """One stage of the run: whether it ended, and how long it took (None unless it ended)."""

    stage_type: str
    stage_index: int
    state: Literal["running", "ended", "failed", "cancelled"]
    duration_s: float | None = None


_QUIET = frozenset({"stage_step", "stage_retry"})


@dataclass(slots=True)
class _Log:
    """The events of a run, appended to by `reduce` of its newest view; image records are kept apart for fast access."""

    events: list[StageEvent] = field(default_factory=list)
    records: list[ImageRecord] = field(default_factory=list)
    others: list[StageEvent] = field(default_factory=list)  # neither image nor step

    def first(self, views: tuple[int, int, int]) -> _Log:
        return _Log(self.events[: views[0]], self.records[: views[1]], self.others[: views[2]])


class PipelineRunResult:
    """A run so far: an immutable snapshot, folded from the events.

    plan: of its stages; None for a run known from its events only.
    metadata: `RunSettings.metadata` of the run; empty without a plan.

    Args:
        artifacts: the images themselves by id and stage index, for `artifact`; the executor's, which grows.
        causes: what was raised last in each stage, by its index, for `raise_for_status`; likewise.
    """

    def __init__(
        self,
        plan: StageExecutionPlan | None = None,
        artifacts: Mapping[tuple[str, int], Artifact] | None = None,
        causes: Mapping[int, BaseException] | None = None,
    ) -> None:
        self.plan = plan
        self._artifacts: Mapping[tuple[str, int], Artifact] = {} if artifacts is None else artifacts
        self._causes: Mapping[int, BaseException] = {} if causes is None else causes
        self.metadata: Mapping[str, object] = plan.settings.metadata.model_dump() if plan else {}
        self._log = _Log()
        self._sizes = (0, 0, 0)

    def _reduced(self, event: StageEvent) -> PipelineRunResult:
        events, records, others = self._sizes
        if isinstance(event, RunStart) and events:
            return self._resumed(event)
        log = self._log if len(self._log.events) == events else self._log.first(self._sizes)
        log.events.append(event)
        if isinstance(event, StageImageProgress):
            log.records.append(ImageRecord.of(event))
            records += 1
        elif event.kind not in _QUIET:
            log.others.append(event)
            others += 1
        view = object.__new__(PipelineRunResult)
        view.plan, view.metadata, view._artifacts = self.plan, self.metadata, self._artifacts
        view._causes = self._causes
        view._log, view._sizes = log, (events + 1, records, others)
        return view

    def _resumed(self, start: RunStart) -> PipelineRunResult:
        """Return the result when a further attempt begins: its events report all images anew."""
        view = PipelineRunResult(self.plan, self._artifacts, self._causes)
        view._log = _Log([*self.events, start], [], [start])
        view._sizes = (len(view._log.events), 0, 1)
        return view

    @classmethod
    def from_events(cls, events: Iterable[StageEvent], plan: StageExecutionPlan | None = None) -> PipelineRunResult:
        """Return the result of a run with these events."""
        return cls(plan).extended(events)

    def extended(self, events: Iterable[StageEvent]) -> PipelineRunResult:
        """Return this result after further events."""
        result = self
        for event in events:
            result = reduce(result, event)
        return result

    @classmethod
    def read_timeline(cls, path: Path | str) -> PipelineRunResult:
        """Return the result of a run whose timeline `write_timeline` wrote.

        Raises:
            pydantic.ValidationError: a line is not an event.
        """
        lines = Path(path).read_text(encoding="utf-8").split("\n")  # a text may hold what splitlines() takes for an end
        return cls.from_events(parse_event(line) for line in lines if line)

    def write_timeline(self, path: Path | str) -> None:
        """Write the events, one line of JSON each."""
        Path(path).write_text("".join(f"{json_line(e)}\n" for e in self.events), encoding="utf-8")

    @cached_value
    def events(self) -> tuple[StageEvent, ...]:
        """The timeline: exactly what was emitted, element for element."""
        return tuple(self._log.events[: self._sizes[0]])

    @property
    def records(self) -> tuple[ImageRecord, ...]:
        """One record per image and stage that it finished or failed in, in the order of the events."""
        return tuple(self._log.records[: self._sizes[1]])

    @property
    def _others(self) -> list[StageEvent]:
        return self._log.others[: self._sizes[2]]

    @cached_value
    def _start(self) -> RunStart | None:
        return next((e for e in self._others if isinstance(e, RunStart)), None)

    @cached_value
    def _end(self) -> RunEnd | None:
        last = self._others[-1:]
        return last[0] if last and isinstance(last[0], RunEnd) else None

    @property
    def run_id(self) -> str | None:
        """The id of the run; None before its RunStart."""
        return self._start.run_id if self._start else None

    @property
    def status(self) -> RunOutcome | Literal["pending", "running"]:
        """The status in RunEnd; "running" before that, "pending" before RunStart."""
        if self._end:
            return self._end.status
        return "running" if self._start else "pending"

    @property
    def success(self) -> bool:
        """Whether the run has completed: no image failed or was cancelled."""
        return self.status == "completed"

    @property
    def error(self) -> ErrorInfo | None:
        """The error of the run, with stage and cause; None if it has none."""
        return self._end.error if self._end else None

    @cached_value
    def images(self) -> tuple[ImageRecord, ...]:
        """Per planned image, in order, the record of the last stage it finished; without those that finished none."""
        last = {record.artifact_id: record for record in self.records if record.through}
        return tuple(last[name] for name in self._ids if name in last)

    @cached_value
    def finished(self) -> tuple[ImageRecord, ...]:
        """Of `images` those that came through the whole chain: without what failed, was filtered or was not chosen."""
        done = {variant.artifact_id for variant in self.variants if variant.outcome == "done"}
        return tuple(record for record in self.images if record.artifact_id in done)

    def stage_images(self, stage: str) -> tuple[ImageRecord, ...]:
        """Return the images that finished the stage of that type, in index order; none if no image reached it.

        Raises:
            ValueError: the run has no such stage, and it is not one of the four built-in types.
        """
        names = [
            *(self._start.stages if self._start else ()),
            *(self.plan.stage_types if self.plan else ()),
            *StageType,
        ]
        if stage not in names:
            raise ValueError(f"the run has no stage {stage!r}; there are {', '.join(dict.fromkeys(names))}")
        return tuple(record for record in self.records if record.stage_type == stage and record.through)

    def artifact(self, record: ImageRecord) -> Artifact:
        """Return the image of a record, with its picture in its file, or in memory if the run wrote none.

        Raises:
            BadImage: the picture is not known here, as in a timeline read back whose files are gone.
        """
        known = self._artifacts.get((record.artifact_id, record.stage_index))
        if known is not None and known.path is not None and not known.path.exists():
            raise BadImage(f"{known.path} is gone.", hint='With save="final" an image keeps only its last picture.')
        if known is not None:
            return known
        if record.path is None:
            raise BadImage(
                f"image {record.artifact_id} of {record.stage_type} was kept in memory only, by another run."
            )
        return replace(Artifact.open(record.path, seed=record.seed), id=record.artifact_id, origin=None)

    @cached_value
    def variants(self) -> tuple[ImageResult, ...]:
        """One entry per planned image, in order."""
        histories: dict[str, list[ImageRecord]] = {name: [] for name in self._ids}
        for record in self.records:
            histories[record.artifact_id].append(record)
        ended_stages = {e.stage_index for e in self._others if isinstance(e, StageEnd)}
        return tuple(self._variant(name, history, ended_stages) for name, history in histories.items())

    @property
    def variant_count(self) -> int:
        """How many images are planned, those added by expansions among them."""
        return len(self.variants)

    @cached_value
    def tally(self) -> Tally:
        """How the planned images ended."""
        counts: Counter[str] = Counter(variant.outcome for variant in self.variants)
        return Tally(planned=len(self.variants), **counts)

    @cached_value
    def stages(self) -> tuple[StageSummary, ...]:
        """The stages that images reached, in the order in which they started."""
        summaries: dict[int, StageSummary] = {}
        for event in self._others:
            if isinstance(event, StageStart | StageEnd | StageFailed | StageCancelled):
                summaries[event.stage_index] = _summary(event)
        return tuple(summaries.values())

    @property
    def durations(self) -> dict[str, float]:
        """Seconds per stage type, for the stages that ended."""
        totals: dict[str, float] = {}
        for stage in self.stages:
            if stage.duration_s is not None:
                totals[stage.stage_type] = totals.get(stage.stage_type, 0.0) + stage.duration_s
        return totals

    @cached_value
    def warnings(self) -> tuple[str, ...]:
        """What differs from the request, each once, with stage and image where it concerns one.

        The error of an image that passed a stage unchanged (`on_error="pass"`) is one of them.
        """
        of_images = (
            f"{record.stage_type}, image {record.image_number}: {warning}"
            for record in self.records
            for warning in record.all_warnings
        )
        return tuple(dict.fromkeys([*(self._end.warnings if self._end else ()), *of_images]))

    def raise_for_status(self) -> None:
        """Raise unless the run completed.

        Raises:
            RunFailed: it did not; names status, counts and cause, and holds this result. What was raised last, such as
                by a function of the user's, is its `__cause__`, with the traceback.
        """
        if self.success:
            return
        tally = self.tally
        counts = f"{tally.done} of {tally.planned} images came through"
        cause = f": {self.error.message}" if self.error else ""
        raise RunFailed(
            f"run {self.run_id} {self.status}, {counts}{cause}",
            hint=self.error.hint if self.error else None,
            result=self,
        ) from self._cause

    @property
    def _cause(self) -> BaseException | None:
        """What was raised in the stage that failed, else last in any; None where it is not known in this process."""
        failed = [event.stage_index for event in self._others if isinstance(event, StageFailed)]
        failed += [record.stage_index for record in reversed(self.records) if record.outcome == "failed"]
        return next((self._causes[index] for index in failed if index in self._causes), None)

    @cached_value
    def _ids(self) -> tuple[str, ...]:
        """All images: the planned ones in order, each followed by those derived from it."""
        start = self._start
        planned = [image_id(start.run_id, n) for n in range(1, start.images + 1)] if start else []
        rank = {name: n for n, name in enumerate(planned)}
        added = [name for name in dict.fromkeys(r.artifact_id for r in self.records) if name not in rank]
        return tuple(sorted([*planned, *added], key=lambda name: _rank(name, rank)))

    def _variant(self, name: str, history: list[ImageRecord], ended_stages: set[int]) -> ImageResult:
        last = history[-1] if history else None
        outcome, error = self._outcome_of(last, ended_stages)
        return ImageResult(
            artifact_id=name,
            outcome=outcome,
            variant=history[0].variant if history else {},
            seed=next((r.seed for r in reversed(history) if r.seed is not None), None),
            paths=tuple(dict.fromkeys(r.path for r in history if r.path is not None)),
            error=error,
        )

    def _outcome_of(self, last: ImageRecord | None, ended_stages: set[int]) -> tuple[VariantOutcome, ErrorInfo | None]:
        if last and last.outcome == "failed":
            return "failed", last.error
        if last and last.outcome == "cancelled":
            return "cancelled", None
        if last and self._start and last.stage_index == len(self._start.stages) - 1:
            return "done", None
        if any(index > (last.stage_index if last else -1) for index in ended_stages):
            return "filtered", None
        return self._outcome_of_unseen

    @property
    def _outcome_of_unseen(self) -> tuple[VariantOutcome, ErrorInfo | None]:
        """The outcome of the images that no stage has one for."""
        if self._end is None:
            return "pending", None
        return ("cancelled", None) if self._end.status == "cancelled" else ("failed", self._end.error)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PipelineRunResult):
            return NotImplemented
        return self.events == other.events and self.plan == other.plan

    __hash__ = None  # type: ignore[assignment]  # mutable values are compared

    def __repr__(self) -> str:
        tally = self.tally
        parts = [
            f"{n} {what}"
            for what in ("done", "failed", "cancelled", "filtered", "pending")
            if (n := getattr(tally, what))
        ]
        images = f"{tally.planned} image{'' if tally.planned == 1 else 's'}"
        counts = f"{images}: {', '.join(parts)}" if parts else "no images"
        error = f", error: {self.error.message}" if self.error else ""
        return f"<PipelineRunResult {self.run_id}: {self.status}, {counts}{error}>"

    def _repr_html_(self) -> str:
        """Return the result as a notebook shows it, with small pictures and a timeline."""
        shown: str = importlib.import_module("rxpipe.views.run_card").result_html(self)  # a view, which this knows not
        return shown


class RunUpdate(NamedTuple):
    """An event, and the result that includes it."""

    event: StageEvent
    result: PipelineRunResult


def reduce(result: PipelineRunResult, event: StageEvent) -> PipelineRunResult:
    """Return the result after *event*. Pure and O(1): *result* itself does not change, and may be reduced again."""
    return result._reduced(event)  # noqa: SLF001  # the method is private to keep `reduce` the one way


def _summary(event: StageStart | StageEnd | StageFailed | StageCancelled) -> StageSummary:
    states: dict[str, Literal["running", "ended", "failed", "cancelled"]] = {
        "stage_start": "running",
        "stage_end": "ended",
        "stage_failed": "failed",
        "stage_cancelled": "cancelled",
    }
    duration_s = event.duration_s if isinstance(event, StageEnd) else None
    return StageSummary(event.stage_type, event.stage_index, states[event.kind], duration_s)


def _rank(name: str, planned: Mapping[str, int]) -> int:
    """Return the position of an image: its own, or that of the nearest planned one it was derived from."""
    root = name
    while root not in planned and "." in root:
        root = root.rpartition(".")[0]
    return planned.get(root, len(planned))
