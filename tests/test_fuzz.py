"""A fiftieth of what tests/benchmarks/bench_fuzz.py tries: each input in 5 s and 300 MB, and no error but ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parent / "benchmarks" / "bench_fuzz.py"


@pytest.mark.sampled(1)
@pytest.mark.parametrize("kind", ["configs", "settings", "pictures"])
def test_a_share_of_the_fuzz_benchmark(kind):
    """In a process of its own, which measures its memory."""
    ran = subprocess.run(  # noqa: S603  fixed words
        [sys.executable, BENCHMARK, kind, "--share", "0.02", "--seed", "2"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.rstrip().endswith("met")
