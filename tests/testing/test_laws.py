"""The laws hold for rxpipe's own runs, are reported when they do not, and strategies draw what shrinks to a diagram."""

from __future__ import annotations

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st
from reactivex import operators as ops

import rxpipe as rxp
from rxpipe.errors import BackendFailed, BackendUnavailable
from rxpipe.testing import MarbleError, Marbles, Mismatch, laws, parse, strategies
from rxpipe.testing.misbehave import interleavings

RETRY = rxp.RetryConfig(attempts=2, first_delay_s=0.003)
CHAIN = rxp.chain(rxp.txt2img(prompt="x", images=2), rxp.adetailer(), rxp.upscale(), retry=RETRY)
SCRIPTS = {"txt2img": "s-s-o|", "adetailer": ["-#", "--o|"], "upscale": ["-#", "-o|"]}
ERRORS = {"adetailer": BackendFailed("out of memory"), "upscale": BackendUnavailable("nobody there")}


def test_cancel_at_every_frame_releases_everything(marbles):
    """A run with steps, a failed image and a retry, cancelled at each of its frames."""
    assert laws.cancel_at_every_frame(marbles, CHAIN, SCRIPTS, errors=ERRORS) > 20


@pytest.mark.parametrize("order", ["stage", "image"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_laws_hold_for_whatever_a_backend_does(order, data):
    """Any scripts, any cancel, any number of images."""
    some_scripts = st.lists(strategies.scripts(), min_size=1, max_size=3)
    backend = {stage: data.draw(some_scripts) for stage in ("txt2img", "upscale")}
    images = data.draw(st.integers(1, 4))
    cancel = data.draw(st.none() | st.integers(0, 40).map(lambda frame: "-" * frame + "!"))
    chain = rxp.chain(rxp.txt2img(prompt="x", images=images), rxp.upscale(), order=order)
    with Marbles() as marbles:
        laws.check(marbles.run(chain, backend, cancel=cancel))


@settings(max_examples=40, deadline=None)
@given(cancel=strategies.cancel_at_any_frame(CHAIN, SCRIPTS, errors=ERRORS))
def test_cancel_at_any_frame_draws_moments_of_the_run(cancel):
    """Each is one `!` within the run, or just after it."""
    with Marbles() as marbles:
        laws.check(marbles.run(CHAIN, SCRIPTS, errors=ERRORS, cancel=cancel))


def test_a_broken_law_is_reported_with_a_test_to_paste(marbles):
    """The law, the timeline, and the call that plays it again."""
    run = marbles.run(CHAIN, {"txt2img": "s---"})
    with pytest.raises(laws.LawBroken) as broken:
        laws.check(run)
    text = str(broken.value)
    assert text.startswith("every start has its one terminal: the run does not begin with RunStart and end with RunEnd")
    assert "txt2img  [sp]" in text
    code = text.partition("This test shows it:\n\n")[2]
    names = {"rxp": rxp, "laws": laws}
    exec(code, names)  # noqa: S102 - what is printed is a program
    with pytest.raises(laws.LawBroken):
        names["test_found"](marbles)


def test_each_law_tells_what_breaks_it(marbles):
    """On timelines that were tampered with."""
    events = marbles.run(CHAIN).result.events
    assert list(laws.unbracketed(events)) == list(laws.disordered(events)) == list(laws.miscounted(events)) == []
    assert list(laws.unbracketed(events[:-1])) == ["the run does not begin with RunStart and end with RunEnd"]
    assert list(laws.unbracketed((events[0], *events))) == ["RunStart or RunEnd came twice"]
    without_end = tuple(event for event in events if event.kind != "stage_end")
    assert len(list(laws.unbracketed(without_end))) == 3
    assert len(list(laws.disordered(events[1:]))) == 1
    late = events[-1].model_copy(update={"timestamp": events[0].timestamp})
    assert list(laws.disordered((*events[:-1], late))) == [f"event {late.seq} is earlier than event {late.seq - 1}"]
    twice = [event for event in events for _ in range(1 + (event.kind == "stage_image_progress"))]
    assert list(laws.miscounted(twice)) == [f"images left stage {n} as [1, 1, 2, 2]" for n in range(3)]


def test_a_run_too_long_to_cancel_at_every_frame_is_refused(marbles):
    """Instead of running for hours."""
    with pytest.raises(MarbleError, match="too long to cancel"):
        laws.cancel_at_every_frame(marbles, CHAIN, {"txt2img": "20s o|"})


@given(text=strategies.streams())
def test_streams_are_lawful_diagrams(text):
    """They parse, and a stream that plays one is what it says."""
    parse(text)
    with Marbles() as marbles:
        marbles.expect(marbles.cold(text)).to_be(text)


def test_a_counter_example_shrinks_to_the_smallest_diagram():
    """An operator that swallows the second of two equal values: two marks at once are enough to show it."""

    def wrong(text):
        with Marbles(verify=False) as marbles:
            stream = marbles.expect(marbles.cold(text).pipe(ops.distinct_until_changed()))
            try:
                stream.to_be(text)
            except Mismatch:
                return True
            return False

    assert find(strategies.streams(), wrong) == "(aa|)"


@given(rows=strategies.interleavings(3))
def test_interleavings_put_one_value_into_each_frame(rows):
    """Whatever the emitters, the frames are 0, 1, 2, ... and each has one value."""
    marks = sorted(mark for row in rows for mark in parse(row).marks)
    assert [mark.at for mark in marks] == [1_000 * n for n in range(len(marks))]


@settings(deadline=None)
@given(rows=st.sampled_from(list(interleavings("ab|", "cd|"))))
def test_an_operator_may_be_tried_in_sampled_interleavings(rows):
    """The exhaustive list is a strategy too."""
    with Marbles() as marbles:
        stream = marbles.expect(marbles.hot(rows[0]).pipe(ops.merge(marbles.hot(rows[1]))))
        marbles.run()
        assert sorted(stream.accept().values) == ["a", "b", "c", "d"]
