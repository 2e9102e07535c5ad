"""What each kind of failure says, as a file to read: `failures/<name>.txt`, in the width of a terminal.

A text that is meant to change is written anew with RXPIPE_FAILURES=write, and read in the diff.
"""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import reactivex as rx
from PIL import Image
from pydantic import BaseModel
from reactivex import Observable
from reactivex import operators as ops
from reactivex.disposable import Disposable
from reactivex.subject import Subject

import rxpipe as rxp
from rxpipe.testing import Marbles, VirtualClock, anything, close_to, instance, prove
from rxpipe.testing.clock import MarbleError

FOLDER = Path(__file__).parent / "failures"
WIDTH = 72  # pytest takes eight of the eighty columns


@dataclass
class Size:
    width: int
    height: int


class Settings(BaseModel):
    prompt: str
    size: Size
    seeds: list[int]


def expecting(source, text, values=None, error=None, *, emits=None, fails=None):
    """A case in which *source*, a stream or a diagram of what it emits and fails with, is not what is expected."""

    def case(marbles):
        stream = marbles.cold(source, emits, fails) if isinstance(source, str) else source
        marbles.expect(stream).to_be(text, values, error)

    return case


def of(value, expected):
    """A case in which one value came and another was expected."""
    return expecting("--a|", "--a|", {"a": expected}, emits={"a": value})


LONG = "a lighthouse on a cliff at dusk, waves, oil on canvas, warm light, detailed, by the sea, "
PLAN = {"stage": "upscale", "size": (512, 512), "options": {"scale": 2, "steps": [1, 2, 3]}}
OTHER_PLAN = {"stage": "upscale", "size": (512, 768), "options": {"scale": 2, "steps": [1, 2]}, "extra": None}
PIXELS = np.zeros((64, 64, 3), np.uint8)
BRIGHTER = PIXELS.copy()
BRIGHTER[3, 5:9, 1] = 7


def halve(n):
    """Raise for an odd number."""
    if n % 2:
        raise ValueError(f"{n} is odd")
    return n // 2


def leaking(marbles):
    source = marbles.hot("-a-b")

    def deaf(observer, _=None):
        source.subscribe(observer)
        return Disposable()

    marbles.expect(rx.create(deaf)).to_be("-a-b")


def holding(_):
    Observable(lambda *_: Disposable(lambda: None)).pipe(ops.map(str)).subscribe(print)


def dropping(_):
    hub = Subject()
    rx.of("a").subscribe(hub)
    rx.of("b", "c").subscribe(hub)


def failing_late(marbles):
    observers = []
    stream = rx.create(lambda observer, _: observers.append(observer) or Disposable())
    marbles.expect(stream, "^-!").to_be("")
    observers[0].on_error(OSError("disk full"))


def subscribing(*diagrams):
    def case(marbles):
        source = marbles.cold("--a|")
        marbles.expect(source).to_be("--a|")
        source.subscriptions.to_be(*diagrams)

    return case


def out_of_turn(marbles):
    one = marbles.expect(marbles.cold("--a-b|"), name="one")
    two = marbles.expect(marbles.cold("---x"), name="two")
    marbles.expect_order({one: "ab-|", two: "--x"})


def never_taken(marbles):
    with marbles.turbine(marbles.cold("-a-b-#", error=OSError("disk full"))) as t:
        marbles.run()
        t.item("a")


def instead_of_a_value(marbles):
    with marbles.turbine(marbles.cold("-a|")) as t:
        t.items(2)


def loud(marbles):
    stream = marbles.expect(marbles.cold("3s a"))
    stream.no_event_for("2s")
    stream.no_event_for("2s")


def never_compared(marbles):
    marbles.expect(marbles.cold("-a|"), name="previews")


def too_late(marbles):
    subject = Subject()
    marbles.expect(subject).to_be("")
    subject.on_next("late")


def in_a_step(marbles):
    marbles.step("after the cancel")
    marbles.expect(marbles.cold("-a|"), name="previews").to_be("-b|")


def in_a_row(marbles):
    run = marbles.run(rxp.chain(rxp.txt2img(prompt="x"), rxp.upscale()))
    run.timeline.to_be(txt2img="s--[1|]", upscale="---s-[1|]")


def lawless(_):
    prove(lambda source: Observable(lambda observer, _=None: source.subscribe(observer.on_next, lambda _: None)))


CASES = {
    "late": expecting("-a--b--|", "-a-b--|"),
    "early": expecting("-a-b---|", "-a--b--|"),
    "missing": expecting("-a----|", "-a--b-|"),
    "not expected": expecting("-a--c-|", "-a----|"),
    "order": expecting("-a-[cb]-|", "-a-[bc]-|"),
    "another value": expecting("-a--c|", "-a--b|"),
    "equal text": lambda marbles: marbles.expect(rx.of(1, 2, 3)).to_be("(123|)"),
    "nested value": of(OTHER_PLAN, PLAN),
    "dataclass": of(Size(512, 768), Size(512, 512)),
    "model": of(Settings(prompt=LONG, size=Size(8, 8), seeds=[1]), Settings(prompt=LONG, size=Size(8, 9), seeds=[2])),
    "long text": of(LONG * 3 + "at night", LONG * 3 + "at dawn"),
    "array": of(BRIGHTER, PIXELS),
    "array of another shape": of(PIXELS[:32], PIXELS),
    "picture": of(Image.new("RGB", (8, 8), (9, 0, 0)), Image.new("RGB", (8, 8))),
    "close to": of(0.5, close_to(0.3, 0.1)),
    "matcher": of(Size(512, 768), instance(Size, width=512, height=512)),
    "predicate": of(3, lambda value: value > 5),
    "matchers let through": expecting("-a-b|", "-a-c|", {"a": anything(), "c": int}, emits={"a": PLAN, "b": "x"}),
    "wrong error": expecting("-a-#", "-a-#", None, ConnectionError("refused"), fails=TimeoutError("no answer in 2 s")),
    "raised inside": expecting(rx.of(2, 3).pipe(ops.map(halve)), "(ab|)", {"a": 1, "b": 1}),
    "end missing": expecting("-a-b", "-a-b|"),
    "instead of the end": expecting("-a-b|", "-a-|"),
    "after the end": lambda marbles: (
        (marbles.unruly("-a|b").subscribe(_observed(marbles)) and marbles.run()) or marbles.recordings[0].to_be("-a|")
    ),
    "inner stream": lambda marbles: marbles.expect(marbles.hot("-a-b|").pipe(ops.window_with_count(2))).to_be(
        "x--(y|)", {"x": marbles.inner("-a-b"), "y": anything()}
    ),
    "many values": lambda marbles: marbles.expect(rx.from_iterable([{"n": n} for n in range(5000)])).to_be("a|"),
    "long stream": expecting("ab" * 100 + "-c|", "ab" * 100 + "c|"),
    "long names": expecting("-{txt2img start}-{upscale 2 failed}|", "-{txt2img start}-{upscale 2}|"),
    "emoji": expecting("-👍-👎|", "-👍-👍|"),
    "never ends": lambda marbles: marbles.expect(rx.interval(0.001), name="ticks").to_be("|"),
    "subscribed unexpectedly": subscribing("-----"),
    "subscribed too long": subscribing("^-!"),
    "order across streams": out_of_turn,
    "silence broken": loud,
    "never compared": never_compared,
    "after the last comparison": too_late,
    "in a step": in_a_step,
    "row of a timeline": in_a_row,
    "never taken": never_taken,
    "instead of an item": instead_of_a_value,
    "leaked source": leaking,
    "leaked timer": lambda _: rx.interval(0.001).subscribe(print),
    "leaked subscription": holding,
    "dropped": dropping,
    "dropped error": failing_late,
    "swallowed error": lambda _: rx.of(0).pipe(ops.map(lambda n: 1 // n)).subscribe(print),
    "real thread": lambda _: threading.Timer(1.0, print).start(),
    "waits for ever": lambda marbles: marbles.run_async(_waiting()),
    "syntax": expecting("--a,b|", ""),
    "unknown name": expecting("-a-b", "", emits={"a": 1}),
    "broken law": lawless,
}


def _observed(marbles):
    return marbles.observer()


async def _waiting():
    await rx.never()


def text_of(case):
    """The failure of a test, as pytest would print it, with nothing of this machine in it."""
    clock = VirtualClock(max_actions=2_000)
    with pytest.raises((AssertionError, MarbleError)) as failed, Marbles(clock) as marbles:
        case(marbles)
    text = re.sub(r'"Thread-\d+', '"Thread-1', str(failed.value))
    text = re.sub(
        r"(test_failure_texts\.py|generate\.py|timer\.py|interval\.py|periodicscheduler\.py):\d+", r"\1:1", text
    )
    return text.replace(f"{Path(__file__).parents[2]}/", "").replace(" of line ", " of line #") + "\n"


@pytest.mark.parametrize("name", CASES)
def test_a_failure_reads_as_its_file_says(name):
    text = re.sub(r"of line #\d+", "of line 1", text_of(CASES[name]))
    path = FOLDER / f"{name.replace(' ', '-')}.txt"
    if os.environ.get("RXPIPE_FAILURES") == "write":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
    first, *lines = text.splitlines()
    assert len(first) <= WIDTH
    assert [line for line in lines if len(line) > WIDTH] == []


def test_every_file_has_its_case():
    assert {path.stem for path in FOLDER.iterdir()} == {name.replace(" ", "-") for name in CASES}
