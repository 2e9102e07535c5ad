"""Laws that every run keeps, whatever its stages, its backend's faults and the moment it is cancelled at.

Each takes a `ScriptedRun` and raises `LawBroken` with a test that can be pasted. `check` asks all of them.
"""

from __future__ import annotations

from functools import reduce as fold
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

from rxpipe.events import TERMINALS, RunEnd, RunStart, StageEnd, StageEvent, StageImageProgress, StageStart
from rxpipe.result import PipelineRunResult, reduce
from rxpipe.testing.clock import MarbleError, spoken
from rxpipe.testing.grammar import FRAME_US, Mark
from rxpipe.testing.rendering import render
from rxpipe.testing.scripted import as_test

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rxpipe.chains import Chain
    from rxpipe.config import PipelineConfig
    from rxpipe.testing.marbles import Marbles
    from rxpipe.testing.scripted import Errors, Script, ScriptedRun

__tracebackhide__ = True  # pytest shows the test's line, not ours


class LawBroken(AssertionError):
    """A law does not hold; the message ends with a test that shows it."""


def _law_broken(law: str, why: str, run: ScriptedRun) -> LawBroken:
    return LawBroken(f"{law}: {why}\n\n{run.timeline}\n\nThis test shows it:\n\n{as_test(run)}")


def check(run: ScriptedRun, *, in_order: bool | None = None) -> None:
    """Check all laws that hold for every run that has ended.

    Args:
        run: played to its end.
        in_order: whether images leave a stage in the order of their indices, which holds where at most one is in
            progress at a time; by default read from the backend's `capacity`, True where it has none.

    Raises:
        LawBroken: names the law, shows the timeline, and gives a test to paste.
    """
    events = run.result.events
    if in_order is None:
        in_order = getattr(run.backend, "capacity", 1) == 1
    problems: dict[str, Iterator[str]] = {
        "every start has its one terminal": unbracketed(events),
        "events count up and time never falls": disordered(events),
        "each image leaves a stage once, with one total": miscounted(events, in_order=in_order),
        "the end releases everything": unreleased(run),
        "the result is the fold of the events": unfolded(run),
    }
    for law, found in problems.items():
        for why in found:
            raise _law_broken(law, why, run)


def unbracketed(events: Sequence[StageEvent]) -> Iterator[str]:
    """Yield where a timeline breaks its grammar: RunStart { stage } RunEnd, each stage from start to one terminal."""
    if not events or not isinstance(events[0], RunStart) or not isinstance(events[-1], RunEnd):
        yield "the run does not begin with RunStart and end with RunEnd"
    if sum(isinstance(event, RunStart | RunEnd) for event in events) > 2:  # noqa: PLR2004 - one of each
        yield "RunStart or RunEnd was emitted twice"
    for index, stage in _stages(events).items():
        starts = [position for position, event in enumerate(stage) if isinstance(event, StageStart)]
        ends = [position for position, event in enumerate(stage) if isinstance(event, TERMINALS)]
        if starts != [0] or ends != [len(stage) - 1]:
            kinds = ", ".join(event.kind for event in stage)
            yield f"stage {index} emitted {kinds}"


def _stages(events: Sequence[StageEvent]) -> dict[int, list[StageEvent]]:
    staged = sorted((event for event in events if hasattr(event, "stage_index")), key=_index)
    return {index: list(group) for index, group in groupby(staged, key=_index)}


def _index(event: Any) -> int:
    index: int = event.stage_index
    return index


def disordered(events: Sequence[StageEvent]) -> Iterator[str]:
    """Yield where `seq` has a gap, or a timestamp lies before the one before it."""
    if [event.seq for event in events] != list(range(len(events))):
        yield f"seq is {[event.seq for event in events]}"
    for one, other in pairwise(events):
        if other.timestamp < one.timestamp:
            yield f"event {other.seq} is earlier than event {one.seq}"


def miscounted(events: Sequence[StageEvent], *, in_order: bool = True) -> Iterator[str]:
    """Yield where the images that left a stage are not 1..n, each exactly once, or where their total changes.

    Args:
        events: a timeline.
        in_order: whether they leave in the order of their indices. If not, a stage that was cut short may lack any of
            them, as those in progress are lost whatever their index is; none comes twice, and none lies beyond the
            total.
    """
    for index, stage in _stages(events).items():
        indices = [event.image_index for event in stage if isinstance(event, StageImageProgress)]
        if not _once_each(indices, stage, in_order=in_order):
            yield f"images left stage {index} as {indices}"
        if len({getattr(event, "total_images", None) for event in stage}) > 1:
            yield f"stage {index} changed its total_images"


def _once_each(indices: Sequence[int | None], stage: Sequence[StageEvent], *, in_order: bool) -> bool:
    wanted = range(1, len(indices) + 1)
    if in_order:
        return indices == list(wanted)
    if isinstance(stage[-1], StageEnd):
        return {*indices} == {*wanted}
    total = getattr(stage[0], "total_images", None)
    beyond = [index for index in indices if index is None or index < 1 or (total is not None and index > total)]
    return len({*indices}) == len(indices) and not beyond


def unreleased(run: ScriptedRun) -> Iterator[str]:
    """Yield what a run that has ended still holds: a backend call, a planned action, its executor."""
    if not run.result.events or not isinstance(run.result.events[-1], RunEnd):
        yield "the run has not ended"
        return
    for stage, source in run.backend.sources.items():
        if any(entry.off_us is None for entry in source.subscriptions.entries):
            yield f"{stage} is still rendering"
    if run.executor.active is not None:
        yield "the executor still has an active run"
    if run.pending:
        yield f"{run.pending} actions are still planned"


def unfolded(run: ScriptedRun) -> Iterator[str]:
    """Yield where the result is not what folding the emitted events gives."""
    if tuple(run.events.values) != run.result.events:
        yield "the timeline in the result is not what was emitted"
    folded = fold(reduce, run.events.values, PipelineRunResult(run.result.plan))
    if (folded.status, folded.variants, folded.images) != (run.status, run.result.variants, run.result.images):
        yield "folding the emitted events gives another result"


def cancel_at_every_frame(
    marbles: Marbles,
    job: PipelineConfig | Chain,
    backend: Mapping[str, Script] | None = None,
    *,
    errors: Mapping[str, Errors] | None = None,
) -> int:
    """Run *job* once to its end, then again for every frame up to it, cancelled there, and `check` each.

    Returns:
        How many runs that were.

    Raises:
        LawBroken: with the cancelled run as a test to paste.
        MarbleError: the run takes more than 10 s of virtual time; shorten its scripts and pauses.
    """
    frames = length_in_frames(marbles, job, backend, errors=errors)
    for frame in range(frames + 2):
        moment = render([Mark(frame * FRAME_US, "off")])
        check(marbles.run(job, backend, errors=errors, cancel=moment))
    return frames + 2


def length_in_frames(
    marbles: Marbles,
    job: PipelineConfig | Chain,
    backend: Mapping[str, Script] | None = None,
    *,
    errors: Mapping[str, Errors] | None = None,
) -> int:
    """Return how many frames *job* takes when it is not cancelled.

    Raises:
        MarbleError: more than 10,000.
    """
    before_us = marbles.clock.now_us
    marbles.run(job, backend, errors=errors)
    length_us = marbles.clock.now_us - before_us
    if length_us > 10_000 * FRAME_US:
        raise MarbleError(f"The run takes {spoken(length_us)}: too long to cancel at every frame.")
    return length_us // FRAME_US
