"""Functions of every kind as stages: generators, coroutines, objects; their arguments and what they raise."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from instant import Instant, run_of
from pydantic import Field

import rxpipe as rxp
from rxpipe.logs import logger
from rxpipe.result import Tally


def corner(result, record):
    return result.artifact(record).to_image().getpixel((0, 0))


# -- generators -------------------------------------------------------------------------------------------------------


@rxp.image_stage
def levels(artifact: rxp.Artifact, *by: int):
    """The picture once for each number, brighter by that."""
    for each in by:
        yield artifact.to_image().point(lambda level, each=each: level + each)


@pytest.mark.parametrize("order", ["stage", "image"])
def test_a_generator_makes_several_images_of_one(order):
    """Each with an id of its own; all go on to the next stage, and are counted."""
    result = run_of(rxp.txt2img("a", images=2, seed=10), levels(1, 2, 3), rxp.upscale(), order=order)
    assert result.status == "completed"
    assert result.tally == Tally(planned=6, done=6)
    assert sorted(corner(result, each) for each in result.stage_images("levels")) == [11, 12, 12, 13, 13, 14]
    assert [each.artifact_id.rpartition("-")[2] for each in result.stage_images("levels")[:3]] == ["1", "1.2", "1.3"]
    assert len(result.stage_images("upscale")) == 6


def test_a_generator_that_yields_nothing_filters_the_image_out():
    """As a filter does: the run is complete, and the image counts as filtered."""

    @rxp.image_stage
    def only_odd(artifact):
        if artifact.number % 2:
            yield artifact

    result = run_of(rxp.txt2img("a", images=3), only_odd(), rxp.upscale())
    assert (result.status, result.tally.done, result.tally.filtered) == ("completed", 2, 1)
    [end] = [e for e in result.events if isinstance(e, rxp.StageEnd) and e.stage_type == "only_odd"]
    assert (end.done, end.filtered) == (2, 1)


def test_a_generator_is_retried_as_a_whole_and_closed():
    """What a failed attempt has yielded is dropped."""
    tries, closed = [], []

    @rxp.image_stage
    def fragile(artifact):
        tries.append(artifact.id)
        try:
            yield artifact.to_image()
            if len(tries) == 1:
                raise ConnectionError("gone")
            yield artifact.to_image()
        finally:
            closed.append(artifact.id)

    result = run_of(rxp.txt2img("a"), fragile(), retry={"first_delay_s": 0})
    assert (len(tries), len(closed), len(result.stage_images("fragile"))) == (2, 2, 2)


def test_the_images_of_a_generator_are_taken_from_the_journal(tmp_path):
    """A second run draws nothing and writes nothing anew."""
    executor = rxp.PipelineExecutor(Instant(), store=tmp_path / "s.sqlite3")
    runner = rxp.PipelineRunner(executor)
    chain = rxp.chain(rxp.txt2img("a", images=2, seed=5), levels(1, 2), rxp.upscale(), out=tmp_path / "out")
    first = runner.run(chain)
    executor.store.flush()
    files = sorted((tmp_path / "out").rglob("*.png"))
    again = runner.run(chain, reuse=first.run_id)
    assert sorted((tmp_path / "out").rglob("*.png")) == files
    assert all(record.resumed for record in again.records)
    assert [record.path for record in again.records] == [record.path for record in first.records]


# -- coroutines -------------------------------------------------------------------------------------------------------


@rxp.image_stage
async def slowly(artifact: rxp.Artifact, by: int = 1):
    """Brighter, after a turn of the loop."""
    await asyncio.sleep(0)
    return artifact.to_image().point(lambda level: level + by)


@rxp.image_stage
async def slow_levels(artifact: rxp.Artifact, count: int):
    """As `levels`, on a loop."""
    for by in range(count):
        await asyncio.sleep(0)
        yield artifact.to_image().point(lambda level, by=by: level + by)


def test_a_coroutine_is_awaited_on_a_loop_of_its_own():
    """The same for an asynchronous generator."""
    result = run_of(rxp.txt2img("a", images=2, seed=10), slowly(5), slow_levels(2))
    assert result.status == "completed"
    assert [corner(result, each) for each in result.stage_images("slow_levels")] == [15, 16, 16, 17]


def test_a_coroutine_works_in_virtual_time(marbles):
    """Which stands still meanwhile."""
    run = marbles.run(rxp.chain(rxp.txt2img("a", seed=10), slowly(5)))
    assert run.result.status == "completed"
    run.events.accept()


def test_a_coroutine_is_cancelled_with_its_run():
    """It sees CancelledError, and the run ends at once."""
    began, seen = threading.Event(), threading.Event()

    @rxp.image_stage
    async def waits(artifact):
        try:
            began.set()
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.set()
            raise
        return artifact

    run = rxp.PipelineExecutor(Instant()).start(rxp.chain(rxp.txt2img("a"), waits(), out=None))
    assert began.wait(10)
    run.cancel()
    assert run.wait(1)
    assert seen.wait(5)
    assert run.result.status == "cancelled"


# -- objects ----------------------------------------------------------------------------------------------------------


class Model:
    """An object that counts how it is used."""

    made: ClassVar[list[Model]] = []

    def __init__(self, by: Annotated[int, Field(ge=0)] = 1) -> None:
        self.by, self.log = by, ["made"]
        Model.made.append(self)

    def __enter__(self):
        self.log.append("entered")
        return self

    def __exit__(self, *_):
        self.log.append("left")

    def __call__(self, artifact):
        self.log.append("called")
        return artifact.to_image().point(lambda level: level + self.by)


model = rxp.image_stage(Model)


@pytest.fixture(autouse=True)
def _no_models():
    Model.made.clear()


def test_an_object_is_set_up_once_a_run_and_torn_down_after_it():
    """Before the first image and after the last; each run has an object of its own."""
    stage = model(7)
    for _ in range(2):
        result = run_of(rxp.txt2img("a", images=3, seed=10), stage)
        assert [corner(result, each) for each in result.images] == [17, 18, 19]
    assert [each.log for each in Model.made] == [["made", "entered", "called", "called", "called", "left"]] * 2
    assert result.plan.stages[1].config.settings == {"by": 7}


def test_an_object_that_no_image_reaches_is_never_set_up():
    """A model is not loaded for nothing."""
    run_of(rxp.txt2img("a"), rxp.keep_if(lambda _: False), model())
    assert Model.made == []


def test_an_object_is_released_after_a_cancel_too():
    """Also where the run is cancelled inside the call: as soon as that returns."""
    inside, go_on = threading.Event(), threading.Event()

    @rxp.image_stage
    class Slow(Model):
        def __call__(self, artifact):
            inside.set()
            go_on.wait(10)
            self.log.append("called")
            return artifact

    run = rxp.PipelineExecutor(Instant()).start(rxp.chain(rxp.txt2img("a"), Slow(), out=None))
    assert inside.wait(10)
    run.cancel()
    assert run.wait(2)
    assert Model.made[0].log == ["made", "entered"]  # it is in use, and is not taken away
    left = threading.Event()
    Model.made[0].log = _Telling(Model.made[0].log, left)
    go_on.set()
    assert left.wait(10)
    assert Model.made[0].log == ["made", "entered", "called", "left"]


class _Telling(list):
    def __init__(self, values, event):
        super().__init__(values)
        self._event = event

    def append(self, value):
        super().append(value)
        if value == "left":
            self._event.set()


def test_a_set_up_that_fails_ends_the_stage_at_the_first_image():
    """No image can be worked on, so none is tried in vain; the message says where."""

    @rxp.image_stage
    class Broken(Model):
        def __enter__(self):
            raise FileNotFoundError("no weights")

    result = run_of(rxp.txt2img("a", images=5), Broken(), order="stage")
    assert result.status == "failed"
    assert "Broken, when it was set up, raised FileNotFoundError: no weights (" in result.error.message
    assert len(Model.made) == 1


def test_an_asynchronous_object_lives_on_one_loop():
    """Set-up, calls and tear-down, as a client of a server needs it."""
    loops = []

    @rxp.image_stage
    class Client:
        async def __aenter__(self):
            loops.append(asyncio.get_running_loop())
            return self

        async def __aexit__(self, *_):
            loops.append(asyncio.get_running_loop())

        async def __call__(self, artifact):
            loops.append(asyncio.get_running_loop())
            return artifact.to_image()

    result = run_of(rxp.txt2img("a", images=2), Client())
    assert result.status == "completed"
    assert (len(loops), len(set(map(id, loops)))) == (4, 1)


# -- arguments --------------------------------------------------------------------------------------------------------


@rxp.image_stage
def framed(artifact: rxp.Artifact, px: Annotated[int, Field(ge=0, le=64)] = 8, side: Literal["in", "out"] = "out"):
    """An annotated one."""
    return artifact.to_image(), px, side


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"px": "wide"}, "framed.px: got 'wide'; input should be a valid integer"),
        ({"px": 65}, "framed.px: got 65; input should be less than or equal to 64"),
        ({"side": "up"}, "framed.side: got 'up'; input should be 'in' or 'out'"),
        ({"px": -1, "side": ""}, "framed.side: got ''"),
    ],
)
def test_arguments_are_checked_by_their_annotations(arguments, words):
    """Where the stage is written: what came, what is allowed."""
    with pytest.raises(rxp.ConfigError) as caught:
        framed(**arguments)
    assert words in str(caught.value)


def test_arguments_are_converted_and_recorded():
    """As settings of a config are, so that a config file may hold them."""

    @rxp.image_stage
    def stamp(artifact, folder: Path, times: int = 1):
        assert (folder, times) == (Path("a"), 2)
        return artifact.to_image()

    result = run_of(rxp.txt2img("a"), stamp("a", "2"))
    assert result.status == "completed"
    assert result.plan.stages[1].config.settings == {"folder": "a", "times": 2}


# -- what they raise --------------------------------------------------------------------------------------------------


def _inner(values):
    return values["missing"]  # the line that is meant


@rxp.image_stage
def looks_up(artifact):
    """Raises in a function that it calls."""
    return _inner({"image": artifact})


@pytest.mark.parametrize("stage", [looks_up, rxp.keep_if(lambda _: _inner({}))], ids=["function", "operator"])
def test_what_a_function_raises_has_its_line_and_its_traceback(stage):
    """In the message, in the log, and as the cause of raise_for_status."""
    lines = []
    logger.enable("rxpipe")
    number = logger.add(lines.append, level="DEBUG")
    try:
        result = run_of(rxp.txt2img("a"), stage)
    finally:
        logger.remove(number)
        logger.disable("rxpipe")
    here = next(n for n, line in enumerate(Path(__file__).read_text().splitlines(), 1) if "line that is meant" in line)
    assert f"raised KeyError: 'missing' (tests/pipeline/test_functions.py, line {here}, in _inner)" in str(result.error)
    log = "".join(lines)
    assert "Traceback" in log
    assert "line that is meant" in log
    with pytest.raises(rxp.RunFailed) as caught:
        result.raise_for_status()
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.__cause__.__traceback__ is not None


def test_a_function_without_its_decorator_is_named():
    """As an operator it would fail only at the first image."""

    def plain(artifact: rxp.Artifact) -> rxp.Artifact:
        return artifact

    with pytest.raises(rxp.PlanError, match=r"plain, a function on artifacts.*@rxpipe\.image_stage"):
        rxp.chain(rxp.txt2img("a"), plain)
