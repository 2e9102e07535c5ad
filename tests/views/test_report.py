"""The report of a run: what its page shows, that it needs nothing else, and that its trace is one."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from timelines import OUT_OF_MEMORY, TimelineBuilder, whole_run
from typer.testing import CliRunner

import rxpipe as rxp
from rxpipe.backends.base import Backend, Output
from rxpipe.cli import app
from rxpipe.errors import ConfigError, SaveError
from rxpipe.events import ErrorInfo
from rxpipe.testing import WebUIServer
from rxpipe.testing.servers.webui.faults import Fault
from rxpipe.views.report.bars import attempts_of
from rxpipe.views.report.page import page_text
from rxpipe.views.report.shown_run import run_of_result, run_of_store
from rxpipe.views.report.times import IDLE, by_server, by_stage, shares
from rxpipe.views.report.trace import trace_text

SCRIPT = '<script src="https://evil.example/x.js">'
HOSTILE = f"</style></title></svg>{SCRIPT}</script><img src=http://evil.example/y onerror=1>"


class Painter(Backend):
    """A half transparent picture of one colour, at once."""

    name = "painter"

    def render(self, stage, _source):
        colour = ((stage.seed or 0) % 256, 90, 0, 128)
        return rx.of(Output(rxp.Artifact(id="x").with_image(Image.new("RGBA", (64, 64), colour)).read()))


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words, self.style, self._in_style = [], [], [], "", False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._in_style = tag == "style"

    def handle_endtag(self, _tag):
        self._in_style = False

    def handle_data(self, data):
        if self._in_style:
            self.style += data
        else:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def pictures(self):
        return [value for tag, name, value in self.attributes if (tag, name) == ("img", "src")]


def assert_loads_nothing(page):
    """No script, no frame, no address of anything that would be fetched."""
    assert not set(page.tags) & {"script", "link", "iframe", "object", "embed", "base", "form", "use", "image", "video"}
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        if name == "src":
            assert value.startswith("data:image/jpeg;base64,")
        elif name == "href":
            assert tag == "a"
            assert value.startswith("./")
        else:
            assert name not in {"srcset", "action", "formaction", "poster", "data", "ping", "background", "xlink:href"}
            assert "url(" not in value
    assert set(re.findall(r"url\(([^)]*)\)", page.style)) <= {"#hatch"}
    assert "@import" not in page.style
    policy = next(value for tag, name, value in page.attributes if name == "content" and "default-src" in value)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def drawn_run(tmp_path, images=4, **changes):
    """A finished run of the four stages with its pictures in files."""
    folder = tmp_path / "o u'ts#1"
    folder.mkdir()
    builder = TimelineBuilder()
    builder.begin("txt2img", "upscale", images=images)
    for index, stage in enumerate(("txt2img", "upscale")):
        builder.start(index, images)
        for image in range(1, images + 1):
            path = folder / f"{stage}-{image}.png"
            if "path" not in changes:
                Image.new("RGB", (96, 64), (image % 256, 90, 30 * index)).save(path)
            builder.wait(1)
            fields = {"seed": 6 + image, "duration_s": 1.0, "path": path, **changes}
            builder.image(index, image, **fields)
        builder.end(index, done=images)
    builder.finish()
    return rxp.PipelineRunResult.from_events(builder.events)


def queued_run():
    """Two images on two servers: a queue, a retry, a model that is loaded, transfer, own work, a failure."""
    builder = TimelineBuilder()
    builder.begin("txt2img", "sharpen", images=2)
    builder.start(0)
    builder.step(0, 1, phase="loading")
    builder.wait(2)
    builder.step(0, 1, 0.1)
    builder.step(0, 2, phase="queued")
    builder.wait(3)
    builder.image(0, 1, seed=1, duration_s=5.0, transfer_s=0.5, own_s=0.25, server="http://a", warnings=("another",))
    builder.step(0, 2, 0.5)
    builder.wait(1)
    builder.retry(0, 2, delay_s=2.0)
    builder.wait(4)
    builder.image(0, 2, "failed", error=OUT_OF_MEMORY, duration_s=8.0, server="http://b")
    builder.end(0, done=1, failed=1)
    builder.start(1, 1)
    builder.wait(1)
    builder.image(1, 1, duration_s=1.0)
    builder.end(1, done=1)
    builder.finish("partial", warnings=("the whole",))
    return rxp.PipelineRunResult.from_events(builder.events)


# -- what is shown ----------------------------------------------------------------------------------------------------


def test_the_page_shows_the_run_and_loads_nothing(tmp_path):
    page = rxp.report(drawn_run(tmp_path), tmp_path / "pages" / "r.html")
    shown = Page(page.read_text(encoding="utf-8"))
    assert_loads_nothing(shown)
    assert len(shown.pictures()) == 4
    sizes = [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).size for url in shown.pictures()]
    assert sizes == [(96, 64)] * 4
    links = [value for tag, name, value in shown.attributes if name == "href"]
    assert links[0] == "./../o%20u%27ts%231/upscale-1.png"
    for words in ("completed", "4 of 4", "images finished", "8.0 s", "Where the time went", "rendering 8.0 s 100.0 %"):
        assert words in shown.text


@pytest.mark.slow
def test_many_pictures_stay_a_small_page(tmp_path):
    """400 pictures of noise, which no format makes small, and every bar of the timeline."""
    noise = tmp_path / "noise.png"
    Image.effect_noise((256, 256), 90).convert("RGB").save(noise)
    result = drawn_run(tmp_path, images=400, path=noise)
    page = rxp.report(result, tmp_path / "r.html")
    shown = Page(page.read_text(encoding="utf-8"))
    assert len(shown.pictures()) == 400
    assert page.stat().st_size < 6 << 20
    assert_loads_nothing(shown)


def test_whatever_a_text_holds_is_shown_as_text(tmp_path):
    """Prompts, errors, warnings, names of stages, servers and files are strangers' words."""
    error = ErrorInfo(type="BackendFailed", message=HOSTILE, hint=HOSTILE)
    path = tmp_path / "javascript:alert(1)"
    Image.new("RGB", (8, 8)).save(path, "PNG")
    builder = TimelineBuilder("run " + HOSTILE)
    builder.begin("txt2img", HOSTILE, images=2)
    builder.start(0)
    builder.wait(1)
    builder.retry(0, 1, error=error)
    builder.wait(1)
    builder.image(0, 1, seed=1, duration_s=2, server=HOSTILE, warnings=(HOSTILE, "\x00\x1b[31m\u202e"), path=path)
    builder.image(0, 2, "failed", error=error)
    builder.end(0, done=1, failed=1)
    builder.start(1, 1)
    builder.image(1, 1, duration_s=1)
    builder.end(1, done=1)
    builder.finish("partial", error=error, warnings=(HOSTILE,))
    plan = rxp.build_stage_execution_plan(rxp.PipelineConfig(txt2img={"prompt": HOSTILE, "images": 2}))
    result = rxp.PipelineRunResult.from_events(builder.events, plan)
    text = page_text(run_of_result(result), tmp_path)
    page = Page(text)
    assert_loads_nothing(page)
    assert page.text.count(SCRIPT) >= 6
    assert not set("\x00\x1b\u202e") & set(text)
    short = Page(result._repr_html_())
    assert not set(short.tags) & {"script", "style", "link"}
    assert all(value.startswith("data:") for value in short.pictures())
    json.loads(trace_text(run_of_result(result)))


def test_retries_failures_and_warnings_are_marked():
    page = Page(page_text(run_of_result(queued_run())))
    classes = [value for tag, name, value in page.attributes if (tag, name) == ("circle", "class")]
    assert classes == ["retry", "failed"] * 3  # by stage, by image, by server
    for words in ("retry after try 1, 2.0 s later", "CUDA out of memory", "1 of 2", "1 retry", "txt2img: another"):
        assert words in page.text, words
    assert "By server" in page.text


def test_a_run_without_events_or_pictures_has_a_page():
    assert "None." in Page(page_text(run_of_result(rxp.PipelineRunResult()))).text
    begun = whole_run("txt2img", images=3)[:3]
    assert "running" in Page(page_text(run_of_result(rxp.PipelineRunResult.from_events(begun)))).text


def test_a_picture_that_is_gone_or_broken_costs_only_its_thumbnail(tmp_path):
    result = drawn_run(tmp_path)
    paths = [record.path for record in result.images]
    paths[0].unlink()
    paths[1].write_bytes(b"no picture")
    page = Page(page_text(run_of_result(result), tmp_path))
    assert len(page.pictures()) == 2
    assert page.text.count("its file is gone or broken") == 2


def test_pictures_in_memory_are_shown():
    result = rxp.PipelineRunner(Painter()).run(rxp.chain(rxp.txt2img(images=2, width=64, height=64)))
    page = Page(page_text(run_of_result(result)))
    assert len(page.pictures()) == 2
    assert not [name for _, name, _ in page.attributes if name == "href"]


# -- where the time went ----------------------------------------------------------------------------------------------


def test_each_second_of_an_image_is_spent_on_one_thing():
    (attempt,) = attempts_of(queued_run().events)
    spans = {(bar.stage_index, bar.image_index): bar.spans for bar in attempt.bars}
    assert [(span.kind, span.begin_s, span.end_s) for span in spans[0, 1]] == [
        ("loading", 0, 2), ("server", 2, 4.25), ("transfer", 4.25, 4.75), ("ours", 4.75, 5),
    ]  # fmt: skip
    assert [(span.kind, span.begin_s, span.end_s) for span in spans[0, 2]] == [
        ("queue", 2, 5), ("server", 5, 6), ("pause", 6, 8), ("server", 8, 10),
    ]  # fmt: skip
    assert [span.kind for span in spans[1, 1]] == ["code"]
    for bar in attempt.bars:
        assert sum(span.length_s for span in bar.spans) == pytest.approx(bar.length_s)


def test_an_image_that_nobody_saw_leave_the_queue_left_it_after_the_one_before():
    builder = TimelineBuilder()
    builder.begin("upscale", images=2)
    builder.start(0)
    builder.step(0, 1, 0.1)
    builder.step(0, 2, phase="queued")
    builder.wait(2)
    builder.image(0, 1, duration_s=2.0)
    builder.wait(1)
    builder.image(0, 2, duration_s=3.0, own_s=0.25)
    (attempt,) = attempts_of(builder.events)
    spans = [(span.kind, span.begin_s, span.end_s) for span in attempt.bars[1].spans]
    assert spans == [("queue", 0, 2), ("server", 2, 2.75), ("ours", 2.75, 3)]


@pytest.mark.slow
def test_a_chart_of_very_many_images_stays_small():
    """10,000 images of four stages on five servers."""
    builder = TimelineBuilder()
    builder.begin("txt2img", "img2img", "adetailer", "upscale", images=10_000)
    for index in range(4):
        for image in range(1, 10_001):
            builder.wait(1)
            failed = {"outcome": "failed", "error": OUT_OF_MEMORY} if image % 3 == 0 else {}
            server = f"http://s{image % 5}"
            builder.image(index, image, duration_s=1.0, own_s=0.1, transfer_s=0.2, server=server, **failed)
    builder.finish()
    result = rxp.PipelineRunResult.from_events(builder.events)
    text = page_text(run_of_result(result))
    assert len(text) < 8 << 20
    assert "and 9400 more images; the trace has them all" in Page(text).text


def test_the_wall_time_is_told_once():
    """A moment in which one image is rendered and another waits is rendering."""
    attempts = attempts_of(queued_run().events)
    found = shares(attempts)
    assert found == {"server": 5.25, "loading": 2, "pause": 2, "code": 1, "transfer": 0.5, "ours": 0.25}
    assert sum(found.values()) == attempts[0].length_s
    assert [(row.name, row.drawn, row.failed, row.retries) for row in by_server(attempts)] == [
        ("http://a", 1, 0, 0), ("http://b", 1, 1, 1),
    ]  # fmt: skip
    assert [(row.name, row.total_s) for row in by_stage(attempts)] == [("txt2img", 13), ("sharpen", 1)]


def test_what_was_kept_took_no_time_and_attempts_are_apart():
    builder = TimelineBuilder()
    builder.begin("txt2img", images=2)
    builder.start(0)
    builder.wait(3)
    builder.image(0, 1, duration_s=3.0)
    first = builder.events
    second = TimelineBuilder()
    second.wait(1000)
    second.add(rxp.RunStart, stages=("txt2img",), images=2, config="0" * 16, attempt=2)
    second.stages = ("txt2img",)
    second.start(0)
    second.image(0, 1, duration_s=0.0, resumed=True)
    second.wait(2)
    second.image(0, 2, duration_s=1.0, attempt=2)
    second.end(0)
    second.finish()
    result = rxp.PipelineRunResult.from_events([*first, *second.events])
    run = run_of_result(result)
    assert [(attempt.number, attempt.length_s) for attempt in run.attempts] == [(1, 3), (2, 2)]
    assert shares(run.attempts) == {"server": 4, IDLE: 1}
    assert [(row.drawn, row.kept) for row in by_stage(run.attempts)] == [(2, 1)]
    text = Page(page_text(run)).text
    assert "Timeline, attempt 2" in text
    assert "kept from before" in text
    times = [event["ts"] for event in json.loads(trace_text(run))["traceEvents"] if event["name"].startswith("attempt")]
    assert times == [0, 1_000_000_000]


# -- trace ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("result", [queued_run(), rxp.PipelineRunResult.from_events(whole_run("txt2img", "upscale"))])
def test_a_trace_has_what_its_format_asks_for(result):
    """What is at the same time in one thread is one inside the other; every thread has its name."""
    assert_is_trace(trace_text(run_of_result(result)))


ARGUMENTS = {
    "process_name": "name", "thread_name": "name", "process_sort_index": "sort_index", "thread_sort_index": "sort_index"
}  # fmt: skip


def assert_is_trace(text):
    """The text is of the Trace Event Format: each event has what its phase needs, slices of a thread nest."""
    trace = json.loads(text, parse_constant=pytest.fail)
    assert trace["displayTimeUnit"] in {"ms", "ns"}
    named, open_ends = set(), {}
    for event in trace["traceEvents"]:
        place = event["pid"], event["tid"]
        assert all(type(number) is int and number >= 0 for number in place)
        assert isinstance(event["name"], str)
        if event["ph"] == "M":
            assert list(event["args"]) == [ARGUMENTS[event["name"]]]
            named |= {place} if event["name"] == "thread_name" else set()
            continue
        assert type(event["ts"]) is int
        assert event["ts"] >= 0
        if event["ph"] == "X":
            assert type(event["dur"]) is int
            assert event["dur"] >= 0
            ends = open_ends.setdefault(place, [])
            while ends and ends[-1] <= event["ts"]:
                ends.pop()
            assert not ends or event["ts"] + event["dur"] <= ends[-1], event
            ends.append(event["ts"] + event["dur"])
        elif event["ph"] == "i":
            assert event["s"] in {"g", "p", "t"}
        else:
            assert event["ph"] == "C"
            assert all(isinstance(value, int | float) for value in event["args"].values())
    assert set(open_ends) <= named


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["step", "retry", "image", "failed"]),
            st.integers(1, 3),
            st.sampled_from([0.0, 0.25, 1.0, 7.5, -2.0, -1e5, 4e7]),
            st.sampled_from([None, 0.0, 0.5, 3.0, 1e6]),
            st.sampled_from([None, "http://a", "http://b"]),
        ),
        max_size=12,
    )
)
def test_any_run_is_a_trace(happenings):
    """Durations and dates that contradict each other too, as those of several machines do, and a clock that is set."""
    builder = TimelineBuilder()
    builder.begin("txt2img", images=3)
    builder.start(0)
    ended = set()
    for what, image, wait_s, duration_s, server in happenings:
        builder.wait(wait_s)
        if image in ended:
            continue
        if what == "step":
            builder.step(0, image, 0.5, phase="queued" if server else "working")
        elif what == "retry":
            builder.retry(0, image, delay_s=duration_s or 0.0)
        else:
            ended.add(image)
            error = {"error": OUT_OF_MEMORY} if what == "failed" else {}
            more = {"transfer_s": 0.25, "own_s": wait_s if wait_s > 0 else 0.0, "server": server}
            builder.image(0, image, "done" if what == "image" else "failed", duration_s=duration_s, **more, **error)
    assert_is_trace(trace_text(run_of_result(rxp.PipelineRunResult.from_events(builder.events))))


# -- files and the command --------------------------------------------------------------------------------------------


def test_what_is_no_report_is_never_replaced(tmp_path):
    result = drawn_run(tmp_path)
    picture = result.images[0].path
    before = picture.read_bytes()
    with pytest.raises(ConfigError, match="is no report"):
        rxp.report(result, picture)
    with pytest.raises(ConfigError, match="is no report"):
        rxp.report(result, tmp_path / "r.html", trace=picture)
    assert picture.read_bytes() == before
    assert not (tmp_path / "r.html").exists()
    with pytest.raises(ConfigError, match="for both"):
        rxp.report(result, tmp_path / "r.html", trace=tmp_path / "r.html")
    page = rxp.report(result, tmp_path, trace=tmp_path / "t.json")
    assert page == tmp_path / "report-r1.html"
    assert rxp.report(result, tmp_path, trace=tmp_path / "t.json") == page
    with pytest.raises(SaveError, match=r"cannot be written"):
        rxp.report(result, page / "below.html")
    assert not list(tmp_path.glob(".*"))


def test_the_command_writes_both_and_a_history_from_pictures_has_a_page(tmp_path, monkeypatch):
    """A run by name, a run by a picture of it, and one of which only the pictures are left."""
    monkeypatch.chdir(tmp_path)
    store = rxp.Store(tmp_path / "runs.sqlite3")

    drawing = {"prompt": "a pier", "images": 3, "seed": 2, "width": 64, "height": 64}
    config = rxp.PipelineConfig(txt2img=drawing, out="o")
    result = rxp.PipelineRunner(Painter(), store=store).run(config)
    assert store.close(10)

    def rxpipe(*arguments):
        return CliRunner().invoke(app, [*arguments, "--store", str(store.path)], catch_exceptions=False)

    done = rxpipe("report", "last", "--trace", "t.json")
    assert done.stdout.splitlines() == [f"report-{result.run_id}.html", "t.json  (https://ui.perfetto.dev opens it)"]
    page = Page(Path(f"report-{result.run_id}.html").read_text(encoding="utf-8"))
    assert len(page.pictures()) == 3
    assert "a pier" in page.text
    assert rxpipe("report", str(result.images[0].path), "--out", "p.html").exit_code == 0
    assert "`rxpipe runs` lists them" in rxpipe("report", "nothing").stderr
    assert rxpipe("report", "last", "--out", "o").exit_code == 0

    rebuilt = rxp.Store(tmp_path / "other.sqlite3")
    CliRunner().invoke(app, ["runs", "--rebuild", "o", "--store", str(rebuilt.path)], catch_exceptions=False)
    run = run_of_store(rebuilt, "last")
    assert (run.status, len(run.pictures), run.prompt) == ("rebuilt", 3, "a pier")
    assert len(Page(page_text(run)).pictures()) == 3


@pytest.mark.slow
def test_a_slow_line_is_transfer_and_a_slow_server_is_rendering():
    """Of a server that draws for 0.3 s, one whose answer takes 0.4 s on its way."""
    for server, latency_s, drip_s in ((WebUIServer(latency_s=0.3), 0.3, 0.0), (WebUIServer(), 0.0, 0.4)):
        with server:
            if drip_s:
                server.fault("txt2img", Fault.SLOW_DRIP.but(seconds=drip_s))
            with rxp.open_backend(server.url) as backend:
                chain = rxp.chain(rxp.txt2img(prompt="a", width=64, height=64, steps=2))
                (record,) = [
                    event for event in rxp.PipelineRunner(backend).run(chain).events
                    if isinstance(event, rxp.StageImageProgress)
                ]  # fmt: skip
        assert record.own_s is not None
        assert record.transfer_s == pytest.approx(drip_s, abs=0.2)
        assert record.transfer_s + record.own_s <= record.duration_s - latency_s + 0.01
