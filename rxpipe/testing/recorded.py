"""Record and replay: a recorded run as an observable again, and as a test.

`result.write_timeline(path)` records; `replay(path, speed=10)` plays it to a GUI, a notebook or a test;
`to_marbles(path)` writes the test that plays the same run on a scripted backend.
The surprise: events keep the times they were recorded with, however fast they are played.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from reactivex import Observable
from reactivex.disposable import CompositeDisposable, Disposable, SerialDisposable
from reactivex.scheduler import TimeoutScheduler

from rxpipe import errors
from rxpipe.chains import build_chain
from rxpipe.config import PipelineConfig, RetryConfig, RunSettings
from rxpipe.plan import StageType
from rxpipe.result import PipelineRunResult
from rxpipe.rx.worker import WorkerScheduler
from rxpipe.testing.clock import MICROSECOND, Duration, MarbleError, microseconds
from rxpipe.testing.grammar import FRAME_US, Kind, Mark
from rxpipe.testing.own_stages import OwnStages, own_config
from rxpipe.testing.rendering import render
from rxpipe.testing.rows import row_name, sign
from rxpipe.testing.scripted import as_code
from rxpipe.testing.stream_code import stream_as_test

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from reactivex import abc

    from rxpipe.config.models import Order
    from rxpipe.events import StageEvent
    from rxpipe.plan import StageExecutionPlan
    from rxpipe.testing.recording import Recording

Replayable = str | Path | PipelineRunResult | Iterable[Any]
"""A file of events, one line of JSON each; a result; or the events themselves."""


def recorded_events(source: Replayable) -> tuple[StageEvent, ...]:
    """Return the events of a file, of a result, or as given.

    Raises:
        pydantic.ValidationError: a line of the file is not an event.
    """
    if isinstance(source, str | Path):
        return PipelineRunResult.read_timeline(source).events
    if isinstance(source, PipelineRunResult):
        return source.events
    given: Iterable[Any] = source
    return tuple(given)


def replay(
    source: Replayable,
    *,
    speed: float = 1.0,
    start: Duration = 0.0,
    scheduler: abc.SchedulerBase | None = None,
) -> Observable[StageEvent]:
    """Return the recorded events at the pace they were recorded at, times *speed*; cold, completes after the last.

    Args:
        source: what was recorded; a file is read now.
        speed: 10 is ten times as fast; `math.inf` leaves no time between the events.
        start: events up to this moment of the run come at once; a `Player` seeks while it plays.
        scheduler: paces it; None for the one given to subscribe, else virtual time inside a test, else a daemon thread
            of the subscription's own.

    Raises:
        MarbleError: *speed* is not above 0.
    """
    if not speed > 0:
        raise MarbleError(f"speed={speed!r}: a replay needs a speed above 0.")
    events = recorded_events(source)
    begin_s = microseconds(start) / 1_000_000

    def subscribe(observer: abc.ObserverBase[StageEvent], given: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        pace = scheduler or given or TimeoutScheduler.singleton()
        if isinstance(pace, TimeoutScheduler):
            worker = WorkerScheduler("rxpipe-replay")
            return CompositeDisposable(_play(events, speed, begin_s, worker, observer), Disposable(worker.close))
        return _play(events, speed, begin_s, pace, observer)

    return Observable(subscribe)


def _play(
    events: Sequence[StageEvent],
    speed: float,
    begin_s: float,
    pace: abc.SchedulerBase,
    observer: abc.ObserverBase[StageEvent],
) -> abc.DisposableBase:
    began, index = pace.now, 0
    waiting = SerialDisposable()

    def wait() -> None:
        if index == len(events):
            observer.on_completed()
            return
        due_s = ((events[index].timestamp - events[0].timestamp).total_seconds() - begin_s) / speed
        waiting.disposable = pace.schedule_relative(max(0.0, due_s - (pace.now - began).total_seconds()), emit)

    def emit(*_: object) -> None:
        nonlocal index
        event, index = events[index], index + 1
        observer.on_next(event)
        wait()

    wait()
    return waiting


STEPS = {"queued": "q", "loading": "l"}
WORKING = frozenset({"stage_step", "stage_image_progress", "stage_retry", "stage_failed", "stage_cancelled"})

Paced = list[tuple[int, Any]]
"""Events with their frame, as microseconds from the first."""


def to_marbles(
    source: Replayable | Recording | Observable[Any],
    name: str = "",
    *,
    stages: Mapping[str, str] | None = None,
) -> str:
    """Return a test module that replays a recorded run, or any recorded stream.

    Of a run: its chain, a script per backend call, its timeline per stage; times are rounded to frames of 1 ms. From a
    result the chain is the one that ran; bare events have the stages in their order with nothing set, image by image if
    stages overlapped. Of a stream, recorded by `marbles.expect` or run here in virtual time: its diagram and values.

    Args:
        source: a file of events, a result, events; a recording, or a stream.
        name: of the test; by default test_recorded_run or test_recorded_stream.
        stages: the code that makes a stage of your own, by the stage's name, such as {"watermark": "watermark('me')"}.
            A function stage without it is written as one that hands each image on, and fails for those that failed.

    Raises:
        MarbleError: the run has no RunStart, or an operator stage that is not in *stages*; a value has no code.
    """
    if isinstance(source, Observable) or hasattr(source, "messages"):
        return stream_as_test(source, name or "test_recorded_stream")
    name = name or "test_recorded_run"
    events = recorded_events(source)
    if not events or events[0].kind != "run_start":
        raise MarbleError("A recorded run begins with RunStart.")
    plan = source.plan if isinstance(source, PipelineRunResult) else None
    own = OwnStages(events, plan, stages or {})
    paced = _paced(events, own.names)
    calls = _calls([(at, event) for at, event in paced if getattr(event, "stage_type", "") not in own.names])
    lines = [
        "import rxpipe as rxp",
        "from rxpipe import errors",
        *own.definitions(),
        *("", "", f"def {name}(marbles):"),
        "    run = marbles.run(",
        *own.in_code(_chain_code(events, plan)),
        *_arguments(calls, paced),
        "    )",
        "    run.timeline.to_be(",
        "        {",
        *_table({row: f'"{render(marks)}"' for row, marks in _rows(paced).items()}),
        "        }",
        "    )",
    ]
    return "\n".join(lines) + "\n"


def _paced(events: Sequence[StageEvent], own: Collection[str] = ()) -> Paced:
    """Return the events on a grid of frames; time passes only while a backend renders or is cancelled, as in a test."""
    elapsed_us, before, paced = 0, events[0].timestamp, []
    for event in events:
        works = event.kind in WORKING and getattr(event, "stage_type", "") not in own
        if works or (event.kind == "run_end" and event.status == "cancelled"):
            elapsed_us += (event.timestamp - before) // MICROSECOND
        before = event.timestamp
        paced.append((round(elapsed_us / FRAME_US) * FRAME_US, event))
    return paced


def _rows(paced: Paced) -> dict[str, list[Mark]]:
    rows: dict[str, list[Mark]] = {}
    taken: dict[int, str] = {}
    for at, event in paced:
        rows.setdefault(row_name(event, taken), []).append(Mark(at, *sign(event)))
    return rows


class _ScriptedCall:
    """One backend call as a script: its start, what it emitted, and the error it ended in."""

    def __init__(self, began: int) -> None:
        self.began = began
        self.marks: list[Mark] = []
        self.error = "None"

    def add(self, at: int, *signs: tuple[Kind, str]) -> None:
        self.marks += [Mark(at - self.began, *sign) for sign in signs]

    def fail(self, at: int, error: Any) -> None:
        self.add(at, ("error", ""))
        known = isinstance(getattr(errors, error.type, None), type) and error.type.startswith("Ba")
        self.error = f"errors.{error.type if known else 'BackendFailed'}({error.message!r})"


def _calls(paced: Paced) -> dict[str, list[_ScriptedCall]]:
    """Return every backend call of every stage type, in order."""
    calls: dict[str, list[_ScriptedCall]] = {}
    current: dict[int, _ScriptedCall] = {}
    before_at, failed = 0, None
    for at, event in paced:
        if _is_of_a_call(event, failed):
            if event.stage_index not in current:
                current[event.stage_index] = _ScriptedCall(before_at)
                calls.setdefault(event.stage_type, []).append(current[event.stage_index])
            if _saw_end(current[event.stage_index], at, event):
                del current[event.stage_index]
        before_at = at
        failed = event.error if event.kind == "stage_image_progress" else None
    return calls


def _is_of_a_call(event: Any, failed: Any) -> bool:
    """Return whether a call was in progress at this event; an image's failure can stop a stage between two calls."""
    if event.kind == "stage_failed":
        return failed is None
    return event.kind in WORKING and (event.kind != "stage_cancelled" or event.image_index is not None)


def _saw_end(call: _ScriptedCall, at: int, event: Any) -> bool:
    """Add the event to its call; return whether that has ended."""
    if event.kind == "stage_step":
        call.add(at, ("next", STEPS.get(event.phase, "s")))
    elif event.kind == "stage_image_progress" and event.error is None:
        call.add(at, ("next", "o" if event.outcome == "done" else "u"), ("end", ""))
    elif event.kind != "stage_cancelled":
        call.fail(at, event.error)
    return bool(event.kind != "stage_step")


def _arguments(calls: Mapping[str, list[_ScriptedCall]], paced: Paced) -> list[str]:
    scripts = {stage: json.dumps([render(call.marks) for call in made]) for stage, made in calls.items()}
    lines = ["        backend={", *_table(scripts), "        },"]
    failed = {stage: made for stage, made in calls.items() if any(call.error != "None" for call in made)}
    if failed:
        errors_of = {stage: f"[{', '.join(call.error for call in made)}]" for stage, made in failed.items()}
        lines += ["        errors={", *_table(errors_of), "        },"]
    at, last = paced[-1]
    if last.kind == "run_end" and last.status == "cancelled":
        lines.append(f'        cancel="{render([Mark(at, "off")])}",')
    return lines


def _table(entries: Mapping[str, str]) -> list[str]:
    """Return the lines of a dict, its values in one column."""
    widest = max(map(len, entries), default=0) + 3
    keys = {name: json.dumps(name) + ":" for name in entries}
    return [f"            {keys[name]:<{widest}} {value}," for name, value in entries.items()]


def _chain_code(events: Sequence[Any], plan: StageExecutionPlan | None) -> list[str]:
    stages: Any  # each with its config: that is what code is written of
    if plan is not None:
        attempts, settings = plan.settings.retry.attempts, plan.settings
        stages = plan.stages
    else:
        attempts = max((event.attempt + 1 for event in events if event.kind == "stage_retry"), default=1)
        stages, settings = _bare_stages(events[0]), RunSettings(order=_order(events))
    retry = RetryConfig(attempts=attempts, first_delay_s=0)  # pauses are part of the scripts, before what follows them
    return as_code(stages, settings.model_copy(update={"retry": retry, "timeout_s": None}))


def _order(events: Sequence[Any]) -> Order:
    """Return the order that the events show: in stage order no stage starts before the last one has ended."""
    in_progress = 0
    for event in events:
        if event.kind == "stage_start" and in_progress:
            return "image"
        in_progress += (event.kind == "stage_start") - (event.kind in {"stage_end", "stage_failed", "stage_cancelled"})
    return "stage"


def _bare_stages(start: Any) -> list[Any]:
    known = [stage for stage in start.stages if stage in set(StageType)]
    sections = {stage: {"images": start.images} if stage == "txt2img" else {} for stage in known}
    made = {stage.config.section: stage for stage in build_chain(PipelineConfig.from_mapping(sections)).stages}
    return [made.get(stage) or SimpleNamespace(config=own_config(stage)) for stage in start.stages]
