"""The stage gate: each image waits until somebody lets it through: a person in a window, a notebook or a terminal."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import reactivex as rx
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import Disposable, SerialDisposable
from reactivex.subject import AsyncSubject

from rxpipe.errors import StageFunctionError
from rxpipe.rx.subject import EventSubject
from rxpipe.stages.arguments import stage_name
from rxpipe.stages.operators import OperatorStage, operator_stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxpipe.artifact import Artifact

__all__ = ["Decisions", "gate"]


class Decisions:
    """What waits at a gate, and what is said to it. Safe from any thread.

        decisions = Decisions()
        run = runner.start(chain(txt2img("a lighthouse", images=4), gate(decisions), upscale()))
        decisions.waiting.subscribe(show)     # the images that wait, after every change
        decisions.accept(image)               # or an image's id, or its number; no argument: all that wait

    waiting: a tuple of the artifacts that wait, oldest first; a subscriber first gets the present one. Emitted on the
        thread where it changes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[Artifact, AsyncSubject[bool]]] = {}
        self._changes: EventSubject[tuple[Artifact, ...]] = EventSubject(replay_latest=True)
        self._changes.on_next(())
        self.waiting: Observable[tuple[Artifact, ...]] = self._changes.observable

    def accept(self, image: Artifact | str | int | None = None) -> None:
        """Let an image through, by itself, its id or its number; None: all that wait. Nothing if none waits so."""
        self._decide(image, verdict=True)

    def reject(self, image: Artifact | str | int | None = None) -> None:
        """Filter an image out, named as in `accept`."""
        self._decide(image, verdict=False)

    def __call__(self, artifact: Artifact) -> Observable[bool]:
        """Return the decision about an image, once it was taken."""

        def subscribe(
            observer: abc.ObserverBase[bool], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            decision: AsyncSubject[bool] = AsyncSubject()
            inner = SerialDisposable()
            inner.disposable = decision.subscribe(observer, scheduler=scheduler)
            self._change(lambda: self._waiting.update({artifact.id: (artifact, decision)}))

            def withdraw() -> None:
                inner.dispose()
                self._change(lambda: self._waiting.pop(artifact.id, None))

            return Disposable(withdraw)

        return Observable(subscribe)

    def _decide(self, image: Artifact | str | int | None, *, verdict: bool) -> None:
        with self._lock:
            named = getattr(image, "id", image)
            meant = [name for name, (artifact, _) in self._waiting.items() if named in {None, name, artifact.number}]
            decided = [self._waiting.pop(name)[1] for name in meant]
        self._change(lambda: None)
        for decision in decided:
            decision.on_next(verdict)
            decision.on_completed()

    def _change(self, change: Callable[[], object]) -> None:
        with self._lock:
            change()
            waiting = tuple(artifact for artifact, _ in self._waiting.values())
        self._changes.on_next(waiting)


def gate(decisions: Decisions | Callable[[Artifact], bool | Observable[bool]] | None = None) -> OperatorStage:
    """Return a stage at which each image waits for a decision: True lets it through, False filters it out.

    Images leave it in the order of the decisions. A run that is cancelled waits for none.

    Args:
        decisions: whom a window or a notebook tells; or a function that returns the decision about an image, or an
            observable whose first value it is. None: the terminal is asked, image by image.
    """
    decide = ask_in_terminal if decisions is None else decisions

    def passed(artifact: Artifact) -> Observable[Artifact]:
        verdict = decide(artifact)
        if not isinstance(verdict, Observable):
            return rx.of(artifact) if verdict else rx.empty()
        return verdict.pipe(ops.take(1), ops.filter(bool), ops.map(lambda _: artifact))

    def operator(source: Observable[Artifact]) -> Observable[Artifact]:
        def subscribe(
            observer: abc.ObserverBase[Artifact], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            decided = source.pipe(ops.flat_map(passed))
            on_run = decided if scheduler is None else decided.pipe(ops.observe_on(scheduler))
            return on_run.subscribe(observer, scheduler=scheduler)

        return Observable(subscribe)

    return operator_stage("gate", operator, decisions=stage_name(decide, type(decide).__name__))


_terminal = threading.Lock()


def ask_in_terminal(artifact: Artifact) -> Observable[bool]:
    """Ask on the terminal whether an image goes on; "y" and an empty answer let it through."""

    def subscribe(observer: abc.ObserverBase[bool], _: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        def ask() -> None:
            with _terminal:
                try:
                    answer = input(f"image {artifact.number} {artifact.path or artifact.id}: go on with it? [Y/n] ")
                except (EOFError, OSError) as error:
                    message = "gate: there is no terminal to ask."
                    failure = StageFunctionError(message, hint="Give it decisions in code: gate(decisions).")
                    failure.__cause__ = error
                    observer.on_error(failure)
                    return
            observer.on_next(answer.strip().lower() in {"", "y", "yes"})
            observer.on_completed()

        threading.Thread(target=ask, name="rxpipe-gate", daemon=True).start()
        return Disposable()

    return Observable(subscribe)
