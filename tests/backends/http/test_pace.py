"""Pace: a fraction that never falls, the time left, stalls and silence; time is given by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxpipe.backends.base import StepProgress
from rxpipe.backends.http.pace import Pace


def read(pace, *fractions, steps=20):
    """Return the progress for each fraction, one every second, each a reading of its own."""
    found = []
    for now_s, fraction in enumerate(fractions):
        pace.note(fraction, float(now_s))
        found.append(pace.observe(fraction, None, steps, float(now_s)))
    return found


def test_the_fraction_never_falls_and_the_step_follows_it():
    """Whatever the server reports."""
    found = read(Pace(), 0.3, 0.6, 0.4, 1.0)

    assert [one.fraction for one in found] == [0.3, 0.6, 0.6, 1.0]
    assert [one.step for one in found] == [7, 13, 13, 20]


def test_a_step_that_the_server_reports_is_kept():
    """Derived only where it is not."""
    assert Pace().observe(0.5, 3, 20, 0.0) == StepProgress(0.5, 3, 20)


def test_the_time_left_is_counted_from_the_first_step():
    """Neither queue nor model load is in it."""
    pace = Pace()
    assert pace.observe(None, None, None, 60.0, "loading").eta_s is None
    assert pace.observe(0.25, None, 20, 100.0).eta_s is None

    assert pace.observe(0.5, None, 20, 102.0).eta_s == pytest.approx(4.0)


def test_no_change_for_long_is_stalled_and_a_change_ends_it():
    """Only while it works: a model may load as long as it likes."""
    found = read(Pace(stalled_s=3), 0.2, 0.2, 0.2, 0.2, 0.2, 0.3)
    assert [one.phase for one in found] == ["working", "working", "working", "stalled", "stalled", "working"]

    loading = Pace(stalled_s=3)
    assert {loading.observe(None, None, None, float(now), "loading").phase for now in range(9)} == {"loading"}


def test_silence_is_counted_from_the_last_sign_of_life():
    """A reading that differs, or bytes of the answer."""
    pace = Pace()
    assert pace.silent_s(5.0) == 0.0
    pace.note("a", 6.0)
    pace.note("a", 8.0)
    assert pace.silent_s(9.0) == 3.0
    pace.note("b", 9.0)
    assert pace.silent_s(9.5) == 0.5
    pace.note_activity(10.0)
    assert pace.silent_s(10.5) == 0.5


def test_a_preview_is_new_once():
    """The server repeats it until it has another."""
    pace = Pace()

    assert [pace.is_new(preview) for preview in ("a", "a", "b", "b", "a")] == [True, False, True, False, True]


@given(st.lists(st.none() | st.floats(0, 1), max_size=20), st.integers(1, 50))
def test_any_readings_give_progress_within_bounds(fractions, steps):
    """Fractions 0..1 that do not fall, steps 1..steps, no negative time."""
    found = read(Pace(), *fractions, steps=steps)
    counted = [one.fraction for one in found if one.fraction is not None]

    assert counted == sorted(counted)
    assert all(one.step is None or 1 <= one.step <= steps for one in found)
    assert all(one.eta_s is None or one.eta_s >= 0 for one in found)
