"""What tests of the store share: a runner on a painter, and the job that it runs."""

from __future__ import annotations

import pytest
from painter import JOB, Painter

import rxpipe as rxp


@pytest.fixture
def lab(tmp_path):
    """A function that makes a runner on a painter, with the store and the folder of the test."""
    store = rxp.Store(tmp_path / "runs.sqlite3")

    def make(**painter):
        return rxp.PipelineRunner(Painter(**painter), store=store)

    yield make
    store.close(10)


@pytest.fixture
def job(tmp_path):
    """JOB with changes, in the folder of the test."""
    return lambda **changes: rxp.PipelineConfig(**{**dict(JOB), "out": tmp_path / "out", **changes})
