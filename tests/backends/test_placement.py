"""Placement: members that come and go while images are in progress; in virtual time."""

from __future__ import annotations

import pytest
from servers_at_work import events_of, pool
from stages import stage_of

import rxpipe as rxp
from rxpipe.backends.member import Member, MemberLost
from rxpipe.backends.placement import Call, Placement
from rxpipe.errors import BackendFailed, BackendUnavailable
from rxpipe.rx.worker import elapsed_s
from rxpipe.testing import ScriptedBackend

TXT2IMG = rxp.Txt2ImgConfig(prompt="a", width=64, height=64)


class Seen:
    """An observer that keeps what came."""

    def __init__(self):
        self.values, self.error, self.completed = [], None, False

    def on_next(self, value):
        self.values.append(value)

    def on_error(self, error):
        self.error = error

    def on_completed(self):
        self.completed = True


def member(marbles, number, script="----o|", **settings):
    return Member(ScriptedBackend(marbles, {"txt2img": script}, **settings), number)


def begin(marbles, placement, images=1):
    """Place so many images; gives their observers."""
    seen = [Seen() for _ in range(images)]
    for number, observer in enumerate(seen, 1):
        stage = stage_of(TXT2IMG, image_index=number)
        placement.place(Call(placement, stage, None, observer, marbles.clock, group=object()))
    return seen


def test_images_that_wait_begin_once_on_members_that_join_together(marbles):
    """Two join at the same moment: no image is begun on both, and none is left over."""
    placement = Placement((), lambda: 1.0)
    seen = begin(marbles, placement, images=5)
    members = [member(marbles, number) for number in (1, 2)]
    for each in members:
        placement.add(each)
    marbles.run()
    assert all(one.completed for one in seen)
    assert sum(len(each.backend.calls) for each in members) == 5
    assert [each.groups for each in members] == [{}, {}]


def test_without_a_member_an_image_waits_as_long_as_it_may(marbles):
    """Then its error says what was before."""
    placement = Placement((), iter([0.005, 0.0]).__next__, lambda errors: BackendUnavailable(f"after {errors}"))
    began_s = elapsed_s(marbles.clock)
    (seen,) = begin(marbles, placement)
    marbles.run()
    assert "after []" in str(seen.error)
    assert elapsed_s(marbles.clock) - began_s == pytest.approx(0.005, abs=0.001)


def test_a_member_that_is_removed_gets_no_image(marbles):
    going, staying = member(marbles, 1), member(marbles, 2)
    placement = Placement((going, staying))
    placement.remove(going)
    placement.remove(going)
    begin(marbles, placement, images=3)
    marbles.run()
    assert (len(going.backend.calls), len(staying.backend.calls)) == (0, 3)


def test_an_image_that_four_members_are_lost_with_is_at_fault_itself(marbles):
    lost = {"txt2img": MemberLost("it is gone.")}
    members = [member(marbles, number, "--#", errors=lost) for number in range(5)]
    (seen,) = begin(marbles, Placement(members))
    marbles.run()
    assert isinstance(seen.error, BackendFailed)
    assert sum(len(each.backend.calls) for each in members) == 4


def test_an_image_that_is_disposed_before_it_begins_leaves_its_member_free(marbles):
    """Disposed on another thread between its placement and its beginning, and placed again after it was disposed."""
    one = member(marbles, 1)
    placement = Placement([one])
    call = Call(placement, stage_of(TXT2IMG), None, Seen(), marbles.clock, group=object())
    begin_there, call.begin = call.begin, lambda member: (call.dispose(), begin_there(member))
    placement.place(call)
    placement.place(call)
    assert (one.groups, one.backend.calls) == ({}, [])
    (seen,) = begin(marbles, placement)
    marbles.clock.advance_by(1.0)
    assert seen.completed


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("servers", "images", "order", "seconds"),
    [
        (3, 24, "image", {"txt2img": 0.08, "upscale": 0.08}),
        (4, 60, "image", {"txt2img": 0.08, "upscale": 0.24}),
        (8, 120, "stage", {"txt2img": 0.08, "upscale": 0.24}),
    ],
)
def test_no_image_waits_behind_a_slow_one(marbles, servers, images, order, seconds):
    """A member is slow by the same stage of others, and by what it takes and not by what it waits."""
    job = rxp.chain(rxp.txt2img(prompt="a", images=images), rxp.upscale(), order=order, out=None)
    events = events_of(marbles, pool(marbles.clock, seconds, servers, slow=2.5, queue_ahead=1), job)
    ideal_s = images * sum(seconds.values()) / (servers - 1 + 1 / 2.5)
    assert events[-1].elapsed_s <= 1.1 * ideal_s
