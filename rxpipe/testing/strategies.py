"""Hypothesis strategies whose examples are diagrams: what fails shrinks to a text that can be pasted into a test.

```python
@given(streams())
def test_my_operator_never_reorders(text):
    with Marbles() as marbles:                       # not the fixture: every example starts at time zero
        marbles.expect(marbles.cold(text).pipe(my_operator())).to_be(text)
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.errors import missing
from rxpipe.testing.grammar import FRAME_US, Kind, Mark
from rxpipe.testing.laws import length_in_frames
from rxpipe.testing.marbles import Marbles
from rxpipe.testing.rendering import render

try:
    from hypothesis import strategies as st
except ModuleNotFoundError as error:
    raise missing("rxpipe.testing.strategies", "hypothesis") from error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hypothesis.strategies import DrawFn, SearchStrategy

    from rxpipe.chains import Chain
    from rxpipe.config import PipelineConfig
    from rxpipe.testing.scripted import Errors, Script

ENDS: dict[str, Kind | None] = {"|": "end", "#": "error", "-": None}


@st.composite
def streams(
    draw: DrawFn, names: Sequence[str] = "abc", *, max_size: int = 8, max_gap: int = 8, ends: str = "|#-"
) -> str:
    """Draw diagrams of streams.

    Args:
        draw: Hypothesis's own.
        names: of the values.
        max_size: most values.
        max_gap: longest silence, frames; 0 puts everything at one instant. Shrinks towards none.
        ends: which ends occur, "-" for none; the first is the simplest.
    """
    at, marks = 0, []
    for name in draw(st.lists(st.sampled_from(list(names)), max_size=max_size)):
        at += draw(st.integers(0, max_gap)) * FRAME_US
        marks.append(Mark(at, "next", name))
    kind = ENDS[draw(st.sampled_from(ends))]
    at += draw(st.integers(0, max_gap)) * FRAME_US  # also where nothing ends: fewer choices would count as simpler
    if kind is not None:
        marks.append(Mark(at, kind))
    return render(marks)


@st.composite
def scripts(draw: DrawFn, *, max_steps: int = 3, max_gap: int = 4, failures: bool = True, hangs: bool = False) -> str:
    """Draw scripts of one rendering: steps, then the picture, or an error, or with *hangs* nothing at all."""
    ends = ["o|", *(["#"] if failures else []), *([""] if hangs else [])]
    steps = draw(st.lists(st.sampled_from("sp"), max_size=max_steps))
    parts = ["-" * draw(st.integers(0, max_gap)) + step for step in steps]
    return "".join(parts) + "-" * draw(st.integers(0, max_gap)) + draw(st.sampled_from(ends))


@st.composite
def interleavings(draw: DrawFn, k: int, *, names: str = "abcdefghijklmnopqrstuvwxyz", max_each: int = 4) -> list[str]:
    """Draw one order of the values of *k* emitters, as k diagrams with a frame for each value and a name for each."""
    counts = [draw(st.integers(0, max_each)) for _ in range(k)]
    order = draw(st.permutations([emitter for emitter, count in enumerate(counts) for _ in range(count)]))
    rows: list[list[Mark]] = [[] for _ in range(k)]
    for frame, emitter in enumerate(order):
        name = names[frame] if frame < len(names) else f"v{frame}"
        rows[emitter].append(Mark(frame * FRAME_US, "next", name))
    return [render(row) for row in rows]


def cancel_at_any_frame(
    job: PipelineConfig | Chain,
    backend: Mapping[str, Script] | None = None,
    *,
    errors: Mapping[str, Errors] | None = None,
) -> SearchStrategy[str]:
    """Draw moments to cancel *job* at, "-----!", from its first frame to one after its last; shrinks towards the first.

    Raises:
        MarbleError: the run takes more than 10 s of virtual time.
    """
    with Marbles() as marbles:
        frames = length_in_frames(marbles, job, backend, errors=errors)
    return st.integers(0, frames + 1).map(lambda frame: render([Mark(frame * FRAME_US, "off")]))
