"""A run as a Chrome trace, which Perfetto and chrome://tracing open: images, stages and servers as threads."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING, Any

from rxpipe.views.report.bars import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rxpipe.views.report.bars import Attempt, Bar
    from rxpipe.views.report.shown_run import ShownRun

__all__ = ["trace_text"]

_IMAGES, _STAGES, _SERVERS = 1, 2, 3
_UNKNOWN = 100_000  # from here on, the threads of images whose number is not known


def trace_text(run: ShownRun) -> str:
    """Return the trace of a run as JSON in the Trace Event Format; times are in microseconds since the run began.

    Each image is a thread of the process "images", with a slice a stage and, inside it, one for each thing that the
    image spent its time on. The processes "stages" and "servers" have the same slices once more, those at the same
    time in a thread each. Retries, failures and images that were kept are instants; the finished images are a counter.
    """
    events = sorted(_events(run), key=lambda event: (event.get("ts", -1), -event.get("dur", 0)))
    producer = {"producer": "rxpipe report", "run": run.run_id}
    return json.dumps({"otherData": producer, "displayTimeUnit": "ms", "traceEvents": events})


def _events(run: ShownRun) -> Iterator[dict[str, Any]]:
    names = {picture.artifact_id: number for number, picture in enumerate(run.pictures, 1)}
    threads = _Threads()
    for offset_s, attempt in _offsets(run.attempts):
        yield _instant(
            f"attempt {attempt.number}", offset_s, (_IMAGES, 0), {"status": attempt.status or "no end"}, scope="g"
        )
        for bar in attempt.bars:
            number = names.get(bar.artifact_id or "", _UNKNOWN + bar.image_number)
            yield from _image(bar, offset_s, (_IMAGES, threads.image(number)))
            yield _slice(bar, offset_s, (_STAGES, threads.lane(_STAGES, bar.stage_type, bar, offset_s)))
            if bar.server is not None:
                yield _slice(bar, offset_s, (_SERVERS, threads.lane(_SERVERS, bar.server, bar, offset_s)))
        yield from _finished(attempt, offset_s)
    yield from threads.names()


def _offsets(attempts: Iterable[Attempt]) -> Iterator[tuple[float, Attempt]]:
    """Return each attempt with the seconds from the beginning of the run to its own, whatever the clock did between."""
    first, end_s = None, 0.0
    for attempt in attempts:
        first = attempt.began if first is None else first
        offset_s = max(end_s, (attempt.began - first).total_seconds())
        end_s = offset_s + attempt.length_s
        yield offset_s, attempt


def _finished(attempt: Attempt, offset_s: float) -> Iterator[dict[str, Any]]:
    """Return the counter of the images that came through all stages."""
    last = len(attempt.stages) - 1
    ends = sorted(bar.end_s for bar in attempt.bars if bar.stage_index == last and bar.outcome in {"done", "passed"})
    for number, end_s in enumerate([0.0, *ends]):
        at = _us(offset_s + end_s)
        yield {"ph": "C", "name": "finished", "pid": _IMAGES, "tid": 0, "ts": at, "args": {"images": number}}


def _image(bar: Bar, offset_s: float, where: tuple[int, int]) -> Iterator[dict[str, Any]]:
    yield _slice(bar, offset_s, where)
    for span in bar.spans:
        yield _complete(KINDS[span.kind], (offset_s + span.begin_s, offset_s + span.end_s), where, {}, span.kind)
    for retry in bar.retries:
        arguments = {"error": retry.error.message, "delay_s": retry.delay_s}
        yield _instant(f"try {retry.number} failed", offset_s + retry.at_s, where, arguments)
    if bar.error is not None:
        yield _instant(bar.outcome or "error", offset_s + bar.end_s, where, {"error": bar.error.message})
    elif bar.resumed:
        yield _instant("kept", offset_s + bar.end_s, where, {})


def _slice(bar: Bar, offset_s: float, where: tuple[int, int]) -> dict[str, Any]:
    given = {name: getattr(bar, name) for name in ("image_number", "seed", "outcome", "server", "artifact_id")}
    arguments = {name: value for name, value in given.items() if value is not None}
    name = bar.stage_type if where[0] != _STAGES else f"image {bar.image_number}"
    return _complete(name, (offset_s + bar.begin_s, offset_s + bar.end_s), where, arguments, bar.stage_type)


def _complete(
    name: str, times_s: tuple[float, float], where: tuple[int, int], arguments: dict[str, Any], category: str
) -> dict[str, Any]:
    begin, end = _us(times_s[0]), _us(times_s[1])
    return {
        "ph": "X", "name": name, "cat": category, "pid": where[0], "tid": where[1], "ts": begin,
        "dur": max(0, end - begin), "args": arguments,
    }  # fmt: skip


def _instant(
    name: str, at_s: float, where: tuple[int, int], arguments: dict[str, Any], *, scope: str = "t"
) -> dict[str, Any]:
    return {"ph": "i", "name": name, "s": scope, "pid": where[0], "tid": where[1], "ts": _us(at_s), "args": arguments}


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)


class _Threads:
    """The threads of a trace and their names; what happens at the same time is in different ones."""

    def __init__(self) -> None:
        self._next = count(1)
        self._named: dict[tuple[int, int], str] = {}
        self._lanes: dict[tuple[int, str], list[tuple[int, int]]] = {}

    def image(self, number: int) -> int:
        named = f"image {number}" if number < _UNKNOWN else f"image {number - _UNKNOWN} of its stage"
        self._named[_IMAGES, number] = named
        return number

    def lane(self, process: int, name: str, bar: Bar, offset_s: float) -> int:
        """Return a thread of that name that is free while the bar lasts."""
        begin, end = _us(offset_s + bar.begin_s), _us(offset_s + bar.end_s)
        lanes = self._lanes.setdefault((process, name), [])
        for position, (thread, free_at) in enumerate(lanes):
            if free_at <= begin:
                lanes[position] = thread, end
                return thread
        thread = next(self._next)
        lanes.append((thread, end))
        self._named[process, thread] = name if len(lanes) == 1 else f"{name} {len(lanes)}"
        return thread

    def names(self) -> Iterator[dict[str, Any]]:
        for process, name in ((_IMAGES, "images"), (_STAGES, "stages"), (_SERVERS, "servers")):
            if process != _SERVERS or any(key[0] == _SERVERS for key in self._named):
                yield _metadata("process_name", process, 0, {"name": name})
                yield _metadata("process_sort_index", process, 0, {"sort_index": process})
        for (process, thread), name in self._named.items():
            yield _metadata("thread_name", process, thread, {"name": name})
            yield _metadata("thread_sort_index", process, thread, {"sort_index": thread})


def _metadata(name: str, process: int, thread: int, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"ph": "M", "name": name, "pid": process, "tid": thread, "args": arguments}
