"""Print the fault table: each fault of the WebUI test server, met by a picture of a run over real HTTP.

`python tests/benchmarks/bench_faults.py [STAGE ... | all | cancel]`. Columns: whether the fault struck once or stayed,
what the run came to, how many of the images were kept, retries, rendering requests, seconds until the caller had the
result in hand, and what was reported of the image. Below: the sums by how and outcome, and the aims over all rows;
exit status 1 where one is missed. A single fault strikes one request of an image whose retry is healthy. Refused
requests (credentials, no API, a field that the server does not take) concern every request alike, so they end the run.
`cancel` cancels runs at 50 random moments against a slow and a dead server each.
"""

# ruff: noqa: T201  a benchmark prints

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1] / "backends" / "webui"))

from table import at_least, at_most, show
from webui_runs import IMAGES, STAGES, Row, cancel_at, meet  # it stands beside the tests

from rxpipe.testing.servers.webui import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    import table

REFUSED = {"UNAUTHORIZED", "NO_API", "UNPROCESSABLE"}
HANGS = {"STUCK"}  # the only server hangs for good, whatever interrupts it: no other image can be rendered there
NO_RETRY_HEALS = {*REFUSED, *HANGS, "NAN", "BAD_INPUT"}


def print_cancels(count: int = 50) -> None:
    """Cancel *count* runs at random moments of their course, slow and dead server in turn."""
    moments = random.Random(4)  # noqa: S311  # moments, not secrets
    for dead in (False, True):
        rows = [cancel_at(moments.uniform(0.02, 1.3), dead=dead) for _ in range(count)]
        print(
            f"{'dead' if dead else 'slow'} server, {count} cancels: longest {max(row.seconds for row in rows):.3f} s, "
            f"posts afterwards {sum(r.late_posts for r in rows)}, most interrupts {max(r.interrupts for r in rows)}, "
            f"torn files {sum(row.torn for row in rows)}, server freed {sum(row.freed for row in rows)}, "
            f"statuses {sorted({row.status for row in rows})}"
        )


def met(stages: tuple[str, ...], *, stays: bool) -> Iterator[Row]:
    """Yield and print the row of each fault on each stage."""
    for stage in stages:
        for fault in (*Fault.every(), *Fault.without_end()):
            if stays and fault.kind == "refused":
                continue  # a server that never comes back: REFUSED itself has it come back
            row = meet(fault, stage, times=None if stays else 1)
            print(
                f"{row.fault:18}{row.stage:11}{'stays' if stays else 'once':7}{row.status:11}{row.kept}/{IMAGES:<4}"
                f"{row.files:6}{row.retries:6}{row.posts:6}{row.seconds:7.2f}  {row.error[:100]}",
                flush=True,
            )
            yield row


def print_sums(rows: list[Row], how: str) -> None:
    """Print what became of the faults that struck in one way: outcomes, images kept, retries, time to control."""
    kinds, stages = {row.fault for row in rows}, {row.stage for row in rows}
    print(f"\n{how}: {len(rows)} faults, {len(kinds)} kinds x {len(stages)} stages")
    outcomes = Counter(row.status for row in rows)
    kept = Counter(row.kept for row in rows)
    seconds = sorted(row.seconds for row in rows)
    print("  outcome          " + ", ".join(f"{count} {name}" for name, count in outcomes.most_common()))
    print(f"  images kept      {', '.join(f'{n} of {IMAGES} in {kept[n]}' for n in sorted(kept, reverse=True))}")
    print(f"  retries          {sum(row.retries for row in rows)}, at most {max(row.retries for row in rows)} in a run")
    print(f"  time to control  median {seconds[len(seconds) // 2]:.2f} s, longest {seconds[-1]:.2f} s")


def aims(once: list[Row], stay: list[Row]) -> Iterator[table.Row]:
    """Yield what the rows come to."""
    both = [*once, *stay]
    single = [row for row in once if row.fault not in REFUSED]
    kept = sum(row.kept == IMAGES for row in single)
    yield at_least(f"of {len(single)} single faults, kept every image (74 of 82)", kept, 74 * len(single) // 82)
    healing = [row for row in once if row.fault not in NO_RETRY_HEALS]
    healed = sum(row.kept == IMAGES for row in healing)
    yield at_least(f"of the {len(healing)} that a retry can heal, kept every image", healed, len(healing))
    lost = [row for row in both if row.kept < IMAGES]
    yield at_most("runs that lost an image and reported nothing", sum(not row.error for row in lost), 0)
    neighbours = [row for row in single if row.kept < IMAGES - 1 and row.fault not in HANGS]
    yield at_most(f"single faults that cost a neighbour {named(neighbours)}", len(neighbours), 0)
    hung = [row for row in single if row.fault in HANGS]
    yield at_most("longest until a server that hangs for good is reported", max(row.seconds for row in hung), 5, " s")
    yield at_most("longest time to control", max(row.seconds for row in both), 20, " s")


def named(rows: list[Row]) -> str:
    """Return the kinds of faults of some rows."""
    return ", ".join(sorted({row.fault for row in rows}))


def main() -> int:
    """Print the table for every fault, or the cancels."""
    wanted = sys.argv[1:] or ["txt2img"]
    if wanted == ["cancel"]:
        print_cancels()
        return 0
    stages = STAGES if wanted == ["all"] else tuple(wanted)
    columns = ("fault", 18), ("stage", 11), ("how", 7), ("outcome", 11)
    print("".join(f"{name:{width}}" for name, width in columns) + "kept   files retry posts      s  error")
    once, stay = list(met(stages, stays=False)), list(met(stages, stays=True))
    print_sums(once, "once")
    print_sums(stay, "for ever")
    print()
    return show("faults", aims(once, stay))


if __name__ == "__main__":
    sys.exit(main())
