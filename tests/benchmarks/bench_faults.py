"""Print the fault table: each fault of the WebUI test server, met by the second picture of a run over real HTTP.

`python tests/benchmarks/bench_faults.py [STAGE ... | all | cancel]`. Columns: what the run came to, how many of the
images were kept, retries, drawing requests, seconds until the caller had the result in hand, and what was told of the
image. `cancel` cancels runs at 50 random moments against a slow and a dead server each.
"""

# ruff: noqa: T201  a benchmark prints

from __future__ import annotations

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "backends" / "webui"))

from webui_runs import IMAGES, STAGES, cancel_at, meet  # it stands beside the tests

from rxpipe.testing.servers.webui import Fault


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


def main() -> None:
    """Print the table for every fault, or the cancels."""
    wanted = sys.argv[1:] or ["txt2img"]
    if wanted == ["cancel"]:
        print_cancels()
        return
    stages = STAGES if wanted == ["all"] else wanted
    print(f"{'fault':18}{'stage':11}{'outcome':11}{'kept':>6}{'files':>6}{'retry':>6}{'posts':>6}{'s':>7}  error")
    for stage in stages:
        for fault in Fault.every():
            row = meet(fault, stage)
            print(
                f"{row.fault:18}{row.stage:11}{row.status:11}{row.kept}/{IMAGES:<4}{row.files:6}{row.retries:6}"
                f"{row.posts:6}{row.seconds:7.2f}  {row.error[:120]}"
            )


if __name__ == "__main__":
    main()
