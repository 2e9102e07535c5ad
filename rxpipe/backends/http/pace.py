"""How far one job is: a fraction that never falls, the time left, stalls, silence, and which preview is new."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.backends.base import StepProgress

if TYPE_CHECKING:
    from rxpipe.events import Phase


class Pace:
    """What the readings of one job amount to. The caller gives the time, in seconds of any clock; not locked.

    Args:
        stalled_s: seconds without a change until "working" is "stalled".

    fraction: 0..1, the highest seen; None before the first one.
    """

    def __init__(self, *, stalled_s: float = 30.0) -> None:
        self._stalled_s = stalled_s
        self.fraction: float | None = None
        self._first: tuple[float, float] | None = None  # time and fraction of the first counted step
        self._estimated: tuple[float, float] | None = None  # when the fraction rose last, and the seconds left then
        self._changed_s: float | None = None
        self._seen: object = None
        self._preview: object = None

    def observe(
        self, fraction: float | None, step: int | None, steps: int | None, now_s: float, phase: Phase = "working"
    ) -> StepProgress:
        """Return the progress after a reading.

        Args:
            fraction: 0..1, None where this reading counts nothing.
            step: 1..steps; None derives it from the fraction.
            steps: planned.
            now_s: when it was read.
            phase: as the server reports it; "working" becomes "stalled" by itself.
        """
        if fraction is not None:
            rose = self.fraction is None or fraction > self.fraction
            self.fraction = max(fraction, self.fraction or 0.0)
            self._first = self._first or (now_s, self.fraction)
            if rose:
                self._estimate(now_s)
            if step is None and steps:
                step = min(steps, int(self.fraction * steps) + 1)
        if phase == "working" and self.silent_s(now_s) >= self._stalled_s:
            phase = "stalled"
        return StepProgress(self.fraction, step, steps, self._eta_s(now_s), phase)

    def note(self, reading: object, now_s: float) -> None:
        """Note what the server reports; a reading that differs from the last one is a sign of life."""
        if reading != self._seen or self._changed_s is None:
            self._seen, self._changed_s = reading, now_s

    def note_activity(self, now_s: float) -> None:
        """Note a sign of life that no reading shows, such as bytes of the answer."""
        self._changed_s = now_s

    def silent_s(self, now_s: float) -> float:
        """Return the seconds since the last sign of life, counted from the first call at the earliest."""
        if self._changed_s is None:
            self._changed_s = now_s
        return now_s - self._changed_s

    def is_new(self, preview: object) -> bool:
        """Whether a preview, or its id, is not the one seen last."""
        changed = preview != self._preview
        self._preview = preview
        return changed

    def _estimate(self, now_s: float) -> None:
        """Estimate the seconds left at the pace since the first counted step, without queue and model load."""
        if self._first is None or self.fraction is None:
            return
        (begin_s, begun), done = self._first, self.fraction
        if done > begun:
            self._estimated = now_s, (1 - done) * (now_s - begin_s) / (done - begun)

    def _eta_s(self, now_s: float) -> float | None:
        """Return what is left of the last estimate: between two steps nothing is known but that time passes."""
        if self._estimated is None:
            return None
        at_s, left_s = self._estimated
        return max(0.0, left_s - (now_s - at_s))
