"""Placement: which of several backends renders an image, and where it goes when that one fails.

A member that fails is rested and tried again, never dropped for good; its image moves to another member at once.
Members may come and go while images are in progress, on any thread.
"""

from __future__ import annotations

import functools
import math
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import reactivex as rx
from reactivex import Observable
from reactivex.disposable import Disposable, SerialDisposable, SingleAssignmentDisposable
from reactivex.scheduler import CurrentThreadScheduler

from rxpipe import threads
from rxpipe.backends.base import Moved, Output, StepProgress
from rxpipe.backends.checking import spare_incomplete
from rxpipe.backends.findings import Findings, find_out, need_of
from rxpipe.backends.member import FIRST_REST_S, UNANSWERED, Member, MemberLost
from rxpipe.config import Txt2ImgConfig
from rxpipe.errors import BackendFailed, BackendRejected, BackendUnavailable, BadResponse
from rxpipe.logs import logger
from rxpipe.rx.worker import elapsed_s

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from reactivex import abc

    from rxpipe.artifact import Artifact
    from rxpipe.backends.base import Backend, RenderEvent
    from rxpipe.plan import StageExecution, StageExecutionPlan

_FAILURES_BEFORE_REST = 2  # of one image each, such as out of memory; a server that does not answer rests at once
_SLOW = 1.5  # times the fastest member's seconds an image; slower ones get no image queued ahead
_LOSSES = 4  # members that are lost with an image before it is its own fault; a cluster of three may be killed in turn


class Placement:
    """Decides which member gets an image, and remembers how each has done. From any thread; it calls nothing locked.

    Args:
        members: those that there are from the beginning.
        patience_s: asked where there is no member: the seconds for which an image waits for one to be added;
            0 or less ends it.
        absence: called for the error of an image that no member is there for, with those of the members it was on.
    """

    def __init__(
        self,
        members: Iterable[Member],
        patience_s: Callable[[], float] = lambda: 0.0,
        absence: Callable[[Sequence[Exception]], Exception] = lambda _: BackendRejected(
            "no backend of the pool can render this."
        ),
    ) -> None:
        self._members = list(members)
        self._patience_s, self.absence = patience_s, absence
        self._lock = threading.RLock()
        self._waiting: list[Call] = []
        self._unplaced: Exception | None = None

    @property
    def members(self) -> tuple[Member, ...]:
        """The members that there are now."""
        with self._lock:
            return tuple(self._members)

    def add(self, member: Member) -> None:
        """Give images to *member* too, those that wait first."""
        with self._lock:
            self._members.append(member)
        self.place_waiting(on_their_clocks=True)

    def remove(self, member: Member) -> None:
        """Give no image to *member* any more; those in progress there end as its backend says."""
        with self._lock:
            if member in self._members:
                self._members.remove(member)

    def place(self, call: Call, *, again: bool = False) -> None:
        """Have *call* begin on a member; let it wait for one; or end it if every member was tried.

        Args:
            call: that has no member.
            again: it waited; nothing happens if it no longer does.
        """
        with self._lock:
            if call.over or (again and call not in self._waiting):
                return
            candidates = self._candidates(call)
            due = [(m, m.found.unanswered) for m in candidates if m.is_due(call.now_s)]
            member = self._best(call, [m for m in candidates if m.found.unanswered is None])
            patience_s = 0.0 if self._members else self._patience_s()
            waits = member is None and (bool(candidates) or patience_s > 0)
            known = call in self._waiting
            if known and not waits:
                self._waiting.remove(call)
            if waits and not known:
                self._waiting.append(call)
            if member is not None:
                member.groups[call.group] = member.groups.get(call.group, 0) + 1
                member.model, member.used = call.model, member.used + 1
            rests_s = [rest_s for m in candidates if (rest_s := m.rests_s(call.now_s))]
            rests_s += [patience_s] if patience_s > 0 else []
        if member is not None:
            call.begin(member)
        elif waits:
            call.wait(min(rests_s, default=None), report=not known)
        else:
            call.give_up(next((refusal for m in self._members if (refusal := call.refusal_of(m))), None))
        for away, plan in due:
            if plan is not None:
                threads.start(functools.partial(self._ask_again, away, plan))

    def forget(self, call: Call, last: Exception | None = None) -> None:
        """Let *call* wait no longer; note why no member took it: *last*, of those it was on, or what they rest for."""
        with self._lock:
            if call in self._waiting:
                self._waiting.remove(call)
                errors = [m.error for m in self._members if call.refusal_of(m) is None and m.error is not None]
                self._unplaced = last or (errors[-1] if errors else None)

    def succeeded(self, call: Call, member: Member, took_s: float) -> None:
        """Free the member; it counts as healthy."""
        with self._lock:
            member.failures, member.rest_s, member.resting_until = 0, FIRST_REST_S, 0.0
            member.suspected_at_s = member.error = self._unplaced = None
            member.note_pace(call.stage_type, took_s, call.now_s)
        self._release(call, member)
        self.place_waiting()

    def failed(self, call: Call, member: Member, error: Exception) -> None:
        """Free the member; rest it if it does not answer, or failed on several images."""
        with self._lock:
            member.failures += 1
            member.error = error
            if isinstance(error, UNANSWERED) or member.failures >= _FAILURES_BEFORE_REST:
                member.rest(call.now_s, getattr(error, "retry_after_s", None) or 0.0)
        self._release(call, member)

    def unused(self, call: Call, member: Member) -> None:
        """Free a member whose call was disposed before it began there."""
        self._release(call, member)
        self.place_waiting()

    def cut_short(self, call: Call, member: Member) -> None:
        """Free the member once it is idle: a cancel, a skip or a time limit ended the call there."""
        with self._lock:
            member.stopping += 1
            member.suspected_at_s = call.now_s

        def idle() -> None:
            with self._lock:
                member.stopping -= 1
            self.place_waiting()

        def not_idle(error: Exception) -> None:
            with self._lock:
                member.failures += 1
                member.error = error
                member.rest(call.now_s)
            idle()

        self._release(call, member)
        # on the backend's own time: the call's scheduler may be closed with the run that was cancelled
        rx.defer(lambda _: member.backend.wait_idle()).subscribe(on_error=not_idle, on_completed=idle)

    def wait_idle(self) -> Observable[None]:
        """Complete immediately, and rest the members that had a call cut short: a time limit did it.

        Its error, where the call waited for members that rest, is what they rest for.
        """
        with self._lock:
            for member in self._members:
                if member.suspected_at_s is not None:
                    member.rest(member.suspected_at_s)
                    member.suspected_at_s = member.error = None
            cause, self._unplaced = self._unplaced, None
        return rx.empty() if cause is None else rx.throw(cause)

    def place_waiting(self, *, on_their_clocks: bool = False) -> None:
        """Try every call that waits, the oldest first: immediately, or each on the scheduler that it emits on."""
        with self._lock:
            waiting = list(self._waiting)
        for call in waiting:
            if on_their_clocks:
                call.scheduler.schedule(lambda *_, call=call: self.place(call, again=True))
            else:
                self.place(call, again=True)

    def _candidates(self, call: Call) -> list[Member]:
        return [m for m in self._members if call.refusal_of(m) is None and m not in call.tried]

    def _ask_again(self, member: Member, plan: StageExecutionPlan) -> None:
        """Find out whether a member is there now, and what it has; images that wait for it alone wait no longer."""
        try:
            found = find_out(member.backend, plan)
        except Exception as error:  # noqa: BLE001  # of a backend of the user's own
            found = Findings.none(plan, BackendUnavailable(f"{type(error).__name__}: {error}"))
        with self._lock:
            member.asked_again(found)
            gone = found.unanswered is not None
            given_up = [call for call in self._waiting if gone and self._candidates(call) == [member]]
            warnings = [] if gone else [f"{member.where}: {warning}" for warning in found.warnings]
            warnings += spare_incomplete([m for m in self._members if m.found.unanswered is None])
        for call in given_up:
            call.pass_by(member)
        for warning in warnings:
            logger.warning("{}", warning)
        self.place_waiting(on_their_clocks=True)

    def _best(self, call: Call, candidates: list[Member]) -> Member | None:
        now_s = call.now_s
        for member in candidates:
            if call.group in member.groups:  # its batch is there
                return member
        awake = not all(m.rests_s(now_s) for m in candidates)
        # a rest spares images a member that fails; where all rest, waiting for one that answers spares nothing
        usable = [m for m in candidates if not m.stopping and (not m.rests_s(now_s) or (m.answers and not awake))]
        free = [m for m in usable if len(m.groups) < m.backend.capacity]
        return min(free or self._with_queue(usable, call.stage_type), key=lambda m: m.rank(call.model), default=None)

    def _with_queue(self, usable: list[Member], stage_type: str) -> list[Member]:
        """The members that may have a further image wait behind those in progress: none that is much slower."""
        paces = [m.image_s[stage_type] for m in self._members if stage_type in m.image_s]
        slowest_s = _SLOW * min(paces) if paces else math.inf
        return [
            m
            for m in usable
            if len(m.groups) < m.backend.capacity + m.backend.queue_ahead
            and m.image_s.get(stage_type, 0.0) <= slowest_s
        ]

    def _release(self, call: Call, member: Member) -> None:
        with self._lock:
            left = member.groups.get(call.group, 0) - 1
            if left > 0:
                member.groups[call.group] = left
            else:
                member.groups.pop(call.group, None)


class Call:
    """One image until a member has rendered it, or none can."""

    def __init__(
        self,
        placement: Placement,
        stage: StageExecution,
        source: Artifact | None,
        observer: abc.ObserverBase[RenderEvent],
        scheduler: abc.SchedulerBase,
        *,
        group: object,
    ) -> None:
        self._need, self.model, self.group = need_of(stage), stage.generation.model, group
        self.scheduler = scheduler
        self.tried: list[Member] = []
        self._placement, self._stage, self._source, self._observer = placement, stage, source, observer
        self._errors: list[Exception] = []
        self._absence: Exception | None = None  # of a member that it waited for
        self._reported = 0  # of the errors
        self._member: Member | None = None
        self._current, self._timer = SerialDisposable(), SerialDisposable()
        self._began_s = 0.0
        self._has_output = False
        self._lock = threading.Lock()
        self._over = False

    @property
    def stage_type(self) -> str:
        """Of the stage that it is in."""
        return self._stage.stage_type

    @property
    def over(self) -> bool:
        """Whether it has ended, or was disposed."""
        return self._over

    @property
    def now_s(self) -> float:
        """The scheduler's time, in seconds."""
        return elapsed_s(self.scheduler)

    def refusal_of(self, member: Member) -> Exception | None:
        """Return why a member cannot render it, None if it can."""
        return member.found.refusal(self._stage, self._need)

    def pass_by(self, member: Member) -> None:
        """Wait for a member no longer: it does not answer."""
        self._absence = member.found.error
        self.tried.append(member)

    def begin(self, member: Member) -> None:
        """Render on *member*; free it where the call was disposed since it was placed."""
        self._report_failures()
        with self._lock:
            begins = not self._over
            if begins:
                self._member, self._began_s, self._has_output = member, self.now_s, False
        if not begins:
            self._placement.unused(self, member)
            return
        self._timer.disposable = Disposable()
        current = SingleAssignmentDisposable()
        self._current.disposable = current  # before it begins: what ends at once may begin elsewhere
        current.disposable = rx.defer(lambda _: member.rendering(self._stage, self._source)).subscribe(
            self._on_next, self._on_error, self._on_completed, scheduler=self.scheduler
        )

    def wait(self, seconds: float | None, *, report: bool) -> None:
        """Wait until a member is free, or for *seconds*, when the first of those that rest may be used again."""
        self._report_failures()
        if seconds is not None:
            self._timer.disposable = self.scheduler.schedule_relative(
                seconds, lambda *_: self._placement.place(self, again=True)
            )
        if report:
            self.scheduler.schedule(self._report_queued)

    def _report_failures(self) -> None:
        for error in self._errors[self._reported :]:
            self._observer.on_next(Moved(error))
        self._reported = len(self._errors)

    def _report_queued(self, *_: object) -> None:
        if not self._over and self._member is None:
            self._observer.on_next(StepProgress(phase="queued"))

    def give_up(self, refusal: Exception | None = None) -> None:
        """End with a member's error; where none was tried with *refusal*; where none is there with that.

        Of the errors the last that concerns the image: a member that cannot render at all does not end the run.
        """
        if not (self._errors and self._placement.members):
            self._end(self._absence or refusal or self._placement.absence(self._errors))
            return
        of_image = [error for error in self._errors if getattr(error, "scope", "image") == "image"]
        self._end((of_image or self._errors)[-1])

    def _end(self, error: Exception) -> None:
        self._over = True
        self._observer.on_error(error)

    def _take(self, *, over: bool) -> Member | None:
        """Return the member that is at it, to one caller only: what it came to and a dispose may be two threads'."""
        with self._lock:
            member, self._member = self._member, None
            self._over = self._over or over
            return member

    def dispose(self) -> None:
        """Interrupt the member, if one is at it."""
        member = self._take(over=True)
        self._timer.dispose()
        self._placement.forget(self, self._errors[-1] if self._errors else None)
        self._current.dispose()
        if member is not None:
            self._placement.cut_short(self, member)

    def _on_next(self, event: RenderEvent) -> None:
        if isinstance(event, (Output, StepProgress)) and self._member is not None:
            self._has_output = self._has_output or isinstance(event, Output)
            event = replace(event, server=event.server or self._member.where)
        self._observer.on_next(event)

    def _on_completed(self) -> None:
        if not self._has_output:
            self._on_error(BadResponse("it emitted no picture."))
            return
        member = self._take(over=True)
        if member is not None:
            self._placement.succeeded(self, member, self.now_s - self._began_s)
        self._observer.on_completed()

    def _on_error(self, error: Exception) -> None:
        member = self._take(over=False)
        if member is None:
            return
        self._errors.append(error)
        self.tried.append(member)
        self._placement.failed(self, member, error)
        if sum(isinstance(each, MemberLost) for each in self._errors) >= _LOSSES:
            self._end(
                BackendFailed(
                    f"{_LOSSES} backends went away while they rendered this image, the last with: {error}",
                    hint="It may need more memory than they have; draw it alone, or smaller.",
                )
            )
        else:
            self._placement.place(self)
        self._placement.place_waiting()


def placed(
    ready: Callable[[], Placement], backend: Backend, stage: StageExecution, source: Artifact | None
) -> Observable[RenderEvent]:
    """Return one picture by a member of a *backend* of several.

    Args:
        ready: called at each subscription; returns where its members are.
        backend: whose `batches` holds then.
        stage, source: as of `Backend.render`.
    """

    def subscribe(
        observer: abc.ObserverBase[RenderEvent], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        placement, clock = ready(), scheduler or CurrentThreadScheduler.singleton()
        call = Call(placement, stage, source, observer, clock, group=_group_of(stage, backend.batches))
        placement.place(call)
        return Disposable(call.dispose)

    return Observable(subscribe)


def _group_of(stage: StageExecution, batches: bool) -> object:
    """The images of one txt2img batch are one; every other image is one by itself."""
    size = stage.config.batch_size if batches and isinstance(stage.config, Txt2ImgConfig) else 1
    return object() if size == 1 else (stage.stage_index, ((stage.image_index or 1) - 1) // size)
