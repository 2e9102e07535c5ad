"""Lane: limits how much is in progress at once in a whole chain of operators, and not in one of them only."""

from __future__ import annotations

import functools
import itertools
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, Disposable, SingleAssignmentDisposable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rxpipe.rx.operators import Operator

_T = TypeVar("_T")
_R = TypeVar("_R")


class Slot:
    """One piece of work on a lane; it may let others begin before it ends."""

    def __init__(self, lane: Lane, line: _Line, key: Any, group: int) -> None:
        self.inner = SingleAssignmentDisposable()
        self.line, self.key, self.group = line, key, group
        self.occupied = line.occupies
        self.action: Callable[[], None] | None = None
        self._lane = lane

    def free(self) -> None:
        """Free the slot: the next piece may begin while this one finishes."""
        self._lane.free(self)

    def in_order(self, action: Callable[[], None]) -> None:
        """Call *action*; on a lane that keeps order, once all pieces of the same operator that began earlier ended."""
        self._lane.act(self, action)


class Lane:
    """Limits the pieces of work in progress of all operators that are given the same lane.

    Where `concat_map` keeps one operator to one inner observable at a time, a lane keeps a whole chain to *slots* of
    them. Of what waits, the lowest key goes first, and among equal keys the oldest: keys that fall along the chain take
    one value through all of it before the next begins, as far as the slots allow. The pieces of one operator begin in
    the order in which their values came.

    Args:
        slots: how many pieces may occupy a slot at the same time, until they call `Slot.free` or end. At least 1. A
            function is asked each time; what it returns may change.
        beside: how many more may have begun and not ended, those that freed their slot included.
        keeps_order: whether the pieces of one operator finish in the order in which they began.
        apart: called with the keys of two pieces; where it returns True, neither begins while the other is in flight.
        may_begin: asked before each piece; while it returns False none begins.
    """

    def __init__(
        self,
        slots: int | Callable[[], int] = 1,
        *,
        beside: int = 0,
        keeps_order: bool = True,
        apart: Callable[[Any, Any], bool] = lambda *_: False,
        may_begin: Callable[[], bool] = lambda: True,
    ) -> None:
        if isinstance(slots, int) and slots < 1:
            raise ValueError(f"a lane needs at least 1 slot, got {slots}")
        self._slots = slots
        self._beside = beside
        self._keeps_order = keeps_order
        self._apart = apart
        self._may_begin = may_begin
        self._order = itertools.count()
        self._lock = threading.Lock()
        self._lines: list[_Line] = []
        self._in_flight: list[Slot] = []
        self._supply: _Supply | None = None
        self._pumping = self._closed = False

    @property
    def slots(self) -> int:
        """How many pieces may occupy a slot now."""
        return self._slots if isinstance(self._slots, int) else self._slots()

    def concat_map(
        self,
        project: Callable[[_T, Slot], Observable[_R]],
        *,
        key: Callable[[_T], Any],
        batch: int = 1,
        occupies: bool = True,
    ) -> Operator[_T, _R]:
        """Map as Rx's `concat_map` does, sharing the lane with all others that are given it.

        Args:
            project: called with a value and its slot once it may begin, not before.
            key: of the piece that a value becomes; anything with an order.
            batch: so many consecutive pieces count as one: once the first has begun, the others may begin too.
            occupies: False for work that needs no slot; it begins one piece at a time, whatever occupies the slots.

        The completion follows the end of this operator's own pieces. An error of the source or of an inner observable
        passes at once; with it, and when disposed, the operator gives up what it has on the lane.
        """

        def operator(source: Observable[_T]) -> Observable[_R]:
            def subscribe(
                observer: abc.ObserverBase[_R], scheduler: abc.SchedulerBase | None = None
            ) -> abc.DisposableBase:
                line = _Line(batch, occupies, observer.on_completed)

                def failed(error: Exception) -> None:
                    observer.on_error(error)
                    self._remove(line)

                def start(slot: Slot, value: _T) -> None:
                    try:
                        slot.inner.disposable = project(value, slot).subscribe(
                            observer.on_next, failed, lambda: self._release(slot), scheduler=scheduler
                        )
                    except Exception as error:  # noqa: BLE001  # user code; it is passed on
                        failed(error)

                def enter(value: _T) -> None:
                    self._enter(line, key(value), lambda slot: start(slot, value))

                with self._lock:
                    self._lines.append(line)
                ending = source.subscribe(enter, failed, lambda: self._source_ended(line), scheduler=scheduler)
                return CompositeDisposable(ending, Disposable(lambda: self._remove(line)))

            return Observable(subscribe)

        return operator

    def source(self, values: Iterator[_T], count: int, *, key: Callable[[int], Any], batch: int = 1) -> Observable[_T]:
        """Return a cold observable of *count* values, each asked for only when the lane could begin what it becomes.

        Of a lane's other work what has a lower key than the next value goes first. Subscribed to once; it emits on the
        thread on which the lane has room, the first value on the scheduler given to subscribe.

        Args:
            values: at least *count*. key: of the piece that a value becomes, by its number, 1...
            batch: so many consecutive values are asked for together.

        What asking for a value raises is its error.
        """

        def subscribe(observer: abc.ObserverBase[_T], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            supply = _Supply(values, count, key, batch, observer)

            def begin(*_: object) -> None:
                with self._lock:
                    self._supply = supply
                self._pump()

            def end() -> None:
                with self._lock:
                    self._supply = None

            if not count:
                observer.on_completed()
                return Disposable()
            if scheduler is None:
                begin()
                return Disposable(end)
            return CompositeDisposable(scheduler.schedule(begin), Disposable(end))

        return Observable(subscribe)

    def close(self) -> None:
        """Dispose the work in flight and never start another. Harmless twice, and completes what was cut short."""
        with self._lock:
            self._closed = True
            self._lines.clear()
            self._supply = None
        while (slot := self._latest()) is not None:  # the latest first, so that none moves up while it is cancelled
            slot.inner.dispose()
            with self._lock:
                self._forget(slot)

    def free(self, slot: Slot) -> None:
        """See `Slot.free`."""
        with self._lock:
            slot.occupied = False
        self._pump()

    def act(self, slot: Slot, action: Callable[[], None]) -> None:
        """See `Slot.in_order`."""
        if not self._keeps_order:
            action()
            return
        with self._lock:
            slot.action = action
        self._act(slot.line)

    def _act(self, line: _Line) -> None:
        """Call what waits at the head of an operator's line."""
        with self._lock:
            head = line.in_flight[0] if line.in_flight else None
            action = head.action if head else None
            if head is not None:
                head.action = None
        if action is not None:
            action()

    def _latest(self) -> Slot | None:
        with self._lock:
            return self._in_flight[-1] if self._in_flight else None

    def _forget(self, slot: Slot) -> None:
        if slot in self._in_flight:
            self._in_flight.remove(slot)
            slot.line.in_flight.remove(slot)

    def _remove(self, line: _Line) -> None:
        """Give up all that one operator has waiting or in flight."""
        with self._lock:
            line.waiting.clear()
            line.source_ended = False
            if line in self._lines:
                self._lines.remove(line)
            given_up = list(line.in_flight)
            for slot in given_up:
                self._forget(slot)
        for slot in reversed(given_up):
            slot.inner.dispose()
        self._pump()

    def _enter(self, line: _Line, key: Any, start: Callable[[Slot], None]) -> None:
        with self._lock:
            if not self._closed:
                line.waiting.append(_Waiter(key, next(self._order), next(line.numbers) // line.batch, start))
        self._pump()

    def _source_ended(self, line: _Line) -> None:
        line.source_ended = True
        self._pump(line)

    def _release(self, slot: Slot) -> None:
        with self._lock:
            self._forget(slot)
        self._act(slot.line)
        self._pump(slot.line)

    def _complete(self, line: _Line) -> None:
        with self._lock:
            completes = line.source_ended and not (self._closed or line.waiting or line.in_flight)
            if completes:
                line.source_ended = False  # once
        if completes:
            line.on_completed()

    def _pump(self, ended: _Line | None = None) -> None:
        """Start what may begin; a loop and not a recursion, since work may end before its start returns.

        What a completion of *ended* brings on the lane begins after all of it has come.
        """
        with self._lock:
            nested, self._pumping = self._pumping, True
        try:
            if ended is not None:
                self._complete(ended)
            while not nested and (begin := self._next()) is not None:
                begin()
        except BaseException:  # of a subscriber; the lane must not stay busy for ever
            if not nested:
                self._pumping = False
            raise

    def _next(self) -> Callable[[], None] | None:
        with self._lock:
            if self._closed or not self._may_begin():
                self._pumping = False
                return None
            lines = sorted((line for line in self._lines if line.waiting), key=_Line.rank)
            supply = self._supply
            if supply is not None and self._is_due(supply, lines):
                if supply.left == 1:
                    self._supply = None
                return supply.pull
            line = next((line for line in lines if self._fits(line)), None)
            if line is None:
                self._pumping = False
                return None
            waiter = line.waiting.popleft()
            slot = Slot(self, line, waiter.key, waiter.group)
            self._in_flight.append(slot)
            line.in_flight.append(slot)
            return functools.partial(_start, slot, waiter)

    def _is_due(self, supply: _Supply, lines: list[_Line]) -> bool:
        """Whether the next value of the source may begin before all that waits."""
        key = supply.next_key()
        if lines and not key < lines[0].waiting[0].key:
            return False
        return supply.is_in_batch or self._has_room(key)

    def _fits(self, line: _Line) -> bool:
        if not line.occupies:
            return not line.in_flight
        waiter = line.waiting[0]
        if any(slot.group == waiter.group for slot in line.in_flight):
            return True
        return self._has_room(waiter.key)

    def _has_room(self, key: Any) -> bool:
        if any(self._apart(slot.key, key) for slot in self._in_flight):
            return False
        begun = {(slot.line, slot.group): False for slot in self._in_flight if slot.line.occupies}
        for slot in self._in_flight:
            if slot.occupied:
                begun[slot.line, slot.group] = True
        slots = self.slots
        return len(begun) < slots + self._beside and sum(begun.values()) < slots


class _Waiter(NamedTuple):
    """A piece that has not begun: its key, its age, the group it counts with, and what begins it."""

    key: Any
    number: int
    group: int
    start: Callable[[Slot], None]


class _Supply:
    """Values that a lane asks for one by one. left: how many are still to come, 1 or more."""

    def __init__(
        self,
        values: Iterator[Any],
        count: int,
        key: Callable[[int], Any],
        batch: int,
        observer: abc.ObserverBase[Any],
    ) -> None:
        self.left = count
        self._values, self._key, self._batch, self._observer = values, key, batch, observer
        self._pulled = 0

    @property
    def is_in_batch(self) -> bool:
        """Whether the next value belongs to the batch of the one before."""
        return self._pulled % self._batch > 0

    def next_key(self) -> Any:
        return self._key(self._pulled + 1)

    def pull(self) -> None:
        self._pulled += 1
        self.left -= 1
        try:
            value = next(self._values)
        except Exception as error:  # noqa: BLE001  # of what makes the values; it is passed on
            self.left = 0
            self._observer.on_error(error)
            return
        self._observer.on_next(value)
        if not self.left:
            self._observer.on_completed()


def _start(slot: Slot, waiter: _Waiter) -> None:
    if not slot.inner.is_disposed:
        waiter.start(slot)


class _Line:
    """What one subscription of an operator has on the lane, the oldest first."""

    def __init__(self, batch: int, occupies: bool, on_completed: Callable[[], None]) -> None:
        self.batch, self.occupies, self.on_completed = batch, occupies, on_completed
        self.waiting: deque[_Waiter] = deque()
        self.in_flight: list[Slot] = []
        self.numbers = itertools.count()
        self.source_ended = False

    def rank(self) -> tuple[Any, int]:
        return self.waiting[0][:2]
