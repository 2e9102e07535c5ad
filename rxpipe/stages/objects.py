"""What one run calls for a function stage: a function, or an object that is set up before the first image.

An object with `__enter__` and `__exit__` (or `__aenter__` and `__aexit__`) is entered when the first image needs it and
left when the run is over, however it ended: a model is loaded once a run, and released after a cancel too.
"""

from __future__ import annotations

import inspect
import threading
from typing import TYPE_CHECKING, Any

from rxpipe.errors import StageFunctionError
from rxpipe.logs import logger
from rxpipe.rx.aio import LoopThread
from rxpipe.stages.raised import function_error
from rxpipe.stages.report import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxpipe.artifact import Artifact

__all__ = ["InRun", "as_coroutine", "called_kind", "called_of"]

_RELEASE_S = 5.0  # for the asynchronous end of an object


def called_of(target: Any) -> Callable[..., Any]:
    """Return the function that is called with an artifact: *target* itself, or that of an object or its class."""
    if inspect.isroutine(target):
        return target
    called: Callable[..., Any] = target.__call__  # of the class, where it is one
    return called


def called_kind(target: Any) -> tuple[bool, bool]:
    """Return whether what calling *target* on an artifact makes is several pictures, and whether it is awaited."""
    called = inspect.unwrap(called_of(target))
    many = inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called)
    return many, inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called)


class InRun:
    """What a function stage calls in one run; makes and enters an object at the first call.

    loop: where coroutines run.

    Args:
        name: of the stage.
        target: a function, an object, or a class of such objects.
        args, kwargs: of the function after its artifact, or of the class.
        inline: as of `LoopThread`.
    """

    def __init__(
        self,
        name: str,
        target: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        inline: bool = False,
    ) -> None:
        self.loop = LoopThread(f"rxpipe-{name}", inline=inline)
        self._name, self._target, self._args, self._kwargs = name, target, args, kwargs
        self._lock = threading.RLock()
        self._callee: Callable[..., Any] | None = None
        self._entered: Any = None
        self._calls = 0
        self._released = False

    def call(self, artifact: Artifact, report: dict[str, Any]) -> Any:
        """Call it on one image; return what it returns, an awaitable or a generator as well.

        Raises:
            StageFunctionError: setting the object up failed, which concerns the whole run.
            Cancelled: the run is over.
        """
        callee = self._ready()
        if inspect.isclass(self._target):
            return callee(artifact, **report)
        return callee(artifact, *self._args, **self._kwargs, **report)

    def begin(self) -> None:
        """Keep the object until `end`, even if the run ends meanwhile."""
        with self._lock:
            if self._released:
                raise Cancelled
            self._calls += 1

    def end(self) -> None:
        """End a call that began; the object of a run that is over is released now."""
        with self._lock:
            self._calls -= 1
            due = self._released and not self._calls
        if due:
            self._leave()

    def release(self) -> None:
        """Release the object, now or when the call in progress returns. From any thread, harmless twice."""
        with self._lock:
            if self._released:
                return
            self._released = True
            due = not self._calls
        if due:
            self._leave()

    def _ready(self) -> Callable[..., Any]:
        if self._callee is None:
            try:
                self._callee = self._set_up()
            except Exception as error:
                raise self._set_up_error(error) from error
        return self._callee

    def _set_up(self) -> Callable[..., Any]:
        made: Any = self._target(*self._args, **self._kwargs) if inspect.isclass(self._target) else self._target
        if hasattr(type(made), "__aenter__"):
            entered = self.loop.submit(type(made).__aenter__(made)).result()
        elif not inspect.isroutine(made) and hasattr(type(made), "__enter__"):
            entered = type(made).__enter__(made)
        else:
            return made  # type: ignore[no-any-return]  # a callable, whatever its type
        self._entered = made
        callee: Callable[..., Any] = entered if callable(entered) else made
        return callee

    def _set_up_error(self, error: Exception) -> Exception:
        wrapped = function_error(f"{self._name}, when it was set up,", error)
        if isinstance(wrapped, StageFunctionError):
            wrapped.scope = "run"  # no image can be worked on without it
        return wrapped

    def _leave(self) -> None:
        made, self._entered = self._entered, None
        try:
            if made is not None and hasattr(type(made), "__aexit__"):
                self.loop.submit(type(made).__aexit__(made, None, None, None)).result(_RELEASE_S)
            elif made is not None:
                type(made).__exit__(made, None, None, None)
        except Exception as error:  # user code; the run is over and keeps its outcome  # noqa: BLE001
            logger.opt(exception=error).warning("{}: its tear-down raised {}", self._name, type(error).__name__)
        finally:
            self.loop.close()


async def as_coroutine(made: Any, take: Callable[[Any], None]) -> None:
    """Wait for what a function returned, and give each picture to *take*."""
    if inspect.isasyncgen(made):
        async for each in made:
            take(each)
    else:
        take(await made)
