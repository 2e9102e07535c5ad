"""Print how 10,000 hostile answers are read: each in at most 5 s and 300 MB more, and no error but rxpipe's own.

`python tests/benchmarks/bench_answers.py [COUNT]`. The answers and the ways of reading stand beside the tests, whose
suite reads 200 of them.
"""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1] / "backends" / "webui"))

from hostile_answers import read_every_way  # it stands beside the tests
from table import at_most, show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from table import Row

_KB_PER_MB = 1024


def measured(count: int) -> Iterator[Row]:
    """Read them all, and yield the worst of them."""
    seconds, foreign, kinds = 0.0, [], Counter[str]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(count):
        begin = time.process_time()
        try:
            kinds.update(read_every_way(number))
        except Exception as error:  # noqa: BLE001  # what must not come is counted
            foreign.append(f"{number}: {type(error).__name__}: {error}"[:80])
        seconds = max(seconds, time.process_time() - begin)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / _KB_PER_MB
    yield at_most(f"errors that are not rxpipe's, of {count} answers {foreign[:3] or ''}", len(foreign), 0)
    yield at_most(f"longest in CPU time, all ways of reading together ({dict(kinds)})", seconds, 5, " s")
    yield at_most("memory at its peak above that before", grown, 300, " MB")


if __name__ == "__main__":
    sys.exit(show("hostile answers", measured(int(sys.argv[1]) if sys.argv[1:] else 10_000)))
