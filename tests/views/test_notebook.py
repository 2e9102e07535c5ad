"""The notebook view over IPython's own display machinery: one output, few updates, small pictures."""

from __future__ import annotations

import base64
import io
import itertools
import re
import sys
import textwrap
import threading
import time
import types
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient
from PIL import Image
from staged import COMPLETED, FAILED, RUNNING, Easel, FakeController, image_done, in_work, picture, run_start
from traitlets.config import Config

import rxpipe as rxp
from rxpipe.views.notebook import NotebookView
from rxpipe.views.run_card import THUMBNAIL_PX, RunCard


class Outputs(CapturingDisplayPublisher):
    """What a notebook would receive, with the time of each."""

    def publish(self, data, metadata=None, source=None, *, transient=None, update=False, **_rest):
        super().publish(data, metadata, source, transient=transient, update=update)
        self.outputs[-1]["at"] = time.monotonic()


@pytest.fixture
def outputs():
    """A shell that stands for a kernel's, so that outputs can be replaced."""
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell.instance(config=config)
    shell.kernel = object()
    shell.display_pub = Outputs()
    yield shell.display_pub.outputs
    InteractiveShell.clear_instance()


@pytest.fixture
def view(outputs):  # noqa: ARG001  it displays there
    view = NotebookView()
    yield view
    view.detach()


def wait_until(condition, limit_s=5.0):
    pause, deadline = threading.Event(), time.monotonic() + limit_s
    while not condition() and time.monotonic() < deadline:
        pause.wait(0.01)
    return condition()


def begin(controller):
    """A run begins."""
    controller.tell(replace(RUNNING, fraction=0.0))
    controller.happen(run_start())


def html_of(outputs):
    return outputs[-1]["data"]["text/html"]


def thumbnails(html):
    """The pictures in it, decoded."""
    return [
        Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r"data:image/jpeg;base64,([^']+)", html)
    ]


def test_attaching_puts_one_output_and_replaces_it(view, outputs, controller):
    """The first is displayed, all others are updates of the same display id."""
    view.attach(controller)
    assert [output["update"] for output in outputs] == [False]
    controller.tell(RUNNING)
    assert wait_until(lambda: "Running img2img" in html_of(outputs))
    assert {output["transient"]["display_id"] for output in outputs} == {outputs[0]["transient"]["display_id"]}
    assert [output["update"] for output in outputs[1:]] == [True] * (len(outputs) - 1)


def test_at_most_four_updates_a_second_and_the_last_state_is_shown(view, outputs, controller):
    """A thousand changes within a second or so become a handful; the last is among them."""
    view.attach(controller)
    begin(controller)
    pause = threading.Event()
    for step in range(1000):
        controller.tell(replace(RUNNING, fraction=step / 1000))
        if step % 10 == 0:
            pause.wait(0.006)
    controller.tell(COMPLETED)
    assert view.wait(5)
    times = [output["at"] for output in outputs]
    assert "Completed" in html_of(outputs)
    assert "100 %" in html_of(outputs)
    assert len(outputs) >= 3
    assert all(later - earlier > 0.2 for earlier, later in itertools.pairwise(times))


@pytest.mark.slow
def test_pictures_are_small_jpegs_and_no_more_than_a_dozen(view, outputs, controller, tmp_path):
    """Finished files as thumbnails; the same image after a later stage takes the place of the earlier."""
    view.attach(controller)
    begin(controller)
    for number in range(1, 16):
        path = tmp_path / f"{number}.png"
        path.write_bytes(picture(1024, 768, kind="PNG"))
        controller.happen(image_done(number, path))
        controller.happen(image_done(number, path))
    controller.tell(COMPLETED)
    assert view.wait(5)
    pictures = thumbnails(html_of(outputs))
    assert len(pictures) == 12
    assert {image.format for image in pictures} == {"JPEG"}
    assert max(max(image.size) for image in pictures) == THUMBNAIL_PX <= 256
    assert "and 3 more" in html_of(outputs)
    assert "seed 1015" in html_of(outputs)
    assert len(html_of(outputs)) < 200_000


def test_the_picture_in_work_stands_behind_the_finished_ones(view, outputs, controller, tmp_path):
    """A preview is shown while its image is in progress, and gone when that is done."""
    path = tmp_path / "1.png"
    path.write_bytes(picture())
    view.attach(controller)
    begin(controller)
    controller.preview(picture(), image_index=1)
    controller.tell(RUNNING)
    assert wait_until(lambda: "in progress" in html_of(outputs))
    controller.happen(image_done(1, path))
    controller.tell(replace(RUNNING, fraction=0.6))
    assert wait_until(lambda: "seed 1001" in html_of(outputs))
    assert "in progress" not in html_of(outputs)


@pytest.mark.parametrize("content", [None, b"no picture"])
def test_a_file_that_is_gone_or_torn_costs_only_its_thumbnail(view, outputs, controller, tmp_path, content):
    """The card is shown without it."""
    path = tmp_path / "1.png"
    if content is not None:
        path.write_bytes(content)
    view.attach(controller)
    begin(controller)
    controller.happen(image_done(1, path))
    controller.preview(b"no picture")
    controller.tell(COMPLETED)
    assert view.wait(5)
    assert thumbnails(html_of(outputs)) == []
    assert "Completed" in html_of(outputs)


def test_failed_images_are_no_pictures(view, outputs, controller, tmp_path):
    """An image that failed has no thumbnail, even where an earlier file of it is on disk."""
    path = tmp_path / "1.png"
    path.write_bytes(picture())
    view.attach(controller)
    begin(controller)
    controller.happen(image_done(1, path, outcome="failed"))
    controller.tell(COMPLETED)
    assert view.wait(5)
    assert thumbnails(html_of(outputs)) == []


def test_what_a_server_said_cannot_be_markup():
    """Messages are text, whatever is in them."""
    card = RunCard(replace(FAILED, message="Error: <script>alert(1)</script>"))
    assert "<script>" not in card._repr_html_()
    assert "&lt;script&gt;" in card._repr_html_()


def test_warnings_are_listed_as_text_and_as_html():
    """Of images and of the run; what they quote is no markup."""
    card = RunCard(COMPLETED, warnings=("the server has no style '<b>'",))

    assert "warning: the server has no style '<b>'" in repr(card)
    assert "&lt;b&gt;" in card._repr_html_()


def test_text_says_the_same_without_html():
    """What `repr` shows where there is no HTML, and in the log of a notebook that was run from the shell."""
    assert repr(RunCard(RUNNING)) == (
        "Running img2img · 50 % · image 2 of 4 · step 12 of 30 · stage 2 of 4 · ETA: 00:30\n"
        "  txt2img    4 in 12.3 s\n"
        "  img2img    1 of 4, 1 failed\n"
        "  adetailer  waiting\n"
        "  upscale    skipped"
    )
    assert repr(RunCard()) == "Idle"


def test_in_a_terminal_only_the_end_is_written(view, outputs, controller):
    """Where an output cannot be replaced, a line per update would be noise."""
    del InteractiveShell.instance().kernel
    view.attach(controller)
    begin(controller)
    controller.tell(RUNNING)
    assert not wait_until(lambda: len(outputs) > 1, limit_s=0.6)
    controller.tell(COMPLETED)
    assert view.wait(5)
    assert ["Completed" in output["data"]["text/plain"] for output in outputs] == [False, True]


def test_wait_is_for_a_run_that_began_after_attaching(view, controller):
    """The snapshot of an earlier run does not count, and each run is waited for once."""
    controller.tell(COMPLETED)
    view.attach(controller)
    assert not view.wait(0.4)
    begin(controller)
    controller.tell(COMPLETED)
    assert view.wait(5)
    assert not view.wait(0.01)


def test_interrupting_the_kernel_cancels_the_run(view, controller):
    """The interrupt is raised on, so that the cells behind this one do not run."""
    view.attach(controller)
    begin(controller)

    class Interrupted:
        def __init__(self, event):
            self._event = event
            self._interrupts = [KeyboardInterrupt()]

        def wait(self, timeout=None):
            if self._interrupts:
                raise self._interrupts.pop()
            return self._event.wait(timeout)

        def set(self):
            self._event.set()

    view._over = Interrupted(view._over)
    controller.cancel = lambda: (setattr(controller, "cancels", 1), controller.tell(COMPLETED))
    with pytest.raises(KeyboardInterrupt):
        view.wait()
    assert controller.cancels == 1


def test_detaching_leaves_no_subscription_and_no_thread(view, controller):
    """The output stays, everything else is let go."""
    view.attach(controller)
    controller.tell(RUNNING)
    assert [thread.name for thread in threading.enumerate() if thread.name == "rxpipe-notebook"]
    view.detach()
    assert controller.watchers == 0
    assert wait_until(lambda: not [t for t in threading.enumerate() if t.name == "rxpipe-notebook"])


def test_stop_is_there_where_ipywidgets_is(view, outputs, monkeypatch):
    """Its click cancels; without ipywidgets there is none, and nothing else is missing."""
    buttons = []

    class Button:
        def __init__(self, **options):
            self.options, self.press = options, None
            buttons.append(self)

        def on_click(self, action):
            self.press = action

    widgets = types.ModuleType("ipywidgets")
    widgets.Button = Button
    widgets.__spec__ = types.SimpleNamespace(name="ipywidgets")
    monkeypatch.setitem(sys.modules, "ipywidgets", widgets)
    controller = FakeController(RUNNING)
    view.attach(controller)
    buttons[0].press(buttons[0])
    assert buttons[0].options["description"] == "Stop"
    assert controller.cancels == 1
    assert len([output for output in outputs if not output["update"]]) == 2


@pytest.mark.slow
def test_a_run_in_a_real_kernel_leaves_its_last_state_in_one_output():
    """A cell that waits for its run is moved along from the view's thread, and keeps what was shown last."""
    cell = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import rxpipe as rxp
        from rxpipe.views.notebook import NotebookView
        from staged import Easel
        controller = rxp.PipelineController(rxp.PipelineRunner(Easel()))
        view = NotebookView()
        view.attach(controller)
        controller.start(rxp.chain(rxp.txt2img(images=2), rxp.upscale(), out=None))
        view.wait(20)
        """
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(textwrap.dedent(cell))])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    shown = [output for output in notebook.cells[0].outputs if output.output_type == "display_data"]
    assert len(shown) == 1
    assert "Completed" in shown[0].data["text/html"]
    assert shown[0].data["text/plain"].startswith("Completed · 100 %")


# -- a result ---------------------------------------------------------------------------------------------------------


def test_a_result_shows_its_pictures_and_when_they_were_drawn(tmp_path):
    """As a cell's last value: how it ended, a bar an image and stage, thumbnails, and as text one line."""
    config = rxp.PipelineConfig(
        txt2img=rxp.Txt2ImgConfig(prompt="x", images=3, seed=5), upscale=rxp.UpscaleConfig(), out=tmp_path
    )
    result = rxp.PipelineRunner(Easel()).run(config)
    page = result._repr_html_()
    assert page.count("<img ") == 3
    assert page.count("position:absolute") == 6
    assert "seed 5" in page
    assert "Completed" in page
    assert repr(result).endswith("completed, 3 images: 3 done>")


@pytest.mark.slow
@pytest.mark.parametrize("images", [1, 30])
def test_a_result_in_memory_shows_its_pictures_too(images):
    config = rxp.PipelineConfig(txt2img=rxp.Txt2ImgConfig(prompt="x", images=images), out=None)
    result = rxp.PipelineRunner(Easel()).run(config)
    page = result._repr_html_()
    assert page.count("<img ") == min(images, 12)
    assert ("and 18 more" in page) == (images == 30)
    assert f"{images} image{'' if images == 1 else 's'}: {images} done" in repr(result)


def test_a_result_without_events_and_one_that_failed_are_shown():
    """An empty one is idle; of a failed one the reason stands there, as text and not as HTML."""
    assert "Idle" in rxp.PipelineRunResult()._repr_html_()
    error = rxp.BackendRejected("<b>no</b>")
    config = rxp.PipelineConfig(txt2img=rxp.Txt2ImgConfig(prompt="x"), out=None)
    result = rxp.PipelineRunner(Easel(error=error)).run(config)
    page = result._repr_html_()
    assert "&lt;b&gt;no" in page
    assert "<b>no</b>" not in page


def test_several_in_work_stand_there_each_with_a_bar(view, outputs, controller):
    view.attach(controller)
    begin(controller)
    for index in (3, 2):
        controller.preview(picture(), image_index=index)
    controller.tell(in_work((2, 0.25), (3, 0.5)))
    assert wait_until(lambda: "img2img · image 3" in html_of(outputs))
    shown = html_of(outputs)
    assert shown.index("image 2") < shown.index("image 3")
    assert "width:25.0%" in shown
    assert "width:50.0%" in shown
