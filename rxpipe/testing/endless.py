"""A run that never ends: which stream it is, what came, what ran last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.testing.clock import Runaway
from rxpipe.testing.diagram import aligned
from rxpipe.testing.mismatch import ROW
from rxpipe.testing.naming import name_values
from rxpipe.testing.origin import placed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rxpipe.testing.recording import Recording

__tracebackhide__ = True  # pytest shows the test's line, not ours

FIRST = 100
HINT = """Let it end: expect(stream, "^-----!") unsubscribes, ops.take(3) ends;
  marbles.clock.advance_by("5ms") and to_be_so_far(...) look at a part."""


def named(runaway: Runaway, recordings: Sequence[Recording], recent: Sequence[str]) -> Runaway:
    """Return *runaway* as an error that names the stream that does not end, and draws what came of it."""
    stream = _endless(recordings)
    cause = runaway.message.partition(". The last were")[0]
    if stream is None:
        return runaway
    stream.accept()
    came = [
        recorded for recorded in stream.messages[:FIRST] if not isinstance(recorded.value, Runaway | RecursionError)
    ]
    marks, _ = name_values(came)
    picture = aligned([(stream.name or "stream", marks)], (), ROW) if marks else ["nothing came"]
    parts = [
        f"{stream.name or 'this stream'} never ends: {cause}",
        *("", *picture, ""),
        *placed(stream.made_at),
        *(["", "What ran last:", *(f"  {each}" for each in recent)] if recent else []),
        *("", HINT),
    ]
    return Runaway("\n".join([parts[0], *(f"  {part}".rstrip() for part in parts[1:])]))


def _endless(recordings: Sequence[Recording]) -> Recording | None:
    """Return the stream that the guard ended, else the open one of which most came."""
    for recording in recordings:
        if recording.messages and isinstance(recording.messages[-1].value, Runaway | RecursionError):
            return recording
    still = [each for each in recordings if not each.messages or each.messages[-1].kind == "next"]
    return max(still, key=lambda each: len(each.messages), default=None)
