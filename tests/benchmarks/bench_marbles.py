"""Print what a test costs: 20 events through 3 operators, here and on RxPY's TestScheduler, in interleaved rounds.

`python tests/benchmarks/bench_marbles.py [ROUNDS]`. The cost of a whole test: making the stage, the diagrams, the run
and the comparison. Beside it: what grows with the size of a diagram or a failure, and what pytest's start pays.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import reactivex as rx
from reactivex import operators as ops
from reactivex.testing import ReactiveTest, TestScheduler
from table import Row, at_most, show

import rxpipe as rxp
from rxpipe.testing import Marbles, Mismatch, parse, prove

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPEATS = 50
MEGABYTE = 1_000_000
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


def unknown_values() -> None:
    """10,000 values that no expectation names, in a failure."""
    with Marbles(verify=False) as marbles:
        stream = marbles.expect(rx.from_iterable([{"n": n, "of": [n]} for n in range(10_000)]))
        try:
            stream.to_be("a|")
        except Mismatch:
            return
    raise AssertionError("what differs did not fail")


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """The mean of *repeats* in a row."""
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - began) / repeats * 1000


def least_cpu_s(work: Callable[[], object], rounds: int = 5) -> float:
    """The processor's seconds, the least of some rounds."""
    times = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def medians(rounds: int) -> dict[str, float]:
    """Milliseconds of each case, the median of interleaved rounds."""
    cases: dict[str, tuple[Callable[[], object], int]] = {
        "rxpipe": (with_marbles, REPEATS),
        "reactivex": (with_test_scheduler, REPEATS),
        "at once": (ten_thousand_at_once, 1),
        "stages": (four_stages, 3),
    }
    for work, _ in cases.values():
        work()
    times: dict[str, list[float]] = {case: [] for case in cases}
    for _ in range(rounds):
        for case, (work, repeats) in cases.items():
            times[case].append(milliseconds(work, repeats))
    return {case: statistics.median(measured) for case, measured in times.items()}


def modules_of_the_plugin() -> int:
    """How many modules pytest's start imports for the plugin, beyond its own."""
    code = "import sys, pytest; n = len(sys.modules); import _rxpipe_pytestplugin; print(len(sys.modules) - n - 1)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603 - ours
    return int(done.stdout)


def measured(rounds: int) -> Iterator[Row]:
    """Every row of the table."""
    ms = medians(rounds)
    yield Row("20 events, 3 operators: rxpipe.testing", f"{ms['rxpipe']:.3f} ms")
    yield Row("20 events, 3 operators: reactivex TestScheduler", f"{ms['reactivex']:.3f} ms")
    yield at_most("  times the cost of reactivex", ms["rxpipe"] / ms["reactivex"], 1.3)
    yield at_most("  beyond reactivex", ms["rxpipe"] - ms["reactivex"], 0.3, " ms")
    text = ("-a-b-c" * 200_000)[:MEGABYTE]
    whole, quarter = least_cpu_s(lambda: parse(text)), least_cpu_s(lambda: parse(text[: MEGABYTE // 4]))
    yield at_most("reading 1 MB of marbles", whole, 0.5, " s")
    yield at_most("  times what a quarter takes", whole / quarter, 6)
    for piece in ("abc", "(ab)", "{a}", "5ms a "):
        yield at_most(f"  1 MB of {piece!r}", least_cpu_s(partial(parse, piece * (MEGABYTE // len(piece)))), 0.5, " s")
    yield at_most("reading 16,000 digits", least_cpu_s(lambda: parse("1" * 16_000)), 0.1, " s")
    yield at_most("a failure with 10,000 unknown values", least_cpu_s(unknown_values, 3), 1.0, " s")
    yield at_most("modules that the pytest plugin imports", modules_of_the_plugin(), 0)
    yield Row("10,000 events at one instant", f"{ms['at once']:.1f} ms")
    yield Row("a run of four stages, two images", f"{ms['stages']:.1f} ms")
    yield at_most("all laws for an operator of one source", least_cpu_s(lambda: prove(ops.debounce(0.003))), 0.1, " s")


def main(rounds: int) -> int:
    """Print the table; 1 if an aim was missed."""
    return show("marbles", measured(rounds))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 11))
