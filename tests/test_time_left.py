"""The time left, with k images in work: near the truth from the first third of a run on, whatever the run is like."""

from __future__ import annotations

import itertools

import pytest
from servers_at_work import Server, events_of, pool

import rxpipe as rxp
from rxpipe.backends.pool import PoolBackend
from rxpipe.events import RunStart, StageImageProgress
from rxpipe.status import RunStatus, reduce_status

STAGES = {
    "like": {"txt2img": 0.08, "upscale": 0.08},
    "shorter": {"txt2img": 0.08, "upscale": 0.04},
    "longer": {"txt2img": 0.08, "upscale": 0.24},
}
SLOW = 2.5  # times as long as the others, the last of unlike members


def folded(events, status=None):
    """The status after *events*."""
    for event in events:
        status = reduce_status(status or RunStatus(), event)
    return status


def moments(events, before=None):
    """The status at the end of every instant: (seconds left in truth, status), the first one first."""
    end, status, seen = events[-1].timestamp, before or RunStatus(), {}
    for event in events:
        status = reduce_status(status, event)
        seen[round((end - event.timestamp).total_seconds(), 6)] = status
    return list(seen.items())


def check(events, before, *, floor_s, near_s=None, since_s=None):
    """From the first third on within 25 % of the truth, or within *floor_s*; nor does it rise by more.

    near_s: the floor does not count while more than so many seconds are left. since_s: from so many seconds on that are
    left; None for two thirds of all.
    """
    seen, shown_s = moments(events, before), None
    since_s = seen[0][0] * 2 / 3 if since_s is None else since_s
    for left_s, status in seen:
        if not 0 < left_s <= since_s:
            continue
        unknown = {stage.name for stage in status.stages if not stage.drawn} - set(status.past.per_image_s)
        if status.eta_s is None:  # only of a stage that no run has shown enough of
            assert before is None or unknown
            continue
        assert not unknown or status.images == 1  # whose own steps show it
        floor = 0.0 if near_s is not None and left_s > near_s else floor_s
        assert abs(status.eta_s - left_s) <= max(0.25 * left_s, floor) + 1e-9, (left_s, status.eta_s)
        if shown_s is not None:
            assert status.eta_s - shown_s <= max(0.25 * shown_s, floor_s) + 1e-9, (left_s, status.eta_s, shown_s)
        shown_s = status.eta_s


def resumed(events, more):
    """The events of a run of which *more* images had been finished in an earlier attempt: they come at once."""
    start, *rest = events
    assert isinstance(start, RunStart)
    common = {"run_id": start.run_id, "timestamp": start.timestamp, "elapsed_s": start.elapsed_s, "seq": 0}
    cached = [
        [
            rxp.StageStart(**common, stage_type=name, stage_index=index, total_images=start.images + more),
            *(
                StageImageProgress(
                    **common,
                    stage_type=name,
                    stage_index=index,
                    total_images=start.images + more,
                    image_index=number,
                    artifact_id=f"cached-{number}",
                    outcome="done",
                    resumed=True,
                )
                for number in range(1, more + 1)
            ),
        ]
        for index, name in enumerate(start.stages)
    ]
    shifted = [
        event.model_copy(update=_shifted(event, more)) for event in rest if not isinstance(event, rxp.StageStart)
    ]
    return [start.model_copy(update={"images": start.images + more}), *itertools.chain(*cached), *shifted]


def _shifted(event, more):
    fields = {"total_images": more, "image_index": more}
    return {name: value + by for name, by in fields.items() if (value := getattr(event, name, None)) is not None}


def job_of(images, order="image", **settings):
    return rxp.chain(rxp.txt2img(prompt="a", images=images), rxp.upscale(), order=order, out=None, **settings)


def backend_of(marbles, kind, slots, seconds, **options):
    """So many slots: one server with all of them, or a pool of servers with one each, of which the last may be slow."""
    if kind == "one":
        return Server(marbles.clock, seconds, capacity=slots, **options)
    return pool(marbles.clock, seconds, slots, slow=SLOW if kind == "unlike" else 1.0, **options)


SERVERS = [("one", 1), ("one", 2), ("one", 4), ("one", 8), ("pool", 2), ("pool", 4), ("pool", 8)]
ORDERS = [("image", "like"), ("image", "shorter"), ("image", "longer"), ("stage", "like"), ("stage", "shorter")]
ORDERS += [("stage", "longer"), ("auto", "like"), ("auto", "shorter"), ("auto", "longer")]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
@pytest.mark.parametrize("per_slot", [1, 2, 3, 15])
@pytest.mark.parametrize("queue_ahead", [0, 1, 4])
@pytest.mark.parametrize("servers", SERVERS, ids="{0[0]}-{0[1]}".format)
def test_the_time_left_is_within_a_quarter(marbles, servers, queue_ahead, per_slot, order):
    """In a first run, a second one, and one that is resumed; in the last tenth a stage's time off is near enough."""
    seconds = STAGES[order[1]]
    backend = backend_of(marbles, *servers, seconds, queue_ahead=queue_ahead)
    events = events_of(marbles, backend, job_of(per_slot * servers[1], order[0]))
    again, learnt = resumed(events, 2 * servers[1]), folded(events)
    limits = {"floor_s": sum(seconds.values()) / len(seconds), "near_s": 0.1 * moments(events)[0][0]}
    for played, before in itertools.product((events, again), (None, learnt)):
        check(played, before, **limits)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("steps", [0, 20])
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
@pytest.mark.parametrize("servers", [("one", 1), ("one", 4), ("pool", 4)], ids="{0[0]}-{0[1]}".format)
def test_the_time_left_where_a_server_reports_many_steps_or_none(marbles, servers, order, steps):
    """Only that an image begins; nothing of how far it is."""
    seconds = STAGES[order[1]]
    events = events_of(marbles, backend_of(marbles, *servers, seconds, steps=steps), job_of(9, order[0]))
    for before in (None, folded(events)):
        check(events, before, floor_s=sum(seconds.values()) / len(seconds))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
@pytest.mark.parametrize("per_slot", [2, 3, 15])
@pytest.mark.parametrize("slots", [2, 4, 8])
def test_the_time_left_with_members_of_unlike_speed(marbles, slots, per_slot, order):
    """One stage's time on the slowest is near enough: whether it takes the last image is a matter of moments."""
    seconds = STAGES[order[1]]
    events = events_of(marbles, backend_of(marbles, "unlike", slots, seconds), job_of(per_slot * slots, order[0]))
    for before in (None, folded(events)):
        check(events, before, floor_s=SLOW * max(seconds.values()))


# -- what does not go as usual ----------------------------------------------------------------------------------------


def leaps(events, before=None):
    """By how much the fraction of the run grows from instant to instant; the last one ends the run."""
    fractions = [status.fraction for _, status in moments(events, before)]
    return [after - earlier for earlier, after in itertools.pairwise(fractions)]


@pytest.mark.sampled(1)
@pytest.mark.parametrize("order", ["image", "stage"])
@pytest.mark.parametrize("slots", [1, 4])
def test_images_that_failed_are_not_awaited_in_the_next_stage(marbles, slots, order):
    """The bar does not stand still and leap at the end, and the time left is that of the images that come."""
    server = Server(marbles.clock, STAGES["longer"], capacity=slots, fails=lambda call: call <= 8)
    settings = {"max_failures_in_a_row": 99, "retry": {"attempts": 1}}
    events = events_of(marbles, server, job_of(12 * slots, order, **settings))
    assert folded(events).state == "partial"
    check(events, folded(events), floor_s=0.24)
    assert max(leaps(events)) < 0.2
    assert min(leaps(events)) >= 0


@pytest.mark.sampled(1)
@pytest.mark.parametrize("order", ["image", "stage"])
@pytest.mark.parametrize("slots", [1, 4])
def test_images_that_were_skipped_tell_nothing_of_what_the_others_take(marbles, slots, order):
    """One after the other, as soon as they have begun."""
    skips = [(0.01 + 0.12 * n, lambda run: run.skip_image()) for n in range(6)]
    server = Server(marbles.clock, STAGES["like"], capacity=slots)
    events = events_of(marbles, server, job_of(12 * slots, order), skips)
    assert folded(events).state == "partial"
    assert folded(events).past.per_image_s["txt2img"] == pytest.approx(0.08, rel=0.1)
    check(events, folded(events), floor_s=0.08, since_s=moments(events)[0][0] - 0.7)
    assert max(leaps(events)) < 0.2


@pytest.mark.sampled(1)
@pytest.mark.parametrize("steps", [0, 4])
@pytest.mark.parametrize("order", ["image", "stage"])
@pytest.mark.parametrize("slots", [1, 4])
def test_the_pause_before_a_retry_is_of_one_image(marbles, slots, order, steps):
    """The others work on; afterwards the time left is as if it had not been."""
    server = Server(marbles.clock, STAGES["like"], capacity=slots, steps=steps, fails={9: "once"}.get)
    retry = {"attempts": 2, "first_delay_s": 0.5, "jitter": 0.0}
    events = events_of(marbles, server, job_of(15 * slots, order, retry=retry))
    assert folded(events).past.per_image_s["txt2img"] == pytest.approx(0.08, rel=0.15)
    total_s = moments(events)[0][0]
    check(events, folded(events), floor_s=0.08, since_s=min(total_s - 1.4, total_s / 2))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("order", ["image", "stage"])
@pytest.mark.parametrize("members", [2, 3])
def test_a_member_that_dies_counts_no_more(marbles, members, order):
    """Two images later the time left is that of the others."""
    alive = [Server(marbles.clock, STAGES["like"]) for _ in range(members - 1)]
    backend = PoolBackend([*alive, Server(marbles.clock, STAGES["like"], dies_s=0.5)])
    events = events_of(marbles, backend, job_of(15 * members, order))
    assert folded(events).state == "completed"
    for before in (None, folded(events)):
        check(events, before, floor_s=0.08, since_s=moments(events)[0][0] - 0.5 - 4 * 0.08)
