"""Batches without a server: who sends for which images, who waits, and that no picture is asked for twice."""

import gc
import random
import threading
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxpipe.backends.http.batches import Batches

IMAGES = range(1, 5)


class Image:
    """One image that joins a batch, and the turns it was given."""

    def __init__(self, batches, index, key="batch", images=IMAGES):
        self.turns = []
        self.member = batches.join(key, images, index, self.turns.append)
        self.index = index
        turn = self.member.take_turn()
        if turn is not None:
            self.turns.append(turn)

    @property
    def sends_for(self):
        """The images of the last request that it was to send, as a list."""
        return list(self.turns[-1])

    def answer(self):
        """The request succeeds: pictures are the numbers of their images."""
        return self.member.deliver([lambda index=index: index for index in self.turns[-1]])()

    @property
    def picture(self):
        """What it got without a request of its own."""
        return self.turns[-1]()


def test_the_first_to_ask_sends_for_all_and_the_others_wait():
    """Whichever of them is first."""
    for first in IMAGES:
        batches = Batches()
        sender = Image(batches, first)
        others = [Image(batches, index) for index in IMAGES if index != first]
        assert sender.sends_for == [1, 2, 3, 4]
        assert [image.turns for image in others] == [[], [], []]

        assert sender.answer() == first
        assert [image.picture for image in others] == [image.index for image in others]


def test_pictures_wait_for_images_that_have_not_asked():
    """A run that begins them one after another."""
    batches = Batches()
    assert Image(batches, 1).answer() == 1

    assert [Image(batches, index).picture for index in (2, 3, 4)] == [2, 3, 4]


def test_after_a_failed_request_the_next_one_sends_for_the_rest():
    """The failed image is left out until it asks again, and then it sends for itself alone."""
    batches = Batches()
    first, *others = [Image(batches, index) for index in IMAGES]
    first.member.leave()
    assert others[0].sends_for == [2, 3, 4]
    assert [image.turns for image in others[1:]] == [[], []]

    again = Image(batches, 1)
    assert again.sends_for == [1]
    assert others[0].answer() == 2
    assert [image.picture for image in others[1:]] == [3, 4]
    assert again.answer() == 1


def test_an_image_whose_picture_was_taken_and_lost_sends_for_itself():
    """Its neighbours have theirs, or wait for theirs."""
    batches = Batches()
    first, second, third, _ = [Image(batches, index) for index in IMAGES]
    third.member.leave()
    first.answer()
    assert second.picture == 2
    assert Image(batches, 3).sends_for == [3]

    assert Image(batches, 2).sends_for == [2]


def test_another_run_that_asks_for_the_same_images_takes_what_is_left():
    """The first run was cancelled after two of them."""
    batches = Batches()
    Image(batches, 1).answer()
    assert Image(batches, 2).picture == 2

    assert Image(batches, 1).sends_for == [1, 2]
    assert Image(batches, 3).picture == 3


def test_after_all_failed_the_first_retry_sends_for_all():
    """The server was down for a moment; one request is what it is for."""
    batches = Batches()
    for image in [Image(batches, index) for index in IMAGES]:
        assert image.sends_for[0] == image.index
        image.member.leave()

    first, second, *_ = [Image(batches, index) for index in IMAGES]
    assert first.sends_for == [1, 2, 3, 4]
    assert second.turns == []


def test_an_image_that_waits_may_leave_and_come_back():
    """It waits for the same request; a picture that no image wants is dropped."""
    batches = Batches()
    first, second, third, _ = [Image(batches, index) for index in IMAGES]
    second.member.leave()
    third.member.leave()
    again = Image(batches, 2)
    assert again.turns == []
    first.answer()

    assert again.picture == 2
    assert Image(batches, 3).sends_for == [3]


def test_an_answer_that_comes_after_its_image_left_is_given_to_no_other():
    """It may be cut short by the interrupt."""
    batches = Batches()
    first, second, *_ = [Image(batches, index) for index in IMAGES]
    first.member.leave()
    first.turns = [range(1, 5)]

    assert first.answer() == 1
    assert second.sends_for == [2, 3, 4]


def test_a_cancelled_image_can_wake_the_others_later():
    """A cancel disposes them one after another, and none of them should send in between."""
    batches = Batches()
    first, second, third, fourth = [Image(batches, index) for index in IMAGES]
    first.member.leave(wake=False)
    second.member.leave(wake=False)
    assert (third.turns, fourth.turns) == ([], [])

    first.member.wake_others()
    second.member.wake_others()
    assert third.sends_for == [3, 4]
    assert fourth.turns == []


def test_two_batches_know_nothing_of_each_other():
    """Of one run, or of runs with other settings."""
    batches = Batches()

    assert Image(batches, 1).sends_for == [1, 2, 3, 4]
    assert Image(batches, 5, key="next", images=range(5, 8)).sends_for == [5, 6, 7]


def test_a_second_run_with_the_same_settings_starts_again():
    """Nothing of the first is left."""
    batches = Batches()
    for _ in range(2):
        images = [Image(batches, index) for index in IMAGES]
        assert images[0].sends_for == [1, 2, 3, 4]
        images[0].answer()


def test_pictures_that_no_image_takes_are_dropped_in_the_end():
    """Cancelled runs must not fill the memory."""
    batches, pictures = Batches(), []
    for number in range(100):
        sent = [lambda index=index: index for index in IMAGES]
        pictures += map(weakref.ref, sent)
        Image(batches, 1, key=number).member.deliver(sent)()
    del sent
    gc.collect()

    assert sum(picture() is not None for picture in pictures) <= 17 * len(IMAGES)


@given(seed=st.integers(0, 10_000), size=st.integers(1, 6))
def test_no_picture_is_asked_for_twice_in_whatever_order(seed, size):
    """Images ask in any order, requests fail and images leave: each picture comes once, all asked less failed."""
    choose, batches, images = random.Random(seed), Batches(), range(1, size + 1)  # noqa: S311  # keeps no secret
    open_images, got, asked, failed = [], [], 0, 0
    to_begin = list(images)
    while to_begin or open_images:
        if to_begin and (not open_images or choose.random() < 0.5):
            index = to_begin.pop(choose.randrange(len(to_begin)))
            open_images.append(Image(batches, index, images=images))
            continue
        ready = [image for image in open_images if image.turns]
        assert ready, "there is always an image with something to do"
        image = choose.choice(ready)
        open_images.remove(image)
        if callable(image.turns[-1]):
            got.append(image.picture)
            continue
        asked += len(image.turns[-1])
        if choose.random() < 0.3:
            failed += len(image.turns[-1])
            image.member.leave()
            to_begin.append(image.index)  # its retry
        else:
            got.append(image.answer())

    assert sorted(got) == list(images)
    assert asked - failed == size


@pytest.mark.parametrize("round_number", range(5))
def test_threads_meet_in_a_batch(round_number):
    """Sixteen of them: each gets its picture, and what was sent for covers each once."""
    batches, images = Batches(), range(1, 17)
    sent, got, lock = [], [], threading.Lock()

    def render(index):
        ready = threading.Event()
        turns = []

        def resume(turn):
            turns.append(turn)
            ready.set()

        member = batches.join(round_number, images, index, resume)
        turn = member.take_turn()
        if turn is None:
            assert ready.wait(5)
            turn = turns[0]
        if isinstance(turn, range):
            with lock:
                sent.extend(turn)
            turn = member.deliver([lambda number=number: number for number in turn])
        with lock:
            got.append(turn())

    threads = [threading.Thread(target=render, args=(index,)) for index in images]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)

    assert sorted(got) == sorted(sent) == list(images)
