"""Learning records: the config and the result of each successful run, one line of JSON per run.

A sink, and off by default: it is used only if it is given to a controller. A line is appended under a lock, in one
write, and synced; a line torn by a crash affects none before or after it.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from rxpipe.config import Img2ImgConfig, Txt2ImgConfig
from rxpipe.errors import BadImage
from rxpipe.events import StageEvent, StageStep, json_line, read_json_line
from rxpipe.filelock import lock
from rxpipe.logs import logger
from rxpipe.presets import dump
from rxpipe.sinks.files import Files, SystemFiles, sync, write_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rxpipe.plan import StageExecution, StageExecutionPlan
    from rxpipe.result import ImageResult, PipelineRunResult

__all__ = ["LearningRecord", "LearningRecordWriter", "latest_records", "read_records"]


class VariantRecord(BaseModel):
    """One planned image: its seed, its outcome, and its files, oldest first.

    rating: 1..5, 5 is best; None if nobody rated it. tags: words to remember it by.
    """

    model_config = ConfigDict(frozen=True)
    image: str
    seed: int | None = None
    outcome: str
    paths: tuple[Path, ...] = ()
    rating: int | None = None
    tags: tuple[str, ...] = ()


class LearningRecord(BaseModel):
    """One successful run.

    timestamp: of its end, aware UTC. config: by section, as a preset file holds it. plan: of its stages.
    primary_model, sampler, scheduler, steps, cfg_scale: of the first generation stage, as really used if the backend
    reported it, else as requested; None if neither is known. durations_s: seconds per stage. tally: planned, done,
    failed, cancelled, filtered. outcomes: per stage, how many images were done, passed, failed or cancelled in it.
    warnings: what differs from the request, each once. outputs: every file, in order.
    supersedes: it stands for the earlier records of the same run, with a rating. rated_at: when that was.
    """

    model_config = ConfigDict(frozen=True)
    version: Literal[1] = 1
    run_id: str
    timestamp: datetime
    stages: tuple[str, ...]
    config: dict[str, JsonValue] = Field(default_factory=dict)
    variants: tuple[VariantRecord, ...] = ()
    primary_model: str | None = None
    sampler: str | None = None
    scheduler: str | None = None
    steps: int | None = None
    cfg_scale: float | None = None
    plan: dict[str, JsonValue] = Field(default_factory=dict)
    durations_s: dict[str, float] = Field(default_factory=dict)
    tally: dict[str, int] = Field(default_factory=dict)
    outcomes: dict[str, dict[str, int]] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    outputs: tuple[Path, ...] = ()
    events: tuple[StageEvent, ...] = ()
    supersedes: bool = False
    rated_at: datetime | None = None

    @classmethod
    def of(cls, result: PipelineRunResult, *, steps: bool = True) -> LearningRecord:
        """Return the record of a run that has ended.

        Args:
            result: it may lack a plan, if read from a timeline; the fields that need the plan then keep their defaults.
            steps: whether `events` holds the sampler steps too.

        Raises:
            ValueError: the run has not ended.
        """
        if not result.events or result.status in {"pending", "running"}:
            raise ValueError(f"run {result.run_id} has not ended; a record needs its result")
        return cls(
            run_id=result.events[0].run_id,
            timestamp=result.events[-1].timestamp,
            stages=getattr(result.events[0], "stages", ()),
            variants=tuple(_variant(variant) for variant in result.variants),
            durations_s=result.durations,
            tally={name: getattr(result.tally, name) for name in result.tally.__slots__},
            outcomes=_outcomes(result),
            warnings=result.warnings,
            outputs=tuple(path for variant in result.variants for path in variant.paths),
            events=tuple(event for event in result.events if steps or not isinstance(event, StageStep)),
            **(_decided(result.plan, _used(result)) if result.plan else {}),
        )


_ADAPTER = TypeAdapter(LearningRecord)


class LearningRecordWriter:
    """Appends a line for each run that completed; ignores runs that were cancelled, partial or failed.

    Given to a controller: `PipelineController(runner, sinks=[LearningRecordWriter()])`. Safe with any number of
    writers, threads and processes on one file. It writes on the thread that emits the end of the run.

    Args:
        path: of the file, which the first record creates, with its folder. None: `learning.jsonl` in the user's data
            folder (`~/.local/share/rxpipe` on Linux).
        steps: whether the events recorded hold the sampler steps too, which are most of them.
        files: the calls to the file system, for tests with faults; None: the real ones.
    """

    def __init__(self, path: Path | str | None = None, *, steps: bool = True, files: Files | None = None) -> None:
        default = platformdirs.user_data_path("rxpipe", appauthor=False) / "learning.jsonl"
        self.path = Path(path).expanduser().absolute() if path is not None else default
        self._steps = steps
        self._files = files or SystemFiles()

    def on_result(self, result: PipelineRunResult) -> None:
        """Record a run that has ended; called by the controller.

        Raises:
            OSError: the file cannot be written; its contents are unchanged.
        """
        if result.success:
            self.write(LearningRecord.of(result, steps=self._steps))

    def write(self, record: LearningRecord) -> None:
        """Append a record.

        Raises:
            OSError: the file cannot be written; its contents are unchanged.
        """
        line = json_line(record)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(self._files, self.path.with_name(self.path.name + ".lock")):
            _append(self._files, self.path, line.encode())


def read_records(path: Path | str) -> Iterator[LearningRecord]:
    """Yield the records of a file, oldest first; a line that a crash has torn is skipped and logged.

    Raises:
        OSError: the file cannot be read.
    """
    with Path(path).open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield read_json_line(_ADAPTER, line)
            except ValidationError as error:
                logger.warning("{}, line {}: no learning record ({} problems)", path, number, error.error_count())


def latest_records(path: Path | str) -> dict[str, LearningRecord]:
    """Return the latest record of each run in a file, by run id; none if there is no file.

    Raises:
        OSError: the file cannot be read.
    """
    return {record.run_id: record for record in read_records(path)} if Path(path).exists() else {}


# -- the file ----------------------------------------------------------------------------------------------------------


def _append(files: Files, path: Path, line: bytes) -> None:
    """Write one line and sync it; after a failure the file is as long as before."""
    descriptor = files.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        try:
            write_all(files, descriptor, (b"\n" if _torn(descriptor, size) else b"") + line + b"\n")
            sync(files, descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)
    if size == 0:
        _sync_folder(files, path.parent)


def _torn(descriptor: int, size: int) -> bool:
    """Return whether the last line has no end, because its writer crashed."""
    if size == 0:
        return False
    os.lseek(descriptor, size - 1, os.SEEK_SET)
    return os.read(descriptor, 1) != b"\n"


def _sync_folder(files: Files, folder: Path) -> None:
    """Sync the entry of a new file in its folder, where the system supports that; the file itself is synced anyway."""
    with contextlib.suppress(OSError):
        descriptor = files.open(folder, os.O_RDONLY)
        try:
            files.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _locked(files: Files, path: Path) -> Iterator[None]:
    """Hold the lock of all writers, of this process and of others; it is released if the process dies."""
    descriptor = files.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        lock(descriptor)
        yield
    finally:
        os.close(descriptor)  # releases the lock too


# -- the record --------------------------------------------------------------------------------------------------------


def _variant(variant: ImageResult) -> VariantRecord:
    return VariantRecord(image=variant.artifact_id, seed=variant.seed, outcome=variant.outcome, paths=variant.paths)


def _outcomes(result: PipelineRunResult) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for record in result.records:
        counts.setdefault(record.stage_type, Counter())[record.outcome] += 1
    return {stage: dict(count) for stage, count in counts.items()}


def _decided(plan: StageExecutionPlan, used: Mapping[str, object]) -> dict[str, Any]:
    """Return the fields that need the plan, with the values really used if they are known, else those requested."""
    drawing = _drawing_stage(plan)
    requested = drawing.generation.model_dump() if drawing else {}

    def word(name: str) -> Any:
        return used.get(name) or requested.get(name)

    return {
        "config": dump(plan),
        "plan": plan.model_dump(mode="json"),
        "primary_model": word("model") or None,
        "sampler": word("sampler_name"),
        "scheduler": word("scheduler"),
        "steps": word("steps"),
        "cfg_scale": word("cfg_scale"),
    }


def _drawing_stage(plan: StageExecutionPlan) -> StageExecution | None:
    return next((stage for stage in plan.stages if isinstance(stage.config, Txt2ImgConfig | Img2ImgConfig)), None)


def _used(result: PipelineRunResult) -> Mapping[str, object]:
    """Return what the first generation stage really used for the first image; empty if that is not known any more."""
    stage = _drawing_stage(result.plan) if result.plan else None
    image = next(iter(result.stage_images(stage.stage_type)), None) if stage else None
    if image is None:
        return {}
    try:
        entries = result.artifact(image).lineage
    except BadImage:  # a timeline from a file, whose pictures are gone
        return {}
    return entries[-1].settings if entries else {}
