"""An exact virtual clock that is an Rx scheduler: integer microseconds, first in first out within an instant.

Nothing here moves time but `run`, `advance_by` and `advance_to`; any number of actions share one instant.
The surprise: zero is 1970-01-01T00:00:00Z, so that an event stamped by the clock shows its virtual time.
"""

from __future__ import annotations

import heapq
import re
import threading
from collections import Counter, deque
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from reactivex.scheduler.periodicscheduler import PeriodicScheduler

from rxpipe.errors import RxPipeError, joined
from rxpipe.rx.scheduled import ScheduledItem
from rxpipe.shown import escaped
from rxpipe.testing.origin import Line, current_line, is_in_pipeline, shortened

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactivex import abc, typing

__tracebackhide__ = True  # pytest shows the test's line, not ours

State = TypeVar("State")

EPOCH = datetime.fromtimestamp(0, tz=UTC)
MICROSECOND = timedelta(microseconds=1)
US_PER_MS = 1_000
UNITS = {"us": 1, "ms": US_PER_MS, "s": 1_000_000, "m": 60_000_000}
DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m)")

Duration = str | float | timedelta
"""A length of time: "100ms", "1.5s", "2m", "250us", a number of seconds, or a timedelta."""


class MarbleError(RxPipeError):
    """The test itself is wrong: a bad diagram, a value without a name, time that should run backwards."""

    def __str__(self) -> str:
        return escaped(joined(self.message, self.hint), keep="\n\u200d\ufe0f")  # as errors are, with emoji whole


class Runaway(RxPipeError, AssertionError):
    """More actions than any test means to run; the message ends with the last of them."""


def microseconds(value: Duration) -> int:
    """Return *value* in whole microseconds; a float of seconds is rounded, a text must give a whole number.

    Raises:
        MarbleError: a text that is no duration, or that is finer than a microsecond.
    """
    if isinstance(value, timedelta):
        return value // MICROSECOND
    if not isinstance(value, str):
        return round(value * 1_000_000)
    return _read_duration(value)


@lru_cache(maxsize=1024)
def _read_duration(value: str) -> int:
    match = DURATION.fullmatch(value.strip())
    if match is None:
        raise MarbleError(f"{value!r} is no duration.", hint="Write 250us, 100ms, 1.5s or 2m.")
    whole = Decimal(match[1]) * UNITS[match[2]]
    if whole != int(whole):
        raise MarbleError(f"{value!r} is finer than a microsecond.")
    return int(whole)


def in_words(us: int) -> str:
    """Return a duration as the grammar reads it: 3ms, 1.5s, 0.25ms."""
    for unit in ("m", "s", "ms"):
        if us and us % (UNITS[unit] // 10) == 0 and abs(us) >= UNITS[unit]:
            return f"{Decimal(us) / UNITS[unit]:f}{unit}"
    return f"{Decimal(us) / US_PER_MS:f}ms"


def spoken(us: int) -> str:
    """Return a duration as a sentence has it: 3 ms, 1.5 s."""
    return re.sub(r"(?<=\d)(?=[a-z])", " ", in_words(us))


def describe(action: object) -> str:
    """Return where an action was written, as `name (file:line)`."""
    code = getattr(action, "__code__", None)
    name = getattr(action, "__qualname__", type(action).__name__).rpartition("<locals>.")[2]
    return name if code is None else f"{name} ({shortened(code.co_filename)}:{code.co_firstlineno})"


Whose = Literal["test", "kit", "run"]
_Planned = tuple[int, int, int, ScheduledItem, Line, Whose]
"""When, before or after the others of that instant, in which order; what, the line that planned it, and for whom."""


class VirtualClock(PeriodicScheduler):
    """Virtual time as an Rx scheduler. Scheduling is safe from any thread; time is moved by one thread at a time.

    `origin` is the line of the test that led to the action that runs now; None between actions.

    Args:
        max_at_once: actions at one instant before `Runaway` is raised.
        max_actions: actions in one `run()` before `Runaway` is raised; what `advance_by` runs has an end by itself.
    """

    def __init__(self, *, max_at_once: int = 100_000, max_actions: int = 100_000) -> None:
        super().__init__()
        self.now_us = 0
        self.max_at_once = max_at_once
        self.max_actions = max_actions
        self.epoch = 0
        self.origin: Line | None = None
        self._of_a_run = False
        self._queue: list[_Planned] = []
        self._sequence = 0
        self._at_once = 0
        self._last: deque[tuple[int, abc.ScheduledAction[Any]]] = deque(maxlen=8)
        self._lock = threading.Lock()
        self._running = False

    @property
    def now(self) -> datetime:
        """The virtual time as a datetime; aware, UTC, counted from 1970."""
        return EPOCH + timedelta(microseconds=self.now_us)

    @property
    def pending(self) -> int:
        """How many planned actions have neither run nor been taken back."""
        with self._lock:
            return sum(not planned[3].disposed for planned in self._queue)

    @property
    def next_due_us(self) -> int | None:
        """When the next action is due, in virtual microseconds; None if nothing is planned."""
        with self._lock:
            while self._queue and self._queue[0][3].disposed:
                heapq.heappop(self._queue)
            return self._queue[0][0] if self._queue else None

    def left_over(self) -> list[Line]:
        """Return the lines that planned what is still to run, in order of time; streams of the test do not count."""
        with self._lock:
            planned = sorted(self._queue, key=_due)
        return [line for *_, item, line, whose in planned if whose == "test" and not item.disposed]

    def schedule(self, action: abc.ScheduledAction[State], state: State | None = None) -> abc.DisposableBase:
        """Plan *action* for this instant, after everything already planned for it."""
        return self._plan(self.now_us, action, state)

    def schedule_relative(
        self, duetime: typing.RelativeTime, action: abc.ScheduledAction[State], state: State | None = None
    ) -> abc.DisposableBase:
        """Plan *action* in *duetime* (seconds or timedelta); a negative one means now."""
        return self._plan(self.now_us + microseconds(duetime), action, state)

    def schedule_absolute(
        self, duetime: typing.AbsoluteTime, action: abc.ScheduledAction[State], state: State | None = None
    ) -> abc.DisposableBase:
        """Plan *action* at *duetime* (an aware datetime, or seconds since 1970); the past means now."""
        due = duetime - EPOCH if isinstance(duetime, datetime) else duetime
        return self._plan(microseconds(due), action, state)

    def schedule_at_us(
        self, due_us: int, action: abc.ScheduledAction[State], *, first: bool = False, origin: Line | None = None
    ) -> abc.DisposableBase:
        """Plan an *action* of the kit at *due_us*, virtual microseconds.

        Args:
            due_us: when; the past means now.
            action: what to do.
            first: before all else of that instant.
            origin: the line of the test that it goes back to; None for the one that is running.
        """
        return self._plan(due_us, action, None, rank=-1 if first else 0, origin=origin, whose="kit")

    def _plan(
        self,
        due_us: int,
        action: abc.ScheduledAction[Any],
        state: Any,
        *,
        rank: int = 0,
        origin: Line | None = None,
        whose: Whose = "test",
    ) -> abc.DisposableBase:
        item = ScheduledItem(action, state)
        if whose == "test" and (is_in_pipeline() if self.origin is None else self._of_a_run):
            whose = "run"  # one that is not over is the affair of its own laws
        line = origin or self.origin or current_line(3)
        with self._lock:
            self._sequence += 1
            heapq.heappush(self._queue, (max(due_us, self.now_us), rank, self._sequence, item, line, whose))
        return item

    def run(self) -> None:
        """Run everything, moving time as far as it takes, until nothing is planned."""
        self._drain(None)

    def run_until(self, done: Callable[[], bool]) -> bool:
        """Run, moving time, until *done* is true; return False if nothing is planned any more before that."""
        self._drain(None, done)
        return done()

    def advance_by(self, duration: Duration) -> None:
        """Move time by *duration*, running what falls due, the last instant included."""
        self.advance_to_us(self.now_us + microseconds(duration))

    def advance_to(self, moment: Duration | datetime) -> None:
        """Move time to *moment*: an aware datetime, or a duration since 1970.

        Raises:
            MarbleError: *moment* is in the past.
        """
        self.advance_to_us(microseconds(moment - EPOCH if isinstance(moment, datetime) else moment))

    def advance_to_us(self, moment_us: int) -> None:
        """Move time to *moment_us* virtual microseconds, running what falls due."""
        if moment_us < self.now_us:
            raise MarbleError(f"Time is at {in_words(self.now_us)} and cannot go back to {in_words(moment_us)}.")
        self._drain(moment_us)
        self._move(moment_us)

    def spend(self, duration: Duration) -> None:
        """Let *duration* pass inside an action, as slow work does: nothing else runs, and what was due runs late."""
        self._move(self.now_us + microseconds(duration))

    def count_action(self, action: abc.ScheduledAction[Any]) -> None:
        """Count one action of this instant against the guard; trampolines that follow the clock call it too.

        Raises:
            Runaway: the instant holds more than `max_at_once` actions.
        """
        self._at_once += 1
        self._last.append((self.now_us, action))
        if self._at_once > self.max_at_once:
            self._at_once = 0
            raise self._runaway(f"{self.max_at_once:,} actions at {in_words(self.now_us)} and no end")

    def _drain(self, until_us: int | None, done: Callable[[], bool] | None = None) -> None:
        if self._running:
            raise MarbleError("Time is already running: an action tried to run the clock.")
        self._running = True
        ran = 0
        try:
            while not (done is not None and done()) and (item := self._take(until_us)) is not None:
                ran += 1
                if until_us is None and ran > self.max_actions:
                    raise self._runaway(f"{self.max_actions:,} actions up to {in_words(self.now_us)} and no end")
                item.run(self)
        finally:
            self._running, self.origin = False, None

    def _take(self, until_us: int | None) -> ScheduledItem | None:
        while True:
            with self._lock:
                if not self._queue or (until_us is not None and self._queue[0][0] > until_us):
                    return None
                due_us, _, _, item, line, whose = heapq.heappop(self._queue)
            action = item.action
            if action is None:  # disposed
                continue
            self._move(due_us)
            self.origin, self._of_a_run = line, whose == "run"
            self.count_action(action)
            return item

    def _move(self, moment_us: int) -> None:
        if moment_us > self.now_us:
            self.now_us = moment_us
            self._at_once = 0

    def recent(self) -> list[str]:
        """Return what ran last, each action once, with how often it did."""
        counts = Counter(describe(action) for _, action in self._last)
        return [f"{times} x {what}" if times > 1 else what for what, times in counts.items()]

    def _runaway(self, what: str) -> Runaway:
        last = "\n".join(f"  {each}" for each in self.recent())
        return Runaway(f'{what}. The last were:\n{last}\nDoes it end? Give expect(...) an end: "^-----!".')


def _due(planned: _Planned) -> tuple[int, int, int]:
    return planned[:3]
