"""Custom stages: a plain function on artifacts, or any Rx operator on them.

Both have the same events, cancel and metadata as the stages that a backend renders; functions have retry and on_error
too.
"""

from __future__ import annotations

import functools
import inspect
import json
from array import array
from collections import Counter
from operator import mul
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, overload

import reactivex as rx
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import BooleanDisposable, CompositeDisposable, Disposable

from rxpipe.artifact import Artifact
from rxpipe.backends.base import Preview, StepProgress
from rxpipe.config import CustomConfig, OnError
from rxpipe.errors import RxPipeError, StageFunctionError
from rxpipe.stages.base import ImageStage, Stage, StageOperator, count_inputs
from rxpipe.stages.cell import Cell, CellState, StageOutput, as_rxpipe_error
from rxpipe.stages.code import code_identity
from rxpipe.stages.recorded import recorded_settings
from rxpipe.stages.tracker import StageAborted, StageTracker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from rxpipe.backends.base import Backend
    from rxpipe.plan import StageExecution
    from rxpipe.rx.lane import Slot

    ImageLike = Artifact | Image.Image | NDArray[np.uint8]

P = ParamSpec("P")


class Cancelled(BaseException):
    """Raised by `report` in a function stage that was cancelled; no `except Exception` catches it."""


class Report:
    """Lets a function stage report how far it is and check whether it was cancelled.

    A function that has a parameter named `report` gets one. `report(0.4)` emits a fraction 0..1, and a preview if one
    is given; once the image or the run was cancelled it raises `Cancelled`, so that the function ends there.
    """

    def __init__(
        self, execution: StageExecution, emit: Callable[[StageOutput], None], is_wanted: Callable[[], bool]
    ) -> None:
        self.prompt = execution.generation.prompt
        self.image_index = execution.image_index
        self.seed = execution.seed
        self._emit = emit
        self._is_wanted = is_wanted

    @property
    def cancelled(self) -> bool:
        """Whether the image or the run was cancelled; for functions that have to clean up."""
        return not self._is_wanted()

    def __call__(self, fraction: float, *, preview: bytes | None = None) -> None:
        """Emit the fraction 0..1 that is done, and as *preview* the picture so far, encoded."""
        if self.cancelled:
            raise Cancelled
        self._emit(StepProgress(fraction=fraction))
        if preview is not None:
            self._emit(Preview(preview))


class FunctionStage(ImageStage):
    """A plain function `Artifact -> Artifact` as a stage.

    It is called on the run's worker thread. It may return a Pillow image or an array instead of an artifact; to leave
    an image unchanged it returns the artifact that it got. What it raises concerns that image only.
    """

    config: CustomConfig
    uses_backend = False

    def __init__(
        self, config: CustomConfig, function: Callable[..., ImageLike], retry_on: tuple[type[Exception], ...] = ()
    ) -> None:
        super().__init__(config)
        self._function = function
        self._retry_on: tuple[type[Exception], ...] = (ConnectionError, TimeoutError, *retry_on)
        self._reports = "report" in inspect.signature(function).parameters
        self.blocking = not self._reports

    @property
    def identity(self) -> Mapping[str, object]:
        """Name, module and source digest of the function, and its arguments."""
        return {**code_identity(self._function), "arguments": self.config.settings}

    def render(self, execution: StageExecution, artifact: Artifact, backend: Backend) -> Observable[StageOutput]:
        """Return the call of the function: what it reports, then its picture."""
        del backend

        def subscribe(
            observer: abc.ObserverBase[StageOutput], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            cancelled = BooleanDisposable()
            report = Report(execution, observer.on_next, lambda: not cancelled.is_disposed)

            def call(*_: object) -> None:
                try:
                    observer.on_next(self._call(artifact, report))
                except Cancelled:
                    return
                except BaseException as error:  # noqa: BLE001  # user code, which may call sys.exit; emitted as the error
                    observer.on_error(self._as_stage_error(error))
                    return
                observer.on_completed()

            if scheduler is None:
                call()
                return cancelled
            return CompositeDisposable(cancelled, scheduler.schedule(call))

        return Observable(subscribe)

    def _call(self, artifact: Artifact, report: Report) -> Artifact:
        made = self._function(artifact, report=report) if self._reports else self._function(artifact)
        if isinstance(made, Artifact):
            return made
        if not hasattr(made, "__array_interface__"):  # what Pillow images and arrays have in common
            kind = type(made).__name__
            raise TypeError(f"it returned {kind}; allowed: an Artifact, a Pillow image, or an array")
        return artifact.with_image(made)

    def _as_stage_error(self, error: BaseException) -> RxPipeError:
        if isinstance(error, RxPipeError):
            return error
        retryable = isinstance(error, self._retry_on)
        wrapped = StageFunctionError(f"{self.config.name} raised {type(error).__name__}: {error}", retryable=retryable)
        wrapped.__cause__ = error
        return wrapped


class ImageFunction(Generic[P]):
    """What `@image_stage` makes of a function: call it with the arguments after the artifact to get a stage.

    function: the function itself, for calling it on one artifact.
    """

    def __init__(
        self,
        function: Callable[Concatenate[Artifact, P], ImageLike],
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
        """Return the stage that calls the function with these arguments after the artifact."""
        settings = _recorded(self.function, args, kwargs)
        config = CustomConfig(name=self._name, kind="function", on_error=self._on_error, settings=settings)
        bound = functools.partial(_called, self.function, args, kwargs)
        functools.update_wrapper(bound, self.function)
        return FunctionStage(config, bound, self._retry_on)


def _called(
    function: Callable[..., ImageLike],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    artifact: Artifact,
    **report: Report,
) -> ImageLike:
    return function(artifact, *args, **kwargs, **report)


@overload
def image_stage(function: Callable[Concatenate[Artifact, P], ImageLike], /) -> ImageFunction[P]: ...


@overload
def image_stage(
    *, name: str | None = None, on_error: OnError = "drop", retry_on: tuple[type[Exception], ...] = ()
) -> Callable[[Callable[Concatenate[Artifact, P], ImageLike]], ImageFunction[P]]: ...


def image_stage(function: Callable[..., ImageLike] | None = None, /, **settings: Any) -> Any:
    """Make a plain function on one artifact into a stage.

        @image_stage
        def watermark(artifact: Artifact, text: str) -> Image.Image: ...

        chain(txt2img(prompt="a lighthouse"), watermark("me"), upscale())

    Args:
        function: takes an artifact and further arguments; returns an artifact, a Pillow image or an array. A parameter
            named `report` gets a `Report`.
        name: of the stage, by default the function's.
        on_error: as for every stage: an image that fails is dropped, passed on unchanged, or stops the stage.
        retry_on: exceptions after which the image is retried, in addition to ConnectionError and TimeoutError.
    """
    if function is not None:
        return ImageFunction(function)
    return lambda late: ImageFunction(late, **settings)


class OperatorStage(Stage):
    """Any Rx operator on artifacts as a stage: it may filter, pick, reorder or expand.

    Each artifact that it emits has a StageImageProgress; those that it does not emit are counted as filtered. An error
    of the operator stops the stage.
    """

    config: CustomConfig

    def __init__(self, config: CustomConfig, operator: StageOperator) -> None:
        super().__init__(config)
        self._operator = operator

    @property
    def identity(self) -> Mapping[str, object]:
        """Name, module and source digest of the operator's function, and its arguments."""
        return {**code_identity(self._operator), "arguments": self.config.settings}

    def bind(self, tracker: StageTracker) -> StageOperator:
        """Return the operator within a run; its images need no slot of the lane."""
        images = _OperatorTracker(tracker)

        def operator(source: Observable[Artifact]) -> Observable[Artifact]:
            entering = tracker.scope.lane.concat_map(images.enter, key=tracker.priority, occupies=False)
            return images.leaving(self._applied(entering(count_inputs(tracker, source))))

        return operator

    def _applied(self, source: Observable[Artifact]) -> Observable[Artifact]:
        """Return the stream after the user's operator; what the call itself raises becomes an error of the stream."""
        try:
            made = self._operator(source)
        except Exception as error:  # noqa: BLE001  # user code; emitted as the error
            return rx.throw(error)
        if isinstance(made, Observable):
            return made
        return rx.throw(TypeError(f"it returned {type(made).__name__} where an Observable was expected"))


class _OperatorTracker:
    """Tracks which artifacts entered an operator and which it emitted."""

    def __init__(self, tracker: StageTracker) -> None:
        self._tracker = tracker
        self._cells: dict[str, Cell] = {}
        self._emitted: Counter[str] = Counter()

    def enter(self, artifact: Artifact, _: Slot) -> Observable[Artifact]:
        def subscribe(observer: abc.ObserverBase[Artifact], _: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            self._cells[artifact.id] = self._tracker.begin_image(artifact)
            observer.on_next(artifact)
            observer.on_completed()
            return Disposable()

        return Observable(subscribe)

    def leaving(self, source: Observable[Artifact]) -> Observable[Artifact]:
        def subscribe(
            observer: abc.ObserverBase[Artifact], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            def on_next(artifact: Artifact) -> None:
                try:
                    recorded = self._record_output(artifact)
                except RxPipeError as error:
                    failed(error)
                    return
                if recorded is not None:
                    observer.on_next(recorded)

            def failed(error: Exception) -> None:
                observer.on_error(error if isinstance(error, StageAborted) else self._aborted(error))

            def completed() -> None:
                self._tracker.end(
                    filtered=self._tracker.received - sum(1 for name in self._cells if self._emitted[name])
                )
                observer.on_completed()

            return source.subscribe(on_next, failed, completed, scheduler=scheduler)

        return Observable(subscribe)

    def _record_output(self, artifact: Artifact) -> Artifact | None:
        """Store and report an artifact that the operator emitted; return it, or None if the run is over."""
        if not isinstance(artifact, Artifact):
            kind = type(artifact).__name__
            raise StageFunctionError(f"{self._tracker.where} emitted a {kind}; allowed: artifacts.")
        tracker = self._tracker
        with tracker.scope.control.committing() as allowed:
            if not allowed:
                return None
            tracker.start()
            artifact = self._with_own_id(artifact)
            cell = self._leaving_cell(artifact)
            cell.take_outcome(CellState.DONE)
            more: Mapping[str, Any] = {}
            if artifact.data is not None:
                execution = tracker.execution.for_image(image_index=cell.index, seed=artifact.seed)
                recalled = tracker.scope.journal.recall(execution, artifact, recorded_settings, "function")
                stored = recalled.artifact if recalled else tracker.scope.output.store(artifact, execution)
                artifact, more = stored, recalled.fields if recalled else more
            tracker.finish_image(cell, artifact, **more)
        return artifact

    def _leaving_cell(self, artifact: Artifact) -> Cell:
        """Return the cell of an artifact that leaves, numbered as it, or the one it was derived from, entered."""
        known = self._cells.get(artifact.id) or self._cells.get(artifact.parent or "")
        return known or Cell(self._tracker, self._emitted.total(), artifact)

    def _with_own_id(self, artifact: Artifact) -> Artifact:
        """Return the artifact; a second one with the same id is a further image and gets an id of its own."""
        self._emitted[artifact.id] += 1
        count = self._emitted[artifact.id]
        return artifact if count == 1 else artifact.derive(str(count))

    def _aborted(self, error: Exception) -> StageAborted:
        self._tracker.start()
        return self._tracker.fail(as_rxpipe_error(error, self._tracker))


def operator_stage(name: str, operator: StageOperator, **settings: Any) -> OperatorStage:
    """Return any Rx operator on artifacts as a named stage; *settings* are recorded in the plan."""
    recorded = {key: _plain(value) for key, value in settings.items()}
    return OperatorStage(CustomConfig(name=name, kind="operator", settings=recorded), operator)


def keep_if(predicate: Callable[[Artifact], bool]) -> OperatorStage:
    """Return a stage that keeps the images for which *predicate* is true."""
    return operator_stage("keep_if", ops.filter(predicate), predicate=stage_name(predicate))


def keep_best(count: int, *, by: Callable[[Artifact], float]) -> OperatorStage:
    """Return a stage that waits for all images and keeps the *count* with the highest *by*, in their own order.

    Raises:
        ValueError: *count* is below 1.
    """
    if count < 1:
        raise ValueError(f"keep_best: got {count}, at least 1 must be kept")

    def best(artifacts: list[Artifact]) -> Iterable[Artifact]:
        ranked = sorted(range(len(artifacts)), key=lambda n: by(artifacts[n]), reverse=True)
        return [artifacts[n] for n in sorted(ranked[:count])]

    def operator(source: Observable[Artifact]) -> Observable[Artifact]:
        return source.to_list().flat_map(lambda artifacts: _each(best(artifacts)))

    return operator_stage("keep_best", operator, count=count, by=stage_name(by))


def expand(function: Callable[[Artifact], Iterable[Artifact]]) -> OperatorStage:
    """Return a stage that makes any number of images from each; a second one with the same id gets an id of its own."""

    def operator(source: Observable[Artifact]) -> Observable[Artifact]:
        return source.flat_map(lambda artifact: _each(function(artifact)))

    return operator_stage("expand", operator, function=stage_name(function))


def _each(artifacts: Iterable[Artifact]) -> Observable[Artifact]:
    """Emit all of them immediately, on the subscriber's thread; RxPY's `from_iterable` would use its trampoline."""

    def subscribe(observer: abc.ObserverBase[Artifact], _: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        for artifact in artifacts:
            observer.on_next(artifact)
        observer.on_completed()
        return Disposable()

    return Observable(subscribe)


_CROSS = {"here": (1, 1), "left": (0, 1), "right": (2, 1), "above": (1, 0), "below": (1, 2)}


def sharpness(artifact: Artifact) -> float:
    """Return how sharp a picture is: the variance of its Laplacian (grey levels squared); higher is sharper."""
    from PIL import ImageMath  # noqa: PLC0415  # importing rxpipe loads no Pillow

    grey = artifact.to_image().convert("L")
    width, height = grey.width - 2, grey.height - 2
    if min(width, height) <= 0:
        return 0.0
    shifted = {name: grey.crop((x, y, x + width, y + height)) for name, (x, y) in _CROSS.items()}
    laplacian = ImageMath.lambda_eval(
        lambda at: at["left"] + at["right"] + at["above"] + at["below"] - at["here"] * 4, **shifted
    )
    values = array("i", laplacian.tobytes())
    count = len(values)
    total: int = sum(values)
    squares: int = sum(map(mul, values, values))
    return (count * squares - total * total) / (count * count)  # of whole numbers, so exact


def stage_name(function: Callable[..., Any], default: str = "operator") -> str:
    """Return the name of a stage made of *function*: its own if that is an identifier, else *default*."""
    name = str(getattr(function, "__name__", "")).strip("_")
    return name if name.isidentifier() else default


def _recorded(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments by name, as plain JSON values.

    Raises:
        TypeError: the function does not take these arguments after the artifact.
    """
    signature = inspect.signature(function)
    taken = [parameter for name, parameter in signature.parameters.items() if name != "report"]
    try:
        bound = signature.replace(parameters=taken).bind(None, *args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{stage_name(function)}(...): {error}; it takes {signature} and is given the first") from None
    return {name: _plain(value) for name, value in list(bound.arguments.items())[1:]}


def _plain(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return repr(value)
