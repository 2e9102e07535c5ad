"""A run's timeline as marbles: one row a stage, a letter an event.

```text
run      s---------------|          s RunStart, | RunEnd (completed or partial), # failed, ! cancelled
txt2img  s-p-p-1-p-p-2|             s StageStart, p StageStep, r StageRetry, 1 2 ... StageImageProgress,
upscale  -------------s-r--#        {2 failed} an image not done, | StageEnd, # StageFailed, ! StageCancelled
```

Times count from the run's first event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rxpipe.testing.clock import MICROSECOND
from rxpipe.testing.diagram import MarblePicture
from rxpipe.testing.grammar import Kind, Mark
from rxpipe.testing.matchers import Matching

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rxpipe.events import StageEvent

ENDS: dict[str, Kind] = {"stage_end": "end", "stage_failed": "error", "stage_cancelled": "off"}
STATUS: dict[str, Kind] = {"completed": "end", "partial": "end", "failed": "error", "cancelled": "off"}
LETTERS = {"run_start": "s", "stage_start": "s", "stage_step": "p", "stage_retry": "r"}


def sign(event: StageEvent) -> tuple[Kind, str]:
    """Return how an event is written: the kind of its mark, and its name."""
    untyped: Any = event
    if untyped.kind == "run_end":
        return STATUS[untyped.status], ""
    if untyped.kind in ENDS:
        return ENDS[untyped.kind], ""
    if untyped.kind == "stage_image_progress":
        return "next", str(
            untyped.image_index
        ) if untyped.outcome == "done" else f"{untyped.image_index} {untyped.outcome}"
    return "next", LETTERS[untyped.kind]


def event_name(event: StageEvent) -> str:
    """Return an event's name in a diagram: "run_start", "upscale start", "upscale 2 failed", "run completed"."""
    untyped: Any = event
    if untyped.kind == "run_start":
        return "run_start"
    if untyped.kind == "run_end":
        return f"run {untyped.status}"
    if untyped.kind == "stage_image_progress":
        return f"{untyped.stage_type} {sign(event)[1]}"
    return f"{untyped.stage_type} {untyped.kind.removeprefix('stage_')}"


def named_event(name: str) -> Matching:
    """Match the event of that name."""
    return Matching(lambda event: hasattr(event, "kind") and event_name(event) == name, name)


def row_name(event: StageEvent, taken: dict[int, str]) -> str:
    """Return the row of an event: "run", or its stage's name, numbered if another stage has that name too."""
    index: int | None = getattr(event, "stage_index", None)
    if index is None:
        return "run"
    name: str = getattr(event, "stage_type", "")
    if index not in taken:
        same = sum(other.split("/")[0] == name for other in taken.values())
        taken[index] = f"{name}/{same + 1}" if same else name
    return taken[index]


def rows_of(events: Iterable[StageEvent]) -> dict[str, tuple[Mark, ...]]:
    """Return the marks of each row, "run" first, then the stages in order of start; times from the first event."""
    rows: dict[str, list[Mark]] = {"run": []}
    taken: dict[int, str] = {}
    zero = None
    for event in events:
        zero = zero or event.timestamp
        kind, name = sign(event)
        row = rows.setdefault(row_name(event, taken), [])
        row.append(Mark((event.timestamp - zero) // MICROSECOND, kind, name))
    return {name: tuple(marks) for name, marks in rows.items()}


def timeline(events: Iterable[StageEvent], title: str = "") -> MarblePicture:
    """Return a run's events, such as `result.timeline`, as a picture; a notebook shows it, `str()` writes it."""
    return MarblePicture(tuple(rows_of(events).items()), title=title)
