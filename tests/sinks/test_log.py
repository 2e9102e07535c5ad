"""The log as a sink: one bound line per lifecycle event, silent unless asked for, plain whatever a server says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger
from reactivex.subject import Subject
from timelines import OUT_OF_MEMORY, TimelineBuilder, timelines, whole_run

from rxpipe.events import ErrorInfo, RunEnd, StageImageProgress
from rxpipe.rx.subject import EventSubject
from rxpipe.sinks.log import line, log_events


@pytest.fixture
def records():
    """Record what reaches a loguru sink while rxpipe's log is enabled."""
    caught = []
    sink = logger.add(lambda message: caught.append(message.record), level="DEBUG")
    logger.enable("rxpipe")
    yield caught
    logger.disable("rxpipe")
    logger.remove(sink)


def logged(events, records):
    """Return the records of *events*, sent through a hot stream."""
    subject = EventSubject()
    subscription = log_events(subject.observable)
    for event in events:
        subject.on_next(event)
    subscription.dispose()
    return records


def image_line(**fields):
    """Return the line of one image of upscale, the second of four."""
    builder = TimelineBuilder()
    builder.begin("upscale", images=4)
    builder.start(0, 4)
    return line(builder.image(0, 2, **fields))


def test_one_line_per_lifecycle_event(records):
    """In their order; steps are none."""
    events = whole_run("txt2img", "upscale", images=2)
    assert [record["extra"]["kind"] for record in logged(events, records)] == [
        event.kind for event in events if event.kind != "stage_step"
    ]


def test_fields_are_bound(records):
    """Run, stage, image and kind, to be filtered by; None where none is meant."""
    logged(whole_run("txt2img", images=1), records)
    assert [tuple(record["extra"][name] for name in ("kind", "run", "stage", "image")) for record in records] == [
        ("run_start", "r1", None, None),
        ("stage_start", "r1", "txt2img", None),
        ("stage_image_progress", "r1", "txt2img", 1),
        ("stage_end", "r1", "txt2img", None),
        ("run_end", "r1", None, None),
    ]


def test_the_lines_of_a_run(records):
    """As a person reads them."""
    assert [record["message"] for record in logged(whole_run("txt2img", images=1, seconds=3.0), records)] == [
        "run r1 started: txt2img, 1 image",
        "txt2img started, 1 image",
        "txt2img image 1/1 done in 3.0 s, seed 101",
        "txt2img completed in 3.0 s: 1 done",
        "run r1 completed",
    ]


def test_a_library_is_silent_unless_it_is_asked_for():
    """Without `logger.enable` nothing is written."""
    caught = []
    sink = logger.add(caught.append, level="TRACE")
    try:
        logged(whole_run("txt2img"), [])
    finally:
        logger.remove(sink)
    assert caught == []


def test_after_disposal_nothing_is_logged(records):
    """The subscription is the switch."""
    subject = EventSubject()
    log_events(subject.observable).dispose()
    subject.on_next(whole_run("txt2img")[0])
    assert records == []
    assert subject.subscribers == 0


def test_a_stream_that_fails_is_logged(records):
    """Not swallowed, and not thrown at the source of it."""
    subject = Subject()
    log_events(subject)
    subject.on_error(ValueError("no\nmore"))
    assert [(record["level"].name, record["message"]) for record in records] == [
        ("ERROR", r"the stream of events failed: ValueError('no\nmore')")
    ]


@pytest.mark.parametrize(
    ("emit", "level"),
    [
        (lambda builder: builder.image(0, 1), "INFO"),
        (lambda builder: builder.image(0, 1, "passed"), "INFO"),
        (lambda builder: builder.image(0, 1, "passed", error=OUT_OF_MEMORY), "WARNING"),
        (lambda builder: builder.image(0, 1, warnings=("x",)), "WARNING"),
        (lambda builder: builder.image(0, 1, "failed", error=OUT_OF_MEMORY), "WARNING"),
        (lambda builder: builder.image(0, 1, "cancelled"), "INFO"),
        (lambda builder: builder.retry(0, 1), "WARNING"),
        (lambda builder: builder.fail(0), "ERROR"),
        (lambda builder: builder.cancel(0, 1), "INFO"),
        (lambda builder: builder.end(0), "INFO"),
        (lambda builder: builder.finish("completed"), "INFO"),
        (lambda builder: builder.finish("partial"), "WARNING"),
        (lambda builder: builder.finish("failed", error=OUT_OF_MEMORY), "ERROR"),
        (lambda builder: builder.finish("cancelled"), "INFO"),
    ],
)
def test_levels_say_how_bad_it_is(records, emit, level):
    """A cancel is no fault; what failed or was not as asked for is."""
    builder = TimelineBuilder()
    builder.begin("upscale")
    event = emit(builder)
    assert [record["level"].name for record in logged([event], records)] == [level]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "upscale image 2/4 done"),
        (
            {"duration_s": 1.25, "seed": 7, "path": Path("out/a b.png")},
            "upscale image 2/4 done in 1.2 s, seed 7, out/a b.png",
        ),
        ({"outcome": "passed"}, "upscale image 2/4 passed"),
        (
            {"outcome": "failed", "error": OUT_OF_MEMORY, "duration_s": 41.2, "seed": 0},
            "upscale image 2/4 failed in 41.2 s, seed 0: CUDA out of memory. Lower the size.",
        ),
        (
            {"warnings": ("another sampler", "no VAE"), "path": Path("a.png")},
            "upscale image 2/4 done, a.png; warning: another sampler; warning: no VAE",
        ),
        ({"total_images": None}, "upscale image 2 done"),
    ],
    ids=str,
)  # fmt: skip
def test_the_line_of_an_image(fields, text):
    """What became of it, how long it took, from which seed, where it is, and what was wrong."""
    assert image_line(**fields) == text.replace("out/a b.png", str(Path("out/a b.png")))


@pytest.mark.parametrize(
    ("emit", "text"),
    [
        (lambda builder: builder.begin("txt2img", "upscale", images=2), "run r1 started: txt2img > upscale, 2 images"),
        (lambda builder: builder.start(0, None), "txt2img started"),
        (lambda builder: builder.start(0, 1), "txt2img started, 1 image"),
        (lambda builder: builder.step(0, 1), "txt2img image 1 working"),
        (lambda builder: builder.step(0, 1, 0.0, phase="loading"), "txt2img image 1 loading 0 %"),
        (lambda builder: builder.step(0, 1, 0.29), "txt2img image 1 working 29 %"),
        (lambda builder: builder.step(0, 1, 1.0), "txt2img image 1 working 99 %"),
        (
            lambda builder: builder.retry(0, 1, attempt=2, delay_s=1.5),
            "txt2img image 1 attempt 2 failed, again in 1.5 s: CUDA out of memory. Lower the size.",
        ),
        (lambda builder: builder.end(0, done=0), "txt2img completed in 1.0 s: no image"),
        (
            lambda builder: builder.end(0, done=3, passed=1, failed=2, cancelled=4, filtered=5),
            "txt2img completed in 1.0 s: 3 done, 1 passed, 2 failed, 4 cancelled, 5 filtered",
        ),
        (lambda builder: builder.fail(0), "txt2img failed: CUDA out of memory. Lower the size."),
        (lambda builder: builder.cancel(0, 2), "txt2img cancelled at image 2"),
        (lambda builder: builder.cancel(0), "txt2img cancelled"),
        (lambda builder: builder.finish("cancelled"), "run r1 cancelled"),
        (
            lambda builder: builder.finish("failed", error=OUT_OF_MEMORY),
            "run r1 failed: CUDA out of memory. Lower the size.",
        ),
    ],
    ids=lambda value: "" if callable(value) else value,
)
def test_the_line_of_every_other_event(emit, text):
    """Never 100 % before the file is there."""
    builder = TimelineBuilder()
    builder.stages = ("txt2img", "upscale")
    assert line(emit(builder)) == text


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("two\nlines\r\n", "two lines "),
        ("\x1b[31mred\x1b[0m \x07", r"\x1b[31mred\x1b[0m \x07"),
        ("a\u2028b\x85c\x00", r"a\u2028b\x85c\x00"),
        ("{0} {run} %s <red>", "{0} {run} %s <red>"),
        ("Gerät: kein Speicher 猫", "Gerät: kein Speicher 猫"),
    ],
)
def test_what_a_server_says_cannot_break_a_line_or_a_terminal(records, message, text):
    """One line stays one line, braces stay braces, colours stay away."""
    builder = TimelineBuilder()
    builder.begin("txt2img")
    event = builder.finish("failed", error=ErrorInfo(type="E", message=message))
    (record,) = logged([event], records)
    assert record["message"] == f"run r1 failed: {text}"


@given(timelines())
def test_every_event_of_any_run_has_one_printable_line(drawn):
    """Whatever happens."""
    for event in drawn.events:
        assert line(event).isprintable()
        assert line(event)


@given(st.text())
def test_any_message_is_one_printable_line(message):
    """Whoever wrote it."""
    builder = TimelineBuilder()
    builder.begin(message)
    assert line(builder.finish("failed", error=ErrorInfo(type="E", message=message))).isprintable()
    assert line(builder.image(0, 1, warnings=(message,))).isprintable()
    assert {type(event) for event in builder.events[1:]} == {RunEnd, StageImageProgress}
