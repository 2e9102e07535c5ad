"""Print what 200 pairs of Ctrl+C, and one at every line of a cancel, leave behind: no run may stay open.

`python tests/benchmarks/bench_signals.py [PAIRS]`. The pairs strike a program of their own at random moments of a run
that renders and writes; after each the run must be over, and the next one must start.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from table import at_least, at_most, show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from table import Row

_ROUND = 25  # pairs that one program meets
_TESTS = Path(__file__).parents[1] / "pipeline" / "test_control.py"

PROGRAM = """
import json, os, random, signal, sys, threading, time
import reactivex as rx
import rxpipe as rxp
from rxpipe.testing.scripted import tiny_picture

class Ready(rxp.Backend):
    name = "ready"
    overlap_saves = True
    def render(self, stage, source):
        return rx.timer(0.002).pipe(rx.operators.map(lambda _: rxp.Output(tiny_picture(stage.seed))))

dice = random.Random(int(sys.argv[3]))
folder, pairs = sys.argv[1], int(sys.argv[2])
runner = rxp.PipelineRunner(Ready())
chain = rxp.chain(rxp.txt2img(prompt="a", images=50, seed=1), rxp.upscale(), out=folder)
tally = {"open": 0, "refused": 0, "statuses": {}, "longest_s": 0.0, "torn": 0}

def strike(first_s, second_s):
    for wait_s in (first_s, second_s):
        time.sleep(wait_s)
        os.kill(os.getpid(), signal.SIGINT)

def once():
    striking = threading.Thread(target=strike, args=(dice.uniform(0, 0.1), dice.choice([0, dice.uniform(0, 0.02)])))
    begin = None
    try:
        striking.start()
        runner.run(chain)
    except KeyboardInterrupt:
        begin = time.monotonic()
    while striking.is_alive():
        try:
            striking.join()
        except KeyboardInterrupt:
            pass
    return begin

for _ in range(pairs):
    begin = time.monotonic()
    try:
        once()
        time.sleep(0.001)
    except KeyboardInterrupt:
        pass
    active = runner.executor.active
    if active is not None and not active.wait(3):
        tally["open"] += 1
        active.cancel()
    status = runner.last_result.status if runner.last_result else "none"
    tally["statuses"][status] = tally["statuses"].get(status, 0) + 1
    tally["longest_s"] = max(tally["longest_s"], time.monotonic() - begin)
    try:
        after = runner.run(rxp.chain(rxp.txt2img(prompt="a", seed=1), out=None))
        tally["refused"] += not after.success
    except rxp.RunActive:
        tally["refused"] += 1
print(json.dumps(tally))
"""


def struck(pairs: int) -> Iterator[Row]:
    """Yield what the pairs left, then what the tests of every line say."""
    total: dict[str, float] = {"open": 0, "refused": 0, "longest_s": 0.0, "ended": 0, "pairs": 0}
    statuses: dict[str, int] = {}
    for number in range(-(-pairs // _ROUND)):
        count = min(_ROUND, pairs - number * _ROUND)
        with tempfile.TemporaryDirectory() as folder:
            arguments = [sys.executable, "-c", PROGRAM, folder, str(count), str(number)]
            child = subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False)  # noqa: S603  ourselves
        total["pairs"] += count
        if child.returncode:
            sys.stderr.write(child.stderr)
            continue
        tally = json.loads(child.stdout)
        total["ended"] += count
        total["open"] += tally["open"]
        total["refused"] += tally["refused"]
        total["longest_s"] = max(total["longest_s"], tally["longest_s"])
        for status, times in tally["statuses"].items():
            statuses[status] = statuses.get(status, 0) + times
    yield at_least(f"pairs of Ctrl+C that a program survived {statuses}", total["ended"], total["pairs"])
    yield at_most("runs left open", total["open"], 0)
    yield at_most("next runs that could not start", total["refused"], 0)
    yield at_most("longest, from the start of a run to its end", total["longest_s"], 5, " s")
    struck_lines, status = every_line()
    yield at_least("interrupts injected, one at each line of a cancel", struck_lines, 79)
    yield at_most("of them left a run open: exit status of their tests", status, 0)


def every_line() -> tuple[int, int]:
    """Return how many lines of a cancel were struck, and the exit status of the tests that do it."""
    arguments = [sys.executable, "-m", "pytest", "-q", "-rP", "-p", "no:cacheprovider", str(_TESTS)]
    ran = subprocess.run(arguments, check=False, capture_output=True, text=True)  # noqa: S603  ourselves
    sys.stderr.write(ran.stdout if ran.returncode else "")
    return sum(map(int, re.findall(r"^interrupts: (\d+)$", ran.stdout, re.MULTILINE))), ran.returncode


if __name__ == "__main__":
    sys.exit(show("signals", struck(int(sys.argv[1]) if sys.argv[1:] else 200)))
