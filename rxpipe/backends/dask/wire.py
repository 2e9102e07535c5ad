"""What goes over the network between a client and a worker: an image in a stage, files it needs, what it came to."""

from __future__ import annotations

import pickle
import platform
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rxpipe.errors import BackendFailed, BackendRejected, RxPipeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxpipe.artifact import Artifact
    from rxpipe.backends.base import Output
    from rxpipe.plan import StageExecution

PLUGIN = "rxpipe"
"""Name of the plugin, of the question handler and of the startup information of a worker."""

MUST_AGREE = ("python", "rxpipe")
"""Versions that must be the same on all machines: a cell is a pickle of rxpipe's classes."""


@dataclass(frozen=True, slots=True)
class PackedCell:
    """One image in one stage, with everything that it needs from the client's disk.

    files: bytes by the name of the setting whose path means them.
    """

    stage: StageExecution
    source: Artifact | None
    files: Mapping[str, tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Rendered:
    """What became of a cell: one picture or one error; neither after a stop."""

    output: Output | None = None
    error: RxPipeError | None = None


def packed(stage: StageExecution, source: Artifact | None) -> bytes:
    """Return a cell as bytes, with its picture and the files that its settings name.

    Raises:
        BadImage: the picture cannot be read.
        BackendRejected: a file that a setting names cannot be read.
    """
    if source is not None and source.has_picture:
        source = replace(source, data=source.read(), path=None)
    return pickle.dumps(PackedCell(stage, source, _files(stage)), protocol=5)


def unpacked(data: bytes, folder: Path) -> tuple[StageExecution, Artifact | None]:
    """Return the stage and the source of a cell; files are written to *folder*, and the stage names them there.

    Raises:
        BackendRejected: the cell is of another version.
    """
    try:
        cell: PackedCell = pickle.loads(data)  # noqa: S301  # of the cluster's own client, whose code Dask runs anyway
        stage, source, files = cell.stage, cell.source, cell.files
    except Exception as error:
        raise BackendRejected(
            f"the worker cannot read what it was sent: {type(error).__name__}: {error}.",
            hint="Give all machines the same versions: `rxpipe doctor dask://...` lists them.",
        ) from error
    if files:
        folder.mkdir(parents=True, exist_ok=True)
        paths = {name: folder / filename for name, (filename, _) in files.items()}
        for name, (_, content) in files.items():
            paths[name].write_bytes(content)
        stage = stage.model_copy(update={"config": stage.config.model_copy(update=paths)})
    return stage, source


def _files(stage: StageExecution) -> dict[str, tuple[str, bytes]]:
    found = {}
    for name, value in stage.payload.items():
        if isinstance(value, Path):
            try:
                found[name] = (f"{name}{value.suffix}", value.read_bytes())
            except OSError as error:
                raise BackendRejected(
                    f"{stage.stage_type}.{name}: {value} cannot be read: {error.strerror}."
                ) from error
    return found


def sendable(error: Exception) -> RxPipeError:
    """Return an error that another process can read: itself if it is ours and survives a pickle."""
    if isinstance(error, RxPipeError):
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301  # what was pickled in the same line
        except Exception:  # noqa: BLE001  # whatever a class of the user's does in its pickling
            return BackendFailed(f"{type(error).__name__}: {error.message}", hint=error.hint)
        return error
    return BackendFailed(f"the worker's backend raised {type(error).__name__}: {error}.")


@cache
def versions() -> Mapping[str, str]:
    """Return the versions that matter between machines."""
    names = ("rxpipe", "distributed", "cloudpickle", "msgpack", "pydantic")
    return {"python": ".".join(platform.python_version_tuple()[:2]), **{name: _version(name) for name in names}}


def disagreement(theirs: Mapping[str, Any]) -> str:
    """Return which versions that must agree do not; empty if all do."""
    ours = versions()
    unlike = [name for name in MUST_AGREE if theirs.get(name) != ours[name]]
    return "; ".join(
        f"it runs {name} {theirs.get(name, 'of unknown version')}, this is {ours[name]}" for name in unlike
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
