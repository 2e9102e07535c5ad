"""Batches: several images of a stage asked for in one request, each picture asked for once.

The first image of a batch to ask sends the request for all of them; the others wait for its answer. A waiting image
holds neither a thread nor a lock. After a failed request the next waiting image sends the one for those still missing.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from rxpipe.backends.base import Output

    Picture = Callable[[], Output]
    Turn = range | Picture

_KEPT = 16  # batches without an active image, some of whose images have no picture


class Batches:
    """The batches of one backend. Safe from any thread; no callback is called under its lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._batches: dict[Hashable, _Batch] = {}

    def join(self, key: Hashable, images: range, index: int, resume: Callable[[Turn], None]) -> BatchMember:
        """Return the membership of one image; ask it for its turn next.

        Args:
            key: the same for all images of the batch, and for no other.
            images: indices of the batch.
            index: of the image that joins, in *images*.
            resume: called once with the turn if `take_turn` returned None, on the thread of another image.
        """
        with self._lock:
            batch = self._batches.pop(key, None) or _Batch(images)
            self._batches[key] = batch  # the one used last is the last
            batch.absent.discard(index)
            if not batch.active:
                batch.begin_again(index)
            batch.done.discard(index)
            member = BatchMember(self, key, index, resume)
            batch.active.add(member)
            self._forget_old()
            return member

    def wake_all(self) -> None:
        """Give every waiting image that no request covers its turn."""
        with self._lock:
            turns = [turn for batch in self._batches.values() for turn in batch.next_turns()]
        _resume(turns)

    def _forget_old(self) -> None:
        idle = [key for key, batch in self._batches.items() if not batch.active]
        for key in idle[:-_KEPT]:
            del self._batches[key]

    # -- for its members ----------------------------------------------------------------------------------------------

    def take_turn(self, member: BatchMember) -> Turn | None:
        """See `BatchMember.take_turn`."""
        with self._lock:
            batch = self._batches[member.key]
            turn = batch.turn_of(member)
            self._forget_done(member.key, batch)
        return turn

    def deliver(self, member: BatchMember, pictures: Sequence[Picture]) -> Picture:
        """See `BatchMember.deliver`."""
        found = pictures[member.index - member.share.start]
        with self._lock:
            batch = self._batches.get(member.key)
            if batch is None or member not in batch.active:
                return found  # it left; others have sent for its images since
            batch.deliver(member, pictures)
            turns = batch.next_turns()
            self._forget_done(member.key, batch)
        _resume(turns)
        return found

    def leave(self, member: BatchMember, *, wake: bool) -> None:
        """See `BatchMember.leave`."""
        turns: list[tuple[BatchMember, Turn]] = []
        with self._lock:
            batch = self._batches.get(member.key)
            if batch is not None:
                batch.remove(member)
                turns = batch.next_turns() if wake else []
        _resume(turns)

    def _forget_done(self, key: Hashable, batch: _Batch) -> None:
        if len(batch.done) == len(batch.images) and not batch.active:
            self._batches.pop(key, None)


class BatchMember:
    """One image's part in its batch, from joining to its picture.

    share: the images that this one sends the request for.
    """

    def __init__(self, batches: Batches, key: Hashable, index: int, resume: Callable[[Turn], None]) -> None:
        self._batches = batches
        self.key = key
        self.index = index
        self.resume = resume
        self.share = range(index, index + 1)

    def take_turn(self) -> Turn | None:
        """Return what to do: send the request for a range of images, or take a picture; None: wait for `resume`."""
        return self._batches.take_turn(self)

    def deliver(self, pictures: Sequence[Picture]) -> Picture:
        """Hand over the answer, one function per image of the range sent for; return the one of this image."""
        return self._batches.deliver(self, pictures)

    def leave(self, *, wake: bool = True) -> None:
        """Ask for nothing any more: the request failed, or the image was cancelled. Harmless twice, and when done.

        Args:
            wake: give the images that waited for this one their turn; False leaves that to `wake_others`.
        """
        self._batches.leave(self, wake=wake)

    def wake_others(self) -> None:
        """Give the waiting images that no request covers any more their turn."""
        self._batches.leave(self, wake=True)


@dataclass(slots=True)
class _Batch:
    """What is known of each image of a batch; used under the lock.

    active: who joined and has neither a picture nor left. senders: who sends the request that an image is in.
    pictures: of images that have not asked since. done: images that took their picture. absent: images that failed or
    were cancelled, and are left out until they ask again or no image is active.
    """

    images: range
    active: set[BatchMember] = field(default_factory=set)
    senders: dict[int, BatchMember] = field(default_factory=dict)
    waiting: list[BatchMember] = field(default_factory=list)
    pictures: dict[int, Picture] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    absent: set[int] = field(default_factory=set)

    def begin_again(self, index: int) -> None:
        """Forget what became of images while none is active: all failed and are retried, or another run asks."""
        self.absent.clear()
        if index in self.done:
            self.done.clear()

    def turn_of(self, member: BatchMember) -> Turn | None:
        index = member.index
        if index in self.pictures:
            self._finish(member)
            return self.pictures.pop(index)
        if index in self.senders:
            self.waiting.append(member)
            return None
        member.share = self._missing_around(index)
        self.senders |= dict.fromkeys(member.share, member)
        return member.share

    def _finish(self, member: BatchMember) -> None:
        self.active.discard(member)
        self.done.add(member.index)

    def _missing_around(self, index: int) -> range:
        """Return the contiguous images that no request covers, *index* among them."""
        first = last = index
        while self._is_missing(first - 1):
            first -= 1
        while self._is_missing(last + 1):
            last += 1
        return range(first, last + 1)

    def _is_missing(self, index: int) -> bool:
        known = (self.senders, self.pictures, self.done, self.absent)
        return index in self.images and not any(index in part for part in known)

    def deliver(self, member: BatchMember, pictures: Sequence[Picture]) -> None:
        for index, picture in zip(member.share, pictures, strict=True):
            del self.senders[index]
            if index != member.index and index not in self.absent:
                self.pictures[index] = picture
        self._finish(member)

    def remove(self, member: BatchMember) -> None:
        if member not in self.active:
            return
        self.active.remove(member)
        self.absent.add(member.index)
        self.senders = {index: sender for index, sender in self.senders.items() if sender is not member}
        if member in self.waiting:
            self.waiting.remove(member)

    def next_turns(self) -> list[tuple[BatchMember, Turn]]:
        """Return the waiting images that no request covers any more, each with its turn."""
        turns: list[tuple[BatchMember, Turn]] = []
        for member in sorted(self.waiting, key=lambda one: one.index):
            if member.index not in self.senders:
                self.waiting.remove(member)
                turn = self.turn_of(member)
                if turn is not None:
                    turns.append((member, turn))
        return turns


def _resume(turns: Sequence[tuple[BatchMember, Turn]]) -> None:
    for member, turn in turns:
        member.resume(turn)
