"""Lane: pieces of work that take turns, for a whole chain of operators and not for one of them only."""

from __future__ import annotations

import heapq
import itertools
import threading
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable, SingleAssignmentDisposable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxpipe.rx.operators import Operator

_T = TypeVar("_T")
_R = TypeVar("_R")


class Slot:
    """One piece of work on a lane; it may let others begin before it ends.

    owner: the operator it belongs to. group: the pieces of one owner that count as one.
    """

    def __init__(self, lane: Lane, owner: object, group: int) -> None:
        self.inner = SingleAssignmentDisposable()
        self.owner = owner
        self.group = group
        self.occupied = True
        self.action: Callable[[], None] | None = None
        self._lane = lane

    def free(self) -> None:
        """Free the slot: the next piece may begin while this one finishes."""
        self._lane.free(self)

    def in_order(self, action: Callable[[], None]) -> None:
        """Call *action* once every piece that began earlier has ended."""
        self._lane.act_in_order(self, action)


class Lane:
    """One piece of work at a time, shared by all operators that are given the same lane.

    Where `concat_map` keeps one operator to one inner observable at a time, a lane does so for a whole chain of them.
    Of what waits, the lowest key goes first, and among equal keys the oldest: keys that fall along the chain take one
    value through all of it before the next is begun.

    Args:
        may_begin: asked before each piece; while it gives False none begins.
    """

    def __init__(self, may_begin: Callable[[], bool] = lambda: True) -> None:
        self._may_begin = may_begin
        self._heap: list[tuple[Any, int, _Waiter]] = []
        self._order = itertools.count()
        self._lock = threading.Lock()
        self._in_flight: list[Slot] = []
        self._pumping = False
        self._closed = False

    def concat_map(
        self,
        project: Callable[[_T, Slot], Observable[_R]],
        *,
        key: Any,
        slots: int = 1,
        max_in_flight: int = 1,
        batch: int = 1,
    ) -> Operator[_T, _R]:
        """Map as Rx's `concat_map` does, sharing the lane with all others that are given it.

        Args:
            project: called with a value and its slot once it may begin, not before.
            key: of this operator's work; anything with an order. The source's completion waits under it too.
            slots: how many of this operator's groups may occupy a slot, until all of their pieces call `Slot.free`.
            max_in_flight: how many of them may have begun and not ended. Pieces of two operators never overlap.
            batch: so many consecutive pieces are one group: once the first has begun, the others may begin too.

        An error of the source or of an inner observable passes at once. With it, and when disposed, the operator gives
        up what it has on the lane, so that others go on.
        """

        def operator(source: Observable[_T]) -> Observable[_R]:
            def subscribe(
                observer: abc.ObserverBase[_R], scheduler: abc.SchedulerBase | None = None
            ) -> abc.DisposableBase:
                owner = object()
                numbers = itertools.count()

                def failed(error: Exception) -> None:
                    observer.on_error(error)
                    self._cancel_all_of(owner)

                def start(slot: Slot, value: _T) -> None:
                    try:
                        slot.inner.disposable = project(value, slot).subscribe(
                            observer.on_next, failed, lambda: self._release(slot), scheduler=scheduler
                        )
                    except Exception as error:  # noqa: BLE001  # a stranger's function; it is handed on
                        failed(error)

                def complete(slot: Slot) -> None:
                    observer.on_completed()
                    self._release(slot)

                def enter(value: _T) -> None:
                    group = next(numbers) // batch
                    self._enter(key, _Waiter(owner, group, lambda slot: start(slot, value), slots, max_in_flight))

                source_subscription = source.subscribe(
                    enter, failed, lambda: self._enter(key, _Waiter(owner, -1, complete, 1, 1)), scheduler=scheduler
                )
                return CompositeDisposable(source_subscription, Disposable(lambda: self._cancel_all_of(owner)))

            return Observable(subscribe)

        return operator

    def close(self) -> None:
        """Dispose the work in flight and never start another. Harmless twice, and completes what was cut short."""
        with self._lock:
            self._closed = True
            self._heap.clear()
        while (slot := self._latest()) is not None:  # the latest first, so that none moves up while it is cancelled
            slot.inner.dispose()
            with self._lock:
                if slot in self._in_flight:
                    self._in_flight.remove(slot)

    def _latest(self) -> Slot | None:
        with self._lock:
            return self._in_flight[-1] if self._in_flight else None

    def free(self, slot: Slot) -> None:
        """See `Slot.free`."""
        with self._lock:
            slot.occupied = False
        self._pump()

    def act_in_order(self, slot: Slot, action: Callable[[], None]) -> None:
        """See `Slot.in_order`."""
        with self._lock:
            slot.action = action
        self._act()

    def _act(self) -> None:
        """Call what waits at the head of the line."""
        with self._lock:
            head = self._in_flight[0] if self._in_flight else None
            action = head.action if head else None
            if head is not None:
                head.action = None
        if action is not None:
            action()

    def _cancel_all_of(self, owner: object) -> None:
        """Cancel all that one operator has waiting or in flight."""
        with self._lock:
            self._heap = [entry for entry in self._heap if entry[2].owner is not owner]
            heapq.heapify(self._heap)
            given_up = [slot for slot in self._in_flight if slot.owner is owner]
            self._in_flight = [slot for slot in self._in_flight if slot.owner is not owner]
        for slot in reversed(given_up):
            slot.inner.dispose()
        self._act()
        self._pump()

    def _enter(self, key: Any, waiter: _Waiter) -> None:
        with self._lock:
            if not self._closed:
                heapq.heappush(self._heap, (key, next(self._order), waiter))
        self._pump()

    def _release(self, slot: Slot) -> None:
        with self._lock:
            if slot in self._in_flight:
                self._in_flight.remove(slot)
        self._act()
        self._pump()

    def _pump(self) -> None:
        """Start what may begin; a loop and not a recursion, since work may end before its start returns."""
        with self._lock:
            if self._pumping:
                return
            self._pumping = True
        while (begun := self._next()) is not None:
            slot, waiter = begun
            if not slot.inner.is_disposed:
                self._start(waiter, slot)

    def _start(self, waiter: _Waiter, slot: Slot) -> None:
        try:
            waiter.start(slot)
        except BaseException:  # of who hears of the completion; the lane must not take itself for busy ever after
            with self._lock:
                self._pumping = False
            raise

    def _next(self) -> tuple[Slot, _Waiter] | None:
        with self._lock:
            if self._closed or not self._heap or not self._may_begin():
                self._pumping = False
                return None
            if not self._heap[0][2].may_begin(self._in_flight):
                self._pumping = False
                return None
            waiter = heapq.heappop(self._heap)[2]
            slot = Slot(self, waiter.owner, waiter.group)
            self._in_flight.append(slot)
            return slot, waiter


class _Waiter(NamedTuple):
    """What waits on a lane, and beside how much else it may begin."""

    owner: object
    group: int
    start: Callable[[Slot], None]
    slots: int
    max_in_flight: int

    def may_begin(self, in_flight: list[Slot]) -> bool:
        if not in_flight:
            return True
        if any(slot.owner is not self.owner for slot in in_flight):
            return False
        groups = {slot.group for slot in in_flight}
        occupied = {slot.group for slot in in_flight if slot.occupied}
        return self.group in groups or (len(groups) < self.max_in_flight and len(occupied) < self.slots)
