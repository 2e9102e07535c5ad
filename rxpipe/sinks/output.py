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
    """

    def __init__(
        self, writer: ImageWriter, now: Callable[[], datetime], saver: abc.SchedulerBase | None = None
    ) -> None:
        self.saver = saver
        self._writer = writer
        self._now = now
        self._written: list[Path] = []

    def prepare(self) -> None:
        """Find out that the folder can be written to; raises SaveError if not."""
        self._writer.prepare()

    def store(self, artifact: Artifact, execution: StageExecution) -> Artifact:
        """Write the picture; return the artifact that refers to its file. Raises SaveError or BadImage."""
        written = self._writer.write(artifact, execution, self._now().astimezone())
        if written.path is not None:
            self._written.append(written.path)
        return written

    def resume(self, written: Iterable[Path]) -> None:
        """Take over the files of an earlier attempt, and delete what it had not finished."""
        self._written += written
        self._writer.delete_unfinished(set(self._written))

    def close(self) -> None:
        """Leave each file its final name only."""
        self._writer.release()

    def keep_final(self, result: PipelineRunResult) -> None:
        """Delete every file but each image's last; an image that was filtered out keeps none."""
        filtered = {variant.artifact_id for variant in result.variants if variant.outcome == "filtered"}
        wanted = {record.path for record in result.images if record.artifact_id not in filtered}
        for path in self._written:
            if path not in wanted:
                with contextlib.suppress(OSError):  # a viewer holds it: better a file too many than an error now
                    path.unlink()
                    path.parent.rmdir()  # only if nothing else is in it
                    path.parent.parent.rmdir()
