"""Bars: what each image spent its time on in each stage, from the events of a run alone.

A bar is an image in a stage in one attempt of a run. Its spans fill it without a gap: what the backend last said of
the image holds until it says something else.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from rxpipe.config import CustomConfig
from rxpipe.events import RunEnd, RunStart, StageImageProgress, StageRetry, StageStep
from rxpipe.plan import StageType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from rxpipe.events import ErrorInfo, Outcome, RunOutcome, StageEvent
    from rxpipe.plan import StageExecutionPlan

__all__ = ["KINDS", "Attempt", "Bar", "Kind", "Retry", "Span", "attempts_of"]

Kind = Literal["server", "stalled", "loading", "code", "transfer", "ours", "pause", "queue"]

KINDS: dict[Kind, str] = {
    "server": "rendering",
    "stalled": "no progress",
    "loading": "loading models",
    "code": "stages of your own",
    "transfer": "transfer",
    "ours": "rxpipe: checking and writing",
    "pause": "pauses before retries",
    "queue": "in a queue",
}
"""What an image may spend its time on, with the words for it. Where several images are in progress at a moment, the
moment counts as the first of these that one of them is in."""

_PHASES: dict[str, Kind] = {"queued": "queue", "loading": "loading", "working": "server", "stalled": "stalled"}
_RENDERED = frozenset({*StageType, "workflow"})


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a bar. begin_s, end_s: seconds since the attempt began."""

    kind: Kind
    begin_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        """Seconds."""
        return self.end_s - self.begin_s


@dataclass(frozen=True, slots=True)
class Retry:
    """A try that failed. at_s: seconds since the attempt of the run began. number: of the try, 1...

    delay_s: seconds until the next one.
    """

    at_s: float
    number: int
    delay_s: float
    error: ErrorInfo


@dataclass(frozen=True, slots=True)
class Bar:
    """An image in a stage.

    image_index: in the stage, 1... image_number: in the run, 1..; that in the stage where it is not known.
    begin_s, end_s: seconds since the attempt began. outcome: None if the run ended before the image had one.
    artifact_id: None if it is not known, for the same reason. server: the member of a pool. resumed: it was taken from
    a journal, in no time.
    """

    stage_index: int
    stage_type: str
    image_index: int
    image_number: int
    begin_s: float
    end_s: float
    spans: tuple[Span, ...]
    retries: tuple[Retry, ...] = ()
    artifact_id: str | None = None
    outcome: Outcome | None = None
    server: str | None = None
    seed: int | None = None
    error: ErrorInfo | None = None
    resumed: bool = False

    @property
    def length_s(self) -> float:
        """Seconds."""
        return self.end_s - self.begin_s


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a run: the first, or a resumption.

    stages: their names in order. length_s: seconds until its end, or until its last event. status: None without an end.
    """

    number: int
    began: datetime
    length_s: float
    stages: tuple[str, ...]
    bars: tuple[Bar, ...]
    status: RunOutcome | None


def attempts_of(events: Iterable[StageEvent], plan: StageExecutionPlan | None = None) -> tuple[Attempt, ...]:
    """Return the attempts of a run in their order.

    Args:
        events: of all attempts; each begins with a RunStart.
        plan: tells the stages that a backend renders; without it, they are those with a built-in name.
    """
    own = _own_stages(plan)
    parts: list[list[StageEvent]] = []
    for event in events:
        if isinstance(event, RunStart):
            parts.append([])
        if parts:
            parts[-1].append(event)
    return tuple(_attempt(part, own) for part in parts)


def _own_stages(plan: StageExecutionPlan | None) -> frozenset[int] | None:
    if plan is None:
        return None
    return frozenset(stage.stage_index for stage in plan.stages if isinstance(stage.config, CustomConfig))


def _attempt(events: Sequence[StageEvent], own: frozenset[int] | None) -> Attempt:
    start, last = events[0], events[-1]
    if not isinstance(start, RunStart):
        raise TypeError("an attempt begins with a RunStart")
    began = start.moment
    open_bars: dict[tuple[int, int], _OpenBar] = {}
    bars: list[Bar] = []
    now_s = 0.0
    for event in events:
        now_s = max(now_s, event.moment.since_s(began))  # the dates of older records may fall
        if not isinstance(event, StageStep | StageRetry | StageImageProgress) or event.image_index is None:
            continue
        key = event.stage_index, event.image_index
        if isinstance(event, StageImageProgress):
            code = event.stage_index in own if own is not None else event.stage_type not in _RENDERED
            bars.append(open_bars.pop(key, _OpenBar()).finished(event, now_s, code=code))
        else:
            open_bars.setdefault(key, _OpenBar(event.stage_type, event.shown_number)).note(event, now_s)
    bars += [bar.abandoned(key, now_s) for key, bar in open_bars.items()]
    status = last.status if isinstance(last, RunEnd) else None
    return Attempt(start.attempt, start.timestamp, now_s, start.stages, tuple(_served(bars)), status)


def _served(bars: Sequence[Bar]) -> Iterator[Bar]:
    """Return bars in which an image that nobody saw leave the queue left it when the one before it was done.

    A server that is asked now and then is not seen to run a short job.
    """
    done: dict[str | None, list[float]] = {}
    for bar in bars:
        done.setdefault(bar.server, []).append(_drawn_at(bar))
    for times in done.values():
        times.sort()
    for bar in bars:
        at_s = _drawn_at(bar)
        last = next((n for n, span in enumerate(bar.spans) if span.end_s == at_s and span.kind == "queue"), None)
        before = bisect_left(done[bar.server], at_s) - 1
        if last is None or before < 0 or bar.outcome is None or bar.spans[last].begin_s >= done[bar.server][before]:
            yield bar
            continue
        left_s = done[bar.server][before]
        parts = (Span("queue", bar.spans[last].begin_s, left_s), Span("server", left_s, at_s))
        yield replace(bar, spans=(*bar.spans[:last], *parts, *bar.spans[last + 1 :]))


def _drawn_at(bar: Bar) -> float:
    """Return when the server was done with an image, or with what was tried of it."""
    spans = [span.end_s for span in bar.spans if span.kind not in {"transfer", "ours"}]
    return max(spans, default=bar.end_s)


@dataclass(slots=True)
class _OpenBar:
    """An image in progress. number: in the run. changes: what it was in from which second on."""

    stage_type: str = ""
    number: int | None = None
    changes: list[tuple[float, Kind]] = field(default_factory=list)
    retries: list[Retry] = field(default_factory=list)

    def note(self, event: StageStep | StageRetry, now_s: float) -> None:
        if isinstance(event, StageStep):
            self.changes.append((now_s, _PHASES[event.phase]))
            return
        self.retries.append(Retry(now_s, event.attempt, event.delay_s, event.error))
        self.changes += [(now_s, "pause"), (now_s + event.delay_s, "server")]

    def finished(self, event: StageImageProgress, end_s: float, *, code: bool) -> Bar:
        length_s = 0.0 if event.resumed or event.duration_s is None else event.duration_s
        begin_s = max(0.0, end_s - length_s)
        return Bar(
            stage_index=event.stage_index,
            stage_type=event.stage_type,
            image_index=event.image_index or 0,
            image_number=event.shown_number or 0,
            begin_s=begin_s,
            end_s=end_s,
            spans=(Span("code", begin_s, end_s),) if code else self._drawn(event, begin_s, end_s),
            retries=tuple(self.retries),
            artifact_id=event.artifact_id,
            outcome=event.outcome,
            server=event.server,
            seed=event.seed,
            error=event.error,
            resumed=event.resumed,
        )

    def _drawn(self, event: StageImageProgress, begin_s: float, end_s: float) -> tuple[Span, ...]:
        """Return the spans of an image that was rendered: at its end, its way from the server and ours."""
        own_s = max(begin_s, end_s - (event.own_s or 0.0))
        came_s = max(begin_s, own_s - (event.transfer_s or 0.0))
        last = (Span("transfer", came_s, own_s), Span("ours", own_s, end_s))
        return (*self._spans(begin_s, came_s), *(span for span in last if span.length_s > 0))

    def abandoned(self, key: tuple[int, int], end_s: float) -> Bar:
        begin_s = min(end_s, self.changes[0][0])
        return Bar(
            stage_index=key[0],
            stage_type=self.stage_type,
            image_index=key[1],
            image_number=self.number or key[1],
            begin_s=begin_s,
            end_s=end_s,
            spans=self._spans(begin_s, end_s),
            retries=tuple(self.retries),
        )

    def _spans(self, begin_s: float, end_s: float) -> tuple[Span, ...]:
        """Return the spans from *begin_s* to *end_s*; what was seen first held before, too."""
        if end_s <= begin_s:
            return ()
        first = self.changes[0][1] if self.changes else "server"
        changes = [(begin_s, "server" if first == "pause" else first), *sorted(self.changes, key=lambda each: each[0])]
        spans: list[Span] = []
        for (from_s, kind), (to_s, _) in zip(changes, [*changes[1:], (end_s, "")], strict=True):
            low, high = max(begin_s, from_s), min(end_s, to_s)
            if high <= low:
                continue
            if spans and spans[-1].kind == kind:
                low = spans.pop().begin_s
            spans.append(Span(kind, low, high))
        return tuple(spans)
