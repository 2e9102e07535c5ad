"""The types of errors; every other module may import this one.

```text
RxPipeError
├── ConfigError (ValueError)      a config is wrong; lists every problem, raised before anything runs
├── PlanError (ValueError)        the stages cannot work in this order or on this input; raised before anything runs
├── BackendError                  rendering failed
│   ├── BackendUnavailable        refused, reset, 429, 502, 503, 504        retryable   every image
│   ├── BackendTimeout            no answer in time                         retryable   one image
│   ├── BackendInterrupted        another client stopped the job            retryable   one image
│   ├── BackendRejected           401, 404, 422, a setting refused                      every image
│   ├── BackendFailed             a 500, out of memory, NaN                             one image
│   └── BadResponse               an answer that is not as requested    retryable once  one image
├── StageFunctionError            a user's function or operator raised                  one image
├── TooManyFailures               images failed in a row (a setting)                    every image
├── SaveError                     disk full, folder read-only                           every image
├── BadImage (ValueError)         bytes that are not an intact picture                  one image
├── MissingPackage (ImportError)  an optional package is not installed                  every image
├── StoreError                    the store of runs cannot be read or written
├── ResumeError (ValueError)      a run cannot be resumed as it was asked for; raised before anything runs
├── RunActive                     a run was started while another was running
└── RunFailed                     raised only by `result.raise_for_status()`
```

`retryable`, `once` and `scope` belong to the class: whether a retry can succeed, whether one retry is enough to know,
and whether the error concerns one image or all of them. Where an instance knows better, it says so: a 500 of no known
kind is retryable once, a 503 concerns one image. A cancel is an outcome, not an error, and has no type here.
"""

from __future__ import annotations

import difflib
import importlib.util
import re
from typing import TYPE_CHECKING, Literal

from rxpipe.shown import escaped

if TYPE_CHECKING:
    from collections.abc import Iterable

_REQUEST = re.compile(r" (\((?:GET|POST|PUT|DELETE|HEAD) /[^\s()]*(?: at [^\s()]+)?\))\.?$")

Scope = Literal["image", "run"]


def suggestion(name: str, allowed: Iterable[str]) -> str:
    """Return the end of a message about an unknown *name*: the nearest allowed one, else all of them."""
    names = list(allowed)
    by_lower = {each.lower(): each for each in names}
    nearest = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f"did you mean {by_lower[nearest[0]]!r}?" if nearest else f"allowed: {', '.join(names) or 'none'}"


def joined(message: str, hint: str | None) -> str:
    """Return a message and its advice as sentences: a message that ends as none is closed by a full stop.

    An HTTP request in parentheses at the end of the message comes last: what happened, what to do, and where.
    """
    if not hint:
        return message
    request = _REQUEST.search(message)
    if request is not None:
        message = message[: request.start()]
    text = f"{message} {hint}" if message.endswith((".", "!", "?", ":")) else f"{message}. {hint}"
    return f"{text} {request[1]}" if request is not None else text


class RxPipeError(Exception):
    """The root.

    hint: what to do about the error, None if there is no advice. retryable: whether a retry can succeed.
    once: of the errors of an image that are retryable once, only the first is retried. scope: what it concerns.
    As text it holds nothing that steers a terminal, whatever a server or a file has put into it.
    """

    retryable: bool = False
    once: bool = False
    scope: Scope = "image"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return escaped(joined(self.message, self.hint), keep="\n")


class ConfigError(RxPipeError, ValueError):
    """A config is wrong. `problems` holds one line per wrong field: file, stage, field, its value, what is allowed."""

    scope = "run"

    def __init__(self, problems: tuple[str, ...] | list[str], *, hint: str | None = None) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems), hint=hint)
        self.args = (self.problems,)  # a copy and a pickle call the class with these


class PlanError(RxPipeError, ValueError):
    """The stages cannot work as composed: nothing to detail, no input picture, no stage enabled."""

    scope = "run"


class BackendError(RxPipeError):
    """Rendering failed. The message names the request, the server, its answer, and what to try."""


class BackendUnavailable(BackendError):
    """No server answers, or it is busy.

    retry_after_s: seconds that it asked to wait, None if it named none. scope: "image" for a server that answers and is
    busy: the next request may be let in.
    """

    retryable = True
    scope: Scope = "run"

    def __init__(
        self, message: str, *, hint: str | None = None, retry_after_s: float | None = None, scope: Scope = "run"
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s
        self.scope = scope


class BackendTimeout(BackendError):
    """No answer in time. A retry waits until the backend was interrupted and is idle."""

    retryable = True


class BackendInterrupted(BackendError):
    """Another client of the server stopped the job; raised only where that is asked for (`on_interrupted`)."""

    retryable = True


class BackendRejected(BackendError):
    """The backend refuses every such request: credentials, an unknown path, a setting it does not have."""

    scope = "run"


class BackendFailed(BackendError):
    """The backend tried and failed: out of memory, NaN, an error of its own.

    `retryable` is of the instance: True if the failure may have been of the moment.
    """

    once = True

    def __init__(self, message: str, *, hint: str | None = None, retryable: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.retryable = retryable


class BadResponse(BackendError):
    """The answer is not what was requested: torn JSON, no image, fewer images, a broken picture.

    `retryable` is of the instance: False for an answer whose content no retry would change.
    """

    retryable = True
    once = True

    def __init__(self, message: str, *, hint: str | None = None, retryable: bool = True) -> None:
        super().__init__(message, hint=hint)
        self.retryable = retryable


class StageFunctionError(RxPipeError):
    """A user's own function or operator raised; the cause is in `__cause__`.

    `retryable` is of the instance: True if the cause is of a type that the stage retries.
    """

    def __init__(self, message: str, *, hint: str | None = None, retryable: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.retryable = retryable


class TooManyFailures(RxPipeError):
    """So many images failed in a row that the next would too."""

    scope = "run"


class SaveError(RxPipeError):
    """A picture could not be written: disk full, folder read-only, name refused."""

    scope = "run"


class BadImage(RxPipeError, ValueError):
    """Bytes that are not an intact picture: a torn PNG, a wrong checksum, not an image at all."""


class MissingPackage(RxPipeError, ImportError):
    """An optional package is not installed; `hint` holds the command that installs it."""

    scope = "run"


class StoreError(RxPipeError):
    """The store of runs cannot be read or written: damaged, of a newer version, read-only, locked, another file."""

    scope = "run"


class ResumeError(RxPipeError, ValueError):
    """A run cannot be resumed: unknown, with its pictures in memory, in progress, or with stages that changed.

    `stages` names those that changed or are missing.
    """

    scope = "run"

    def __init__(self, message: str, *, hint: str | None = None, stages: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.stages = stages


class RunActive(RxPipeError):
    """A run was started while another was running."""


class RunFailed(RxPipeError):
    """The run did not complete; raised only by `result.raise_for_status()`, with the result in `result`."""

    def __init__(self, message: str, *, result: object = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.result = result


_OPTIONAL = {
    "numpy": ("numpy", "sketch"),
    "skimage": ("scikit-image", "sketch"),
    "PySide6": ("PySide6", "qt"),
    "IPython": ("IPython", "notebook"),
    "hypothesis": ("hypothesis", "test"),
    "websockets": ("websockets", "comfyui"),
    "distributed": ("distributed", "dask"),
    **{module: (module, "diffusers") for module in ("torch", "diffusers", "transformers", "accelerate", "peft")},
}
"""What a module's package is called, and the extra of rxpipe that installs it."""


def missing(what: str, *modules: str) -> MissingPackage:
    """Return the error that says that *what* needs *modules*, of one extra, and how to install them."""
    names = " and ".join(_OPTIONAL[module][0] for module in modules)
    verb = "is" if len(modules) == 1 else "are"
    return MissingPackage(
        f"{what} needs {names}, which {verb} not installed.",
        hint=f'Run: pip install "rxpipe[{_OPTIONAL[modules[0]][1]}]"',
    )


def require(what: str, *modules: str) -> None:
    """Check, without importing them, that *modules* are installed.

    Raises:
        MissingPackage: one is not.
    """
    absent = [module for module in modules if not _is_installed(module)]
    if absent:
        raise missing(what, *absent)


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # an import hook refuses it, or it has no spec
        return False
