"""The time left, with k images in work: near the truth from the first third of a run on, whatever the run is like."""

from __future__ import annotations

import itertools

import pytest
from servers_at_work import Server, events_of, pool

import rxpipe as rxp
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


def check(events, before, *, floor_s, near_s=None):
    """From the first third on within 25 % of the truth, or within *floor_s*.

    near_s: the floor does not count while more than so many seconds are left.
    """
    seen = moments(events, before)
    total_s = seen[0][0]
    for left_s, status in seen:
        if 0 < left_s <= total_s * 2 / 3:
            unknown = {stage.name for stage in status.stages if not stage.drawn} - set(status.past.per_image_s)
            if status.eta_s is None:  # only of a stage that no run has shown enough of
                assert before is None or unknown
                continue
            assert not unknown or all(status.images == 1 for _ in unknown)
            floor = 0.0 if near_s is not None and left_s > near_s else floor_s
            assert abs(status.eta_s - left_s) <= max(0.25 * left_s, floor) + 1e-9, (left_s, status.eta_s)


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


@pytest.mark.sampled(7)
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


@pytest.mark.sampled(2)
@pytest.mark.parametrize("steps", [0, 20])
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
@pytest.mark.parametrize("servers", [("one", 1), ("one", 4), ("pool", 4)], ids="{0[0]}-{0[1]}".format)
def test_the_time_left_where_a_server_reports_many_steps_or_none(marbles, servers, order, steps):
    """Only that an image begins; nothing of how far it is."""
    seconds = STAGES[order[1]]
    events = events_of(marbles, backend_of(marbles, *servers, seconds, steps=steps), job_of(9, order[0]))
    for before in (None, folded(events)):
        check(events, before, floor_s=sum(seconds.values()) / len(seconds))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("order", ORDERS, ids="-".join)
@pytest.mark.parametrize("per_slot", [2, 3, 15])
@pytest.mark.parametrize("slots", [2, 4, 8])
def test_the_time_left_with_members_of_unlike_speed(marbles, slots, per_slot, order):
    """One stage's time on the slowest is near enough: whether it takes the last image is a matter of moments."""
    seconds = STAGES[order[1]]
    events = events_of(marbles, backend_of(marbles, "unlike", slots, seconds), job_of(per_slot * slots, order[0]))
    for before in (None, folded(events)):
        check(events, before, floor_s=SLOW * max(seconds.values()))
