"""The id of a run: unique, and in the order of time, for runs and for stages alone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

import rxpipe as rxp
from rxpipe.stages.timeline import new_run_id
from rxpipe.testing import ScriptedBackend

FORM = re.compile(r"\d{8}-\d{6}-[0-9a-f]{15}")


def ids_of(marbles, runs, *, alone):
    """The ids of so many runs, one a millisecond apart, or of stages alone."""
    found = []
    for _ in range(runs):
        backend, stage, seen = ScriptedBackend(marbles), rxp.txt2img(prompt="a"), []
        if alone:
            rxp.seeds(1).pipe(stage.on(backend, seen.append)).subscribe(scheduler=marbles.clock)
        else:
            executor = rxp.PipelineExecutor(backend, scheduler=marbles.clock)
            executor.events.subscribe(seen.append)
            executor.start(rxp.chain(stage, out=None))
        marbles.run()
        found.append(seen[0].run_id)
    return found


@pytest.mark.parametrize("alone", [False, True])
def test_runs_within_a_second_have_ids_in_their_order(marbles, alone):
    """Virtual runs begin at the same date, every time; so it is the random part that keeps them apart."""
    ids = ids_of(marbles, 20, alone=alone)
    assert all(FORM.fullmatch(each) for each in ids)
    assert ids == sorted(set(ids))


def test_ids_of_one_moment_differ_and_those_of_later_ones_are_larger():
    now = datetime(2026, 1, 1, 12, 0, 0, 999_000, tzinfo=UTC)
    assert len({new_run_id(now) for _ in range(10_000)}) == 10_000
    moments = [now + timedelta(milliseconds=ms) for ms in range(-999, 2_000)]
    assert all(one < other for one, other in pairwise(map(new_run_id, moments)))
