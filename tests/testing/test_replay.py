"""A recorded run plays again: as events in time, and as a test."""

from __future__ import annotations

import math
import threading

import pytest

import rxpipe as rxp
from rxpipe.errors import BackendFailed, BackendTimeout, BackendUnavailable
from rxpipe.testing import MarbleError, Marbles, Player, replay, to_marbles
from rxpipe.testing.clock import MICROSECOND

RETRY = rxp.RetryConfig(attempts=2, first_delay_s=0.003)


EXPORTED = """import rxpipe as rxp
from rxpipe import errors


def test_recorded_run(marbles):
    run = marbles.run(
        rxp.chain(
            rxp.txt2img(images=2),
            rxp.upscale(),
            order='stage',
            retry=rxp.RetryConfig(attempts=2, first_delay_s=0.0),
        ),
        backend={
            "txt2img": ["-s--(o|)", "-s--(o|)"],
            "upscale": ["-#", "----(o|)", "--(o|)"],
        },
        errors={
            "upscale": [errors.BackendUnavailable('nobody'), None, None],
        },
    )
    run.timeline.to_be(
        {
            "run":     "s 14ms |",
            "txt2img": "sp--1p--(2|)",
            "upscale": "--------sr---1-(2|)",
        }
    )
"""


def recorded(backend=None, *, errors=None, cancel=None, **settings):
    """The result of a run of three stages on two images."""
    chain = rxp.chain(rxp.txt2img(prompt="x", images=2), rxp.adetailer(), rxp.upscale(), **{"retry": RETRY, **settings})
    with Marbles() as marbles:
        return marbles.run(chain, backend or {"txt2img": "-s-o|"}, errors=errors, cancel=cancel).result


def test_a_replay_gives_the_events_at_their_pace(marbles):
    """In virtual time, since nobody said otherwise; then it completes."""
    result = recorded()
    stream = marbles.expect(replay(result))
    marbles.run()
    times = [(event.timestamp - result.events[0].timestamp).total_seconds() for event in result.events]
    assert [seen.at / 1e6 for seen in stream.messages[:-1]] == times
    assert tuple(stream.accept().values) == result.events
    assert stream.messages[-1].kind == "end"


@pytest.mark.parametrize(("speed", "text"), [(10, " 2ms |"), (2, " 10ms |"), (math.inf, "|")])
def test_a_replay_may_be_faster(marbles, speed, text):
    """Ten times, twice, or without any time between the events."""
    marbles.expect(replay(recorded(), speed=speed).ignore_elements()).to_be(text)


def test_a_replay_reads_a_file(marbles, tmp_path):
    """As `write_timeline` wrote it."""
    result = recorded()
    result.write_timeline(tmp_path / "timeline.jsonl")
    stream = marbles.expect(replay(tmp_path / "timeline.jsonl", speed=math.inf))
    marbles.run()
    assert tuple(stream.accept().values) == result.events


def test_a_replay_in_real_time_has_a_thread_of_its_own():
    """Not a timer an event: the thread is one, and gone after the last event."""
    threads, ended = set(), threading.Event()
    replay(recorded(), speed=100).subscribe(
        lambda _: threads.add(threading.current_thread().name), on_error=print, on_completed=ended.set
    )
    assert ended.wait(10)
    assert threads == {"rxpipe-replay"}


def test_a_disposed_replay_says_no_more(marbles):
    """At the frame it was unsubscribed at."""
    stream = marbles.expect(replay(recorded()), "^-!")
    marbles.run()
    assert [event.kind for event in stream.accept().values] == ["run_start", "stage_start", "stage_step"]


def test_a_replay_wants_a_speed():
    """Zero would take for ever."""
    with pytest.raises(MarbleError, match="speed above 0"):
        replay([], speed=0)


@pytest.mark.parametrize("order", ["stage", "auto"])
@pytest.mark.parametrize(
    ("backend", "errors", "cancel", "settings"),
    [
        (None, None, None, {}),
        ({"txt2img": "-s-s-o|", "adetailer": ["u|", "--o|"]}, None, None, {"order": "image"}),
        ({"adetailer": ["-#", "--o|"]}, {"adetailer": BackendFailed("out of memory")}, None, {}),
        ({"upscale": ["-#", "-#", "o|"]}, {"upscale": BackendTimeout("too late")}, None, {}),
        ({"upscale": ["--#", "-o|"]}, {"upscale": BackendUnavailable("nobody")}, None, {}),
        ({"upscale": "--#"}, {"upscale": BackendUnavailable("nobody")}, None, {}),
        ({"txt2img": "#"}, None, None, {"max_failures_in_a_row": 2}),
        ({"txt2img": "-s-s-o|"}, None, "-------!", {}),
        ({"upscale": "----"}, None, "--------------------!", {}),
        ({"adetailer": "---"}, None, "---------------------!", {"timeout_s": 0.004}),
    ],
)
@pytest.mark.sampled(10)
def test_an_exported_test_plays_the_same_run(backend, errors, cancel, settings, order):
    """What to_marbles writes is a program, and it passes: with failures, retries, a time limit, a cancel."""
    code = to_marbles(recorded(backend, errors=errors, cancel=cancel, **{"order": order, **settings}))
    names = {}
    exec(code, names)  # noqa: S102 - what is exported is a program
    with Marbles() as marbles:
        names["test_recorded_run"](marbles)


def test_an_exported_test_reads_well(marbles):
    """This is what it looks like."""
    retry = rxp.RetryConfig(attempts=2, first_delay_s=0.002)
    chain = rxp.chain(rxp.txt2img(images=2), rxp.upscale(), order="stage", retry=retry)
    backend, errors = {"txt2img": "-s-o|", "upscale": ["-#", "-o|"]}, {"upscale": BackendUnavailable("nobody")}
    assert to_marbles(marbles.run(chain, backend, errors=errors).result) == EXPORTED


def test_bare_events_export_with_the_stages_they_name():
    """A timeline without its plan still gives a chain and scripts."""
    result = recorded()
    code = to_marbles(result.events)
    assert "            rxp.txt2img(images=2),\n            rxp.adetailer(),\n            rxp.upscale(),\n" in code


@pytest.mark.parametrize("order", ["stage", "image", "auto"])
@pytest.mark.parametrize("backend", [None, {"adetailer": ["-u|", "--o|"]}])
def test_bare_events_export_in_the_order_they_show(order, backend):
    """The plan is missing, but whether stages overlapped is seen in the timeline."""
    names = {}
    exec(to_marbles(recorded(backend, order=order).events), names)  # noqa: S102 - what is exported is a program
    with Marbles() as marbles:
        names["test_recorded_run"](marbles)


def test_what_is_no_run_cannot_be_exported():
    """No events, or a beginning that was lost."""
    with pytest.raises(MarbleError, match="begins with RunStart"):
        to_marbles(recorded().events[1:])


def test_a_replay_may_start_in_the_middle(marbles):
    """What was before comes at once, so that the state is right; then at the old pace."""
    result = recorded()
    middle = result.events[len(result.events) // 2]
    at = middle.timestamp - result.events[0].timestamp
    stream = marbles.expect(replay(result, start=at))
    marbles.run()
    seen = [(each.at, each.value.seq) for each in stream.accept().messages[:-1]]
    due = [max(0, (event.timestamp - middle.timestamp) // MICROSECOND) for event in result.events]
    assert seen == list(zip(due, range(len(due)), strict=True))


def test_a_player_plays_pauses_steps_and_seeks(marbles):
    """A fold of what it emits is the state at its position, forwards and back."""
    result = recorded()
    player, seen = Player(result), []
    player.events.subscribe(lambda event: seen.append(event.seq))
    player.play(2.0)
    marbles.clock.advance_by("1ms")
    assert player.position_s == pytest.approx(0.002)
    assert seen == [event.seq for event in player.until("2ms")]
    player.pause()
    marbles.clock.advance_by("1s")
    assert seen == [event.seq for event in player.until("2ms")]
    following = player.step()
    assert (following.seq, seen[-1]) == (len(seen) - 1, len(seen) - 1)
    player.seek(player.length_s)
    assert seen == list(range(len(result.events)))
    assert player.step() is None
    seen.clear()
    player.seek("3ms")
    assert seen == [event.seq for event in player.until("3ms")]
    player.play()
    marbles.run()
    assert seen == list(range(len(result.events)))
    player.close()


@pytest.mark.parametrize("speed", [0, -1, math.inf, math.nan])
def test_a_player_wants_a_speed(speed):
    with pytest.raises(MarbleError, match="above 0"):
        Player([], scheduler=Marbles().clock).play(speed)


def test_a_player_cannot_go_before_the_beginning(marbles):
    with pytest.raises(MarbleError, match="before the beginning"):
        Player(recorded()).seek(-1.0)
    assert marbles.clock.pending == 0


@rxp.image_stage
def brighter(artifact, by=1):
    """Fail for the second image."""
    if artifact.number == 2:
        raise ValueError("too bright")
    return artifact.to_image().point(lambda level: level + by)


@pytest.mark.parametrize("bare", [False, True])
def test_a_run_with_a_stage_of_ones_own_is_exported_with_a_stand_in(bare):
    """Which fails for the images that failed; or with the code one names."""
    chain = rxp.chain(rxp.txt2img(prompt="x", images=3), brighter(5), rxp.upscale(), order="stage", retry=RETRY)
    with Marbles() as marbles:
        result = marbles.run(chain, {"txt2img": "-s-o|"}).result
    source = result.events if bare else result
    code = to_marbles(source)
    assert "if artifact.number in {2}:" in code
    for text, names in ((code, {}), (to_marbles(source, stages={"brighter": "brighter(5)"}), {"brighter": brighter})):
        exec(text, names)  # noqa: S102 - what is exported is a program
        with Marbles() as marbles:
            names["test_recorded_run"](marbles)


def test_an_operator_of_ones_own_is_exported_by_the_code_one_names():
    chain = rxp.chain(rxp.txt2img(prompt="x", images=2), rxp.keep_if(lambda artifact: artifact.number == 1))
    with Marbles() as marbles:
        result = marbles.run(chain).result
    name = result.events[0].stages[1]
    with pytest.raises(MarbleError, match=r"stages="):
        to_marbles(result)
    code = to_marbles(result, stages={name: "rxp.keep_if(lambda artifact: artifact.number == 1)"})
    names = {}
    exec(code, names)  # noqa: S102 - what is exported is a program
    with Marbles() as marbles:
        names["test_recorded_run"](marbles)


@pytest.mark.parametrize(
    ("text", "values", "error"),
    [
        ("--a-b|", None, None),
        ("-a-[bc]-#", {"a": 1, "b": {"n": [2]}, "c": "text"}, OSError("disk full")),
        ("3s a", {"a": None}, None),
    ],
)
def test_any_recorded_stream_is_exported(marbles, text, values, error):
    """As a test that passes; also one that is run for it."""
    stream = marbles.expect(marbles.cold(text, values, error))
    marbles.run()
    for source in (stream.accept(), marbles.cold(text, values, error)):
        names = {}
        exec(to_marbles(source, "test_it"), names)  # noqa: S102 - what is exported is a program
        with Marbles() as inner:
            names["test_it"](inner)


def test_a_value_that_has_no_code_is_refused(marbles):
    stream = marbles.expect(marbles.cold("a", {"a": object()}))
    marbles.run()
    with pytest.raises(MarbleError, match="type object cannot be written"):
        to_marbles(stream.accept())
