"""FileStore: where a run with an output folder keeps its pictures, and which of them it keeps."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime
    from pathlib import Path

    from reactivex import abc

    from rxpipe.artifact import Artifact
    from rxpipe.plan import StageExecution
    from rxpipe.result import PipelineRunResult
    from rxpipe.sinks.images import ImageWriter


class FileStore:
    """Writes the pictures of one run.

    With an owner of its writer, the last picture keeps its temporary name until the next one is stored, or `close()`.

    Args:
        writer: of the run's folder.
        now: the time that goes into folder names, aware.
        saver: as of `rxpipe.stages.scope.ImageStore`.
        synced_from: the index of the first stage whose pictures stay as a rule; one of an earlier stage is not synced
            before `keep_final`.
        supersedes: whether an image's picture is deleted once that of a later stage was stored, when the next picture
            of any image is: until then its event may not have been emitted.
    """

    def __init__(
        self,
        writer: ImageWriter,
        now: Callable[[], datetime],
        saver: abc.SchedulerBase | None = None,
        *,
        synced_from: int = 0,
        supersedes: bool = False,
    ) -> None:
        self.saver = saver
        self._writer = writer
        self._now = now
        self._synced_from, self._supersedes = synced_from, supersedes
        self._written: list[Path] = []
        self._unsynced: set[Path] = set()
        self._last: dict[str, Path] = {}
        self._superseded: Path | None = None

    def prepare(self) -> None:
        """Find out that the folder can be written to; raises SaveError if not."""
        self._writer.prepare()

    def store(self, artifact: Artifact, execution: StageExecution) -> Artifact:
        """Write the picture; return the artifact that refers to its file. Raises SaveError or BadImage."""
        self._delete_superseded()
        synced = execution.stage_index >= self._synced_from
        written = self._writer.write(artifact, execution, self._now().astimezone(), synced=synced)
        if written.path is not None:
            self._written.append(written.path)
            if not synced:
                self._unsynced.add(written.path)
            if self._supersedes:
                self._superseded, self._last[artifact.id] = self._last.get(artifact.id), written.path
        return written

    def resume(self, written: Iterable[Path]) -> None:
        """Take over the files of an earlier attempt, and delete what it had not finished."""
        self._written += written
        self._writer.delete_unfinished(set(self._written))

    def close(self) -> None:
        """Leave each file its final name only."""
        self._writer.release()

    def keep_final(self, result: PipelineRunResult) -> None:
        """Delete every file but each image's last, and sync those; an image that was filtered out keeps none."""
        filtered = {variant.artifact_id for variant in result.variants if variant.outcome == "filtered"}
        wanted = {record.path for record in result.images if record.artifact_id not in filtered}
        self._delete_superseded()
        for path in self._written:
            if path not in wanted:
                _delete(path)
            elif path in self._unsynced:
                self._writer.sync(path)

    def _delete_superseded(self) -> None:
        superseded, self._superseded = self._superseded, None
        if superseded is not None:
            _delete(superseded)


def _delete(path: Path) -> None:
    with contextlib.suppress(OSError):  # a viewer holds it: better a file too many than an error now
        path.unlink()
        path.parent.rmdir()  # only if nothing else is in it
        path.parent.parent.rmdir()
