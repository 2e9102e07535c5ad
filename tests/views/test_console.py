"""The console view: what a person sees of a run on a terminal, in a pipe, and on a console of another age."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from rxpipe.errors import BackendFailed
from rxpipe.events import (
    ErrorInfo,
    RunEnd,
    RunStart,
    StageCancelled,
    StageEnd,
    StageImageProgress,
    StageRetry,
    StageStart,
    StageStep,
)
from rxpipe.rx.subject import EventSubject
from rxpipe.shown import plain
from rxpipe.status import RunStatus, StageStatus, reduce_status
from rxpipe.views.console import ConsoleView, takes_live

START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


class Terminal(io.TextIOWrapper):
    """A console in memory, of any encoding, that says whether it is a terminal."""

    def __init__(self, encoding="utf-8", *, terminal=True):
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding=encoding, errors="strict", write_through=True)
        self._terminal = terminal

    def isatty(self):
        return self._terminal

    @property
    def text(self):
        return self.bytes.getvalue().decode(self.encoding)


class Story:
    """Events of one run with their numbers and times filled in."""

    def __init__(self):
        self.seq = 0

    def __call__(self, kind, **fields):
        event = kind(run_id="r", seq=self.seq, timestamp=START + timedelta(seconds=self.seq), **fields)
        self.seq += 1
        return event

    def stage(self, kind, name="txt2img", index=0, **fields):
        return self(kind, stage_type=name, stage_index=index, **{"total_images": 2, **fields})


def whole_run():
    """Two stages with two images; the upscaler is reached."""
    story = Story()
    yield story(RunStart, stages=("txt2img", "upscale"), images=2, config="c")
    for index, name in enumerate(("txt2img", "upscale")):
        yield story.stage(StageStart, name, index)
        for image in (1, 2):
            yield story.stage(StageStep, name, index, image_index=image, fraction=0.5, step=10, steps=20)
            yield story.stage(
                StageImageProgress, name, index, image_index=image, artifact_id=f"r-{image}", outcome="done",
                seed=41 + image, duration_s=1.5, path=Path(f"out/{image}.png"),
            )  # fmt: skip
        yield story.stage(StageEnd, name, index, done=2, duration_s=3.0)
    yield story(RunEnd, status="completed")


def shown(events, console, **options):
    view = ConsoleView(console, **options)
    subject = EventSubject()
    view.attach(subject.observable)
    for event in events:
        subject.on_next(event)
    view.close()
    return view


def status_after(events, status=None):
    status = status or RunStatus()
    for event in events:
        status = reduce_status(status, event)
    return status


def picture_of(status, encoding="utf-8", width=110):
    """One frame of the block, as text."""
    file = Terminal(encoding)
    console = Console(file=file, width=width, force_terminal=True, color_system=None, legacy_windows=False)
    console.print(ConsoleView(console, live=True).block(status))
    return file.text


def test_a_pipe_gets_one_plain_line_per_lifecycle_event():
    """Steps are left out, and a long path is not wrapped."""
    file = Terminal(terminal=False)
    shown(whole_run(), Console(file=file, width=20))

    lines = file.text.splitlines()
    assert lines == [
        "run r started: txt2img > upscale, 2 images",
        "txt2img started, 2 images",
        "txt2img image 1/2 done in 1.5 s, seed 42, out/1.png",
        "txt2img image 2/2 done in 1.5 s, seed 43, out/2.png",
        "txt2img completed in 3.0 s: 2 done",
        "upscale started, 2 images",
        "upscale image 1/2 done in 1.5 s, seed 42, out/1.png",
        "upscale image 2/2 done in 1.5 s, seed 43, out/2.png",
        "upscale completed in 3.0 s: 2 done",
        "run r completed",
    ]


def test_the_block_tells_image_step_percent_and_time_left():
    """A row per stage with its bar; the current one says where it is; below, the run as a whole."""
    frame = picture_of(status_after(list(whole_run())[:5], status_after(whole_run())))

    first, second, foot = frame.splitlines()
    assert "txt2img" in first
    assert "75 %" in first
    assert "image 2 of 2 · step 10 of 20" in first
    assert "━" in first
    assert "waiting" in second
    assert "Running txt2img" in foot
    assert "37 %" in foot
    assert "ETA: 00:0" in foot
    assert "Ctrl+C stops" in foot


def test_no_prefix_of_a_run_shows_100_percent_before_its_end():
    """A stage's bar is full when it ended, the run's when all files are there."""
    events = list(whole_run())
    for count in range(1, len(events)):
        foot = picture_of(status_after(events[:count])).splitlines()[-1]
        assert "100 %" not in foot, f"after {count} events"
    halfway = picture_of(status_after(events[:6])).splitlines()[0]
    assert " 99 %" in halfway


def test_a_terminal_keeps_the_finished_block_and_the_cursor():
    """What stays on the screen is the last frame, and a visible cursor."""
    file = Terminal()
    shown(whole_run(), Console(file=file, width=100, force_terminal=True, color_system=None))

    last_frame = file.text.rpartition("\x1b[2K")[2]
    assert "Completed in 13.0 s" in last_frame
    assert file.text.rindex("\x1b[?25h") > file.text.rindex("\x1b[?25l")


def test_trouble_gets_a_line_above_the_block_and_success_does_not():
    """Retries, warnings and failures are printed as messages; a picture that came out well is only counted."""
    story = Story()
    error = ErrorInfo.of(BackendFailed("answered 500.", hint="Lower the size."))
    image = {"artifact_id": "r-1", "path": Path("out/1.png")}
    events = [
        story(RunStart, stages=("adetailer",), images=3, config="c"),
        story.stage(StageStart, "adetailer"),
        story.stage(StageRetry, "adetailer", image_index=1, attempt=1, delay_s=2.0, error=error),
        story.stage(StageImageProgress, "adetailer", image_index=1, outcome="done", warnings=("its own",), **image),
        story.stage(StageImageProgress, "adetailer", image_index=2, outcome="passed", error=error, **image),
        story.stage(StageImageProgress, "adetailer", image_index=3, outcome="done", **image),
        story(RunEnd, status="failed", error=error),
    ]  # fmt: skip
    file = Terminal()
    shown(events, Console(file=file, width=100, force_terminal=True, color_system=None))

    assert "adetailer image 1/2 attempt 1 failed, again in 2.0 s: answered 500. Lower the size." in file.text
    assert "adetailer image 1 done: its own" in file.text
    assert "adetailer image 2 left as it was: answered 500. Lower the size." in file.text
    assert "adetailer image 3" not in file.text
    assert file.text.rstrip().endswith("answered 500. Lower the size.")


@pytest.mark.parametrize("live", [True, False])
def test_warnings_of_the_run_are_printed_and_no_failure_is_printed_twice(live):
    """As those of an image are; an image whose failure ended the run has said why."""
    story = Story()
    failed = ErrorInfo.of(BackendFailed("answered 500", hint="Lower the size."))
    ended = ErrorInfo.of(BackendFailed("upscale (stage 1 of 1), image 1: answered 500", hint="Lower the size."))
    image = {"artifact_id": "r-1", "path": None}
    events = [
        story(RunStart, stages=("upscale",), images=1, config="c"),
        story.stage(StageStart, "upscale"),
        story.stage(StageImageProgress, "upscale", image_index=1, outcome="failed", error=failed, **image),
        story(RunEnd, status="failed", error=ended, warnings=("the VAE was not looked up",)),
    ]
    file = Terminal()
    shown(events, Console(file=file, width=100, force_terminal=live, color_system=None))

    assert file.text.count("answered 500. Lower the size.") == 1
    assert file.text.count("warning: the VAE was not looked up") == 1


def test_verbose_tells_every_lifecycle_event_above_the_block():
    """For who wants to see each picture's file as it comes."""
    file = Terminal()
    shown(whole_run(), Console(file=file, width=100, force_terminal=True, color_system=None), verbose=True)

    assert "upscale image 2/2 done in 1.5 s, seed 43, out/2.png" in file.text


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp932", "latin-1"])
def test_a_console_without_the_glyphs_gets_ascii(encoding):
    """Nothing raises, and nothing in the block needs more than ASCII."""
    frame = picture_of(status_after(list(whole_run())[:5]), encoding)

    assert frame.isascii()
    assert "###" in frame
    assert "image 2 of 2 - step 10 of 20" in frame


def test_waiting_states_are_named():
    """A model that loads looks different from a hang."""
    loading = StageStatus("txt2img", state="running", total=2, phase="loading")
    status = RunStatus(state="running", message="Running txt2img: loading a model", stages=(loading,), stage_number=1)

    assert "loading a model" in picture_of(status).splitlines()[0]


@pytest.mark.parametrize("width", [24, 40, 60, 200])
def test_the_block_never_wraps(width):
    """A wrapped row would leave its remains on the screen with every frame."""
    status = status_after(list(whole_run())[:5])

    assert all(len(row) <= width for row in picture_of(status, width=width).splitlines())
    assert len(picture_of(status, width=width).splitlines()) == 3


def test_stopping_is_shown_until_the_end():
    """After Ctrl+C the foot says so, whatever still comes in."""
    file = Terminal()
    view = ConsoleView(Console(file=file, width=90, force_terminal=True, color_system=None))
    events = list(whole_run())
    subject = EventSubject()
    view.attach(subject.observable)
    for event in events[:3]:
        subject.on_next(event)
    view.stopping()
    subject.on_next(events[3])
    view.close()

    assert "Stopping" in file.text.rpartition("\x1b[2K")[2]


def test_a_cancelled_run_says_what_became_of_its_stages():
    """The stage in progress is cancelled, those behind it are skipped, with no percent where nothing was done."""
    story = Story()
    status = status_after(
        [
            story(RunStart, stages=("txt2img", "upscale"), images=2, config="c"),
            story.stage(StageStart),
            story.stage(StageCancelled, image_index=1),
            story(RunEnd, status="cancelled"),
        ]
    )
    first, second, foot = picture_of(status).splitlines()

    assert "cancelled" in first
    assert "skipped" in second
    assert "%" not in second
    assert foot.startswith("Cancelled in ")


def test_no_color_is_honoured(monkeypatch):
    """No colour is set where NO_COLOR is; bold and dim may stay."""
    monkeypatch.setenv("NO_COLOR", "1")
    file = Terminal()
    shown(whole_run(), Console(file=file, width=100, force_terminal=True, color_system="standard"))

    assert not any(f"\x1b[{code}m" in file.text for code in range(30, 48))


def test_what_comes_from_outside_cannot_steer_the_terminal():
    """Escape sequences in a server's words are shown, not obeyed, and line ends do not break the line."""
    assert plain("boom\x1b[2J\x07\nnext", "utf-8") == "boom\\x1b[2J\\x07 next"


def test_an_unknown_encoding_is_taken_for_ascii():
    """A console that names an encoding Python does not know still gets its lines."""
    assert plain("höhe ━", "x-klingon") == "h\\xf6he #"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_reader_that_goes_away_is_noted_and_costs_nothing(terminal):
    """A closed pipe ends the telling, not the run."""

    class Closed(Terminal):
        def write(self, _):
            raise BrokenPipeError

    view = ConsoleView(Console(file=Closed(), width=80, force_terminal=terminal), live=False)
    view.say("hello")
    view.say("again")

    assert view.closed


def test_a_pipe_is_no_terminal_even_where_colour_is_forced(monkeypatch):
    """FORCE_COLOR, as continuous integration sets it, must not bring a moving block into a log file."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not takes_live(Console(file=Terminal(terminal=False)))


def test_a_dumb_terminal_gets_plain_lines():
    """An editor's shell buffer is a terminal that cannot move its cursor."""
    assert not takes_live(Console(file=Terminal(), force_terminal=True, _environ={"TERM": "dumb"}))
    assert takes_live(Console(file=Terminal(), force_terminal=True, _environ={"TERM": "xterm"}))
