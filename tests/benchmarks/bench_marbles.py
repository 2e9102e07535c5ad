"""Print what a test costs: 20 events through 3 operators, here and on RxPY's TestScheduler, in interleaved rounds.

`python tests/benchmarks/bench_marbles.py [ROUNDS]`. The cost of a whole test: making the stage, the diagrams, the run
and the comparison. Beside it: reading a diagram, 10,000 events at one instant, and a run of four stages.
"""

# ruff: noqa: T201  a benchmark prints

from __future__ import annotations

import statistics
import sys
import time
from typing import TYPE_CHECKING

import reactivex as rx
from reactivex import operators as ops
from reactivex.testing import ReactiveTest, TestScheduler

import rxpipe as rxp
from rxpipe.testing import Marbles, parse

if TYPE_CHECKING:
    from collections.abc import Callable

REPEATS = 50
LETTERS = "abcdefghijklmnopqrst"
SOURCE = "-".join(LETTERS) + "-|"
EXPECTED = "--" + "---".join(LETTERS[1::2]) + "-|"


def with_marbles() -> None:
    """20 letters in, every second one out, one frame later."""
    with Marbles() as marbles:
        stream = marbles.hot(SOURCE).pipe(
            ops.map(str.upper), ops.filter(lambda letter: ord(letter) % 2 == 0), ops.map(str.lower)
        )
        marbles.expect(stream).to_be(EXPECTED)


def with_test_scheduler() -> None:
    """The same with reactivex.testing."""
    scheduler = TestScheduler()
    messages = [ReactiveTest.on_next(210 + 2 * index, letter) for index, letter in enumerate(LETTERS)]
    source = scheduler.create_hot_observable([*messages, ReactiveTest.on_completed(250)])
    result = scheduler.start(
        lambda: source.pipe(ops.map(str.upper), ops.filter(lambda letter: ord(letter) % 2 == 0), ops.map(str.lower))
    )
    wanted = [ReactiveTest.on_next(210 + 2 * index, letter) for index, letter in enumerate(LETTERS) if index % 2]
    assert result.messages == [*wanted, ReactiveTest.on_completed(250)]


def ten_thousand_at_once() -> None:
    """10,000 events at one instant, in order and in time."""
    with Marbles() as marbles:
        stream = marbles.expect(marbles.hot("250ms a").pipe(ops.flat_map(lambda _: rx.from_iterable(range(10_000)))))
        marbles.run()
        seen = stream.accept().messages
        if [mark.value for mark in seen] != list(range(10_000)) or {mark.at for mark in seen} != {250_000}:
            raise AssertionError("time or order was lost")


def four_stages() -> None:
    """A run of four stages on two images, on a scripted backend."""
    with Marbles() as marbles:
        stages = rxp.txt2img(prompt="x", images=2), rxp.img2img(), rxp.adetailer(), rxp.upscale()
        run = marbles.run(rxp.chain(*stages), backend={"txt2img": "-s-s-o|"})
        if run.status != "completed":
            raise AssertionError(run.status)


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """The mean of *repeats* in a row."""
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - began) / repeats * 1000


def main(rounds: int) -> None:
    """Print medians of *rounds* interleaved rounds."""
    cases: dict[str, tuple[Callable[[], object], int]] = {
        "rxpipe.testing, 20 events, 3 operators": (with_marbles, REPEATS),
        "reactivex TestScheduler, the same": (with_test_scheduler, REPEATS),
        "reading a diagram of 20 letters": (lambda: parse(SOURCE), REPEATS),
        "10,000 events at one instant": (ten_thousand_at_once, 1),
        "a run of four stages, two images": (four_stages, 3),
    }
    for work, _ in cases.values():
        work()
    times: dict[str, list[float]] = {case: [] for case in cases}
    for _ in range(rounds):
        for case, (work, repeats) in cases.items():
            times[case].append(milliseconds(work, repeats))
    for case, measured in times.items():
        print(f"{case:<40} {statistics.median(measured):9.3f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 11)
