"""Play a recorded run under control: at any speed, paused, step by step, from any moment.

The events come on one hot stream. Going back, they come again from the first on, at once, up to the moment sought: a
fold of them, as every status is, then is what it was.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Any

from reactivex.disposable import SerialDisposable
from reactivex.scheduler import TimeoutScheduler
from reactivex.subject import Subject

from rxpipe.rx.worker import WorkerScheduler
from rxpipe.testing.clock import MICROSECOND, Duration, MarbleError, microseconds
from rxpipe.testing.recorded import Replayable, recorded_events

if TYPE_CHECKING:
    from reactivex import Observable, abc

    from rxpipe.events import StageEvent

US_PER_S = 1_000_000


class Player:
    """A recorded run with a position. Its methods belong on one thread; the events come on that of the scheduler.

    Args:
        source: a file of events, a result, or the events.
        scheduler: paces it; None for virtual time inside a test, else a daemon thread of the player's own.
    """

    def __init__(self, source: Replayable, *, scheduler: abc.SchedulerBase | None = None) -> None:
        self._recorded = recorded_events(source)
        self._times_us = [(event.timestamp - self._recorded[0].timestamp) // MICROSECOND for event in self._recorded]
        self._worker: WorkerScheduler | None = None
        pace: Any = scheduler or TimeoutScheduler.singleton()
        if isinstance(pace, TimeoutScheduler):
            pace = self._worker = WorkerScheduler("rxpipe-player")
        self._pace: abc.SchedulerBase = pace
        self._out: Subject[StageEvent] = Subject()
        self._timer = SerialDisposable()
        self._next = 0
        self._at_us = 0
        self._speed = 0.0
        self._since = self._pace.now

    @property
    def events(self) -> Observable[StageEvent]:
        """The events as they are played; hot, never ends by itself."""
        return self._out

    @property
    def length_s(self) -> float:
        """How long the recorded run is, in seconds."""
        return self._times_us[-1] / US_PER_S if self._times_us else 0.0

    @property
    def position_s(self) -> float:
        """How far it is, in seconds of the recorded run."""
        return self._now_us() / US_PER_S

    def _now_us(self) -> int:
        passed_us = (self._pace.now - self._since) // MICROSECOND * self._speed if self._speed else 0
        return int(min(self._at_us + passed_us, self._times_us[-1] if self._times_us else 0))

    def play(self, speed: float = 1.0) -> None:
        """Go on from here, *speed* times as fast as it was recorded.

        Raises:
            MarbleError: *speed* is not above 0, or has no end; `seek` jumps.
        """
        if not 0 < speed < float("inf"):
            raise MarbleError(f"speed={speed!r}: a player needs a speed above 0.", hint="seek(...) jumps.")
        self.pause()
        self._speed = speed
        self._wait()

    def pause(self) -> None:
        """Stand still; nothing comes until `play`, `step` or `seek`."""
        self._at_us = self._now_us()
        self._speed, self._since = 0.0, self._pace.now
        self._timer.disposable = None

    def step(self) -> StageEvent | None:
        """Pause, emit the next event now and return it; None after the last."""
        self.pause()
        if self._next == len(self._recorded):
            return None
        self._at_us = self._times_us[self._next]
        return self._emit()

    def seek(self, moment: Duration) -> None:
        """Go to *moment* of the recorded run: "3.2s", or seconds. Plays on from there if it was playing.

        Events up to it, the moment included, come at once: those skipped, or going back all from the first.

        Raises:
            MarbleError: it lies before the beginning.
        """
        moment_us = microseconds(moment)
        if moment_us < 0:
            raise MarbleError(f"{moment!r} lies before the beginning of the run.")
        speed = self._speed
        self.pause()
        due = bisect.bisect_right(self._times_us, moment_us)
        self._at_us = moment_us
        if due < self._next:
            self._next = 0
        while self._next < due:
            self._emit()
        if speed:
            self.play(speed)

    def until(self, moment: Duration) -> tuple[StageEvent, ...]:
        """Return the events up to *moment*, without playing them: fold them for the state at that time."""
        return tuple(self._recorded[: bisect.bisect_right(self._times_us, microseconds(moment))])

    def close(self) -> None:
        """Stop, and end the thread of its own, if it has one."""
        self.pause()
        if self._worker is not None:
            self._worker.close()

    def _emit(self) -> StageEvent:
        event, self._next = self._recorded[self._next], self._next + 1
        self._out.on_next(event)
        return event

    def _wait(self) -> None:
        if self._next == len(self._recorded):
            self.pause()
            return
        due_s = (self._times_us[self._next] - self._now_us()) / US_PER_S / self._speed
        self._timer.disposable = self._pace.schedule_relative(max(0.0, due_s), self._due)

    def _due(self, *_: object) -> None:
        if self._speed:
            self._emit()
        if self._speed:  # a subscriber may have paused it
            self._wait()
