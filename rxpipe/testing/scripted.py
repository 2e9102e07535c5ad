"""Stages under test: a backend that plays marbles, and a whole run on it in virtual time.

```text
s  a sampler step, the nth of as many as the text has      q  waiting in a queue       p  a preview
o  the finished picture                                    l  loading a model          u  nothing to do: unchanged
|  the rendering ends     #  it fails     no end: it hangs
```

A script plays on every call; of several, the nth on the nth call, the last repeating.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Protocol

from PIL import Image

from rxpipe.backends.base import Backend, Output, Preview, RenderEvent, StepProgress
from rxpipe.chains import Chain, build_chain, with_settings
from rxpipe.config import CustomConfig, RetryConfig, RunSettings
from rxpipe.errors import BackendFailed
from rxpipe.executor import PipelineExecutor
from rxpipe.plan import StageType
from rxpipe.testing.clock import MarbleError
from rxpipe.testing.grammar import Mark, parse, parse_moment
from rxpipe.testing.mismatch import Mismatch, reason
from rxpipe.testing.recording import Recording
from rxpipe.testing.rendering import render
from rxpipe.testing.rows import event_name, named_event, rows_of, timeline
from rxpipe.testing.signals import Recorded, Values, resolve
from rxpipe.testing.streams import ColdSource, Harness

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from reactivex import Observable, abc

    from rxpipe.artifact import Artifact
    from rxpipe.config import PipelineConfig
    from rxpipe.plan import StageExecution, StageExecutionPlan
    from rxpipe.result import PipelineRunResult
    from rxpipe.run import Run
    from rxpipe.stages import Stage
    from rxpipe.testing.diagram import MarblePicture

__tracebackhide__ = True  # pytest shows the test's line, not ours

Script = str | Sequence[str]
Errors = Exception | Sequence[Exception | None]
ANY_STAGE = "--o|"


class Playing(Harness, Protocol):
    """A test that plans actions."""

    def at(self, delay_us: int, action: abc.ScheduledAction[Any]) -> None:
        """Do *action* in so many microseconds."""


def tiny_picture(seed: int | None = None) -> bytes:
    """Return a PNG of 8 x 8 px whose grey is the seed."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8), (seed or 0) % 256).save(buffer, "PNG")
    return buffer.getvalue()


def _listed(given: Any) -> Sequence[Any]:
    return [given] if given is None or isinstance(given, str | Exception) else given


def _nth(given: Sequence[Any], n: int) -> Any:
    return given[min(n, len(given) - 1)]


def _failure(stage: str) -> Exception:
    return BackendFailed(f"{stage}: as scripted.")


class ScriptedBackend(Backend):
    """Emits what its scripts contain, at the times they give.

    `calls` holds every execution requested, in order; `backend["upscale"].subscriptions` when each
    ran, so that a call that was cut short shows as `^--!` before its script's end.

    Args:
        scripts: one or several per stage type; a stage without one plays "--o|". "wait_idle" scripts how long it takes
            to be idle after an interrupt, "|" if it is not given.
        errors: what `#` stands for per stage type, or several, the nth on the nth call, the last repeating;
            `BackendFailed` if not given.
        values: what further letters stand for: a StepProgress, Preview or Output.
        check: raised by `check`, before the run's first stage.
        picture: makes the picture of an execution.
        capacity, queue_ahead: as of a `Backend`: how many images it renders in parallel, and how many wait behind them.
    """

    name = "scripted"
    description = "Plays marbles; for tests."

    def __init__(
        self,
        harness: Playing,
        scripts: Mapping[str, Script] | None = None,
        *,
        errors: Mapping[str, Errors] | None = None,
        values: Mapping[str, RenderEvent] | None = None,
        check: Exception | None = None,
        picture: Callable[[StageExecution], bytes] = lambda stage: tiny_picture(stage.seed),
        capacity: int = 1,
        queue_ahead: int = 0,
    ) -> None:
        self.capacity, self.queue_ahead = capacity, queue_ahead
        self._harness = harness
        self.scripts = dict(scripts or {})
        self.errors = dict(errors or {})
        self._values = dict(values or {})
        self._check = check
        self._picture = picture
        self.sources: dict[str, ColdSource] = {}
        self.calls: list[StageExecution] = []
        for stage in self.scripts:
            _ = self[stage]  # a bad script is reported before anything runs

    def __getitem__(self, stage: str) -> ColdSource:
        """Return the stream behind a stage type; its `subscriptions` show when the stage ran."""
        if stage not in self.sources:
            script = self.scripts.get(stage, "|" if stage == "wait_idle" else ANY_STAGE)
            texts, errors = _listed(script), _listed(self.errors.get(stage))
            calls = range(max(len(texts), len(errors)))
            plays = (
                resolve(parse(_nth(texts, n), past=False), error=_nth(errors, n) or _failure(stage)) for n in calls
            )
            self.sources[stage] = ColdSource(self._harness, tuple(map(self._meant, plays)))
        return self.sources[stage]

    def check(self, plan: StageExecutionPlan) -> Sequence[str]:
        """Return no warnings, or raise the configured error."""
        del plan
        if self._check is not None:
            raise self._check
        return ()

    def render(self, stage: StageExecution, source: Artifact | None) -> Observable[RenderEvent]:
        """Play the stage's script."""
        del source
        self.calls.append(stage)
        return self[stage.stage_type].map(lambda output: self._with_picture(output, stage))

    def wait_idle(self) -> Observable[None]:
        """Play the script of "wait_idle"."""
        return self["wait_idle"]

    def _with_picture(self, output: RenderEvent, stage: StageExecution) -> RenderEvent:
        return replace(output, data=self._picture(stage)) if isinstance(output, Output) and not output.data else output

    def _meant(self, play: tuple[Recorded, ...]) -> tuple[Recorded, ...]:
        steps = sum(recorded.name == "s" for recorded in play)
        meant, step = [], 0
        for recorded in play:
            step += recorded.name == "s"
            meant.append(
                recorded._replace(value=self._rendering(recorded, step, steps)) if recorded.kind == "next" else recorded
            )
        return tuple(meant)

    def _rendering(self, recorded: Recorded, step: int, steps: int) -> RenderEvent:
        by_letter: dict[str, RenderEvent] = {
            "s": StepProgress(step / max(steps, 1), step=step, steps=steps),
            "q": StepProgress(phase="queued"),
            "l": StepProgress(phase="loading"),
            "p": Preview(tiny_picture(step)),
            "o": Output(b""),
            "u": Output(b"", unchanged=True),
            **self._values,
        }
        if recorded.name not in by_letter:
            raise MarbleError(f"A script contains {recorded.name!r}.", hint=f"Known are {', '.join(by_letter)}.")
        return by_letter[recorded.name]


class EventRecording(Recording):
    """The events of a run; in a diagram each has a name: "run_start", "upscale start", "upscale 2", "run completed"."""

    def _add(self, kind: Any, value: Any) -> None:
        super()._add(kind, value)
        if kind == "next" and hasattr(value, "kind"):
            self.messages[-1] = self.messages[-1]._replace(name=event_name(value))

    def to_be(self, text: str, values: Values = None, error: object = None) -> None:
        """Compare as every recording does; without *values* the names are those of events: `{upscale start}`."""
        super().to_be(text, named_event if values is None else values, error)


class TimelineExpectation:
    """The rows of a run's timeline; see `rxpipe.testing.rows` for the letters."""

    def __init__(self, harness: Harness, events: EventRecording) -> None:
        self._harness = harness
        self._events = events

    def to_be(self, rows: Mapping[str, str] | None = None, /, **more: str) -> None:
        """Fail unless every stage did what its row shows; `run` may be left out, a stage that started may not.

        Raises:
            Mismatch: of the first row that differs, with the whole timeline below.
        """
        came = rows_of(self._events.values)
        texts = {**(rows or {}), **more}
        wanted = {name: _row(text) for name, text in texts.items()}
        stages = [name for event in self._events.values[:1] for name in getattr(event, "stages", ())]
        for name in wanted:
            if name not in {"run", *came, *stages}:
                raise MarbleError(f"There is no row {name!r}.", hint=f"There are run, {', '.join(stages)}.")
        for name in [*wanted, *(name for name in came if name != "run" and name not in wanted)]:
            self._compare(name, wanted.get(name, ()), _seen(came.get(name, ())), texts.get(name))
        self._events.accept()

    def _compare(
        self, name: str, expected: tuple[Recorded, ...], actual: tuple[Recorded, ...], text: str | None
    ) -> None:
        rewrites = self._harness.rewrites
        if (why := reason(expected, actual)) is not None:
            new = render(Mark(each.at, each.kind, each.name) for each in actual)
            if rewrites is not None and text is not None and rewrites.propose(text, new):
                return
            self._events.accept()
            whole = "\n".join(f"  {line}" for line in str(self.picture()).splitlines())
            raise Mismatch(f"{name}: {why}", expected, actual, where=f"{self._harness.line()}\n\n{whole}")

    def picture(self) -> MarblePicture:
        """Return the timeline as a picture."""
        return timeline(self._events.values)

    def __str__(self) -> str:
        return str(self.picture())

    def _repr_svg_(self) -> str:
        return self.picture().svg()


def _row(text: str) -> tuple[Recorded, ...]:
    return _seen(parse(text, cancelled=True, past=False).marks)


def _seen(marks: tuple[Mark, ...]) -> tuple[Recorded, ...]:
    return tuple(Recorded(mark.at, mark.kind, mark.name or None, mark.name) for mark in marks)


class ScriptedRun:
    """A run that was played to its end, or to where it hangs.

    events: what was emitted. previews: the preview pictures. timeline: the same by rows. backend: its scripts and
    calls. run: the run itself. result: its result.
    """

    def __init__(self, harness: Playing, executor: PipelineExecutor, backend: ScriptedBackend) -> None:
        self.backend = backend
        self.executor = executor
        self.events = EventRecording(harness, "events")
        self.previews = Recording(harness, "previews")
        self.events.subscription = executor.events.subscribe(self.events)
        self.previews.subscription = executor.previews.subscribe(self.previews)
        self.timeline = TimelineExpectation(harness, self.events)
        self.run: Run | None = None
        self.job: Chain | None = None
        self.cancel: str | None = None
        self._clock = harness.clock

    @property
    def pending(self) -> int:
        """How many actions are still planned."""
        return self._clock.pending

    @property
    def result(self) -> PipelineRunResult:
        """The result of the run so far."""
        if self.run is None:
            raise MarbleError("The run has not begun.")
        return self.run.result

    @property
    def status(self) -> str:
        """Of the result: completed, partial, failed, cancelled, or running where it hangs."""
        return self.result.status

    def _repr_svg_(self) -> str:
        return self.timeline.picture().svg()

    def __repr__(self) -> str:
        return str(self.timeline)


def play(
    harness: Playing,
    job: PipelineConfig | Chain,
    backend: Mapping[str, Script] | ScriptedBackend | None,
    *,
    errors: Mapping[str, Errors] | None,
    cancel: str | None,
    inputs: Sequence[Path | str],
) -> ScriptedRun:
    """Play a run to its end; see `Marbles.run`."""
    _refuse_unknown([*(backend if isinstance(backend, Mapping) else ()), *(errors or ())], build_chain(job))
    made = backend if isinstance(backend, ScriptedBackend) else ScriptedBackend(harness, backend, errors=errors)
    played = ScriptedRun(harness, PipelineExecutor(made, scheduler=harness.clock), made)
    played.job, played.cancel = _for_tests(job), cancel
    moment_us = None if cancel is None else parse_moment(cancel)
    run = played.run = played.executor.start(played.job, inputs=inputs)
    if moment_us is not None:
        harness.at(moment_us, lambda *_: run.cancel())
    harness.finish()
    return played


def _refuse_unknown(names: Sequence[str], chain: Chain) -> None:
    """Raise for a script of a stage that does not exist: it would never play, and its test would pass."""
    known = [*dict.fromkeys([*chain.plan.stage_types, *StageType]), "wait_idle"]
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            listed = f"There are {', '.join(known)} (until the backend is free)."
            hint = f"Did you mean {near[0]!r}? {listed}" if near else listed
            raise MarbleError(f"A script is for a stage {name!r}.", hint=hint)


def _for_tests(job: PipelineConfig | Chain) -> Chain:
    """Return the job with no files and no jitter, unless it sets them itself."""
    chain = build_chain(job)
    given = (chain.settings if isinstance(job, Chain) else job).model_fields_set
    retry = chain.settings.retry
    jitter = retry.jitter if "jitter" in retry.model_fields_set else 0.0
    out = chain.settings.out if "out" in given else None
    return with_settings(chain, out=out, retry=retry.model_copy(update={"jitter": jitter}))


def as_test(run: ScriptedRun, name: str = "test_found") -> str:
    """Return a run as the text of a test that plays it again."""
    wanted = {"backend": run.backend.scripts, "errors": run.backend.errors}
    lines = [f"        {name}={value!r}," for name, value in wanted.items() if value]
    if run.cancel is not None:
        lines.append(f'        cancel="{run.cancel}",')
    job = [] if run.job is None else as_code(run.job.stages, run.job.settings)
    return "\n".join([f"def {name}(marbles):", "    run = marbles.run(", *job, *lines, "    )", "    laws.check(run)"])


def as_code(stages: Sequence[Stage], settings: RunSettings) -> list[str]:
    """Return the call of `rxp.chain` that builds the chain, one line per part; a custom stage appears by its name."""
    given = {name: getattr(settings, name) for name in ("timeout_s", "max_failures_in_a_row")}
    given["input"] = tuple(map(str, settings.input))
    unusual = (f"{name}={value!r}" for name, value in given.items() if value != getattr(RunSettings(), name))
    order = [f"order={settings.order!r}"] if len(stages) > 1 else []
    parts = [*map(_stage_code, stages), *order, *unusual, *_retry_code(settings.retry)]
    return ["        rxp.chain(", *(f"            {part}," for part in parts), "        ),"]


def _stage_code(stage: Stage) -> str:
    if isinstance(stage.config, CustomConfig):
        return stage.config.name
    given = stage.config.model_dump(exclude_unset=True)
    return f"rxp.{stage.config.section}({', '.join(f'{name}={_code(value)}' for name, value in given.items())})"


def _code(value: object) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _retry_code(retry: RetryConfig) -> Iterator[str]:
    given = {name: value for name, value in retry.model_dump().items() if value != getattr(RetryConfig(), name)}
    given.pop("jitter", None)  # in a test there is none
    if given:
        yield f"retry=rxp.RetryConfig({', '.join(f'{name}={value!r}' for name, value in given.items())})"
