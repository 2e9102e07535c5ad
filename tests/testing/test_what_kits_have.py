"""What other kits for testing streams have, and what the best would: for each a test here that shows it, or the reason.

The rows are features of RxJS's TestScheduler, Reactor's StepVerifier, Turbine, Akka's TestKit and aioreactive; then
what none of them had when this kit was begun.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

SHOWN_BY = {
    "marble input and expectation": "test_operators_of_rx::test_of_one",
    "time progression": "test_grammar::test_a_diagram_says",
    "zero frame in hot": "test_marbles::test_a_hot_stream_may_have_a_past",
    "subscription marbles": "test_marbles::test_subscriptions_are_compared",
    "unsubscribe in the middle": "test_marbles::test_unsubscribing_comes_before_what_else_happens_at_that_instant",
    "groups at one instant": "test_grammar::test_a_diagram_says",
    "groups that take one frame": "test_grammar::test_rendering_is_what_a_person_would_write",
    "values and errors, deep equality": "test_marbles::test_a_value_may_be_expected_by",
    "inner observables": "test_marbles::test_inner_streams_are_expected_by_their_diagrams",
    "equal to another stream": "test_marbles::test_a_stream_equals_another",
    "virtual time without being asked": "test_marbles::test_operators_that_are_handed_no_scheduler_run_in_virtual_time",
    "virtual time of every scheduler": "test_virtual_time::test_every_scheduler_has_virtual_time",
    "virtual asyncio": "test_async_tests::test_a_cold_stream_can_be_awaited",
    "time by hand, looks in between": "test_marbles::test_time_can_be_moved_by_hand_and_compared_so_far",
    "idle": "test_async_tests::test_operators_on_asyncio_are_expected_as_diagrams",
    "no event for a time": "test_marbles::test_no_event_for_a_time",
    "what is not consumed fails": "test_pulling::test_signals_never_taken_fail_the_block",
    "names of steps": "test_marbles::test_steps_and_streams_can_be_named",
    "sources that misbehave": "test_misbehave::test_an_unruly_source_breaks_the_grammar_in_the_face_of_its_subscriber",
    "probes of a path": "test_pulling::test_a_probe_shows_who_subscribed_and_how_it_ended",
    "dropped signals": "test_leaks::test_a_source_that_emits_after_its_end_is_seen",
    "guard against loops": "test_virtual_time::test_a_stream_that_never_ends_is_named_drawn_and_stopped_soon",
    "diagrams in failures": "test_failure_texts::test_a_failure_reads_as_its_file_says",
    "the failing line": "test_pytest_plugin::test_a_failure_is_read_from_top_to_bottom",
    "streams by property, shrunk": "test_laws::test_a_counter_example_shrinks_to_the_smallest_diagram",
    "threads asserted": "test_marbles::test_a_real_thread_fails_the_test_and_is_named",
    "threads under stress": "test_misbehave::test_an_event_subject_lets_two_threads_take_turns",
    "a recorded run replayed, scrubbed": "test_replay::test_a_player_plays_pauses_steps_and_seeks",
    "pull API": "test_pulling::test_signals_are_taken_one_by_one",
    "1 aligned failure, one reason": "test_diagram::test_a_failure_says_in_one_line_what_is_wrong",
    "1 pictures of failures": "test_pytest_plugin::test_failures_are_drawn_where_asked_for",
    "2 strict grammar, with a caret": "test_grammar::test_a_mistake_is_refused_with_a_caret_under_it",
    "2 round trip": "test_grammar::test_rendering_parses_back_to_the_same",
    "3 order across streams": "test_pulling::test_the_order_across_streams_is_expected_as_columns",
    "3 eventually": "test_pulling::test_eventually_moves_time_no_further_than_it_takes",
    "3 matchers of events": "test_scripted::test_events_are_expected_by_name_or_by_matcher",
    "4 no real thread unseen": "test_marbles::test_a_real_timer_fails_the_test_even_if_an_operator_swallowed_the_error",
    "5 exact clock": "test_clock::test_ten_thousand_events_at_one_instant_keep_their_time_and_order",
    "6 strategies, cancel anywhere": "test_laws::test_cancel_at_any_frame_draws_moments_of_the_run",
    "6 laws of runs": "test_laws::test_each_law_tells_what_breaks_it",
    "6 laws of any operator": "test_operator_laws::test_a_law_that_is_broken_is_named_with_a_test_that_shows_it",
    "7 sources and subscribers with faults": "test_misbehave::test_an_event_subject_withstands_bad_sources_and_bad_subscribers",  # noqa: E501 - a name
    "8 all interleavings": "test_misbehave::test_all_interleavings_of_two_emitters",
    "9 from a log to a test": "test_replay::test_an_exported_test_plays_the_same_run",
    "9 any stream to a test": "test_replay::test_any_recorded_stream_is_exported",
    "10 plain assert": "test_pytest_plugin::test_a_plain_assert_shows_what_to_be_shows",
    "10 update mode": "test_pytest_plugin::test_expectations_are_rewritten_where_they_stand",
    "10 without pytest": "test_what_kits_have::test_unittest_runs_it_too",
}
REASONS = {
    "animate": "frames of an animation are a browser's; a hot stream fed by hand or by diagram stands for any tick",
    "requests and back-pressure": "Rx for Python pushes; there are no requests, and a probe counts what passed",
    "cancellation with a cause": "a disposal in Rx carries none",
}


@pytest.mark.parametrize("feature", SHOWN_BY)
def test_a_feature_has_a_test(feature):
    """Which is there under the name that is given."""
    module, _, name = SHOWN_BY[feature].partition("::")
    text = (TESTS / f"{module}.py").read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE)


def test_what_is_left_out_has_a_reason():
    assert all(len(reason) > 20 for reason in REASONS.values())
    assert not REASONS.keys() & SHOWN_BY.keys()


UNITTEST = """
import unittest

from reactivex import operators as ops

from rxpipe.testing import Marbles


class Delaying(unittest.TestCase):
    def setUp(self):
        self.marbles = self.enterContext(Marbles())

    def test_delays(self):
        self.marbles.expect(self.marbles.cold("-a|").pipe(ops.delay(0.002))).to_be("---a|")

    def test_fails(self):
        self.marbles.expect(self.marbles.cold("-a|")).to_be("-b|")
"""


def test_unittest_runs_it_too(pytester):
    """As a context manager that the case enters."""
    pytester.makepyfile(UNITTEST)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:rxpipe")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["E*at 1 ms a came where b was expected"])


pytest_plugins = ["pytester"]
