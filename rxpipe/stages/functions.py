"""Stages made of the user's own functions: plain, generator, `async def`, or an object with set-up and tear-down.

They have the same events, cancel, retry, on_error and metadata as the stages that a backend renders.
"""

from __future__ import annotations

import copy
import functools
import inspect
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, overload

from reactivex import Observable, abc
from reactivex.disposable import BooleanDisposable, CompositeDisposable, Disposable

from rxpipe.artifact import Artifact
from rxpipe.config import CustomConfig, OnError
from rxpipe.rx.worker import is_virtual
from rxpipe.stages.arguments import bind, stage_name
from rxpipe.stages.base import ImageStage, StageOperator
from rxpipe.stages.code import code_identity
from rxpipe.stages.objects import InRun, as_coroutine, called_kind, called_of
from rxpipe.stages.raised import function_error
from rxpipe.stages.report import Cancelled, Report

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from rxpipe.backends.base import Backend
    from rxpipe.plan import StageExecution
    from rxpipe.stages.cell import StageOutput
    from rxpipe.stages.tracker import StageTracker

    ImageLike = Artifact | Image.Image | NDArray[np.uint8]
    Made = ImageLike | Awaitable[ImageLike] | Iterator[ImageLike] | AsyncIterator[ImageLike]

P = ParamSpec("P")


class StageObject(Protocol):
    """An object that works on images one by one; with `__enter__` and `__exit__` it is set up and torn down once a run.

    Called with an artifact, and with `report` if it has such a parameter.
    """

    def __call__(self, artifact: Artifact, /) -> Made:
        """Return what a stage's function may return."""


class FunctionStage(ImageStage):
    """A function on artifacts as a stage.

    A plain function is called on the run's worker thread; what it returns is the picture: an artifact, a Pillow image
    or an array, or the artifact that it got, to leave an image unchanged. A generator makes any number of images of
    one; none at all filters it out. A coroutine runs on an event loop of its own, and the run goes on meanwhile. What
    they raise concerns that image only; what setting up an object raises, all of them.
    """

    config: CustomConfig
    uses_backend = False

    def __init__(
        self,
        config: CustomConfig,
        target: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        retry_on: tuple[type[Exception], ...] = (),
    ) -> None:
        super().__init__(config)
        self._target = target
        self._args, self._kwargs = args, dict(kwargs or {})
        self._retry_on: tuple[type[Exception], ...] = (ConnectionError, TimeoutError, *retry_on)
        self._many, self._awaited = called_kind(target)
        self.reports = "report" in inspect.signature(called_of(target)).parameters
        self.blocking = not (self.reports or self._awaited)
        self.in_run = self._new_use()

    def _new_use(self, clock: abc.SchedulerBase | None = None) -> InRun:
        virtual = clock is not None and is_virtual(clock)
        return InRun(self.config.name, self._target, self._args, self._kwargs, inline=virtual)

    @property
    def identity(self) -> Mapping[str, object]:
        """Name, module and source digest of the function, and its arguments."""
        return {**code_identity(self._target), "arguments": self.config.settings}

    def bind(self, tracker: StageTracker) -> StageOperator:
        """Return the stage within a run, with an object of its own; it is released when the run is over."""
        bound = copy.copy(self)
        bound.in_run = self._new_use(tracker.scope.clock)  # of this class
        tracker.scope.releases.append(bound.in_run.release)
        return super(FunctionStage, bound).bind(tracker)

    def render(self, execution: StageExecution, artifact: Artifact, backend: Backend) -> Observable[StageOutput]:
        """Return the call of the function: what it reports, then its pictures."""
        del backend

        def subscribe(
            observer: abc.ObserverBase[StageOutput], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            call = _Call(self, execution, artifact, observer, scheduler)
            if scheduler is None:
                call.begin()
                return call
            return CompositeDisposable(call, scheduler.schedule(lambda *_: call.begin()))

        return Observable(subscribe)

    def as_artifact(self, artifact: Artifact, made: object) -> Artifact:
        """Return what the function made as an artifact; TypeError where it is none."""
        if isinstance(made, Artifact):
            return made
        if not hasattr(made, "__array_interface__"):  # what Pillow images and arrays have in common
            verb = "yielded" if self._many else "returned"
            raise TypeError(f"it {verb} {type(made).__name__}; allowed: an Artifact, a Pillow image, or an array")
        return artifact.with_image(made)  # type: ignore[arg-type]  # one of the two

    def as_stage_error(self, error: BaseException) -> Exception:
        """Return what the function raised as an error of the stage."""
        return function_error(self.config.name, error, retryable=isinstance(error, self._retry_on))


class _Call(abc.DisposableBase):
    """One call of a stage's function; disposing it cancels it, which a function notices when it reports or yields."""

    def __init__(
        self,
        stage: FunctionStage,
        execution: StageExecution,
        artifact: Artifact,
        observer: abc.ObserverBase[StageOutput],
        scheduler: abc.SchedulerBase | None,
    ) -> None:
        self._stage, self._artifact, self._observer, self._scheduler = stage, artifact, observer, scheduler
        self._in_run = stage.in_run  # the stage's other half
        self._cancelled = BooleanDisposable()
        self._report = Report(execution, observer.on_next, lambda: not self._cancelled.is_disposed)
        self._pictures: list[Artifact] = []
        self._waiting: abc.DisposableBase = Disposable()

    def dispose(self) -> None:
        self._cancelled.dispose()
        self._waiting.dispose()

    def begin(self) -> None:
        try:
            self._in_run.begin()
        except Cancelled:
            return
        ends = True
        try:
            made = self._in_run.call(self._artifact, {"report": self._report} if self._stage.reports else {})
            if inspect.isawaitable(made) or inspect.isasyncgen(made):
                self._wait_for(made)
                ends = False
                return
            self._take_all(made)
        except Cancelled:
            return
        except BaseException as error:  # user code, which may call sys.exit; emitted as the error  # noqa: BLE001
            self._finish(error)
            return
        finally:
            if ends:
                self._in_run.end()
        self._finish(None)

    def _take_all(self, made: Any) -> None:
        if not inspect.isgenerator(made):
            self._take(made)
            return
        try:
            for each in made:
                self._take(each)
                if self._report.cancelled:
                    raise Cancelled
        finally:
            made.close()

    def _take(self, made: object) -> None:
        self._pictures.append(self._stage.as_artifact(self._artifact, made))

    def _wait_for(self, made: Any) -> None:
        """Begin a coroutine; when it is over, what it made is emitted on the run's scheduler."""
        future = self._in_run.loop.submit(as_coroutine(made, self._take))
        self._waiting = Disposable(lambda: _cancel(future))
        if self._cancelled.is_disposed:
            future.cancel()

        def over(*_: object) -> None:
            self._in_run.end()
            if not future.cancelled():
                self._finish(future.exception())

        scheduler = self._scheduler
        future.add_done_callback(over if scheduler is None else lambda _: scheduler.schedule(over))

    def _finish(self, error: BaseException | None) -> None:
        if error is not None:
            self._observer.on_error(self._stage.as_stage_error(error))
            return
        for picture in self._pictures:
            self._observer.on_next(picture)
        self._observer.on_completed()


def _cancel(future: Future[Any]) -> None:
    future.cancel()


class ImageFunction(Generic[P]):
    """What `@image_stage` makes of a function or a class: call it with the further arguments to get a stage.

    function: what was decorated, for calling it on one artifact.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        on_error: OnError = "drop",
        retry_on: tuple[type[Exception], ...] = (),
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self._name = name or stage_name(function)
        self._on_error = on_error
        self._retry_on = retry_on

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> FunctionStage:
        """Return the stage that calls the function with these arguments after the artifact.

        Raises:
            TypeError: it does not take these arguments.
            ConfigError: a value is not what its annotation allows.
        """
        arguments = bind(self.function, args, kwargs)
        kind = "generator" if called_kind(self.function)[0] else "function"
        config = CustomConfig.model_validate(
            {"name": self._name, "kind": kind, "on_error": self._on_error, "settings": arguments.recorded}
        )
        return FunctionStage(config, self.function, arguments.args, arguments.kwargs, retry_on=self._retry_on)


class _Decorator(Protocol):
    @overload
    def __call__(self, function: Callable[Concatenate[Artifact, P], Made], /) -> ImageFunction[P]: ...
    @overload
    def __call__(self, function: Callable[P, StageObject], /) -> ImageFunction[P]: ...


@overload
def image_stage(function: Callable[Concatenate[Artifact, P], Made], /) -> ImageFunction[P]: ...


@overload
def image_stage(function: Callable[P, StageObject], /) -> ImageFunction[P]: ...


@overload
def image_stage(
    *, name: str | None = None, on_error: OnError = "drop", retry_on: tuple[type[Exception], ...] = ()
) -> _Decorator: ...


def image_stage(function: Callable[..., Any] | None = None, /, **settings: Any) -> Any:
    """Make a function on one artifact, or a class of such functions, into a stage.

        @image_stage
        def watermark(artifact: Artifact, text: str) -> Image.Image: ...

        chain(txt2img(prompt="a lighthouse"), watermark("me"), upscale())

    Args:
        function: takes an artifact and further arguments; returns an artifact, a Pillow image or an array. A generator
            yields several, an `async def` is awaited. A parameter named `report` gets a `Report`. Of a class each run
            makes an object with the arguments, enters it (`__enter__`) before the first image, calls it with each
            artifact, and leaves it (`__exit__`) when the run is over. For a class write `captioner =
            image_stage(Captioner)`: type checkers do not apply decorators to classes.
        name: of the stage, by default the function's.
        on_error: as for every stage: an image that fails is dropped, passed on unchanged, or stops the stage.
        retry_on: exceptions after which the image is retried, in addition to ConnectionError and TimeoutError.
    """
    if function is not None:
        return ImageFunction(function)
    return lambda late: ImageFunction(late, **settings)
