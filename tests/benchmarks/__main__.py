"""All benchmarks, or those named: `python tests/benchmarks [pipeline] [mainloop] ...`, or `python -m tests.benchmarks`.

Each has a process of its own and prints its table; the exit code is 1 if one of them missed an aim or did not come to
its end.
"""

# ruff: noqa: T201  a benchmark prints

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FILES = {path.stem.removeprefix("bench_"): path for path in sorted(Path(__file__).parent.glob("bench_*.py"))}


def main(names: list[str]) -> int:
    """Run the named benchmarks one after another, all if none is named; the exit code."""
    unknown = [name for name in names if name not in FILES]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(FILES)}", file=sys.stderr)
        return 2
    missed = []
    for name in names or FILES:
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, FILES[name]], check=False).returncode:  # noqa: S603  our own files
            missed.append(name)
        print(flush=True)
    print(f"MISSED: {', '.join(missed)}" if missed else "all aims met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
