"""Two hundred runs that are killed, each resumed to its end: what is missing, torn, left over or drawn twice.

`python tests/benchmarks/bench_crash.py [webui pool embedded]`; all of them if none is named. Each run has 20 images in
four stages. The exit code is 1 if one of them is not what it would have been.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from table import Row, show

sys.path.insert(0, str(Path(__file__).parent.parent / "store"))

import crashes
from test_crash import IN_WORK, STEPS, opener

if TYPE_CHECKING:
    from collections.abc import Iterator

EACH = {"webui": 60, "pool": 10, "embedded": 10}
"""So many of the first durable steps, one after the other."""
STEPS_BY_CHANCE = {"webui": 20, "pool": 25, "embedded": 15}
TIMES = {"webui": 20, "pool": 25, "embedded": 15}
LONGEST_S = {"webui": 1.5, "pool": 1.5, "embedded": 5.0}


def moments(kind: str) -> Iterator[tuple[int | None, float | None]]:
    """Durable steps, or seconds after which the process is killed."""
    chance = random.Random(kind)  # noqa: S311 - keeps no secret
    yield from ((at, None) for at in range(1, EACH[kind] + 1))
    yield from ((chance.randrange(EACH[kind] + 1, STEPS[kind]), None) for _ in range(STEPS_BY_CHANCE[kind]))
    yield from ((None, chance.uniform(0.02, LONGEST_S[kind])) for _ in range(TIMES[kind]))


def rows(kind: str) -> Iterator[Row]:
    """Kill and resume at all moments on one kind of backend."""
    killed, found, differ, failed = 0, Counter(), 0, 0
    with tempfile.TemporaryDirectory() as root, opener(kind) as open_backend:
        undisturbed = Path(root) / "undisturbed"
        undisturbed.mkdir()
        crashes.resume(undisturbed, open_backend)
        expected, names = crashes.told(undisturbed), crashes.names(undisturbed)
        tried = list(moments(kind))
        for at, after_s in tried:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                killed += crashes.killed_run(folder, open_backend, at=at, after_s=after_s)
                failed += not crashes.resume(folder, open_backend).success
                for fault in crashes.faults(folder, IN_WORK[kind]):
                    found[f"{fault} (at {at or after_s})"] += 1
                same_names = IN_WORK[kind] > 1 or crashes.names(folder) == names
                differ += crashes.told(folder) != expected or not same_names
    yield Row(f"{kind}: killed before their end", f"{killed} of {len(tried)}")
    yield Row(f"{kind}: resumed to their end", f"{len(tried) - failed} of {len(tried)}", "all", not failed)
    yield Row(f"{kind}: what is missing, torn, left or drawn twice", str(found.total()), "none", not found)
    yield from (Row(f"  {fault}", "", "none", ok=False) for fault in list(found)[:10])
    yield Row(f"{kind}: pixels, results and names unlike those of a whole run", str(differ), "none", not differ)


if __name__ == "__main__":
    wanted = sys.argv[1:] or list(EACH)
    sys.exit(show("Runs that are killed and resumed", (row for kind in wanted for row in rows(kind))))
