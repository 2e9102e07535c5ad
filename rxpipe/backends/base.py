"""The port: what rxpipe asks of a backend.

`render` is the only method that a backend must have; the others have defaults that suit a backend with nothing to
check, list, wait for or close. Stages know this module and no adapter. A whole backend:

```python
import reactivex as rx
import rxpipe as rxp
from PIL import Image


class Grey(rxp.Backend):
    def render(self, stage, source):
        def picture():
            square = Image.new("L", (64, 64), stage.seed % 256)
            return rxp.Output(rxp.Artifact(id="grey").with_image(square).data)  # PNG bytes

        return rx.from_callable(picture)  # may emit StepProgress and Preview before the Output


print(rxp.PipelineRunner(Grey()).run(rxp.chain(rxp.txt2img(seed=40))).status)
```
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Self, TypeVar

import reactivex as rx

from rxpipe.backends.catalog import Catalog
from rxpipe.backends.diagnosis import Diagnosis
from rxpipe.errors import BackendFailed, ConfigError
from rxpipe.shown import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reactivex import Observable

    from rxpipe.artifact import Artifact
    from rxpipe.events import Phase
    from rxpipe.plan import StageExecution, StageExecutionPlan

_T = TypeVar("_T")

__all__ = ["Backend", "Moved", "Output", "Preview", "RenderEvent", "StepProgress"]


@dataclass(frozen=True, slots=True)
class StepProgress:
    """How far the rendering is.

    fraction: 0..1, None while it is not known. step: 1..steps. eta_s: seconds left, queue time not counted.
    phase: "queued" behind others, "loading" a model, "working", or "stalled" (no progress for long).
    ahead: jobs before it in the server's queue, None while that is not known.
    server: which of several renders it; None where there is only one, or none yet.
    """

    fraction: float | None = None
    step: int | None = None
    steps: int | None = None
    eta_s: float | None = None
    phase: Phase = "working"
    ahead: int | None = None
    server: str | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """How the picture looks so far: an encoded picture, of any size."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Output:
    """The finished picture.

    data: encoded, PNG as a rule, kept byte for byte. seed: the one used, None for the one asked for.
    unchanged: there was nothing to do (adetailer found nothing); the input continues as it was, `data` is not read.
    warnings: what is not as asked for. settings: what was used, where the backend knows more than the request.
    server: which of several rendered it; None where there is only one.
    transfer_s: seconds that bytes went to the server and came from it. own_s: seconds from the last of them to here,
    in which the answer was read and checked. None where they are not known.
    """

    data: bytes = field(repr=False)
    seed: int | None = None
    unchanged: bool = False
    warnings: tuple[str, ...] = ()
    settings: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    server: str | None = None
    transfer_s: float | None = field(default=None, compare=False)
    own_s: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Moved:
    """An attempt failed, and another one follows at once on another of several servers. error: of the failed one."""

    error: Exception


class LeftOut(str):
    """A warning of `check`: the backend leaves out what a stage asks for. In a pool, one that has it gets the stage."""

    __slots__ = ()


RenderEvent = StepProgress | Preview | Output | Moved


class Backend(ABC):
    """Renders pictures, one image of one stage per call of `render`.

    name: short, part of files and logs. description: one sentence for people.
    url: address of the server, without credentials; None for a backend that has none.
    label: what tells it from others of its name in a pool, such as its device "cuda:1"; None where it has none.
    capacity: images that it renders in parallel, at least 1. With 1 the images of a stage finish in index order; with
        more each is reported when it is written.
    queue_ahead: so many further images may be begun meanwhile, for a server with a queue of its own. Where the two come
        to more than one image, pictures are written on a thread of their own.
    batches: the images of a txt2img batch (`txt2img.batch_size`) are asked for in one request, so they are begun
        together; those that are not in the request wait for its answer.
    """

    name: str = "backend"
    description: str = ""
    url: str | None = None
    label: str | None = None
    capacity: int = 1
    queue_ahead: int = 0
    batches: bool = False

    @property
    def kind(self) -> str:
        """What renders: two backends of one kind make the same picture of the same settings. By default the name."""
        return self.name

    @property
    def where(self) -> str:
        """What `open_backend` opens such a backend from, without credentials: its address, else its name."""
        return self.url or self.name

    @abstractmethod
    def render(self, stage: StageExecution, source: Artifact | None) -> Observable[RenderEvent]:
        """Return a cold observable that renders one picture when it is subscribed to.

        Args:
            stage: for one image: `stage.seed`, `stage.image_index`, `stage.generation`, `stage.config`.
            source: the picture to work on; None for txt2img.

        Returns:
            Any number of StepProgress and Preview, exactly one Output, completion. It emits on the scheduler given to
            subscribe and takes its time from it. An error is one of `rxpipe.errors`; its message does not name the
            stage or the image, which the run knows. Disposing it before it has ended interrupts the rendering, once,
            and returns immediately; afterwards it emits nothing, but for what another thread is emitting already.
        """

    def check(self, plan: StageExecutionPlan) -> Sequence[str]:
        """Return warnings about a plan before it runs: what will not be as asked for.

        Blocking; called on a thread of the caller's, as `catalog` and `diagnose` are, and safe beside a render.

        Raises:
            BackendError: a stage cannot be rendered, or the server does not answer.
        """
        del plan
        return ()

    def catalog(self) -> Catalog:
        """Return what the backend has by name: samplers, checkpoints, ... Blocking.

        Raises:
            BackendError: the server does not answer, or refuses.
        """
        return Catalog()

    def diagnose(self, *, trial: bool = False) -> Diagnosis:
        """Return what is there and what is missing. Blocking; what is wrong is in the result, it is not raised.

        Args:
            trial: whether to render one small picture, the only proof that it works.
        """
        del trial
        return Diagnosis(self.url or "", reachable=True, api=True, credentials="not needed")

    def wait_idle(self) -> Observable[None]:
        """Return an observable that completes once the backend is idle; used before a timed-out render is retried."""
        return rx.empty()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027  # not abstract: most backends hold nothing
        """Release connections and threads. Harmless twice."""


def require_observable(made: Observable[_T], backend: Backend) -> Observable[_T]:
    """Return what `render` made. Raises BackendFailed if that is no observable."""
    if isinstance(made, rx.Observable):
        return made
    raise BackendFailed(f"backend {backend.name}: render returned a {type(made).__name__}; allowed: an Observable.")


def check_slots(backend: Backend) -> int:
    """Return how many images a backend wants at once: its capacity and what it queues ahead.

    Raises:
        ConfigError: one of the two is not a whole number, or too small.
    """
    slots = 0
    for name, least in (("capacity", 1), ("queue_ahead", 0)):
        value = getattr(backend, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            where = f"backend {backend.name}: {name}"
            raise ConfigError([f"{where}: got {shown(value)}; allowed: a whole number of at least {least}"])
        slots += value
    return slots
